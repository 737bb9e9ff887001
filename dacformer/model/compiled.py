"""`DACFormer.step` on a CPU: each block is one compiled function, with weights in int8.

One frame of one stream is a chain of matrix-vector products. The lower bound of its time is reading the
weights once. Torch's overhead (230 calls for a small model) takes several times as long. Here a block is
one compiled function, and a weight is a byte: each row of a matrix is int8 times one float32 scale
(absmax, Dettmers et al., arXiv:2208.07339, section 2). Inputs are rounded to 13 bits and products summed
in int32, which is exact, and twice as fast as float32. Rounding inputs to 13 bits costs a tenth of the
error that 8 bits cost. The tests compare it with `DACFormer.step`.

Shapes: `B` streams side by side (for more than 64, torch's matrix products are faster), `D` model dimension, `L`
layers, `H` heads, `E = D / H`, `S` slots of a ring, `K` codebooks, `V` codebook size.
"""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dacformer.jit import compiled, in_parallel
from dacformer.model.dacformer import DACFormer, State
from dacformer.model.heads import DepthHead, Sampler
from dacformer.model.rope import rope_frequencies

STREAMS_WORTH_A_THREAD = 4
"""With fewer streams, starting another thread costs more than it gains."""


class Matrix(NamedTuple):
    """Weights of a linear layer `(n) -> (m)`.

    Attributes:
        rows: `(m, n)` int8 or float32.
        scales: `(m,)` float32, the factor of each row.
        bias: `(m,)` float32.
    """

    rows: np.ndarray
    scales: np.ndarray
    bias: np.ndarray


class CompiledStep:
    """Compiled `DACFormer.step`, for a model whose weights no longer change."""

    def __init__(self, model: DACFormer, int8: bool = True) -> None:
        """Copies the weights of a model as they are now.

        Args:
            model: On the CPU, in evaluation mode.
            int8: Round the weights to int8. If False, the logits equal the model's up to the order of sums.
        """
        self.model = model
        weights = {name: weight.detach().float() for name, weight in model.state_dict().items()}
        matrix = partial(_matrix, weights, int8)
        self._frequencies = rope_frequencies(model.config.dim // model.config.num_heads).numpy()
        self._embeddings = [weights[f"embeddings.{k}.weight"].numpy() for k in range(model.num_codebooks)]
        blocks = [f"blocks.{i}" for i in range(model.config.num_layers)]
        films = [f"{block}.{norm}.film" for block in blocks for norm in ("attention_norm", "mlp_norm")]
        self._film_weight = torch.cat([weights[f"{film}.weight"] for film in films])
        self._film_bias = torch.cat([weights[f"{film}.bias"] for film in films])
        self._latest: tuple[Tensor, np.ndarray] | None = None  # a condition and its modulation
        layers = ("attention.project_in", "attention.project_out", "mlp.0", "mlp.2")
        self._blocks = [[matrix(f"{block}.{layer}") for layer in layers] for block in blocks]
        self._depth = isinstance(model.head, DepthHead)
        if self._depth:
            codebooks = range(model.num_codebooks)
            self._known = [weights[f"head.embeddings.{k}.weight"].numpy() for k in codebooks[:-1]]
            self._head = [
                (
                    matrix(f"head.mlps.{k}.1", norm=f"head.mlps.{k}.0"),
                    matrix(f"head.mlps.{k}.3"),
                    matrix(f"head.logits.{k}.1", norm=f"head.logits.{k}.0"),
                )
                for k in codebooks
            ]
        else:
            self._logits = matrix("head.logits", norm="head.norm")

    @torch.inference_mode()
    def __call__(self, condition: Tensor, state: State, choose: Sampler) -> Tensor:
        """Draws the next frame of a stream, as `DACFormer.step` does.

        Args:
            condition: `(B, 1, C)`, the condition of that frame.
            state: State of the stream, from `model.init_state`, advanced by one frame. Calls of
                `model(..., state=state)` may come in between.
            choose: Draws a code from logits, see `heads.Sampler`.

        Returns:
            The codes of the frame, `(B, K, 1)` int64.
        """
        codes = state.previous.numpy()[:, :, 0]
        x = np.sum([table[codes[:, k]] for k, table in enumerate(self._embeddings)], axis=0)  # (B, D)
        slot = state.position % len(state.key_positions)
        key_positions = state.key_positions.numpy()
        key_positions[slot] = state.position
        angles = state.position * self._frequencies
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        seen = (key_positions >= 0) & (key_positions > state.position - self.model.config.window_frames)
        films = self._modulation(condition)
        rings = [(cache.keys.numpy(), cache.values.numpy()) for cache in state.caches]

        def run(streams: slice) -> None:
            for film, (keys, values), matrices in zip(films, rings, self._blocks, strict=True):
                _block(x[streams], film[streams], cos, sin, keys[streams], values[streams], seen, slot, *matrices)

        in_parallel(run, len(x), STREAMS_WORTH_A_THREAD)
        state.position += 1
        state.previous = self._draw(x, choose)[..., None]
        return state.previous

    def _modulation(self, condition: Tensor) -> np.ndarray:
        """Computes gamma and beta of each block's two norms, `(L, B, 2, 2, D)`; kept while the condition stays."""
        latest = self._latest  # read once: another thread's stream may replace it
        if latest is None or not torch.equal(condition, latest[0]):
            film = F.linear(self.model.embed_condition(condition[:, 0]), self._film_weight, self._film_bias)
            # Streams come first, so that a slice of them is contiguous and no kernel is compiled twice.
            parts = film.view(len(film), len(self._blocks), 2, 2, -1).transpose(0, 1)
            self._latest = latest = condition.clone(), parts.contiguous().numpy()
        return latest[1]

    def _draw(self, x: np.ndarray, choose: Sampler) -> Tensor:
        """Draws one frame as the head's `sample`: `x` `(B, D)`, overwritten, to codes `(B, K)`."""
        num_codebooks, codebook_size = self.model.num_codebooks, self.model.codebook_size
        if not self._depth:
            logits = np.empty((len(x), num_codebooks * codebook_size), np.float32)
            in_parallel(lambda some: _to_logits(x[some], self._logits, logits[some]), len(x), STREAMS_WORTH_A_THREAD)
            parts = torch.from_numpy(logits).split(codebook_size, dim=1)
            return torch.stack([choose(part, k) for k, part in enumerate(parts)], dim=1)
        codes: list[Tensor] = []
        for k, matrices in enumerate(self._head):
            if k > 0:
                x += self._known[k - 1][codes[-1].numpy()]
            logits = np.empty((len(x), codebook_size), np.float32)
            in_parallel(partial(_head_part, x, matrices, logits), len(x), STREAMS_WORTH_A_THREAD)
            codes.append(choose(torch.from_numpy(logits), k))
        return torch.stack(codes, dim=1)


def _head_part(x: np.ndarray, matrices: tuple[Matrix, ...], logits: np.ndarray, streams: slice) -> None:
    _depth_logits(x[streams], *matrices, logits[streams])


def _matrix(weights: dict[str, Tensor], int8: bool, name: str, norm: str | None = None) -> Matrix:
    """Packs a layer's weights; gain and offset of the norm before it are multiplied in."""
    weight = weights[f"{name}.weight"]
    bias = weights.get(f"{name}.bias", torch.zeros(len(weight)))
    if norm is not None:
        weight, bias = weight * weights[f"{norm}.weight"], bias + weight @ weights[f"{norm}.bias"]
    scales = weight.abs().amax(dim=1).clamp_min(1e-12) / 127.0 if int8 else torch.ones(len(weight))
    rows = (weight / scales[:, None]).round().to(torch.int8) if int8 else weight.contiguous()
    return Matrix(rows.numpy(), scales.numpy(), bias.numpy())


@compiled
def _linear(x: np.ndarray, matrix: Matrix, out: np.ndarray) -> None:
    """Applies a linear layer: `x` `(B, n)` to `out` `(B, m)`."""
    steps = np.ones(x.shape[0], np.float32)
    if matrix.rows.itemsize != 1:  # float32
        _dot(x, matrix, steps, np.float32, out)
        return
    levels = min(4095, (2**31 - 1) // (127 * x.shape[1]))  # as many as no sum overflows with
    rounded = np.empty(x.shape, np.int16)
    for b in range(x.shape[0]):
        largest = np.float32(1e-20)
        for j in range(x.shape[1]):
            largest = max(largest, abs(x[b, j]))
        steps[b] = largest / np.float32(levels)
        for j in range(x.shape[1]):
            rounded[b, j] = np.int16(np.rint(x[b, j] * (np.float32(1.0) / steps[b])))
    _dot(rounded, matrix, steps, np.int32, out)


@compiled
def _dot(x: np.ndarray, matrix: Matrix, steps: np.ndarray, kind: type, out: np.ndarray) -> None:
    """Multiplies `x` `(B, n)`, in units of `steps` `(B,)`, with the matrix into `out` `(B, m)`; sums in type `kind`."""
    for i in range(matrix.rows.shape[0]):
        row, scale, bias = matrix.rows[i], matrix.scales[i], matrix.bias[i]
        for b in range(x.shape[0]):
            total = kind(0)
            for j in range(len(row)):
                total = kind(total + kind(row[j]) * kind(x[b, j]))
            out[b, i] = np.float32(total) * (scale * steps[b]) + bias


@compiled
def _norm(x: np.ndarray, out: np.ndarray) -> None:
    """Applies layer norm without gain and offset: `x` `(B, D)` to `out` `(B, D)`."""
    for b in range(x.shape[0]):
        mean = np.float32(0.0)
        for j in range(x.shape[1]):
            mean += x[b, j]
        mean /= np.float32(x.shape[1])
        variance = np.float32(0.0)
        for j in range(x.shape[1]):
            variance += (x[b, j] - mean) ** 2
        scale = np.float32(1.0) / np.sqrt(variance / np.float32(x.shape[1]) + np.float32(1e-5))
        for j in range(x.shape[1]):
            out[b, j] = (x[b, j] - mean) * scale


@compiled
def _film_norm(x: np.ndarray, film: np.ndarray, norm: int, out: np.ndarray) -> None:
    """Applies layer norm and FiLM of one of a block's two norms; `film` is `(B, 2, 2, D)`."""
    _norm(x, out)
    for b in range(x.shape[0]):
        gamma, beta = film[b, norm, 0], film[b, norm, 1]
        for j in range(x.shape[1]):
            out[b, j] = (np.float32(1.0) + gamma[j]) * out[b, j] + beta[j]


@compiled
def _erf(x: np.float32) -> np.float32:
    """Computes erf to 3e-7, vectorised unlike the system's (coefficients: Eigen's `erf` of a float)."""
    x = min(max(x, np.float32(-4.0)), np.float32(4.0))
    u = x * x
    above = np.float32(-2.72614225801306e-10)
    above = above * u + np.float32(2.77068142495902e-08)
    above = above * u + np.float32(-2.10102402082508e-06)
    above = above * u + np.float32(-5.69250639462346e-05)
    above = above * u + np.float32(-7.34990630326855e-04)
    above = above * u + np.float32(-2.95459980854025e-03)
    above = above * u + np.float32(-1.60960333262415e-02)
    below = np.float32(-1.45660718464996e-05)
    below = below * u + np.float32(-2.13374055278905e-04)
    below = below * u + np.float32(-1.68282697438203e-03)
    below = below * u + np.float32(-7.37332916720468e-03)
    below = below * u + np.float32(-1.42647390514189e-02)
    return x * above / below


@compiled
def _mlp(y: np.ndarray, widen: Matrix, narrow: Matrix, x: np.ndarray) -> None:
    """Adds `narrow(gelu(widen(y)))` to `x`."""
    hidden = np.empty((y.shape[0], widen.rows.shape[0]), np.float32)
    _linear(y, widen, hidden)
    for b in range(hidden.shape[0]):
        for j in range(hidden.shape[1]):
            hidden[b, j] *= np.float32(0.5) * (np.float32(1.0) + _erf(hidden[b, j] * np.float32(math.sqrt(0.5))))
    out = np.empty_like(x)
    _linear(hidden, narrow, out)
    x += out


@compiled
def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, out: np.ndarray) -> None:
    """Rotates the features of one head by RoPE: `x` `(E,)` to `out` `(E,)`."""
    half = len(cos)
    for i in range(half):
        out[i] = x[i] * cos[i] - x[i + half] * sin[i]
        out[i + half] = x[i + half] * cos[i] + x[i] * sin[i]


@compiled
def _attend(query: np.ndarray, keys: np.ndarray, values: np.ndarray, seen: np.ndarray, out: np.ndarray) -> None:
    """Attends with one head: query `(E,)`, keys and values `(S, E)`, visible slots `seen` `(S,)`, into `out` `(E,)`."""
    weights = np.zeros(len(seen), np.float32)
    scale = np.float32(1.0) / np.sqrt(np.float32(len(query)))
    largest = np.float32(-np.inf)
    for s in range(len(seen)):
        if seen[s]:
            total = np.float32(0.0)
            for i in range(len(query)):
                total += query[i] * keys[s, i]
            weights[s] = total * scale
            largest = max(largest, weights[s])
    normalizer = np.float32(0.0)
    for s in range(len(seen)):
        weights[s] = math.exp(weights[s] - largest) if seen[s] else np.float32(0.0)
        normalizer += weights[s]
    out[:] = 0.0
    for s in range(len(seen)):
        share = weights[s] / normalizer
        for i in range(len(out)):
            out[i] += share * values[s, i]


@compiled
def _block(
    x: np.ndarray,
    film: np.ndarray,
    cos: np.ndarray,
    sin: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    seen: np.ndarray,
    slot: int,
    project_in: Matrix,
    project_out: Matrix,
    widen: Matrix,
    narrow: Matrix,
) -> None:
    """Runs one block on `x` `(B, D)`, in place; writes the frame's key and value into `slot` of the ring."""
    batch, dim = x.shape
    num_heads, head_dim = keys.shape[1], keys.shape[3]
    y, attended = np.empty_like(x), np.empty_like(x)
    projected = np.empty((batch, 3 * dim), np.float32)
    query = np.empty(head_dim, np.float32)
    _film_norm(x, film, 0, y)
    _linear(y, project_in, projected)
    for b in range(batch):
        for h in range(num_heads):
            at = h * head_dim
            _rotate(projected[b, at : at + head_dim], cos, sin, query)
            _rotate(projected[b, dim + at : dim + at + head_dim], cos, sin, keys[b, h, slot])
            values[b, h, slot] = projected[b, 2 * dim + at : 2 * dim + at + head_dim]
            _attend(query, keys[b, h], values[b, h], seen, attended[b, at : at + head_dim])
    _linear(attended, project_out, y)
    x += y
    _film_norm(x, film, 1, y)
    _mlp(y, widen, narrow, x)


@compiled
def _to_logits(hidden: np.ndarray, to_logits: Matrix, logits: np.ndarray) -> None:
    """Applies a norm and a linear layer: `hidden` `(B, D)` to `logits` `(B, m)`."""
    y = np.empty_like(hidden)
    _norm(hidden, y)
    _linear(y, to_logits, logits)


@compiled
def _depth_logits(known: np.ndarray, widen: Matrix, narrow: Matrix, to_logits: Matrix, logits: np.ndarray) -> None:
    """Computes the next codebook's `logits` `(B, V)` from `known` `(B, D)`, the sum for the frame so far."""
    y, x = np.empty_like(known), known.copy()
    _norm(known, y)
    _mlp(y, widen, narrow, x)
    _to_logits(x, to_logits, logits)

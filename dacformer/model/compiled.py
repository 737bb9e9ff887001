"""A stream's step on a CPU without torch's overhead: `DACFormer.step`, compiled, with weights in 8 bits.

One frame of one stream is a chain of matrix-vector products. Its limit is reading the weights once, and what torch adds
to that (230 calls for a small model) takes several times as long. Here a block is one compiled function, and a weight
is a byte: each row of a matrix is int8 times one float32 scale (absmax, Dettmers et al., arXiv:2208.07339, section 2);
activations and sums stay float32. What it must agree with is `DACFormer.step`.

Shapes: `B` streams side by side, few of them (for many, torch's matrix products are faster), `D` model dimension, `L`
layers, `H` heads, `E = D / H`, `S` slots of a ring, `K` codebooks, `V` codebook size.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional as F

from dacformer.model.dacformer import DACFormer, State
from dacformer.model.heads import Choose, DepthHead
from dacformer.model.rope import rope_frequencies


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles on first use; sums may be reordered, and other threads run meanwhile. The result is kept on disk."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's own can be written to
        return njit(**options)(function)


class Matrix(NamedTuple):
    """A linear layer `(n) -> (m)`.

    Attributes:
        rows: `(m, n)` int8 or float32.
        scales: `(m,)` float32, what each row is multiplied by.
        bias: `(m,)` float32.
    """

    rows: np.ndarray
    scales: np.ndarray
    bias: np.ndarray


class CompiledStep:
    """Draws frames for a model whose weights no longer change."""

    def __init__(self, model: DACFormer, int8: bool = True) -> None:
        """Takes the weights as they are now.

        Args:
            model: On the CPU, in evaluation mode.
            int8: Round them to 8 bits; else the logits are the model's own but for the order of sums.
        """
        self.model = model
        weights = {name: weight.detach().float() for name, weight in model.state_dict().items()}
        matrix = functools.partial(_matrix, weights, int8)
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
    def __call__(self, condition: Tensor, state: State, choose: Choose) -> Tensor:
        """Draws the next frame of a stream and moves the stream on by it: as `DACFormer.step`.

        Args:
            condition: `(B, 1, C)`, of the frame to be drawn.
            state: Where the stream stands, from `model.init_state`; `model(..., state=state)` may move it on as well.
            choose: Draws a code from logits, see `heads.Choose`.

        Returns:
            `(B, K, 1)` int64, the frame.
        """
        codes = state.previous.numpy()[:, :, 0]
        x = np.sum([table[codes[:, k]] for k, table in enumerate(self._embeddings)], axis=0)  # (B, D)
        slot = state.position % len(state.key_positions)
        key_positions = state.key_positions.numpy()
        key_positions[slot] = state.position
        angles = state.position * self._frequencies
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        seen = (key_positions >= 0) & (key_positions > state.position - self.model.config.window_frames)
        for film, matrices, cache in zip(self._modulation(condition), self._blocks, state.caches, strict=True):
            _block(x, film, cos, sin, cache.keys.numpy(), cache.values.numpy(), seen, slot, *matrices)
        state.position += 1
        state.previous = self._draw(x, choose)[..., None]
        return state.previous

    def _modulation(self, condition: Tensor) -> np.ndarray:
        """Of each block its two norms' gamma and beta, `(L, 2, 2, B, D)`; computed anew when the condition changes."""
        latest = self._latest  # read once: another thread's stream may replace it
        if latest is None or not torch.equal(condition, latest[0]):
            film = F.linear(self.model.embed_condition(condition[:, 0]), self._film_weight, self._film_bias)
            parts = film.view(len(film), len(self._blocks), 2, 2, -1).permute(1, 2, 3, 0, 4)
            self._latest = latest = condition.clone(), parts.contiguous().numpy()
        return latest[1]

    def _draw(self, x: np.ndarray, choose: Choose) -> Tensor:
        """The head's `sample`: `(B, D)`, which it overwrites, to codes `(B, K)`."""
        codes: list[Tensor] = []
        if not self._depth:
            logits = torch.from_numpy(_to_logits(x, self._logits)).unflatten(1, (-1, self.model.codebook_size))
            return torch.stack([choose(logits[:, k], k) for k in range(logits.shape[1])], dim=1)
        for k, matrices in enumerate(self._head):
            if k > 0:
                x += self._known[k - 1][codes[-1].numpy()]
            codes.append(choose(torch.from_numpy(_depth_logits(x, *matrices)), k))
        return torch.stack(codes, dim=1)


def _matrix(weights: dict[str, Tensor], int8: bool, name: str, norm: str | None = None) -> Matrix:
    """A layer's weights, with the gain and offset of the norm before it multiplied in."""
    weight = weights[f"{name}.weight"]
    bias = weights.get(f"{name}.bias", torch.zeros(len(weight)))
    if norm is not None:
        weight, bias = weight * weights[f"{norm}.weight"], bias + weight @ weights[f"{norm}.bias"]
    scales = weight.abs().amax(dim=1).clamp_min(1e-12) / 127.0 if int8 else torch.ones(len(weight))
    rows = (weight / scales[:, None]).round().to(torch.int8) if int8 else weight.contiguous()
    return Matrix(rows.numpy(), scales.numpy(), bias.numpy())


@compiled
def _linear(x: np.ndarray, matrix: Matrix, out: np.ndarray) -> None:
    """`(B, n) -> (B, m)`, into `out`. Each row is read once for every four streams."""
    batch = x.shape[0]
    for i in range(matrix.rows.shape[0]):
        scale, bias = matrix.scales[i], matrix.bias[i]
        b = 0
        while b + 4 <= batch:
            s0 = s1 = s2 = s3 = np.float32(0.0)
            for j in range(x.shape[1]):
                weight = np.float32(matrix.rows[i, j])
                s0 += weight * x[b, j]
                s1 += weight * x[b + 1, j]
                s2 += weight * x[b + 2, j]
                s3 += weight * x[b + 3, j]
            out[b, i] = s0 * scale + bias
            out[b + 1, i] = s1 * scale + bias
            out[b + 2, i] = s2 * scale + bias
            out[b + 3, i] = s3 * scale + bias
            b += 4
        while b < batch:
            s0 = np.float32(0.0)
            for j in range(x.shape[1]):
                s0 += np.float32(matrix.rows[i, j]) * x[b, j]
            out[b, i] = s0 * scale + bias
            b += 1


@compiled
def _norm(x: np.ndarray, out: np.ndarray) -> None:
    """Layer norm without gain and offset, `(B, D)`."""
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
def _film_norm(x: np.ndarray, film: np.ndarray, out: np.ndarray) -> None:
    _norm(x, out)
    for b in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[b, j] = (np.float32(1.0) + film[0, b, j]) * out[b, j] + film[1, b, j]


@compiled
def _mlp(y: np.ndarray, widen: Matrix, narrow: Matrix, x: np.ndarray) -> None:
    """Adds `narrow(gelu(widen(y)))` to `x`."""
    hidden = np.empty((y.shape[0], widen.rows.shape[0]), np.float32)
    _linear(y, widen, hidden)
    for b in range(hidden.shape[0]):
        for j in range(hidden.shape[1]):
            hidden[b, j] *= np.float32(0.5) * (np.float32(1.0) + math.erf(hidden[b, j] * np.float32(math.sqrt(0.5))))
    out = np.empty_like(x)
    _linear(hidden, narrow, out)
    x += out


@compiled
def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, out: np.ndarray) -> None:
    """RoPE of one head, `(E,)`."""
    half = len(cos)
    for i in range(half):
        out[i] = x[i] * cos[i] - x[i + half] * sin[i]
        out[i + half] = x[i + half] * cos[i] + x[i] * sin[i]


@compiled
def _attend(query: np.ndarray, keys: np.ndarray, values: np.ndarray, seen: np.ndarray, out: np.ndarray) -> None:
    """One head: query `(E,)`, keys and values `(S, E)`, those seen `(S,)`."""
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
    """One block on `x` `(B, D)`, in place; the frame's key and value go into the ring's `slot`."""
    batch, dim = x.shape
    num_heads, head_dim = keys.shape[1], keys.shape[3]
    y, attended = np.empty_like(x), np.empty_like(x)
    projected = np.empty((batch, 3 * dim), np.float32)
    query = np.empty(head_dim, np.float32)
    _film_norm(x, film[0], y)
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
    _film_norm(x, film[1], y)
    _mlp(y, widen, narrow, x)


@compiled
def _to_logits(hidden: np.ndarray, to_logits: Matrix) -> np.ndarray:
    """A norm and a linear layer: `(B, D)` to `(B, m)`."""
    y = np.empty_like(hidden)
    logits = np.empty((hidden.shape[0], to_logits.rows.shape[0]), np.float32)
    _norm(hidden, y)
    _linear(y, to_logits, logits)
    return logits


@compiled
def _depth_logits(known: np.ndarray, widen: Matrix, narrow: Matrix, to_logits: Matrix) -> np.ndarray:
    """Logits `(B, V)` of the next codebook from what is known of the frame, `(B, D)`."""
    y, x = np.empty_like(known), known.copy()
    _norm(known, y)
    _mlp(y, widen, narrow, x)
    return _to_logits(x, to_logits)

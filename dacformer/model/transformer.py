"""Transformer blocks with banded causal attention and FiLM, for whole segments and for streams.

Shapes: `B` batch, `T` frames, `S` keys that attention sees (the slots of a ring in a stream), `D` model dimension,
`H` heads, `E = D / H`, `F` width of the condition's embedding.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dacformer.config import ModelConfig
from dacformer.model.cache import RingCache
from dacformer.model.rope import rotate


@dataclass
class Frames:
    """Positions of the current frames, in the forms that attention needs. All layers share them.

    Attributes:
        angles: Cosine and sine for RoPE, each `(T, E / 2)` float32.
        mask: Bool, True where query `q` may see key `k`: `0 <= q - k < window_frames`. `(T, S)` in a
            stream; in a segment `(n, W, 2 W)`, see `local_attention`.
        slots: `(T,)` int64, the slots that a stream writes these frames to; None in a segment.
        key_positions: `(S,)` int64, the position of the frame in each slot after that; None in a
            segment.
    """

    angles: tuple[Tensor, Tensor]
    mask: Tensor
    slots: Tensor | None = None
    key_positions: Tensor | None = None


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al., arXiv:1706.03762) with RoPE per head and a band as mask."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.dropout = config.dropout
        self.project_in = nn.Linear(config.dim, 3 * config.dim, bias=False)
        self.project_out = nn.Linear(config.dim, config.dim, bias=False)

    def forward(self, x: Tensor, frames: Frames, cache: RingCache | None) -> Tensor:
        """Attends from every frame to those before it within the window.

        Args:
            x: `(B, T, D)`.
            frames: Angles, mask and slots of these frames.
            cache: The KV cache of this layer; None for a whole segment.

        Returns:
            `(B, T, D)`.
        """
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, H, T, E)
            for part in self.project_in(x).chunk(3, dim=-1)
        )
        query, key = rotate(query, frames.angles), rotate(key, frames.angles)
        dropout = self.dropout if self.training else 0.0
        if cache is None:
            y = local_attention(query, key, value, frames.mask, dropout)
        else:
            assert frames.slots is not None
            key, value = cache.update(frames.slots, key, value)  # (B, H, S, E)
            y = F.scaled_dot_product_attention(query.to(key.dtype), key, value, frames.mask, dropout)
        return self.project_out(y.transpose(1, 2).flatten(-2))


class FilmNorm(nn.Module):
    """`(1 + gamma) * norm(x) + beta`, gamma and beta linear in the condition and zero at the start.

    FiLM (Perez et al., arXiv:1709.07871, equation 2) in the form of adaLN-zero (Peebles & Xie, arXiv:2212.09748,
    section 3.2).
    """

    def __init__(self, dim: int, film_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.film = nn.Linear(film_dim, 2 * dim)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Modulates `x` `(B, T, D)` by the embedded condition `(B, T or 1, F)`."""
        gamma, beta = self.film(condition).chunk(2, dim=-1)
        return (1.0 + gamma) * self.norm(x) + beta


class Block(nn.Module):
    """One transformer layer: pre-norm attention and MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = int(config.mlp_ratio * config.dim)
        self.attention_norm = FilmNorm(config.dim, config.film_dim)
        self.attention = Attention(config)
        self.mlp_norm = FilmNorm(config.dim, config.film_dim)
        widen, narrow = nn.Linear(config.dim, hidden, bias=False), nn.Linear(hidden, config.dim, bias=False)
        self.mlp = nn.Sequential(widen, nn.GELU(), narrow)
        self.dropout = nn.Dropout(config.dropout)
        # Small output projections keep the variance of the residual stream from growing with depth (GPT-2).
        for layer in (self.attention.project_out, narrow):
            nn.init.normal_(layer.weight, std=0.5 / math.sqrt(2 * config.num_layers * layer.in_features))

    def forward(self, x: Tensor, condition: Tensor, frames: Frames, cache: RingCache | None) -> Tensor:
        """Runs the layer on `x` `(B, T, D)` under the embedded condition `(B, T or 1, F)`: `(B, T, D)`."""
        x = x + self.dropout(self.attention(self.attention_norm(x, condition), frames, cache))
        return x + self.dropout(self.mlp(self.mlp_norm(x, condition)))


def local_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float = 0.0) -> Tensor:
    """Computes attention within a band, in blocks as long as the window.

    Each block attends to itself and to the block before it, so most scores outside the band are never
    computed: in a segment of five windows, two of five are. The operations are written out because the
    backward pass of torch's fused kernel takes four times as long on a CPU.

    Args:
        query: `(B, H, T, E)`.
        key: As `query`.
        value: As `query`.
        mask: `(n, W, 2 W)` bool, see `block_bands`.
        dropout: Dropout probability of the attention weights.

    Returns:
        `(B, H, T, E)`, equal to dense attention with `band` as its mask.
    """
    blocks, length = mask.shape[:2]
    frames, width = query.shape[-2:]
    query, key, value = (
        F.pad(x, (0, 0, 0, blocks * length - frames)).unflatten(-2, (blocks, length)) for x in (query, key, value)
    )  # (B, H, n, W, E)
    key, value = (torch.cat([F.pad(x[:, :, :-1], (0, 0, 0, 0, 1, 0)), x], dim=-2) for x in (key, value))
    scores = (query / math.sqrt(width)) @ key.transpose(-1, -2)  # (B, H, n, W, 2 W)
    weights = F.dropout(scores.masked_fill(~mask, -1e4).softmax(-1, dtype=scores.dtype), dropout)
    return (weights.to(value.dtype) @ value).flatten(2, 3)[:, :, :frames]


def block_bands(positions: Tensor, window_frames: int) -> Tensor:
    """Makes the banded causal mask of a segment, cut into blocks of `window_frames` queries.

    Args:
        positions: `(T,)` int64, not negative, in order. Fewer than `window_frames` make one short block.
        window_frames: `W`.

    Returns:
        `(n, W, 2 W)` bool: which keys of the previous block and its own each block sees.
    """
    length = min(window_frames, len(positions))
    missing = -len(positions) % length
    blocks = F.pad(positions, (0, missing), value=int(positions[-1]) + 1).unflatten(0, (-1, length))  # (n, W)
    before = F.pad(blocks[:-1], (0, 0, 1, 0), value=-1)
    return band(blocks, torch.cat([before, blocks], dim=1), window_frames)


def band(query_positions: Tensor, key_positions: Tensor, window_frames: int) -> Tensor:
    """Makes the banded causal mask.

    Args:
        query_positions: `(..., T)` int64.
        key_positions: `(..., S)` int64; a negative position is an empty slot.
        window_frames: `W`, the current frame included.

    Returns:
        `(..., T, S)` bool, True where `0 <= q - k < W` and `k >= 0`.
    """
    distance = query_positions[..., :, None] - key_positions[..., None, :]
    return (distance >= 0) & (distance < window_frames) & (key_positions >= 0)[..., None, :]

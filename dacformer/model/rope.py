"""Rotary position embedding (Su et al., arXiv:2104.09864, section 3.2.2).

Queries and keys are rotated per head, once, after their projection. So the score of two frames depends
on their positions only through the distance between them.
"""

import torch
from torch import Tensor


def rope_frequencies(head_dim: int, base: float = 10_000.0) -> Tensor:
    """Computes the angle per frame of each pair of features, `(head_dim / 2,)` float64."""
    return base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)


def rope_angles(positions: Tensor, head_dim: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Computes cosine and sine of the angle of every position and pair of features (equation 15).

    Positions are integers and angles float64, on the CPU, so they are as exact after days of frames as
    at the start.

    Args:
        positions: `(T,)` int64 on the CPU, frames since the start of the stream.
        head_dim: Width of a head, even.
        base: Wavelengths go from `2 pi` up towards `2 pi * base` frames.

    Returns:
        Cosine and sine, each `(T, head_dim / 2)` float32.
    """
    angles = positions.to(torch.float64)[:, None] * rope_frequencies(head_dim, base)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Rotates each pair of features by its angle (equation 34).

    Args:
        x: `(B, H, T, head_dim)`, queries or keys. Feature `i` is paired with feature `i + head_dim / 2`.
        angles: From `rope_angles`, on the device of `x`.

    Returns:
        `(B, H, T, head_dim)`, of the dtype of `x`.
    """
    cos, sin = angles
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)

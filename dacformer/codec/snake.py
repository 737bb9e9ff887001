"""Snake, DAC's activation, in one pass over memory.

As five torch operations it takes half of a small decoder's time.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from dacformer.jit import compiled_in_order, in_parallel

_TILE = 1024  # numbers computed at a time: they stay in the first-level cache
_TILES_WORTH_A_THREAD = 64
_C0, _C1, _C2, _C3, _C4, _C5, _C6, _C7 = (
    np.float32((-1) ** n * 2 ** (2 * n + 1) / math.factorial(2 * n + 2)) for n in range(8)
)  # series of sin(r)^2 / r^2 in r^2; the remainder is below 3e-8 for |r| <= pi / 2
_PI_HIGH = np.float32(3.140625)  # so few bits that its small multiples are exact (Cody & Waite)
_PI_LOW = np.float32(math.pi - 3.140625)
_ONE_OVER_PI = np.float32(1.0 / math.pi)


class Snake(nn.Module):
    """`x + sin(alpha x)^2 / alpha` (Ziyin et al., arXiv:2006.08195)."""

    alpha: Tensor
    inverse: Tensor

    def __init__(self, alpha: Tensor) -> None:
        """Makes the activation with slopes `alpha` `(1, channels, 1)`."""
        super().__init__()
        self.register_buffer("alpha", alpha)
        self.register_buffer("inverse", (alpha + 1e-9).reciprocal())
        self._tiles = [
            slopes.float().flatten().repeat(max(1, _TILE // alpha.shape[1])).numpy()
            for slopes in (self.alpha.cpu(), self.inverse.cpu())
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Applies the activation to `x` `(B, channels, N)`; leaves `x` unchanged."""
        samples_first = x.mT
        fit = x.device.type == "cpu" and x.dtype in _IN_ONE_PASS and samples_first.is_contiguous()
        if fit and not x.requires_grad:
            return self._in_one_pass(samples_first).mT
        return (x * self.alpha).sin_().square_().mul_(self.inverse).add_(x)

    def _in_one_pass(self, x: Tensor) -> Tensor:
        """Applies the activation to a contiguous `(B, N, channels)`, the layout of `fast.Conv`."""
        snake, bits = _IN_ONE_PASS[x.dtype]  # numpy has no bfloat16
        out = torch.empty_like(x)
        numbers, results = x.view(-1).view(bits).numpy(), out.view(-1).view(bits).numpy()
        length = len(self._tiles[0])

        def work(tiles: slice) -> None:
            part = slice(tiles.start * length, tiles.stop * length)
            snake(numbers[part], *self._tiles, results[part])

        in_parallel(work, -(-len(numbers) // length), at_least=_TILES_WORTH_A_THREAD)
        return out


@compiled_in_order
def _snake_of(x: np.float32, alpha: np.float32, inverse: np.float32) -> np.float32:
    r = x * alpha
    turns = np.rint(r * _ONE_OVER_PI)  # sin^2 has the period pi
    r = (r - turns * _PI_HIGH) - turns * _PI_LOW
    u = r * r
    series = _C0 + u * (_C1 + u * (_C2 + u * (_C3 + u * (_C4 + u * (_C5 + u * (_C6 + u * _C7))))))
    return x + u * series * inverse


@compiled_in_order
def _snake_float32(x: np.ndarray, alpha: np.ndarray, inverse: np.ndarray, out: np.ndarray) -> None:
    """Applies Snake to `(n,)` float32; slopes `(t,)` repeat every `t` numbers."""
    for start in range(0, len(x), len(alpha)):
        source, target = x[start : start + len(alpha)], out[start : start + len(alpha)]
        for i in range(len(source)):
            target[i] = _snake_of(source[i], alpha[i], inverse[i])


@compiled_in_order
def _snake_bfloat16(x: np.ndarray, alpha: np.ndarray, inverse: np.ndarray, out: np.ndarray) -> None:
    """Applies Snake to bfloat16, given as its bits `(n,)` uint16."""
    bits = np.empty(len(alpha), np.uint32)
    numbers = bits.view(np.float32)
    for start in range(0, len(x), len(alpha)):
        source, target = x[start : start + len(alpha)], out[start : start + len(alpha)]
        for i in range(len(source)):
            bits[i] = np.uint32(source[i]) << np.uint32(16)
        for i in range(len(source)):
            numbers[i] = _snake_of(numbers[i], alpha[i], inverse[i])
        for i in range(len(source)):  # round to nearest, ties to even
            odd = (bits[i] >> np.uint32(16)) & np.uint32(1)
            target[i] = np.uint16((bits[i] + np.uint32(0x7FFF) + odd) >> np.uint32(16))


_IN_ONE_PASS = {torch.float32: (_snake_float32, torch.float32), torch.bfloat16: (_snake_bfloat16, torch.uint16)}

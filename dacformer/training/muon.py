"""Muon optimizer, in bfloat16 or float32, whichever the hardware computes natively.

`torch.optim.Muon` multiplies in bfloat16 whatever the machine. A processor without bfloat16 emulates it, and the
optimizer then takes six times as long as the model (docs/log.md). This one has the same state and the same steps.

Shapes: `b` matrices of one shape are processed together; `m <= n` are the sides of each.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from dacformer.hardware import computes_in_bfloat16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration `a X + b (X X^T) X + c (X X^T)^2 X` (Jordan et al., 2024)."""

ITERATIONS = 5
EPSILON = 1e-7


class Muon(torch.optim.Optimizer):
    """Optimizer for matrices: replaces the momentum by the nearest semi-orthogonal matrix and steps along it.

    So all singular values of an update are about equal (Jordan et al., 2024,
    https://kellerjordan.github.io/posts/muon). Steps are scaled as in Liu et al., arXiv:2502.16982, equation 4, so that
    Muon and AdamW can have the same learning rate.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.1, momentum: float = 0.95) -> None:
        """Sets up the optimizer.

        Args:
            params: Matrices, each `(rows, columns)`; under FSDP, shards of matrices.
            lr: Learning rate.
            weight_decay: Decoupled weight decay, as in AdamW.
            momentum: Decay of the moving average of gradients; used with Nesterov momentum.
        """
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Takes one step with `param.grad`. Matrices of one shape are orthogonalised together."""
        assert closure is None
        for group in self.param_groups:
            by_shape: defaultdict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for param in group["params"]:
                if param.grad is not None:
                    by_shape[param.shape].append((param, self._update(param, param.grad, group["momentum"])))
            for shape, pairs in by_shape.items():
                directions = orthogonalize(torch.stack([_whole(update) for _, update in pairs]))
                scale = 0.2 * math.sqrt(max(shape))
                for (param, _), direction in zip(pairs, directions, strict=True):
                    param.mul_(1.0 - group["lr"] * group["weight_decay"])
                    param.add_(_sharded_like(param, direction), alpha=-group["lr"] * scale)

    def _update(self, param: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        state = self.state[param]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(param)
        average = state["momentum_buffer"].lerp_(gradient, 1.0 - momentum)
        return gradient.lerp(average, momentum)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Orthogonalises matrices approximately: singular values become 0.7 to 1.2, except tiny ones.

    Args:
        matrices: `(b, rows, columns)` float32.

    Returns:
        `(b, rows, columns)`, bfloat16 where the hardware computes in it, else float32.
    """
    iterate = _iterate if computes_in_bfloat16(matrices.device.type) else _iterate_on_gram
    if matrices.shape[-2] > matrices.shape[-1]:
        return iterate(_normalized(matrices.mT)).mT
    return iterate(_normalized(matrices))


def _normalized(x: Tensor) -> Tensor:
    return x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(EPSILON)


def _iterate(x: Tensor) -> Tensor:
    """Applies the iteration as published, in bfloat16: `(b, m, n)` to `(b, m, n)`."""
    a, b, c = COEFFICIENTS
    x = x.bfloat16()
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _iterate_on_gram(x: Tensor) -> Tensor:
    """Applies the same iteration to the Gram matrix, in float32: `(b, m, n)` to `(b, m, n)`.

    Each step multiplies `x` from the left by a polynomial `p` of `x x^T`. These polynomials commute, so their product
    `(m, m)` is computed first and multiplied by the wide `x` only once. This takes two thirds of the multiplications
    of `_iterate`. bfloat16 would not be precise enough for the squares of singular values.
    """
    gram = x @ x.mT
    product = p = _polynomial(gram)
    for _ in range(ITERATIONS - 1):
        gram = p @ gram @ p
        p = _polynomial(gram)
        product = p @ product
    return product @ x


def _polynomial(gram: Tensor) -> Tensor:
    """Computes `a + b gram + c gram^2`, the factor of one step."""
    a, b, c = COEFFICIENTS
    p = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    p.diagonal(dim1=-2, dim2=-1).add_(a)
    return p


def _whole(update: Tensor) -> Tensor:
    """Returns the whole matrix of a shard (FSDP). All processes must call it."""
    return update.full_tensor() if isinstance(update, DTensor) else update


def _sharded_like(param: Tensor, direction: Tensor) -> Tensor:
    """Returns the part of a whole matrix that belongs to a parameter's shard on this process, in its dtype."""
    direction = direction.to(param.dtype)
    if not isinstance(param, DTensor):
        return direction
    # Every process has the whole matrix already, so nothing is sent.
    return distribute_tensor(direction.contiguous(), param.device_mesh, param.placements, src_data_rank=None)

"""What every training does beside its optimizer: averages the weights, and schedules the learning rate.

The transformer's training (`dacformer.training`) and the codec's (`dacformer.codec.training`) share it.
"""

import contextlib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule


class WeightAverage:
    """An exponential moving average (EMA) of a model's parameters, kept beside them, sharded as they are."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Starts the average from the present weights.

        Args:
            model: Its parameters are averaged; buffers are not.
            decay: Share of the average that a step keeps, in [0, 1); 0 makes the average the weights themselves.
        """
        self._names = [name for name, _ in model.named_parameters()]
        self._parameters = list(model.parameters())
        self._sharded = [module for module in model.modules() if isinstance(module, FSDPModule)]
        self._averages = [parameter.detach().clone() for parameter in self._parameters]
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average towards the weights.

        Args:
            step: Counted from 1. Early steps have a smaller decay, so that the initial weights are soon forgotten.
        """
        decay = min(self._decay, step / (step + 10.0))
        torch._foreach_lerp_(self._averages, [parameter.detach() for parameter in self._parameters], 1.0 - decay)

    def weights(self) -> dict[str, Tensor]:
        """The averages by the names of their parameters: the tensors themselves, not copies."""
        return dict(zip(self._names, self._averages, strict=True))

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Sets the average to what `weights` returned before.

        Raises:
            KeyError: A parameter is missing.
        """
        for name, average in zip(self._names, self._averages, strict=True):
            average.copy_(weights[name])

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts the average in the place of the weights, inside a `with` block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, average in zip(self._parameters, self._averages, strict=True):
            held = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(held)
        for module in self._sharded:  # what it gathered for its last forward is of the weights before
            module.reshard()


def warmup_cosine(
    step: int, num_steps: int, warmup_steps: int, peak: float, final: float, decay_from: int = 0
) -> float:
    """Learning rate of a step: linear warm-up, and half a cosine down (Loshchilov & Hutter, arXiv:1608.03983).

    Args:
        step: Counted from 1.
        num_steps: Length of the training; its last step has the final rate.
        warmup_steps: Length of the warm-up; 0 leaves it out.
        peak: Rate at the top of the cosine.
        final: Rate at its bottom.
        decay_from: Step at which the cosine begins. Before the end of the warm-up, the two are multiplied.

    Returns:
        The rate, in the unit of `peak`.
    """
    warmup = min(1.0, step / max(warmup_steps, 1))
    done = max(step - decay_from, 0) / max(num_steps - decay_from, 1)
    return warmup * (final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * done)))


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """Sets the learning rate of all parameter groups."""
    for group in itertools.chain.from_iterable(each.param_groups for each in optimizers):
        group["lr"] = rate

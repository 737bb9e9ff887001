"""Averaged weights."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule


class WeightAverage:
    """An exponential moving average of the weights, kept beside them (sharded as they are)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Starts from the weights as they are; `decay` 0 makes the average the weights themselves."""
        self._parameters = list(model.parameters())
        self._sharded = [module for module in model.modules() if isinstance(module, FSDPModule)]
        self._averages = [parameter.detach().clone() for parameter in self._parameters]
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average towards the weights; early steps count more, so that the start is soon forgotten."""
        decay = min(self._decay, step / (step + 10.0))
        torch._foreach_lerp_(self._averages, [parameter.detach() for parameter in self._parameters], 1.0 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts the average in the weights' place for a while."""
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

"""Loops compiled by numba, where torch's overhead or its temporary tensors would cost more than the work."""

import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles on first use; sums may be reordered, and other threads run meanwhile. The result is kept on disk."""
    return _compiled(function, {"reassoc", "contract", "nsz"})


def compiled_in_order(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `compiled`, for arithmetic whose rounding counts: nothing is reordered."""
    return _compiled(function, {"contract", "nsz"})


def _compiled(function: Callable[..., Any], fastmath: set[str]) -> Callable[..., Any]:
    options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's own can be written to
        return njit(**options)(function)


def in_parallel(work: Callable[[slice], object], length: int, at_least: int) -> None:
    """Does work on `range(length)`, in as many parts as torch has threads, none of them shorter than `at_least`.

    numba's own parallel loops must not be entered by two threads at once, as two players would.

    Args:
        work: Is called with each part, from several threads at once.
        length: How much there is.
        at_least: What pays a thread's start.
    """
    num_parts = max(1, min(torch.get_num_threads(), length // at_least))
    bounds = [length * i // num_parts for i in range(num_parts + 1)]
    parts = [slice(*pair) for pair in itertools.pairwise(bounds)]
    others = [_threads().submit(work, part) for part in parts[1:]]
    work(parts[0])
    for other in others:
        other.result()


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads(), "dacformer-kernel")

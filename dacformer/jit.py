"""Decorators for functions compiled by numba, and a parallel loop to run them in.

Compiled functions are used where torch's overhead or its temporary tensors cost more than the work itself.
"""

import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function on first use, with reordered sums and without Python's lock; keeps the result on disk."""
    return _compiled(function, {"reassoc", "contract", "nsz"})


def compiled_in_order(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles as `compiled` does, but reorders no sums, for arithmetic whose rounding matters."""
    return _compiled(function, {"contract", "nsz"})


def _compiled(function: Callable[..., Any], fastmath: set[str]) -> Callable[..., Any]:
    options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache folder is writable
        return njit(**options)(function)


def in_parallel(work: Callable[[slice], object], length: int, at_least: int) -> None:
    """Splits `range(length)` into slices and calls `work(slice)` on each, in parallel.

    There are at most `torch.get_num_threads()` slices. (numba's own parallel loops are not safe when two
    threads enter them at once, as two live engines would.)

    Args:
        work: Called with each slice, from several threads at once.
        length: Number of items.
        at_least: Fewest items of a slice; with fewer, starting a thread does not pay.
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

"""Measures over many sounds, on all cores."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
from joblib import Parallel, delayed

T = TypeVar("T")


def parallel_map(measure: Callable[[np.ndarray, int], T], sounds: Iterable[np.ndarray], sample_rate: int) -> list[T]:
    """Applies a measure to each sound, in parallel processes.

    Args:
        measure: Takes audio `(N,)` and its rate in Hz.
        sounds: Each `(N,)`.
        sample_rate: In Hz.

    Returns:
        The results, in order.
    """
    return list(Parallel(n_jobs=-1)(delayed(measure)(audio, sample_rate) for audio in sounds))

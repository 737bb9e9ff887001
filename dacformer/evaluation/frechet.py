"""Fréchet distance between two sets of vectors: the distance of Gaussians with their means and covariances.

Heusel et al., arXiv:1706.08500 (eq. 6) for images; Kilgour et al., "Fréchet Audio Distance", Interspeech 2019, for
sound, with a vector for each short frame. A texture distance compares averages over time. The Fréchet distance also
compares how much frames and clips vary.

In shapes, F is frames of one clip and D is dimensions.
"""

from collections.abc import Sequence

import numpy as np


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Fréchet distance `|mean_a - mean_b|^2 + trace(A + B - 2 sqrt(A B))`, with covariances A and B.

    The estimate is too large for few vectors, and more so for many dimensions. Compare only results of sets of equal
    size, and use many more vectors than dimensions.

    Args:
        a: `(N, D)` float, at least two vectors.
        b: `(M, D)` float, at least two vectors.

    Returns:
        The distance, 0 or more, in squared units of the vectors.

    Raises:
        ValueError: The shapes do not fit, or a set has fewer than two vectors.
    """
    for vectors in (a, b):
        if vectors.ndim != 2 or len(vectors) < 2 or vectors.shape[1] != a.shape[1]:
            raise ValueError(f"the sets have shapes {a.shape} and {b.shape}; give (N, D) and (M, D), N and M 2 or more")
    (mean_a, covariance_a), (mean_b, covariance_b) = _moments(a), _moments(b)
    # A B is not symmetric, and its square root may come out complex. sqrt(A) B sqrt(A) has the same eigenvalues and is
    # symmetric; what is below zero in either is rounding.
    values, vectors = np.linalg.eigh(covariance_a)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariance_b @ root), 0)).sum()
    spread = np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap
    return float(max(np.sum((mean_a - mean_b) ** 2) + spread, 0.0))


def frechet_between(
    a: Sequence[np.ndarray], b: Sequence[np.ndarray], num_bootstrap: int = 200, seed: int = 0
) -> tuple[float, float, float]:
    """Computes the Fréchet distance between the frames of two sets of clips, and a bootstrap confidence interval.

    Frames of one clip are similar, so the bootstrap (Efron, Annals of Statistics 7, 1979) draws whole clips from both
    sets, with replacement. A draw contains fewer distinct clips than its set, so its distance is too large on average.
    The interval is therefore shifted so that the median of the draws equals the distance.

    Args:
        a: Clips `(F, D)` float, at least two, of any lengths.
        b: Clips `(F, D)` float, at least two, of any lengths.
        num_bootstrap: Draws, 1 or more.
        seed: Of the draws.

    Returns:
        The distance, and the lower and upper end of its 95 % interval, 0 or more.

    Raises:
        ValueError: A set has fewer than two clips, or the clips do not fit together.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"the sets have {len(a)} and {len(b)} clips; an interval over clips needs two or more of each")
    rng = np.random.default_rng(seed)
    value = frechet_distance(np.concatenate(a), np.concatenate(b))
    draws = [frechet_distance(_draw(a, rng), _draw(b, rng)) for _ in range(num_bootstrap)]
    low, middle, high = np.percentile(draws, [2.5, 50, 97.5])
    return value, float(max(value + low - middle, 0.0)), float(value + high - middle)


def _draw(clips: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([clips[i] for i in rng.integers(len(clips), size=len(clips))])


def _moments(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(D,)` and covariance `(D, D)`, in float64 whatever the vectors are."""
    vectors = np.asarray(vectors, dtype=np.float64)
    return vectors.mean(axis=0), np.atleast_2d(np.cov(vectors, rowvar=False))

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import ortho_group

from dacformer.evaluation.frechet import frechet_between, frechet_distance


def gaussian(
    num_vectors: int, mean: np.ndarray, covariance: np.ndarray, seed: int = 0, dtype: type = np.float64
) -> np.ndarray:
    """Vectors that have exactly this mean and covariance."""
    vectors = np.random.default_rng(seed).standard_normal((num_vectors, len(mean)))
    vectors -= vectors.mean(axis=0)
    white = vectors @ np.linalg.inv(np.linalg.cholesky(np.cov(vectors, rowvar=False))).T
    return (mean + white @ np.linalg.cholesky(covariance).T).astype(dtype)


def clips(count: int, seed: int, mean: float = 0.0, dim: int = 4) -> list[np.ndarray]:
    """Clips of different lengths, each with an offset of its own."""
    rng = np.random.default_rng(seed)
    return [mean + rng.normal(size=dim) + rng.normal(size=(20 + 5 * (i % 3), dim)) for i in range(count)]


def test_independent_dimensions_add_up():
    """Without correlations it is the sum of squared differences of means and of standard deviations."""
    mean_a, mean_b = np.array([0.0, 1.0, -2.0]), np.array([0.5, 1.0, 3.0])
    deviation_a, deviation_b = np.array([1.0, 0.1, 2.0]), np.array([3.0, 0.2, 0.0001])
    a, b = gaussian(50, mean_a, np.diag(deviation_a**2)), gaussian(80, mean_b, np.diag(deviation_b**2), seed=1)
    expected = np.sum((mean_a - mean_b) ** 2 + (deviation_a - deviation_b) ** 2)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_correlated_dimensions_as_by_the_matrix_root():
    rng = np.random.default_rng(0)
    covariance_a, covariance_b = (np.cov(rng.normal(size=(5, 9))) for _ in range(2))
    a, b = gaussian(30, np.zeros(5), covariance_a), gaussian(30, np.ones(5), covariance_b)
    expected = 5 + np.trace(covariance_a + covariance_b - 2 * sqrtm(covariance_a @ covariance_b).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_one_dimension():
    assert frechet_distance(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]])) == pytest.approx(9)


# A vanishing eigenvalue is known to the rounding of the largest, and its square root only to the root of that.
ROUNDING = 1e-6


def test_rotation_and_order_of_vectors_do_not_matter_and_scale_is_squared():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 6)), rng.normal(size=(50, 6)) * np.arange(6) + 1
    rotation, distance = ortho_group.rvs(6, random_state=0), frechet_distance(a, b)
    assert frechet_distance(a @ rotation, b @ rotation) == pytest.approx(distance, rel=ROUNDING)
    assert frechet_distance(rng.permutation(a), b) == pytest.approx(distance, rel=ROUNDING)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * distance, rel=ROUNDING)
    assert frechet_distance(b, a) == pytest.approx(distance, rel=ROUNDING)


@pytest.mark.parametrize("num_vectors", [3, 200], ids=["fewer than dimensions", "more than dimensions"])
def test_nothing_lies_between_a_set_and_itself(num_vectors):
    a = np.random.default_rng(0).normal(size=(num_vectors, 8))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + 1) == pytest.approx(8, abs=1e-6)


def test_a_dimension_that_does_not_vary_is_no_trouble():
    a = np.random.default_rng(0).normal(size=(30, 3)) * [1, 1e-9, 0]
    assert frechet_distance(a, 2 * a) == pytest.approx(np.trace(np.cov(a.T)) + np.sum(a.mean(axis=0) ** 2))


def test_single_precision_vectors_are_computed_in_double():
    covariance = np.diag([1.0, 4.0])
    a = gaussian(300, np.array([100.0, 0.0]), covariance, dtype=np.float32)
    assert frechet_distance(a, a.astype(np.float64) + np.array([0.1, 0.0])) == pytest.approx(0.01, rel=1e-4)


def test_interval_of_sets_that_are_alike_is_narrow_and_holds_the_distance():
    value, low, high = frechet_between(clips(20, seed=0), clips(20, seed=1), num_bootstrap=100, seed=0)
    assert 0 <= low <= value <= high < 4  # half of the variance of a clip
    _, low_of_few, high_of_few = frechet_between(clips(5, seed=0), clips(5, seed=1), 100, seed=0)
    assert high - low < high_of_few - low_of_few


def test_interval_finds_sets_apart():
    """Of means 3 apart in each of 4 dimensions: 36."""
    value, low, high = frechet_between(clips(40, seed=0), clips(40, seed=1, mean=3.0), num_bootstrap=100, seed=0)
    assert 20 < low < value < high < 60
    assert low < 36 < high


def test_interval_covers_what_new_clips_would_give():
    """The spread of the draws is that of the distance over fresh sets, to a factor."""
    fresh = [
        frechet_distance(*(np.concatenate(clips(15, 2 * seed + i, mean=2.0 * i)) for i in (0, 1))) for seed in range(60)
    ]
    _, low, high = frechet_between(clips(15, 1000), clips(15, 1001, mean=2.0), num_bootstrap=100, seed=0)
    assert 0.5 < (high - low) / np.subtract(*np.percentile(fresh, [97.5, 2.5])) < 2


def test_the_same_seed_gives_the_same_interval():
    a, b = clips(6, seed=0), clips(8, seed=1)
    assert frechet_between(a, b, 20, seed=3) == frechet_between(a, b, 20, seed=3)
    assert frechet_between(a, b, 20, seed=3) != frechet_between(a, b, 20, seed=4)


def test_sets_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match=r"\(5, 2\) and \(5, 3\)"):
        frechet_distance(np.zeros((5, 2)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="2 or more"):
        frechet_distance(np.zeros((5, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="1 and 4 clips"):
        frechet_between(clips(1, 0), clips(4, 1), 5)

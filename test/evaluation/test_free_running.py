"""One number for free running: nothing for the same clips, one for clips that have nothing to do with each other."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacformer.codec import Codec
from dacformer.data import load_dataset
from dacformer.evaluation import FreeRunning
from dacformer.evaluation.free_running import clip_statistics, misread, relative_distance, targets_of
from dacformer.generation import Synthesizer


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 10))
def test_the_same_clips_are_at_no_distance_and_shuffled_ones_at_about_one(seed: int, scale: float) -> None:
    real = np.random.default_rng(seed).normal(scale=scale, size=(200, 12))
    assert relative_distance(real, real) == 0.0
    assert relative_distance(real, np.roll(real, 1, axis=0)) == pytest.approx(1.0, abs=0.25)


def test_statistics_hear_rhythm_and_not_only_colour() -> None:
    slow, fast = (np.sin(2 * np.pi * np.arange(258)[:, None] / period) for period in (64, 8))
    assert np.allclose(clip_statistics(slow)[:2], clip_statistics(fast)[:2], atol=0.05)
    assert clip_statistics(slow)[4] > 0.8 and clip_statistics(fast)[4] < -0.8  # at a lag of 4 frames


def test_a_reading_is_as_wrong_as_its_squares() -> None:
    asked = np.array([[1.0, -1.0], [0.0, np.nan], [1.0, 1.0], [0.0, np.nan]])
    assert misread(np.nan_to_num(asked, nan=5.0), asked) == [0.0, 0.0], "what is unknown cannot be misread"
    mean = np.broadcast_to([0.5, 0.0], asked.shape)
    assert misread(mean, asked) == pytest.approx([1.0, 1.0]), "who knows nothing says the mean"
    assert misread(mean[:, :1], asked[:, :1]) == [pytest.approx(1.0)]


def test_targets_are_classes_and_known_parameters(dataset_path: Path) -> None:
    dataset = load_dataset(dataset_path)
    targets = targets_of(dataset, dataset.rows)
    pistons = (dataset.rows["class"] == "pistons").to_numpy()
    np.testing.assert_array_equal(targets[:, :2], np.stack([pistons, ~pistons], axis=1))
    assert np.isin(targets[pistons, 2], [-1.0, 1.0]).all() and np.isnan(targets[~pistons, 2]).all()


def test_a_short_clip_has_statistics_too() -> None:
    assert np.isfinite(clip_statistics(np.ones((1, 3)))).all()


@pytest.mark.slow
def test_a_run_is_judged_by_what_it_plays(synth: Synthesizer, codec: Codec) -> None:
    judge = FreeRunning(codec, max_clips=4, seconds=0.5)
    assert 0.0 < judge(synth.checkpoint) == judge(synth.checkpoint) < 10.0

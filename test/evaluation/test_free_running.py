"""One number for free running: nothing for the same clips, one for clips that have nothing to do with each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacformer.codec import Codec
from dacformer.evaluation import FreeRunning
from dacformer.evaluation.free_running import clip_statistics, relative_distance
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


def test_a_short_clip_has_statistics_too() -> None:
    assert np.isfinite(clip_statistics(np.ones((1, 3)))).all()


@pytest.mark.slow
def test_a_run_is_judged_by_what_it_plays(synth: Synthesizer, codec: Codec) -> None:
    judge = FreeRunning(codec, max_clips=4, seconds=0.5)
    assert 0.0 < judge(synth.checkpoint) == judge(synth.checkpoint) < 10.0

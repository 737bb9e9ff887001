"""Ramps and steps: when a step has arrived, and that what is asked is what is measured."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacformer.errors import UserError
from dacformer.evaluation.moving import STEP_WINDOW, arrival_seconds, measure_moving, write_moving_report
from dacformer.generation.synthesizer import Synthesizer


@given(st.floats(0, 1.5), st.floats(-5, 5), st.floats(-5, 5), st.floats(0.1, 0.9))
def test_a_line_from_start_to_end_arrives_where_its_share_is(
    late: float, low: float, high: float, share: float
) -> None:
    """A jump, `late` seconds after it was asked for, is a line as long as the window in a moving mean."""
    if abs(high - low) < 1e-3:
        return
    seconds = np.arange(1.0, 11.0, 0.1)
    gone = np.clip((seconds - (6.0 + late - STEP_WINDOW / 2)) / STEP_WINDOW, 0.0, 1.0)
    if (gone[seconds >= 6.0 + STEP_WINDOW] < 1).any():
        return  # so late that the end is not yet the end
    arrived = arrival_seconds(seconds, low + (high - low) * gone, 6.0, share)
    assert arrived == pytest.approx(late + (share - 0.5) * STEP_WINDOW, abs=0.02)


def test_what_never_comes_has_no_time() -> None:
    seconds = np.arange(1.0, 11.0, 0.1)
    with np.errstate(invalid="ignore"):
        assert np.isnan(arrival_seconds(seconds, np.ones_like(seconds), 6.0))


@pytest.mark.slow
def test_windows_know_what_was_asked_of_them(synth: Synthesizer, tmp_path: Path) -> None:
    result = measure_moving(synth, ["wind"], num_takes=2, ramp_seconds=6.0, hold_seconds=4.5)
    ramps = result.windows[result.windows["kind"] == "ramp"]
    rising, falling = (ramps[ramps["take"] == take] for take in (0, 1))
    np.testing.assert_allclose(rising["seconds"], [2.0, 3.0, 4.0])
    np.testing.assert_allclose(rising["asked"], [1 / 3, 1 / 2, 2 / 3], atol=1e-6)
    np.testing.assert_allclose(falling["asked"], [2 / 3, 1 / 2, 1 / 3], atol=1e-6)
    steps = result.windows[result.windows["kind"] == "step"]
    assert set(steps["source"]) == {"generated", "real"}
    np.testing.assert_allclose(steps["asked"], np.where(steps["seconds"] < 4.5, 0.15, 0.85))
    # Real wind, one after the other: the window alone makes it late.
    assert result.summary.loc["wind", "step_seconds_real"] > 0.0
    paths = write_moving_report(result, tmp_path)
    assert len(pd.read_csv(paths[0])) == len(result.windows) and paths[2].read_bytes().startswith(b"\x89PNG")
    assert set(json.loads(paths[1].read_text())) == {"wind"} and "wind" in result.to_text()


def test_a_class_that_is_no_texture_is_refused(synth: Synthesizer) -> None:
    with pytest.raises(UserError, match="'violin' is no texture"):
        measure_moving(synth, ["violin"])

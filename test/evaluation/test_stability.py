"""Ten minutes in small: silences and repetitions of known length are found, and the report is written."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacformer.data.dataset import load_dataset
from dacformer.errors import UserError
from dacformer.evaluation.stability import (
    longest_repetition,
    longest_silence,
    measure_stability,
    summarise_drift,
    write_stability_report,
)
from dacformer.generation.synthesizer import Synthesizer


def longest_by_looking(symbols: list[int]) -> int:
    """The slow oracle: all pairs of starts."""
    best = 0
    for i in range(len(symbols)):
        for j in range(i + 1, len(symbols)):
            length = 0
            while j + length < len(symbols) and symbols[i + length] == symbols[j + length]:
                length += 1
            best = max(best, length)
    return best


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_the_longest_repetition_is_what_looking_finds(symbols: list[int]) -> None:
    codes = np.array([symbols, np.zeros(len(symbols), int)])
    assert longest_repetition(codes) == longest_by_looking(symbols)


def test_a_loop_is_found_in_long_codes() -> None:
    codes = np.random.default_rng(0).integers(0, 1024, (4, 20_000))
    assert longest_repetition(codes) == 0
    codes[:, 15_000:15_100] = codes[:, 300:400]
    assert longest_repetition(codes) == 100


@given(st.floats(0.1, 1.0), st.floats(0.0, 1.0))
def test_a_silence_is_as_long_as_it_is(length: float, start: float) -> None:
    rate = 8000
    audio = np.sin(np.arange(3 * rate)).astype(np.float32)
    audio[round(start * rate) : round((start + length) * rate)] *= 1e-3
    assert longest_silence(audio, rate, 0.01) == pytest.approx(length, abs=0.041)


def test_all_silent_and_never_silent() -> None:
    assert longest_silence(np.zeros(8000, np.float32), 8000, 0.01) == pytest.approx(1.0)
    assert longest_silence(np.ones(8000, np.float32), 8000, 0.01) == 0.0


@pytest.mark.slow
def test_a_run_is_measured_from_start_to_end(synth: Synthesizer, dataset_path: Path, tmp_path: Path) -> None:
    result = measure_stability(synth, load_dataset(dataset_path), ["wind"], minutes=0.3)
    made = result.windows[result.windows["source"] == "generated"]
    assert list(made[made["measure"] == "level_db"]["seconds"]) == [0.0, 4.0, 8.0, 12.0]
    probability = made[made["measure"] == "class probability"]["value"]
    assert probability.between(0, 1).all()
    row = result.summary.loc["wind"]
    assert row["drift_of"] == "strength" and row["class_last"] == pytest.approx(probability.iloc[-1])
    audio = synth.generate(18.0, {"class": "wind", "strength": 0.5}, seed=0).audio
    assert made[made["measure"] == "level_db"]["value"].iloc[0] == pytest.approx(
        10 * np.log10(np.mean(audio[: 4 * 44100].astype(float) ** 2)), abs=0.01
    )
    paths = write_stability_report(result, tmp_path)
    assert len(pd.read_csv(paths[0])) == len(result.windows)
    assert json.loads(paths[1].read_text())["wind"]["drift_of"] == "strength"
    assert paths[2].read_bytes().startswith(b"\x89PNG") and "wind" in result.to_text()


def windows_of(lines: dict[str, tuple[float, float]], noise: float = 0.0) -> pd.DataFrame:
    """Windows of measures `start + slope * seconds`, a hundred of four seconds; real clips have a deviation of 2."""
    rng, seconds = np.random.default_rng(0), 4.0 * np.arange(100)
    rows = []
    for measure, (start, slope) in lines.items():
        values = start + slope * seconds + noise * rng.standard_normal(100)
        rows += [("generated", t, measure, value) for t, value in zip(seconds, values, strict=True)]
        rows += [("real", 0.0, measure, start + deviation) for deviation in (-2.0, 0.0, 2.0)]
    return pd.DataFrame(rows, columns=["source", "seconds", "measure", "value"])


ELSE = {"level_db": (-20.0, 0.005), "class probability": (0.9, -0.001)}


def test_drift_is_the_slope_over_the_take_in_deviations_of_the_real_clips() -> None:
    row = summarise_drift(windows_of({"brightness": (5.0, 0.01), "ring": (5.0, -0.02)} | ELSE), ["brightness", "ring"])
    assert row["drift_of"] == "ring"
    assert [row[name] for name in ("drift", "drift_low", "drift_high")] == pytest.approx([-0.02 * 396 / 2] * 3)
    assert row["level_drift_db"] == pytest.approx(0.005 * 396)
    assert row["class_first"] == pytest.approx(0.9 - 0.001 * 38) and row["class_last"] == pytest.approx(
        0.9 - 0.001 * 358
    )


@pytest.mark.parametrize(("slope", "contains_zero"), [(0.0, True), (0.05, False)])
def test_interval_of_drift_holds_the_true_drift(slope: float, contains_zero: bool) -> None:
    row = summarise_drift(windows_of({"brightness": (5.0, slope)} | ELSE, noise=3.0), ["brightness"])
    assert row["drift_low"] < slope * 396 / 2 < row["drift_high"]
    assert (row["drift_low"] < 0 < row["drift_high"]) == contains_zero
    # For n points of noise s, a slope has the error s / sqrt(sum (t - mean t)^2).
    width = 2 * 1.96 * 3.0 / np.sqrt(np.sum((4.0 * np.arange(100) - 198) ** 2)) * 396 / 2
    assert row["drift_high"] - row["drift_low"] == pytest.approx(width, rel=0.25)


def test_a_class_that_is_not_there_is_refused(synth: Synthesizer, dataset_path: Path) -> None:
    with pytest.raises(UserError, match="'violin' is not in both model and data set"):
        measure_stability(synth, load_dataset(dataset_path), ["violin"])

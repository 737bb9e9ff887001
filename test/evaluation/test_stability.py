"""Ten minutes in small: silences and repetitions of known length are found, and the report is written."""

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
    assert row["drift_low"] <= row["drift"] <= row["drift_high"] and row["silence_seconds"] <= 18
    paths = write_stability_report(result, tmp_path)
    assert len(pd.read_csv(paths[0])) == len(result.windows) and all(path.stat().st_size for path in paths)
    assert "wind" in result.to_text()


def test_a_class_that_is_not_there_is_refused(synth: Synthesizer, dataset_path: Path) -> None:
    with pytest.raises(UserError, match="'violin' is not in both model and data set"):
        measure_stability(synth, load_dataset(dataset_path), ["violin"])

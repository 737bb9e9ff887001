"""The whole report of a tiny run: every part is measured once, and wrong words are refused."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dacformer.errors import UserError
from dacformer.evaluation.report import SECTIONS, EvaluationConfig, write_report
from dacformer.generation.synthesizer import Synthesizer

SMALL: dict[str, Any] = {"values": 3, "seeds": 1, "seconds": 1.0, "minutes": 0.15, "classes": ("wind", "pistons")}
QUICK = ["side_by_side", "control", "parameters", "morph", "nll", "stability"]


@pytest.mark.heavy
def test_every_part_is_written_once(
    synth: Synthesizer, dataset_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dacformer.evaluation.report")
    config = EvaluationConfig(synth, dataset_path, **SMALL)
    write_report(config, tmp_path, QUICK)
    assert [text.partition(":")[0] for text in caplog.messages] == QUICK
    assert all((tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in QUICK)
    result = json.loads((tmp_path / "report.json").read_text())
    assert set(result) == set(QUICK) - {"side_by_side"}
    assert set(result["nll"]) == {f"codebook {k}" for k in (1, 2, 3, 4)}
    assert set(result["morph"]) == {"wind to pistons"}
    assert "wind, strength, brightness" in result["parameters"]
    page = (tmp_path / "report.html").read_text()
    assert all(SECTIONS[name].heading in page for name in QUICK)
    # Broken off after some parts, it goes on with the others; another question is another answer.
    write_report(config, tmp_path, [*QUICK[1:3]])
    assert all("was measured before" in text for text in caplog.messages[-2:])
    write_report(dataclasses.replace(config, values=4), tmp_path, ["control"])
    assert "spearman" in caplog.messages[-1] and len(pd.read_csv(tmp_path / "control.csv")) == 2 * 2 * 4


def test_what_is_no_part_is_refused(synth: Synthesizer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'tempo' is no part of the report"):
        write_report(EvaluationConfig(synth), tmp_path, ["tempo"])


def test_a_data_set_that_went_away_is_asked_for(synth: Synthesizer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="say where that is with --data"):
        _ = EvaluationConfig(synth, tmp_path / "gone").dataset

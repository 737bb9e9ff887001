"""Summaries of generated and real clips, and the files of a result."""

import json
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from dacformer.evaluation.tables import summarise_by_source, with_mean, write_result


def test_summarise_by_source_measures_generated_and_real_clips_apart() -> None:
    clips = pd.DataFrame({"source": ["real", "generated", "real", "other"], "value": [1.0, 5.0, 3.0, 99.0]})
    row = summarise_by_source(clips, lambda own: {"mean": own["value"].mean(), "count": len(own)})
    assert row == {"mean": 5.0, "count": 1, "mean_real": 2.0, "count_real": 2}
    assert list(row) == ["mean", "count", "mean_real", "count_real"]


def test_with_mean_appends_means_of_numbers_and_leaves_the_summary_alone() -> None:
    summary = pd.DataFrame({"a": [1.0, 3.0], "of": ["x", "y"]}, index=["wind", "rain"])
    assert with_mean(summary).loc["mean", "a"] == 2.0 and list(summary.index) == ["wind", "rain"]


def test_write_result_writes_tables_summary_and_picture(tmp_path: Path) -> None:
    summary = pd.DataFrame({"spearman": {"wind": 0.912345, "<b>": 0.5}})
    clips = pd.DataFrame({"class": ["wind"], "measured": [0.1]})
    paths = write_result(tmp_path / "new", "control", summary, Figure(), {"clips": clips})
    assert [path.name for path in paths] == ["clips.csv", "control.json", "control.png"]
    pd.testing.assert_frame_equal(pd.read_csv(paths[0]), clips)
    assert json.loads(paths[1].read_text()) == {"wind": {"spearman": 0.9123}, "<b>": {"spearman": 0.5}}
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_write_result_without_tables_writes_summary_and_picture(tmp_path: Path) -> None:
    paths = write_result(tmp_path, "nll", pd.DataFrame({"own": {"codebook 1": 2.0}}), Figure())
    assert [path.name for path in paths] == ["nll.json", "nll.png"] == sorted(p.name for p in tmp_path.iterdir())

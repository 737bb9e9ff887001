"""The page holds what lies in the folder, and nothing outside itself."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dacformer.audio import write_audio
from dacformer.evaluation.html_report import write_page
from dacformer.evaluation.tables import write_summary

SECTIONS = {"control": ("Control", "How to read it."), "side_by_side": ("Side by side", "")}


def test_a_page_holds_what_was_measured(tmp_path: Path) -> None:
    write_summary(tmp_path / "control.json", pd.DataFrame({"spearman": {"wind": 0.91, "<b>": 0.5}}))
    for name in ("control", "side_by_side", "something_else"):
        Figure().savefig(tmp_path / f"{name}.png")
    write_audio(tmp_path / "wind_generated_1.wav", np.zeros(100, np.float32), 44100)
    page, whole = write_page(tmp_path, "a & b", SECTIONS)
    text = page.read_text(encoding="utf-8")
    assert "a &amp; b" in text and "0.91" in text and "<b>" not in text  # a class may be called anything
    assert text.count("<img") == 2 and text.count("<audio") == 1 and "wind generated 1" in text
    assert not re.search(r"(src|href)=.(?!data:)", text)
    assert json.loads(whole.read_text()) == {"control": {"wind": {"spearman": 0.91}, "<b>": {"spearman": 0.5}}}


def test_an_empty_folder_is_an_empty_page(tmp_path: Path) -> None:
    page, whole = write_page(tmp_path, "nothing", SECTIONS)
    assert page.stat().st_size and json.loads(whole.read_text()) == {}

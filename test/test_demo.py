"""`make demo` does what it shows: the knob that it turns is heard."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import dacformer
from dacformer.evaluation.descriptors import TEXTURE_DESCRIPTORS

ROOT = Path(__file__).parents[1]
WINDOW_SECONDS, HOP_SECONDS = 1.0, 0.25


def demo_commands(run: Path) -> list[list[str]]:
    """The words after `dacformer` of each command of the Makefile's target `demo`, in a run's folder."""
    recipe = re.search(r"^demo:.*?\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    lines = recipe[1].replace("\\\n", " ").replace("$(DEMO)", str(run)).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.strip().startswith("$(BIN)/dacformer")]


@pytest.mark.heavy
def test_the_wind_of_the_demo_follows_its_curve(tmp_path: Path) -> None:
    run = tmp_path / "sm"
    training, generating = demo_commands(run)
    for words in ([*training, f"run={run}"], generating):
        subprocess.run([sys.executable, "-m", "dacformer.cli", *words], cwd=ROOT, check=True)
    take = dacformer.load(run).load_take(run / "demo.dac")
    curve, rate = take.controls.parameters["strength"], take.sample_rate
    assert isinstance(curve, dacformer.Curve)
    starts = np.arange(0.0, take.seconds - WINDOW_SECONDS, HOP_SECONDS)
    measured = [
        TEXTURE_DESCRIPTORS["wind"](take.audio[int(at * rate) : int((at + WINDOW_SECONDS) * rate)], rate)
        for at in starts
    ]
    asked = [curve(at + WINDOW_SECONDS / 2) for at in starts]
    assert spearmanr(asked, measured).statistic >= 0.8

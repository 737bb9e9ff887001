"""The examples run as they are, on a tiny run."""

import csv
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from pythonosc.udp_client import SimpleUDPClient

from dacformer import Curve, Synthesizer

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str]]:
    """Runs an example as `python examples/NAME WORDS` does; gives its exit code or message, and what it printed."""

    def run(name: str, *words: str | Path) -> tuple[Any, str]:
        path = ROOT / "examples" / name
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
        return ended.value.code, capsys.readouterr().out

    return run


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_short_and_shows_its_command(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 60 and f"    python examples/{path.name} runs/med" in text


def test_render_writes_a_take_with_a_rising_parameter(
    example: Callable[..., tuple[Any, str]], synth: Synthesizer, trained: Path, tmp_path: Path
) -> None:
    code, out = example(
        "render.py", trained, tmp_path / "x.wav", "--class-name", "wind", "--seconds", "0.5", "--seed", "3"
    )
    assert code == 0
    assert out.split() == [str(tmp_path / "x.wav"), str(tmp_path / "x.png")] and (tmp_path / "x.png").stat().st_size
    low, high = synth.conditions.parameters["strength"].low, synth.conditions.parameters["strength"].high
    expected = synth.generate(0.5, {"class": "wind", "strength": Curve([(0, low), (0.5, high)])}, seed=3)
    audio, rate = soundfile.read(tmp_path / "x.wav")
    assert rate == synth.info.sample_rate and np.abs(audio - expected.audio).max() < 1e-4


def test_variations_are_files_of_their_own_and_a_table(
    example: Callable[..., tuple[Any, str]], synth: Synthesizer, trained: Path, tmp_path: Path
) -> None:
    code, _ = example(
        "variations.py", trained, tmp_path / "new", "--class-name", "pistons", "--count", "3", "--seconds", "0.5"
    )
    assert code == 0
    with open(tmp_path / "new" / "pistons.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["pistons_00.wav", "pistons_01.wav", "pistons_02.wav"]
    rate = synth.conditions.parameters["rate"]
    assert len({row["rate"] for row in rows}) == 3 and all(rate.low <= float(row["rate"]) <= rate.high for row in rows)
    sounds = [soundfile.read(tmp_path / "new" / row["file"])[0] for row in rows]
    assert all(abs(sound[-1]) < 1e-3 and np.abs(sound).max() > 0.01 for sound in sounds)
    assert not any(np.array_equal(sounds[0], other) for other in sounds[1:])


@pytest.mark.parametrize("name", ["render.py", "variations.py"])
def test_a_mistake_is_one_line(example: Callable[..., tuple[Any, str]], tmp_path: Path, name: str) -> None:
    code, _ = example(name, tmp_path / "none", tmp_path / "out")
    assert code.startswith("error: ") and "is no run and no checkpoint" in code


@pytest.mark.heavy
def test_steer_by_osc_follows_a_message(synth: Synthesizer, trained: Path) -> None:
    still = np.concatenate(list(islice(synth.stream(chunk_seconds=0.1), 30)))
    plain = (np.clip(still, -1, 1) * 32767).astype("<i2").tobytes()
    command = [sys.executable, ROOT / "examples" / "steer_by_osc.py", trained, "--port", "0"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        port = re.match(rb"OSC port (\d+), 44100 Hz", process.stderr.readline())
        assert port is not None
        begun = process.stdout.read(8_000)
        client = SimpleUDPClient("127.0.0.1", int(port[1]))
        client.send_message("/class", "wind")
        client.send_message("/strength", 0.9)
        rest = process.stdout.read(len(plain) - len(begun))
        process.stdout.close()
        process.wait(10)
        assert b"Traceback" not in process.stderr.read()
    assert begun == plain[: len(begun)]
    changed = np.frombuffer(begun + rest, "<i2") != np.frombuffer(plain, "<i2")
    assert changed.any() and changed[-4_410:].mean() > 0.5

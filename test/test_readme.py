"""The README's commands and its Python, run in its order in an empty folder, made small."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dacformer.audio import write_audio
from dacformer.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^ *```(\w+)\n(.*?)^ *```", README, flags=re.MULTILINE | re.DOTALL)
SMALL = {
    "encode": [],
    "textures": ["--classes", "rain,wind", "--values", "2", "--takes", "2", "--seconds", "2"],
    "train": [
        "training.steps=2", "training.validate_every=2", "training.sample_every=0", "training.select_best_by=nll",
        "data.segment_frames=32", "data.batch_size=2", "model.dim=32", "model.num_heads=2", "model.num_layers=1",
    ],
    "generate": ["--seconds", "0.3"],
}  # fmt: skip
"""What makes each command quick; a later option takes the place of an earlier one."""


def commands() -> list[list[str]]:
    lines = [line.strip() for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("dacformer ")]


def call(words: list[str], monkeypatch: pytest.MonkeyPatch, more: Sequence[str] = ()) -> None:
    monkeypatch.setattr(sys, "argv", ["dacformer", *words, *SMALL.get(words[0], []), *more])
    try:
        main()
    except SystemExit as end:
        assert end.code in (0, None), words


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
def test_readme_commands_and_python_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0)
    for name in ("creek/a", "creek/b", "surf/a", "surf/b"):
        write_audio(tmp_path / "my_sounds" / f"{name}.wav", noise.normal(0.0, 0.1, 44100), 44100)
    # `make demo` has made runs/sm before: test_demo.py.
    call(["textures", "data/sm"], monkeypatch, ["--classes", "pistons,wind"])
    call(["train", "sm", "data.path=data/sm", "run=runs/sm"], monkeypatch)

    run = [words for words in commands() if words[0] in SMALL]
    for words in run:
        call(words, monkeypatch)
    assert {words[0] for words in run} == set(SMALL)
    assert {path.name for path in tmp_path.glob("*.wav")} >= {"creek.wav", "faster.wav", "between.wav"}

    (code,) = [text for kind, text in BLOCKS if kind == "python"]
    code = code.replace("    ...", "    break").replace("seconds=10", "seconds=0.2")
    code = code.replace("generate(10", "generate(0.3").replace("extend(5)", "extend(0.2)")
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "x.wav").is_file()
    call(["info", "x.wav"], monkeypatch)

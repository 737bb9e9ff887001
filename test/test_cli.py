"""What a person types, and what comes back: results, or one clear line and exit code 2."""

import dataclasses
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dacformer import cli
from dacformer.audio import loudness_db, write_audio
from dacformer.codec import DacFile, read_dac, write_dac
from dacformer.data import load_dataset

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `dacformer WORDS`: exit code, what it printed, what it complained."""

    def call(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dacformer", *map(str, words)])
        shown = warnings.showwarning
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stopped:
            cli.main()
        warnings.showwarning = shown
        output = capsys.readouterr()
        return int(stopped.value.code or 0), output.out, output.err

    return call


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    for i, name in enumerate(("rain/a.wav", "rain/b.flac", "wind/c.ogg", "wind/d--rate-3.wav")):
        audio = 0.1 * np.random.default_rng(i).standard_normal(22050)
        write_audio(tmp_path / "sounds" / name, audio, 44100)
    return tmp_path / "sounds"


def in_another_process(*commands: list[str | Path]) -> tuple[str, set[str]]:
    """What a fresh Python prints when it runs these commands, and the packages that it has imported then."""
    code = (
        "import json, sys; from dacformer.cli import app\n"
        "for words in json.loads(sys.argv[1]): app(words, standalone_mode=False)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    words = json.dumps([[str(word) for word in command] for command in commands])
    done = subprocess.run([sys.executable, "-c", code, words], capture_output=True, text=True, check=True)
    text, _, modules = done.stdout.rstrip().rpartition("\n")
    return text, set(modules.split())


def test_help_does_not_wait_for_torch() -> None:
    text, modules = in_another_process(["--help"])
    assert "encode" in text and "generate" in text
    assert not {"torch", "dac", "numpy", "pandas", "soundfile"} & modules


@pytest.mark.heavy
def test_info_does_without_dac(tmp_path: Path, dataset_path: Path) -> None:
    path = write_dac(tmp_path / "a.dac", DacFile(np.zeros((1, 4, 9), int), 44100, 4608, -20.0, 9))
    text, modules = in_another_process(["info", path], ["info", dataset_path])
    assert "9 frames" in text and "class wind: 4 files" in text
    assert "numpy" in modules and not {"dac", "audiotools", "torchaudio"} & modules


@pytest.mark.parametrize("command", ["encode", "decode", "textures", "train", "generate", "evaluate", "info"])
def test_every_command_has_help(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0 and command in out


def test_a_folder_is_encoded_told_of_and_decoded(run: Run, sounds: Path, tmp_path: Path) -> None:
    output = tmp_path / "set"
    code, out, _ = run("encode", sounds, output)
    assert code == 0 and "4 encoded, 0 already there, 0 skipped" in out
    assert "class rain: 2 files" in out and "parameter rate: 3 to 3 (d)" in out
    assert "0 encoded, 4 already there, 0 skipped" in run("encode", sounds, output)[1]
    assert load_dataset(output).facts.codec_name == "small"
    code, out, _ = run("info", output)
    assert code == 0 and "4 files, codec small-" in out and "train: 3 files, 1.5 s" in out
    code, out, _ = run("info", output / "rain/a.dac")
    assert code == 0 and "44 frames, 0.50 s at 44100 Hz, 1 channel(s), 4 codebooks" in out
    code, out, _ = run("decode", output / "rain/a.dac", tmp_path / "new" / "a.wav")
    assert code == 0 and out.strip() == str(tmp_path / "new" / "a.wav")
    audio, rate = soundfile.read(tmp_path / "new" / "a.wav")
    assert (len(audio), rate) == (22050, 44100)
    assert loudness_db(audio, rate) == pytest.approx(read_dac(output / "rain/a.dac").input_db, abs=0.5)


def test_codes_that_are_there_become_a_data_set(run: Run, sounds: Path, tmp_path: Path) -> None:
    run("encode", sounds, tmp_path / "set")
    codes = tmp_path / "codes"
    for path in (tmp_path / "set").rglob("*.dac"):
        write_dac(codes / path.name, dataclasses.replace(read_dac(path), codec=""))
    (tmp_path / "t.csv").write_text("Full File Name;Class Name\na.dac;x\nb.npy;x\nc.dac;y\nd--rate-3.dac;y\n")
    code, _, err = run("encode", codes, tmp_path / "moved", "--labels", tmp_path / "t.csv")
    assert code == 2 and "does not say which codec made its codes" in err
    code, out, _ = run("encode", codes, tmp_path / "moved", "--labels", tmp_path / "t.csv", "--codec", "small")
    assert code == 0 and "4 .dac files taken as they are, 0 skipped" in out and "class y: 2 files" in out


def test_info_counts_frames_without_opening_files(run: Run, sounds: Path, tmp_path: Path) -> None:
    run("encode", sounds, tmp_path / "set")
    for path in (tmp_path / "set").rglob("*.dac"):
        path.write_bytes(b"")
    code, out, _ = run("info", tmp_path / "set")
    assert code == 0 and "train: 3 files, 1.5 s" in out


def test_a_codec_is_measured(run: Run, sounds: Path, tmp_path: Path) -> None:
    code, out, _ = run("evaluate", sounds, "--codec", "small", "--exclude", "rain", "--report", tmp_path / "report")
    assert code == 0 and "K=4" in out and "perplexity_4" in out
    assert (tmp_path / "report" / "codec.png").is_file()
    code, _, err = run("evaluate", sounds, "--codec", "small", "--opus", "twelve")
    assert code == 2 and "'twelve' is no list of bit rates" in err


def test_a_broken_sound_is_skipped_or_with_strict_an_error(run: Run, sounds: Path, tmp_path: Path) -> None:
    (sounds / "rain" / "bad.wav").write_text("no sound")
    code, out, err = run("encode", sounds, tmp_path / "set")
    assert code == 0 and "1 skipped" in out and "bad.wav cannot be read" in err
    code, _, err = run("encode", sounds, tmp_path / "strict", "--strict")
    assert code == 2 and "bad.wav" in err


def test_textures_as_sounds(run: Run, tmp_path: Path) -> None:
    words = ["--as", "audio", "--classes", "fm,wind", "--values", "2", "--takes", "1", "--seconds", "0.2"]
    code, out, _ = run("textures", tmp_path / "t", *words)
    assert code == 0 and str(tmp_path / "t") in out
    names = sorted(path.name for path in (tmp_path / "t").rglob("*.flac"))
    assert names == [
        "fm--modulation-0.000--take0.flac",
        "fm--modulation-1.000--take0.flac",
        "wind--strength-0.000--take0.flac",
        "wind--strength-1.000--take0.flac",
    ]


def test_textures_as_a_data_set(run: Run, tmp_path: Path) -> None:
    words = ["--classes", "fm", "--values", "2", "--takes", "2", "--seconds", "0.2", "--validation", "0.5"]
    code, out, _ = run("textures", tmp_path / "t", *words)
    assert code == 0 and "parameter modulation: " in out and "class fm: 4 files" in out


@pytest.mark.parametrize(
    ("comment", "shown"),
    [("hello", "hello"), ('{"seed": 3}', '{\n  "seed": 3\n}'), ("{not json", "{not json"), (None, "")],
)
def test_info_on_a_sound_shows_its_comment(run: Run, tmp_path: Path, comment: str | None, shown: str) -> None:
    path = write_audio(tmp_path / "a.wav", np.zeros(4410), 44100, comment)
    code, out, _ = run("info", path)
    first, _, rest = out.partition("\n")
    assert code == 0 and first.endswith("0.10 s at 44100 Hz, 1 channel(s), WAV PCM_16") and rest.strip() == shown


def test_info_on_a_run_whose_name_has_a_dot(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run.v1").mkdir()
    code, _, err = run("info", tmp_path / "run.v1")
    assert code == 2 and "audio" not in err


BAD = {
    "no sounds": (["encode", "NONE", "set"], "There is no folder NONE"),
    "no sound inside": (["encode", "empty", "set"], "No sound file below empty"),
    "unknown codec": (["encode", "sounds", "set", "--codec", "huge"], "no codec 'huge'"),
    "unknown device": (["encode", "sounds", "set", "--device", "abacus"], "device 'abacus'"),
    "no cuda": (["encode", "sounds", "set", "--device", "cuda:99"], "device 'cuda:99'"),
    "no labels": (["encode", "sounds", "set", "--labels", "none.csv"], "no label table none.csv"),
    "negative seed": (["encode", "sounds", "set", "--seed", "-1"], "--seed"),
    "share": (["encode", "sounds", "set", "--validation", "1.5"], "--validation"),
    "decode nothing": (["decode", "none.dac", "x.wav"], "none.dac cannot be read"),
    "decode text": (["decode", "text.dac", "x.wav"], "text.dac is not a whole .dac file"),
    "decode into text": (["decode", "good.dac", "x.txt"], "'.txt' is no sound format"),
    "decode of nine codebooks": (["decode", "nine.dac", "x.wav"], "9 codebooks"),
    "unknown texture": (["textures", "set", "--classes", "snow"], "Unknown texture 'snow'"),
    "texture seed": (["textures", "set", "--seed", "-1"], "--seed"),
    "no settings": (["train", "none.yaml"], "no settings file none.yaml"),
    "unknown setting": (["train", "p.yaml", "training.stepz=3"], "Did you mean 'training.steps'"),
    "wrong setting": (["train", "p.yaml", "training.steps=none"], "'training.steps'"),
    "no override": (["train", "p.yaml", "steps"], "Expected key=value"),
    "no data set": (["train", "p.yaml", "data.path=empty"], "is no data set"),
    "no run": (["generate", "none"], "none"),
    "info on nothing": (["info", "none"], "none"),
    "info on no sound": (["info", "none.wav"], "There is no file none.wav"),
    "info on text": (["info", "text.dac"], "text.dac"),
    "unknown command": (["sing"], "sing"),
    "missing argument": (["decode"], "Missing argument"),
}


@pytest.mark.parametrize(("words", "said"), BAD.values(), ids=BAD)
def test_a_mistake_is_one_clear_line_and_exit_code_2(
    run: Run, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    Path("empty").mkdir()
    Path("text.dac").write_text("text")
    Path("p.yaml").write_text("run: my_run")
    write_dac("good.dac", DacFile(np.zeros((1, 4, 9), int), 44100, 4608, -20.0, 9))
    write_dac("nine.dac", DacFile(np.zeros((1, 9, 9), int), 44100, 4608, -20.0, 9))
    before = sorted(os.listdir())
    code, _, err = run(*words)
    assert code == 2 and said in err and "Traceback" not in err
    complaint = [line for line in err.splitlines() if "error" in line.lower()]
    assert len(complaint) == 1
    assert sorted(os.listdir()) == before  # nothing half-made is left


def test_a_warning_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(_: Path) -> None:
        warnings.warn("mind the gap", UserWarning, stacklevel=1)

    monkeypatch.setattr(cli, "_print_dac", warn)
    code, _, err = run("info", tmp_path / "a.dac")
    assert code == 0 and err.splitlines() == ["warning: mind the gap"]


def test_a_recipe_in_json_stays_readable(run: Run, tmp_path: Path) -> None:
    recipe = {"controls": {"class": "rain"}, "seed": 1}
    path = write_audio(tmp_path / "a.flac", np.zeros(4410), 44100, json.dumps(recipe))
    assert json.loads(run("info", path)[1].partition("\n")[2]) == recipe

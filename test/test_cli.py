"""What a person types, and what comes back: results, or one clear line and exit code 2."""

import dataclasses
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer

from dacformer import __version__, cli
from dacformer.audio import loudness_db, write_audio
from dacformer.codec import DacFile, read_dac, write_dac
from dacformer.config import save_config
from dacformer.data.dataset import DatasetInfo, load_dataset
from dacformer.generation.synthesizer import Synthesizer

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


COMMANDS: dict[str, Any] = getattr(typer.main.get_command(cli.app), "commands")  # noqa: B009, it is a group


def test_commands_are_those_of_the_documentation() -> None:
    assert set(COMMANDS) == {
        "encode", "decode", "textures", "train", "init", "generate", "evaluate", "evaluate-codec", "info",
    }  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_explains_it_and_each_of_its_parameters(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "400")
    code, out, _ = run(command, "--help")
    assert code == 0 and COMMANDS[command].help.splitlines()[0] in out
    for parameter in COMMANDS[command].params:
        assert parameter.name.upper() in out or parameter.opts[0] in out
        assert parameter.help and parameter.help in out


def test_a_folder_is_encoded_told_of_and_decoded(run: Run, sounds: Path, tmp_path: Path) -> None:
    output = tmp_path / "set"
    code, out, _ = run("encode", sounds, output)
    assert code == 0 and "4 encoded, 0 already there, 0 skipped" in out
    assert "class rain: 2 files" in out and "parameter rate: 3 to 3 (d)" in out
    assert "0 encoded, 4 already there, 0 skipped" in run("encode", sounds, output)[1]
    assert load_dataset(output).info.codec_name == "small"
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
    code, out, _ = run("evaluate-codec", sounds, "--exclude", "rain", "--report", tmp_path / "report")
    assert code == 0 and "K=4" in out and "perplexity_4" in out
    assert (tmp_path / "report" / "codec.png").is_file()
    code, _, err = run("evaluate-codec", sounds, "--opus", "twelve")
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


class Hostile:
    """Pickles as a command."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch executed",)


BAD = {
    "no sounds": (["encode", "NONE", "set"], "There is no folder NONE"),
    "no sound inside": (["encode", "empty", "set"], "No sound file below empty"),
    "unknown codec": (["encode", "sounds", "set", "--codec", "huge"], "no codec 'huge'"),
    "unknown device": (["encode", "sounds", "set", "--device", "abacus"], "device 'abacus'"),
    "no cuda": (["encode", "sounds", "set", "--device", "cuda:99"], "device 'cuda:99'"),
    "no labels": (["encode", "sounds", "set", "--labels", "none.csv"], "no label table none.csv"),
    "negative seed": (["encode", "sounds", "set", "--seed", "-1"], "--seed"),
    "share": (["encode", "sounds", "set", "--validation", "1.5"], "--validation"),
    "decode nothing": (["decode", "none.dac", "x.wav"], "none.dac cannot be read: there is no such file"),
    "decode text": (["decode", "text.dac", "x.wav"], "text.dac is not a whole .dac file"),
    "decode a sound": (["decode", "sounds/rain/a.wav", "x.wav"], "is a sound already"),
    "decode an array": (["decode", "array.npy", "x.wav"], "array.npy is not a whole .dac file"),
    "decode a folder": (["decode", "empty", "x.wav"], "it is a folder or a device"),
    "decode a pipe": (["decode", "pipe", "x.wav"], "it is a folder or a device"),
    "decode standard input": (["decode", "-", "x.wav"], "there is no such file"),
    "decode into text": (["decode", "good.dac", "x.txt", "--codec", "small"], "'.txt' is no sound format"),
    "decode into a folder": (["decode", "good.dac", "folder.wav", "--codec", "small"], "it is a folder"),
    "decode of nine codebooks": (["decode", "nine.dac", "x.wav", "--codec", "small"], "9 codebooks"),
    "decode of who knows which codec": (
        ["decode", "good.dac", "x.wav"],
        "does not say which codec made it (K=4, codes up to 0, one sequence of 9 frames, of a sound at 44100 Hz)",
    ),
    "codec of yaml": (["encode", "sounds", "set", "--codec", "p.yaml"], "p.yaml is not a weight file"),
    "codec of sound": (["encode", "sounds", "set", "--codec", "sounds/rain/a.wav"], "a.wav is not a weight file"),
    "codec of nothing": (["encode", "sounds", "set", "--codec", "empty.pth"], "empty.pth is not a weight file"),
    "codec of a folder": (["encode", "sounds", "set", "--codec", "empty"], "no codec 'empty'"),
    "codec that executes": (["encode", "sounds", "set", "--codec", "bad.pth"], "bad.pth is not a weight file"),
    "no finite number": (["evaluate", "none", "--minutes", "nan"], "--minutes"),
    "share of nan": (["encode", "sounds", "set", "--validation", "nan"], "--validation"),
    "too many values": (["textures", "set", "--values", "1002"], "--values"),
    "bit rate of nan": (["evaluate-codec", "sounds", "--opus", "nan"], "is no list of bit rates"),
    "report in a file": (["evaluate", "none", "--report", "p.yaml"], "p.yaml is a file, not a folder"),
    "unknown texture": (["textures", "set", "--classes", "snow"], "Unknown texture 'snow'"),
    "texture seed": (["textures", "set", "--seed", "-1"], "--seed"),
    "no settings": (["train", "none.yaml"], "no settings file none.yaml"),
    "unknown setting": (["train", "p.yaml", "training.stepz=3"], "Did you mean 'training.steps'"),
    "wrong setting": (["train", "p.yaml", "training.steps=none"], "'training.steps'"),
    "no override": (["train", "p.yaml", "steps"], "Expected key=value"),
    "no data set": (["train", "p.yaml", "data.path=empty"], "is no dataset"),
    "no run": (["generate", "none"], "none"),
    "info on nothing": (["info", "none"], "There is no file and no folder none"),
    "info on no sound": (["info", "none.wav"], "There is no file and no folder none.wav"),
    "info on standard input": (["info", "-"], "There is no file and no folder -"),
    "info on a pipe": (["info", "pipe"], "pipe is a device"),
    "info on an empty folder": (["info", "empty"], "empty is an empty folder"),
    "info on any folder": (["info", "sounds"], "sounds is a folder, but no run and no checkpoint"),
    "info on half a data set": (["info", "half"], "half is a data set that is not finished"),
    "info on an array": (["info", "array.npy"], "array.npy is nothing that dacformer knows"),
    "info on settings": (["info", "p.yaml"], "p.yaml is nothing that dacformer knows"),
    "info on a broken sound": (["info", "broken.wav"], "broken.wav cannot be read as audio"),
    "info on text": (["info", "text.dac"], "text.dac"),
    "temperature": (["generate", "none", "--temperature", "-1"], "'temperature'"),
    "temperature of nan": (["generate", "none", "--temperature", "nan"], "'temperature'"),
    "top-p": (["generate", "none", "--top-p", "1.5"], "'top_p'"),
    "top-k": (["generate", "none", "--top-k", "-1"], "'top_k'"),
    "guidance": (["generate", "none", "--guidance", "inf"], "'guidance'"),
    "several": (["generate", "none", "--temperature", "-1", "--top-p", "2"], "'top_p'"),
    "negative seed of a take": (["generate", "none", "--seed", "-1"], "--seed"),
    "out is a folder": (["generate", "none", "--out", "folder.wav"], "Cannot write folder.wav: it is a folder"),
    "out in a file": (["generate", "none", "--out", "p.yaml/x.wav"], "p.yaml is a file, not a folder"),
    "out is a pipe": (["generate", "none", "--out", "pipe.wav"], "it is a folder or a device"),
    "out with a slash": (["generate", "none", "--out", "x.wav/"], "Cannot write 'x.wav/'"),
    "standard output": (["generate", "none", "--out", "-"], "Cannot write '-'"),
    "out too long": (["generate", "none", "--out", "x" * 252 + ".wav"], "File name too long"),
    "out of another kind": (["generate", "none", "--out", "x.txt"], "'.txt' is no sound format"),
    "out in the sounds": (["generate", "none", "--out", "sounds"], "sounds holds something else than a take"),
    "out twice": (["generate", "none", "--out", "x.wav", "--out", "./x.wav"], "given twice"),
    "out is the prompt": (["generate", "none", "--out", "good.dac", "--prompt", "good.dac"], "is the prompt itself"),
    "picture of text": (["generate", "none", "--plot", "x.txt"], "is no picture format"),
    "picture is a folder": (["generate", "none", "--plot", "folder.png"], "it is a folder"),
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
    np.save("array.npy", np.zeros(4))
    for name in ("folder.wav", "folder.png", "half"):
        Path(name).mkdir()
    for name in ("pipe", "pipe.wav"):
        os.mkfifo(name)
    Path("half/dataset.yaml").write_text("codec: small")
    Path("empty.pth").touch()
    Path("broken.wav").write_text("no sound")
    Path("bad.pth").write_bytes(pickle.dumps(Hostile()))
    before = sorted(os.listdir())
    code, _, err = run(*words)
    assert code == 2 and said in err and "Traceback" not in err
    complaint = [line for line in err.splitlines() if "error" in line.lower()]
    assert len(complaint) == 1 and (err.startswith("Usage") or len(err.splitlines()) == 1)
    assert sorted(os.listdir()) == before  # nothing half-made is left


def test_a_recipe_in_json_stays_readable(run: Run, tmp_path: Path) -> None:
    recipe = {"controls": {"class": "rain"}, "seed": 1}
    path = write_audio(tmp_path / "a.flac", np.zeros(4410), 44100, json.dumps(recipe))
    assert json.loads(run("info", path)[1].partition("\n")[2]) == recipe


# Generating


def test_codes_that_state_no_codec_are_decoded_where_it_is_named(run: Run, tmp_path: Path) -> None:
    path = write_dac(tmp_path / "a.dac", DacFile(np.zeros((1, 4, 9), int), 44100, 4608, -20.0, 9))
    code, _, err = run("decode", path, tmp_path / "a.wav", "--codec", "small")
    assert code == 0 and err == "" and soundfile.info(tmp_path / "a.wav").frames == 4608


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--control", "class=wnd"], "Did you mean 'wind'"),
        (["--control", "class=wind", "--control", "class=pistons"], "given twice"),
        (["--control", "strength=0.5", "--control", "strength=0:0,1:1"], "given twice"),
        (["--control", "strength=nan"], "'strength' is nan"),
        (["--seconds", "1e9"], "GB of memory would be needed"),
        (["--seconds", "1e300"], "`stream` plays on for ever"),
        (["--seconds", "nan"], "expected a length above 0"),
        (["--seconds", "-1"], "expected a length above 0"),
        (["--seed", str(2**63)], "expected a whole number"),
        (["--prompt", "unknown.dac"], "does not say which codec made it"),
    ],
)
def test_nothing_is_generated_of_a_mistake(
    run: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_dac("unknown.dac", DacFile(np.zeros((1, 4, 9), int), 44100, 4608, -20.0, 9))
    code, _, err = run("generate", trained, *words)
    assert code == 2 and len(err.splitlines()) == 1 and said in err
    assert os.listdir() == ["unknown.dac"]


def test_take_is_generated_continued_and_described(run: Run, trained: Path, synth: Synthesizer, tmp_path: Path) -> None:
    outs = [tmp_path / "new" / name for name in ("x.wav", "x.dac", "take")]
    words = [word for out in outs for word in ("--out", out)]
    plot = tmp_path / "x.PNG"
    code, out, err = run("generate", trained, "--seconds", "0.2", "--control", "strength=9", "--plot", plot, *words)
    assert code == 0 and out.split() == [*map(str, outs), str(plot)] and plot.read_bytes()[:4] == b"\x89PNG"
    assert "warning: 'strength' leaves what was trained, 0 to 1: expect surprises" in err.splitlines()
    for path in outs:
        assert "tiny/step_" in run("info", path)[1]
    unknown = write_dac(tmp_path / "u.dac", DacFile(read_dac(outs[1]).codes, 44100, 4608, -20.0, 9))
    words = ["--seconds", "0.1", "--prompt", unknown, "--codec", "small", "--out", tmp_path / "y.dac"]
    assert run("generate", trained, *words)[0] == 0
    np.testing.assert_array_equal(synth.load_take(tmp_path / "y.dac").codes[:, :17], read_dac(outs[1]).codes[0])


def test_take_that_cannot_be_written_is_kept(run: Run, trained: Path, synth: Synthesizer, tmp_path: Path) -> None:
    """No file may grow beyond 20 kB: the sound does not fit, its codes do."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, usual[1]))
    try:
        code, _, err = run("generate", trained, "--seconds", "1", "--out", tmp_path / "x.wav")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    kept = re.search(rf"The take is kept in ({re.escape(str(trained))}/takes/kept\S*\.dac)", err)
    assert code == 2 and "x.wav: File too large" in err and kept and os.listdir(tmp_path) == []
    assert synth.load_take(kept[1]).codes.shape == (4, 86)
    shutil.rmtree(trained / "takes")


@pytest.mark.parametrize("command", ["generate", "encode"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_is_one_line_and_130(run: Run, trained: Path, sounds: Path, tmp_path: Path, command: str) -> None:
    words = {
        "generate": [trained, "--seconds", "600", "--out", tmp_path / "x.wav"],
        "encode": [sounds, tmp_path / "set", "--shifts", "64"],
    }[command]
    ended = threading.Event()
    usual = signal.signal(signal.SIGINT, lambda *_: None)  # a late press is no matter of pytest's

    def press() -> None:  # once more where Python was in a callback that swallows it
        while not ended.wait(1.0):
            os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    try:
        code, _, err = run(command, *words)
    finally:
        ended.set()
        pressing.join()
        signal.signal(signal.SIGINT, usual)
    assert code == 130 and err.splitlines()[-1].startswith("Stopped.") and "Traceback" not in err
    assert not (tmp_path / "x.wav").exists()


def test_damaged_checkpoint_is_described_as_damaged(run: Run, trained: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained / "checkpoints" / "step_0000080", tmp_path / "copy"))
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    code, _, err = run("info", copy)
    assert code == 2 and "model.safetensors is damaged or cut off" in err
    (copy / "config.yaml").write_bytes((copy / "config.yaml").read_bytes()[:200])
    code, _, err = run("info", copy)
    assert code == 2 and "is no whole checkpoint" in err and len(err.splitlines()) == 1


# In other terminals


def in_a_shell(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "dacformer", *map(str, words)], cwd=ROOT, check=False, **options)


ROOT = Path(__file__).parents[1]


def test_version_is_told(run: Run) -> None:
    code, out, _ = run("--version")
    assert code == 0 and out.startswith(f"dacformer {__version__} (Python 3.")


def test_without_a_command_there_is_help(run: Run) -> None:
    _, out, err = run()
    assert "generate" in out + err


@pytest.fixture
def bees(tmp_path: Path) -> Path:
    """A data set of one class, whose name few encodings have."""
    write_dac(tmp_path / "a.dac", DacFile(np.zeros((1, 4, 9), int), 44100, 4608, -20.0, 9, codec="tiny-0"))
    (tmp_path / "manifest.csv").write_text("file,class,split,frames\na.dac,🐝 bees,train,9\n", encoding="utf-8")
    info = DatasetInfo(
        codec="tiny-0", codec_name="tiny", sample_rate=44100, hop_length=512, num_codebooks=4, codebook_size=1024
    )
    save_config(info, tmp_path / "dataset.yaml")
    return tmp_path


def test_names_are_printed_in_any_encoding(bees: Path) -> None:
    done = in_a_shell("info", bees, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "cp1252"})
    assert done.returncode == 0 and b"class ? bees: 1 files" in done.stdout and done.stderr == b""


def test_reader_that_has_had_enough_is_no_error(bees: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = in_a_shell("info", bees, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.stderr == b"" and done.returncode == 1


def test_shell_completion_offers_the_commands() -> None:
    asked = {"_DACFORMER_COMPLETE": "complete_bash", "COMP_WORDS": "dacformer t", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "dacformer"], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["textures", "train"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_can_be_shown_for_each_shell(monkeypatch: pytest.MonkeyPatch, run: Run, shell: str) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # the shell is named, as a person may
    code, out, _ = run("--show-completion", shell)
    assert code == 0 and "_DACFORMER_COMPLETE" in out and "dacformer" in out

"""The `.dac` file: read and written as `python -m dac` does, and never executed."""

import dataclasses
import io
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dacformer.audio import loudness_db
from dacformer.codec import DacFile, load_codec, read_dac, write_dac
from dacformer.codec import dac_file as file_module
from dacformer.data.encode import encode_file
from dacformer.errors import UserError


def make_file(frames: int = 6, codebooks: int = 4, channels: int = 1, **changes: Any) -> DacFile:
    codes = np.random.default_rng(0).integers(0, 64, (channels, codebooks, frames))
    info = {"sample_rate": 44100, "original_length": 512 * frames, "input_db": -20.5, "chunk_length": frames}
    return DacFile(codes=codes, channels=channels, **(info | changes))


@settings(max_examples=30, deadline=None)
@given(
    arrays(
        np.int64, st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 20)), elements=st.integers(0, 1023)
    ),
    st.integers(1, 192_000),
    st.integers(1, 10**9),
    st.floats(-70, 10, width=32),
    st.booleans(),
)
def test_write_dac_read_dac_round_trip(
    tmp_path_factory: pytest.TempPathFactory, codes: np.ndarray, rate: int, length: int, level: float, padding: bool
) -> None:
    written = DacFile(codes, rate, length, level, codes.shape[2], len(codes), padding)
    read = read_dac(write_dac(tmp_path_factory.mktemp("dac") / "new" / "a.dac", written))
    np.testing.assert_array_equal(read.codes, codes)
    assert {**vars(read), "codes": 0} == {**vars(written), "codes": 0}
    assert (read.num_codebooks, read.num_frames) == codes.shape[1:]
    assert read.codes.dtype == np.int64


def test_dac_reads_our_file(tmp_path: Path) -> None:
    from dac import DACFile

    ours = make_file()
    theirs = DACFile.load(write_dac(tmp_path / "a.dac", ours))
    np.testing.assert_array_equal(theirs.codes.numpy(), ours.codes)
    assert (theirs.sample_rate, theirs.original_length, theirs.padding) == (44100, 512 * 6, True)
    assert float(theirs.input_db[0]) == ours.input_db


def test_read_dac_reads_file_of_dac(tmp_path: Path) -> None:
    from dac import DACFile

    ours = make_file(channels=2)
    theirs = DACFile(
        codes=torch.from_numpy(ours.codes),
        chunk_length=6,
        original_length=3000,
        input_db=torch.tensor([-20.5]),
        channels=2,
        sample_rate=48000,
        padding=False,
        dac_version="1.0.0",
    )
    read = read_dac(theirs.save(tmp_path / "a.dac"))
    np.testing.assert_array_equal(read.codes, ours.codes)
    assert (read.sample_rate, read.original_length, read.channels, read.padding) == (48000, 3000, 2, False)


def test_write_dac_keeps_old_file_on_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_dac(tmp_path / "a.dac", make_file())
    before = path.read_bytes()

    def break_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", break_off)
    with pytest.raises(KeyboardInterrupt):
        write_dac(path, make_file(frames=9))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


# Hostile and broken files


def npy(pickled: bytes) -> bytes:
    """A `.npy` file of one object, with this pickle in the object's place."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    return stream.getvalue() + pickled


class Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple:
        return self.reduced


def reduced(value: object) -> tuple[Any, ...]:
    """The function, its arguments and the state that `pickle` writes for a value."""
    parts = value.__reduce__()
    assert isinstance(parts, tuple)
    return parts


def contents(**changes: Any) -> dict[str, Any]:
    """What a good file holds, with changes: of the metadata, or `codes`."""
    codes = changes.pop("codes", np.zeros((1, 4, 6), np.uint16))
    good = {"input_db": np.array([-20], np.float32), "original_length": 3072, "sample_rate": 44100, "chunk_length": 6}
    return {"codes": codes, "metadata": good | {"channels": 1, "padding": True, "dac_version": "1.0.0"} | changes}


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_read_dac_accepts_any_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "a.dac").write_bytes(npy(pickle.dumps(contents(), protocol)))
    assert read_dac(tmp_path / "a.dac").codes.shape == (1, 4, 6)


MARK = "executed"


@pytest.mark.parametrize(
    "call",
    [
        Call(os.system, f"touch {MARK}"),
        Call(eval, f"open('{MARK}', 'w')"),
        Call(exec, f"open('{MARK}', 'w')"),
        Call(subprocess.check_call, ["touch", MARK]),
        Call(open, MARK, "w"),
        Call(getattr, subprocess.Popen, "communicate"),
        Call(np.save, MARK, np.zeros(3)),
        Call(np.memmap, MARK, "u2", "w+", 0, (3,)),
        Call(np.fromfile, "/etc/passwd"),
        Call(np.load, "other.dac", None, True),
        Call(pickle.loads, pickle.dumps(Call(os.system, f"touch {MARK}"))),
        Call(__import__, "antigravity"),
    ],
    ids=lambda call: call.reduced[0].__name__,
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_read_dac_refuses_malicious_pickle_unexecuted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    for hostile in (call, contents(codes=call), contents(input_db=call)):
        Path("a.dac").write_bytes(npy(pickle.dumps(hostile, protocol)))
        with pytest.raises(UserError, match=r"refused|not a whole"):
            read_dac("a.dac")
    assert os.listdir() == ["a.dac"]


@pytest.mark.parametrize(
    "call",
    [
        Call(np.ndarray, (4 * 10**9,), np.dtype("b")),
        Call(reduced(np.array(0))[0], np.ndarray, (4 * 10**9,), b"b"),
    ],
    ids=["ndarray", "reconstruct"],
)
def test_read_dac_refuses_array_without_contents(tmp_path: Path, call: Call) -> None:
    (tmp_path / "a.dac").write_bytes(npy(pickle.dumps(contents(codes=call), 2)))
    with pytest.raises(UserError, match="without contents: refused"):
        read_dac(tmp_path / "a.dac")


def test_read_dac_refuses_bare_pickle_unexecuted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`np.load` takes any pickle for a file of its own."""
    monkeypatch.chdir(tmp_path)
    Path("a.dac").write_bytes(pickle.dumps(Call(os.system, f"touch {MARK}")))
    with pytest.raises(UserError, match="not a whole"):
        read_dac("a.dac")
    assert not Path(MARK).exists()


def reconstruct(dtype: Any, data: Any) -> Call:
    """An array `()` of a type, as NumPy pickles it."""
    function = reduced(np.zeros(1))[0]
    return Call(function, np.ndarray, (0,), b"b", state=(1, (1,), dtype, False, data))


def test_read_dac_refuses_forged_dtype(tmp_path: Path) -> None:
    """Its data would be taken for pointers: a crash at best, so it is read in another process."""
    own = reduced(np.dtype("O"))[2]
    lies = (
        Call(np.dtype, "O8", False, True, state=(*own[:-1], 0)),
        Call(np.dtype, "V8", False, True, state=(3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)),
    )
    for i, lie in enumerate(lies):
        held = contents(input_db=reconstruct(lie, b"A" * 8))
        (tmp_path / f"{i}.dac").write_bytes(npy(pickle.dumps(held, 4)))
    code = (
        "import sys, pickle, importlib.util as u; spec = u.spec_from_file_location('file', sys.argv[1])\n"
        "sys.modules['file'] = file = u.module_from_spec(spec); spec.loader.exec_module(file)\n"  # without torch
        "for path in sys.argv[2:]:\n"
        "    try: file.read_dac(path)\n"
        "    except file.UserError as error: print(error)\n"
    )
    words = [sys.executable, "-W", "ignore", "-c", code, file_module.__file__, *sorted(tmp_path.iterdir())]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout.count("makes up a NumPy type") == len(lies), done


def test_read_dac_refuses_pickle_that_claims_gigabytes(tmp_path: Path) -> None:
    long_memo = b"\x80\x04Nr\xff\xff\xff\x7f."
    long_bytes = b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"abc."
    long_frame = b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"N."
    for pickled in (
        long_memo,
        long_bytes,
        long_frame,
        pickle.dumps(contents(codes=Call(np.ndarray, (1, 4, 2**40), "u2"))),
    ):
        (tmp_path / "a.dac").write_bytes(npy(pickled))
        with pytest.raises(UserError, match="not a whole"):
            read_dac(tmp_path / "a.dac")


@pytest.mark.parametrize(
    "changes",
    [
        {"dac_version": "9.0.0"},
        {"codes": np.zeros((4, 6), np.uint16)},
        {"codes": np.zeros((1, 4, 6))},
        {"codes": np.zeros((1, 4, 0), np.uint16)},
        {"codes": np.full((1, 4, 6), -1)},
        {"codes": np.array([[["1"]]])},
        {"codes": np.array([[[None]]])},
        {"codes": [1, 2]},
        {"sample_rate": 0},
        {"sample_rate": "fast"},
        {"sample_rate": float("inf")},
        {"original_length": -1},
        {"chunk_length": 0},
        {"channels": 2},
        {"input_db": np.array([], np.float32)},
        {"input_db": np.array([np.nan], np.float32)},
        {"input_db": np.array([1e30], np.float32)},
        {"sample_rate": 10**9},
        {"codes": np.full((1, 4, 6), 2**16)},
        {"input_db": None},
    ],
    ids=str,
)
def test_read_dac_refuses_impossible_contents(tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / "a.dac").write_bytes(npy(pickle.dumps(contents(**changes))))
    with pytest.raises(UserError, match=r"a\.dac is not a whole"):
        read_dac(tmp_path / "a.dac")


@pytest.mark.parametrize("missing", ["codes", "metadata", "sample_rate", "dac_version"])
def test_read_dac_names_missing_key(tmp_path: Path, missing: str) -> None:
    held = contents()
    held.pop(missing, None)
    held.get("metadata", {}).pop(missing, None)
    (tmp_path / "a.dac").write_bytes(npy(pickle.dumps(held)))
    with pytest.raises(UserError, match=missing):
        read_dac(tmp_path / "a.dac")


def test_read_dac_refuses_other_files(tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", np.zeros(4))
    soundfile.write(tmp_path / "sound.wav", np.zeros(100), 44100)
    (tmp_path / "empty.dac").touch()
    (tmp_path / "folder.dac").mkdir()
    for name in ("plain.npy", "sound.wav", "empty.dac", "folder.dac", "missing.dac"):
        with pytest.raises(UserError, match=name):
            read_dac(tmp_path / name)


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (b"", "it is empty"),
        (b"RIFF\0\0\0\0WAVE", "is a sound already"),
        (b"fLaC", "is a sound already"),
        (b"OggS", "is a sound already"),
        (b"text", "it holds something else"),
    ],
)
def test_read_dac_says_what_file_is(tmp_path: Path, contents: bytes, said: str) -> None:
    (tmp_path / "a.dac").write_bytes(contents)
    with pytest.raises(UserError, match=said):
        read_dac(tmp_path / "a.dac")


def test_read_dac_refuses_pipe_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.dac")
    with pytest.raises(UserError, match="it is a folder or a device"):
        read_dac(tmp_path / "a.dac")


@pytest.mark.parametrize(
    "changes", [{"input_db": float("nan")}, {"sample_rate": 0}, {"codes": np.full((1, 4, 6), 2**16)}]
)
def test_write_dac_refuses_unreadable_contents(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"Cannot write .*a\.dac"):
        write_dac(tmp_path / "a.dac", dataclasses.replace(make_file(), **changes))
    assert list(tmp_path.iterdir()) == []


def test_read_dac_refuses_truncated_file(tmp_path: Path) -> None:
    path = write_dac(tmp_path / "a.dac", make_file())
    whole = path.read_bytes()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"a\.dac is not a whole"):
            read_dac(path)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
@pytest.mark.filterwarnings("ignore")
def test_read_dac_reads_or_refuses_changed_bytes(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.dac"
    data = bytearray(write_dac(path, make_file()).read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    path.write_bytes(data)
    try:
        file = read_dac(path)
    except UserError as error:
        assert "flipped.dac" in str(error)
    else:
        assert file.codes.ndim == 3 and file.codes.min() >= 0


# Together with `python -m dac`


RATES = {"short": 44100, "long": 44100, "other_rate": 48000, "stereo": 44100}


@pytest.fixture(scope="module")
def exchange(tiny_pth: Path, tmp_path_factory: pytest.TempPathFactory, noise: Callable[..., np.ndarray]) -> Path:
    """Sounds encoded by `python -m dac` with a window of a second (theirs/) and by us (ours/), and its decodings."""
    folder = tmp_path_factory.mktemp("exchange")
    for i, (name, rate) in enumerate(RATES.items()):
        channels = 2 if name == "stereo" else 1
        length = round((2.7 if name in ("long", "stereo") else 0.8) * rate) + 17
        audio = np.stack([0.5 * noise(length, i), 0.1 * noise(length, 9)], axis=1)[:, :channels]
        soundfile.write(folder / f"{name}.wav", audio, rate)
        if channels == 1:
            write_dac(
                folder / "dac" / "ours" / f"{name}.dac", encode_file(folder / f"{name}.wav", load_codec(tiny_pth))
            )

    def dac(*words: str | Path) -> None:
        subprocess.run([sys.executable, "-m", "dac", *map(str, words)], check=True, capture_output=True)

    options = ["--weights_path", tiny_pth, "--device", "cpu"]
    dac("encode", folder, "--output", folder / "dac" / "theirs", "--win_duration", "1.0", *options)
    dac("decode", folder / "dac", "--output", folder / "decoded", *options)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("made_by", ["ours", "theirs"])
@pytest.mark.parametrize("name", ["short", "long", "other_rate"])
def test_decode_file_equals_dac(exchange: Path, tiny_pth: Path, made_by: str, name: str) -> None:
    file = read_dac(exchange / "dac" / made_by / f"{name}.dac")
    assert file.padding == (made_by == "ours" or name != "long")  # a long one of theirs is in chunks that overlap
    ours = load_codec(tiny_pth).decode_file(file)
    theirs, rate = soundfile.read(exchange / "decoded" / made_by / f"{name}.wav", always_2d=True)
    assert rate == RATES[name] and ours.shape == theirs.shape
    gain = ours.std() / theirs.std()
    assert abs(20 * np.log10(gain)) < 0.3  # the two loudness meters differ by so much on a short sound
    error = np.sqrt(np.mean((ours - gain * theirs) ** 2)) / ours.std()
    assert error < (0.05 if name == "other_rate" else 0.002)  # two resamplers; 16-bit samples


@pytest.mark.slow
def test_decode_file_keeps_level_and_balance_of_stereo(exchange: Path, tiny_pth: Path) -> None:
    """`python -m dac decode` brings each channel to the level of the whole; but for that, it is the same."""
    file = read_dac(exchange / "dac" / "theirs" / "stereo.dac")
    ours = load_codec(tiny_pth).decode_file(file)
    theirs = soundfile.read(exchange / "decoded" / "theirs" / "stereo.wav")[0]
    assert loudness_db(ours, 44100) == pytest.approx(file.input_db, abs=0.1)
    for left, right in zip(ours.T, theirs.T, strict=True):
        assert np.corrcoef(left, right)[0, 1] > 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("name", ["short", "long"])
def test_decode_file_restores_level(exchange: Path, tiny_pth: Path, name: str) -> None:
    original, rate = soundfile.read(exchange / f"{name}.wav")
    for made_by in ("ours", "theirs"):
        decoded = load_codec(tiny_pth).decode_file(read_dac(exchange / "dac" / made_by / f"{name}.dac"))
        assert loudness_db(decoded[:, 0], rate) == pytest.approx(loudness_db(original, rate), abs=0.3)


def test_read_dac_refuses_overlong_bytes_unallocated(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    claimed = pickle.PROTO + b"\x05" + pickle.BYTEARRAY8 + (2**62).to_bytes(8, "little") + b"few" + pickle.STOP
    (tmp_path / "a.dac").write_bytes(stream.getvalue() + claimed)
    with pytest.raises(UserError, match="it is cut off"):
        read_dac(tmp_path / "a.dac")

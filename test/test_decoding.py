"""Headers are claims: what counts is what the decoder delivers. Each file is made here and then made to lie."""

import os
import re
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dacformer import audio as sound
from dacformer.decoding import MOST_FRAMES_PER_BYTE, RATES, Measured
from dacformer.errors import UserError

RATE = 44100
NOISE = 0.3 * np.random.default_rng(0).standard_normal(3 * RATE).clip(-3, 3)


def measure(path: Path) -> Measured:
    measured = Measured()
    for _ in sound.read_blocks(path, None, measured=measured):
        pass
    return measured


def wav(data_size: int | None = None, riff_size: int | None = None, rate: int = RATE, channels: int = 1) -> bytes:
    """A WAV of 30,000 samples of 16 bits whose header says what it is told to."""
    data = (NOISE[:30000] * 2**15).astype("<i2").tobytes()
    size = len(data) if data_size is None else data_size
    riff = 36 + len(data) if riff_size is None else riff_size
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2 % 2**32, channels * 2 % 2**16, 16)
    return b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack(
        "<I", size
    ) + data  # fmt: skip


def flac(total: int) -> bytes:
    """A FLAC of the noise whose header states `total` samples (0: unknown, as encoders write into a pipe)."""
    path = Path("whole.flac")
    soundfile.write(path, NOISE, RATE)
    data = bytearray(path.read_bytes())
    data[21:26] = ((data[21] & 0xF0) << 32 | total).to_bytes(5, "big")
    return bytes(data)


def patched(name: str, at: bytes, offset: int, value: bytes) -> bytes:
    """The noise as `name` says, with bytes of its header replaced, counted from where `at` is."""
    soundfile.write(name, NOISE[:30000], RATE)
    data = bytearray(Path(name).read_bytes())
    start = data.index(at) + offset
    data[start : start + len(value)] = value
    return bytes(data)


LIES: dict[str, tuple[str, Callable[[], bytes], int | str]] = {
    "wav of unlimited size": ("a.wav", lambda: wav(2**32 - 1, 2**32 - 1), 30000),
    "wav of too large a size": ("a.wav", lambda: wav(10**9), 30000),
    "wav of odd size": ("a.wav", lambda: wav(59_999), 29999),
    "wav of less than there is": ("a.wav", lambda: wav(1000), 500),
    "wav never closed": ("a.wav", lambda: wav(0, 8), 30000),
    "wav of size 0": ("a.wav", lambda: wav(0), "says 0 samples, in 60044 bytes"),
    "wav of 1000 channels": ("a.wav", lambda: wav(channels=1000), 30),
    "wav of 0 channels": ("a.wav", lambda: wav(channels=0), "cannot be read as audio"),
    "wav of 65535 channels": ("a.wav", lambda: wav(channels=65535), "cannot be read as audio"),
    "flac without total": ("a.flac", lambda: flac(0), len(NOISE)),
    "flac of 2^36 samples": ("a.flac", lambda: flac(2**36 - 1), len(NOISE)),
    "aiff of 0 frames": ("a.aiff", lambda: patched("b.aiff", b"COMM", 10, bytes(4)), 30000),
    "caf of size -1": ("a.caf", lambda: patched("b.caf", b"data", 4, b"\xff" * 8), "cannot be read as audio"),
    "au of unknown size": ("a.au", lambda: patched("b.au", b".snd", 8, b"\xff" * 4), 30000),
}


@pytest.mark.parametrize(("name", "make", "said"), LIES.values(), ids=LIES)
def test_length_is_counted_not_taken_from_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[], bytes], said: int | str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(make())
    if isinstance(said, str):
        with pytest.raises(UserError, match=said) as error:
            measure(path)
        assert str(path) in str(error.value)
    else:
        assert measure(path).frames == said
        assert sound.describe_file(path).startswith(f"{said / RATE:.2f} s at {RATE} Hz")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_mp3_has_length_of_remainder(tmp_path: Path, share: float) -> None:
    soundfile.write(tmp_path / "a.mp3", NOISE, RATE)
    whole = sound.read_audio(tmp_path / "a.mp3", RATE)
    os.truncate(tmp_path / "a.mp3", round(share * (tmp_path / "a.mp3").stat().st_size))
    with soundfile.SoundFile(tmp_path / "a.mp3") as file:
        assert file.frames == len(whole), "the header says so still"
    cut = sound.read_audio(tmp_path / "a.mp3", RATE)
    assert 0.5 * share * len(whole) < len(cut) < share * len(whole) + 2 * 1152
    np.testing.assert_allclose(cut[:-2304], whole[: len(cut) - 2304], atol=1e-6)
    assert np.array_equal(cut, sound.read_audio(tmp_path / "a.mp3", RATE)), "memory that nobody wrote differs"


@pytest.mark.parametrize(
    "subtype", ["GSM610", "IMA_ADPCM", "MS_ADPCM", "G721_32", "ULAW", "PCM_24", "PCM_U8", "DOUBLE"]
)
def test_open_sound_reads_codecs_that_cannot_seek(tmp_path: Path, subtype: str) -> None:
    wave = 0.5 * np.sin(2 * np.pi * 200 * np.arange(16000) / 8000)
    soundfile.write(tmp_path / "a.wav", wave, 8000, subtype=subtype)
    read = sound.read_audio(tmp_path / "a.wav", 8000)
    assert len(read) == pytest.approx(16000, abs=1100)
    assert np.argmax(np.abs(np.fft.rfft(read[:8000]))) == pytest.approx(200, abs=1)


@pytest.mark.parametrize("rate", [1, 8, RATES[0] - 1, RATES[1] + 1, 2_000_000_000])
def test_open_sound_refuses_impossible_rate(tmp_path: Path, rate: int) -> None:
    (tmp_path / "a.wav").write_bytes(wav(rate=rate))
    started = time.perf_counter()
    with pytest.raises(UserError, match=f"sample rate of {rate} Hz. Expected 1000 to 1000000 Hz"):
        measure(tmp_path / "a.wav")
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("rate", RATES)
def test_open_sound_accepts_lowest_and_highest_rate(tmp_path: Path, rate: int) -> None:
    (tmp_path / "a.wav").write_bytes(wav(rate=rate))
    assert len(sound.read_audio(tmp_path / "a.wav", RATE)) == pytest.approx(30000 * RATE / rate, abs=1)


@pytest.mark.parametrize("kind", ["pipe", "socket", "loop", "dangling link", "no permission"])
def test_open_sound_refuses_non_files_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.wav"
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            server.bind(str(path))
        elif kind == "no permission":
            path.write_bytes(wav())
            path.chmod(0)
            if os.access(path, os.R_OK):
                pytest.skip("root may read everything")
        else:
            path.symlink_to(path if kind == "loop" else tmp_path / "nothing.wav")
        for ask in (measure, sound.describe_file, sound.read_comment):
            with pytest.raises(UserError, match=r"cannot be read as audio|There is no file"):
                ask(path)


def test_mono_blocks_refuse_more_frames_than_bytes_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(20 * RATE), RATE)
    assert measure(path).frames == 20 * RATE
    assert 20 * RATE / path.stat().st_size > 100, "silence is dense"
    assert 20 * RATE / path.stat().st_size < MOST_FRAMES_PER_BYTE
    monkeypatch.setattr("dacformer.decoding.MOST_FRAMES_PER_BYTE", 100)
    with pytest.raises(UserError, match="more sound than its"):
        measure(path)


def test_describe_file_uses_header_of_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dacformer.audio._COUNTED_BYTES", 1000)
    (tmp_path / "a.flac").write_bytes(flac(0))
    assert sound.describe_file(tmp_path / "a.flac").startswith("no length by its header at 44100 Hz")
    (tmp_path / "b.wav").write_bytes(wav())
    assert sound.describe_file(tmp_path / "b.wav").startswith("0.68 s by its header at 44100 Hz")


# Levels

DITHER = 2.0**-15 * np.random.default_rng(1).integers(-1, 2, RATE)
TONE = 0.3 * np.sin(np.arange(RATE) / 10)
LEVELS: dict[str, tuple[np.ndarray, str, str | None]] = {
    "zeros": (np.zeros(RATE), "PCM_16", "is silent throughout. Remove it"),
    "dither": (DITHER, "PCM_16", r"is silent throughout \(peak -90 dB\)"),
    "dither in 8 bits": (2.0**-7 * np.sign(DITHER), "PCM_U8", "is silent throughout"),
    "denormals": (np.full(RATE, 1e-310) * np.sign(DITHER), "DOUBLE", "is silent throughout"),
    "anti-phase": (np.stack([TONE, -TONE], axis=1), "PCM_16", "cancel each other out"),
    "nearly anti-phase": (np.stack([TONE, -0.99 * TONE], axis=1), "FLOAT", "cancel each other out"),
    "constant": (np.full(RATE, 0.1), "PCM_16", r"nothing but a constant \(0\.1\)"),
    "constant with dither": (0.1 + DITHER, "PCM_16", "nothing but a constant"),
    "integers of 16 bits": (16000 * TONE, "FLOAT", "integers written as floats"),
    "integers of 8 bits": (120 * TONE, "DOUBLE", "integers written as floats"),
    "floats beyond full scale": (6 * TONE, "FLOAT", None),
    "one channel of two": (np.stack([TONE, 0 * TONE], axis=1), "PCM_16", None),
    "one channel of sixteen": (np.stack([0.1 * TONE, *[0 * TONE] * 15], axis=1), "PCM_16", None),
    "quiet": (0.002 * TONE, "PCM_16", None),
    "a constant below a tone": (0.1 + TONE, "PCM_16", None),
    "an instant": (np.full(RATE // 30, 0.3), "PCM_16", None),
}


@pytest.mark.parametrize(("audio", "subtype", "said"), LEVELS.values(), ids=LEVELS)
def test_problem_names_unusable_sound(tmp_path: Path, audio: np.ndarray, subtype: str, said: str | None) -> None:
    soundfile.write(tmp_path / "a.wav", audio, RATE, subtype=subtype)
    problem = measure(tmp_path / "a.wav").problem()
    assert problem is None if said is None else problem is not None and re.search(said, problem)

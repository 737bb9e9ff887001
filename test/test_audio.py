import os
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from dacformer import audio as sound
from dacformer.errors import UserError

FORMATS = ["wav", "flac", "ogg", "aiff", "mp3"]


def sine(seconds: float, rate: int, hz: float = 440.0, channels: int = 1) -> np.ndarray:
    """`(N, channels)`, every channel louder than the one before."""
    wave = np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return (wave[:, None] * np.linspace(0.2, 0.4, channels)).astype(np.float32)


# Reading


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize("seconds", [0.01, 0.3, 2.0])
def test_read_start_equals_start_of_read_audio(tmp_path: Path, rate: int, seconds: float) -> None:
    path = sound.write_audio(tmp_path / "a.wav", sine(1.0, rate), rate)
    whole = sound.read_audio(path, 44100)
    start = sound.read_start(path, 44100, seconds)
    assert len(start) == min(round(seconds * 44100), len(whole))
    np.testing.assert_allclose(start, whole[: len(start)], atol=1e-5)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("rate", "channels"), [(44100, 1), (48000, 2), (22050, 1), (8000, 2)])
def test_read_audio_reads_any_format_rate_and_channel_count(
    tmp_path: Path, suffix: str, rate: int, channels: int
) -> None:
    path, written = tmp_path / f"a.{suffix}", sine(0.5, rate, channels=channels)
    soundfile.write(path, written, rate)
    audio = sound.read_audio(path, 44100)
    assert audio.ndim == 1 and audio.dtype == np.float32
    assert len(audio) == pytest.approx(22050, abs=1 if suffix != "mp3" else 3000)
    inner = slice(4000, 16000)
    spectrum = np.abs(np.fft.rfft(audio[inner]))
    assert np.argmax(spectrum) * 44100 / 12000 == pytest.approx(440, abs=4)
    level = written.mean(axis=1).max()
    assert np.abs(audio[inner]).max() == pytest.approx(level, rel=0.02 if suffix in ("wav", "flac", "aiff") else 0.1)


@pytest.mark.parametrize("suffix", ["W64", "RF64", "CAF", "AU"])
def test_read_audio_reads_less_common_formats(tmp_path: Path, suffix: str) -> None:
    written = sine(0.1, 44100)
    soundfile.write(tmp_path / "a", written, 44100, format=suffix, subtype="FLOAT")
    np.testing.assert_array_equal(sound.read_audio(tmp_path / "a", 44100), written[:, 0])


def test_read_audio_mixes_seven_channels_evenly(tmp_path: Path) -> None:
    written = sine(0.1, 44100, channels=7)
    soundfile.write(tmp_path / "a.wav", written, 44100, subtype="FLOAT")
    np.testing.assert_allclose(sound.read_audio(tmp_path / "a.wav", 44100), written.mean(axis=1), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 30_000),
    st.sampled_from([8000, 22050, 44100, 48000, 96000]),
    st.sampled_from([16000, 44100]),
    st.floats(0.01, 1.0),
)
def test_read_blocks_concatenated_equal_read_audio(
    tmp_path_factory: pytest.TempPathFactory, length: int, rate: int, wanted: int, block_seconds: float
) -> None:
    path = tmp_path_factory.mktemp("blocks") / "a.wav"
    written = np.random.default_rng(length).uniform(-0.5, 0.5, length).astype(np.float32)
    soundfile.write(path, written, rate, subtype="FLOAT")
    pieces = list(sound.read_blocks(path, wanted, block_seconds))
    whole = soxr.resample(written, rate, wanted) if rate != wanted else written
    assert sum(map(len, pieces)) == len(whole)
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)


def test_read_blocks_bounds_block_size(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(2.0, 44100), 44100)
    assert max(map(len, sound.read_blocks(tmp_path / "a.wav", 44100, 0.1))) <= 2 * 4410


def make_bad(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.wav"
    if kind == "empty":
        path.touch()
    elif kind == "no samples":
        soundfile.write(path, np.zeros((0, 1)), 44100)
    elif kind == "text":
        path.write_text("no sound at all " * 100)
    elif kind in ("nan", "inf"):
        audio = sine(1.0, 44100)
        audio[30000] = float(kind)
        soundfile.write(path, audio, 44100, subtype="FLOAT")
    elif kind == "folder":
        path.mkdir()
    return path  # "missing": nothing there


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("empty", "cannot be read as audio"),
        ("no samples", "0 samples"),
        ("text", "cannot be read as audio"),
        ("nan", "NaN or infinite"),
        ("inf", "NaN or infinite"),
        ("folder", "cannot be read as audio"),
        ("missing", "There is no file"),
    ],
)
def test_read_audio_names_unreadable_file(tmp_path: Path, kind: str, said: str) -> None:
    path = make_bad(tmp_path, kind)
    with pytest.raises(UserError, match=said) as error:
        sound.read_audio(path, 44100)
    assert path.name in str(error.value)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["flac", "wav", "ogg"]), st.floats(0, 1))
def test_read_audio_reads_or_refuses_truncated_file(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, share: float
) -> None:
    path = tmp_path_factory.mktemp("cut") / f"a.{suffix}"
    soundfile.write(path, sine(0.2, 44100), 44100)
    os.truncate(path, int(share * path.stat().st_size))
    try:
        audio = sound.read_audio(path, 44100)
    except UserError as error:
        assert path.name in str(error)
    else:
        assert np.isfinite(audio).all()


# Finding


def test_find_audio_searches_all_folders_in_order(tmp_path: Path) -> None:
    for name in ("b/z.WAV", "b/a.flac", "a/deep/er/x.ogg", "c.mp3", "b/.hidden.wav", "notes.txt", "b/clips.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "folder.wav").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in sound.find_audio(tmp_path)]
    assert found == ["a/deep/er/x.ogg", "b/a.flac", "b/z.WAV", "c.mp3"]


def test_list_folder_counts_hidden_linked_and_other_files(tmp_path: Path) -> None:
    kept, elsewhere = tmp_path / "sounds", tmp_path / "elsewhere"
    hidden = (".ipynb_checkpoints/a.wav", ".Trash-1000/files/b.wav", ".c.wav")
    for name in ("a.wav", "d.m4a", "e.wma", "f", "g.M4A", *hidden):
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        (kept / name).touch()
    elsewhere.mkdir()
    (elsewhere / "x.wav").touch()
    (kept / "link").symlink_to(elsewhere)
    (kept / "loop").symlink_to(kept)
    (kept / "h.wav").symlink_to(elsewhere / "x.wav")
    (kept / "i.wav").symlink_to(elsewhere / "none.wav")
    os.mkfifo(kept / "j.wav")
    listing = sound.list_folder(kept)
    assert [path.name for path in listing.sounds] == ["a.wav", "h.wav"]
    assert listing.left_out == (
        "4 files of other kinds (.m4a, .wma, no suffix), "
        "1 broken link, 1 hidden file, 2 hidden folders, 2 linked folders, 1 special file"
    )
    assert sound.list_folder(elsewhere).left_out == ""


def test_list_folder_accepts_hidden_folder(tmp_path: Path) -> None:
    (tmp_path / ".sounds" / "rain").mkdir(parents=True)
    (tmp_path / ".sounds" / "rain" / "a.wav").touch()
    assert len(sound.find_audio(tmp_path / ".sounds")) == 1
    with pytest.raises(UserError, match="There is: 1 hidden folder"):
        sound.find_audio(tmp_path)


def test_list_folder_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    assert sound.find_audio(tmp_path / "a.wav") == [tmp_path / "a.wav"]


def test_list_folder_refuses_missing_folder_and_no_sound(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        sound.find_audio(tmp_path / "none")
    with pytest.raises(UserError, match="No sound file below"):
        sound.find_audio(tmp_path)


@pytest.mark.parametrize(
    ("name", "recording"),
    [
        ("2-82367-A.ogg", "2-82367"),
        ("2-82367-B.wav", "2-82367"),
        ("take-1.wav", "take-1"),
        ("A.wav", "A"),
        ("x-AB.wav", "x-AB"),
    ],
)
def test_recording_of_part(name: str, recording: str) -> None:
    assert sound.recording_of(f"some/where/{name}") == recording


@given(st.lists(st.sampled_from("abcdefghij"), unique=True), st.floats(0, 1), st.integers(0, 99))
def test_split_by_recording_keeps_parts_together(names: list[str], share: float, seed: int) -> None:
    paths = [Path(f"{name}-{piece}.wav") for name in names for piece in "AB"]
    kept, held = sound.split_by_recording(paths, share, seed)
    assert sorted(kept + held) == sorted(paths)
    assert not {sound.recording_of(p) for p in kept} & {sound.recording_of(p) for p in held}
    assert len(held) == 2 * round(share * len(names))
    assert sound.split_by_recording(paths, share, seed) == (kept, held)


# Writing


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_write_audio_read_audio_round_trip(tmp_path: Path, suffix: str, channels: int) -> None:
    written = sine(0.5, 44100, channels=channels)
    path = sound.write_audio(tmp_path / "new" / f"a.{suffix}", written, 44100)
    read, rate = soundfile.read(path, always_2d=True)
    assert rate == 44100 and read.shape[1] == channels
    if suffix != "mp3":  # a delay
        np.testing.assert_allclose(read, written, atol=1e-4 if suffix in ("wav", "flac", "aiff") else 0.05)


def test_write_audio_clips(tmp_path: Path) -> None:
    path = sound.write_audio(tmp_path / "a.wav", np.array([2.0, -2.0, 0.5]), 44100)
    np.testing.assert_allclose(soundfile.read(path)[0], [1, -1, 0.5], atol=1e-4)


def test_write_audio_writes_long_vorbis_file(tmp_path: Path) -> None:
    path = sound.write_audio(tmp_path / "a.ogg", np.zeros(60 * 8000, np.float32), 8000)
    assert soundfile.info(path).frames == 60 * 8000


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@pytest.mark.parametrize(
    "comment", ["plain", '{"class": "rain", "ä": [1, 2.5]}', "x" * 2000]
)  # libsndfile reads no longer ones from .wav
def test_comment_round_trip(tmp_path: Path, suffix: str, comment: str) -> None:
    path = sound.write_audio(tmp_path / f"a.{suffix}", sine(0.1, 44100), 44100, comment)
    assert sound.read_comment(path) == comment


def test_read_comment_of_none_is_empty(tmp_path: Path) -> None:
    assert sound.read_comment(sound.write_audio(tmp_path / "a.wav", sine(0.1, 44100), 44100)) == ""


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.txt", "a.raw"])
def test_write_audio_refuses_unknown_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="no sound format"):
        sound.write_audio(tmp_path / name, np.zeros(10), 44100)
    assert not list(tmp_path.iterdir())


def test_write_audio_refuses_unsupported_rate(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.mp3"):
        sound.write_audio(tmp_path / "a.mp3", np.zeros(1000), 96000)
    assert not list(tmp_path.iterdir())


def test_write_audio_keeps_old_file_on_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sound.write_audio(tmp_path / "a.wav", sine(0.1, 44100), 44100)
    before = path.read_bytes()

    def break_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", break_off)
    with pytest.raises(KeyboardInterrupt):
        sound.write_audio(path, np.zeros(10), 44100)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


# Loudness, silence, rate


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_loudness_equals_pyloudnorm(rate: int, channels: int) -> None:
    audio = np.random.default_rng(1).standard_normal((3 * rate, channels)) * np.linspace(0.01, 0.3, 3 * rate)[:, None]
    audio = audio[:, 0] if channels == 1 else audio
    assert sound.loudness_db(audio, rate) == pytest.approx(pyloudnorm.Meter(rate).integrated_loudness(audio), abs=1e-9)


def test_loudness_of_full_scale_sine_is_minus_three() -> None:
    """EBU Tech 3341: 1 kHz at 0 dBFS on one channel measures -3.01 LUFS."""
    wave = np.sin(2 * np.pi * 1000 * np.arange(2 * 48000) / 48000)
    assert sound.loudness_db(wave, 48000) == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize("length", [0, 1, 100, 17640, 17641, 44100])
def test_loudness_of_silence_is_gate(length: int) -> None:
    assert sound.loudness_db(np.zeros(length), 44100) == sound.MIN_LOUDNESS_DB


@given(st.floats(-30, 0))
@settings(deadline=None, max_examples=10)
def test_loudness_changes_by_gain(gain_db: float) -> None:
    audio = np.random.default_rng(0).standard_normal(44100) * 0.1
    moved = sound.loudness_db(audio * 10 ** (gain_db / 20), 44100) - sound.loudness_db(audio, 44100)
    assert moved == pytest.approx(gain_db, abs=1e-6)


def test_blockwise_loudness_is_close_to_loudness() -> None:
    audio = np.random.default_rng(0).standard_normal(10 * 44100) * np.repeat([0.3, 0.001, 0.2, 0.3, 0.0], 2 * 44100)
    whole = sound.loudness_db(audio, 44100)
    assert sound.blockwise_loudness_db(np.split(audio, 5), 44100) == pytest.approx(whole, abs=0.5)


def test_blockwise_loudness_of_nothing_is_gate() -> None:
    assert sound.blockwise_loudness_db([], 44100) == sound.MIN_LOUDNESS_DB


def test_trim_trailing_silence_keeps_leading_silence() -> None:
    audio = np.array([0, 0, 0.5, 0, 0.5, 0.9 * sound.SILENCE, 0, 0], np.float32)
    np.testing.assert_array_equal(sound.trim_trailing_silence(audio), audio[:5])
    np.testing.assert_array_equal(sound.trim_trailing_silence(audio[:2]), audio[:2])
    assert len(sound.trim_trailing_silence(audio[:0])) == 0


def test_resample_keeps_duration_and_channels() -> None:
    audio = sine(1.0, 48000, channels=2)
    assert sound.resample(audio, 48000, 48000) is audio
    assert sound.resample(audio, 48000, 44100).shape == (44100, 2)


def test_describe_file(tmp_path: Path) -> None:
    path = sound.write_audio(tmp_path / "a.flac", sine(0.5, 22050, channels=2), 22050)
    assert sound.describe_file(path) == "0.50 s at 22050 Hz, 2 channel(s), FLAC PCM_16"
    with pytest.raises(UserError, match="There is no file"):
        sound.describe_file(tmp_path / "none.wav")

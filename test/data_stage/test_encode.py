"""A folder of sounds becomes a dataset, also in the end when not at once."""

import errno
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from dacformer import audio as sound
from dacformer.codec import Codec, read_dac
from dacformer.data.dataset import load_dataset
from dacformer.data.encode import EncodingReport, encode_file, encode_folder, split_recordings
from dacformer.data.labels import Label
from dacformer.data.sources import SOURCES_FILE
from dacformer.errors import UserError
from dacformer.textures import synthesize

WriteSounds = Callable[..., Path]


def encode(sounds: Path, tiny: Codec, **options: object) -> EncodingReport:
    return encode_folder(sounds, sounds.parent / "set", tiny, "tiny", **options)  # pyright: ignore


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# One file


@pytest.mark.parametrize("level", [0.5, 0.01])
@pytest.mark.parametrize(("rate", "channels"), [(44100, 1), (48000, 2)])
def test_encode_file_restores_level_rate_and_length(
    tmp_path: Path, codec: Codec, level: float, rate: int, channels: int
) -> None:
    """The level as the meter hears what is decoded; any codec's sound is brought to it."""
    wave = level * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    path = sound.write_audio(tmp_path / "a.flac", np.stack([wave] * channels, axis=1), rate)
    file = encode_file(path, codec)
    assert (file.sample_rate, file.channels, len(file.codes)) == (rate, 1, 1)
    assert file.original_length == pytest.approx(rate, abs=3)
    assert file.num_frames == -(-44100 // 512)
    decoded = codec.decode_file(file)[:, 0]
    assert len(decoded) == file.original_length
    assert sound.loudness_db(decoded, rate) == pytest.approx(sound.loudness_db(wave, rate), abs=0.3)


def test_encode_file_codes_do_not_depend_on_level(tmp_path: Path, tiny: Codec) -> None:
    wave = 0.5 * np.sin(np.arange(44100) ** 1.3)
    files = []
    for gain in (1.0, 0.01):
        soundfile.write(tmp_path / "a.wav", gain * wave, 44100, subtype="FLOAT")
        files.append(encode_file(tmp_path / "a.wav", tiny))
    assert np.mean(files[0].codes != files[1].codes) < 0.01
    assert files[0].input_db - files[1].input_db == pytest.approx(40, abs=0.01)


def test_encode_file_with_skip_encodes_rest(tmp_path: Path, codec: Codec) -> None:
    wave = 0.3 * np.random.default_rng(0).standard_normal(3 * 44100)
    path = sound.write_audio(tmp_path / "a.wav", wave, 44100)
    whole, later, part = (encode_file(path, codec, skip_samples=skip) for skip in (0, 5 * 512, 128))
    assert whole.original_length - later.original_length == 5 * 512
    # The same frames, counted from another place; only the first hear silence in place of what was there before them.
    assert (whole.codes[..., 15:-1] == later.codes[..., 10:-1]).mean() > 0.99
    assert (whole.codes[..., :-1] == part.codes[..., : whole.num_frames - 1]).mean() < 0.2, "another sound to the codec"


def test_encode_folder_shifts_training_sounds_only(write_sounds: WriteSounds, tiny: Codec) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav", "rain/c.wav", "rain/d.wav")
    report = encode(sounds, tiny, shifts=3, validation=0.25)
    rows = load_dataset(sounds.parent / "set").rows
    assert report.encoded == len(rows) == 3 * 3 + 1 and (rows["split"] == "val").sum() == 1
    assert encode(sounds, tiny, shifts=3, validation=0.25).reused == 10
    held = Path(rows[rows["split"] == "val"]["file"].iloc[0]).stem
    assert not any(Path(file).name.startswith(held) for file in rows[rows["split"] == "train"]["file"])


def test_encode_file_trims_trailing_silence_on_request(tmp_path: Path, tiny: Codec) -> None:
    wave = np.r_[np.zeros(4410), 0.3 * np.ones(22050) * np.sin(np.arange(22050)), np.zeros(44100)]
    soundfile.write(tmp_path / "a.wav", wave, 44100)
    trimmed = encode_file(tmp_path / "a.wav", tiny)
    assert trimmed.original_length == pytest.approx(4410 + 22050, abs=5)
    assert trimmed.num_frames == -(-trimmed.original_length // 512)
    assert encode_file(tmp_path / "a.wav", tiny, trim=False).original_length == len(wave)


@pytest.mark.parametrize("length", [1, 100, 600])
def test_encode_file_accepts_very_short_sound(tmp_path: Path, tiny: Codec, length: int) -> None:
    soundfile.write(tmp_path / "a.wav", 0.3 * np.ones(length), 44100)
    file = encode_file(tmp_path / "a.wav", tiny)
    assert file.num_frames == -(-length // 512)
    assert tiny.decode_file(file).shape == (length, 1)


def test_encode_file_refuses_silence(tmp_path: Path, tiny: Codec) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(44100), 44100)
    with pytest.raises(UserError, match="silent throughout"):
        encode_file(tmp_path / "a.wav", tiny)


# A folder


def test_encode_folder_makes_dataset_of_nested_folders(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav", "far/down/wind/c.flac", "far/down/wind/d.ogg", "e--rate-2.wav")
    assert encode(sounds, tiny) == EncodingReport(encoded=5, reused=0, skipped={})
    dataset = load_dataset(sounds.parent / "set")
    assert dataset.conditions.classes == ("e", "rain", "wind")
    assert set(dataset.rows["file"]) == {
        "rain/a.dac",
        "rain/b.dac",
        "far/down/wind/c.dac",
        "far/down/wind/d.dac",
        "e--rate-2.dac",
    }
    assert dataset.info.codec == tiny.identity and dataset.info.codec_name == "tiny"
    assert (dataset.info.num_codebooks, dataset.info.codebook_size) == (2, 64)
    assert set(dataset.info.level_offset_db) == {"e", "rain", "wind"}
    assert sorted(dataset.rows["split"]) == ["train", "train", "train", "val", "val"]
    assert dataset.rows.set_index("file")["rate"].dropna().to_dict() == {"e--rate-2.dac": 2.0}


def test_encode_folder_measures_codec_level_loss(codec: Codec, tmp_path: Path) -> None:
    levels = {}
    for name, gain in (("wind", 0.3), ("rain", 1.0)):
        audio = gain * synthesize(name, 0.5, 3.0, 44100, seed=0)
        sound.write_audio(tmp_path / "sounds" / name / "a.flac", audio, 44100)
        levels[name] = sound.loudness_db(audio, 44100)
    encode(tmp_path / "sounds", codec)
    dataset = load_dataset(tmp_path / "set")
    for name, level in levels.items():
        codes = read_dac(tmp_path / "set" / name / "a.dac").codes
        decoded = codec.decode(torch.from_numpy(codes))[0, 0, : 3 * 44100].numpy()
        assert sound.loudness_db(decoded, 44100) - dataset.info.level_offset_db[name] == pytest.approx(level, abs=0.1)


def test_class_gains_ignore_silent_beginnings(tiny: Codec, tmp_path: Path) -> None:
    audio = np.concatenate([np.zeros(6 * 44100), 0.1 * np.random.default_rng(0).standard_normal(4410)])
    sound.write_audio(tmp_path / "sounds" / "rain" / "a.wav", audio, 44100)
    encode(tmp_path / "sounds", tiny)
    gain = read_dac(tmp_path / "set" / "rain" / "a.dac").gain_db
    assert load_dataset(tmp_path / "set").info.level_offset_db["rain"] == pytest.approx(gain, abs=0.01)


def test_encode_folder_twice_changes_nothing(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav", "wind/c.wav")
    encode(sounds, tiny)
    before = tree(sounds.parent / "set")
    assert encode(sounds, tiny) == EncodingReport(encoded=0, reused=3, skipped={})
    assert tree(sounds.parent / "set") == before


def test_encode_folder_renews_missing_changed_and_damaged_files(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav", "rain/c.wav", "rain/d.wav")
    encode(sounds, tiny)
    output = sounds.parent / "set"
    before = tree(output)
    (output / "rain/a.dac").unlink()
    os.truncate(output / "rain/b.dac", 100)
    (output / "manifest.csv").unlink()
    assert encode(sounds, tiny) == EncodingReport(encoded=2, reused=2, skipped={}, renewed=2)
    assert tree(output) == before


def test_encode_folder_renews_sound_replaced_by_older_file(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav")
    encode(sounds, tiny)
    before = tree(sounds.parent / "set")
    shutil.copy(sounds / "rain/b.wav", sounds / "rain/a.wav")
    os.utime(sounds / "rain/a.wav", (1, 1))
    assert encode(sounds, tiny) == EncodingReport(encoded=1, reused=1, skipped={}, renewed=1)
    after = tree(sounds.parent / "set")
    assert after["rain/a.dac"] == after["rain/b.dac"] == before["rain/b.dac"] != before["rain/a.dac"]


@pytest.mark.parametrize("options", [{"trim": False}, {"shifts": 2, "validation": 0.0}])
def test_encode_folder_with_changed_settings_renews_every_file(
    tiny: Codec, write_sounds: WriteSounds, options: dict[str, object]
) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav")
    audio = soundfile.read(sounds / "rain/a.wav")[0]
    soundfile.write(sounds / "rain/a.wav", np.r_[audio, np.zeros(44100)], 44100)
    encode(sounds, tiny, validation=0.0)
    encode(sounds, tiny, **options)
    encode_folder(sounds, sounds.parent / "fresh", tiny, "tiny", **options)  # pyright: ignore
    changed, fresh = tree(sounds.parent / "set"), tree(sounds.parent / "fresh")
    assert {k: v for k, v in changed.items() if k != "dataset.yaml"} == {
        k: v for k, v in fresh.items() if k != "dataset.yaml"
    }


def test_encode_folder_drops_removed_sounds_and_takes_them_back(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav", "rain/c.wav")
    encode(sounds, tiny)
    (sounds / "rain/c.wav").rename(sounds.parent / "c.wav")
    assert encode(sounds, tiny) == EncodingReport(encoded=0, reused=2, skipped={}, gone=1)
    assert set(load_dataset(sounds.parent / "set").rows["file"]) == {"rain/a.dac", "rain/b.dac"}
    (sounds.parent / "c.wav").rename(sounds / "rain/c.wav")
    assert encode(sounds, tiny) == EncodingReport(encoded=0, reused=3, skipped={})


def test_encode_folder_renews_file_of_truncated_sources_row(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav")
    encode(sounds, tiny)
    before = tree(sounds.parent / "set")
    (sounds.parent / "set" / "rain/b.dac").unlink()
    os.truncate(sounds.parent / "set" / SOURCES_FILE, len(before[SOURCES_FILE]) - 12)
    assert encode(sounds, tiny).encoded == 1
    assert tree(sounds.parent / "set") == before


# Several folders


@pytest.mark.parametrize("whole_paths", [True, False])
def test_encode_folder_adds_second_folder(
    tiny: Codec, write_sounds: WriteSounds, monkeypatch: pytest.MonkeyPatch, whole_paths: bool
) -> None:
    sounds = write_sounds("rain/1.wav", "rain/2.wav", "wind/1.wav", "wind/2--gust-3.wav")
    monkeypatch.chdir(sounds)
    rain, wind = ((sounds if whole_paths else Path()) / name for name in ("rain", "wind"))
    output = sounds.parent / "set"
    encode_folder(rain, output, tiny, "tiny")
    first = load_dataset(output)
    codes = (output / "1.dac").read_bytes()
    assert encode_folder(wind, output, tiny, "tiny", labels=None) == EncodingReport(2, 0, {}, kept=2)
    both = load_dataset(output)
    assert both.rows[both.rows["class"] == "rain"]["file"].to_list() == first.rows["file"].to_list()
    assert set(both.rows["file"]) == {"1.dac", "2.dac", "1.2.dac", "2--gust-3.dac"}
    assert (output / "1.dac").read_bytes() == codes != (output / "1.2.dac").read_bytes()
    assert (
        both.info.level_offset_db["rain"] == first.info.level_offset_db["rain"] and "wind" in both.info.level_offset_db
    )
    assert both.info.made_by == f"{first.info.made_by} && dacformer encode {wind} {output} --codec tiny"
    assert encode_folder(rain, output, tiny, "tiny") == EncodingReport(0, 2, {}, kept=2)
    again = load_dataset(output)
    assert (
        sorted(again.rows["file"]) == sorted(both.rows["file"])
        and again.info.level_offset_db == both.info.level_offset_db
    )


def test_encode_folder_measures_level_over_both_folders_of_class(
    tiny: Codec, write_sounds: WriteSounds, tmp_path: Path
) -> None:
    sounds = write_sounds("x/rain/a.wav", "y/rain/b.wav")
    for name in ("x", "y"):
        encode_folder(sounds / name, tmp_path / "parts", tiny, "tiny", root=sounds)
    encode_folder(sounds, tmp_path / "whole", tiny, "tiny", validation=0.0)
    parts, whole = load_dataset(tmp_path / "parts"), load_dataset(tmp_path / "whole")
    assert parts.info.level_offset_db["rain"] == pytest.approx(whole.info.level_offset_db["rain"], abs=0.011)
    assert list(parts.rows["file"]) == list(whole.rows["file"]) == ["x/rain/a.dac", "y/rain/b.dac"]


def test_encode_folder_recognises_sounds_below_parent_folder(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "wind/b.wav")
    output = sounds.parent / "set"
    encode_folder(sounds / "rain", output, tiny, "tiny")
    assert encode_folder(sounds, output, tiny, "tiny") == EncodingReport(1, 1, {})
    assert set(load_dataset(output).rows["file"]) == {"a.dac", "wind/b.dac"}
    assert encode_folder(sounds / "wind" / "b.wav", output, tiny, "tiny") == EncodingReport(0, 1, {}, kept=1)


def test_encode_folder_reuses_codes_of_moved_folder(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav", "rain/c.wav")
    encode(sounds, tiny, shifts=2)
    moved = sounds.rename(sounds.parent / "moved")
    (moved / "rain/c.wav").unlink()
    assert encode(moved, tiny, shifts=2).reused >= 3
    rows = load_dataset(sounds.parent / "set").rows
    assert set(rows["file"]) >= {"rain/a.dac", "rain/b.dac"}


# Codes, tables and folders in the way


def test_encode_folder_refuses_to_replace_codes_of_unknown_origin(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav")
    output = sounds.parent / "set"
    (output / "rain").mkdir(parents=True)
    (output / "rain/a.dac").write_bytes(b"somebody's own")
    with pytest.raises(UserError, match=r"rain/a\.dac is there already, and sources\.csv does not say"):
        encode(sounds, tiny)
    assert tree(output) == {"rain/a.dac": b"somebody's own"}


def test_encode_folder_refuses_dataset_without_sources(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav")
    encode(sounds, tiny)
    (sounds.parent / "set" / SOURCES_FILE).unlink()
    before = tree(sounds.parent / "set")
    with pytest.raises(UserError, match=r"sources\.csv does not say"):
        encode(sounds, tiny)
    assert tree(sounds.parent / "set") == before
    other = write_sounds("wind/c.wav", folder="other")
    assert encode(other, tiny) == EncodingReport(1, 0, {}, kept=2)


@pytest.mark.parametrize("kind", ["a file", "a table", "a broken table", "broken sources"])
def test_encode_folder_refuses_output_that_is_no_dataset(tiny: Codec, write_sounds: WriteSounds, kind: str) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav")
    output = sounds.parent / "set"
    if kind == "a file":
        output.write_text("mine")
    elif kind == "a table":
        output.mkdir()
        (output / "manifest.csv").write_text("mine")
    else:
        encode(sounds, tiny)
        (output / ("manifest.csv" if kind == "a broken table" else SOURCES_FILE)).write_bytes(b"\xff")
    before = tree(sounds.parent)
    with pytest.raises(UserError, match=r"is a file|of no dataset|cannot be read"):
        encode(sounds, tiny)
    assert tree(sounds.parent) == before


@pytest.mark.parametrize("inside", [".", "data/set"])
def test_encode_folder_accepts_output_inside_sounds(tiny: Codec, write_sounds: WriteSounds, inside: str) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav")
    output = sounds / inside
    assert encode_folder(sounds, output, tiny, "tiny").encoded == 2
    if inside != ".":
        sound.write_audio(output / "decoded.wav", np.ones(100) / 2, 44100)
    report = encode_folder(sounds, output, tiny, "tiny")
    assert (report.encoded, report.reused, report.skipped) == (0, 2, {})
    assert "of other kinds" in report.left_out


KILLED = """
import sys, torch
from dacformer.codec import Codec
from dacformer.codec.weight_files import build_model
from dacformer.codec.weight_files import CodecConfig
from dacformer.data.encode import encode_folder
torch.manual_seed(0)
sizes = CodecConfig(encoder_dim=2, decoder_dim=16, n_codebooks=2, codebook_size=64, codebook_dim=4)
codec = Codec(build_model(sizes).eval(), "tiny-0123")
encode_folder(sys.argv[1], sys.argv[2], codec, "tiny")
"""


@pytest.mark.heavy
def test_encode_folder_continues_after_kill(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds(*(f"rain/{i:02}.wav" for i in range(16)), seconds=2)
    output = sounds.parent / "set"
    worker = subprocess.Popen([sys.executable, "-c", KILLED, sounds, output], stderr=subprocess.DEVNULL)
    for _ in range(6000):  # two minutes at most: the import takes the longest
        if len(list(output.rglob("*.dac"))) >= 1 or worker.poll() is not None:
            break
        time.sleep(0.02)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    done = len(list(output.rglob("*.dac")))
    assert 1 <= done < 16 and not (output / "manifest.csv").exists()
    report = encode(sounds, tiny)
    assert report == EncodingReport(encoded=16 - done, reused=done, skipped={})
    resumed = tree(output)
    whole = sounds.parent / "whole"
    encode_folder(sounds, whole, tiny, "tiny")
    other = {name: data for name, data in resumed.items() if not name.endswith((".part", "dataset.yaml"))}
    assert other == {
        name: data for name, data in tree(whole).items() if name != "dataset.yaml"
    }  # which names the folder


def test_encode_folder_skips_and_names_broken_file(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/c.wav")
    (sounds / "rain" / "b.wav").write_text("no sound")
    report = encode(sounds, tiny)
    assert (report.encoded, report.reused) == (2, 0)
    assert list(report.skipped) == [str(sounds / "rain" / "b.wav")]
    assert "cannot be read as audio" in report.skipped[str(sounds / "rain" / "b.wav")]
    assert len(load_dataset(sounds.parent / "set").rows) == 2


class Mishap(Codec):
    """The codec, and what happens to a file while it works."""

    def __init__(self, codec: Codec, happen: Callable[[], None]) -> None:
        super().__init__(codec.model, codec.identity)
        self.happen = happen

    def encode_blocks(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        self.happen()
        yield from super().encode_blocks(blocks)


def test_encode_folder_skips_file_that_vanishes_between_passes(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav")
    first, second = sounds / "rain/a.wav", sounds / "rain/b.wav"
    codec = Mishap(tiny, lambda: first.unlink(missing_ok=True))
    report = encode(sounds, codec)
    assert report == EncodingReport(encoded=1, reused=0, skipped={str(first): f"There is no file {first}."})
    assert list(load_dataset(sounds.parent / "set").rows["file"]) == ["rain/b.dac"]
    assert second.exists()


@pytest.mark.parametrize("strict", [False, True])
def test_encode_folder_with_file_that_vanishes_after_encoding(
    tiny: Codec, write_sounds: WriteSounds, caplog: pytest.LogCaptureFixture, strict: bool
) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav")
    turns = itertools.count()
    codec = Mishap(tiny, lambda: (sounds / "rain/a.wav").unlink() if next(turns) == 1 else None)
    if strict:
        with pytest.raises(UserError, match=r"There is no file .*a\.wav"):
            encode(sounds, codec, strict=True)
    else:
        assert encode(sounds, codec).encoded == len(load_dataset(sounds.parent / "set").rows) == 2
        assert "a.wav" in caplog.text


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), ValueError(), OSError(5, "Input/output error")])
def test_encode_folder_skips_file_on_any_exception(tiny: Codec, write_sounds: WriteSounds, error: Exception) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav", "rain/c.wav")
    turns = itertools.count()

    def fail_once() -> None:
        if next(turns) == 1:
            raise error

    report = encode(sounds, Mishap(tiny, fail_once))
    assert report.encoded == 2 and list(report.skipped) == [str(sounds / "rain/b.wav")]
    assert "b.wav cannot be encoded: " in report.skipped[str(sounds / "rain/b.wav")]


def test_encode_folder_stops_on_full_disk_and_continues(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav")
    turns = itertools.count()

    def fill_up() -> None:
        if next(turns) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match=r"No space left on device\. Make room and run it again"):
        encode(sounds, Mishap(tiny, fill_up))
    assert encode(sounds, tiny) == EncodingReport(encoded=1, reused=1, skipped={})


def test_class_gains_ignore_float_file_scaled_as_integers(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds(*(f"rain/{i}.wav" for i in range(7)))
    encode(sounds, tiny)
    level = load_dataset(sounds.parent / "set").info.level_offset_db["rain"]
    loud = 16000 * np.sin(np.arange(44100) / 9)
    soundfile.write(sounds / "rain" / "loud.wav", loud, 44100, subtype="FLOAT")
    report = encode(sounds, tiny)
    assert "reaches 1.6e+04 where full scale is 1" in report.skipped[str(sounds / "rain" / "loud.wav")]
    assert load_dataset(sounds.parent / "set").info.level_offset_db["rain"] == level


def test_encode_folder_reports_other_files(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav", ".ipynb_checkpoints/a.wav")
    for name in ("c.m4a", "d.wma"):
        (sounds / name).touch()
    report = encode(sounds, tiny)
    assert report.left_out == "2 files of other kinds (.m4a, .wma), 1 hidden folder"
    assert report.remarks() == ["left out: 2 files of other kinds (.m4a, .wma), 1 hidden folder"]
    assert load_dataset(sounds.parent / "set").conditions.classes == ("rain",)


def test_encode_folder_moves_class_without_training_sounds_to_training(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav")
    encode(sounds, tiny)
    rows = load_dataset(sounds.parent / "set").rows
    train = Path(rows[rows["split"] == "train"]["file"].iloc[0])
    (sounds / train.with_suffix(".wav")).write_text("no sound")
    assert len(encode(sounds, tiny).skipped) == 1
    assert load_dataset(sounds.parent / "set").rows["split"].to_list() == ["train"]


# Names


@pytest.mark.parametrize("name", ["x" * 251, "a\nb", "a..", " a ", "a,b", 'a"b', "#a", "ä€🎵", "-a", "NA", "a\u2028b"])
def test_encode_folder_keeps_odd_names(tiny: Codec, write_sounds: WriteSounds, name: str) -> None:
    sounds = write_sounds("rain/other.wav")
    shutil.copy(sounds / "rain/other.wav", sounds / "rain" / f"{name}.wav")
    for encoded in (1, 0):
        report = encode(sounds, tiny, validation=0.0)
        assert (report.encoded, report.skipped) == (encoded + encoded, {})
        dataset = load_dataset(sounds.parent / "set")
        assert set(dataset.rows["file"]) == {"rain/other.dac", f"rain/{name}.dac"}
        assert all(dataset.codes(file).shape[1] for file in dataset.rows["file"])


@pytest.mark.parametrize("name", [os.fsdecode(b"\xff.wav"), "a\rb.wav", "x" * 252 + ".au"])
def test_encode_folder_skips_impossible_names(tiny: Codec, write_sounds: WriteSounds, name: str) -> None:
    sounds = write_sounds("rain/other.au")
    shutil.copy(sounds / "rain/other.au", sounds / "rain" / name)
    report = encode(sounds, tiny)
    assert report.encoded == 1 and list(report.skipped) == [str(sounds / "rain" / name)]
    assert re.search("no table can keep|name too long", report.skipped[str(sounds / "rain" / name)])
    assert list(load_dataset(sounds.parent / "set").rows["file"]) == ["rain/other.dac"]


@pytest.mark.parametrize("names", [("Rain.wav", "rain.wav"), ("caf\u00e9.wav", "cafe\u0301.wav")])
def test_encode_folder_separates_names_equal_on_other_systems(
    tiny: Codec, write_sounds: WriteSounds, names: tuple[str, str]
) -> None:
    sounds = write_sounds(*(f"x/{name}" for name in names))
    assert encode(sounds, tiny) == EncodingReport(encoded=2, reused=0, skipped={})
    files = load_dataset(sounds.parent / "set").rows["file"]
    assert len({unicodedata.normalize("NFC", file).casefold() for file in files}) == 2
    assert encode(sounds, tiny) == EncodingReport(encoded=0, reused=2, skipped={})


def test_encode_folder_separates_sound_named_like_shift(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/a--shift1.wav")
    for encoded in (4, 0):
        assert encode(sounds, tiny, shifts=2, validation=0.0).encoded == encoded
        rows = load_dataset(sounds.parent / "set").rows
        assert len(set(rows["file"])) == 4
    contents = {(sounds.parent / "set" / file).read_bytes() for file in rows["file"]}
    assert len(contents) == 4


def test_encode_folder_second_sound_of_stem_keeps_first_codes(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav")
    encode(sounds, tiny)
    write_sounds("rain/a.flac")
    assert encode(sounds, tiny) == EncodingReport(encoded=1, reused=2, skipped={})
    assert sorted(load_dataset(sounds.parent / "set").rows["file"]) == ["rain/a.dac", "rain/a.flac.dac", "rain/b.dac"]


def test_encode_folder_strict_raises_on_broken_file(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav")
    (sounds / "rain" / "b.wav").write_text("no sound")
    with pytest.raises(UserError, match=r"b\.wav cannot be read"):
        encode(sounds, tiny, strict=True)


def test_encode_folder_refuses_folder_of_broken_files(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("a.wav")
    (sounds / "a.wav").write_text("no sound")
    with pytest.raises(UserError, match=r"None of the 1 sounds .* cannot be read as audio"):
        encode(sounds, tiny)


def test_encode_folder_refuses_dataset_of_other_codec(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav")
    encode(sounds, tiny)
    before = tree(sounds.parent / "set")
    other = Codec(tiny.model, "other-4567")
    with pytest.raises(UserError, match="holds codes of tiny-0123, which are noise to other-4567"):
        encode_folder(sounds, sounds.parent / "set", other, "other")
    assert tree(sounds.parent / "set") == before


def test_encode_folder_separates_sounds_that_differ_in_suffix(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/a.flac", "rain/b.wav")
    encode(sounds, tiny)
    rows = load_dataset(sounds.parent / "set").rows
    assert sorted(rows["file"]) == ["rain/a.flac.dac", "rain/a.wav.dac", "rain/b.dac"]
    flac, wav = (read_dac(sounds.parent / "set" / file).codes for file in ("rain/a.flac.dac", "rain/a.wav.dac"))
    assert not np.array_equal(flac, wav)


def test_encode_folder_uses_label_table(tiny: Codec, write_sounds: WriteSounds, tmp_path: Path) -> None:
    sounds = write_sounds("a.wav", "b.wav")
    (tmp_path / "t.csv").write_text("file,class,rate\na.wav,None,1\nb.wav,007,\n")
    encode(sounds, tiny, labels=tmp_path / "t.csv", validation=0.0)
    dataset = load_dataset(tmp_path / "set")
    assert dataset.conditions.classes == ("007", "None")
    assert dataset.conditions.parameters["rate"].classes == ("None",)


# The split


def files(*names: str) -> list[tuple[Path, Label]]:
    return [(Path(name), Label(Path(name).parent.name)) for name in names]


def test_split_recordings_keeps_parts_on_one_side() -> None:
    given_files = files(*(f"rain/{i}-82367-{piece}.ogg" for i in range(6) for piece in "ABC"))
    for seed in range(10):
        sides = split_recordings(given_files, 0.3, seed)
        assert [set(sides[i : i + 3]) for i in range(0, 18, 3)].count({"val"}) == 2
        assert all(len(set(sides[i : i + 3])) == 1 for i in range(0, 18, 3))


def test_split_recordings_depends_on_seed() -> None:
    given_files = files(*(f"rain/{i}.wav" for i in range(20)))
    splits = [split_recordings(given_files, 0.3, seed) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


@given(
    st.dictionaries(st.sampled_from("xyz"), st.integers(1, 12), min_size=1), st.floats(0.01, 0.9), st.integers(0, 99)
)
def test_split_recordings_puts_every_class_on_both_sides_if_possible(
    sizes: dict[str, int], share: float, seed: int
) -> None:
    given_files = files(*(f"{name}/{i}.wav" for name, size in sizes.items() for i in range(size)))
    sides = split_recordings(given_files, share, seed)
    for name, size in sizes.items():
        held = sum(
            side == "val" and path.parent.name == name for (path, _), side in zip(given_files, sides, strict=True)
        )
        assert held == min(max(1, round(share * size)), size - 1)


def test_split_recordings_without_validation() -> None:
    assert split_recordings(files("a/1.wav", "a/2.wav"), 0.0, 0) == ["train", "train"]

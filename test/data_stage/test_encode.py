"""A folder of sounds becomes a data set, also in the end when not at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from dacformer import audio as sound
from dacformer.codec import Codec, read_dac
from dacformer.data import load_dataset
from dacformer.data.encode import EncodingReport, encode_file, encode_folder, split_recordings
from dacformer.data.labels import Label
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
def test_level_rate_and_length_come_back(tmp_path: Path, codec: Codec, level: float, rate: int, channels: int) -> None:
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


def test_a_quiet_and_a_loud_take_have_the_same_codes(tmp_path: Path, tiny: Codec) -> None:
    wave = 0.5 * np.sin(np.arange(44100) ** 1.3)
    files = []
    for gain in (1.0, 0.01):
        soundfile.write(tmp_path / "a.wav", gain * wave, 44100, subtype="FLOAT")
        files.append(encode_file(tmp_path / "a.wav", tiny))
    assert np.mean(files[0].codes != files[1].codes) < 0.01
    assert files[0].input_db - files[1].input_db == pytest.approx(40, abs=0.01)


def test_a_sound_that_begins_later_is_the_rest_of_it(tmp_path: Path, codec: Codec) -> None:
    wave = 0.3 * np.random.default_rng(0).standard_normal(3 * 44100)
    path = sound.write_audio(tmp_path / "a.wav", wave, 44100)
    whole, later, part = (encode_file(path, codec, skip_samples=skip) for skip in (0, 5 * 512, 128))
    assert whole.original_length - later.original_length == 5 * 512
    # The same frames, counted from another place; only the first hear silence in place of what was there before them.
    assert (whole.codes[..., 15:-1] == later.codes[..., 10:-1]).mean() > 0.99
    assert (whole.codes[..., :-1] == part.codes[..., : whole.num_frames - 1]).mean() < 0.2, "another sound to the codec"


def test_shifts_multiply_training_sounds_and_only_those(write_sounds: WriteSounds, tiny: Codec) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav", "rain/c.wav", "rain/d.wav")
    report = encode(sounds, tiny, shifts=3, validation=0.25)
    rows = load_dataset(sounds.parent / "set").rows
    assert report.encoded == len(rows) == 3 * 3 + 1 and (rows["split"] == "val").sum() == 1
    assert encode(sounds, tiny, shifts=3, validation=0.25).reused == 10
    held = Path(rows[rows["split"] == "val"]["file"].iloc[0]).stem
    assert not any(Path(file).name.startswith(held) for file in rows[rows["split"] == "train"]["file"])


def test_trailing_silence_is_trimmed_if_asked(tmp_path: Path, tiny: Codec) -> None:
    wave = np.r_[np.zeros(4410), 0.3 * np.ones(22050) * np.sin(np.arange(22050)), np.zeros(44100)]
    soundfile.write(tmp_path / "a.wav", wave, 44100)
    trimmed = encode_file(tmp_path / "a.wav", tiny)
    assert trimmed.original_length == pytest.approx(4410 + 22050, abs=5)
    assert trimmed.num_frames == -(-trimmed.original_length // 512)
    assert encode_file(tmp_path / "a.wav", tiny, trim=False).original_length == len(wave)


@pytest.mark.parametrize("length", [1, 100, 600])
def test_a_very_short_sound_is_encoded(tmp_path: Path, tiny: Codec, length: int) -> None:
    soundfile.write(tmp_path / "a.wav", 0.3 * np.ones(length), 44100)
    file = encode_file(tmp_path / "a.wav", tiny)
    assert file.num_frames == -(-length // 512)
    assert tiny.decode_file(file).shape == (length, 1)


def test_silence_is_refused(tmp_path: Path, tiny: Codec) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(44100), 44100)
    with pytest.raises(UserError, match="silent throughout"):
        encode_file(tmp_path / "a.wav", tiny)


# A folder


def test_nested_folders_become_a_data_set(tiny: Codec, write_sounds: WriteSounds) -> None:
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
    assert dataset.facts.codec == tiny.identity and dataset.facts.codec_name == "tiny"
    assert (dataset.facts.num_codebooks, dataset.facts.codebook_size) == (2, 64)
    assert set(dataset.facts.gains_db) == {"e", "rain", "wind"}
    assert sorted(dataset.rows["split"]) == ["train", "train", "train", "val", "val"]
    assert dataset.rows.set_index("file")["rate"].dropna().to_dict() == {"e--rate-2.dac": 2.0}


def test_the_level_that_the_codec_takes_is_known(codec: Codec, tmp_path: Path) -> None:
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
        assert sound.loudness_db(decoded, 44100) - dataset.facts.gains_db[name] == pytest.approx(level, abs=0.1)


def test_sounds_that_begin_with_silence_keep_what_they_were_amplified_by(tiny: Codec, tmp_path: Path) -> None:
    audio = np.concatenate([np.zeros(6 * 44100), 0.1 * np.random.default_rng(0).standard_normal(4410)])
    sound.write_audio(tmp_path / "sounds" / "rain" / "a.wav", audio, 44100)
    encode(tmp_path / "sounds", tiny)
    gain = read_dac(tmp_path / "set" / "rain" / "a.dac").gain_db
    assert load_dataset(tmp_path / "set").facts.gains_db["rain"] == pytest.approx(gain, abs=0.01)


def test_encoded_again_nothing_is_encoded_and_all_is_the_same(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav", "wind/c.wav")
    encode(sounds, tiny)
    before = tree(sounds.parent / "set")
    assert encode(sounds, tiny) == EncodingReport(encoded=0, reused=3, skipped={})
    assert tree(sounds.parent / "set") == before


def test_what_is_missing_changed_or_damaged_is_encoded_again(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/b.wav", "rain/c.wav", "rain/d.wav")
    encode(sounds, tiny)
    output = sounds.parent / "set"
    before = tree(output)
    (output / "rain/a.dac").unlink()
    os.truncate(output / "rain/b.dac", 100)
    (output / "manifest.csv").unlink()
    later = (output / "rain/c.dac").stat().st_mtime + 5
    os.utime(sounds / "rain/c.wav", (later, later))
    assert encode(sounds, tiny) == EncodingReport(encoded=3, reused=1, skipped={})
    assert tree(output) == before


KILLED = """
import sys, torch
from dacformer.codec import Codec
from dacformer.codec.codec import build_model
from dacformer.config import CodecConfig
from dacformer.data.encode import encode_folder
torch.manual_seed(0)
sizes = CodecConfig(encoder_dim=2, decoder_dim=16, n_codebooks=2, codebook_size=64, codebook_dim=4)
codec = Codec(build_model(sizes).eval(), "tiny-0123")
encode_folder(sys.argv[1], sys.argv[2], codec, "tiny")
"""


@pytest.mark.heavy
def test_killed_midway_it_goes_on(tiny: Codec, write_sounds: WriteSounds) -> None:
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


def test_a_broken_file_is_skipped_named_and_counted(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/c.wav")
    (sounds / "rain" / "b.wav").write_text("no sound")
    report = encode(sounds, tiny)
    assert (report.encoded, report.reused) == (2, 0)
    assert list(report.skipped) == [str(sounds / "rain" / "b.wav")]
    assert "cannot be read as audio" in report.skipped[str(sounds / "rain" / "b.wav")]
    assert len(load_dataset(sounds.parent / "set").rows) == 2


def test_strict_stops_at_a_broken_file(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav")
    (sounds / "rain" / "b.wav").write_text("no sound")
    with pytest.raises(UserError, match=r"b\.wav cannot be read"):
        encode(sounds, tiny, strict=True)


def test_only_broken_files_are_an_error(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("a.wav")
    (sounds / "a.wav").write_text("no sound")
    with pytest.raises(UserError, match="None of the 1 sounds"):
        encode(sounds, tiny)


def test_codes_of_another_codec_in_the_way_are_refused(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav")
    encode(sounds, tiny)
    before = tree(sounds.parent / "set")
    other = Codec(tiny.model, "other-4567")
    with pytest.raises(UserError, match="holds codes of tiny-0123, which are noise to other-4567"):
        encode_folder(sounds, sounds.parent / "set", other, "other")
    assert tree(sounds.parent / "set") == before


def test_sounds_that_differ_in_suffix_alone_are_kept_apart(tiny: Codec, write_sounds: WriteSounds) -> None:
    sounds = write_sounds("rain/a.wav", "rain/a.flac", "rain/b.wav")
    encode(sounds, tiny)
    rows = load_dataset(sounds.parent / "set").rows
    assert sorted(rows["file"]) == ["rain/a.flac.dac", "rain/a.wav.dac", "rain/b.dac"]
    codes = [read_dac(sounds.parent / "set" / file).codes for file in ("rain/a.flac.dac", "rain/a.wav.dac")]
    assert not np.array_equal(*codes)


def test_a_table_labels(tiny: Codec, write_sounds: WriteSounds, tmp_path: Path) -> None:
    sounds = write_sounds("a.wav", "b.wav")
    (tmp_path / "t.csv").write_text("file,class,rate\na.wav,None,1\nb.wav,007,\n")
    encode(sounds, tiny, labels=tmp_path / "t.csv", validation=0.0)
    dataset = load_dataset(tmp_path / "set")
    assert dataset.conditions.classes == ("007", "None")
    assert dataset.conditions.parameters["rate"].classes == ("None",)


# The split


def files(*names: str) -> list[tuple[Path, Label]]:
    return [(Path(name), Label(Path(name).parent.name)) for name in names]


def test_pieces_of_a_recording_are_on_one_side() -> None:
    given_files = files(*(f"rain/{i}-82367-{piece}.ogg" for i in range(6) for piece in "ABC"))
    for seed in range(10):
        sides = split_recordings(given_files, 0.3, seed)
        assert [set(sides[i : i + 3]) for i in range(0, 18, 3)].count({"val"}) == 2
        assert all(len(set(sides[i : i + 3])) == 1 for i in range(0, 18, 3))


def test_the_same_seed_is_the_same_split_and_another_another() -> None:
    given_files = files(*(f"rain/{i}.wav" for i in range(20)))
    splits = [split_recordings(given_files, 0.3, seed) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


@given(
    st.dictionaries(st.sampled_from("xyz"), st.integers(1, 12), min_size=1), st.floats(0.01, 0.9), st.integers(0, 99)
)
def test_every_class_is_on_both_sides_if_it_can_be(sizes: dict[str, int], share: float, seed: int) -> None:
    given_files = files(*(f"{name}/{i}.wav" for name, size in sizes.items() for i in range(size)))
    sides = split_recordings(given_files, share, seed)
    for name, size in sizes.items():
        held = sum(
            side == "val" and path.parent.name == name for (path, _), side in zip(given_files, sides, strict=True)
        )
        assert held == min(max(1, round(share * size)), size - 1)


def test_no_validation_is_none() -> None:
    assert split_recordings(files("a/1.wav", "a/2.wav"), 0.0, 0) == ["train", "train"]

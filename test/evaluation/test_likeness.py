"""Like the real thing, and new: halves of one set are alike, copies are found, and too few clips are refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dacformer.data.dataset import Dataset, load_dataset
from dacformer.data.make_textures import write_textures
from dacformer.errors import UserError
from dacformer.evaluation.frechet import frechet_between
from dacformer.evaluation.likeness import (
    EXCERPT_FRAMES,
    EXCERPT_HOP,
    _nearest,
    _texture,
    _variety,
    measure_likeness,
    write_likeness_report,
)
from dacformer.evaluation.texture_statistics import texture_statistics
from dacformer.generation.synthesizer import Synthesizer
from dacformer.textures import synthesize


def test_an_excerpt_that_was_copied_is_at_no_distance() -> None:
    rng = np.random.default_rng(0)
    known = [rng.standard_normal((n, 3)).astype(np.float32) for n in (100, 60, 20)]
    copied = known[0][5 * EXCERPT_HOP :]
    assert _nearest([copied], known).max() < 1e-3
    assert _nearest([known[2]], known) == pytest.approx(0, abs=1e-3)  # shorter than an excerpt
    fresh = _nearest([rng.standard_normal((100, 3)).astype(np.float32)], known)
    assert len(fresh) == (100 - EXCERPT_FRAMES) // EXCERPT_HOP + 1 and fresh.min() > 1


def test_one_texture_is_as_far_from_itself_as_its_halves_and_another_is_farther() -> None:
    rain, again, wind = (
        [texture_statistics(synthesize(name, 0.5, 2.0, seed=seed + i), 44100) for i in range(8)]
        for name, seed in (("rain", 0), ("rain", 100), ("wind", 0))
    )
    same, floor = _texture(again, rain, seed=0)
    other, _ = _texture(wind, rain, seed=0)
    assert 0.5 < same["overall"] / floor["overall"] < 2 and other["overall"] > 3 * floor["overall"]


@pytest.fixture
def with_copies(dataset_path: Path, tmp_path: Path) -> Dataset:
    """All clips held out, and a copy of each to train on."""
    shutil.copytree(dataset_path, tmp_path / "data")
    rows = pd.read_csv(tmp_path / "data" / "manifest.csv")
    for file in rows["file"]:
        shutil.copy(tmp_path / "data" / file, tmp_path / "data" / file.replace(".dac", "-copy.dac"))
    copies = rows.assign(file=rows["file"].str.replace(".dac", "-copy.dac"), split="train")
    pd.concat([rows.assign(split="val"), copies]).to_csv(tmp_path / "data" / "manifest.csv", index=False)
    return load_dataset(tmp_path / "data")


@pytest.mark.slow
def test_held_out_clips_that_are_copies_are_found_out(synth: Synthesizer, with_copies: Dataset, tmp_path: Path) -> None:
    embedded: list[np.ndarray] = []

    def embed(audio: np.ndarray, sample_rate: int) -> np.ndarray:
        assert sample_rate == synth.info.sample_rate
        embedded.append(np.abs(audio[: 8 * 500].reshape(500, 8)))
        return embedded[-1]

    result = measure_likeness(synth, with_copies, ["wind"], seconds=1.0, embed=embed)
    row = result.summary.loc["wind"]
    assert list(result.summary.index) == ["wind"] and row["clips"] == 4 and len(embedded) == 8
    expected = frechet_between(embedded[:4], embedded[4:])
    assert [row["embedded"], row["embedded_low"], row["embedded_high"]] == pytest.approx(expected)
    takes = synth.generate_batch(1.0, [{"class": "wind", "strength": value} for value in (0.0, 0.0, 1.0, 1.0)], seed=0)
    np.testing.assert_array_equal(embedded[3], np.abs(takes[3].audio[:4000].reshape(500, 8)))
    assert row["texture_ratio"] == row["texture"] / row["texture_floor"] > 1  # it has hardly learned anything
    copied = result.nearest.groupby("source")["distance"].median()
    assert copied["held out"] < 0.01 < copied["generated"]
    assert row["novelty"] == pytest.approx(copied["generated"] / copied["held out"])
    assert "recorded_codec" not in result.summary
    paths = write_likeness_report(result, tmp_path / "report")
    assert len(pd.read_csv(paths[0])) == len(result.kinds) and paths[2].read_bytes().startswith(b"\x89PNG")
    assert json.loads(paths[1].read_text())["wind"]["clips"] == 4 and "texture_ratio" in result.to_text()


def test_variety_is_none_of_clips_that_repeat_each_other() -> None:
    rng = np.random.default_rng(0)
    one, other, third, fourth = (rng.standard_normal((60, 3)).astype(np.float32) for _ in range(4))
    assert _variety([one, one, other, other]) == pytest.approx(0, abs=1e-3)
    assert _variety([one, other, third, fourth]) > 1


@pytest.mark.slow
def test_the_recordings_show_what_the_codec_takes(synth: Synthesizer, with_copies: Dataset, tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    write_textures(sounds, ["pistons", "wind"], values=2, takes=2, seconds=2.0)
    shutil.rmtree(sounds / "pistons")
    with pytest.raises(UserError, match=r"no recording of pistons/\S+ \(4 of 8 clips are missing\)"):
        measure_likeness(synth, with_copies, seconds=1.0, recordings=sounds)
    row = measure_likeness(synth, with_copies, ["wind"], seconds=1.0, recordings=sounds).summary.loc["wind"]
    assert 0.5 < row["recorded_codec"] < row["recorded_ratio"]  # the model has hardly learned anything


def test_too_few_clips_are_refused(synth: Synthesizer, dataset_path: Path) -> None:
    with pytest.raises(UserError, match="fewer than 4 clips of every class"):
        measure_likeness(synth, load_dataset(dataset_path))
    with pytest.raises(UserError, match="holds 1 clips of 'wind' out; 4 are needed"):
        measure_likeness(synth, load_dataset(dataset_path), ["wind"])

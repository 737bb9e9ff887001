"""One number for free running: nothing for the same clips, one for clips that have nothing to do with each other."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dacformer.checkpoint import find_checkpoint, load_checkpoint, read_metadata
from dacformer.codec import Codec, DacFile, write_dac
from dacformer.config import Config, save_config
from dacformer.data.dataset import DatasetInfo, load_dataset
from dacformer.evaluation.rollout import (
    RolloutMetric,
    clip_statistics,
    probe_error,
    regression_targets,
    relative_distance,
)
from dacformer.generation.synthesizer import Synthesizer
from dacformer.training.trainer import train

Configure = Callable[..., Config]
NAN = float("nan")


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 10))
def test_the_same_clips_are_at_no_distance_and_shuffled_ones_at_about_one(seed: int, scale: float) -> None:
    real = np.random.default_rng(seed).normal(scale=scale, size=(200, 12))
    assert relative_distance(real, real) == 0.0
    assert relative_distance(real, np.roll(real, 1, axis=0)) == pytest.approx(1.0, abs=0.25)


def test_statistics_tell_rhythm_and_not_only_color() -> None:
    slow, fast = (np.sin(2 * np.pi * np.arange(258)[:, None] / period) for period in (64, 8))
    assert np.allclose(clip_statistics(slow)[:2], clip_statistics(fast)[:2], atol=0.05)
    assert clip_statistics(slow)[4] > 0.8 and clip_statistics(fast)[4] < -0.8  # at a lag of 4 frames


def test_a_reading_is_as_wrong_as_its_squares() -> None:
    asked = np.array([[1.0, -1.0], [0.0, np.nan], [1.0, 1.0], [0.0, np.nan]])
    assert probe_error(np.nan_to_num(asked, nan=5.0), asked) == [0.0, 0.0], "what is unknown cannot be misread"
    mean = np.broadcast_to([0.5, 0.0], asked.shape)
    assert probe_error(mean, asked) == pytest.approx([1.0, 1.0]), "who knows nothing says the mean"
    assert probe_error(mean[:, :1], asked[:, :1]) == [pytest.approx(1.0)]


def test_targets_are_classes_and_known_parameters(dataset_path: Path) -> None:
    dataset = load_dataset(dataset_path)
    targets = regression_targets(dataset, dataset.rows)
    pistons = (dataset.rows["class"] == "pistons").to_numpy()
    np.testing.assert_array_equal(targets[:, :2], np.stack([pistons, ~pistons], axis=1))
    assert np.isin(targets[pistons, 2], [-1.0, 1.0]).all() and np.isnan(targets[~pistons, 2]).all()


def test_a_short_clip_has_statistics_too() -> None:
    assert np.isfinite(clip_statistics(np.ones((1, 3)))).all()


def test_clips_all_alike_are_at_a_finite_distance() -> None:
    alike = np.ones((5, 3))
    assert relative_distance(alike, alike) == 0.0
    assert relative_distance(alike, alike + 0.1) == relative_distance(alike[:1], alike[:1] + 0.1) == pytest.approx(0.5)


def test_a_target_that_is_nowhere_known_decides_nothing() -> None:
    asked = np.array([[1.0, np.nan], [0.0, np.nan]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert probe_error(np.zeros((2, 2)), asked) == [pytest.approx(2.0)]


def write_set(path: Path, codec: Codec, codes: Sequence[np.ndarray], labels: Sequence[tuple[str, float]]) -> Path:
    """A data set of codes `(4, T)`, all for training, with classes and values of a parameter."""
    info = DatasetInfo(codec=codec.identity, codec_name="small", sample_rate=44100, hop_length=512, num_codebooks=4,
                  codebook_size=1024)  # fmt: skip
    save_config(info, path / "dataset.yaml")
    for i, each in enumerate(codes):
        frames = each.shape[1]
        write_dac(path / f"{i}.dac", DacFile(each[None], 44100, 512 * frames, -20.0, frames, codec=codec.identity))
    rows = [f"{i}.dac,{name},train,{value}" for i, (name, value) in enumerate(labels)]
    (path / "manifest.csv").write_text("\n".join(["file,class,split,depth", *rows]).replace("nan", ""))
    return path


def test_playing_the_clips_themselves_is_judged_far_better_than_playing_the_other_class(
    codec: Codec, trained: Path, dataset_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, checkpoint = load_dataset(dataset_path), load_checkpoint(trained)
    clips = [dataset.codes(file)[:, :86] for file in dataset.rows["file"]]
    selection_metric = RolloutMetric(codec, seconds=1.0)
    played = []
    for codes in (clips, clips[::-1]):  # sorted by class
        monkeypatch.setattr(Synthesizer, "generate_codes", lambda *_, codes=codes: codes)
        played.append(selection_metric(checkpoint))
    assert 0.0 <= played[0] < 0.3 < 1.0 < played[1]


@pytest.mark.slow
def test_error_of_the_same_model_is_the_same(synth: Synthesizer, codec: Codec) -> None:
    selection_metric = RolloutMetric(codec, max_clips=4, seconds=0.5)
    assert (
        selection_metric(synth.checkpoint)
        == selection_metric(synth.checkpoint)
        == RolloutMetric(codec, 4, 0.5)(synth.checkpoint)
    )


def test_a_trained_model_has_a_smaller_error_than_an_untrained_one(
    codec: Codec, configure: Configure, tmp_path: Path
) -> None:
    """Two classes, each of a few codes of its own, which are learned in no time."""
    rng = np.random.default_rng(0)
    codes = [rng.integers(low, low + 3, (4, 60)) for low in (0, 500) for _ in range(5)]
    path = write_set(tmp_path / "set", codec, codes, [(name, NAN) for name in "ab" for _ in range(5)])
    data = {"path": path, "segment_frames": 40, "batch_size": 4}
    run = train(configure(tmp_path / "run", data=data, steps=100, validate_every=100))
    learned = load_checkpoint(run)
    torch.manual_seed(0)
    untrained = dataclasses.replace(learned, model=learned.metadata.build_model().eval())
    selection_metric = RolloutMetric(codec, seconds=0.6)
    assert selection_metric(learned) < 0.75 < 1.0 < selection_metric(untrained)


# Sets as small as can be


@pytest.mark.parametrize(
    ("rows", "frames"),
    [
        ([("a", 0.0), ("a", 0.5), ("a", 1.0)], 40),
        ([("a", 1.0), ("a", 1.0)], 40),
        ([("a", 0.0), ("a", 1.0), ("b", NAN), ("b", NAN)], 40),
        ([("a", NAN)], 40),
        ([("a", 0.5)], 1),
    ],
    ids=["one class, one parameter", "constant parameter", "a class without it", "one file", "one frame"],
)
def test_the_smallest_sets_train_and_are_judged(
    codec: Codec, configure: Configure, tmp_path: Path, rows: list[tuple[str, float]], frames: int
) -> None:
    rng = np.random.default_rng(0)
    path = write_set(tmp_path / "set", codec, [rng.integers(0, 1024, (4, frames)) for _ in rows], rows)
    config = configure(tmp_path / "run", data={"path": path, "segment_frames": 64, "batch_size": 5}, steps=1)
    run = train(config, selection_metric=RolloutMetric(codec, max_clips=4, seconds=0.3))
    assert np.isfinite(read_metadata(find_checkpoint(run)).metrics["rollout_error"])

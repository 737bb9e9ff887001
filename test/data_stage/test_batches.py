from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dacformer.config import TrainingConfig
from dacformer.data.batches import TrainingCrops, ValidationSegments
from dacformer.data.dataset import Dataset, load_dataset

V = 64
FRAMES = {"long.dac": 300, "short.dac": 20, "exact.dac": 32, "val.dac": 70, "val2.dac": 10}
T = 32


@pytest.fixture
def dataset(write_dataset: Callable[..., Path]) -> Dataset:
    rows = [
        {"file": "long.dac", "class": "rain", "split": "train", "rate": 1},
        {"file": "short.dac", "class": "wind", "split": "train", "rate": 3},
        {"file": "exact.dac", "class": "wind", "split": "train", "rate": 2},
        {"file": "val.dac", "class": "rain", "split": "val", "rate": 2},
        {"file": "val2.dac", "class": "wind", "split": "val"},
    ]
    return load_dataset(write_dataset(rows, FRAMES))


def plain(**changes: float) -> TrainingConfig:
    """Without anything random but the choice of the excerpt."""
    quiet = {"condition_dropout": 0, "parameter_dropout": 0, "input_noise": 0, "splice_probability": 0}
    return TrainingConfig(**(quiet | changes))  # pyright: ignore[reportArgumentType]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_crop_depends_on_seed_and_number_only(dataset: Dataset) -> None:
    first, again = (TrainingCrops(dataset, T, TrainingConfig(seed=3), count) for count in (100, 50))
    backwards = {i: again[i] for i in reversed(range(50))}
    assert all(same(first[i], backwards[i]) for i in range(50))
    other = TrainingCrops(dataset, T, TrainingConfig(seed=4), 100)
    assert not all(same(first[i], other[i]) for i in range(50))
    assert len(first) == 100 and len({first[i]["codes"].numpy().tobytes() for i in range(50)}) > 30


def test_crop_is_part_of_file_with_its_condition(dataset: Dataset) -> None:
    crops = TrainingCrops(dataset, T, plain(), 60)
    seen = set()
    for i in range(60):
        item = crops[i]
        assert item["codes"].dtype == item["input_codes"].dtype == torch.int64 and item["mask"].dtype == torch.bool
        assert item["codes"].shape == (2, T) and item["condition"].shape == (1, 4)
        length = int(item["mask"].sum())
        matches = [
            row
            for _, row in dataset.split("train").iterrows()
            for codes in [dataset.codes(row["file"])]
            for start in range(codes.shape[1] - length + 1)
            if np.array_equal(codes[:, start : start + length], item["codes"][:, :length])
        ]
        assert len(matches) == 1
        np.testing.assert_array_equal(item["condition"], dataset.condition(matches[0]))
        assert torch.equal(item["input_codes"], item["codes"])
        seen.add(matches[0]["file"])
    assert seen == {"long.dac", "short.dac", "exact.dac"}


def test_crop_masks_padding(dataset: Dataset) -> None:
    crops = TrainingCrops(dataset, T, plain(), 200)
    lengths = set()
    for i in range(200):
        codes, mask = crops[i]["codes"], crops[i]["mask"]
        length = int(mask.sum())
        assert mask[:length].all() and not mask[length:].any() and not codes[:, length:].any()
        lengths.add(length)
    assert lengths == {20, T}


def test_crops_draw_files_in_proportion_to_segments(dataset: Dataset) -> None:
    crops = TrainingCrops(dataset, T, plain(), 1500)
    rates = np.array([float(crops[i]["condition"][0, 2]) for i in range(1500)])  # -1 long, 0 exact, 1 short
    shares = [np.mean(rates == value) for value in (-1, 0, 1)]
    np.testing.assert_allclose(shares, np.array([10, 1, 1]) / 12, atol=0.03)


def test_crops_draw_every_start_frame(dataset: Dataset) -> None:
    crops = TrainingCrops(dataset, 298, plain(), 300)
    long = dataset.codes("long.dac")
    starts = {
        start
        for i in range(300)
        for start in range(3)
        if np.array_equal(crops[i]["codes"], long[:, start : start + 298])
    }
    assert starts == {0, 1, 2}


def test_input_noise_replaces_whole_frames_at_given_rate(dataset: Dataset) -> None:
    crops = TrainingCrops(dataset, 300, plain(input_noise=0.6), 400)
    items = [item for i in range(400) if (item := crops[i])["mask"].all()]
    replaced = torch.stack([(item["input_codes"] != item["codes"]).any(dim=0) for item in items]).float()
    # A share uniform in [0, 0.6]; one in V * V frames is replaced by itself.
    shares = replaced.mean(dim=1)
    assert float(shares.mean()) == pytest.approx(0.3, abs=0.03)
    assert float(shares.max()) < 0.7 and float(shares.min()) < 0.05
    both = torch.stack([(item["input_codes"] != item["codes"]).all(dim=0) for item in items]).float()
    assert float(both.sum() / replaced.sum()) > 0.95
    assert all(item["input_codes"].min() >= 0 and item["input_codes"].max() < V for item in items)


def test_condition_dropout_has_given_rate(dataset: Dataset) -> None:
    items = TrainingCrops(dataset, T, plain(condition_dropout=0.25), 1000)
    conditions = torch.cat([items[i]["condition"] for i in range(1000)])
    assert float((conditions == 0).all(dim=1).float().mean()) == pytest.approx(0.25, abs=0.05)


def test_parameter_dropout_has_given_rate(dataset: Dataset) -> None:
    items = TrainingCrops(dataset, T, plain(parameter_dropout=0.25), 1000)
    conditions = torch.cat([items[i]["condition"] for i in range(1000)])
    unknown = conditions[:, 3] == 0
    assert float(unknown.float().mean()) == pytest.approx(0.25, abs=0.05)
    assert not conditions[unknown, 2].any() and (conditions[:, :2].sum(dim=1) == 1).all()


def test_splice_changes_codes_and_condition_at_same_frame(dataset: Dataset) -> None:
    crops = TrainingCrops(dataset, T, plain(splice_probability=1.0), 60)
    files = {
        tuple(dataset.condition(row)[0]): dataset.codes(row["file"]) for _, row in dataset.split("train").iterrows()
    }
    seen = set()
    for i in range(60):
        item = crops[i]
        assert item["condition"].shape == (T, 4)
        length = int(item["mask"].sum())
        condition = item["condition"][:length].numpy()
        (changes,) = np.nonzero(np.any(condition[1:] != condition[:-1], axis=1))
        assert len(changes) <= 1
        if not len(changes):
            continue
        at = int(changes[0]) + 1
        seen.add(at)
        for part in (slice(0, at), slice(at, length)):
            piece, codes = item["codes"][:, part].numpy(), files[tuple(condition[part][0])]
            windows = np.lib.stride_tricks.sliding_window_view(codes, piece.shape[1], axis=1)
            assert any(np.array_equal(windows[:, start], piece) for start in range(windows.shape[1]))
    assert len(seen) > 10


def test_validation_segments_cover_every_frame_once(dataset: Dataset) -> None:
    segments = ValidationSegments(dataset, T, 99)
    assert len(segments) == 4  # 32 + 32 + 6, and 10
    lengths = sorted(int(segments[i]["mask"].sum()) for i in range(4))
    assert lengths == [6, 10, 32, 32]
    assert all(torch.equal(item["codes"], item["input_codes"]) for item in segments)
    rain = [item for item in segments if item["condition"][0, 0] == 1]
    whole = torch.cat([item["codes"][:, item["mask"]] for item in rain], dim=1)
    np.testing.assert_array_equal(whole, dataset.codes("val.dac"))


def test_validation_segments_with_limit_keep_every_class(dataset: Dataset) -> None:
    segments = ValidationSegments(dataset, T, 2)
    assert len(segments) == 2
    assert len(ValidationSegments(dataset, 1, 20)) == 20
    classes = {int(item["condition"][0, :2].argmax()) for item in ValidationSegments(dataset, 5, 8)}
    assert classes == {0, 1}


def test_validation_segments_fall_back_to_training_files(write_dataset: Callable[..., Path]) -> None:
    dataset = load_dataset(write_dataset([{"file": "a.dac", "class": "rain", "split": "train"}]))
    assert len(ValidationSegments(dataset, T, 9)) == 2


def test_crops_are_equal_when_files_do_not_fit_in_memory(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """More files than are held in memory are read when they are drawn."""
    held = TrainingCrops(dataset, T, TrainingConfig(), 40)
    everything = held.sample_of_codes
    monkeypatch.setattr("dacformer.data.batches.FILES_HELD", 2)
    drawn = TrainingCrops(dataset, T, TrainingConfig(), 40)
    assert all(same(held[i], drawn[i]) for i in range(40))
    assert len(drawn._held) <= 2 and drawn.sample_of_codes.shape[1] < everything.shape[1]


def test_crops_take_lengths_from_manifest_without_reading_files(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.read_csv(dataset.path / "manifest.csv")
    table.assign(frames=table["file"].map(FRAMES)).to_csv(dataset.path / "manifest.csv", index=False)
    known = load_dataset(dataset.path)
    assert known.conditions == dataset.conditions, "frames is no parameter"
    lengths = dataset.frames_of(dataset.rows)
    monkeypatch.setattr(Dataset, "read", lambda *_: pytest.fail("was read"))
    np.testing.assert_array_equal(known.frames_of(known.rows), lengths)

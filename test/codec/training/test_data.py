"""Training data of a codec: crops, batches, and what is held out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dacformer.codec.metrics import load_recording
from dacformer.codec.training.config import CodecTrainingConfig
from dacformer.codec.training.data import CropSampler, draw_batch, gather_recordings
from dacformer.errors import UserError
from dacformer.textures import synthesize

MakeConfig = Callable[..., CodecTrainingConfig]


def test_crops_are_of_one_recording_and_as_often_as_weighted() -> None:
    recordings = [np.full(n, value, np.float32) for n, value in ((50, 1.0), (1000, 2.0), (8, 3.0))]
    pool = CropSampler(recordings, np.array([1.0, 2.0, 1.0]), 16, torch.device("cpu"))
    crops = pool.draw(2000, np.random.default_rng(0))
    assert crops.shape == (2000, 1, 16)
    drawn = crops[:, 0].amax(dim=-1)
    shares = [float((drawn == value).float().mean()) for value in (1, 2, 3)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.04)
    assert (crops == crops[..., :1]).all()  # none runs over into the next recording, and a short one is repeated


def test_a_batch_depends_on_seed_and_step_alone(toy: MakeConfig, tmp_path: Path, sounds: Path) -> None:
    config = toy(tmp_path, sounds, batch_size=8, mix=0.5)
    pool = CropSampler([synthesize("rain", 0.5, 0.5)], np.ones(1), 8192, torch.device("cpu"))
    batch = draw_batch(pool, config, 7)
    assert torch.equal(batch, draw_batch(pool, config, 7))
    assert not torch.equal(batch, draw_batch(pool, config, 8))
    other = config.model_copy(update={"seed": 1})
    assert not torch.equal(batch, draw_batch(pool, other, 7))
    assert batch.shape == (8, 1, 8192) and batch.abs().max() <= 1


def test_held_out_recordings_are_never_trained_on(toy: MakeConfig, tmp_path: Path, sounds: Path) -> None:
    config = toy(tmp_path, sounds, held_out=0.5, speeds=(0.8, 1.0))
    train, weights, held = gather_recordings(config)
    assert len(train) == len(weights) == 2 * (5 - len(held)) and weights.sum() == pytest.approx(1)
    for seed in range(6):
        train, _, held = gather_recordings(config.model_copy(update={"seed": seed, "speeds": (1.0,)}))
        kept = {audio.tobytes() for audio in train}
        assert len(held) in (2, 3) and not any(audio.tobytes() in kept for audio in held)
        pieces = [load_recording(sounds / f"r1-{piece}.wav", 44100).tobytes() in kept for piece in "AB"]
        assert pieces[0] == pieces[1]


def test_what_is_excluded_is_nowhere(toy: MakeConfig, tmp_path: Path, sounds: Path) -> None:
    train, _, held = gather_recordings(toy(tmp_path, sounds, held_out=0.25, exclude=("r1", "r4.wav")))
    assert len(train) + len(held) == 2


@pytest.mark.parametrize("changes", [{"held_out": 1.0}, {"exclude": (".wav",)}], ids=str)
def test_a_folder_with_nothing_left_is_refused(
    toy: MakeConfig, tmp_path: Path, sounds: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=r"[Nn]othing.*to train on"):
        gather_recordings(toy(tmp_path, sounds, **changes))

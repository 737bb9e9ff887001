"""Training a codec, at a toy size on a few seconds of sound."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dacformer.codec import load_codec
from dacformer.codec.training import trainer
from dacformer.codec.training.config import CodecTrainingConfig
from dacformer.codec.training.data import CropSampler
from dacformer.codec.training.trainer import STATE_FILE, measure, train
from dacformer.errors import UserError
from dacformer.files import training_folder
from dacformer.signals import ending_cleanly
from dacformer.textures import synthesize

MakeConfig = Callable[..., CodecTrainingConfig]


def test_nothing_at_all_to_train_on_is_refused(toy: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Nothing to train on: name folders"):
        train(toy(tmp_path / "run", tmp_path).model_copy(update={"sounds": ()}))
    with pytest.raises(UserError, match="No sound file"):
        train(toy(tmp_path / "run", tmp_path))
    assert not (tmp_path / "run").exists()


def test_nothing_to_resume_is_refused(toy: MakeConfig, tmp_path: Path, sounds: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        train(toy(tmp_path / "run", sounds), resume=True)


# The whole


@pytest.mark.slow
def test_three_steps_make_a_codec(toy: MakeConfig, tmp_path: Path, sounds: Path) -> None:
    config = toy(tmp_path / "run", sounds, held_out=0.25, validate_every=2, name="mine")
    path = train(config)
    assert path == tmp_path / "run" / "mine.safetensors"
    codec = load_codec(path)
    assert codec.codebook_size == 16 and codec.identity.startswith("mine-")
    assert all(value.isfinite().all() for value in load_file(path).values())
    assert (tmp_path / "run" / "config.yaml").is_file() and not list(tmp_path.rglob("*.part"))
    result = measure(codec, [synthesize("rain", 0.5, 0.5)])
    assert list(result) == ["mel", *(f"perplexity_{k}" for k in range(1, 5))]
    assert result["mel"] > 0 and all(1 <= result[f"perplexity_{k}"] <= 16 for k in range(1, 5))


class Interrupted(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("adversarial_from_step", [99, 1])
def test_resumed_is_uninterrupted(
    toy: MakeConfig, tmp_path: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch, adversarial_from_step: int
) -> None:
    """With and without the adversarial part."""
    changes = {"adversarial_from_step": adversarial_from_step, "save_every": 2, "crop_samples": 4096, "batch_size": 1}
    changes |= {"discriminator_width": 0.05}
    whole = train(toy(tmp_path / "whole", sounds, **changes))
    draw_batch = trainer.draw_batch

    def break_off(pool: CropSampler, config: CodecTrainingConfig, step: int) -> torch.Tensor:
        if step == 3:
            raise Interrupted
        return draw_batch(pool, config, step)

    broken = toy(tmp_path / "broken", sounds, **changes)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(trainer, "draw_batch", break_off)
        train(broken)
    resumed = load_file(train(broken, resume=True))
    expected = load_file(whole)
    assert resumed.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(resumed[name], value), name


# Stopping, resuming, sharing


def test_a_signal_saves_and_resumed_is_uninterrupted(
    toy: MakeConfig, tmp_path: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM in the middle of step 2, and again while it is saved."""
    changes = {"save_every": 99, "crop_samples": 2048, "batch_size": 1}
    whole = train(toy(tmp_path / "whole", sounds, **changes))
    config = toy(tmp_path / "run", sounds, **changes)
    draw_batch, save_weights = trainer.draw_batch, trainer.save_weights

    def terminated_at_step_2(pool: CropSampler, config: CodecTrainingConfig, step: int) -> torch.Tensor:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw_batch(pool, config, step)

    def terminated(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        save_weights(*arguments)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped, ending_cleanly():
        patch.setattr(trainer, "draw_batch", terminated_at_step_2)
        patch.setattr(trainer, "save_weights", terminated)
        train(config)
    assert stopped.value.code == 143
    assert torch.load(config.run / STATE_FILE, weights_only=True)["step"] == 2
    resumed, expected = load_file(train(config, resume=True)), load_file(whole)
    assert all(torch.equal(resumed[name], value) for name, value in expected.items())
    with pytest.raises(UserError, match=r"step 3 of 3: nothing is left to train.*steps=6"):
        train(config, resume=True)
    with pytest.raises(UserError, match=r"codec\.codebook_size was 16, is now 32\. Start another"):
        train(config.model_copy(update={"codec": config.codec.model_copy(update={"codebook_size": 32})}), resume=True)
    with training_folder(config.run), pytest.raises(UserError, match="Another training is writing"):
        train(config.model_copy(update={"steps": 4}), resume=True)
    os.truncate(config.run / STATE_FILE, 1000)
    with pytest.raises(UserError, match=r"train_state\.pt is damaged or cut off"):
        train(config.model_copy(update={"steps": 4}), resume=True)

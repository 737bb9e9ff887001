"""Training a codec, at a toy size on a few seconds of sound."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dacformer import audio as sound
from dacformer.codec import load_codec
from dacformer.codec import train as training
from dacformer.codec.metrics import load_recording
from dacformer.config import CodecConfig, CodecTrainingConfig, SoundSource
from dacformer.errors import UserError
from dacformer.files import training_folder
from dacformer.signals import ending_cleanly
from dacformer.textures import synthesize

TOY = CodecConfig(encoder_dim=2, decoder_dim=16, encoder_rates=(4, 4, 4, 8), codebook_size=16, codebook_dim=4)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four recordings, one of them in two pieces, each of its own pitch."""
    folder = tmp_path_factory.mktemp("sounds")
    for i, name in enumerate(("r1-A", "r1-B", "r2", "r3", "r4")):
        audio = synthesize(("pistons", "wind", "rain", "bees", "fm")[i], 0.5, 0.7)
        sound.write_audio(folder / f"{name}.wav", audio, 44100)
    return folder


def settings(run: Path, sounds: Path, **changes: Any) -> CodecTrainingConfig:
    source = SoundSource(folder=sounds, held_out=changes.pop("held_out", 0.0), exclude=changes.pop("exclude", ()))
    quick = {"crop_samples": 8192, "batch_size": 2, "steps": 3, "adversarial_from_step": 99, "warmup_steps": 1}
    return CodecTrainingConfig(run=run, codec=TOY, sounds=(source,), texture_weight=0, **(quick | changes))


# The parts


def test_crops_are_of_one_recording_and_as_often_as_weighted() -> None:
    recordings = [np.full(n, value, np.float32) for n, value in ((50, 1.0), (1000, 2.0), (8, 3.0))]
    pool = training.CropSampler(recordings, np.array([1.0, 2.0, 1.0]), 16, torch.device("cpu"))
    crops = pool.draw(2000, np.random.default_rng(0))
    assert crops.shape == (2000, 1, 16)
    drawn = crops[:, 0].amax(dim=-1)
    shares = [float((drawn == value).float().mean()) for value in (1, 2, 3)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.04)
    assert (crops == crops[..., :1]).all()  # none runs over into the next recording, and a short one is repeated


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path, sounds: Path) -> None:
    config = settings(tmp_path, sounds, batch_size=8, mix=0.5)
    pool = training.CropSampler([synthesize("rain", 0.5, 0.5)], np.ones(1), 8192, torch.device("cpu"))
    batch = training.draw_batch(pool, config, 7)
    assert torch.equal(batch, training.draw_batch(pool, config, 7))
    assert not torch.equal(batch, training.draw_batch(pool, config, 8))
    other = config.model_copy(update={"seed": 1})
    assert not torch.equal(batch, training.draw_batch(pool, other, 7))
    assert batch.shape == (8, 1, 8192) and batch.abs().max() <= 1


def test_learning_rate_warms_up_and_decays(tmp_path: Path, sounds: Path) -> None:
    config = settings(tmp_path, sounds, steps=100, warmup_steps=10, learning_rate=1e-3, final_learning_rate=1e-5)
    rates = [training.learning_rate(config, step) for step in range(101)]
    assert rates[0] == 0 and rates[100] == pytest.approx(1e-5)
    assert max(rates) < 1e-3 and np.argmax(rates) == 10
    assert rates[50] == pytest.approx((1e-3 + 1e-5) / 2)  # half a cosine: half way, half the height
    assert np.all(np.diff(rates[10:]) < 0)


def test_held_out_recordings_are_never_trained_on(tmp_path: Path, sounds: Path) -> None:
    config = settings(tmp_path, sounds, held_out=0.5, speeds=(0.8, 1.0))
    train, weights, held = training.gather_recordings(config)
    assert len(train) == len(weights) == 2 * (5 - len(held)) and weights.sum() == pytest.approx(1)
    for seed in range(6):
        train, _, held = training.gather_recordings(config.model_copy(update={"seed": seed, "speeds": (1.0,)}))
        kept = {audio.tobytes() for audio in train}
        assert len(held) in (2, 3) and not any(audio.tobytes() in kept for audio in held)
        pieces = [load_recording(sounds / f"r1-{piece}.wav", 44100).tobytes() in kept for piece in "AB"]
        assert pieces[0] == pieces[1]


def test_what_is_excluded_is_nowhere(tmp_path: Path, sounds: Path) -> None:
    train, _, held = training.gather_recordings(settings(tmp_path, sounds, held_out=0.25, exclude=("r1", "r4.wav")))
    assert len(train) + len(held) == 2


@pytest.mark.parametrize("changes", [{"held_out": 1.0}, {"exclude": (".wav",)}], ids=str)
def test_a_folder_with_nothing_left_is_refused(tmp_path: Path, sounds: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"[Nn]othing.*to train on"):
        training.gather_recordings(settings(tmp_path, sounds, **changes))


def test_nothing_at_all_to_train_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Nothing to train on: name folders"):
        training.train(CodecTrainingConfig(run=tmp_path / "run", codec=TOY, texture_weight=0))
    with pytest.raises(UserError, match="No sound file"):
        training.train(settings(tmp_path / "run", tmp_path))
    assert not (tmp_path / "run").exists()


def test_nothing_to_resume_is_refused(tmp_path: Path, sounds: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        training.train(settings(tmp_path / "run", sounds), resume=True)


def test_codebooks_follow_the_latents_and_none_stays_idle(make_model: Any) -> None:
    model = make_model(n_codebooks=2, codebook_size=8, codebook_dim=4)
    learner = training.EmaCodebooks(model, decay=0.5, restart_below=0.1)
    assert not any(quantizer.codebook.weight.requires_grad for quantizer in model.quantizer.quantizers)
    torch.manual_seed(0)
    latents, codes = torch.randn(3, 8, 50), torch.zeros(3, 2, 50).long()
    codes[:, 1] = torch.randint(8, (3, 50))
    assert learner.update(codes, latents) == 7  # all but entry 0 of the first codebook
    first, second = (quantizer.codebook.weight for quantizer in model.quantizer.quantizers)
    vectors = latents.transpose(1, 2).flatten(0, 1)  # (150, 8)
    torch.testing.assert_close(first[0], vectors[:, :4].mean(dim=0))
    assert all((vectors[:, :4] - entry).abs().sum(dim=1).min() < 1e-5 for entry in first[1:])
    for entry in range(8):
        torch.testing.assert_close(second[entry], vectors[codes[:, 1].flatten() == entry, 4:].mean(dim=0))


# The whole


@pytest.mark.slow
def test_three_steps_make_a_codec(tmp_path: Path, sounds: Path) -> None:
    config = settings(tmp_path / "run", sounds, held_out=0.25, validate_every=2, name="mine")
    path = training.train(config)
    assert path == tmp_path / "run" / "mine.safetensors"
    codec = load_codec(path)
    assert codec.codebook_size == 16 and codec.identity.startswith("mine-")
    assert all(value.isfinite().all() for value in load_file(path).values())
    assert (tmp_path / "run" / "config.yaml").is_file() and not list(tmp_path.rglob("*.part"))
    result = training.measure(codec, [synthesize("rain", 0.5, 0.5)])
    assert list(result) == ["mel", *(f"perplexity_{k}" for k in range(1, 5))]
    assert result["mel"] > 0 and all(1 <= result[f"perplexity_{k}"] <= 16 for k in range(1, 5))


class Interrupted(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("adversarial_from_step", [99, 1])
def test_resumed_is_uninterrupted(
    tmp_path: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch, adversarial_from_step: int
) -> None:
    """With and without the adversarial part."""
    changes = {"adversarial_from_step": adversarial_from_step, "save_every": 2, "crop_samples": 4096, "batch_size": 1}
    changes |= {"discriminator_width": 0.05}
    whole = training.train(settings(tmp_path / "whole", sounds, **changes))
    draw_batch = training.draw_batch

    def break_off(pool: training.CropSampler, config: CodecTrainingConfig, step: int) -> torch.Tensor:
        if step == 3:
            raise Interrupted
        return draw_batch(pool, config, step)

    broken = settings(tmp_path / "broken", sounds, **changes)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(training, "draw_batch", break_off)
        training.train(broken)
    resumed = load_file(training.train(broken, resume=True))
    expected = load_file(whole)
    assert resumed.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(resumed[name], value), name


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        training.main(tmp_path / "none.yaml")
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: There is no settings file")


# Stopping, resuming, sharing


def test_a_signal_saves_and_resumed_is_uninterrupted(
    tmp_path: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM in the middle of step 2, and again while it is saved."""
    changes = {"save_every": 99, "crop_samples": 2048, "batch_size": 1}
    whole = training.train(settings(tmp_path / "whole", sounds, **changes))
    config = settings(tmp_path / "run", sounds, **changes)
    draw_batch, save_weights = training.draw_batch, training.save_weights

    def terminated_at_step_2(pool: training.CropSampler, config: CodecTrainingConfig, step: int) -> torch.Tensor:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw_batch(pool, config, step)

    def terminated(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        save_weights(*arguments)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped, ending_cleanly():
        patch.setattr(training, "draw_batch", terminated_at_step_2)
        patch.setattr(training, "save_weights", terminated)
        training.train(config)
    assert stopped.value.code == 143
    assert torch.load(config.run / training.STATE_FILE, weights_only=True)["step"] == 2
    resumed, expected = load_file(training.train(config, resume=True)), load_file(whole)
    assert all(torch.equal(resumed[name], value) for name, value in expected.items())
    with pytest.raises(UserError, match=r"step 3 of 3: nothing is left to train.*steps=6"):
        training.train(config, resume=True)
    with pytest.raises(UserError, match=r"codec\.codebook_size was 16, is now 32\. Start another"):
        training.train(config.model_copy(update={"codec": TOY.model_copy(update={"codebook_size": 32})}), resume=True)
    with training_folder(config.run), pytest.raises(UserError, match="Another training is writing"):
        training.train(config.model_copy(update={"steps": 4}), resume=True)
    os.truncate(config.run / training.STATE_FILE, 1000)
    with pytest.raises(UserError, match=r"train_state\.pt is damaged or cut off"):
        training.train(config.model_copy(update={"steps": 4}), resume=True)

"""Settings of a toy codec's training, and a few seconds of sound."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dacformer import audio as sound
from dacformer.codec.training.config import CodecTrainingConfig, SoundSource
from dacformer.codec.weight_files import CodecConfig
from dacformer.textures import synthesize

TOY = CodecConfig(encoder_dim=2, decoder_dim=16, encoder_rates=(4, 4, 4, 8), codebook_size=16, codebook_dim=4)


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four recordings, one of them in two pieces, each of its own pitch."""
    folder = tmp_path_factory.mktemp("sounds")
    for i, name in enumerate(("r1-A", "r1-B", "r2", "r3", "r4")):
        audio = synthesize(("pistons", "wind", "rain", "bees", "fm")[i], 0.5, 0.7)
        sound.write_audio(folder / f"{name}.wav", audio, 44100)
    return folder


@pytest.fixture(scope="session")
def toy() -> Callable[..., CodecTrainingConfig]:
    """Makes settings of a training of three steps: `toy(run, folder_of_sounds, **changes)`."""

    def make(run: Path, sounds: Path, **changes: Any) -> CodecTrainingConfig:
        source = SoundSource(folder=sounds, held_out=changes.pop("held_out", 0.0), exclude=changes.pop("exclude", ()))
        quick = {"crop_samples": 8192, "batch_size": 2, "steps": 3, "adversarial_from_step": 99, "warmup_steps": 1}
        fixed = {"run": run, "codec": TOY, "sounds": (source,), "texture_weight": 0}
        return CodecTrainingConfig.model_validate(fixed | quick | changes)

    return make

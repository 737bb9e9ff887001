"""What a campaign works on, made once before anything is forked: a codec, sounds, a data set, a run, takes."""

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from dacformer.audio import write_audio
from dacformer.codec import Codec, DacFile, load_codec, read_dac, write_dac
from dacformer.codec.weight_files import CodecConfig, build_model, save_weights
from dacformer.config import Config, parse_config
from dacformer.data.encode import encode_folder
from dacformer.evaluation.rollout import RolloutMetric
from dacformer.evaluation.samples import SampleWriter
from dacformer.generation.curves import Curve
from dacformer.generation.synthesizer import Synthesizer, load
from dacformer.generation.take import Take
from dacformer.training.trainer import train

TINY = CodecConfig(
    encoder_dim=2,
    encoder_rates=(4, 4, 4, 8),
    decoder_dim=16,
    decoder_rates=(8, 4, 4, 4),
    codebook_size=64,
    codebook_dim=4,
)
"""Hop 512 and K = 4, as `small` has it; milliseconds for what takes `small` a second."""

SOUNDS = ("wind--level-1--a", "wind--level-2--b", "wind--level-3--c", "rain--level-1--a", "rain--level-2--b", "rain--c")
SECONDS = 0.1

TRAINING = {
    "data": {"segment_frames": 8, "batch_size": 2},
    "model": {"dim": 16, "num_layers": 1, "num_heads": 2, "window_frames": 8, "mlp_ratio": 2, "film_dim": 8},
    "training": {
        "steps": 6,
        "warmup_steps": 2,
        "validate_every": 2,
        "validation_batches": 1,
        "sample_every": 0,
        "precision": "float32",
        "ema_decay": 0.9,
        "keep_checkpoints": 1,
    },
}
"""A training of a second that saves three times, and removes what it has saved before."""

CODEC_TRAINING = {
    "codec": TINY.model_dump(mode="json"),
    "texture_weight": 0,
    "crop_samples": 2048,
    "batch_size": 1,
    "steps": 5,
    "save_every": 1,
    "warmup_steps": 1,
    "adversarial_from_step": 99,
}


@dataclass(frozen=True)
class Workshop:
    """Paths and objects; what is in `folder` is only read.

    Attributes:
        folder: Holds `sounds/`, `tiny.safetensors`, `tiny.pth`, `set/`, `run/`, `takes/` and two settings files.
        codec: A codec of random weights.
        synth: The instrument of the run.
        takes: Two takes of different length and sound.
    """

    folder: Path
    codec: Codec
    synth: Synthesizer
    takes: tuple[Take, Take]

    @property
    def config(self) -> Config:
        """The settings of the run."""
        return self.synth.checkpoint.metadata.config


def make_workshop(folder: Path) -> Workshop:
    """Makes everything, and runs each part of the program once, so that every fork starts warm.

    Args:
        folder: An empty folder.

    Returns:
        The workshop.
    """
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        _make_codec(folder)
        for i, name in enumerate(SOUNDS):
            audio = 0.1 * np.random.default_rng(i).standard_normal(round(SECONDS * 44100) + 100 * i)
            write_audio(folder / "sounds" / f"{name}.wav", audio, 44100)
        codec = load_codec(folder / "tiny.safetensors")
        encode_folder(folder / "sounds", folder / "set", codec, str(folder / "tiny.safetensors"), validation=0.3)
        _write_settings(folder)
        tree: dict[str, Any] = yaml.safe_load((folder / "params.yaml").read_text())
        config = parse_config(tree | {"run": folder / "run"}, "torture")
        run = train(config, on_sample=SampleWriter(codec), selection_metric=RolloutMetric(codec, seconds=SECONDS))
        synth = load(run)
        controls = {"class": {"wind": Curve([(0.0, 1.0), (0.1, 0.2)]), "rain": 0.5}, "level": 1.5}
        takes = synth.generate(0.15, controls, seed=1), synth.generate(0.1, {"class": "rain"}, seed=2).extend(0.1)
        _save_takes(folder, takes)
    return Workshop(folder, codec, synth, takes)


def _make_codec(folder: Path) -> None:
    """Random weights whose output is neither silent nor the same for all codes, as both kinds of weight file."""
    torch.manual_seed(0)
    model = build_model(TINY).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    save_weights(folder / "tiny.safetensors", TINY, model.state_dict())
    model.save(folder / "tiny.pth", package=False)


def _write_settings(folder: Path) -> None:
    """Settings files for the jobs; paths are absolute, so that a job may run in any folder."""
    tree = TRAINING | {"data": {**TRAINING["data"], "path": str(folder / "set")}}
    (folder / "params.yaml").write_text(yaml.safe_dump(tree))
    tree = CODEC_TRAINING | {"sounds": [{"folder": str(folder / "sounds")}]}
    (folder / "codec.yaml").write_text(yaml.safe_dump(tree))


def _save_takes(folder: Path, takes: tuple[Take, Take]) -> None:
    for form in ("whole", "take.dac", "take.wav"):
        takes[0].save(folder / "takes" / form)
    codes = np.random.default_rng(0).integers(0, 64, (2, 4, 12))
    foreign = DacFile(codes, 44100, 2900, -20.0, 4, channels=2, padding=False)
    assert read_dac(write_dac(folder / "takes" / "foreign.dac", foreign)).num_frames == 12

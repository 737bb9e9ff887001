"""Training data of a codec: recordings and procedural textures in memory, and random crops of them.

`B` batch, `N` samples.
"""

import functools
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dacformer import audio as sound
from dacformer.codec.metrics import at_level, load_recording
from dacformer.codec.training.config import CodecTrainingConfig
from dacformer.errors import UserError
from dacformer.textures import TEXTURES, synthesize

DITHER = 3e-5
"""Noise added in training, -90 dB: the mel loss, a logarithm, would pull at digital silence harder than at sound."""


class CropSampler:
    """All recordings in memory, on the training device, and random crops of them."""

    def __init__(
        self, recordings: list[np.ndarray], weights: np.ndarray, crop_samples: int, device: torch.device
    ) -> None:
        """Lays the recordings end to end.

        Args:
            recordings: Each `(N_i,)`; shorter ones than a crop are repeated to its length.
            weights: `(len(recordings),)`, how often each is drawn, relative to the others.
            crop_samples: Length of a crop.
            device: Where the crops are wanted.
        """
        recordings = [np.resize(r, max(len(r), crop_samples)) for r in recordings]
        lengths = np.array([len(r) for r in recordings])
        self._starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self._slack = lengths - crop_samples
        self._cumulative = np.cumsum(weights / weights.sum())
        self._audio = torch.from_numpy(np.concatenate(recordings).astype(np.float32, copy=False)).to(device)
        self._ramp = torch.arange(crop_samples, device=device)

    def draw(self, batch_size: int, rng: np.random.Generator) -> Tensor:
        """Draws crops `(B, 1, crop_samples)`."""
        which = np.searchsorted(self._cumulative, rng.random(batch_size)).clip(max=len(self._starts) - 1)
        offsets = self._starts[which] + np.floor(rng.random(batch_size) * (self._slack[which] + 1)).astype(np.int64)
        return self._audio[torch.from_numpy(offsets).to(self._ramp.device)[:, None] + self._ramp][:, None]


def draw_batch(pool: CropSampler, config: CodecTrainingConfig, step: int) -> Tensor:
    """Draws and augments the batch of a step; the same seed and step give the same batch.

    Returns:
        `(B, 1, crop_samples)`: crops, some of them two at once, at random gain and polarity, with dither, within
        [-1, 1].
    """
    rng = np.random.default_rng([config.seed, step])
    audio = pool.draw(config.batch_size, rng)
    second = rng.random(config.batch_size) < config.mix
    audio = audio + pool.draw(config.batch_size, rng) * _column(
        second * rng.uniform(0.2, 1.0, config.batch_size), audio
    )
    gain = 10.0 ** (rng.uniform(*config.gain_db, config.batch_size) / 20.0) * rng.choice([-1.0, 1.0], config.batch_size)
    dither = rng.standard_normal(audio.shape, np.float32) * DITHER
    return (audio * _column(gain, audio) + torch.from_numpy(dither).to(audio.device)).clamp(-1.0, 1.0)


def _column(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(like.device)[:, None, None]


def gather_recordings(config: CodecTrainingConfig) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """Reads the recordings and makes the textures that the settings name, on all cores.

    Returns:
        The recordings to train on, each `(N,)`; how often each is drawn; the recordings held out.
    """
    rate = config.codec.sample_rate
    train: list[np.ndarray] = []
    weights: list[float] = []
    held_out: list[np.ndarray] = []
    with ProcessPoolExecutor(os.cpu_count()) as cores:

        def load(jobs: list[tuple[Path, float]]) -> list[np.ndarray]:
            paths, speeds = zip(*jobs, strict=True)
            return list(cores.map(load_recording, paths, [rate] * len(jobs), speeds, chunksize=8))

        for source in config.sounds:
            training, held = sound.split_by_recording(
                sound.find_audio(source.folder, source.exclude), source.held_out, config.seed
            )
            if not training:
                raise UserError(f"Nothing of {source.folder} is left to train on. See its 'exclude' and 'held_out'.")
            loaded = load([(path, speed) for path in training for speed in config.speeds])
            train += loaded
            weights += [source.weight / len(loaded)] * len(loaded)
            held_out += load([(path, 1.0) for path in held]) if held else []
        if config.texture_weight and config.textures_per_class:
            jobs = [(name, i) for name in TEXTURES for i in range(config.textures_per_class)]
            texture = functools.partial(_texture, count=config.textures_per_class, sample_rate=rate)
            train += cores.map(texture, jobs, chunksize=8)
            weights += [config.texture_weight / len(jobs)] * len(jobs)
    if not train:
        raise UserError("Nothing to train on: name folders under 'sounds', or set texture_weight above 0.")
    return train, np.array(weights), held_out


def _texture(job: tuple[str, int], count: int, sample_rate: int) -> np.ndarray:
    name, index = job
    return at_level(synthesize(name, index / max(count - 1, 1), sample_rate=sample_rate, seed=1000 + index))

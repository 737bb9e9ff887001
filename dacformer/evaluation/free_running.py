"""One number, cheap enough for every validation, that says how faithful free running is: `best` is chosen by it.

A model that predicts the next frame better may play worse (docs/steering.md). So a few held-out clips are played
again, under their own conditions and from nothing, and compared clip by clip, in the codec's latents: no decoding.

`K` codebooks, `T` frames, `D` dimensions of a latent.
"""

from pathlib import Path

import numpy as np

from dacformer.codec import Codec, load_codec
from dacformer.data import Dataset, load_dataset
from dacformer.evaluation.likeness import controls_of, latents_of
from dacformer.generation import Synthesizer
from dacformer.training.checkpoint import Checkpoint

FEW = 8
"""Held-out clips; where there are fewer, training clips are replayed, too."""
LAGS = (1, 2, 4, 8, 16, 32)
"""Frames: at these the autocorrelation of a latent is compared, so that rhythm counts (12 ms to 370 ms)."""


class FreeRunning:
    """Give it to `train` as `judge`."""

    def __init__(self, codec: Codec | None = None, max_clips: int = 32, seconds: float = 3.0) -> None:
        """Prepares.

        Args:
            codec: Loaded by the checkpoint's name when first needed, if None.
            max_clips: Held-out clips that are played, spread over all there are.
            seconds: Of each.
        """
        self._codec = codec
        self._max_clips = max_clips
        self._seconds = seconds
        self._dataset: tuple[Path, Dataset] | None = None

    def __call__(self, checkpoint: Checkpoint) -> float:
        """Plays and compares.

        Args:
            checkpoint: The model as it is, its data set in place.

        Returns:
            Mean distance between a held-out clip and its replay, over that between any two held-out clips of the same
            set: 0 would be the same sound, 1 is no more like it than another clip.
        """
        card = checkpoint.card
        if self._codec is None:
            self._codec = load_codec(card.facts.codec_name, card.facts.num_codebooks)
        if self._dataset is None or self._dataset[0] != card.config.data.path:
            self._dataset = card.config.data.path, load_dataset(card.config.data.path)
        dataset = self._dataset[1]
        rows = dataset.split("val")
        rows = rows if len(rows) >= FEW else dataset.rows
        rows = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, self._max_clips).round().astype(int))]
        synth = Synthesizer(checkpoint, self._codec, next(checkpoint.model.parameters()).device)
        controls = [controls_of(synth.conditions, row) for _, row in rows.iterrows()]
        made = synth.generate_codes(self._seconds, controls)
        codes = [dataset.codes(file)[:, : made.shape[-1]] for file in rows["file"]]
        # A short clip's replay is cut to its length: statistics of different lengths differ by that alone.
        pairs = [
            (latents_of(self._codec, own), latents_of(self._codec, new[:, : own.shape[1]]))
            for own, new in zip(codes, made, strict=True)
        ]
        real, replayed = (np.stack([clip_statistics(pair[i]) for pair in pairs]) for i in (0, 1))
        return relative_distance(real, replayed)


def clip_statistics(latents: np.ndarray) -> np.ndarray:
    """What a clip is like: mean and deviation of each latent, and its autocorrelation at `LAGS`.

    Args:
        latents: `(T, D)`.

    Returns:
        `(D * (2 + len(LAGS)),)`; correlations at lags that the clip does not have are 0.
    """
    centred = latents - latents.mean(axis=0)
    deviation = centred.std(axis=0) + 1e-6
    centred = centred / deviation
    correlations = [
        (centred[lag:] * centred[:-lag]).mean(axis=0) if lag < len(latents) else np.zeros(latents.shape[1])
        for lag in LAGS
    ]
    return np.concatenate([latents.mean(axis=0), np.log(deviation), *correlations])


def relative_distance(real: np.ndarray, replayed: np.ndarray) -> float:
    """Mean squared distance of pairs `(n, S)` over that of all pairs of `real`; each statistic in its own deviation."""
    scale = np.maximum(real.std(axis=0), 0.1)  # what hardly differs from clip to clip decides nothing
    between = 2.0 * np.mean(real.var(axis=0, ddof=1) / scale**2) if len(real) > 1 else 2.0
    return float(np.mean(((real - replayed) / scale) ** 2) / between)

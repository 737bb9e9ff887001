"""Rollout error: a fast metric that chooses the best checkpoint.

A model with a lower NLL does not always generate better sound. So this metric generates takes under the conditions of
some held-out clips, from an empty start, and compares them with the clips. It uses the codec's latents, without
decoding. It measures how well a linear probe predicts the conditions from a take, and how similar takes and clips are.
docs/control_study.md shows how well this predicts control.

`T` frames, `D` dimensions of a latent, `S` statistics of a clip, `C` width of a condition.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from dacformer.checkpoint import Checkpoint
from dacformer.codec import Codec, load_codec
from dacformer.codec.latents import codebook_latents
from dacformer.conditions.labels import CLASS_CHANNEL, PARAMETER_CHANNEL
from dacformer.data.dataset import Dataset, evenly_spaced, load_dataset
from dacformer.evaluation.references import row_to_controls
from dacformer.generation.synthesizer import Synthesizer

FEW = 8
"""Fewest held-out clips; with fewer, clips of all splits are used."""
READ_CLIPS = 800
"""Most training clips that the linear probe is fitted to."""
LAGS = (1, 2, 4, 8, 16, 32)
"""Lags in frames (12 ms to 370 ms) at which the autocorrelation of latents is compared, so that rhythm counts."""


class RolloutMetric:
    """Measures the rollout error of a checkpoint. Pass it to `train` as `selection_metric`."""

    def __init__(self, codec: Codec | None = None, max_clips: int = 64, seconds: float = 3.0) -> None:
        """Sets up the metric; data and probe are prepared at the first call.

        Args:
            codec: The codec; if None, loaded at the first call by the name in the checkpoint.
            max_clips: Most held-out clips to compare with, evenly spaced.
            seconds: Most seconds of each clip.
        """
        self._codec = codec
        self._max_clips = max_clips
        self._seconds = seconds
        self._path: Path | None = None

    def __call__(self, checkpoint: Checkpoint) -> float:
        """Measures a checkpoint.

        Args:
            checkpoint: The checkpoint. Its data set must still be at the same path.

        Returns:
            The rollout error: mean of `probe_error` and `relative_distance`. Lower is better. About 1 for a model that
            ignores its conditions, and slightly above 0 for real clips.
        """
        metadata = checkpoint.metadata
        if self._codec is None:
            self._codec = load_codec(metadata.info.codec_name, metadata.info.num_codebooks)
        if self._path != metadata.config.data.path:
            self._prepare(load_dataset(metadata.config.data.path))
            self._path = metadata.config.data.path
        synth = Synthesizer(checkpoint, self._codec, next(checkpoint.model.parameters()).device)
        made = synth.generate_codes(self._seconds, self._controls)
        # Takes are cut to the lengths of their clips, because the statistics depend on length.
        lengths = [codes.shape[1] for codes in self._codes]
        replayed = self._statistics([new[:, :length] for new, length in zip(made, lengths, strict=True)])
        errors = [relative_distance(self._real, replayed)]
        if self._probe is not None:
            read = self._probe.predict(replayed).reshape(self._asked.shape)  # a single target is returned as `(n,)`
            errors += probe_error(read, self._asked)
        return float(np.mean(errors))

    def _prepare(self, dataset: Dataset) -> None:
        """Chooses the clips to generate again, and fits the linear probe from statistics to conditions."""
        num_frames = round(self._seconds * dataset.info.frame_rate)
        rows = dataset.split("val")
        rows = rows if len(rows) >= FEW else dataset.rows
        rows = rows.iloc[evenly_spaced(len(rows), self._max_clips)]
        self._controls = [row_to_controls(dataset.conditions, row) for _, row in rows.iterrows()]
        self._codes = [dataset.codes(file)[:, :num_frames] for file in rows["file"]]
        self._real = self._statistics(self._codes)
        self._asked = regression_targets(dataset, rows)
        known = dataset.split("train")
        known = known.iloc[evenly_spaced(len(known), READ_CLIPS)]
        targets = np.nan_to_num(regression_targets(dataset, known))  # unknown: the middle
        self._probe: Pipeline | None = None
        if targets.shape[1] and len(known) > 1:
            statistics = self._statistics([dataset.codes(file)[:, :num_frames] for file in known["file"]])
            ridge = RidgeCV(np.logspace(-1, 5, 13))
            self._probe = make_pipeline(StandardScaler(), ridge).fit(statistics, targets)

    def _statistics(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        assert self._codec is not None
        return np.stack([clip_statistics(codebook_latents(self._codec, each)) for each in codes])


def regression_targets(dataset: Dataset, rows: pd.DataFrame) -> np.ndarray:
    """Computes the targets of the linear probe, `(n, targets)`: classes (0 or 1), and parameters in [-1, 1] or NaN.

    NaN means unknown. If the data set has only one class, there are no targets for classes.
    """
    conditions, layout = dataset.encode_rows(rows), dataset.conditions.layout
    classes = conditions[:, layout.columns(CLASS_CHANNEL)]
    values, known = np.split(conditions[:, layout.columns(PARAMETER_CHANNEL)], 2, axis=1)
    whole = [classes] if classes.shape[1] > 1 else []
    return np.concatenate([*whole, np.where(known > 0, values, np.nan)], axis=1)


def probe_error(read: np.ndarray, asked: np.ndarray) -> list[float]:
    """Computes squared errors of the probe relative to the variance of its targets.

    Args:
        read: Predictions, `(n, targets)`.
        asked: Targets, `(n, targets)`; NaN is not counted.

    Returns:
        One value for targets that are never NaN (classes, and parameters that all clips have), and one for the others.
        A value is left out if its targets are missing or constant.
    """
    errors = []
    open_to_all = np.isfinite(asked).all(axis=0)
    for chosen in (open_to_all, ~open_to_all):
        chosen = chosen & np.isfinite(asked).any(axis=0)
        wrong, spread = read[:, chosen] - asked[:, chosen], asked[:, chosen] - np.nanmean(asked[:, chosen], axis=0)
        if np.nansum(spread**2) > 0:
            errors.append(float(np.nansum(wrong**2) / np.nansum(spread**2)))
    return errors


def clip_statistics(latents: np.ndarray) -> np.ndarray:
    """Computes statistics of a clip: mean, log standard deviation and autocorrelation at `LAGS` of each latent.

    Args:
        latents: `(T, D)`.

    Returns:
        `(D * (2 + len(LAGS)),)`; correlations at lags longer than the clip are 0.
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
    """Computes the mean squared distance of pairs `(n, S)`, relative to that between all pairs of real clips.

    Each statistic is scaled by its standard deviation over real clips.
    """
    scale = np.maximum(real.std(axis=0), 0.1)  # statistics that are nearly constant must not dominate
    between = 2.0 * np.mean(real.var(axis=0, ddof=1) / scale**2) if len(real) > 1 else 0.0
    return float(np.mean(((real - replayed) / scale) ** 2) / (between or 2.0))  # of clips all alike: as of one

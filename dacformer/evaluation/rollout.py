"""Rollout error: a cheap metric that chooses the best checkpoint.

A model that predicts the next frame better may play worse. So some held-out clips are generated again, from nothing
under their own conditions, and compared in the codec's latents, without decoding. Can the conditions be read off what
is generated, and is it like the clip? Whether that predicts control: docs/control_study.md.

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
from dacformer.data.dataset import Dataset, evenly_spaced, load_dataset
from dacformer.evaluation.references import row_to_controls
from dacformer.generation.synthesizer import Synthesizer

FEW = 8
"""Held-out clips; where there are fewer, training clips are replayed, too."""
READ_CLIPS = 800
"""Training clips that the linear probe is fitted to."""
LAGS = (1, 2, 4, 8, 16, 32)
"""Frames: at these the autocorrelation of a latent is compared, so that rhythm counts (12 ms to 370 ms)."""


class RolloutMetric:
    """Measures the rollout error; to be given to `train` as `selection_metric`."""

    def __init__(self, codec: Codec | None = None, max_clips: int = 64, seconds: float = 3.0) -> None:
        """Sets up the metric; data and probe are prepared at the first call.

        Args:
            codec: Loaded by the checkpoint's name when first needed, if None.
            max_clips: Held-out clips that are played, spread over all there are.
            seconds: Of each.
        """
        self._codec = codec
        self._max_clips = max_clips
        self._seconds = seconds
        self._path: Path | None = None

    def __call__(self, checkpoint: Checkpoint) -> float:
        """Measures a checkpoint.

        Args:
            checkpoint: Its data set must be where it was.

        Returns:
            The mean of `probe_error` and `relative_distance`: about 1 for a model that ignores its conditions, and for
            real clips not quite 0. The lower, the better.
        """
        metadata = checkpoint.metadata
        if self._codec is None:
            self._codec = load_codec(metadata.info.codec_name, metadata.info.num_codebooks)
        if self._path != metadata.config.data.path:
            self._prepare(load_dataset(metadata.config.data.path))
            self._path = metadata.config.data.path
        synth = Synthesizer(checkpoint, self._codec, next(checkpoint.model.parameters()).device)
        made = synth.generate_codes(self._seconds, self._controls)
        # A short clip's replay is cut to its length: statistics of different lengths differ by that alone.
        lengths = [codes.shape[1] for codes in self._codes]
        replayed = self._statistics([new[:, :length] for new, length in zip(made, lengths, strict=True)])
        errors = [relative_distance(self._real, replayed)]
        if self._probe is not None:
            read = self._probe.predict(replayed).reshape(self._asked.shape)  # one target comes back as a row
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
    """Targets of the linear probe: classes (1 or 0) and parameters in [-1, 1], NaN where unknown, `(n, targets)`.

    A single class cannot be told from others, and is left out.
    """
    conditions, classes = dataset.encode_rows(rows), len(dataset.conditions.classes)
    names = list(dataset.conditions.parameters)
    values, known = np.split(conditions[:, classes:], [len(names)], axis=1)
    whole = [conditions[:, :classes]] if classes > 1 else []
    return np.concatenate([*whole, np.where(known > 0, values, np.nan)], axis=1)


def probe_error(read: np.ndarray, asked: np.ndarray) -> list[float]:
    """Error of the probe's predictions `(n, targets)`, relative to the variance; NaN in `asked` is not counted.

    Returns:
        One figure for what is always known, the classes, and one for parameters; either may be missing.
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
    """Statistics of a clip: mean and log deviation of each latent, and its autocorrelation at `LAGS`.

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
    between = 2.0 * np.mean(real.var(axis=0, ddof=1) / scale**2) if len(real) > 1 else 0.0
    return float(np.mean(((real - replayed) / scale) ** 2) / (between or 2.0))  # of clips all alike: as of one

"""Stability in minutes of free running: whether the sound drifts, becomes silent, or repeats itself.

Each class is generated with its parameters held in the middle of their ranges. Windows of the take and of real clips
(encoded and decoded) are measured: the level, the descriptors of the class (a texture's own, or the standard ones), and
the probability of the class by a classifier that was fitted to real clips. Differences are in standard deviations of
the real clips; a difference of two also occurs between recordings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import linregress
from sklearn.pipeline import Pipeline
from tqdm import tqdm

from dacformer.data.dataset import Dataset
from dacformer.errors import UserError
from dacformer.evaluation.classifier import features, fit_to_dataset
from dacformer.evaluation.descriptors import STANDARD_DESCRIPTORS, TEXTURE_DESCRIPTORS
from dacformer.evaluation.parallel import parallel_map
from dacformer.evaluation.references import load_reference_clip
from dacformer.evaluation.tables import with_mean, write_result
from dacformer.generation.synthesizer import Synthesizer
from dacformer.generation.take import Take
from dacformer.textures import TEXTURES

WINDOW_SECONDS = 4.0
"""Length of a window, and the time from one window to the next."""
AT_ONCE = 8
"""Number of classes that are generated side by side."""
REAL_CLIPS = 24
"""Number of real clips of each class for comparison: those with parameters nearest to the requested ones."""
AGREED = 0.02
"""Floor for the standard deviation of real clips, as a share of the measure's mean."""
SILENCE_DB, SILENCE_BLOCK = -45.0, 0.02
"""A block of `SILENCE_BLOCK` seconds is silent if it is this many dB below the level of the class's real clips."""


@dataclass(frozen=True)
class StabilityResult:
    """Drift, silence and repetition in minutes of free running.

    Attributes:
        windows: One row per window and measure: `class`, `source` (`generated`, `real`), `seconds` (where the window
            begins), `measure`, `value`. `class probability` is one of the measures, `level_db` another.
        summary: One row per class. `drift`: of the worst of its measures, the change over the whole take by a straight
            line, in standard deviations of the real clips' windows; `drift_low` and `drift_high`, its 95 % interval;
            `drift_of`, which measure that is; `level_drift_db`; `class_first` and `class_last`, the mean
            probability of the class in the first and last fifth; `silence_seconds` and `repetition_seconds`, the
            longest silence and the longest stretch of codes that comes again exactly, and both for real clips.
    """

    windows: pd.DataFrame
    summary: pd.DataFrame

    def to_text(self) -> str:
        """The summary as a table, with the means."""
        return with_mean(self.summary).round(2).to_string()


def measure_stability(
    synth: Synthesizer,
    dataset: Dataset,
    classes: Sequence[str] = (),
    minutes: float = 10.0,
    seed: int = 0,
    **sampling: Any,
) -> StabilityResult:
    """Generates each class for minutes, and measures it beside real clips.

    Args:
        synth: The model.
        dataset: The data set that it was trained on.
        classes: Names of classes; if empty, all that the model knows.
        minutes: Length of each take, in minutes.
        seed: Seed of the takes.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The figures.

    Raises:
        UserError: The data set is of another codec, or lacks a class.
    """
    chosen = list(classes) or list(synth.conditions.classes)
    known = {name for name in synth.conditions.classes if name in set(dataset.split("train")["class"])}
    for name in chosen:
        if name not in known:
            raise UserError(f"'{name}' is not in both model and data set. In both: {', '.join(sorted(known))}.")
    rate = synth.info.sample_rate
    middle = {name: _middle(synth, name) for name in chosen}
    real = {name: _real_clips(synth, dataset, name, middle[name]) for name in chosen}
    classifier = fit_to_dataset(dataset, sorted(known), synth.codec, WINDOW_SECONDS)
    windows, summary = [], {}
    with tqdm(total=len(chosen), desc="playing for long", unit="class") as bar:
        for some in (chosen[i : i + AT_ONCE] for i in range(0, len(chosen), AT_ONCE)):
            takes = synth.generate_batch(minutes * 60.0, [middle[name] for name in some], seed, **sampling)
            for name, take in zip(some, takes, strict=True):
                measures = _descriptors_for(synth, name)
                sounds = {
                    "generated": _windows(take.audio, rate),
                    "real": [piece for audio, _ in real[name] for piece in _windows(audio, rate)],
                }
                own = _measure_windows(name, sounds, measures, classifier, rate)
                windows += own
                summary[name] = summarise_drift(pd.DataFrame(own), list(measures)) | _stuck(synth, take, real[name])
                bar.update()
    return StabilityResult(pd.DataFrame(windows), pd.DataFrame.from_dict(summary, orient="index"))


def _descriptors_for(synth: Synthesizer, name: str) -> dict[str, Callable[[np.ndarray, int], float]]:
    """The descriptors of a class: a procedural texture has its own, any other class the standard ones."""
    if name in TEXTURES and TEXTURES[name].parameter in synth.conditions.parameters:
        return {TEXTURES[name].parameter: TEXTURE_DESCRIPTORS[name]}
    return STANDARD_DESCRIPTORS


def _measure_windows(
    name: str,
    sounds: dict[str, list[np.ndarray]],
    measures: dict[str, Callable[[np.ndarray, int], float]],
    classifier: Pipeline,
    sample_rate: int,
) -> list[dict[str, Any]]:
    """A row for each window `(N,)` of a class and each measure: descriptors, level, probability of the class."""
    rows = []
    for source, pieces in sounds.items():
        measured = {key: parallel_map(measure, pieces, sample_rate) for key, measure in measures.items()}
        measured["level_db"] = [_level_db(audio) for audio in pieces]
        probabilities = classifier.predict_proba(features(pieces, sample_rate))
        measured["class probability"] = probabilities[:, list(classifier.classes_).index(name)].tolist()
        rows += [
            {"class": name, "source": source, "seconds": i * WINDOW_SECONDS, "measure": key, "value": value}
            for key, values in measured.items()
            for i, value in enumerate(values)
        ]
    return rows


def _stuck(synth: Synthesizer, take: Take, real: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """The longest silence and repetition of a take, and of real clips (audio `(N,)`, codes `(K, T)`), in seconds."""
    rate, frame_rate = synth.info.sample_rate, synth.info.frame_rate
    quiet = 10 ** ((np.median([_level_db(audio) for audio, _ in real]) + SILENCE_DB) / 20)
    return {
        "silence_seconds": longest_silence(take.audio, rate, quiet),
        "silence_real": max(longest_silence(audio, rate, quiet) for audio, _ in real),
        "repetition_seconds": longest_repetition(take.codes) / frame_rate,
        "repetition_real": longest_repetition(np.concatenate([codes for _, codes in real], axis=1)) / frame_rate,
    }


def longest_silence(audio: np.ndarray, sample_rate: int, quiet: float) -> float:
    """The longest time in seconds that audio `(N,)` stays below an RMS of `quiet`, in blocks of `SILENCE_BLOCK`."""
    block = round(SILENCE_BLOCK * sample_rate)
    blocks = audio[: len(audio) // block * block].reshape(-1, block)
    loud = np.flatnonzero(np.sqrt(np.mean(np.square(blocks, dtype=np.float64), axis=1)) >= quiet)
    gaps = np.diff(np.concatenate([[-1], loud, [len(blocks)]])) - 1
    return float(gaps.max() * SILENCE_BLOCK)


def longest_repetition(codes: np.ndarray) -> int:
    """Finds the longest sequence of frames that occurs twice. The two occurrences may overlap (a loop).

    Args:
        codes: `(K, T)` integers.

    Returns:
        Its length in frames; 0 if no frame occurs twice.
    """
    _, symbols = np.unique(codes, axis=1, return_inverse=True)
    low, high = 0, codes.shape[1] - 1  # a stretch that occurs twice has parts that do: search by halves
    while low < high:
        length = (low + high + 1) // 2
        if _comes_twice(symbols, length):
            low = length
        else:
            high = length - 1
    return low


def _comes_twice(symbols: np.ndarray, length: int) -> bool:
    """Tests whether any sequence of the given length occurs twice in symbols `(T,)`.

    Sequences are numbered by doubling their length (Karp, Miller & Rosenberg, STOC 1972), so that equal numbers mean
    equal sequences.
    """
    names, named = symbols, 1
    while named < length:
        further = min(named, length - named)
        pairs = np.stack([names[: len(names) - further], names[further:]])
        _, names = np.unique(pairs, axis=1, return_inverse=True)
        named += further
    return len(np.unique(names)) < len(names)


def summarise_drift(windows: pd.DataFrame, measures: Sequence[str]) -> dict[str, Any]:
    """Fits straight lines to the windows of a class.

    Args:
        windows: Of one class, as in `StabilityResult.windows`.
        measures: Those that the worst is looked for among; `level_db` and `class probability` must be there, too.

    Returns:
        The row of the class in the summary, but for silence and repetition.
    """
    made = windows[windows["source"] == "generated"].pivot(index="seconds", columns="measure", values="value")
    real = windows[windows["source"] == "real"].groupby("measure")["value"]
    spread = np.maximum(real.std(), AGREED * real.mean().abs()).clip(lower=1e-9)
    lines = {}
    for measure in measures:
        line = linregress(made.index.to_numpy(float), made[measure].to_numpy(float))
        whole = float(made.index.max()) / float(spread[measure])
        lines[measure] = (line.slope * whole, 1.96 * line.stderr * whole)
    worst = max(lines, key=lambda measure: abs(lines[measure][0]))
    drift, error = lines[worst]
    fifth = max(len(made) // 5, 1)
    level = linregress(made.index.to_numpy(float), made["level_db"].to_numpy(float)).slope * float(made.index.max())
    return {
        "drift": drift,
        "drift_low": drift - error,
        "drift_high": drift + error,
        "drift_of": worst,
        "level_drift_db": level,
        "class_first": float(made["class probability"].iloc[:fifth].mean()),
        "class_last": float(made["class probability"].iloc[-fifth:].mean()),
    }


def write_stability_report(result: StabilityResult, folder: Path) -> list[Path]:
    """Writes `stability.csv` (every window), `stability.json` (the summary) and `stability.png`."""
    return write_result(folder, "stability", result.summary, plot_stability(result), {"stability": result.windows})


def plot_stability(result: StabilityResult) -> Figure:
    """Draws measure, level and class probability over time, a row per class; grey: 95 % of the real windows."""
    classes = list(result.summary.index)
    figure, grid = plt.subplots(len(classes), 3, figsize=(12, 1.9 * len(classes)), layout="constrained", squeeze=False)
    for row, name in zip(grid, classes, strict=True):
        chosen = result.windows[result.windows["class"] == name]
        for axes, measure in zip(
            row, (result.summary.loc[name, "drift_of"], "level_db", "class probability"), strict=True
        ):
            values = chosen[chosen["measure"] == measure]
            made, real = (values[values["source"] == source] for source in ("generated", "real"))
            axes.axhspan(*np.quantile(real["value"], [0.025, 0.975]), color="0.85")
            axes.plot(made["seconds"] / 60, made["value"], color="C3", lw=0.5, alpha=0.5)
            smooth = made["value"].rolling(15, center=True, min_periods=1)  # a minute
            mean, error = smooth.mean(), 1.96 * smooth.std() / np.sqrt(smooth.count())
            axes.plot(made["seconds"] / 60, mean, color="C3")
            axes.fill_between(made["seconds"] / 60, mean - error, mean + error, color="C3", alpha=0.3, lw=0)
            axes.set(title=f"{name}: {measure}")
        row[2].set(ylim=(-0.05, 1.05))
    for axes in grid[-1]:
        axes.set(xlabel="minutes")
    plt.close(figure)
    return figure


def _middle(synth: Synthesizer, name: str) -> dict[str, Any]:
    """A class with its parameters held in the middle of what was trained."""
    scales = synth.conditions.parameters
    middle = {key: (scale.low + scale.high) / 2 for key, scale in scales.items() if name in scale.classes}
    return {"class": name, **middle}


def _real_clips(
    synth: Synthesizer, dataset: Dataset, name: str, controls: dict[str, Any]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Audio `(N,)` and codes `(K, T)` of the clips whose parameters are nearest to controls, through the codec."""
    rows = dataset.rows[dataset.rows["class"] == name]
    scales = synth.conditions.parameters
    far = sum(
        (abs(np.asarray(scales[key].normalize(rows[key].to_numpy(float)) - scales[key].normalize(value))).round(6))
        for key, value in controls.items()
        if key != "class"
    )
    order = np.argsort(np.nan_to_num(np.broadcast_to(far, len(rows)), nan=np.inf), kind="stable")[:REAL_CLIPS]
    return [
        (load_reference_clip(dataset, file, synth.codec, 60.0), dataset.codes(file))
        for file in rows["file"].to_numpy()[order]
    ]


def _windows(audio: np.ndarray, sample_rate: int) -> list[np.ndarray]:
    """Whole windows of audio `(N,)`; all of it, where it is shorter than one."""
    length = round(WINDOW_SECONDS * sample_rate)
    return [audio[i : i + length] for i in range(0, max(len(audio) - length, 0) + 1, length)]


def _level_db(audio: np.ndarray) -> float:
    return float(10.0 * np.log10(np.mean(np.square(audio, dtype=np.float64)) + 1e-12))

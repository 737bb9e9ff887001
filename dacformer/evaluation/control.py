"""Does the sound follow its controls? Measured on free-running audio of the procedural textures.

For each texture, its parameter is asked for at several values, and what is heard is measured by the texture's
descriptor. A plain classifier, fitted to real textures, says which class it hears. Beside both stand the same
figures for real textures that went through the codec: the ceiling.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from scipy.stats import linregress, spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from dacformer.codec import Codec
from dacformer.errors import UserError
from dacformer.evaluation.descriptors import STANDARD_DESCRIPTORS, TEXTURE_DESCRIPTORS, describe
from dacformer.files import write_text
from dacformer.generation.synthesizer import Synthesizer
from dacformer.textures import TEXTURES, synthesize

T = TypeVar("T")

FIT_SEED, CEILING_SEED = 2**30, 2**31
"""Seeds of the real textures that the classifier is fitted to, and of those that are the ceiling: apart from
each other and from those of any training set."""


@dataclass(frozen=True)
class ControlResult:
    """What was measured.

    Attributes:
        clips: One row per clip: `source` (`generated` or `real`), `class`, `asked` (the parameter's value), `seed`,
            `measured` (the descriptor), `heard` (the class that the classifier names).
        summary: One row per class: Spearman and Pearson correlation of `asked` and `measured`, the slope of a straight
            line, and the share of clips whose class was heard, for generated clips and for real ones through the codec.
    """

    clips: pd.DataFrame
    summary: pd.DataFrame

    def to_text(self) -> str:
        """The summary as a table, with the means."""
        return with_mean(self.summary).round(3).to_string()


def measure_control(
    synth: Synthesizer,
    classes: Sequence[str] = (),
    num_values: int = 11,
    num_seeds: int = 3,
    seconds: float = 4.0,
    **sampling: Any,
) -> ControlResult:
    """Generates, measures, compares.

    Args:
        synth: Trained on textures.
        classes: Which; all textures that the model knows, if empty.
        num_values: Values of each parameter, evenly over the range that was trained.
        num_seeds: Takes of each value.
        seconds: Length of each take, from an empty start.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The figures.

    Raises:
        UserError: A class that is no texture, or that the model does not know.
    """
    chosen = known_textures(synth, classes)
    classifier = fit_classifier(list(TEXTURES), synth.codec, num_values, seconds)
    rate = synth.info.sample_rate
    rows: list[dict[str, Any]] = []
    for name in tqdm(chosen, desc="measuring", unit="class"):
        parameter = TEXTURES[name].parameter
        scale = synth.conditions.parameters[parameter]
        values = np.linspace(scale.low, scale.high, num_values).tolist()
        jobs = [(value, seed) for seed in range(num_seeds) for value in values]
        takes = synth.generate_batch(seconds, [{"class": name, parameter: value} for value, _ in jobs], **sampling)
        real = synthesize_all([(name, value, CEILING_SEED + seed) for value, seed in jobs], seconds, rate)
        for source, sounds in (
            ("generated", [take.audio for take in takes]),
            ("real", codec_roundtrip(synth.codec, real)),
        ):
            heard = classifier.predict(features(sounds, rate))
            measured = parallel_map(TEXTURE_DESCRIPTORS[name], sounds, rate)
            rows += [
                {"source": source, "class": name, "asked": value, "seed": seed, "measured": m, "predicted_class": h}
                for (value, seed), m, h in zip(jobs, measured, heard, strict=True)
            ]
    clips = pd.DataFrame(rows)
    return ControlResult(clips, _summarise(clips))


def known_textures(synth: Synthesizer, classes: Sequence[str] = ()) -> list[str]:
    """The procedural textures among what a model knows, or the given ones.

    Raises:
        UserError: A class that is no texture, or that the model does not know; or it knows none.
    """
    known = [
        name
        for name, texture in TEXTURES.items()
        if name in synth.conditions.classes and texture.parameter in synth.conditions.parameters
    ]
    for name in classes:
        if name not in known:
            raise UserError(f"'{name}' is no texture that the model knows. It knows: {', '.join(known) or 'none'}.")
    if not known:
        raise UserError("The model knows no procedural texture, and the descriptors are theirs. Train one on textures.")
    return list(classes) or known


def fit_classifier(classes: Sequence[str], codec: Codec, num_values: int = 11, seconds: float = 4.0) -> Pipeline:
    """Fits a plain classifier: standardised descriptors, logistic regression.

    It is fitted to real textures and to what the codec makes of them, so that it hears the class and not the codec.

    Args:
        classes: Textures.
        codec: Of the model that is measured.
        num_values: Values of each parameter.
        seconds: Length of each clip.

    Returns:
        The classifier; `predict` takes rows of `features`.
    """
    jobs = [
        (name, float(value), FIT_SEED + 1000 * c + i)
        for c, name in enumerate(classes)
        for i, value in enumerate(np.linspace(0.0, 1.0, 2 * num_values))
    ]
    real = synthesize_all(tqdm(jobs, desc="fitting the classifier", unit="sound"), seconds, codec.sample_rate)
    return classify([*real, *codec_roundtrip(codec, real)], 2 * [name for name, *_ in jobs], codec.sample_rate)


def classify(sounds: Iterable[np.ndarray], classes: Sequence[str], sample_rate: int) -> Pipeline:
    """Fits the classifier to sounds `(N,)`, one class for each."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return classifier.fit(features(sounds, sample_rate), list(classes))


def descriptors_for(synth: Synthesizer, name: str) -> dict[str, Callable[[np.ndarray, int], float]]:
    """What a class is measured by: a procedural texture by its own descriptor, any other by the standard ones."""
    if name in TEXTURES and TEXTURES[name].parameter in synth.conditions.parameters:
        return {TEXTURES[name].parameter: TEXTURE_DESCRIPTORS[name]}
    return STANDARD_DESCRIPTORS


def codec_roundtrip(codec: Codec, audio: np.ndarray) -> np.ndarray:
    """Sends audio `(B, N)` through a codec and back."""
    pieces = torch.from_numpy(audio)[:, None].split(8)
    return torch.cat([codec.decode(codec.encode(p))[:, 0, : audio.shape[1]].cpu() for p in pieces]).numpy()


def features(sounds: Iterable[np.ndarray], sample_rate: int) -> np.ndarray:
    """What the classifier hears of sounds, each `(N,)`: all of `describe` but the level, `(len(sounds), F)`."""
    described = parallel_map(describe, sounds, sample_rate)
    return np.array([[value for name, value in each.items() if name != "level_db"] for each in described])


def parallel_map(measure: Callable[[np.ndarray, int], T], sounds: Iterable[np.ndarray], sample_rate: int) -> list[T]:
    """What a measure says of each sound `(N,)`."""
    return list(Parallel(n_jobs=-1)(delayed(measure)(audio, sample_rate) for audio in sounds))


def synthesize_all(jobs: Iterable[tuple[str, float, int]], seconds: float, sample_rate: int) -> np.ndarray:
    """Real textures `(B, N)`, from class, value and seed of each."""
    calls = (delayed(synthesize)(name, value, seconds, sample_rate, seed) for name, value, seed in jobs)
    return np.stack(list(Parallel(n_jobs=-1)(calls)))


def write_control_report(result: ControlResult, folder: Path) -> list[Path]:
    """Writes `control.csv` (every clip), `control.json` (the summary) and `control.png` (asked against measured)."""
    return write_figures(folder, "control", result.summary, plot_control(result), {"control": result.clips})


def write_figures(
    folder: Path, name: str, summary: pd.DataFrame, figure: Figure, tables: Mapping[str, pd.DataFrame] | None = None
) -> list[Path]:
    """Writes what was measured: each table as `<its name>.csv`, `<name>.json` (the summary) and `<name>.png`.

    Returns:
        The paths, in this order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    csvs = {folder / f"{title}.csv": table for title, table in (tables or {}).items()}
    for path, table in csvs.items():
        write_text(path, table.to_csv(index=False))
    paths = [*csvs, folder / f"{name}.json", folder / f"{name}.png"]
    write_summary(paths[-2], summary)
    figure.savefig(paths[-1], dpi=90)
    return paths


def with_mean(summary: pd.DataFrame) -> pd.DataFrame:
    """A summary, a row per class, and a last row with the means."""
    table = summary.copy()
    table.loc["mean"] = table.mean(numeric_only=True)
    return table


def write_summary(path: Path, summary: pd.DataFrame) -> None:
    """Writes a summary, a row per class, as JSON."""
    rows = summary.round(4).to_dict(orient="index")
    write_text(path, json.dumps(rows, indent=2))


def plot_control(result: ControlResult) -> Figure:
    """Asked against measured, one panel per class, and which class is heard as which."""
    classes = list(result.summary.index)
    columns = min(4, len(classes) + 1)
    rows = -(-(len(classes) + 1) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.3 * columns, 2.9 * rows), layout="constrained", squeeze=False)
    for axes, name in zip(grid.flat, classes, strict=False):
        for source, style in (("real", {"color": "0.7", "marker": "o"}), ("generated", {"color": "C3", "marker": "x"})):
            chosen = result.clips[(result.clips["class"] == name) & (result.clips["source"] == source)]
            axes.scatter(chosen["asked"], chosen["measured"], s=14, label=source, **style)
        axes.set(title=f"{name}: {result.summary.loc[name, 'spearman']:.2f}", xlabel="asked", ylabel="measured")
    grid.flat[0].legend(fontsize="small")
    generated = result.clips[result.clips["source"] == "generated"]
    heard = [*classes, *sorted({*generated["predicted_class"]} - {*classes})]
    confusion = pd.crosstab(generated["class"], generated["predicted_class"], normalize="index")
    confusion = confusion.reindex(index=classes, columns=heard, fill_value=0.0)
    last = grid.flat[len(classes)]
    last.imshow(confusion, vmin=0, vmax=1, cmap="Greys")
    last.set_xticks(range(len(heard)), heard, rotation=60, fontsize="small")
    last.set_yticks(range(len(classes)), classes, fontsize="small")
    last.set(title="class asked (rows), heard")
    for axes in grid.flat[len(classes) + 1 :]:
        axes.axis("off")
    plt.close(figure)
    return figure


def _summarise(clips: pd.DataFrame) -> pd.DataFrame:
    rows = {}
    for name in clips["class"].unique():
        row = {}
        for source, suffix in (("generated", ""), ("real", "_real")):
            chosen = clips[(clips["class"] == name) & (clips["source"] == source)]
            line = linregress(chosen["asked"], chosen["measured"])
            row[f"spearman{suffix}"] = float(spearmanr(chosen["asked"], chosen["measured"]).statistic)
            row[f"pearson{suffix}"], row[f"slope{suffix}"] = float(line.rvalue), float(line.slope)
            row[f"class_accuracy{suffix}"] = float((chosen["predicted_class"] == name).mean())
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")

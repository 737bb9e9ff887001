"""Does the sound follow its controls? Measured on free-running audio of the procedural textures.

For each texture, its parameter is asked for at several values, and what is heard is measured by the texture's
descriptor. A plain classifier, fitted to real textures, says which class it hears. Beside both stand the same
figures for real textures that went through the codec: the ceiling.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from dacformer.codec import Codec
from dacformer.errors import UserError
from dacformer.evaluation.descriptors import TEXTURE_DESCRIPTORS, describe
from dacformer.generation import Synthesizer
from dacformer.textures import TEXTURES, synthesize

FIT_SEED, CEILING_SEED = 2**30, 2**31
"""Seeds of the real textures that the classifier is fitted to, and of those that are the ceiling: apart from
each other and from those of any training set."""


@dataclass(frozen=True)
class ControlFigures:
    """What was measured.

    Attributes:
        clips: One row per clip: `source` (`generated` or `real`), `class`, `asked` (the parameter's value), `seed`,
            `measured` (the descriptor), `heard` (the class that the classifier names).
        summary: One row per class: Spearman correlation of `asked` and `measured`, and the share of clips whose
            class was heard, for generated clips and for real ones through the codec.
    """

    clips: pd.DataFrame
    summary: pd.DataFrame

    def to_text(self) -> str:
        """The summary as a table, with the means."""
        table = self.summary.copy()
        table.loc["mean"] = table.mean()
        return table.round(3).to_string()


def measure_control(
    synth: Synthesizer,
    classes: Sequence[str] = (),
    num_values: int = 11,
    num_seeds: int = 3,
    seconds: float = 4.0,
    **sampling: Any,
) -> ControlFigures:
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
    rows = []
    for name in tqdm(chosen, desc="measuring", unit="class"):
        scale = synth.conditions.parameters[TEXTURES[name].parameter]
        values = np.linspace(scale.low, scale.high, num_values)
        jobs = [(float(value), seed) for seed in range(num_seeds) for value in values]
        asked = [{"class": name, TEXTURES[name].parameter: value} for value, _ in jobs]
        for (value, seed), take in zip(jobs, synth.generate_batch(seconds, asked, **sampling), strict=True):
            rows.append(_row("generated", name, value, seed, take.audio, take.sample_rate, classifier))
        real = np.stack([synthesize(name, v, seconds, synth.facts.sample_rate, seed=CEILING_SEED + s) for v, s in jobs])
        for (value, seed), audio in zip(jobs, through(synth.codec, real), strict=True):
            rows.append(_row("real", name, value, seed, audio, synth.facts.sample_rate, classifier))
    clips = pd.DataFrame(rows)
    return ControlFigures(clips, _summarise(clips))


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
    rate = codec.sample_rate
    rows, labels = [], []
    for c, name in enumerate(tqdm(classes, desc="fitting the classifier", unit="class")):
        audio = np.stack(
            [
                synthesize(name, value, seconds, rate, seed=FIT_SEED + 1000 * c + i)
                for i, value in enumerate(np.linspace(0.0, 1.0, 2 * num_values))
            ]
        )
        for clip in [*audio, *through(codec, audio)]:
            rows.append(features(clip, rate))
            labels.append(name)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return classifier.fit(np.stack(rows), labels)


def through(codec: Codec, audio: np.ndarray) -> np.ndarray:
    """Sends audio `(B, N)` through a codec and back."""
    pieces = torch.from_numpy(audio)[:, None].split(8)
    return torch.cat([codec.decode(codec.encode(p))[:, 0, : audio.shape[1]].cpu() for p in pieces]).numpy()


def features(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """What the classifier hears of audio `(N,)`: all of `describe` but the level, `(F,)`."""
    return np.array([value for name, value in describe(audio, sample_rate).items() if name != "level_db"])


def write_control_report(figures: ControlFigures, folder: Path) -> list[Path]:
    """Writes `control.csv` (every clip), `control.json` (the summary) and `control.png` (asked against measured)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"control.{suffix}" for suffix in ("csv", "json", "png")]
    figures.clips.to_csv(paths[0], index=False)
    summary = {str(name): row.round(4).to_dict() for name, row in figures.summary.iterrows()}
    paths[1].write_text(json.dumps(summary, indent=2))
    plot_control(figures).savefig(paths[2], dpi=90)
    return paths


def plot_control(figures: ControlFigures) -> Figure:
    """Asked against measured, one panel per class, and which class is heard as which."""
    classes = list(figures.summary.index)
    columns = min(4, len(classes) + 1)
    rows = -(-(len(classes) + 1) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.3 * columns, 2.9 * rows), layout="constrained", squeeze=False)
    for axes, name in zip(grid.flat, classes, strict=False):
        for source, style in (("real", {"color": "0.7", "marker": "o"}), ("generated", {"color": "C3", "marker": "x"})):
            chosen = figures.clips[(figures.clips["class"] == name) & (figures.clips["source"] == source)]
            axes.scatter(chosen["asked"], chosen["measured"], s=14, label=source, **style)
        axes.set(title=f"{name}: {figures.summary.loc[name, 'spearman']:.2f}", xlabel="asked", ylabel="measured")
    grid.flat[0].legend(fontsize="small")
    generated = figures.clips[figures.clips["source"] == "generated"]
    heard = sorted({*classes, *generated["heard"]})
    confusion = pd.crosstab(generated["class"], generated["heard"], normalize="index")
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


def _row(
    source: str, name: str, value: float, seed: int, audio: np.ndarray, rate: int, classifier: Pipeline
) -> dict[str, Any]:
    return {
        "source": source,
        "class": name,
        "asked": value,
        "seed": seed,
        "measured": TEXTURE_DESCRIPTORS[name](audio, rate),
        "heard": classifier.predict(features(audio, rate)[None])[0],
    }


def _summarise(clips: pd.DataFrame) -> pd.DataFrame:
    rows = {}
    for name in clips["class"].unique():
        row = {}
        for source, suffix in (("generated", ""), ("real", "_real")):
            chosen = clips[(clips["class"] == name) & (clips["source"] == source)]
            row[f"spearman{suffix}"] = float(spearmanr(chosen["asked"], chosen["measured"]).statistic)
            row[f"class_heard{suffix}"] = float((chosen["heard"] == name).mean())
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")

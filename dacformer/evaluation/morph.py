"""Morphs between two classes: whether a classifier hears the two classes on the way, or a third one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from tqdm import tqdm

from dacformer.data.dataset import Dataset
from dacformer.errors import UserError
from dacformer.evaluation.classifier import features, fit_to_dataset
from dacformer.evaluation.tables import with_mean, write_result
from dacformer.generation.synthesizer import Synthesizer

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the second class; the first has the rest."""


@dataclass(frozen=True)
class MorphResult:
    """Predicted classes of morphs.

    Attributes:
        clips: One row per clip: `from`, `to`, `weight` (of `to`), `p_from`, `p_to` and `p_other`, the classifier's
            probabilities.
        summary: One row per pair: `spearman` of `weight` and `p_to`; `other_between`, the mean probability of any third
            class at the weights between; `ends`, the mean probability of the class that is asked for alone.
    """

    clips: pd.DataFrame
    summary: pd.DataFrame

    def to_text(self) -> str:
        """The summary as a table, with the means."""
        return with_mean(self.summary).round(2).to_string()


def measure_morph(
    synth: Synthesizer,
    dataset: Dataset,
    classes: Sequence[str] = (),
    num_seeds: int = 3,
    seconds: float = 4.0,
    **sampling: Any,
) -> MorphResult:
    """Morphs each class into the next, and the last into the first; parameters are left unset.

    Args:
        synth: The model.
        dataset: That it was trained on.
        classes: Names of classes; if empty, all that the model knows.
        num_seeds: Number of takes of each weight.
        seconds: Length of each take.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The figures.

    Raises:
        UserError: Fewer than two classes, or one that the data set lacks.
    """
    chosen = list(classes) or list(synth.conditions.classes)
    if len(chosen) < 2:
        raise UserError(f"A morph needs two classes, and there is only {', '.join(chosen)}.")
    classifier = fit_to_dataset(dataset, synth.conditions.classes, synth.codec, seconds)
    predicted = list(classifier.classes_)
    rows: list[dict[str, Any]] = []
    pairs = list(zip(chosen, chosen[1:] + chosen[:1], strict=True))[: 1 if len(chosen) == 2 else None]
    for a, b in tqdm(pairs, desc="morphing", unit="pair"):
        weights = np.repeat(WEIGHTS, num_seeds)
        takes = synth.generate_batch(seconds, [{"class": {a: 1.0 - w, b: float(w)}} for w in weights], **sampling)
        p = classifier.predict_proba(features([take.audio for take in takes], synth.info.sample_rate))
        p_from, p_to = p[:, predicted.index(a)], p[:, predicted.index(b)]
        rows += [
            {"from": a, "to": b, "weight": w, "p_from": x, "p_to": y, "p_other": 1.0 - x - y}
            for w, x, y in zip(weights, p_from, p_to, strict=True)
        ]
    clips = pd.DataFrame(rows)
    return MorphResult(clips, _summarise(clips))


def write_morph_report(result: MorphResult, folder: Path) -> list[Path]:
    """Writes `morph.csv` (every clip), `morph.json` (the summary) and `morph.png`."""
    return write_result(folder, "morph", result.summary, plot_morph(result), {"morph": result.clips})


def plot_morph(result: MorphResult) -> Figure:
    """Draws the probabilities of the classes at each weight, a panel per pair."""
    groups = list(result.clips.groupby(["from", "to"], sort=False))
    columns = min(4, len(groups))
    rows = -(-len(groups) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3 * columns, 2.4 * rows), layout="constrained", squeeze=False)
    for axes in grid.flat[len(groups) :]:
        axes.axis("off")
    for axes, ((a, b), clips) in zip(grid.flat, groups, strict=False):
        mean = clips.groupby("weight")[["p_from", "p_to", "p_other"]].mean()
        axes.stackplot(mean.index, mean.T, labels=[a, b, "other"], colors=["C0", "C1", "0.85"])
        axes.set(title=f"{a} → {b}", xlim=(0, 1), ylim=(0, 1))
        axes.legend(fontsize="x-small", loc="center left")
    plt.close(figure)
    return figure


def _summarise(clips: pd.DataFrame) -> pd.DataFrame:
    rows = {}
    for (a, b), group in clips.groupby(["from", "to"], sort=False):
        between = group[group["weight"].between(0.0, 1.0, inclusive="neither")]
        ends = [group[group["weight"] == 0.0]["p_from"].mean(), group[group["weight"] == 1.0]["p_to"].mean()]
        rows[f"{a} to {b}"] = {
            "spearman": float(spearmanr(group["weight"], group["p_to"]).statistic),
            "other_between": float(between["p_other"].mean()),
            "ends": float(np.mean(ends)),
        }
    return pd.DataFrame.from_dict(rows, orient="index")

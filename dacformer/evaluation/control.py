"""Control accuracy: whether free-running audio of procedural textures has the requested parameter and class.

For each texture, its parameter is requested at several values, and the texture's descriptor is measured. A classifier
that was fitted to real textures predicts the class. The same measurement of real textures, encoded and decoded by the
codec, is an upper bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import linregress, spearmanr
from tqdm import tqdm

from dacformer.evaluation.classifier import features, fit_to_textures
from dacformer.evaluation.descriptors import TEXTURE_DESCRIPTORS
from dacformer.evaluation.parallel import parallel_map
from dacformer.evaluation.references import CEILING_SEED, codec_roundtrip, known_textures, synthesize_all
from dacformer.evaluation.tables import summarise_by_source, with_mean, write_result
from dacformer.generation.synthesizer import Synthesizer
from dacformer.textures import TEXTURES


@dataclass(frozen=True)
class ControlResult:
    """Control accuracy of generated and of real sounds.

    Attributes:
        clips: One row per clip: `source` (`generated` or `real`), `class`, `asked` (the parameter's value), `seed`,
            `measured` (the descriptor), `predicted_class` (by the classifier).
        summary: One row per class: Spearman and Pearson correlation of `asked` and `measured`, the slope of a straight
            line, and the share of clips whose class was predicted, of generated clips and of real ones through the
            codec.
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
    """Measures generated textures beside real ones.

    Args:
        synth: Trained on textures.
        classes: Names of textures; if empty, all textures that the model knows.
        num_values: Number of values of each parameter, evenly over the trained range.
        num_seeds: Number of takes of each value.
        seconds: Length of each take, from an empty start.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The figures.

    Raises:
        UserError: A class that is no texture, or that the model does not know.
    """
    chosen = known_textures(synth, classes)
    classifier = fit_to_textures(list(TEXTURES), synth.codec, num_values, seconds)
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
            predicted = classifier.predict(features(sounds, rate))
            measured = parallel_map(TEXTURE_DESCRIPTORS[name], sounds, rate)
            rows += [
                {"source": source, "class": name, "asked": value, "seed": seed, "measured": m, "predicted_class": h}
                for (value, seed), m, h in zip(jobs, measured, predicted, strict=True)
            ]
    clips = pd.DataFrame(rows)
    return ControlResult(clips, _summarise(clips))


def write_control_report(result: ControlResult, folder: Path) -> list[Path]:
    """Writes `control.csv` (every clip), `control.json` (the summary) and `control.png` (asked against measured)."""
    return write_result(folder, "control", result.summary, plot_control(result), {"control": result.clips})


def plot_control(result: ControlResult) -> Figure:
    """Draws requested against measured values, a panel per class, and the confusion matrix of the classes."""
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
    predicted = [*classes, *sorted({*generated["predicted_class"]} - {*classes})]
    confusion = pd.crosstab(generated["class"], generated["predicted_class"], normalize="index")
    confusion = confusion.reindex(index=classes, columns=predicted, fill_value=0.0)
    last = grid.flat[len(classes)]
    last.imshow(confusion, vmin=0, vmax=1, cmap="Greys")
    last.set_xticks(range(len(predicted)), predicted, rotation=60, fontsize="small")
    last.set_yticks(range(len(classes)), classes, fontsize="small")
    last.set(title="class requested (rows), predicted")
    for axes in grid.flat[len(classes) + 1 :]:
        axes.axis("off")
    plt.close(figure)
    return figure


def _summarise(clips: pd.DataFrame) -> pd.DataFrame:
    rows = {name: summarise_by_source(own, _follow) for name, own in clips.groupby("class", sort=False)}
    return pd.DataFrame.from_dict(rows, orient="index")


def _follow(clips: pd.DataFrame) -> dict[str, float]:
    """Correlates requested and measured values of clips of one class, and computes the share of correct classes."""
    line = linregress(clips["asked"], clips["measured"])
    return {
        "spearman": float(spearmanr(clips["asked"], clips["measured"]).statistic),
        "pearson": float(line.rvalue),
        "slope": float(line.slope),
        "class_accuracy": float((clips["predicted_class"] == clips["class"]).mean()),
    }

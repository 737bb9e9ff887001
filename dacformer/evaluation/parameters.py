"""Effect of parameters in any data set: each is requested at several values, and standard descriptors are measured.

There is no special descriptor for a user's own parameter. So all of `STANDARD_DESCRIPTORS` are measured, on real and
on generated clips. If a descriptor changes with a parameter in real clips, it should do so in generated ones.
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

from dacformer.data.dataset import Dataset, evenly_spaced
from dacformer.errors import UserError
from dacformer.evaluation.descriptors import STANDARD_DESCRIPTORS
from dacformer.evaluation.parallel import parallel_map
from dacformer.evaluation.references import load_reference_clip
from dacformer.evaluation.tables import summarise_by_source, write_result
from dacformer.generation.synthesizer import Synthesizer

MAX_REAL = 60
"""Most real clips of each class and parameter, spread over its values."""


@dataclass(frozen=True)
class ParameterResult:
    """Changes of descriptors with parameters, in generated and real clips.

    Attributes:
        clips: One row per clip and descriptor: `source` (`generated`, `real`), `class`, `parameter`, `asked`,
            `descriptor`, `measured`.
        summary: One row per class, parameter and descriptor: Spearman correlation and slope (in the descriptor's units
            over the parameter's range) of generated clips, and of real ones, `_real`.
    """

    clips: pd.DataFrame
    summary: pd.DataFrame

    def to_text(self) -> str:
        """The table, for each class and parameter only with the descriptor that moves most in real clips."""
        strongest = self.summary.assign(strength=self.summary["spearman_real"].abs())
        order = strongest.sort_values("strength", ascending=False, kind="stable")
        best = order.groupby(lambda name: name.rsplit(", ", 1)[0], sort=False).head(1)
        return best.drop(columns="strength").round(3).to_string()


def measure_parameters(
    synth: Synthesizer,
    dataset: Dataset,
    classes: Sequence[str] = (),
    num_values: int = 11,
    num_seeds: int = 3,
    seconds: float = 4.0,
    **sampling: Any,
) -> ParameterResult:
    """Measures generated clips at several values of each parameter, beside the recordings.

    Args:
        synth: The model.
        dataset: That it was trained on.
        classes: Which; all that have parameters, if empty.
        num_values: Values of each parameter, evenly over the range that was trained; the others are left open.
        num_seeds: Takes of each value.
        seconds: Length of each take; of each clip, at most so much is measured.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The figures.

    Raises:
        UserError: A class without parameters, or no class has any.
    """
    pairs = [(name, key) for key, scale in synth.conditions.parameters.items() for name in scale.classes]
    known = sorted({name for name, _ in pairs})
    for name in classes:
        if name not in known:
            raise UserError(f"'{name}' has no parameters. These have: {', '.join(known) or 'none'}.")
    if not pairs:
        raise UserError("The model knows no parameters: there is nothing to ask for. Give the sounds some in a table.")
    rows: list[dict[str, Any]] = []
    rate = synth.info.sample_rate
    for name, key in tqdm([pair for pair in pairs if not classes or pair[0] in classes], desc="measuring"):
        scale = synth.conditions.parameters[key]
        asked = np.repeat(np.linspace(scale.low, scale.high, num_values), num_seeds).tolist()
        takes = synth.generate_batch(seconds, [{"class": name, key: value} for value in asked], **sampling)
        own = dataset.rows[(dataset.rows["class"] == name) & dataset.rows[key].notna()].sort_values(key)
        own = own.iloc[evenly_spaced(len(own), MAX_REAL)]
        real = [load_reference_clip(dataset, file, synth.codec, seconds) for file in own["file"]]
        for source, sounds, values in (
            ("generated", [take.audio for take in takes], asked),
            ("real", real, own[key].tolist()),
        ):
            for descriptor, measure in STANDARD_DESCRIPTORS.items():
                info = {"source": source, "class": name, "parameter": key, "descriptor": descriptor}
                measured = parallel_map(measure, sounds, rate)
                rows += [info | {"asked": a, "measured": m} for a, m in zip(values, measured, strict=True)]
    clips = pd.DataFrame(rows)
    return ParameterResult(clips, _summarise(clips))


def write_parameters_report(result: ParameterResult, folder: Path) -> list[Path]:
    """Writes `parameters.csv` (every clip), `parameters.json` (the summary) and `parameters.png`."""
    return write_result(folder, "parameters", result.summary, plot_parameters(result), {"parameters": result.clips})


def plot_parameters(result: ParameterResult) -> Figure:
    """Draws requested against measured values, a row per class and parameter, a column per descriptor."""
    groups = list(result.clips.groupby(["class", "parameter"], sort=False))
    names = list(STANDARD_DESCRIPTORS)
    size = (2.3 * len(names), 1.9 * len(groups))
    figure, grid = plt.subplots(len(groups), len(names), figsize=size, layout="constrained", squeeze=False)
    for row, ((name, parameter), clips) in zip(grid, groups, strict=True):
        for axes, descriptor in zip(row, names, strict=True):
            for source, color in (("real", "0.7"), ("generated", "C3")):
                chosen = clips[(clips["descriptor"] == descriptor) & (clips["source"] == source)]
                axes.scatter(chosen["asked"], chosen["measured"], s=8, color=color, label=source)
            axes.set_title(descriptor, fontsize="small")
            axes.tick_params(labelsize="x-small")
        row[0].set_ylabel(f"{name}\n{parameter}", fontsize="small")
    grid[0, 0].legend(fontsize="x-small")
    plt.close(figure)
    return figure


def _summarise(clips: pd.DataFrame) -> pd.DataFrame:
    groups = clips.groupby(["class", "parameter", "descriptor"], sort=False)
    rows = {", ".join(map(str, key)): summarise_by_source(group, _follow) for key, group in groups}  # pyright: ignore
    return pd.DataFrame.from_dict(rows, orient="index")


def _follow(clips: pd.DataFrame) -> dict[str, float]:
    """Correlates a descriptor of clips with a parameter; NaN if one of the two is constant."""
    asked, measured = clips["asked"].to_numpy(float), clips["measured"].to_numpy(float)
    if len(np.unique(asked)) < 2 or len(np.unique(measured)) < 2:
        return {"spearman": float("nan"), "slope": float("nan")}
    slope = linregress(asked, measured).slope
    return {
        "spearman": float(spearmanr(asked, measured).statistic),
        "slope": float(slope * (asked.max() - asked.min())),
    }

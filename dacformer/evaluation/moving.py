"""Response to moving controls: slow ramps and sudden steps, measured in sliding windows of free-running audio."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from tqdm import tqdm

from dacformer.evaluation.descriptors import TEXTURE_DESCRIPTORS
from dacformer.evaluation.references import CEILING_SEED, codec_roundtrip, known_textures, synthesize_all
from dacformer.evaluation.tables import summarise_by_source, with_mean, write_result
from dacformer.generation.curves import Curve
from dacformer.generation.synthesizer import Synthesizer
from dacformer.textures import TEXTURES

RAMP_WINDOW, RAMP_HOP = 4.0, 1.0
"""Seconds: windows of a ramp, and from one to the next."""
STEP_WINDOW, STEP_HOP = 2.0, 0.1
"""Seconds: short windows, so that a step shows when it comes; takes are averaged to make up for it."""
STEP_FROM, STEP_TO = 0.15, 0.85
"""Shares of the parameter's range."""


@dataclass(frozen=True)
class MovingResult:
    """Response of generated sound to ramps and steps of controls.

    Attributes:
        windows: One row per window: `kind` (`ramp`, `step`), `source` (`generated`; of steps also `real`, two real
            textures one after the other, through the codec), `class`, `take`, `seconds` (the window's middle),
            `asked` (the parameter there), `measured` (the descriptor).
        summary: One row per class: `ramp_spearman`; `step_seconds`, from the step until the mean over takes has gone
            80 % of the way, and the same for the real ones: a window of 2 s alone takes 0.6 s.
    """

    windows: pd.DataFrame
    summary: pd.DataFrame

    def to_text(self) -> str:
        """The summary as a table, with the means."""
        return with_mean(self.summary).round(2).to_string()


def measure_moving(
    synth: Synthesizer,
    classes: Sequence[str] = (),
    num_takes: int = 8,
    ramp_seconds: float = 24.0,
    hold_seconds: float = 6.0,
    **sampling: Any,
) -> MovingResult:
    """Measures generated ramps and steps.

    Args:
        synth: Trained on textures.
        classes: Names of textures; if empty, all textures that the model knows.
        num_takes: Number of ramps and of steps; half of the ramps rise, half fall.
        ramp_seconds: Length of a ramp, from one end of the parameter's range to the other.
        hold_seconds: Time before and after a step; more than twice `STEP_WINDOW`.
        **sampling: As in `Synthesizer.generate`.

    Returns:
        The figures.

    Raises:
        UserError: A class that is no texture, or that the model does not know.
    """
    rows: list[dict[str, Any]] = []
    rate = synth.info.sample_rate
    for name in tqdm(known_textures(synth, classes), desc="measuring what moves", unit="class"):
        parameter = TEXTURES[name].parameter
        scale = synth.conditions.parameters[parameter]
        rising = Curve([(0.0, scale.low), (ramp_seconds, scale.high)])
        falling = Curve([(0.0, scale.high), (ramp_seconds, scale.low)])
        low, high = (scale.low + share * (scale.high - scale.low) for share in (STEP_FROM, STEP_TO))
        step = Curve([(0.0, low), (hold_seconds, high)], step=True)
        for kind, curves, seconds in (
            ("ramp", [(rising, falling)[i % 2] for i in range(num_takes)], ramp_seconds),
            ("step", [step] * num_takes, 2 * hold_seconds),
        ):
            takes = synth.generate_batch(seconds, [{"class": name, parameter: curve} for curve in curves], **sampling)
            for i, (curve, take) in enumerate(zip(curves, takes, strict=True)):
                rows += _windows(kind, "generated", name, i, curve, take.audio, rate)
        before, after = (
            synthesize_all([(name, share, CEILING_SEED + i) for i in range(num_takes)], hold_seconds, rate)
            for share in (STEP_FROM, STEP_TO)
        )
        real = np.concatenate([before, after], axis=1)
        for i, audio in enumerate(codec_roundtrip(synth.codec, real)):
            rows += _windows("step", "real", name, i, step, audio, rate)
    windows = pd.DataFrame(rows)
    return MovingResult(windows, _summarise(windows, hold_seconds))


def arrival_seconds(seconds: np.ndarray, measured: np.ndarray, step_at: float, share: float = 0.8) -> float:
    """Computes the time from a step until a measure has covered a share of its change.

    Args:
        seconds: Times `(T,)`, in order.
        measured: Values `(T,)`. The start value is the mean of those at least half a `STEP_WINDOW` before the step
            (windows without the step); the end value is that of those at least a `STEP_WINDOW` after it.
        step_at: Time of the step in seconds.
        share: Share of the change, in (0, 1).

    Returns:
        Seconds, interpolated. Negative if the value is reached before the step, NaN if it is never reached.
    """
    start = measured[seconds <= step_at - STEP_WINDOW / 2].mean()
    end = measured[seconds >= step_at + STEP_WINDOW].mean()
    gone = (measured - start) / (end - start)
    there = np.flatnonzero(gone >= share)
    there = there[seconds[there] > step_at - STEP_WINDOW / 2]
    if len(there) == 0:
        return float("nan")
    i = there[0]
    if i == 0 or gone[i] == gone[i - 1]:
        return float(seconds[i] - step_at)
    before = (gone[i] - share) / (gone[i] - gone[i - 1]) * (seconds[i] - seconds[i - 1])
    return float(seconds[i] - before - step_at)


def write_moving_report(result: MovingResult, folder: Path) -> list[Path]:
    """Writes `moving.csv` (every window), `moving.json` (the summary) and `moving.png`."""
    return write_result(folder, "moving", result.summary, plot_moving(result), {"moving": result.windows})


def plot_moving(result: MovingResult) -> Figure:
    """Draws a column per class: requested against measured values of ramps, and steps over time."""
    classes = list(result.summary.index)
    figure, grid = plt.subplots(2, len(classes), figsize=(3.0 * len(classes), 5.2), layout="constrained", squeeze=False)
    for column, name in enumerate(classes):
        chosen = result.windows[result.windows["class"] == name]
        ramps = chosen[chosen["kind"] == "ramp"]
        grid[0, column].scatter(ramps["asked"], ramps["measured"], s=8, color="C3")
        grid[0, column].set(title=f"{name}: {result.summary.loc[name, 'ramp_spearman']:.2f}", xlabel="asked (ramp)")
        for source, color in (("real", "0.6"), ("generated", "C3")):
            steps = chosen[(chosen["kind"] == "step") & (chosen["source"] == source)]
            over_time = steps.groupby("seconds")["measured"]
            mean, spread = over_time.mean(), over_time.std()
            grid[1, column].plot(mean.index, mean, color=color, label=source)
            grid[1, column].fill_between(mean.index, mean - spread, mean + spread, color=color, alpha=0.2, lw=0)
        grid[1, column].set(xlabel="seconds")
    grid[0, 0].set(ylabel="measured")
    grid[1, 0].set(ylabel="measured (step)")
    grid[1, 0].legend(fontsize="small")
    plt.close(figure)
    return figure


def _windows(
    kind: str, source: str, name: str, take: int, curve: Callable[[float], float], audio: np.ndarray, rate: int
) -> list[dict[str, Any]]:
    """A row for each window of audio `(N,)`, with the requested value at its middle and the descriptor."""
    length, hop = (RAMP_WINDOW, RAMP_HOP) if kind == "ramp" else (STEP_WINDOW, STEP_HOP)
    describe = TEXTURE_DESCRIPTORS[name]
    starts = np.arange(0.0, len(audio) / rate - length + 1e-6, hop)
    info = {"kind": kind, "source": source, "class": name, "take": take}
    rows = []
    for start in starts:
        middle = round(float(start + length / 2), 3)
        piece = audio[round(start * rate) : round((start + length) * rate)]
        rows.append(info | {"seconds": middle, "asked": curve(middle), "measured": describe(piece, rate)})
    return rows


def _summarise(windows: pd.DataFrame, step_at: float) -> pd.DataFrame:
    def arrival(steps: pd.DataFrame) -> dict[str, float]:
        mean = steps.groupby("seconds")["measured"].mean()
        return {"step_seconds": arrival_seconds(mean.index.to_numpy(float), mean.to_numpy(), step_at)}

    rows = {}
    for name, own in windows.groupby("class", sort=False):
        ramps, steps = (own[own["kind"] == kind] for kind in ("ramp", "step"))
        spearman = float(spearmanr(ramps["asked"], ramps["measured"]).statistic)
        rows[name] = {"ramp_spearman": spearman} | summarise_by_source(steps, arrival)
    return pd.DataFrame.from_dict(rows, orient="index")

"""Pictures of a data set and of a training. Pictures of sound are in `dacformer.display.audio_plots`.

Every function returns a figure that is closed in pyplot, so that a notebook shows it only once.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dacformer.codec.metrics import perplexity
from dacformer.data.dataset import Dataset
from dacformer.display.audio_plots import literal

SPLIT_COLORS = {"train": "tab:blue", "val": "tab:orange"}
MAX_POINTS = 1000  # of a curve; a screen shows no more, and live plots must be fast


def plot_labels(dataset: Dataset) -> Figure:
    """Draw how many files each class has, and which values its parameters have.

    Args:
        dataset: The data set.

    Returns:
        A figure with a bar per class, and a strip per class and parameter with one dot per file.
    """
    conditions, rows = dataset.conditions, dataset.rows
    strips = {
        f"{name}\n{parameter}": (name, parameter)
        for name in conditions.classes
        for parameter, scale in conditions.parameters.items()
        if name in scale.classes
    }
    figure, axes = plt.subplot_mosaic(
        [["files", label] for label in strips] or [["files"]],
        width_ratios=(2, 3) if strips else None,
        figsize=(9, 0.6 + max(0.4 * len(conditions.classes), 0.65 * len(strips))),
        layout="constrained",
    )
    _draw_counts(axes["files"], dataset)
    for label, (name, parameter) in strips.items():
        _draw_strip(axes[label], rows.loc[rows["class"] == name, ["split", parameter]], parameter)
        axes[label].set_ylabel(literal(label), rotation=0, ha="right", va="center", fontsize="small")
    plt.close(figure)
    return figure


def plot_code_usage(dataset: Dataset, max_files: int = 200) -> Figure:
    """Draw how often each code occurs, per codebook. Steep curves are easier to predict than flat ones.

    Args:
        dataset: The data set.
        max_files: Most files that are read; of a larger data set, evenly spaced ones.

    Returns:
        A figure with a curve per codebook over its codes, the most frequent first. The legend has the number of codes
        that occur, and the perplexity: the number of equally frequent codes that would be as hard to guess.
    """
    size = dataset.info.codebook_size
    files = dataset.rows["file"].iloc[:: -(-len(dataset.rows) // max_files)]
    codes = np.concatenate([dataset.codes(file) for file in files], axis=1)  # (K, T)
    figure, axes = plt.subplots(figsize=(9, 2.8), layout="constrained")
    perplexities = perplexity(torch.from_numpy(codes.astype(np.int64))[None], size)
    for k, row in enumerate(codes):
        share = np.sort(np.bincount(row, minlength=size))[::-1] / len(row)
        used = share[share > 0]
        label = f"codebook {k + 1}: {len(used)} of {size} used, perplexity {float(perplexities[k]):.0f}"
        axes.plot(np.arange(1, len(used) + 1), used, label=label)
    axes.set(xscale="log", yscale="log", xlabel="codes, the commonest first", ylabel="share of frames")
    axes.legend(fontsize="small")
    plt.close(figure)
    return figure


def plot_codes(codes: np.ndarray, frame_rate: float, title: str = "") -> Figure:
    """Draw codes as an image: one row per codebook, one column per frame.

    Args:
        codes: `(K, T)` integers.
        frame_rate: Frames per second.
        title: Title above the image.

    Returns:
        A figure. Colours only distinguish codes: similar numbers are not similar sounds.
    """
    num_codebooks, num_frames = codes.shape
    figure, axes = plt.subplots(figsize=(9, 0.8 + 0.3 * num_codebooks), layout="constrained")
    extent = (0.0, num_frames / frame_rate, num_codebooks + 0.5, 0.5)
    axes.imshow(codes, aspect="auto", interpolation="nearest", cmap="nipy_spectral", extent=extent)
    axes.set(xlabel="seconds", ylabel="codebook", title=literal(title))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    plt.close(figure)
    return figure


def plot_training(metrics: Sequence[dict[str, float]], title: str = "") -> Figure:
    """Draw loss and validation NLL of a training, in total and per codebook, and rollout error.

    Args:
        metrics: Lines of `metrics.jsonl`, as `training.metrics.read_metrics` returns them.
        title: Title above the plot.

    Returns:
        A figure. Dashed lines are the NLL of the unigram model, which knows only how often each code occurs.
    """
    table = pd.DataFrame(list(metrics))
    figure, (whole, parts) = plt.subplots(
        1, 2, figsize=(9, 3.2), width_ratios=(3, 2), sharex=True, layout="constrained"
    )
    if "loss" in table:
        loss = table.dropna(subset="loss")
        loss = loss.iloc[:: -(-len(loss) // MAX_POINTS)]
        whole.plot(loss["step"], loss["loss"], color="tab:blue", alpha=0.3, linewidth=0.8)
        smooth = pd.Series(loss["loss"]).ewm(span=max(1, len(loss) // 20)).mean()
        whole.plot(loss["step"], smooth, color="tab:blue", label="training (input corrupted)")
    if "val_nll" in table:
        measured = table.dropna(subset="val_nll")
        whole.plot(measured["step"], measured["val_nll"], "o-", color="tab:orange", markersize=4, label="validation")
        if "rollout_error" in measured:
            other = whole.twinx()
            other.plot(measured["step"], measured["rollout_error"], "s:", color="tab:green", markersize=4)
            other.set_ylabel("free running", color="tab:green")
        whole.axhline(measured["unigram_nll"].iloc[-1], color="gray", linestyle="--", label="unigram")
        for k in range(1, 1 + sum(name.startswith("val_nll_") for name in measured)):
            (line,) = parts.plot(measured["step"], measured[f"val_nll_{k}"], "o-", markersize=4, label=f"codebook {k}")
            parts.axhline(measured[f"unigram_nll_{k}"].iloc[-1], color=line.get_color(), linestyle="--", linewidth=0.8)
    whole.set(xlabel="step", ylabel="nats per code")
    parts.set(xlabel="step", title="validation, per codebook")
    for axes in (whole, parts):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    whole.set_title(literal(title), loc="left")
    plt.close(figure)
    return figure


def _draw_counts(axes: Axes, dataset: Dataset) -> None:
    """Draw the number of files per class as bars, with the splits stacked."""
    classes = list(dataset.conditions.classes)
    before = np.zeros(len(classes))
    for split, color in SPLIT_COLORS.items():
        count = dataset.split(split)["class"].value_counts().reindex(classes, fill_value=0).to_numpy()
        if count.any():
            axes.barh([literal(name) for name in classes], count, left=before, color=color, label=split)
        before += count
    axes.invert_yaxis()
    axes.set_xlabel("files")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize="small", frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(SPLIT_COLORS))


def _draw_strip(axes: Axes, rows: pd.DataFrame, parameter: str) -> None:
    """Draw one dot per file over a parameter's value, with the splits one above the other."""
    for height, (split, color) in enumerate(SPLIT_COLORS.items()):
        values = rows.loc[rows["split"] == split, parameter].dropna()
        axes.plot(values, np.full(len(values), -height), "o", color=color, alpha=0.5, markersize=5)
    axes.set(ylim=(-1.8, 0.8), yticks=[])
    axes.tick_params(labelsize="small")

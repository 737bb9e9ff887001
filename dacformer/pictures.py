"""Pictures of sound: spectrograms, and the controls that steered it."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

WINDOW_SAMPLES, HOP_SAMPLES = 2048, 512
MAX_COLUMNS, MAX_ROWS = 1000, 256  # more than that no screen shows, and each costs time
FLOOR_DB = -80.0


def draw_spectrogram(axes: Axes, audio: np.ndarray, sample_rate: int, title: str = "") -> None:
    """Draws a spectrogram, logarithmic in frequency and level, its loudest point at 0 dB.

    Args:
        axes: Where to.
        audio: `(N,)`.
        sample_rate: In Hz.
        title: Above it.
    """
    audio = np.pad(audio, (0, max(0, WINDOW_SAMPLES - len(audio))))
    hop = max(HOP_SAMPLES, len(audio) // MAX_COLUMNS)
    transform = ShortTimeFFT(hann(WINDOW_SAMPLES, sym=False), hop, sample_rate)
    power = transform.spectrogram(audio, padding="even")
    # Bands of equal height on a logarithmic axis, each as loud as its loudest bin.
    bands = np.unique(np.geomspace(1, len(power) - 1, MAX_ROWS).astype(int))
    power = np.maximum.reduceat(power, bands, axis=0)
    level = 10.0 * np.log10(np.maximum(power / max(power.max(), 1e-12), 10 ** (FLOOR_DB / 10)))
    image = axes.pcolormesh(
        transform.t(len(audio)), transform.f[bands], level, vmin=FLOOR_DB, vmax=0.0, shading="auto", rasterized=True
    )
    axes.set(yscale="log", ylim=(40, sample_rate / 2), xlim=(0, len(audio) / sample_rate), title=title, ylabel="Hz")
    image.set_cmap("magma")


def draw_controls(axes: Axes, curves: Mapping[str, np.ndarray], seconds: float) -> None:
    """Draws what steered a sound of so many seconds: `(T,)` by name, each in its own units."""
    for name, curve in curves.items():
        axes.plot(np.arange(len(curve)) * seconds / len(curve), curve, label=name)
    if curves:
        above = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 6, "frameon": False}
        axes.legend(**above, fontsize="small")  # where it hides no curve
    axes.set(xlim=(0, seconds), xlabel="seconds", ylabel="control")


def plot_steered_sound(audio: np.ndarray, sample_rate: int, curves: Mapping[str, np.ndarray]) -> Figure:
    """Spectrogram of a sound `(N,)` and the controls `(T,)` that steered it, one above the other."""
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(9, 4.5), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    draw_spectrogram(above, audio, sample_rate)
    draw_controls(below, curves, len(audio) / sample_rate)
    plt.close(figure)  # shown once, where it is returned
    return figure


def plot_sounds(sounds: dict[str, np.ndarray], sample_rate: int, columns: int = 4) -> Figure:
    """A grid of spectrograms.

    Args:
        sounds: `(N,)` by title.
        sample_rate: In Hz.
        columns: At most so many side by side.

    Returns:
        The picture.
    """
    columns = min(columns, len(sounds))
    rows = -(-len(sounds) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.2 * rows), layout="constrained", squeeze=False)
    for axes in grid.flat[len(sounds) :]:
        axes.axis("off")
    for axes, (title, audio) in zip(grid.flat, sounds.items(), strict=False):
        draw_spectrogram(axes, audio, sample_rate, title)
    plt.close(figure)
    return figure

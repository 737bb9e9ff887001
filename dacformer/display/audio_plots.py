"""Pictures of sound: spectrograms, waveforms, and the controls over time."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

WINDOW_SAMPLES, HOP_SAMPLES = 2048, 512
MAX_COLUMNS, MAX_ROWS = 1000, 256  # more than a screen shows only costs time
FLOOR_DB = -80.0
MEL_BANDS = 80


def literal(text: str) -> str:
    """Escapes a name for matplotlib, where a dollar begins a formula and a leading underscore hides a label."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def draw_spectrogram(axes: Axes, audio: np.ndarray, sample_rate: int, title: str = "") -> None:
    """Draws a spectrogram, logarithmic in frequency and level, its loudest point at 0 dB.

    Args:
        axes: Axes to draw into.
        audio: `(N,)`.
        sample_rate: In Hz.
        title: Text above the picture.
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
    axes.set(yscale="log", ylim=(40, sample_rate / 2), xlim=(0, len(audio) / sample_rate), ylabel="Hz")
    axes.set_title(literal(title))
    image.set_cmap("magma")


def draw_controls(axes: Axes, curves: Mapping[str, np.ndarray], seconds: float) -> None:
    """Draws the controls of a sound of `seconds`: curves `(T,)` by name, each in its own units."""
    for name, curve in curves.items():
        axes.plot(np.arange(len(curve)) * seconds / len(curve), curve, label=literal(name))
    if curves:
        above = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 6, "frameon": False}
        axes.legend(**above, fontsize="small")  # above the axes, where it hides no curve
    axes.set(xlim=(0, seconds), xlabel="seconds", ylabel="control")


def draw_waveform(axes: Axes, audio: np.ndarray, sample_rate: int) -> None:
    """Draws the waveform of audio `(N,)`: lowest and highest sample in each of at most 1,000 columns."""
    step = max(1, len(audio) // MAX_COLUMNS)
    starts = np.arange(0, len(audio), step)
    low, high = np.minimum.reduceat(audio, starts), np.maximum.reduceat(audio, starts)
    axes.fill_between(starts / sample_rate, low, high, linewidth=0.5, color="tab:blue", edgecolor="tab:blue")
    largest = max(0.01, 1.05 * float(np.abs(audio).max(initial=0.0)))
    axes.set(ylim=(-largest, largest), xlim=(0, len(audio) / sample_rate), ylabel="sample")


def draw_mel_spectrogram(axes: Axes, audio: np.ndarray, sample_rate: int) -> None:
    """Draws a spectrogram of `MEL_BANDS` bands, equally wide on the mel scale, its loudest point at 0 dB.

    Args:
        axes: Axes to draw into.
        audio: `(N,)`.
        sample_rate: In Hz.
    """
    seconds = len(audio) / sample_rate
    audio = np.pad(audio, (0, max(0, WINDOW_SAMPLES - len(audio))))
    hop = max(HOP_SAMPLES, len(audio) // MAX_COLUMNS)
    transform = ShortTimeFFT(hann(WINDOW_SAMPLES, sym=False), hop, sample_rate)
    edges = _mel_to_hz(np.linspace(0.0, _hz_to_mel(sample_rate / 2), MEL_BANDS + 2))
    rising = (transform.f[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - transform.f[None]) / np.diff(edges)[1:, None]
    filters = np.clip(np.minimum(rising, falling), 0.0, None)  # (bands, bins), triangles
    power = filters @ transform.spectrogram(audio, padding="even")
    level = 10.0 * np.log10(np.maximum(power / max(power.max(), 1e-12), 10 ** (FLOOR_DB / 10)))
    times = transform.t(len(audio))
    axes.pcolormesh(
        times, np.arange(MEL_BANDS), level, vmin=FLOOR_DB, vmax=0.0, shading="auto", rasterized=True, cmap="magma"
    )
    marks = np.array([hz for hz in (100, 300, 1000, 3000, 10000) if hz < sample_rate / 2])
    at = np.interp(marks, edges[1:-1], np.arange(MEL_BANDS))
    axes.set(yticks=at, yticklabels=[f"{hz:,}" for hz in marks], ylabel="Hz (mel)", xlim=(0, seconds))


def _hz_to_mel(hz: float) -> float:
    """Converts Hz to mel (O'Shaughnessy, Speech Communication, 1987, p. 150)."""
    return 2595.0 * float(np.log10(1.0 + hz / 700.0))


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def plot_steered_sound(audio: np.ndarray, sample_rate: int, curves: Mapping[str, np.ndarray]) -> Figure:
    """Plots waveform and mel spectrogram of audio `(N,)` above its controls, curves `(T,)` by name."""
    figure, (wave, spectrum, below) = plt.subplots(
        3, 1, figsize=(9, 5.2), sharex=True, height_ratios=(1, 3, 1), layout="constrained"
    )
    draw_waveform(wave, audio, sample_rate)
    draw_mel_spectrogram(spectrum, audio, sample_rate)
    draw_controls(below, curves, len(audio) / sample_rate)
    figure.align_ylabels()
    plt.close(figure)  # so that a notebook shows it once, as the returned value
    return figure


def plot_sounds(sounds: dict[str, np.ndarray], sample_rate: int, columns: int = 4) -> Figure:
    """Plots a grid of spectrograms.

    Args:
        sounds: Audio `(N,)` by title.
        sample_rate: In Hz.
        columns: Largest number side by side.

    Returns:
        The figure.
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

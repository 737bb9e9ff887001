"""Sounds side by side. They are put into the page as HTML, so that a saved notebook plays them without a kernel."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from dacformer.display.audio_plots import plot_sounds
from dacformer.display.html import audio_html, figure_html
from dacformer.generation.take import Take


@dataclass(frozen=True)
class AudioGrid:
    """Sounds side by side: a notebook shows a spectrogram and a player for each.

    Attributes:
        sounds: `(N,)` float32 by title.
        sample_rate: In Hz.
        columns: Sounds in a row.
    """

    sounds: Mapping[str, np.ndarray]
    sample_rate: int
    columns: int = 4

    def plot(self) -> Figure:
        """Draw the spectrograms alone, as one picture for print."""
        return plot_sounds(dict(self.sounds), self.sample_rate, self.columns)

    def _repr_html_(self) -> str:
        cells = [
            f'<div style="min-width: 0">{figure_html(plot_sounds({title: audio}, self.sample_rate))}'
            f"{audio_html(audio, self.sample_rate)}</div>"
            for title, audio in self.sounds.items()
        ]
        columns = f"repeat({min(self.columns, len(self.sounds))}, minmax(160px, 300px))"
        style = f"display: grid; grid-template-columns: {columns}; gap: 10px; overflow-x: auto"
        return f'<div style="{style}">{"".join(cells)}</div>'


def grid_of_takes(takes: Mapping[str, Take], columns: int = 4) -> AudioGrid:
    """Lay out takes by title, all at the sample rate of the first."""
    rate = next(iter(takes.values())).sample_rate
    return AudioGrid({title: take.audio for title, take in takes.items()}, rate, columns)

"""Pictures and sounds as HTML with the data inside: a saved notebook shows them without a kernel."""

import base64
import io

import numpy as np
import soundfile
from matplotlib.figure import Figure


def figure_html(figure: Figure, dpi: int = 100) -> str:
    """Returns a figure as an HTML image with the data inside."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return f'<img style="width: 100%" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def audio_html(audio: np.ndarray, sample_rate: int, play: bool = False, loop: bool = False) -> str:
    """Returns audio as an HTML player with the data inside (FLAC, half the size of a `.wav`).

    Args:
        audio: `(N,)`; clipped to [-1, 1].
        sample_rate: In Hz.
        play: Start playing at once.
        loop: Repeat for ever.

    Returns:
        HTML text.
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(audio, -1.0, 1.0), sample_rate, format="FLAC")
    source = f"data:audio/flac;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    how = f"{' autoplay' if play else ''}{' loop' if loop else ''}"
    return f'<audio controls{how} style="width: 100%" src="{source}"></audio>'

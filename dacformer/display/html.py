"""Pictures and sounds as HTML that lies in the page: a saved notebook shows and plays them without a kernel."""

import base64
import io

import numpy as np
import soundfile
from matplotlib.figure import Figure


def figure_html(figure: Figure, dpi: int = 100) -> str:
    """A figure as an image that lies in the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return f'<img style="width: 100%" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def audio_html(audio: np.ndarray, sample_rate: int, play: bool = False, loop: bool = False) -> str:
    """A player whose sound lies in the page, without loss, in half the room of a `.wav`.

    Args:
        audio: `(N,)`; beyond [-1, 1] it is clipped.
        sample_rate: In Hz.
        play: Start it.
        loop: Begin again at the end, for ever.

    Returns:
        HTML.
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(audio, -1.0, 1.0), sample_rate, format="FLAC")
    source = f"data:audio/flac;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    how = f"{' autoplay' if play else ''}{' loop' if loop else ''}"
    return f'<audio controls{how} style="width: 100%" src="{source}"></audio>'

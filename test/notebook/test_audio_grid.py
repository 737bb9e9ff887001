"""Sounds side by side, and the HTML that holds them."""

import base64
import io
import re

import numpy as np
import soundfile

from dacformer.display.html import audio_html
from dacformer.notebook import (
    AudioGrid,
)


def test_audio_html_holds_the_clipped_sound() -> None:
    audio = np.linspace(-2.0, 2.0, 8000, dtype=np.float32)  # too loud: clipped, not wrapped
    found = re.search(r"base64,([^\"]+)", audio_html(audio, 8000))
    assert found
    decoded, rate = soundfile.read(io.BytesIO(base64.b64decode(found[1])))
    assert rate == 8000
    np.testing.assert_allclose(decoded, np.clip(audio, -1, 1), atol=1e-4)


def test_audio_grid_shows_any_sounds() -> None:
    page = AudioGrid({"a": np.zeros(10, np.float32)}, 8000, columns=3)._repr_html_()
    assert "repeat(1," in page and "<audio" in page

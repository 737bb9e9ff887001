"""Broken sounds are listed, good ones are left in peace."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from dacformer.data.check import check_sounds
from dacformer.errors import UserError

RATE = 16000


def tone(level: float = 0.5, seconds: float = 1.0, hz: float = 220.0) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


def test_check_sounds_lists_every_kind_of_problem(tmp_path: Path) -> None:
    sounds = {
        "good.wav": tone(),
        "loud.wav": tone(0.99),
        "more/other.flac": tone(hz=330.0),
        "more/same.wav": tone(),
        "silent.wav": np.zeros(RATE),
        "short.wav": tone(seconds=0.05),
        "clipped.wav": np.clip(tone(3.0, hz=110), -1, 1),
        "offset.wav": tone(hz=550) + 0.1,
        "dither.wav": 2.0**-15 * np.tile([1, -1], RATE // 2),
        "apart.wav": np.stack([tone(hz=660), -tone(hz=660)], axis=1),
    }
    for name, audio in sounds.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, audio, RATE)
    (tmp_path / "torn.wav").write_bytes((tmp_path / "good.wav").read_bytes()[:20])
    (tmp_path / "empty.wav").write_bytes(b"")
    problems = check_sounds(tmp_path).set_index("file")["problem"]
    assert list(problems[problems == ""].index) == ["good.wav", "loud.wav", "more/other.flac"]
    for name, said in {
        "more/same.wav": "the same sound as good.wav",
        "silent.wav": "silent",
        "short.wav": "shorter than 0.1 s",
        "clipped.wav": "clipped",
        "offset.wav": "off centre by 0.1",
        "dither.wav": "silent",
        "apart.wav": "cancel each other out",
        "torn.wav": "cannot be read",
        "empty.wav": "cannot be read",
    }.items():
        assert said in problems[name]


def test_check_sounds_refuses_folder_without_sound(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No sound file below"):
        check_sounds(tmp_path)

"""How much louder the codes of a class sound than its recordings: what generation takes back."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dacformer import audio as sound
from dacformer.codec import Codec, read_dac
from dacformer.errors import UserError

logger = logging.getLogger(__name__)

LEVEL_FILES, LEVEL_SECONDS, MOST_LOST_DB = 8, 5.0, 20.0
"""How many files of a class are decoded again, how much of each, to learn how much softer the codec makes them; what it
takes beyond that is not level, but a sound that it does not know."""


class Leveled(NamedTuple):
    """One file of codes and its level.

    Attributes:
        class_name: Its class.
        gain_db: What its sound was amplified by.
        codes: The `.dac` file.
        recording: Its sound; None for a shift of it, or where the sound is not at hand.
    """

    class_name: str
    gain_db: float
    codes: Path
    recording: Path | None


def class_gains(files: Sequence[Leveled], codec: Codec, strict: bool = False) -> dict[str, float]:
    """How much louder the codes of each class sound than its recordings, in the mean.

    Args:
        files: All files of the classes.
        codec: What they were encoded with.
        strict: Make a recording that can no longer be read an error; else it is named and left out.

    Returns:
        In dB, by class.

    Raises:
        UserError: A recording cannot be read, if `strict`.
    """
    gains = {}
    for name in sorted({file.class_name for file in files}):
        members = [file for file in files if file.class_name == name]
        pairs = [(file.recording, file.codes) for file in members if file.recording is not None]
        mean = float(np.mean([file.gain_db for file in members]))
        gains[name] = round(mean - _lost_db(pairs, codec, strict), 2)
    return gains


def _lost_db(pairs: list[tuple[Path, Path]], codec: Codec, strict: bool) -> float:
    """How much softer the codec makes the beginnings of a few sounds, in the mean, given sounds and their codes."""
    lost = []
    for path, target in pairs[:: math.ceil(len(pairs) / LEVEL_FILES) or 1]:
        try:
            start, file = sound.read_start(path, codec.sample_rate, LEVEL_SECONDS), read_dac(target)
        except UserError as error:  # it was there when it was encoded
            if strict:
                raise
            logger.warning("not compared with its codes: %s", error)
            continue
        codes = torch.from_numpy(file.codes[..., : math.ceil(len(start) / codec.hop_length)])
        decoded = codec.decode(codes)[0, 0, : len(start)].cpu().numpy()
        before, after = (sound.loudness_db(audio, codec.sample_rate) for audio in (start, decoded))
        if min(before, after) > sound.MIN_LOUDNESS_DB:  # it does not begin with silence
            lost.append(np.clip(before + file.gain_db - after, -MOST_LOST_DB, MOST_LOST_DB))
    return float(np.mean(lost)) if lost else 0.0

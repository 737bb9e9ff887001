"""Level offsets: the loudness of a class's codes minus that of its recordings. Generation subtracts them."""

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
"""Codec level calibration: files decoded per class, seconds of each, and the largest loudness loss in dB that counts. A
larger loss means that the codec failed on the sound."""


class Leveled(NamedTuple):
    """An encoded file and its level.

    Attributes:
        class_name: Its class.
        gain_db: Gain applied before encoding.
        codes: Path of the `.dac` file.
        recording: Path of its sound; None for a shift of it, or if the sound is missing.
    """

    class_name: str
    gain_db: float
    codes: Path
    recording: Path | None


def class_gains(files: Sequence[Leveled], codec: Codec, strict: bool = False) -> dict[str, float]:
    """Measures the level offset of each class: the mean loudness of its codes minus that of its recordings.

    Args:
        files: All files of the classes.
        codec: The codec that encoded them.
        strict: Make a recording that can no longer be read an error; otherwise it is logged and left out.

    Returns:
        Level offsets in dB, by class.

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
    """Measures the codec's mean loudness loss in dB, on the beginnings of a few sounds; `pairs` of sound and codes."""
    lost = []
    for path, target in pairs[:: math.ceil(len(pairs) / LEVEL_FILES) or 1]:
        try:
            start, file = sound.read_start(path, codec.sample_rate, LEVEL_SECONDS), read_dac(target)
        except UserError as error:  # it could be read when it was encoded
            if strict:
                raise
            logger.warning("not compared with its codes: %s", error)
            continue
        codes = torch.from_numpy(file.codes[..., : math.ceil(len(start) / codec.hop_length)])
        decoded = codec.decode(codes)[0, 0, : len(start)].cpu().numpy()
        before, after = (sound.loudness_db(audio, codec.sample_rate) for audio in (start, decoded))
        if min(before, after) > sound.MIN_LOUDNESS_DB:  # neither beginning is silent
            lost.append(np.clip(before + file.gain_db - after, -MOST_LOST_DB, MOST_LOST_DB))
    return float(np.mean(lost)) if lost else 0.0

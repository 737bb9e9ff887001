"""Sounds that look broken, before anything is made of them."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from dacformer import audio as sound
from dacformer.errors import UserError

CLIPPED_SHARE = 1e-4  # of samples that stand still at the largest value, where that is near full scale
STILL = 4  # samples in a row
OFFSET = 0.02  # of full scale
SHORTEST_SECONDS = 0.1


def check_sounds(folder: str | Path) -> pd.DataFrame:
    """Looks through a folder for sounds that are broken or suspicious.

    Args:
        folder: Searched with all its subfolders.

    Returns:
        A row per sound: `file` (below the folder), `seconds`, `peak`, and `problem`, what is wrong, or empty: cannot be
        read, is silent, very short, clipped, off centre (a constant is added to it), or the same sound as another.

    Raises:
        UserError: The folder does not exist, or holds no sound.
    """
    folder = Path(folder)
    rows, seen = [], {}
    for path in sound.find_audio(folder):
        file = path.relative_to(folder).as_posix() if folder.is_dir() else path.name
        try:
            seconds, peak, problems, digest = _look_at(path)
        except UserError as error:
            rows.append({"file": file, "seconds": np.nan, "peak": np.nan, "problem": str(error)})
            continue
        if digest in seen:
            problems.append(f"the same sound as {seen[digest]}")
        seen.setdefault(digest, file)
        rows.append(
            {"file": file, "seconds": round(seconds, 3), "peak": round(peak, 4), "problem": "; ".join(problems)}
        )
    return pd.DataFrame(rows)


def _look_at(path: Path) -> tuple[float, float, list[str], str]:
    """Length in seconds, peak, what is wrong, and a digest of the samples; in bounded memory."""
    try:
        rate = soundfile.info(path).samplerate
    except soundfile.LibsndfileError as error:
        raise UserError(f"cannot be read as audio: {error.error_string}") from error
    digest, peak, total, count = hashlib.sha256(), 0.0, 0.0, 0
    for block in sound.read_blocks(path, rate):
        digest.update(np.round(block * 2**15).astype(np.int16).tobytes())
        peak, total, count = (
            max(peak, float(np.abs(block).max(initial=0.0))),
            total + float(block.sum()),
            count + len(block),
        )
    problems = []
    if peak <= sound.SILENCE:
        problems.append("silent")
    if count < SHORTEST_SECONDS * rate:
        problems.append(f"shorter than {SHORTEST_SECONDS} s")
    if peak > 0.9:
        still = sum(_still(np.abs(block) >= peak - 2**-15) for block in sound.read_blocks(path, rate))
        if still > CLIPPED_SHARE * count:
            problems.append(f"clipped ({still} samples at {peak:.3f})")
    if abs(total) > OFFSET * max(count, 1):
        problems.append(f"off centre by {total / count:.3f}")
    return count / rate, peak, problems, digest.hexdigest()


def _still(largest: np.ndarray) -> int:
    """How many samples begin a run of `STILL` at the largest value: a clipped wave rests there."""
    if len(largest) < STILL:
        return 0
    return int(np.lib.stride_tricks.sliding_window_view(largest, STILL).all(axis=1).sum())

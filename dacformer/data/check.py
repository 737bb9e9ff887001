"""Checks recordings for defects before they are encoded."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from dacformer import audio as sound
from dacformer.errors import UserError

CLIPPED_SHARE = 1e-4  # share of samples that rest at the largest value, if that is near full scale
STILL = 4  # samples at the largest value in a row
OFFSET = 0.02  # mean, as a share of full scale
SHORTEST_SECONDS = 0.1


def check_sounds(folder: str | Path) -> pd.DataFrame:
    """Finds sounds in a folder that are broken or suspicious.

    Args:
        folder: Searched with all its subfolders.

    Returns:
        One row per sound: `file` (relative to the folder), `seconds`, `peak`, and `problem`, empty if there is none. A
        problem is: unreadable, without usable sound (see `Measured.problem`), very short, clipped, off centre (a
        constant offset), or the same samples as another sound.

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
    """Measures length in seconds, peak, problems, and a digest of the samples; in bounded memory."""
    digest, total, measured = hashlib.sha256(), 0.0, sound.Measured()
    for block in sound.read_blocks(path, None, measured=measured):
        digest.update(np.clip(np.round(block * 2**15), -(2**15), 2**15 - 1).astype(np.int16).tobytes())
        total += float(block.sum())
    peak, count, rate = max(measured.high, -measured.low), measured.frames, measured.sample_rate
    problem = measured.problem()
    problems = [problem] if problem else []
    if count < SHORTEST_SECONDS * rate:
        problems.append(f"shorter than {SHORTEST_SECONDS} s")
    if peak > 0.9:
        still = sum(_still(np.abs(block) >= peak - 2**-15) for block in sound.read_blocks(path, None))
        if still > CLIPPED_SHARE * count:
            problems.append(f"clipped ({still} samples at {peak:.3f})")
    if not problem and abs(total) > OFFSET * count:
        problems.append(f"off centre by {total / count:.3f}")
    return count / rate, peak, problems, digest.hexdigest()


def _still(largest: np.ndarray) -> int:
    """Counts the samples that begin a run of `STILL` at the largest value, as clipping makes them."""
    if len(largest) < STILL:
        return 0
    return int(np.lib.stride_tricks.sliding_window_view(largest, STILL).all(axis=1).sum())

"""Files that are whole or not there."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a place to write to; what was written there takes the place of `path`, unless something goes wrong.

    Args:
        path: The file to make; its folder is made if need be.

    Yields:
        A hidden path beside it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Most file systems allow 255 bytes: the longest names leave no room for what is added here.
    part = path.with_name(f".{path.name.encode(errors='ignore')[:240].decode(errors='ignore')}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes text, the same bytes on every system."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def new_file(path: Path) -> Path:
    """The path, or with a number behind it where it is taken."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}_{number}")
    return free

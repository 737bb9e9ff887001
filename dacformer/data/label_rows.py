"""Labels, and matching a table's rows to sounds, however the table writes their paths."""

import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dacformer.audio import AUDIO_SUFFIXES
from dacformer.errors import UserError

LABELLED_SUFFIXES = AUDIO_SUFFIXES | {".dac", ".npy"}
"""Suffixes that do not matter in a table's file names; DACSynthformer's tables name files of codes."""


@dataclass(frozen=True)
class Label:
    """Label of a sound: its class, its known parameters in their own units, and the `source` it was read from."""

    class_name: str
    parameters: dict[str, float] = field(default_factory=dict)
    source: str = field(default="", compare=False)


def find_labels(paths: Sequence[Path], root: Path, labels: Mapping[str, Label]) -> list[Label | None]:
    """Finds the table row of each sound.

    A row fits if its path and the sound's agree from the end, as far as both go. Folders above the root, drives,
    upper and lower case, the suffix and the kind of slashes do not matter. The best fit counts.

    Args:
        paths: The sounds, all below `root`.
        root: The folder of sounds.
        labels: Labels by row, as from `read_label_table`.

    Returns:
        The label of each path, or None.

    Raises:
        UserError: Two rows with different labels fit a sound equally well, or a row fits two sounds.
    """
    files = [portable(path.relative_to(root).as_posix()) for path in paths]
    by_stem: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for row in labels.keys() - set(files):
        parts = _parts(row)
        by_stem.setdefault(parts[-1], []).append((row, parts))
    above = _parts(portable(root.resolve().as_posix()), suffix=True)
    found: list[Label | None] = []
    file_of: dict[str, str] = {}
    for file in files:
        rows = [file] if file in labels else _best_rows(file, above, by_stem)
        for row in rows[1:]:
            if labels[row] != labels[rows[0]]:
                raise UserError(
                    f"'{file}' may be the sound of {labels[rows[0]].source} ('{rows[0]}') or of {labels[row].source} "
                    f"('{row}'), which differ. Write its path below {root} in one of them."
                )
        for row in rows:
            if row in file_of:
                raise UserError(
                    f"{labels[row].source}: '{row}' may be '{file_of[row]}' or '{file}'. "
                    f"Write paths below {root}, one row for each."
                )
            file_of[row] = file
        found.append(labels[rows[0]] if rows else None)
    return found


def _best_rows(
    file: str, above: tuple[str, ...], by_stem: Mapping[str, Sequence[tuple[str, tuple[str, ...]]]]
) -> list[str]:
    """Returns the rows that fit a sound best, all equally well; `by_stem` holds the rows by file stem."""
    own = _parts(file)
    ranked = [
        ((tail, _is_end(row, file), _is_end(row.casefold(), file.casefold())), row)
        for row, parts in by_stem.get(own[-1], [])
        if (tail := _shared_tail((*above, *own), parts)) >= min(len(own), len(parts))
    ]
    best = max((rank for rank, _ in ranked), default=None)
    return sorted(row for rank, row in ranked if rank == best)


def portable(file: str) -> str:
    """Normalizes a path from any system: slashes, no leading `./`, Unicode NFC."""
    path = unicodedata.normalize("NFC", file).replace("\\", "/")
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    return path


def _parts(file: str, suffix: bool = False) -> tuple[str, ...]:
    """Splits a path into folders and name, in lower case; drops a known suffix unless `suffix`."""
    *folders, name = [part for part in file.casefold().split("/") if part not in ("", ".")] or [""]
    stem, dot, last = name.rpartition(".")
    return (*folders, stem if stem and not suffix and dot + last in LABELLED_SUFFIXES else name)


def _shared_tail(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Counts the equal parts, from the end."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _is_end(one: str, other: str) -> bool:
    """Tells whether one of two paths is the end of the other."""
    long, short = (one, other) if len(one) > len(other) else (other, one)
    return long == short or long.endswith(f"/{short}")

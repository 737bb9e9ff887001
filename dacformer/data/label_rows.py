"""What a label is, and which row of a table is whose: a table may spell paths in its own way."""

import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dacformer.audio import AUDIO_SUFFIXES
from dacformer.errors import UserError

LABELLED_SUFFIXES = AUDIO_SUFFIXES | {".dac", ".npy"}
"""What a name in a table may end in without being another sound: DACSynthformer's tables name codes."""


@dataclass(frozen=True)
class Label:
    """A class, and the parameters that are known, in their own units; `source` says where it was read."""

    class_name: str
    parameters: dict[str, float] = field(default_factory=dict)
    source: str = field(default="", compare=False)


def find_labels(paths: Sequence[Path], root: Path, labels: Mapping[str, Label]) -> list[Label | None]:
    """Finds the row of each sound.

    A row fits by the path below the root or by as much of a path as both have, from the end: folders above the root,
    drives, capitals, the suffix, and the kind of slashes do not matter. What fits better goes first.

    Args:
        paths: The sounds, all below `root`.
        root: The folder that was given.
        labels: As `read_label_table` gives them.

    Returns:
        For each path its label, or None.

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
    """The rows that fit a sound best, and equally well, given the rows by their names' stems."""
    own = _parts(file)
    ranked = [
        ((tail, _is_end(row, file), _is_end(row.casefold(), file.casefold())), row)
        for row, parts in by_stem.get(own[-1], [])
        if (tail := _shared_tail((*above, *own), parts)) >= min(len(own), len(parts))
    ]
    best = max((rank for rank, _ in ranked), default=None)
    return sorted(row for rank, row in ranked if rank == best)


def portable(file: str) -> str:
    """A path as tables of any system write it: slashes, no `./` in front, one form of each letter."""
    path = unicodedata.normalize("NFC", file).replace("\\", "/")
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    return path


def _parts(file: str, suffix: bool = False) -> tuple[str, ...]:
    """Folders and name in small letters; the name without a known suffix, unless `suffix` is to stay."""
    *folders, name = [part for part in file.casefold().split("/") if part not in ("", ".")] or [""]
    stem, dot, last = name.rpartition(".")
    return (*folders, stem if stem and not suffix and dot + last in LABELLED_SUFFIXES else name)


def _shared_tail(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many parts are the same, from the end."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _is_end(one: str, other: str) -> bool:
    """Whether one of two paths is the end of the other."""
    long, short = (one, other) if len(one) > len(other) else (other, one)
    return long == short or long.endswith(f"/{short}")

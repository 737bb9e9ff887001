"""What a sound is: its class and parameters, from a table, from its name, or from its folder."""

import itertools
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from dacformer.errors import UserError
from dacformer.files import write_text

FILE_COLUMNS, CLASS_COLUMNS = ("file", "Full File Name"), ("class", "Class Name")
"""Ours, and those of DACSynthformer's tables."""

_PARAMETER = re.compile(r"--([A-Za-z_]\w*)-(-?\d+(?:\.\d+)?)(?=--|\Z)")


@dataclass(frozen=True)
class Label:
    """A class, and the parameters that are known, in their own units."""

    class_name: str
    parameters: dict[str, float] = field(default_factory=dict)


def label_files(paths: Sequence[Path], root: Path, table: Path | None = None) -> list[Label]:
    """Labels sounds.

    Args:
        paths: The sounds, all below `root`.
        root: The folder that was given.
        table: A `.csv` or `.xlsx` with a row per sound; without one, names and folders speak.

    Returns:
        A label for each path.

    Raises:
        UserError: The table cannot be read or lacks a column or a row.
    """
    if table is not None:
        rows = read_label_table(table)
        labels = [_look_up(path, root, rows, table) for path in paths]
    else:
        labels = [label_from_name(path) or Label(_folder_class(path, root)) for path in paths]
    for path, label in zip(paths, labels, strict=True):
        if taken := {"file", "class", "split"} & set(label.parameters):
            raise UserError(f"{path}: a parameter cannot be called '{taken.pop()}': the manifest needs the name.")
    return labels


def label_from_name(path: Path) -> Label | None:
    """Reads `wind--strength-0.50--take3.wav`: class, then `name-value` parts; other parts are ignored.

    Returns:
        The label, or None where the name has no such parts.
    """
    class_name = path.stem.partition("--")[0]
    found = _PARAMETER.findall(path.stem)
    if not class_name or not found:
        return None
    return Label(class_name, {name: float(value) for name, value in found})


def read_label_table(path: Path) -> dict[str, Label]:
    """Reads a table of labels.

    Args:
        path: `.csv` or `.xlsx`. Columns: `file` (or `Full File Name`), `class` (or `Class Name`); every other
            column with numbers is a parameter, an empty cell means that it is unknown.

    Returns:
        Label by file name as written.

    Raises:
        UserError: Not a table, or one of the two columns is missing, or a parameter holds text.
    """
    try:
        read = pd.read_excel if path.suffix.lower() in (".xlsx", ".xls") else pd.read_csv
        # As text: 001 is not 1, and a class may be called None.
        rows = read(path, dtype=str, keep_default_na=False).fillna("")
    except FileNotFoundError:
        raise UserError(f"There is no label table {path}.") from None
    except Exception as error:  # pandas and openpyxl raise whatever their parsers do
        raise UserError(f"{path} cannot be read as a table of labels: {error}") from error
    file_column = next((name for name in FILE_COLUMNS if name in rows), None)
    class_column = next((name for name in CLASS_COLUMNS if name in rows), None)
    if file_column is None or class_column is None:
        raise UserError(
            f"{path} needs a column 'file' (or 'Full File Name') and a column 'class' (or 'Class Name'); "
            f"it has: {', '.join(map(str, rows.columns))}."
        )
    for _, row in rows.iterrows():
        if not str(row[class_column]):
            raise UserError(f"{path}: the row of '{row[file_column]}' has no class. Fill in column '{class_column}'.")
    # "Unnamed: 0" is what pandas calls a nameless column, most often a table's own row numbers.
    others = [name for name in rows.columns if name not in (file_column, class_column)]
    parameters = [name for name in others if not str(name).startswith("Unnamed: ")]
    for name in parameters:
        try:
            rows[name] = pd.to_numeric(rows[name])
        except ValueError as error:
            raise UserError(f"{path}: column '{name}' holds something that is no number ({error}). Mend it.") from error
    return {
        str(row[file_column]): Label(
            str(row[class_column]),
            {str(name): float(row[name]) for name in parameters if not math.isnan(row[name])},
        )
        for _, row in rows.iterrows()
    }


def write_label_table(path: str | Path, labels: Mapping[str, Label]) -> Path:
    """Writes a table that `read_label_table` reads back. What was there is kept beside it, under a name of its own.

    Args:
        path: A `.csv` file.
        labels: By the sound's path below its folder.

    Returns:
        The path.

    Raises:
        UserError: Not a `.csv`, or a label without a class.
    """
    path = Path(path)
    if path.suffix != ".csv":
        raise UserError(f"Labels are written as .csv, got {path}.")
    if nameless := [file for file, label in labels.items() if not label.class_name]:
        raise UserError(f"'{nameless[0]}' has no class. Fill it in.")
    rows = [{"file": file, "class": label.class_name} | label.parameters for file, label in labels.items()]
    if path.exists():
        number = next(n for n in itertools.count(1) if not _backup(path, n).exists())
        shutil.copy2(path, _backup(path, number))
    write_text(path, pd.DataFrame(rows, columns=None if rows else ["file", "class"]).to_csv(index=False))
    return path


def _backup(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.before-{number}{path.suffix}")


def _look_up(path: Path, root: Path, labels: dict[str, Label], table: Path) -> Label:
    """The row for a sound: by its path below the root, by its name, or by its name without suffix."""
    for key in (path.relative_to(root).as_posix(), path.name, path.stem):
        if key in labels:
            return labels[key]
    raise UserError(f"{table} has no row for '{path.relative_to(root)}'. Add one, or move the sound away.")


def _folder_class(path: Path, root: Path) -> str:
    return path.parent.name or root.resolve().name

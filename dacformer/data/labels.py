"""Labels of sounds (class and parameters), from a table, from file names, or from folders."""

import itertools
import math
import re
import shutil
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dacformer.data.label_numbers import is_unknown, read_number, read_numbers
from dacformer.data.label_rows import Label, find_labels, portable
from dacformer.data.names import check_name, class_name, clean_name, parameter_name, twins
from dacformer.data.table_files import Cell, Table, Unreadable, read_table
from dacformer.errors import UserError
from dacformer.files import write_text

FILE_COLUMNS, CLASS_COLUMNS = ("file", "full file name"), ("class", "class name")
"""Names of the two columns, here and in DACSynthformer's tables; upper and lower case are equal."""

# A part `name-value` of a file name whose value begins like a number; it may still be none.
_PART = re.compile(
    r"--(?P<name>[^\W\d](?:(?!--).)*?)-(?P<value>(?:[+−-]?[.,٫]?\d|(?:inf|nan)\b)[^-]*(?:-[^-]+)*)(?=--|\Z)",
    re.IGNORECASE,
)


def label_files(paths: Sequence[Path], root: Path, table: Path | None = None) -> list[Label]:
    """Labels sounds.

    Args:
        paths: The sounds, all below `root`.
        root: The folder that was given.
        table: A `.csv` or `.xlsx` with a row per sound; without one, file names and folders give the labels.

    Returns:
        A label for each path. A warning names what looks like a label but is not used.

    Raises:
        UserError: The table cannot be read or lacks a column or a row, a label is ambiguous, or a class or parameter
            has an impossible name.
    """
    for path in paths:
        name = str(path.relative_to(root))
        if not _is_text(name):
            raise UserError(f"The name of the file {name!a} is not valid text. Rename it.")
    labels = labels_from_names(paths, root) if table is None else _labels_from_table(paths, root, table)
    parameters = (name for label in labels for name in label.parameters)
    for what, names in (("classes", (label.class_name for label in labels)), ("parameters", parameters)):
        if pair := twins(names):
            warnings.warn(f"The {what} '{pair[0]}' and '{pair[1]}' differ in nothing but capitals", stacklevel=2)
    return labels


# Names


def labels_from_names(paths: Sequence[Path], root: Path) -> list[Label]:
    """Reads names such as `wind--strength-0.50--take3.wav`: a class, then `name-value` parts; other parts are ignored.

    Args:
        paths: The sounds, all below `root`.
        root: The folder that was given.

    Returns:
        A label for each sound. A sound whose name has no such parts has the class of its folder.

    Raises:
        UserError: See `label_files`.
    """
    cells: dict[str, dict[int, str]] = {}
    ignored: list[str] = []
    for i, path in enumerate(paths):
        for match in _PART.finditer(unicodedata.normalize("NFC", path.stem)):
            name, value = match["name"], match["value"]
            if not path.stem.partition("--")[0]:
                continue
            if not re.fullmatch(r"\w+", name) or (read_number(value) is None and not value.isalpha()):
                ignored.append(f"'{name}-{value}' in '{path.name}'")
            elif i in cells.setdefault(name, {}):
                raise UserError(f"{path} gives '{name}' twice. Leave one.")
            else:
                cells[name][i] = value
    if ignored:
        warnings.warn(
            f"{len(ignored)} parts of names look like parameters and are not: {ignored[0]}. Write them as in "
            "strength-0.5, or without the dash",
            stacklevel=3,
        )
    parameters: list[dict[str, float]] = [{} for _ in paths]
    for name, of_paths in cells.items():
        sources = [str(paths[i]) for i in of_paths]
        numbers = read_numbers(list(of_paths.values()), sources, parameter_name(name, sources[0]))
        for i, number in zip(of_paths, numbers or [], strict=True):
            parameters[i][clean_name(name)] = number
    return [
        Label(
            class_name(path.stem.partition("--")[0] if of_path else _folder_class(path, root), str(path)),
            {name: value for name, value in of_path.items() if not math.isnan(value)},
            str(path),
        )
        for path, of_path in zip(paths, parameters, strict=True)
    ]


def _folder_class(path: Path, root: Path) -> str:
    return path.relative_to(root).parent.name or root.resolve().name


# Tables


def read_label_table(path: Path) -> dict[str, Label]:
    """Reads a table of labels.

    Args:
        path: `.csv` or `.xlsx`, see `read_table`. Columns: `file` (or `Full File Name`), `class` (or `Class Name`);
            every other column with numbers is a parameter; an empty cell or n/a is an unknown value. A warning names
            columns of text, which are left out.

    Returns:
        Labels by file, with slashes and without a leading `./`.

    Raises:
        UserError: The file is no table, lacks one of the two columns, or has a row that cannot be understood.
    """
    table = read_table(path, _is_header, "a column 'file' (or 'Full File Name') and a column 'class' (or 'Class Name')")
    roles = [_role(name) for name in table.header]
    file_at, class_at = roles.index("file"), roles.index("class")
    named = [i for i, name in enumerate(table.header) if name]
    rows = [row for row in table.rows if any(_text(row[1][i]) for i in named)]
    sources = [f"{path}, row {number}" for number, _ in rows]
    parameters = _read_parameters(path, Table(table.header, rows), sources, [file_at, class_at])
    labels: dict[str, Label] = {}
    for i, ((_, cells), source) in enumerate(zip(rows, sources, strict=True)):
        file = portable(_name(cells[file_at], source))
        name = _name(cells[class_at], source)
        if not file or not name:
            empty = table.header[class_at if file else file_at]
            raise UserError(f"{source}: column '{empty}' is empty ({file or name or 'no file'} has no {_role(empty)}).")
        values = {key: column[i] for key, column in parameters.items() if not math.isnan(column[i])}
        label = Label(class_name(name, source), values, source)
        if labels.setdefault(file, label) != label:
            raise UserError(f"{source}: '{file}' has another label in {labels[file].source}. Leave one.")
    return labels


def _role(column: str) -> str:
    """Returns the role of a column: `file`, `class`, or '' for any other."""
    name = column.casefold()
    return "file" if name in FILE_COLUMNS else "class" if name in CLASS_COLUMNS else ""


def _is_header(names: list[str]) -> bool:
    roles = {_role(name) for name in names}
    return {"file", "class"} <= roles


def _read_parameters(path: Path, table: Table, sources: list[str], not_these: list[int]) -> dict[str, list[float]]:
    """Reads the columns of numbers, by name; an unknown value is NaN."""
    parameters: dict[str, list[float]] = {}
    left_out: list[str] = []
    seen: dict[str, str] = {table.header[i].casefold(): table.header[i] for i in not_these}
    for i, name in enumerate(table.header):
        if i in not_these:
            continue
        cells = [row[i] for _, row in table.rows]
        if not name:
            if not all(map(is_unknown, cells)):
                left_out.append(f"column {i + 1}, which has no name")
            continue
        if name.casefold() in seen or _role(name):
            twin = seen.get(name.casefold(), name)
            raise UserError(f"{path} has two columns '{twin}' and '{name}' for the same thing. Leave one.")
        seen[name.casefold()] = name
        column = read_numbers(cells, sources, f"column '{parameter_name(name, str(path))}'")
        if column is None or all(map(math.isnan, column)):
            left_out.append(f"'{name}'" + (", which is text" if column is None else ", which is empty"))
        else:
            parameters[name] = column
    if left_out:
        warnings.warn(f"{path}: left out: {'; '.join(left_out)}", stacklevel=4)
    return parameters


def _name(cell: Cell, source: str) -> str:
    """Returns the clean text of a cell that holds a name."""
    if isinstance(cell, Unreadable):
        raise UserError(f"{source}: '{cell}' is no name, but {cell.reason}.")
    return clean_name(_text(cell))


def _text(cell: Cell) -> str:
    """Returns the text that a spreadsheet shows: 1 for 1.0, TRUE for True."""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if cell is None else str(cell).strip()


def _labels_from_table(paths: Sequence[Path], root: Path, table: Path) -> list[Label]:
    labels = read_label_table(table)
    found = find_labels(paths, root, labels)
    missing = [path.relative_to(root).as_posix() for path, label in zip(paths, found, strict=True) if label is None]
    if missing:
        more = f" (and for {len(missing) - 1} more)" if len(missing) > 1 else ""
        example = next(iter(labels), "")
        hint = f" It names files such as '{example}'." if example and len(missing) == len(paths) else ""
        raise UserError(f"{table} has no row for '{missing[0]}'{more}. Add one, or move the sound away.{hint}")
    used = {label.source for label in found if label is not None}
    unused = [file for file, label in labels.items() if label.source not in used]
    if unused:
        warnings.warn(
            f"{table}: {len(unused)} rows are of no sound below {root}, such as that of '{unused[0]}'", stacklevel=3
        )
    return [label for label in found if label is not None]


# Writing


def write_label_table(path: str | Path, labels: Mapping[str, Label]) -> Path:
    """Writes a table that `read_label_table` reads back. An older table is kept as a backup.

    Args:
        path: A `.csv` file.
        labels: Labels by the sound's path relative to its folder.

    Returns:
        The path.

    Raises:
        UserError: The path is no `.csv`, or a class or parameter has an impossible name; see `label_files`.
    """
    path = Path(path)
    if path.suffix != ".csv":
        raise UserError(f"Labels are written as .csv, got {path}.")
    for file, label in labels.items():
        check_name(label.class_name, "class", f"'{file}'")
        for name in label.parameters:
            parameter_name(name, f"'{file}'")
    rows = [{"file": file, "class": label.class_name} | label.parameters for file, label in labels.items()]
    if path.exists():
        number = next(n for n in itertools.count(1) if not _backup(path, n).exists())
        shutil.copy2(path, _backup(path, number))
    write_text(path, pd.DataFrame(rows, columns=None if rows else ["file", "class"]).to_csv(index=False))
    return path


def _backup(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.before-{number}{path.suffix}")


def _is_text(text: str) -> bool:
    """Tells whether a file name is valid UTF-8; on Linux it may be any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

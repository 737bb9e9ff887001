"""Reads tables: `.csv` of any program, and `.xlsx` with titles above and notes beside.

The first bytes of a file decide its format, not its suffix. Values are returned as they are, without interpretation.
"""

import csv
import datetime
import io
import itertools
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dacformer.data.names import clean_name
from dacformer.errors import UserError


@dataclass(frozen=True)
class Unreadable:
    """A spreadsheet cell whose value cannot be used.

    Attributes:
        text: About what the spreadsheet shows.
        reason: What the cell holds, and what to do.
    """

    text: str
    reason: str

    def __str__(self) -> str:
        return self.text


Cell = str | int | float | bool | Unreadable | None
"""Value of a table's cell; None is empty."""

Row = tuple[int, list[Cell]]
"""A row: its number, counted from 1 as in a spreadsheet, and its cells."""

IsHeader = Callable[[list[str]], bool]

MAX_BYTES = 128 * 2**20
"""Largest file, and largest unpacked workbook, in bytes: enough for a million rows."""

MAX_ROWS, MAX_COLUMNS = 1_048_576, 1024
"""Most rows (a spreadsheet's own limit) and most columns."""

HEADER_ROWS = 30
"""Number of rows in which the header is searched; titles and remarks may stand above it."""

DELIMITERS = ",;\t|"

_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32"}
_MARKS |= {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_FORMULA = re.compile(rb"<(?:\w+:)?f[ >/]")
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]*?ref=[\"']([A-Z]{1,3})(\d+):[A-Z]{1,3}(\d+)[\"']")


@dataclass(frozen=True)
class Table:
    """A table with a header.

    Attributes:
        header: Clean names of the columns; '' for a column without a name.
        rows: The rows below it that are not blank, each as long as the header.
    """

    header: list[str]
    rows: list[Row]


def read_table(path: Path, is_header: IsHeader, wanted: str) -> Table:
    """Reads a table from a `.csv` (or any text with delimiters) or an `.xlsx` file.

    Args:
        path: The file.
        is_header: Function that recognises the header by the clean names in it.
        wanted: Columns that the header must have, in words, for the message.

    Returns:
        The table. Of a workbook, the first sheet with such a header; a warning names others that have one.

    Raises:
        UserError: The file cannot be read as a table, or none of its first `HEADER_ROWS` rows is a header.
    """
    data = _read_bytes(path)
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise UserError(f"{path} is an old Excel file (.xls) or is locked by a password. Save it as .xlsx or .csv.")
    if data.startswith(b"PK"):
        grids = _read_workbook(path, data)
    else:
        grids = {"": _read_text(path, _decode(path, data), is_header)}
    found = {title: at for title, grid in grids.items() if (at := _header_at(grid, is_header)) is not None}
    if not found:
        first = next((cells for grid in grids.values() for _, cells in grid), [])
        has = ", ".join(str(cell) for cell in first if cell is not None)
        raise UserError(f"{path} needs {wanted}; it has: {has[:200] or 'nothing'}.")
    title, *others = found
    if others:
        warnings.warn(f"{path}: only the sheet '{title}' is read, not {', '.join(others)}", stacklevel=3)
    grid, at = grids[title], found[title]
    header = _header(grid[at][1])
    width = len(header) if grids.keys() == {""} else max(len(cells) for _, cells in grid)
    header += [""] * (width - len(header))
    rows = [(number, _padded(path, number, cells, width)) for number, cells in grid[at + 1 :]]
    return Table(header, rows)


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than {MAX_BYTES // 2**20} MB, which no table of labels is.")
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"There is no label table {path}.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read as a table: {error.strerror}.") from error


def _header(cells: list[Cell]) -> list[str]:
    """Returns the clean names in a row; a line break becomes a space."""
    return [" ".join(clean_name(str("" if cell is None else cell)).split()) for cell in cells]


def _header_at(grid: list[Row], is_header: IsHeader) -> int | None:
    return next((i for i, (_, cells) in enumerate(grid[:HEADER_ROWS]) if is_header(_header(cells))), None)


def _padded(path: Path, number: int, cells: list[Cell], width: int) -> list[Cell]:
    while len(cells) > width and _is_blank(cells[-1]):
        cells = cells[:-1]
    if len(cells) > width:
        raise UserError(
            f"{path}, row {number}: {len(cells)} cells below a header of {width}. "
            "Put quotes around what holds the delimiter, such as decimal commas."
        )
    return [*cells, *[None] * (width - len(cells))]


def _is_blank(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _solid(rows: Iterator[Row]) -> list[Row]:
    """Returns the rows that are not blank."""
    return [(number, cells) for number, cells in rows if not all(map(_is_blank, cells))]


# Text


def _decode(path: Path, data: bytes) -> str:
    """Decodes UTF-8, UTF-16 or UTF-32. Other encodings are refused, because a wrong guess would spoil names."""
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data[:2]:  # UTF-16 without a mark: the first letter's other byte
        encoding = "utf-16-be" if data[0] == 0 else "utf-16-le"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path} cannot be read as a table: row {line} is not in {encoding.upper()}, perhaps in the encoding of "
            "an older system (Latin-1, Windows). Save it as 'CSV UTF-8', or as .xlsx."
        ) from error


def _read_text(path: Path, text: str, is_header: IsHeader) -> list[Row]:
    """Reads all rows with the delimiter that shows a header, or else the one that gives most columns."""

    def rows(delimiter: str) -> Iterator[Row]:
        lines = io.StringIO(text, newline="")
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        for number, cells in enumerate(reader, 1):
            yield number, [*cells]

    hint = re.match(r'sep=([^\w"\r\n])\r?\n', text, re.IGNORECASE)  # Excel's own hint
    best, most = ",", -1
    for delimiter in hint[1] if hint else DELIMITERS:
        head: list[Row] = []
        try:
            for row in itertools.islice(rows(delimiter), 10 * HEADER_ROWS):
                head.append(row)
        except csv.Error:
            pass  # with this delimiter; if it is chosen, the reader below raises again
        head = _solid(iter(head))
        fields = 1000 * (_header_at(head, is_header) is not None) + len(head[0][1] if head else ())
        best, most = (delimiter, fields) if fields > most else (best, most)
    number = 0
    solid: list[Row] = []
    try:
        for number, cells in rows(best):
            if not all(map(_is_blank, cells)):
                solid.append((number, cells))
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as a table: row {number + 1}: {error}. Mend its quotes.") from error
    return solid


# Workbooks


def _read_workbook(path: Path, data: bytes) -> dict[str, list[Row]]:
    """Reads the rows of all visible sheets by title; each row of a merged cell has its value."""
    from openpyxl import load_workbook

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about parts that openpyxl does not support
            if "[Content_Types].xml" not in archive.namelist():
                raise UserError(f"{path} is no .xlsx workbook. Save it as .xlsx or .csv.")
            if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
                raise UserError(f"{path} unpacks to more than {MAX_BYTES // 2**20} MB. Save its labels as .csv.")
            values = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
            formulas = load_workbook(io.BytesIO(data), read_only=True)
            grids = {}
            sheet: Any  # a read-only sheet, which openpyxl's types do not cover
            for sheet, unevaluated in zip(values.worksheets, formulas.worksheets, strict=True):
                if sheet.sheet_state == "visible":
                    xml = archive.read(sheet._worksheet_path)  # openpyxl reads merged cells only in its slow mode
                    twin = unevaluated if _FORMULA.search(xml) else None
                    grids[sheet.title] = _fill_merged(_sheet_rows(path, sheet, twin), xml)
            return grids
    except UserError:
        raise
    except Exception as error:  # openpyxl and zipfile raise exceptions of any kind
        raise UserError(f"{path} cannot be read as a workbook ({error}). Save it anew as .xlsx or .csv.") from error


def _sheet_rows(path: Path, sheet: Any, formulas: Any | None) -> list[Row]:
    """Reads the rows of a sheet that are not blank; `formulas` is the same sheet with formulas not evaluated."""
    sheet.reset_dimensions()  # the size that it states is often wrong
    rows = sheet.iter_rows()
    if formulas is not None:
        formulas.reset_dimensions()
        twins = formulas.iter_rows()
    else:
        twins = itertools.repeat(None)
    solid = []
    for number, (row, twin) in enumerate(zip(rows, twins, strict=False), 1):
        if number > MAX_ROWS:
            raise UserError(f"{path}: the sheet '{sheet.title}' has more than {MAX_ROWS} rows.")
        cells = [_cell(cell, cell if twin is None else twin[i]) for i, cell in enumerate(row)]
        while cells and _is_blank(cells[-1]):
            cells.pop()
        if len(cells) > MAX_COLUMNS:
            raise UserError(f"{path}, row {number}: more than {MAX_COLUMNS} columns.")
        if cells:
            solid.append((number, cells))
    return solid


def _cell(cell: Any, formula: Any) -> Cell:
    """Converts a spreadsheet's cell; `formula` is the same cell before evaluation."""
    value = cell.value
    if formula.data_type == "f" and value is None and cell.data_type == "n":
        return Unreadable("=...", "a formula that was not computed: open the file in a spreadsheet and save it")
    if cell.data_type == "e":
        return None if value == "#N/A" else Unreadable(str(value), "an error of the spreadsheet's: mend its formula")
    if isinstance(value, datetime.datetime | datetime.date | datetime.time | datetime.timedelta):
        return Unreadable(str(value), "a date or time: give the cell the format 'text', and write it again")
    return value


def _fill_merged(grid: list[Row], xml: bytes) -> list[Row]:
    """Repeats the value of a vertically merged cell in each of its rows."""
    from openpyxl.utils import column_index_from_string

    cells_of = dict(grid)
    for match in _MERGED.finditer(xml):
        column, top, bottom = column_index_from_string(match[1].decode()), int(match[2]), int(match[3])
        if top not in cells_of or len(cells_of[top]) < column:
            continue
        for number in range(top + 1, min(bottom, grid[-1][0]) + 1):
            if number in cells_of:
                cells_of[number] += [None] * (column - len(cells_of[number]))
                cells_of[number][column - 1] = cells_of[top][column - 1]
    return grid

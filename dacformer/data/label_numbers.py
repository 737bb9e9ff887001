"""Reads numbers as people write them: with points or commas, with units, with n/a for unknown values.

The values of a parameter are read together: `1,234` alone is ambiguous, beside `0,5` it is not.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dacformer.data.table_files import Cell, Unreadable
from dacformer.errors import UserError

MAX_MAGNITUDE = float(np.finfo(np.float32).max)
"""Larger values are refused: the model computes in float32."""

_UNKNOWN = re.compile(r"|nan|n/a|n\.a\.|#?na|#n/a|<na>|none|null|unknown|\?|--?|[–—−]", re.IGNORECASE)
_UNITS = re.compile(
    r"[%‰°]|°[CFK]|dB(FS|A)?|LU(FS)?|[kM]?Hz|[mµμu]?s|sec|min|[cmk]?m|m/s|km/h|mph|kn|kg|[kh]?Pa|bar|mV|"
    r"[Bb][Pp][Mm]|rpm|st|ct|cents?|oct"
)
"""Units; without those of one letter (A, C, g), which usually number takes: 2A, 2C."""

_SCALED = re.compile(r"[%‰]|true or false|[kMmµμuch].+")
"""Units beside which a bare number is ambiguous: 0.5 beside 50%, 440 beside 1 kHz."""

_SPELLINGS = str.maketrans("−–－＋．，٫٬’\u00a0\u202f\u2009", "---+.,.''   ")
_NUMBER = re.compile(r"(?P<body>[+-]?[\d.,'_ ]*?\d[.]?)(?P<exponent>[eE][+-]?\d+)?(?P<unit> ?[^\d\s.,'_+-]\S*)?")
_DIGITS = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")
_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(?P<mark>[ ',._])\d{3}((?P=mark)\d{3})*(?P<rest>[.,]\d+)?")
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}\.?([T ]\d.*)?|\d{1,2}:\d{2}.*")
_DOUBTFUL = re.compile(r"[+-]?(inf|infinity|∞|\.?\d[\d.,/'_ ]*)", re.IGNORECASE)

Style = Literal["", "point", "comma", "point or group", "comma or group"]
"""Decimal mark that a spelling shows: none, a certain one, or one that may also separate thousands."""


@dataclass(frozen=True)
class Reading:
    """A number as far as it can be understood alone: value, unit ('' if none), and style of spelling."""

    value: float
    unit: str = ""
    style: Style = ""


def read_number(cell: Cell) -> Reading | None:
    """Reads one number, or returns None. `1.000` and `1,000` are read with a decimal mark; their style says so."""
    if isinstance(cell, bool):
        return Reading(float(cell), "true or false")
    if isinstance(cell, int | float):
        return Reading(_float(cell))
    if not isinstance(cell, str):
        return None
    text = cell.translate(_SPELLINGS).strip()
    if text.casefold() in ("true", "false"):
        return Reading(float(text.casefold() == "true"), "true or false")
    match = _NUMBER.fullmatch(text)
    unit = (match["unit"] or "").strip() if match else ""
    if match is None or (unit and not _UNITS.fullmatch(unit)):
        return None
    body, exponent = match["body"], match["exponent"] or ""
    groups = _GROUPS.fullmatch(body)
    if _DIGITS.fullmatch(body):
        style: Style = "point or group" if groups else "point" if "." in body else ""
        return Reading(_float(body + exponent), unit, style)
    if _DIGITS.fullmatch(body.replace(",", ".")) and not body.endswith("."):
        return Reading(_float(body.replace(",", ".") + exponent), unit, "comma or group" if groups else "comma")
    if groups is None or (groups["rest"] or "")[:1] == groups["mark"]:
        return None
    mark, rest = groups["mark"], groups["rest"] or ""
    whole = body.removesuffix(rest).replace(mark, "")
    style = "comma" if "," in rest or mark == "." else "point" if "." in rest or mark == "," else ""
    return Reading(_float(whole + rest.replace(",", ".") + exponent), unit, style)


def is_unknown(cell: Cell) -> bool:
    """Tells whether a cell stands for an unknown value."""
    if isinstance(cell, float):
        return math.isnan(cell)
    return cell is None or (isinstance(cell, str) and _UNKNOWN.fullmatch(cell.strip()) is not None)


def read_numbers(cells: Sequence[Cell], sources: Sequence[str], name: str) -> list[float] | None:
    """Reads the values of one parameter, all or none.

    Args:
        cells: Its values.
        sources: Place of each value, for messages: a file, or a table and a row.
        name: Name of the parameter.

    Returns:
        A number for each cell, NaN if unknown; or None if all known cells are text.

    Raises:
        UserError: Numbers are mixed with text or have different units, a spelling is ambiguous, or a number is
            infinite or too large for float32.
    """
    known = [i for i, cell in enumerate(cells) if not is_unknown(cell)]
    readings = {i: reading for i in known if (reading := read_number(cells[i])) is not None}
    for i in known:
        if i not in readings and (readings or _is_doubtful(cells[i])):
            cell = cells[i]
            hint = f"It is {cell.reason}." if isinstance(cell, Unreadable) else "Write it as in 0.5, or leave it empty."
            raise UserError(f"{sources[i]}: {name} is {_shown(cell)}, which is no number. {hint}")
    if known and not readings:
        return None
    first = next((i for i, reading in readings.items() if reading.unit), next(iter(readings), 0))
    styles: set[Style] = {reading.style for reading in readings.values()}
    values = [math.nan] * len(cells)
    for i, reading in readings.items():
        if reading.unit != readings[first].unit and (reading.unit or _SCALED.fullmatch(readings[first].unit)):
            raise UserError(
                f"{sources[i]}: {name} is {_shown(cells[i])}, but {_shown(cells[first])} in {sources[first]}. "
                "Write one unit only."
            )
        value = _settled(reading, styles)
        if value is None:
            raise UserError(
                f"{sources[i]}: {name} is {_shown(cells[i])}: its mark may stand before decimals or between thousands. "
                "Write 1.5 for one and a half, and 1000 for a thousand."
            )
        if not abs(value) <= MAX_MAGNITUDE:
            raise UserError(f"{sources[i]}: {name} is {_shown(cells[i])}, which is infinite or too large. Mend it.")
        values[i] = value
    return values


def _settled(reading: Reading, styles: set[Style]) -> float | None:
    """Returns the value, given the styles of all values of the parameter; None if it is ambiguous."""
    commas, points = "comma" in styles, "point" in styles
    if reading.style == "comma or group" and not (commas and not points):
        return reading.value * 1000 if points and not commas else None
    if reading.style == "point or group" and commas and not points:
        return None
    return reading.value


def _is_doubtful(cell: Cell) -> bool:
    """Tells whether a cell resembles a number but cannot be read, as 1/2 and inf; dates and times are text."""
    text = str(cell).translate(_SPELLINGS).strip()
    return not isinstance(cell, Unreadable) and bool(_DOUBTFUL.fullmatch(text)) and not _DATE.fullmatch(text)


def _shown(cell: Cell) -> str:
    text = str(cell)
    return f"'{text}'" if len(text) <= 40 else f"'{text[:40]}...'"


def _float(number: str | int | float) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf

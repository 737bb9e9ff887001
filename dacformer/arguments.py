"""Numbers and names as people give them.

Numbers are Python's, NumPy's (scalars and 0-d arrays), torch's, decimals or fractions.
"""

import csv
import difflib
import io
from collections.abc import Iterable

import numpy as np

from dacformer.errors import UserError, shown

MAX_SEED = 2**63 - 1
"""The largest seed: what YAML, JSON and NumPy hold as an integer."""


def finite_number(value: object) -> float | None:
    """Reads a number.

    Args:
        value: Anything.

    Returns:
        The number as a float; None where it is not one finite number. Booleans and text are none.
    """
    if isinstance(value, list | tuple | dict | str | bytes):  # not even looked into, however deep
        return None
    try:
        array = np.asarray(value)
        if array.ndim or array.dtype.kind not in "iufO":
            return None
        number = float(array.item())
    except (TypeError, ValueError, OverflowError, RuntimeError):  # torch raises the last, for what is not on the CPU
        return None
    return number if np.isfinite(number) else None


def whole_number(value: object) -> int | None:
    """Reads a whole number, exactly, however large.

    Args:
        value: Anything.

    Returns:
        The number as an int; None where it is not one. 3.0 is 3, 3.5 is none.
    """
    number = finite_number(value)
    return None if number is None or not number.is_integer() else int(np.asarray(value).item())


def check_seed(seed: object) -> int:
    """Reads a seed.

    Raises:
        UserError: It is no whole number from 0 to `MAX_SEED`.
    """
    number = whole_number(seed)
    if number is None or not 0 <= number <= MAX_SEED:
        raise UserError(f"seed={shown(seed)}: expected a whole number from 0 to 2^63 - 1. Each gives another take.")
    return number


def parse_names(text: str) -> list[str]:
    """Reads names that are separated by commas, as a row of a CSV file: those with commas stand in double quotes.

    Raises:
        UserError: Not a row.
    """
    try:
        return [name for name in next(csv.reader([text]), []) if name]
    except csv.Error as error:
        raise UserError(f"{shown(text)} are no names, separated by commas: {error}.") from None


def quoted(names: Iterable[str]) -> str:
    """Writes names so that `parse_names` reads them back: `bees,"rain, heavy"`."""
    line = io.StringIO()
    csv.writer(line).writerow(names)
    return line.getvalue().removesuffix("\r\n")


def unknown_name(kind: str, name: object, known: Iterable[str]) -> UserError:
    """Makes the error for a name that does not exist: the nearest one, and all that do.

    Args:
        kind: What it is the name of: "class", "parameter".
        name: The name that was given.
        known: All names there are.
    """
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    listed = ", ".join(quoted([each]) for each in known) or "none"
    return UserError(f"Unknown {kind} {shown(name)}. {hint}Known: {listed}.")

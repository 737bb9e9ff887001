"""Names of classes and parameters: any text that can be read and typed, except paths."""

import re
import unicodedata
from collections.abc import Iterable

from dacformer.errors import UserError

RESERVED_COLUMNS = ("file", "class", "split", "frames")
"""The manifest's own columns; no parameter may have such a name, in upper or lower case."""

MAX_NAME_BYTES = 200
"""Longest name in bytes: with a suffix it must fit into a file name of 255 bytes."""

# Direction marks, soft hyphens, byte order marks: invisible, but they make two names of one.
_INVISIBLE = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")


def clean_name(text: str) -> str:
    """Normalizes the spelling of a name: Unicode NFC, no invisible marks, no space around it."""
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text)).strip()


def class_name(text: str, where: str) -> str:
    """Cleans and checks the name of a class.

    Args:
        text: The name as written in a table or in the name of a file or folder.
        where: Its file and row, for the message.

    Returns:
        The clean name.

    Raises:
        UserError: The name is empty, too long, part of a path, or holds unprintable characters.
    """
    name = clean_name(text)
    check_name(name, "class", where)
    return name


def parameter_name(text: str, where: str) -> str:
    """Cleans and checks the name of a parameter; see `class_name`.

    Raises:
        UserError: As for a class, or the name is one of `RESERVED_COLUMNS`.
    """
    name = clean_name(text)
    check_name(name, "parameter", where)
    if name.casefold() in RESERVED_COLUMNS:
        raise UserError(f"{where}: a parameter cannot be called '{name}', which the manifest needs. Rename it.")
    return name


def check_name(name: str, what: str, where: str) -> None:
    """Checks a clean name; `what` it names and `where` it stands are for the message.

    Raises:
        UserError: See `class_name`.
    """
    size = len(name.encode("utf-8", "surrogatepass"))
    kinds = {unicodedata.category(character) for character in name}
    if not name:
        problem = "is empty"
    elif size > MAX_NAME_BYTES:
        problem = f"is {size} bytes long, more than {MAX_NAME_BYTES}"
    elif kinds & {"Cc", "Cs", "Zl", "Zp"}:
        problem = "holds a line break or a character that cannot be shown"
    elif "/" in name or "\\" in name or name in (".", ".."):
        problem = "could be taken for a path"
    else:
        return
    # `ascii` escapes what would break the line or the terminal; a long name is cut off.
    shown = ascii(name) if kinds & {"Cc", "Cs", "Zl", "Zp"} else f"'{name}'"
    shown = shown if len(shown) <= 60 else f"{shown[:57]}...'"
    raise UserError(f"{where}: the {what} name {shown} {problem}. Rename it.")


def twins(names: Iterable[str]) -> tuple[str, str] | None:
    """Returns two names that differ only in upper and lower case, if there are any: often a typing mistake."""
    seen: dict[str, str] = {}
    for name in sorted(set(names)):
        if name.casefold() in seen:
            return seen[name.casefold()], name
        seen[name.casefold()] = name
    return None

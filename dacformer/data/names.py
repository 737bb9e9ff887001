"""Names of classes and parameters: any text that a person can read and type, and never a path."""

import re
import unicodedata
from collections.abc import Iterable

from dacformer.errors import UserError

RESERVED_COLUMNS = ("file", "class", "split", "frames")
"""The manifest's own columns; no parameter may be called so, in capitals or not."""

MAX_NAME_BYTES = 200
"""A name with a suffix must fit into a file name, which holds 255 bytes."""

# Direction marks, soft hyphens, byte order marks: nobody sees or types them, but they make two names of one.
_INVISIBLE = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")


def clean_name(text: str) -> str:
    """Brings the spellings of one name to one form: Unicode NFC, no invisible marks, no space around it."""
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text)).strip()


def class_name(text: str, where: str) -> str:
    """Cleans and checks the name of a class.

    Args:
        text: As it is written in a table, a file's name or a folder's.
        where: The file and row that it comes from, for the message.

    Returns:
        The clean name.

    Raises:
        UserError: It is empty, too long, part of a path, or holds characters that cannot be shown.
    """
    name = clean_name(text)
    check_name(name, "class", where)
    return name


def parameter_name(text: str, where: str) -> str:
    """Cleans and checks the name of a parameter; see `class_name`.

    Raises:
        UserError: As for a class; or it is one of `RESERVED_COLUMNS`.
    """
    name = clean_name(text)
    check_name(name, "parameter", where)
    if name.casefold() in RESERVED_COLUMNS:
        raise UserError(f"{where}: a parameter cannot be called '{name}', which the manifest needs. Rename it.")
    return name


def check_name(name: str, what: str, where: str) -> None:
    """Refuses a name that is no name; the arguments are those of the message.

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
    # `ascii` shows what would break the line or the terminal; a long name is cut off.
    shown = ascii(name) if kinds & {"Cc", "Cs", "Zl", "Zp"} else f"'{name}'"
    shown = shown if len(shown) <= 60 else f"{shown[:57]}...'"
    raise UserError(f"{where}: the {what} name {shown} {problem}. Rename it.")


def twins(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names that differ in nothing but capitals, if there are any: most often one name, mistyped."""
    seen: dict[str, str] = {}
    for name in sorted(set(names)):
        if name.casefold() in seen:
            return seen[name.casefold()], name
        seen[name.casefold()] = name
    return None

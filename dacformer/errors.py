"""The one exception for what a user can mend, and the words of its messages."""

import reprlib


class UserError(ValueError):
    """A mistake in what was given: a file, a YAML key, a control, an argument.

    The message says what was given, what was expected and what to do. The command line prints it
    without a traceback and exits with code 2; a notebook shows it alone, too.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython prints."""
        return [f"{type(self).__name__}: {self}"]


class WriteError(UserError, OSError):
    """A file that the system does not let be written; `errno` says why."""

    def __init__(self, message: str, errno: int | None) -> None:
        super().__init__(message)
        self.errno = errno


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 3, 100, 100, 60


def shown(value: object, most: int = 100) -> str:
    """What was given, for a message: its `repr` in one line, cut where it is long or deep."""
    text = " ".join(_SHORT.repr(value).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def first_line(error: BaseException) -> str:
    """What another library says of an error, without the lines that follow and without a full stop at its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(". ") if lines else type(error).__name__

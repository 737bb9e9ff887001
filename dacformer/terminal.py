"""Messages of the package's loggers, shown as plain lines by the command line.

The library logs and prints nothing; whoever imports it decides what is shown, as usual with `logging`.
"""

import contextlib
import logging
import sys


class _PlainLines(logging.Handler):
    """Writes warnings and errors to stderr, anything else to stdout."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone, the work goes on
            print(record.getMessage(), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout)


def show_log() -> None:
    """Shows what the package logs, from INFO on. Calling it again changes nothing."""
    logger = logging.getLogger("dacformer")
    if not any(isinstance(handler, _PlainLines) for handler in logger.handlers):
        logger.addHandler(_PlainLines())
    logger.setLevel(logging.INFO)

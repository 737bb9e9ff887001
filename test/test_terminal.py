"""What the command line shows of the package's log."""

import io
import logging
import os
import sys
from collections.abc import Iterator

import pytest

from dacformer.terminal import show_log


@pytest.fixture(autouse=True)
def log() -> Iterator[logging.Logger]:
    """The package's logger, as it was again afterwards."""
    logger = logging.getLogger("dacformer")
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_show_log_writes_info_to_stdout_and_warnings_to_stderr_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    show_log()
    show_log()
    logger = logging.getLogger("dacformer.codec.training.trainer")
    logger.debug("not shown")
    logger.info("%d recordings", 3)
    logger.warning("skipped: a.wav")
    logging.getLogger("other").info("not ours")
    assert capsys.readouterr() == ("3 recordings\n", "skipped: a.wav\n")


def test_show_log_survives_a_terminal_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    show_log()
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb", buffering=0) as raw:
        gone = io.TextIOWrapper(raw, write_through=True)
        with pytest.raises(BrokenPipeError):
            print("line", file=gone)
        monkeypatch.setattr(sys, "stdout", gone)
        logging.getLogger("dacformer").info("lost")
        monkeypatch.undo()

"""Signals that ask a process to end: Ctrl-C, SIGTERM (SLURM, `docker stop`, `kill`) and SIGHUP (a closed terminal).

By default the last two end a process at once. `ending_cleanly` lets it clean up first; `StopRequest` lets a training
save first. Both leave alone what is ignored on purpose (`nohup`), and do nothing outside the main thread.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
AGAIN_SECONDS = 0.05


@contextlib.contextmanager
def ending_cleanly() -> Iterator[None]:
    """Turns the signals into `SystemExit`, so that clean-up code runs; the exit code is 128 + the signal's number.

    Python swallows an exception inside a finalizer or a weak reference's callback, where a signal may well arrive: it
    is then raised once more, a moment later.
    """

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    def swallowed(unraisable: Any) -> None:
        error = unraisable.exc_value
        if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code - 128 in STOP_SIGNALS:
            threading.Timer(AGAIN_SECONDS, signal.raise_signal, (error.code - 128,)).start()
        else:
            usual(unraisable)

    usual, sys.unraisablehook = sys.unraisablehook, swallowed
    try:
        with _handled_by(end):
            yield
    finally:
        sys.unraisablehook = usual


class StopRequest:
    """Takes note of signals, in place of being interrupted by them, while `listening`.

    Attributes:
        signal: The first that came; None if none did.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._interrupts = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listens; at the end, the signal is handed on to whatever handled it before.

        Python's own `KeyboardInterrupt` is not raised then: the request was met. So the stop button of a notebook
        ends a training, and the notebook goes on.
        """
        with _handled_by(self._note) as before:
            yield
        own = signal.default_int_handler
        if self.signal is not None and before.get(self.signal, own) is not own:
            signal.raise_signal(self.signal)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Breaks off what is inside when a signal comes; goes on behind it, with the request noted."""
        try:
            self._interrupts = True
            yield
        except KeyboardInterrupt:
            self.signal = self.signal or signal.SIGINT
        finally:
            self._interrupts = False

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number)
        if self._interrupts:
            raise KeyboardInterrupt


def ignore_in_worker(_: int) -> None:
    """Lets a `DataLoader`'s worker live until its parent ends it: terminals and schedulers signal workers as well."""
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], Any]) -> Iterator[dict[signal.Signals, Any]]:
    """Sets a handler for all signals that are not ignored; gives what handled them before, and restores it."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        # None: a handler that Python did not set, and could not restore.
        before = {each: was for each in STOP_SIGNALS if (was := signal.getsignal(each)) not in (None, signal.SIG_IGN)}
    try:
        for each in before:
            signal.signal(each, handler)
        yield before
    finally:
        for each, was in before.items():
            signal.signal(each, was)

"""Forked children: their output in a file, their limits, and nothing of them left behind."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import auto, tqdm

GRACE_SECONDS = 2.0
"""After a process has ended, its own children have so long to notice."""

_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        status: Its exit code; negative: the signal that ended it.
        output: What it printed and complained.
        orphans: Whether processes that it had started went on without it.
        late: Whether it had to be killed because it did not end in time.
    """

    status: int
    output: str
    orphans: bool
    late: bool = False


def fork(work: Callable[[], object], log: Path) -> int:
    """Starts work in a forked child of its own session.

    Args:
        work: What it does. `SystemExit` gives its exit code; any other exception is printed, and is exit code 1.
        log: What it prints goes there.

    Returns:
        Its process id.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        end_with_parent()
        for bar in (tqdm, auto.tqdm):  # their own locks are shared by forks, and one that was killed would keep them
            bar.set_lock(threading.RLock())
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", buffering=1, closefd=False) for fd in (1, 2))
        work()
        code = 0
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def end_with_parent() -> None:
    """Asks the system to kill this process when the one that forked it ends, so that a campaign leaves none behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait(pid: int, log: Path, limit_seconds: float) -> Ended:
    """Waits for a child of `fork`, and ends what it left running.

    Args:
        pid: The child.
        log: As given to `fork`.
        limit_seconds: It is killed when it takes longer.

    Returns:
        How it ended.
    """
    deadline, late = time.monotonic() + limit_seconds, False
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline and not late:
            late = True
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    orphans = not _gone(pid, GRACE_SECONDS)
    if orphans:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        _gone(pid, GRACE_SECONDS)
    text = log.read_text(errors="replace") if log.exists() else ""
    return Ended(os.waitstatus_to_exitcode(done[1]), text, orphans, late)


def run(work: Callable[[], object], log: Path, limit_seconds: float = 60.0) -> Ended:
    """`fork` and `wait`."""
    return wait(fork(work, log), log, limit_seconds)


def _gone(group: int, seconds: float) -> bool:
    """Waits until no process of a session is left."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)

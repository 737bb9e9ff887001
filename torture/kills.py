"""`kill -9` and SIGTERM at random moments: what is there is whole, and going on gives what would have been."""

import contextlib
import os
import random
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torture.findings import Finding
from torture.jobs import Job, Results, differing, in_folder, leftovers
from torture.processes import Ended, fork, run, wait

FILE_EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "os.truncate")
LONGEST_DELAY = 0.006
"""Seconds between a file operation and the kill that is aimed at it: as long as the writing of a file takes."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM)


@dataclass(frozen=True)
class Reference:
    """A job that nobody interrupted: what it made, what it leaves hidden (a lock), how long it took, its events."""

    results: Results
    hidden: frozenset[str]
    seconds: float
    file_events: int


def measure_reference(job: Job, folder: Path) -> Reference:
    """Runs a job to its end.

    Raises:
        RuntimeError: It fails, or leaves something behind.
    """
    folder.mkdir(parents=True)
    read, write = os.pipe()

    def work() -> None:
        _on_file_events(lambda _: os.write(write, b"."))
        in_folder(folder, job.start)

    started = time.monotonic()
    pid = fork(work, folder / "log")
    os.close(write)
    events = 0
    while block := os.read(read, 65536):
        events += len(block)
    os.close(read)
    ended = wait(pid, folder / "log", 60.0)
    seconds = time.monotonic() - started
    if ended.status or ended.orphans:
        raise RuntimeError(f"{job.name} does not run: {ended}")
    reference = Reference(job.results(folder / "out"), frozenset(leftovers(folder / "out")), seconds, events)
    shutil.rmtree(folder)
    return reference


def kill_round(job: Job, reference: Reference, folder: Path, seed: int, number: int) -> list[Finding]:
    """Interrupts a job once, looks at what is there, goes on to the end, and compares.

    Args:
        job: The job.
        reference: The same job, uninterrupted.
        folder: Made for this round, and removed.
        seed: Of the campaign.
        number: Of the round: even ones are `kill -9`, odd ones SIGTERM; what else is random follows from it.

    Returns:
        What was found.
    """
    rng = random.Random(f"{seed} {job.name} {number}")
    chosen = SIGNALS[number % 2]
    folder.mkdir(parents=True)
    log, out = folder / "log", folder / "out"
    wrong: list[tuple[str, str]] = []
    try:
        while True:
            ended, moment = _interrupted(job, reference, folder, chosen, rng)
            if moment:
                break
            shutil.rmtree(folder)
            folder.mkdir()
        wrong += _complaints(ended, f"{chosen.name} {moment}")
        wrong += [(f"after {chosen.name}: not whole", f"{moment}: {each}") for each in job.check(out)]
        log.unlink(missing_ok=True)
        ended = run(lambda: in_folder(folder, job.start), log)
        wrong += finished(job, reference, ended, out, f"{chosen.name} {moment}, then resumed")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [Finding(f"kill/{job.name}", error, "", detail[-2000:], seed, number) for error, detail in wrong]


def finished(job: Job, reference: Reference, ended: Ended, out: Path, how: str) -> list[tuple[str, str]]:
    """What is wrong with a job that went on to its end: `(error, detail)` each."""
    wrong = _complaints(ended, how)
    if ended.status:
        return [*wrong, ("cannot go on", f"{how}: status {ended.status}: {ended.output[-1500:]}")]
    try:
        differ = differing(reference.results, job.results(out))
    except Exception as error:
        return [*wrong, ("no result", f"{how}: {type(error).__name__}: {error}")]
    wrong += [(f"{name} differ", how) for name in differ]
    if left := set(leftovers(out)) - reference.hidden:
        wrong.append(("leftovers", f"{how}: {', '.join(sorted(left))}"))
    return wrong


def _complaints(ended: Ended, how: str) -> list[tuple[str, str]]:
    """What no process may do, however it ends."""
    seen = {
        "traceback": "Traceback" in ended.output,
        "orphans": ended.orphans,
        "does not end": ended.late,
    }
    return [(error, f"{how}: {ended.output[-1500:]}") for error, true in seen.items() if true]


def _interrupted(
    job: Job, reference: Reference, folder: Path, chosen: signal.Signals, rng: random.Random
) -> tuple[Ended, str]:
    """Starts a job and sends it a signal: at any time, at a file operation, shortly after one, or as a file grows.

    Returns:
        How it ended, and the moment in words; '' if it had ended before the signal.
    """
    how = rng.choice(["at a time", "in a file operation", "after a file operation", "as a file changes"])
    delay = rng.uniform(0.0, reference.seconds) if how == "at a time" else rng.uniform(0.0, LONGEST_DELAY)
    event = rng.randint(1, reference.file_events // (2 if how == "as a file changes" else 1))
    read, write = os.pipe()

    def on_event(count: int) -> None:
        if count == event and how == "in a file operation":
            os.kill(os.getpid(), chosen)
        if count == event and how == "after a file operation":
            os.write(write, b".")

    def work() -> None:
        _on_file_events(on_event)
        in_folder(folder, job.start)

    pid = fork(work, folder / "log")
    os.close(write)
    if how == "after a file operation":
        select.select([read], [], [], 60.0)  # or until it has ended
    if how == "as a file changes":
        _await_changes(pid, folder / "out", event)
    if how != "in a file operation":
        time.sleep(delay)
    late = how != "in a file operation" and not _runs(pid)
    if how != "in a file operation" and not late:
        os.kill(pid, chosen)  # it is not waited for yet, so the number is still its own
    ended = wait(pid, folder / "log", 60.0)
    os.close(read)
    if late:
        return ended, ""
    moment = f"after {delay * 1e3:.1f} ms" if how == "at a time" else f"{how}, number {event} of the run"
    return ended, moment + (f" + {delay * 1e3:.1f} ms" if how.endswith(("changes", "after a file operation")) else "")


def _await_changes(pid: int, folder: Path, count: int) -> None:
    """Waits until a file below a folder has changed so many times (libraries write what Python sees nothing of)."""
    last: list[tuple[str, int]] = []
    while count and _runs(pid):
        now = _sizes(str(folder))
        count -= now != last
        last = now
        time.sleep(0.0003)


def _runs(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _sizes(folder: str) -> list[tuple[str, int]]:
    sizes = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            sizes += _sizes(entry.path) if entry.is_dir() else [(entry.path, entry.stat().st_size)]
    return sizes


def _on_file_events(call: Callable[[int], object]) -> None:
    """Calls back before each operation of this process that changes a folder or opens a file to write."""
    count, writing = 0, os.O_WRONLY | os.O_RDWR | os.O_CREAT
    owner = os.getpid()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in FILE_EVENTS or (event == "open" and isinstance(arguments[2], int) and arguments[2] & writing):
            if os.getpid() != owner:  # a pool's process, forked with the hook
                return
            count += 1
            call(count)

    sys.addaudithook(hook)

"""Mutated inputs, one after the other in a forked worker that is replaced when it dies or hangs."""

import contextlib
import faulthandler
import json
import mmap
import os
import resource
import shutil
import signal
import struct
import tempfile
import time
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path

from dacformer.errors import UserError
from torture.findings import Finding, where_dumped, where_raised
from torture.formats import CANARY
from torture.guard import MOST_MEMORY, Escape, Guard
from torture.kinds import Kind, Variant
from torture.processes import Ended, fork, wait
from torture.workshop import Workshop

MOST_SECONDS = 2.0
"""Of the processor's time, for one input."""
HANG_SECONDS = 20.0
"""Of the clock's time, for one that waits for something."""
LONGEST_MESSAGE = 2000
WORN_OUT = 600 << 20
"""A worker that holds so much memory is replaced."""


class Slot:
    """What a worker is at, where its watcher can see it."""

    def __init__(self) -> None:
        """Makes memory that forks share."""
        self._memory = mmap.mmap(-1, 24)

    def set(self, number: int) -> None:
        """The worker begins an input."""
        self._memory[:] = struct.pack("<qdd", number, time.monotonic(), time.process_time())

    def get(self) -> tuple[int, float, float]:
        """Number, clock and processor time at its beginning; number -1 before the first."""
        return struct.unpack("<qdd", self._memory[:])


def try_batch(kind: Kind, workshop: Workshop, seed: int, numbers: range, folder: Path) -> list[Finding]:
    """Tries inputs.

    Args:
        kind: Of which kind.
        workshop: What they are tried on.
        seed: Of the campaign.
        numbers: Which of them.
        folder: Made for this batch, and removed.

    Returns:
        What was found, once for each time it was found.
    """
    found: list[Finding] = []
    at = numbers.start
    try:
        while at < numbers.stop:
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "sandbox").mkdir(parents=True)
            slot = Slot()
            slot.set(at)
            pid = fork(lambda: _work(kind, workshop, seed, range(at, numbers.stop), folder, slot), folder / "log")  # noqa: B023
            killed = _watch(pid, slot)
            ended = wait(pid, folder / "log", HANG_SECONDS)
            last = slot.get()[0]
            found += _reported(folder)
            if ended.status == 0 and not ended.orphans:
                at = last + 1
                continue
            error = "hang" if killed else _death(ended)
            name = kind.make(seed, last)[0].file
            dump = (folder / "stack").read_text(errors="replace") if (folder / "stack").exists() else ""
            found.append(
                Finding(
                    f"input/{kind.name}",
                    error,
                    where_dumped(dump),
                    dump[:3000] or ended.output[-3000:],
                    seed,
                    last,
                    name,
                )
            )
            at = last + 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _death(ended: Ended) -> str:
    if ended.orphans:
        return "a process went on"
    return signal.Signals(-ended.status).name if ended.status < 0 else f"exit {ended.status}"


def _reported(folder: Path) -> list[Finding]:
    path = folder / "found.jsonl"
    return [Finding(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def _watch(pid: int, slot: Slot) -> bool:
    """Waits for a worker; kills it, and says so, when one input takes it too long."""
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        _, started, used = slot.get()
        waiting = time.monotonic() - started
        if waiting > MOST_SECONDS and (waiting > HANG_SECONDS or _processor_seconds(pid) - used > MOST_SECONDS + 0.2):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)  # faulthandler writes where it is
                time.sleep(0.2)
                os.kill(pid, signal.SIGKILL)
            return True
        time.sleep(0.02)
    return False


def _processor_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _work(kind: Kind, workshop: Workshop, seed: int, numbers: range, folder: Path, slot: Slot) -> None:
    """The worker: tries one input after the other, and writes down what it finds."""
    sandbox = folder / "sandbox"
    os.chdir(sandbox)
    tempfile.tempdir = str(sandbox)
    warnings.simplefilter("ignore")
    stack = (folder / "stack").open("w")
    faulthandler.enable(stack)
    faulthandler.register(signal.SIGUSR1, stack)
    with (folder / "found.jsonl").open("w", buffering=1) as report:
        guard = Guard(folder)
        for number in numbers:
            slot.set(number)
            variant, data = kind.make(seed, number)
            slot.set(number)  # the making does not count
            for error, where, detail in try_one(variant, data, workshop, sandbox, guard):
                finding = Finding(f"input/{kind.name}", error, where, detail, seed, number, variant.file)
                report.write(json.dumps(asdict(finding)) + "\n")
            if guard.resident() > WORN_OUT:
                return


def try_one(
    variant: Variant, data: bytes, workshop: Workshop, sandbox: Path, guard: Guard
) -> list[tuple[str, str, str]]:
    """Tries one input.

    Args:
        variant: What it is.
        data: The input.
        workshop: What it is tried on.
        sandbox: The only folder that may be changed.
        guard: Watches over this process.

    Returns:
        `(error, where, detail)` of all that is wrong with what happened.
    """
    place = sandbox / variant.file.replace("/", "_")
    path = place / variant.file
    if not place.is_dir() and variant.around is not None:
        shutil.copytree(variant.around, place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    wrong: list[tuple[str, str, str]] = []
    started = time.process_time()
    guard.begin()
    where = ""
    try:
        variant.try_one(path, workshop)
    except (UserError, OSError) as error:
        where = where_raised(error)
        wrong += _judge_message(error, where)
    except Escape as error:
        where = where_raised(error)
    except BaseException as error:
        where = where_raised(error)
        text = "".join(traceback.format_tb(error.__traceback__, limit=-3))
        own = isinstance(error, AssertionError) and not where  # a check of `kinds`, which says what it checks
        name = str(error).partition(":")[0] if own else type(error).__name__
        wrong.append((name, variant.file if own else where, f"{type(error).__name__}: {error!s:.500}\n{text[-1500:]}"))
    finally:
        guard.end()
    seconds, grown = time.process_time() - started, guard.grown()
    wrong += [(f"escape: {escape.partition(' ')[0]}", where, escape) for escape in set(guard.escapes)]
    for canary in (sandbox / CANARY, path.parent / CANARY):
        if canary.exists():
            canary.unlink()
            wrong.append(("the canary sang", where, "code in the input was executed"))
    if seconds > MOST_SECONDS:
        wrong.append(("slow", where, f"{seconds:.1f} s of processor time"))
    if grown > MOST_MEMORY:
        wrong.append(("memory", where, f"{grown >> 20} MB"))
    return wrong


def _judge_message(error: Exception, where: str) -> list[tuple[str, str, str]]:
    """What is wrong with an error that a person would be shown."""
    wrong = []
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            wrong.append(("memory", where, f"asked for too much, and refused only by the limit: {cause}"))
        cause = cause.__cause__ or cause.__context__
    if len(str(error)) > LONGEST_MESSAGE:
        wrong.append(("endless message", where, f"{len(str(error))} characters: {error!s:.300}"))
    return wrong


def replay(kind: Kind, finding: Finding, data: bytes, workshop: Workshop, folder: Path) -> None:
    """Does with an input what the campaign did, in this process, without a net; the traceback is the answer."""
    variant = next(each for each in kind.variants if each.file == finding.name)
    path = folder / variant.file
    if variant.around is not None:
        shutil.copytree(variant.around, folder, dirs_exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.chdir(folder)
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    before = time.process_time()
    try:
        variant.try_one(path, workshop)
    finally:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"{time.process_time() - before:.2f} s of processor time; {peak} MB at the highest, the imports included")

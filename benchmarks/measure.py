"""How a row is measured: two things in turns, so that a busy machine slows both; memory in processes of its own."""

import math
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from benchmarks.limits import target_ratio

K, V, C, W = (
    4,
    1024,
    24,
    86,
)  # codebooks, codebook size, condition, window: as with 8 textures and the small codec
FRAME_RATE = 44_100 / 512


@dataclass(frozen=True)
class Row:
    """What was measured for one line of the table.

    Attributes:
        ours: The figure, in `unit`.
        baseline: What it is compared with, in `unit`.
        unit: Of both.
        ratio: How many times better ours is.
        asked: The ratio asked for whatever the machine; None if none was.
        limit_ratio: The ratio if ours ran at the machine's limit; None where no limit is known.
        share: Of the limit, what is expected.
        note: Whatever else was measured.
        name: What was measured.
        seconds: How long that took.
    """

    ours: float
    baseline: float
    unit: str
    ratio: float
    asked: float | None = None
    limit_ratio: float | None = None
    share: float = 1.0
    note: str = ""
    name: str = ""
    seconds: float = 0.0

    @property
    def target(self) -> float:
        """The ratio that this machine can be asked for."""
        return target_ratio(self.asked, self.limit_ratio, self.share)

    @property
    def limit_share(self) -> float | None:
        """The share of the limit that ours reaches."""
        return None if self.limit_ratio is None else self.ratio / self.limit_ratio

    @property
    def met(self) -> bool:
        """Whether the target is."""
        return self.ratio >= self.target

    def to_json(self) -> dict[str, Any]:
        """A plain form, with all that follows from the figures."""
        return asdict(self) | {
            "target": self.target,
            "limit_share": self.limit_share,
            "met": self.met,
        }


def interleave(*calls: Callable[[], object], seconds: float = 8.0) -> list[list[float]]:
    """Times calls in turns until their ratio is settled.

    Args:
        *calls: Each is called once before, untimed.
        seconds: The most that is spent, unless three turns take longer.

    Returns:
        For each call its times in seconds.
    """
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    until = time.perf_counter() + seconds
    while len(times[0]) < 3 or (time.perf_counter() < until and not settled(times)):
        for call, kept in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            kept.append(time.perf_counter() - start)
    return times


def settled(times: list[list[float]]) -> bool:
    """Whether ten turns at least were taken, and the median ratio of first to last is known to 1 %.

    The standard error of a median is 0.93 times the middle half's width over the root of their number.
    """
    if len(times[0]) < 10:
        return False
    ratios = [a / b for a, b in zip(times[0], times[-1], strict=True)] if len(times) > 1 else times[0]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return high - low < 0.01 * middle * math.sqrt(len(ratios))


def spread(times: list[float]) -> str:
    """Middle half of the times, in milliseconds."""
    low, _, high = statistics.quantiles(times, n=4)
    return f"{low * 1000:.2f}..{high * 1000:.2f} ms"


def peak_memory(work: Callable[..., Callable[[], object]], *arguments: Any) -> float:
    """MB that a call needs at most, in a new process, beside what `work` holds, which prepares and returns the call."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_grown, (work, arguments))


def _grown(work: Callable[..., Callable[[], object]], arguments: tuple[Any, ...]) -> float:
    call = work(*arguments)
    process, done = psutil.Process(), threading.Event()
    held = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not done.wait(0.002):
            most = max(most, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    call()
    done.set()
    watcher.join()
    return (most - held) / 1e6

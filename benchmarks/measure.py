"""How rows are measured: two things in turns, so that a busy machine slows both; memory in processes of its own."""

import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import psutil
import torch

Row = dict[str, Any]
K, V, C, W = 4, 1024, 24, 86  # codebooks, codebook size, condition, window: as with 8 textures and the small codec
FRAME_RATE = 44_100 / 512


def interleave(ours: Callable[[], object], baseline: Callable[[], object], seconds: float = 8.0) -> tuple[list, list]:
    """Times two calls in turns for about so many seconds: `(times of ours, times of baseline)` in seconds."""
    ours(), baseline()
    times: tuple[list[float], list[float]] = ([], [])
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times[0]) < 5:
        for call, kept in zip((ours, baseline), times, strict=True):
            start = time.perf_counter()
            call()
            kept.append(time.perf_counter() - start)
    return times


def row(name: str, ours: float, baseline: float, ratio: float, target: float, unit: str, note: str = "") -> Row:
    return {
        "name": name,
        "ours": f"{ours:.3g} {unit}",
        "baseline": f"{baseline:.3g} {unit}",
        "ratio": round(ratio, 2),
        "target": target,
        "limit_share": None,  # of what the machine could do at most, where there is a limit
        "met": bool(ratio >= target),
        "note": note,
    }


def spread(times: list[float]) -> str:
    """Middle half of the times, in milliseconds."""
    low, _, high = statistics.quantiles(times, n=4)
    return f"{low * 1000:.2f}..{high * 1000:.2f} ms"


@cache
def read_bandwidth() -> float:
    """Bytes per second that this machine reads from memory, on all threads: the best of some sums of 400 MB."""
    numbers = torch.ones(100_000_000)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        numbers.sum()
        times.append(time.perf_counter() - start)
    return 4 * len(numbers) / min(times)


@cache
def matrix_peak(dtype: torch.dtype, device: str = "cpu") -> float:
    """Multiplications and additions a second in matrix products: the best of some of 2048^3 (8192^3 elsewhere)."""
    size = 2048 if device == "cpu" else 8192
    a, b = torch.randn(2, size, size).to(device, dtype)
    times = []
    for _ in range(8):
        start = time.perf_counter()
        (a @ b)[0, 0].item()  # waits until it is done
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


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

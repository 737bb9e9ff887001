"""What the machine could do at most, measured in the run, and the targets that follow from it.

One rule holds for every row: *ours should be as many times faster than the baseline as was asked, or reach a stated
share of the machine's limit, whichever is less* (`target_ratio`). Each function below derives a limit from the peaks.

`P` is the number of weights that a frame is multiplied by, `W` the window in frames.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dacformer.hardware import computes_in_bfloat16

PRECISION = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


@dataclass(frozen=True)
class Limits:
    """Peaks of this machine.

    Attributes:
        float32_peak: Multiplications and additions a second in float32 matrix products, all threads.
        bfloat16_peak: The same in bfloat16; None where that is emulated, and so not measured.
        read_one: Bytes a second that one thread reads from memory.
        read_all: Bytes a second that all threads read together.
        wide: Whether torch uses vectors of 512 bits.
    """

    float32_peak: float
    bfloat16_peak: float | None
    read_one: float
    read_all: float
    wide: bool

    @property
    def precision(self) -> torch.dtype:
        """The fastest arithmetic that the hardware computes in natively."""
        return torch.float32 if self.bfloat16_peak is None else torch.bfloat16

    @property
    def peak(self) -> float:
        """The matrix peak in `precision`."""
        return self.float32_peak if self.bfloat16_peak is None else self.bfloat16_peak


def target_ratio(asked: float | None, limit_ratio: float | None, share: float) -> float:
    """Computes the ratio that a machine can be asked for: `min(asked, share * limit_ratio)`.

    Args:
        asked: The ratio asked for whatever the machine; None if none was.
        limit_ratio: The ratio that would be measured if ours ran at the limit and the baseline as it did; None
            where no limit is known.
        share: Of the limit, what good code is expected to reach.
    """
    return min(
        math.inf if asked is None else asked,
        math.inf if limit_ratio is None else share * limit_ratio,
    )


def frames_per_second(limits: Limits, weights: int) -> float:
    """One stream on one thread: each frame reads `P` weights of a byte, so `read_one / P`.

    A window computed anew takes at least `2 W P / float32_peak` seconds a frame, so with both at their limits the
    ring is `2 W read_one / float32_peak` times faster. Weights that stay in a cache are read faster than this.
    """
    return limits.read_one / weights


def batch_ratio(limits: Limits, streams: int) -> float:
    """Streams side by side against one: `float32_peak / read_one`, at most their number.

    One stream is bound by reading, `read_one` weights a second on one thread. Many are bound by products of integers on
    all threads. These are twice as fast as those of float32, of which `float32_peak` counts two operations for each
    weight: `float32_peak` weights a second.
    """
    return min(streams, limits.float32_peak / limits.read_one)


def sound_ratio(limits: Limits, weights: int, frame_rate: float, work: float) -> float:
    """Codes and sound against real time: `1 / (frame_rate P / read_one + work / peak)`.

    Args:
        limits: The machine's.
        weights: `P`.
        frame_rate: Frames per second of sound.
        work: Multiplications and additions of the decoder per second of sound.
    """
    return 1.0 / (frame_rate / frames_per_second(limits, weights) + work / limits.peak)


def sound_asked(limits: Limits) -> float:
    """Codes and sound with `small`, times real time: 10 with vectors of 512 bits, 8 without."""
    return 10.0 if limits.wide else 8.0


def measure_limits(seconds: float = 1.0) -> Limits:
    """Measures the peaks, each for some seconds."""
    return Limits(
        float32_peak=matrix_peak(torch.float32, seconds=seconds),
        bfloat16_peak=matrix_peak(torch.bfloat16, seconds=seconds) if computes_in_bfloat16() else None,
        read_one=read_bandwidth(1, seconds),
        read_all=read_bandwidth(torch.get_num_threads(), seconds),
        wide=torch.backends.cpu.get_cpu_capability() == "AVX512",
    )


def matrix_peak(dtype: torch.dtype, device: str = "cpu", seconds: float = 1.0) -> float:
    """Multiplications and additions a second in products of square matrices, of 1024 rows (8192 elsewhere)."""
    size = 1024 if device == "cpu" else 8192
    a, b = torch.randn(2, size, size).to(device, dtype)
    return 2 * size**3 / _least(lambda: (a @ b)[0, 0].item(), seconds)  # waits until it is done


def read_bandwidth(threads: int, seconds: float) -> float:
    """Bytes a second that so many threads read from memory: 256 MB, more than a cache holds."""
    numbers, usual = torch.ones(64_000_000), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return numbers.nbytes / _least(numbers.sum, seconds)
    finally:
        torch.set_num_threads(usual)


def _least(call: Callable[[], object], seconds: float) -> float:
    """The least time of a call, of as many as fit into some seconds, and of three at least."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < until:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)

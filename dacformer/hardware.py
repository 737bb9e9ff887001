"""Detects what the processor computes natively, by asking or measuring, never by a model's name."""

import functools
import platform
import time

import torch


@functools.cache
def computes_in_bfloat16(device_type: str = "cpu") -> bool:
    """Tells whether matrix products are faster in bfloat16 than in float32 on a device.

    A processor without bfloat16 instructions emulates them, up to 60 times slower. On x86 the answer is
    whether the processor has the instructions and torch uses them (`ATEN_CPU_CAPABILITY` can forbid
    that). On other processors it is measured.

    Args:
        device_type: `cpu`, `cuda` or `mps`.

    Returns:
        True if bfloat16 is faster. Always False on `mps`, which was not measured.
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu":
        return False
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.backends.cpu.get_cpu_capability() == "AVX512" and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
    return 1.5 * _product_seconds(torch.bfloat16) < _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype, size: int = 256) -> float:
    """Times the product of two square matrices: the shortest of five runs, in seconds."""
    matrix = torch.ones(size, size, dtype=dtype)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        times.append(time.perf_counter() - start)
    return min(times)

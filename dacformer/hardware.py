"""What the processor at hand computes natively. Nothing here is guessed from a model's name."""

import functools
import platform
import time

import torch


@functools.cache
def computes_in_bfloat16(device_type: str = "cpu") -> bool:
    """Whether products of bfloat16 matrices are faster than those of float32 on a device.

    A processor without such instructions emulates them, up to 60 times slower. An x86 processor is asked for the
    instructions, as far as torch uses them (`ATEN_CPU_CAPABILITY` can forbid that). Any other is measured.

    Args:
        device_type: `cpu`, `cuda` or `mps`.

    Returns:
        True where bfloat16 pays. Always False on `mps`, where nobody has measured it.
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
    """The least time of five products of two square matrices."""
    matrix = torch.ones(size, size, dtype=dtype)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        times.append(time.perf_counter() - start)
    return min(times)

"""The allocator of the system, told to keep what is needed again at once."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # names and numbers of glibc's malloc.h


def keep_freed_memory() -> None:
    """Makes glibc keep the memory of freed tensors for the next ones.

    Left alone it hands every large block back to the system and gets it again, zeroed page by page, at once: a fifth
    of a training step on a CPU, a third of decoding and encoding (docs/log.md). Where there is no glibc, nothing
    happens.
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(_M_MMAP_MAX, 0)
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)

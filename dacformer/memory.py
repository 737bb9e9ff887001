"""Memory: how much there is, and the system's allocator, told to keep what is needed again at once."""

import ctypes
import sys
from pathlib import Path

import psutil

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # names and numbers of glibc's malloc.h
_GROUP = Path("/sys/fs/cgroup")  # where a container's limit is told


def keep_freed_memory() -> None:
    """Makes glibc keep the memory of freed tensors for the next ones.

    Left alone it hands every large block back to the system and gets it again, zeroed page by page, at once: a fifth
    of a training step on a CPU, a third of decoding and encoding (docs/log.md). Where there is no glibc, nothing
    happens.
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(_M_MMAP_MAX, 0)
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def available_memory() -> int:
    """Bytes that can be allocated now: of the machine, or of the container that this runs in."""
    available = psutil.virtual_memory().available
    try:
        limit, used = ((_GROUP / name).read_text() for name in ("memory.max", "memory.current"))
        return min(available, int(limit) - int(used))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return available

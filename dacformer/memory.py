"""Memory: how much is free, and a setting of the system's allocator."""

import ctypes
import sys
from pathlib import Path

import psutil

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # names and numbers of glibc's malloc.h
_GROUP = Path("/sys/fs/cgroup")  # holds a container's limit


def keep_freed_memory() -> None:
    """Makes glibc keep the memory of freed tensors for the next ones, in the whole process.

    By default glibc returns every large block to the system and gets it back at once, zeroed page by
    page. On a CPU that takes a fifth of a training step and a third of decoding and encoding
    (docs/log.md). Without glibc this does nothing.
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(_M_MMAP_MAX, 0)
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def available_memory() -> int:
    """Returns the bytes that can be allocated now, on the machine or in the container that this runs in."""
    available = psutil.virtual_memory().available
    try:
        limit, used = ((_GROUP / name).read_text() for name in ("memory.max", "memory.current"))
        return min(available, int(limit) - int(used))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return available

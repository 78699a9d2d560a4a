"""What training asks of the memory allocator."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # mallopt(3)
TRIM_AT, MMAP_AT = 1 << 30, 32 << 20  # bytes; glibc takes no larger MMAP_THRESHOLD


def keep_memory() -> bool:
    """Lets the process keep the memory that it frees, for its next step; whether it could.

    A step frees its activations and the next one asks for as much: glibc's malloc gives blocks
    back to the system in between, and each page costs a fault when it comes again. Blocks up to
    32 MiB now come from the heap, which shrinks only when 1 GiB at its end is free. The memory of
    the process does not go below its peak by more than that: this holds for the whole process, so
    that the command line calls it and `fit` does not. Other allocators are left as they are.

    Example:
        >>> from vaekit.training import keep_memory
        >>> kept = keep_memory()
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(MMAP_THRESHOLD, MMAP_AT) and mallopt(TRIM_THRESHOLD, TRIM_AT))

"""What evaluation asks of the memory allocator."""

from __future__ import annotations

import torch

__all__ = ["keep_freed"]

LARGEST = 31 << 20  # bytes; from 32 MiB on glibc does not learn


def keep_freed() -> None:
    """Lets the process keep what it frees, where glibc's malloc would give it back.

    Buffers of some MiB, allocated and freed for every chunk of draws, otherwise cost thousands of
    page faults for each image: more than the arithmetic. The C library raises its thresholds to
    the size of the largest mapped block that was freed (mallopt(3), M_MMAP_THRESHOLD); this one is
    never touched, so it costs microseconds. Other allocators do not mind.
    """
    torch.empty(LARGEST, dtype=torch.uint8)

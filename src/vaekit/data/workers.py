"""Threads that work ahead, and give their results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

T = TypeVar("T")
MOST = 32


def in_order(work: Callable[[range], T], total: int, block: int) -> Iterator[T]:
    """`work(rows)` for blocks of `range(total)`, by as many threads as there are cores.

    They are at most two blocks per thread ahead, so what is not yet taken stays small.

    Example:
        >>> list(in_order(list, 5, block=2))
        [[0, 1], [2, 3], [4]]
    """
    many = min(_cores(), MOST)
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(many)
    try:
        for start in range(0, total, block):
            waiting.append(pool.submit(work, range(start, min(start + block, total))))
            if len(waiting) > 2 * many:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

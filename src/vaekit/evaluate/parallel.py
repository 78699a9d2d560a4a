"""Work side by side: one core for each piece, in place of all cores for one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["side_by_side"]

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(
    work: Callable[[T], R], items: Iterable[T], device: torch.device | str = "cpu"
) -> Iterator[R]:
    """`work(item)` of each item, in order, without gradients, on as many threads as torch has.

    torch shares each operation among its threads, which wait for each other; here each has an item
    of its own. Items are taken one by one in the calling thread, so that what they draw is the
    same for any number of threads; at most one more than there are threads is held. Another device
    than the CPU has its own way: one item after the other.

    Example:
        >>> list(side_by_side(lambda n: n * n, range(5)))
        [0, 1, 4, 9, 16]
    """
    threads = torch.get_num_threads() if torch.device(device).type == "cpu" else 1
    if threads == 1:
        with torch.no_grad():
            yield from map(work, items)
        return

    def alone(item: T) -> R:
        with torch.no_grad():  # gradients are switched off for each thread by itself
            return work(item)

    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        torch.set_num_threads(1)  # here too, where the others of torch would wait by spinning
        try:
            for item in items:
                waiting.append(pool.submit(alone, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            torch.set_num_threads(threads)

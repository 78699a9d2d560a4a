"""Processes that stay alive, one for each side, and the rounds in which they take turns."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Side", "alternate", "quartiles", "ratios", "spread"]


class Side:
    """A process that makes one contestant and then calls its methods.

    Args:
        make: importable, called in the process: returns the contestant.
        arguments: of `make`.
        threads: of torch.
        flush: whether denormal numbers become zero there.
        keep: whether freed memory is kept there, as our command line does.
    """

    def __init__(
        self,
        make: Callable[..., Any],
        *arguments: Any,
        threads: int,
        flush: bool = True,
        keep: bool = False,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, end = context.Pipe()
        start = (end, make, arguments, threads, (flush, keep))
        self._process = context.Process(target=_serve, args=start, daemon=True)
        self._process.start()
        end.close()

    def ask(self, method: str, *arguments: Any) -> Any:
        """What the contestant's method returns."""
        return self._call(method, arguments)[1]

    def seconds(self, method: str = "run", *arguments: Any) -> float:
        """How long it takes."""
        return self._call(method, arguments)[0]

    def end(self) -> None:
        """Ends the process."""
        self._pipe.send(None)
        self._process.join()

    def _call(self, method: str, arguments: tuple[Any, ...]) -> tuple[float, Any]:
        self._pipe.send((method, arguments))
        try:
            seconds, result = self._pipe.recv()
        except EOFError:
            raise SystemExit("a side ended before it answered: too little memory?") from None
        if seconds is None:
            raise SystemExit(result)
        return seconds, result


def _serve(
    pipe: Connection,
    make: Callable[..., Any],
    arguments: Any,
    threads: int,
    switches: tuple[bool, bool],
) -> None:
    """In the process: answer until the end, or until something goes wrong."""
    threading.Thread(target=_follow, daemon=True).start()
    try:
        import torch

        torch.set_num_threads(threads)
        from vaekit._torchutil import keep_memory

        torch.set_flush_denormal(switches[0])
        if switches[1]:
            keep_memory()
        contestant = make(*arguments)
        while (call := pipe.recv()) is not None:
            method, rest = call
            began = time.perf_counter()
            result = getattr(contestant, method)(*rest)
            pipe.send((time.perf_counter() - began, result))
    except EOFError:
        pass
    except Exception:
        pipe.send((None, traceback.format_exc()))


def _follow() -> None:
    """Ends with the process that asks: what is killed there must not go on here."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def alternate(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each call returns, A B A B: neighbors in time stand at the same place.

    Example:
        >>> alternate({"a": lambda: 2.0, "b": lambda: 3.0}, rounds=2)
        {'a': [2.0, 2.0], 'b': [3.0, 3.0]}
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, call in sides.items():
            times[name].append(call())
    return times


def ratios(theirs: list[float], ours: list[float]) -> list[float]:
    """Their time by ours, round by round.

    Example:
        >>> ratios([4.0, 9.0], [2.0, 3.0])
        [2.0, 3.0]
    """
    return [a / b for a, b in zip(theirs, ours, strict=True)]


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper one.

    Example:
        >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
        (2.0, 3.0, 4.0)
    """
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, statistics.median(values), high


def spread(measure: str, values: list[float]) -> dict[str, float]:
    """The median of ratios under its name, and the quartiles under theirs.

    Example:
        >>> spread("gain (median of ratios)", [1.0, 2.0, 3.0])
        {'gain (median of ratios)': 2.0, 'gain (lower quartile)': 1.5, 'gain (upper quartile)': 2.5}
    """
    low, middle, high = quartiles(values)
    ends = {"lower": low, "upper": high}
    named = {measure.replace("median of ratios", f"{end} quartile"): ends[end] for end in ends}
    return {measure: middle, **named}

"""Whether steps take much longer than they did, as where another process uses the cores."""

from __future__ import annotations

import math
from time import perf_counter

LEAST = 10  # steps whose mean is one look
SECONDS = 1.0  # that a look takes at least
SLOW = 3.0  # times the fastest look
LOOKS = 3  # slow ones in a row before a word is said
BUSY = (
    "steps take {:.0f} times as long as the fastest ones did: another process may use the cores, "
    "and the threads of a step wait for each other. End it, or stop here and go on by `vaekit "
    "train --resume {} --threads 1`."
)


class Pace:
    """The seconds of a training's steps, and a word, once, where they became slow.

    Example:
        >>> pace = Pace()
        >>> for seconds in [0.125] * 20 + [0.5] * 30:
        ...     if slower := pace.add(seconds):
        ...         print(f"{slower:.0f} times")
        4 times
    """

    def __init__(self) -> None:
        self.fastest, self.looks, self.said = math.inf, 0, False
        self.seconds, self.steps, self.began = 0.0, 0, math.nan

    def begin(self) -> None:
        """Say that a step begins: what was done since the last one ended is not its time."""
        self.began = perf_counter()

    def end(self) -> float | None:
        """Say that a step has ended, and `add` it, if it was said that it began."""
        began, self.began = self.began, math.nan
        return None if math.isnan(began) else self.add(perf_counter() - began)

    def add(self, seconds: float) -> float | None:
        """Add a step; return how many times slower than the fastest they are, where it is time."""
        self.seconds, self.steps = self.seconds + seconds, self.steps + 1
        if self.steps < LEAST or self.seconds < SECONDS:
            return None
        mean, self.seconds, self.steps = self.seconds / self.steps, 0.0, 0
        self.fastest = min(self.fastest, mean)
        self.looks = self.looks + 1 if mean > SLOW * self.fastest else 0
        if self.said or self.looks < LOOKS:
            return None
        self.said = True
        return mean / self.fastest

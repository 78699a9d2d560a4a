"""The few pieces of SVG that the charts are drawn with; the page's style sheet colours them."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

__all__ = ["Axis", "element", "label", "text", "ticks", "value"]


def element(name: str, content: str = "", **attributes: str | float) -> str:
    """An element; numbers are rounded to 2 digits, `_` in names is `-`, a last `_` is dropped.

    Example:
        >>> element("circle", cx=1.2345, cy=2, class_="train")
        '<circle cx="1.23" cy="2" class="train"></circle>'
    """
    pairs = (
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(item)}"'
        for key, item in attributes.items()
    )
    return f"<{name}{''.join(pairs)}>{content}</{name}>"


def _attribute(item: str | float) -> str:
    return html.escape(item) if isinstance(item, str) else f"{round(item, 2):g}"


def text(words: str, x: float, y: float, *, anchor: str = "start", class_: str = "") -> str:
    """A line of text, escaped.

    Example:
        >>> text("a < b", 3, 4)
        '<text x="3" y="4" text-anchor="start" class="">a &lt; b</text>'
    """
    return element("text", html.escape(words), x=x, y=y, text_anchor=anchor, class_=class_)


def value(number: float) -> str:
    """A number of nats for a reader: four or five digits, and a true minus sign.

    Example:
        >>> value(-103.239), value(2.5)
        ('−103.2', '2.50')
    """
    if abs(number) >= 1e6:
        return f"{number:.3g}".replace("-", "−")
    return f"{number:,.{1 if abs(number) >= 100 else 2}f}".replace("-", "−")


def ticks(low: float, high: float, *, most: int = 5, whole: bool = False) -> list[float]:
    """Round numbers in [low, high], whole ones where asked; `low` below `high`.

    Example:
        >>> ticks(-110, -101), ticks(1, 3, whole=True)
        ([-110, -108, -106, -104, -102], [1, 2, 3])
    """
    raw = (high - low) / most
    power = math.floor(math.log10(raw))
    digit = next(d for d in (1, 2, 5, 10) if d * 10.0**power >= raw * (1 - 1e-9))
    step = digit * 10.0**power
    if whole or step >= 1:
        step = max(1, round(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def label(tick: float, step: float) -> str:
    """A tick's number with the digits that the step between ticks asks for.

    Example:
        >>> label(-0.25, 0.05), label(-1000, 500), label(2e6, 1e6)
        ('−0.25', '−1000', '2e+06')
    """
    if abs(tick) >= 1e6 or step < 1e-4:
        return f"{tick:.4g}".replace("-", "−")
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{tick:.{digits}f}".replace("-", "−")


@dataclass(frozen=True)
class Axis:
    """Numbers from `low` to `high`, laid from `start` to `end` on the paper.

    Example:
        >>> Axis(0, 10, 100, 200).at(2.5)
        125.0
    """

    low: float
    high: float
    start: float
    end: float

    def at(self, number: float) -> float:
        """Where a number lies on the paper."""
        share = (number - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def holds(self, number: float) -> bool:
        """Whether a number lies between the ends."""
        return self.low <= number <= self.high

    def labels(self, *, most: int, whole: bool = False) -> list[tuple[float, str]]:
        """Places on the paper, and the round numbers there."""
        found = ticks(self.low, self.high, most=most, whole=whole)
        step = found[1] - found[0] if len(found) > 1 else 1.0
        return [(self.at(tick), label(tick, step)) for tick in found]

"""Charts as inline SVG, drawn for the width of a phone, in the colors of the page.

A chart is a title, its unit, and an `<svg>`; the classes of its elements are those of style.css.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape as escaped
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeGuard

import numpy as np

from vaekit.errors import visible

CSS = (Path(__file__).parent / "templates" / "style.css").read_text()
# The colors of the page in light, for files; "train" and "validation" are of two kinds of things.
COLORS = dict(re.findall(r"--([\w-]+): (#\w{6})", CSS[: CSS.index("@media")]))
COLORS |= {"train": COLORS["accent"], "validation": COLORS["warm"]}
LARGEST = 1e100  # what is further away is left out as if it were infinite
LETTER, LINE = 6.8, 15.0  # units that a letter is wide, and a line of text is high

Points = Sequence[tuple[float, float]]
Ends = tuple[float, float]


class Chart(NamedTuple):
    """A chart of a page: its title and unit stand above it; `words` say what it shows."""

    title: str
    unit: str
    svg: str
    words: str = ""


def escape(words: str) -> str:
    """Return words as SVG takes them: names may hold what is no letter.

    Example:
        >>> escape("a < b" + chr(27)).replace(chr(92), "/")
        'a &lt; b/x1b'
    """
    return escaped(visible(words, lines=False))


def value(number: float) -> str:
    """Return a number with the digits that it needs, and a minus sign.

    Example:
        >>> value(-103.239), value(2.5), value(-12345.6)
        ('−103.2', '2.50', '−12,346')
    """
    digits = sum(abs(number) < bound for bound in (1000, 100))
    words = f"{number:.3g}" if abs(number) >= 1e6 else f"{number:,.{digits}f}"
    return words.replace("-", "−")


def finite(number: object) -> TypeGuard[float]:
    """Return whether this is a number that a chart can show."""
    return isinstance(number, int | float) and abs(number) < LARGEST


def limits(values: Sequence[float]) -> Ends:
    """Return a range in which most values are readable: those far from the others lie outside.

    Far is more than three interquartile ranges below the first quartile or above the third.

    Example:
        >>> low, high = limits([-90000.0, -130.0, -120.0, -110.0, -105.0, -104.0])
        >>> low > -300, high > -104
        (True, True)
    """
    quarter, three_quarters = np.quantile(values, [0.25, 0.75])
    fence = 3 * (three_quarters - quarter) or math.inf
    low, high = np.clip([min(values), max(values)], quarter - fence, three_quarters + fence)
    least = max(0.1, 0.005 * abs(low + high) / 2)
    margin = max(0.06 * (high - low), (least - (high - low)) / 2)
    return float(low - margin), float(high + margin)


def ticks(ends: Ends, most: int = 5, *, whole: bool = False) -> list[float]:
    """Return round numbers between two ends: steps of 1, 2 or 5 times a power of ten.

    Example:
        >>> ticks((-0.3, 10.4)), ticks((0.9, 3.2), whole=True)
        ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [1.0, 2.0, 3.0])
    """
    low, high = ends
    rough = max((high - low) / (most + 0.5), 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def decades(ends: Ends) -> list[float]:
    """Return the powers of ten between two ends; both ends where there are fewer than two.

    Example:
        >>> decades((0.05, 20.0)), decades((2.0, 3.0))
        ([0.1, 1.0, 10.0], [2.0, 3.0])
    """
    low, high = (math.log10(end) for end in ends)
    found = [10.0**power for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
    return found if len(found) > 1 else list(ends)


@dataclass
class Plot:
    """An area with two axes, and the elements that are drawn on it.

    Attributes:
        x, y: the ends of the axes, in numbers of the data.
        size: of the whole, in units; text is 12 of them high.
        margins: left, right, top and bottom.
        log: which axes are logarithmic: "", "x", "y" or "xy".

    Example:
        >>> plot = Plot((0, 10), (0, 1), size=(200, 100), margins=(0, 0, 0, 0))
        >>> plot.at(5, 0.5)
        (100.0, 50.0)
        >>> plot.line([(0, 0), (10, 1)])
        >>> plot.svg("a line")[-51:]
        '<path class="line" d="M0.0 100.0L200.0 0.0"/></svg>'
    """

    x: Ends
    y: Ends
    size: tuple[float, float] = (400, 230)
    margins: tuple[float, float, float, float] = (46, 104, 10, 30)
    log: str = ""
    parts: list[str] = field(default_factory=list)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The left, right, top and bottom edge of the area."""
        (wide, high), (left, right, top, bottom) = self.size, self.margins
        return left, wide - right, top, high - bottom

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the data lies."""
        left, right, top, bottom = self.box
        across, up = _share(x, self.x, "x" in self.log), _share(y, self.y, "y" in self.log)
        return left + across * (right - left), bottom - up * (bottom - top)

    def add(self, element: str) -> None:
        """Add an element of SVG as it is."""
        self.parts.append(element)

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Add text at a place in units; `anchor` is "start", "middle" or "end"."""
        class_ = f' class="{kind}"' if kind else ""
        where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        self.add(f"<text{class_} {where}>{escape(words)}</text>")

    def beside(
        self, point: tuple[float, float], right: float, down: float, words: str, **how: str
    ) -> None:
        """Add text at so many units from a point of the data."""
        x, y = self.at(*point)
        self.text(x + right, y + down, words, **how)

    def upright(self, x: float, y: float, words: str) -> None:
        """Add text that is turned, and ends at a place in units."""
        where = f'transform="translate({x:.1f} {y:.1f}) rotate(-90)" text-anchor="end"'
        self.add(f"<text {where}>{escape(words)}</text>")

    def vertical(self, x: float) -> None:
        """Add a line of the grid at a value of x."""
        across, _ = self.at(x, self.y[0])
        _, _, top, bottom = self.box
        self.add(f'<path class="grid" d="M{across:.1f} {top:g}V{bottom:g}"/>')

    def grid(self, most: int = 5) -> None:
        """Add a line and its number for round values of y."""
        left, right, _, _ = self.box
        for number in decades(self.y) if "y" in self.log else ticks(self.y, most):
            _, y = self.at(self.x[0], number)
            self.add(f'<path class="grid" d="M{left:g} {y:.1f}H{right:g}"/>')
            self.text(left - 6, y + 4, short(number), anchor="end")

    def below(self, name: str, *, whole: bool = False) -> None:
        """Add round values of x under the area, and the name of the axis after them."""
        _, right, _, bottom = self.box
        for number in decades(self.x) if "x" in self.log else ticks(self.x, 4, whole=whole):
            x, _ = self.at(number, self.y[0])
            self.text(x, bottom + 18, short(number), anchor="middle")
        self.text(right + 14, bottom + 18, name)

    def line(self, found: Points, kind: str = "") -> None:
        """Add a line through points of the data; what lies above or below the area is cut off."""
        (low, high), path = self.y, ""
        for (x, y), (next_x, next_y) in pairwise(found):
            rise = next_y - y
            cuts = sorted(((low - y) / rise, (high - y) / rise)) if rise else (0.0, 1.0)
            start, end = max(cuts[0], 0.0), min(cuts[1], 1.0)
            if start >= end or not (rise or low <= y <= high):
                continue
            ends = ((x + part * (next_x - x), y + part * rise) for part in (start, end))
            first, last = (self._place(*point) for point in ends)
            path += f"L{last}" if path and not start else f"M{first}L{last}"
        self.add(f'<path class="{f"line {kind}".strip()}" d="{path}"/>')

    def dots(self, found: Points, kind: str = "points", data: str = "") -> None:
        """Add many points as one element; `data` are further attributes."""
        path = "".join(f"M{self._place(x, y)}h0" for x, y in found if finite(x) and finite(y))
        self.add(f'<path class="{kind}"{data} d="{path}"/>')

    def dot(self, point: tuple[float, float], kind: str = "", radius: float = 3.5) -> None:
        """Add one point that stands out; on the edge where it lies above or below the area."""
        across, up = self.nearest(point)
        class_ = f"dot {kind}".strip()
        self.add(f'<circle class="{class_}" r="{radius:g}" cx="{across:.1f}" cy="{up:.1f}"/>')

    def nearest(self, point: tuple[float, float]) -> tuple[float, float]:
        """Return where a point of the data lies, or the nearest place of the area."""
        return self.at(point[0], min(max(point[1], self.y[0]), self.y[1]))

    def _place(self, x: float, y: float) -> str:
        across, up = self.at(x, y)
        return f"{across:.1f} {up:.1f}"

    def label_ends(self, found: Sequence[Line]) -> None:
        """Write labels at the ends of lines, a line of text apart at least."""
        ends = [(self.nearest(line.points[-1])[1], line) for line in found]
        _, right, _, bottom = self.box
        low, top = bottom + 4 - LINE * (len(ends) - 1), -math.inf  # the lowest place of the first
        for place, (up, line) in enumerate(sorted(ends, key=lambda end: end[0])):
            top = max(min(up + 4, low + LINE * place), top + LINE)
            self.text(right + 8, top, line.end, "hot" if "accent" in line.kind else "strong")

    def svg(self, words: str) -> str:
        """Return the element; `words` say to those who cannot see it what it shows."""
        wide, high = self.size
        start = f'<svg viewBox="0 0 {wide:g} {high:g}" role="img" aria-label="{escape(words)}">'
        return f"{start}{''.join(self.parts)}</svg>"


def _share(number: float, ends: Ends, log: bool) -> float:
    """Return how far a number is along an axis."""
    low, high = map(math.log10, ends) if log else ends
    return ((math.log10(number) if log else number) - low) / ((high - low) or 1)


def cut(name: str, longest: int) -> str:
    """Return a name of so many letters at most.

    Example:
        >>> cut("an uncommonly long name", 14)
        'an uncommonly…'
    """
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def short(number: float) -> str:
    """Return a round number of an axis as it is written there.

    Example:
        >>> short(-0.30000000000000004), short(20000.0), short(5e-07)
        ('−0.3', '20,000', '5e−07')
    """
    words = f"{number:,.0f}" if 1000 <= abs(number) < 1e6 else f"{number:.6g}"
    return words.replace("-", "−")


@dataclass(frozen=True)
class Line:
    """A line of a chart: its points, what is written at its end, and its classes.

    The classes are "" (ink), "accent", "step1" to "step3" and "idle", each with "thin" or "dashed".
    """

    points: Points
    label: str = ""
    kind: str = ""

    @property
    def end(self) -> str:
        """The label with the last value; nothing without a label."""
        return f"{self.label} {value(self.points[-1][1])}" if self.label else ""


def lines(
    title: str,
    unit: str,
    found: Sequence[Line],
    *,
    x: str = "epoch",
    y: Ends | None = None,
    mark: tuple[float, float] | None = None,
    log: str = "",
) -> Chart:
    """Draw lines: of one run, or of several; the last value stands at the end of each.

    Args:
        title, unit: stand above the chart.
        found: the lines, each with a point at least; those without a label have no words.
        x: the name of the axis, whose numbers are whole.
        y: the ends of the other one; by default `limits` of all values.
        mark: a point that stands out, as that of the epoch whose weights are kept.
        log: as in `Plot`.

    Example:
        >>> chart = lines("KL", "nats", [Line([(1, 4.0), (2, 3.5)], "train")])
        >>> chart.words
        'KL by epoch, at the end: train 3.50 nats'
    """
    across, up = zip(*(point for line in found for point in line.points), strict=True)
    low, high = min(across), max(across)
    plot = Plot((low, high) if low < high else (low - 1, high + 1), y or limits(up), log=log)
    left = 12 + LETTER * max(len(short(n)) for n in (ticks(plot.y) or [0]))
    right = 14 + LETTER * max(len(line.end) for line in found)
    plot.margins = (left, max(46.0, right), 10, 30)
    plot.grid()
    plot.below(x, whole=True)
    for line in found:
        plot.line(line.points, line.kind)
        if len(line.points) == 1 or "thin" not in line.kind:
            plot.dot(line.points[-1], line.kind, 2.5)
    if mark is not None:
        plot.dot(mark, found[-1].kind, 5)
    named = [line for line in found if line.label]
    plot.label_ends(named)
    words = f"{title} by {x}, at the end: {', '.join(line.end for line in named)} {unit}".rstrip()
    return Chart(title, unit, plot.svg(words), words)


def bars(
    title: str,
    unit: str,
    heights: Sequence[float],
    names: Sequence[str] = (),
    *,
    kinds: Sequence[str] = (),
    top: float | None = None,
    axis: str = "",
    words: str = "",
) -> Chart:
    """Draw a bar for each number from 0; what is below 0 has no height.

    Args:
        title, unit: stand above the chart.
        heights: of the bars.
        names: written under them, upright; where they are long, along them.
        kinds: the class of each: "" (accent), "idle" or "ink".
        top: the end of the axis; by default a bit above the highest.
        axis: what the bars are.
        words: what the chart shows.

    Example:
        >>> bars("R²", "", [0.5, 0.9]).svg.count("<rect")
        2
    """
    longest = max(map(len, names), default=0)
    below = (12 + LETTER * longest if longest > 3 else 18 if names else 4) + (LINE if axis else 0)
    many = max(len(heights), 8)
    plot = Plot((-0.5, many - 0.5), (0, top or 1.05 * max(0.1, *heights)), (400, 196 + below))
    plot.margins = (46, 8, 10, below)
    plot.grid()
    left, right, _, bottom = plot.box
    wide = (right - left) / many
    for number, height in enumerate(heights):
        x, y = plot.at(number, min(max(height, 0), plot.y[1]))
        kind = f"bar {kinds[number] if kinds else ''}".strip()
        size = f'width="{max(0.72 * wide, 1):.2f}" height="{bottom - y:.2f}"'
        plot.add(f'<rect class="{kind}" x="{x - 0.36 * wide:.2f}" y="{y:.2f}" {size}/>')
    for number, name in enumerate(names):
        x, _ = plot.at(number, 0)
        if longest > 3:
            plot.upright(x + 4, bottom + 8, name)
        else:
            plot.text(x, bottom + 16, name, anchor="middle")
    plot.text(left, plot.size[1] - 3, axis)
    return Chart(title, unit, plot.svg(words or title), words)

"""Charts as inline SVG.

SVG, for it stays sharp at any size and on paper, weighs a few kilobytes, takes its colours from the
page in light and dark, and shows numbers under the pointer without a script.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.report.svg import Axis, element, text, value

__all__ = ["ACTIVE", "kl_bars", "limits", "training_curves"]

ACTIVE = 0.01  # nats
PANELS = {"objective": "objective", "log_likelihood": "log-likelihood", "kl": "KL"}
LARGEST = 1e100  # what is further away is left out as if it were infinite

Points = list[tuple[float, float]]


class Frame(NamedTuple):
    """Where a chart's plot lies on its paper."""

    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float


SMALL = Frame(264, 212, left=50, top=42, right=258, bottom=182)
WIDE = Frame(520, 260, left=44, top=36, right=516, bottom=212)


def training_curves(records: Sequence[Mapping[str, Any]], *, unit: str = "nats per image") -> bytes:
    """Objective, log-likelihood and KL over the epochs, each in a panel of its own.

    Args:
        records: `{"epoch": int, "train": {...}, "validation": {...} or None}`, the inner ones with
            "objective", "log_likelihood" and "kl". What is None or not finite is left out, and so
            is a panel without numbers.
        unit: written beside each panel's title.

    Returns:
        HTML: an `<svg>` per panel, for the page to lay side by side or, on a phone, in a column;
        empty where there is nothing to draw.

    Example:
        >>> means = {"objective": -120.0, "log_likelihood": -100.0, "kl": 20.0}
        >>> training_curves([{"epoch": 1, "train": means, "validation": None}]).count(b"<circle")
        3
    """
    return "\n".join(_panels(records, unit)).encode()


def kl_bars(kl: Tensor) -> bytes:
    """The KL of each latent dimension as a bar, the largest first.

    Args:
        kl: nats, a mean over the data for each dimension; any shape. What is not finite is left
            out; what is below 0 (an estimate may be) has no height.

    Returns:
        HTML: one `<svg>`. It counts the dimensions above 0.01 nats as active.

    Raises:
        VaekitError: where there is no finite number.

    Example:
        >>> import torch
        >>> b"1 of 2 dimensions active, 1.50 nats in total" in kl_bars(torch.tensor([0.0, 1.5]))
        True
    """
    values = kl.detach().flatten().cpu().double().tolist()
    bars = sorted(((v, i) for i, v in enumerate(values) if _finite(v)), key=lambda bar: -bar[0])
    if not bars:
        raise VaekitError(f"got a kl of shape {tuple(kl.shape)} without one finite number.")
    active, total = sum(v > ACTIVE for v, _ in bars), sum(v for v, _ in bars)
    many = "dimension" if len(bars) == 1 else "dimensions"
    words = f"{active} of {len(bars)} {many} active", f"{value(total)} nats in total"
    title = text(words[0], 0, 16, class_="title")
    unit = text(words[1], WIDE.width, 16, anchor="end", class_="unit")
    up = Axis(0, max(bars[0][0], 0.1) * 1.05, WIDE.bottom, WIDE.top)
    parts = [title, unit, *_rules(up, WIDE), *_bars(bars, up)]
    return _svg(WIDE, parts, ", ".join(words), "wide").encode()


def limits(values: Sequence[float]) -> tuple[float, float]:
    """The range of an axis that keeps most values readable: those far from the others fall outside.

    Far is more than three interquartile ranges below the first quartile or above the third.

    Example:
        >>> low, high = limits([-90000.0, -130.0, -120.0, -110.0, -105.0, -104.0])
        >>> low > -300, high > -104
        (True, True)
    """
    quarter, three_quarters = np.quantile(values, [0.25, 0.75])
    fence = 3 * (three_quarters - quarter) or math.inf
    low = max(min(values), quarter - fence)
    high = min(max(values), three_quarters + fence)
    least = max(0.1, 0.005 * abs(low + high) / 2)
    margin = max(0.06 * (high - low), (least - (high - low)) / 2)
    return float(low - margin), float(high + margin)


def _finite(number: object) -> TypeGuard[float]:
    return isinstance(number, int | float) and abs(number) < LARGEST


def _points(records: Sequence[Mapping[str, Any]], split: str, name: str) -> Points:
    rows = ((r["epoch"], (r.get(split) or {}).get(name)) for r in records)
    return [(float(epoch), float(number)) for epoch, number in rows if _finite(number)]


def _panels(records: Sequence[Mapping[str, Any]], unit: str) -> Iterator[str]:
    for name, title in PANELS.items():
        lines = {split: _points(records, split, name) for split in ("train", "validation")}
        lines = {split: points for split, points in lines.items() if points}
        if lines:
            yield _panel(title, unit, lines)


def _panel(title: str, unit: str, lines: Mapping[str, Points]) -> str:
    points = [point for line in lines.values() for point in line]
    epochs = [x for x, _ in points]
    edge = 0.0 if min(epochs) < max(epochs) else 0.5
    across = Axis(min(epochs) - edge, max(epochs) + edge, SMALL.left + 4, SMALL.right - 4)
    up = Axis(*limits([y for _, y in points]), SMALL.bottom, SMALL.top)
    parts = [
        text(title, 0, 12, class_="title"),
        text(unit, SMALL.width, 12, anchor="end", class_="unit"),
        *_legend(lines),
        *_rules(up, SMALL),
        *_epochs(across),
        _curves(lines, across, up),
        *_ends(lines, across, up),
    ]
    ends = ", ".join(f"{split} {value(line[-1][1])}" for split, line in lines.items())
    return _svg(SMALL, parts, f"{title} over the epochs, at the end: {ends} {unit}", "small")


def _svg(frame: Frame, parts: Sequence[str], words: str, class_: str) -> str:
    box = f"0 0 {frame.width:g} {frame.height:g}"
    return element("svg", "".join(parts), viewBox=box, role="img", aria_label=words, class_=class_)


def _legend(lines: Mapping[str, Points]) -> Iterator[str]:
    x = 0.0
    for split, points in lines.items():
        yield element("line", x1=x, y1=25, x2=x + 14, y2=25, class_=split)
        words = f"{split} {value(points[-1][1])}"
        yield text(words, x + 19, 29, class_=split)
        x += 36 + 5.8 * len(words)


def _rules(up: Axis, frame: Frame) -> Iterator[str]:
    for y, words in up.labels(most=5):
        yield element("line", x1=frame.left, y1=y, x2=frame.right, y2=y, class_="rule")
        yield text(words, frame.left - 6, y + 4, anchor="end", class_="tick")


def _epochs(across: Axis) -> Iterator[str]:
    for x, words in across.labels(most=5, whole=True):
        yield text(words, x, SMALL.bottom + 14, anchor="middle", class_="tick")
    middle = (SMALL.left + SMALL.right) / 2
    yield text("epoch", middle, SMALL.bottom + 27, anchor="middle", class_="unit")


def _curves(lines: Mapping[str, Points], across: Axis, up: Axis) -> str:
    """The lines, cut off at the plot's edges: an inner svg clips what lies outside."""
    curves = (
        element("polyline", points=_path(points, across, up), class_=split)
        for split, points in lines.items()
    )
    x, y, width, height = SMALL.left, SMALL.top, SMALL.right - SMALL.left, SMALL.bottom - SMALL.top
    box = f"{x:g} {y:g} {width:g} {height:g}"
    return element("svg", "".join(curves), x=x, y=y, width=width, height=height, viewBox=box)


def _path(points: Points, across: Axis, up: Axis) -> str:
    return " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in points)


def _ends(lines: Mapping[str, Points], across: Axis, up: Axis) -> Iterator[str]:
    for split, points in lines.items():
        x, y = points[-1]
        if up.holds(y):
            tip = element("title", f"{split}, epoch {x:g}: {value(y)}")
            yield element("circle", tip, cx=across.at(x), cy=up.at(y), r=3, class_=split)


def _bars(bars: Sequence[tuple[float, int]], up: Axis) -> Iterator[str]:
    slot = min(48.0, (WIDE.right - WIDE.left) / len(bars))
    wide = slot * (0.72 if slot > 4 else 1.25)  # thin ones overlap: no seams
    for place, (number, index) in enumerate(bars):
        tip = element("title", f"latent dimension {index}: {value(number)} nats")
        x, y = WIDE.left + place * slot, up.at(max(number, 0.0))
        kind = "active" if number > ACTIVE else "idle"
        shape = {"x": x, "y": y, "width": wide, "height": up.start - y}
        yield element("rect", tip, **shape, class_=kind)
        if len(bars) <= 16:
            yield text(f"{index}", x + wide / 2, up.start + 17, anchor="middle", class_="tick")
    yield text("latent dimension, largest KL first", WIDE.left, WIDE.height - 8, class_="unit")

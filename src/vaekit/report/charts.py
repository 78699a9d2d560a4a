"""Charts as inline SVG: sharp at any size and on paper, in the page's own colours and letters."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.report.style import COLOURS, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ACTIVE", "curve_figures", "kl_bars", "kl_figure", "limits", "training_curves"]

ACTIVE = 0.01  # nats
PANELS = {"objective": "objective", "log_likelihood": "log-likelihood", "kl": "KL"}
LARGEST = 1e100  # what is further away is left out as if it were infinite

Records = Sequence[Mapping[str, Any]]
Points = list[tuple[float, float]]


def training_curves(records: Records, *, unit: str = "nats per image") -> bytes:
    """Objective, log-likelihood and KL over the epochs, each in a panel of its own.

    Args:
        records: `{"epoch": int, "train": {...}, "validation": {...} or None}`, the inner ones with
            "objective", "log_likelihood" and "kl". What is None or not finite is left out, and so
            is a panel without numbers.
        unit: written above each panel.

    Returns:
        HTML: an `<svg>` per panel; empty where there is nothing to draw.

    Example:
        >>> means = {"objective": -120.0, "log_likelihood": -100.0, "kl": 20.0}
        >>> training_curves([{"epoch": 1, "train": means, "validation": None}]).count(b"<svg")
        3
    """
    with look():
        return b"\n".join(_svg(figure, "small") for figure in curve_figures(records, unit))


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
    with look():
        return _svg(kl_figure(kl), "wide")


def curve_figures(records: Records, unit: str) -> Iterator[Figure]:
    """The panels of `training_curves`; a figure's label says in words what it shows.

    Example:
        >>> records = [{"epoch": 1, "train": {"kl": 3.5}, "validation": None}]
        >>> [figure.get_label() for figure in curve_figures(records, "nats")]
        ['KL over the epochs, at the end: train 3.50 nats']
    """
    for name, title in PANELS.items():
        lines = {split: _points(records, split, name) for split in ("train", "validation")}
        lines = {split: points for split, points in lines.items() if points}
        if lines:
            yield _panel(title, unit, lines)


def _panel(title: str, unit: str, lines: Mapping[str, Points]) -> Figure:
    figure, axes = _paper(244, 220)
    for split, points in lines.items():
        (line,) = axes.plot(*zip(*points, strict=True), marker="o", markevery=[-1])
        line.set(color=COLOURS[split], linestyle="-" if split == "train" else "--")
        line.set_label(f"{split} {_value(points[-1][1])}")
    axes.set_ylim(*limits([y for points in lines.values() for _, y in points]))
    axes.locator_params("x", integer=True, min_n_ticks=1)
    axes.set_xlabel("epoch")
    axes.set_title(unit, loc="left")
    legend = figure.legend(title=title, loc="outside upper left", ncols=2, alignment="left")
    legend.get_title().set(weight="bold")
    ends = ", ".join(str(line.get_label()) for line in axes.lines)
    figure.set_label(f"{title} over the epochs, at the end: {ends} {unit}")
    return figure


def kl_figure(kl: Tensor) -> Figure:
    """The chart of `kl_bars`; the figure's label is its title.

    Example:
        >>> import torch
        >>> kl_figure(torch.tensor([0.0, 1.5])).get_label()
        '1 of 2 dimensions active, 1.50 nats in total'
    """
    bars = _largest_first(kl)
    figure, axes = _paper(380, 226)
    heights = [max(value, 0.0) for value, _ in bars]
    colours = [COLOURS["train" if value > ACTIVE else "idle"] for value, _ in bars]
    end, wide = (0.36, 0.72) if len(bars) <= 100 else (0.5, 2)  # thin ones overlap: no seams
    axes.bar(np.arange(len(bars)) + end, heights, -wide, align="edge", color=colours)
    axes.set_xlim(-0.6, max(len(bars), 8) - 0.4)
    axes.set_ylim(0, max(*heights, 0.1) * 1.05)
    ticks = [str(index) for _, index in bars] if len(bars) <= 16 else []
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_xlabel("latent dimension, largest KL first", loc="left")
    active, total = colours.count(COLOURS["train"]), sum(value for value, _ in bars)
    title = f"{active} of {len(bars)} dimensions active, {_value(total)} nats in total"
    figure.suptitle(title, x=0.01, ha="left")
    figure.set_label(title)
    return figure


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
    low, high = np.clip([min(values), max(values)], quarter - fence, three_quarters + fence)
    least = max(0.1, 0.005 * abs(low + high) / 2)
    margin = max(0.06 * (high - low), (least - (high - low)) / 2)
    return float(low - margin), float(high + margin)


def _finite(number: object) -> TypeGuard[float]:
    return isinstance(number, int | float) and abs(number) < LARGEST


def _points(records: Records, split: str, name: str) -> Points:
    rows = ((r["epoch"], (r.get(split) or {}).get(name)) for r in records)
    return [(float(epoch), float(number)) for epoch, number in rows if _finite(number)]


def _largest_first(kl: Tensor) -> list[tuple[float, int]]:
    values = kl.detach().flatten().cpu().double().tolist()
    bars = [(value, index) for index, value in enumerate(values) if _finite(value)]
    if not bars:
        raise VaekitError(f"got a kl of shape {tuple(kl.shape)} without one finite number.")
    return sorted(bars, key=lambda bar: -bar[0])


def _value(number: float) -> str:
    digits = sum(abs(number) < bound for bound in (1000, 100))
    words = f"{number:.3g}" if abs(number) >= 1e6 else f"{number:,.{digits}f}"
    return words.replace("-", "−")


def _paper(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72))
    return figure, figure.add_subplot()


def _svg(figure: Figure, class_: str) -> bytes:
    """The figure as an element of HTML: without a prolog, and with ids that no other figure has."""
    from matplotlib import rc_context

    stream, words = io.StringIO(), str(figure.get_label())
    with rc_context({"svg.hashsalt": words}):
        unsigned = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=unsigned)
    _, box, rest = re.split(r'<svg[^>]*(viewBox="[^"]*")[^>]*>', stream.getvalue())
    rest = re.sub(r'<g id="[^"]*"', "<g", rest)
    rest = re.sub(r"(\.\d\d)\d{3,}", r"\1", rest)  # hundredths of a pixel are enough
    for name, colour in COLOURS.items():
        rest = rest.replace(colour, f"var(--{name}, {colour})")
    return f'<svg {box} role="img" aria-label="{escape(words)}" class="{class_}">{rest}'.encode()

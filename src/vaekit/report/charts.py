"""Charts as inline SVG: sharp at any size and on paper, in the page's own colors and letters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.report.style import COLOURS, look
from vaekit.report.svg import paper, svg, value

if TYPE_CHECKING:
    from matplotlib.figure import Figure


ACTIVE = 0.01  # nats, or a variance: see `kl_bars`
PANELS = {
    "objective": "objective",
    "log_likelihood": "log-likelihood",
    "kl": "KL",
    "luminance": "luminance",
}
LARGEST = 1e100  # what is further away is left out as if it were infinite

Records = Sequence[Mapping[str, Any]]
Points = list[tuple[float, float]]


def training_curves(records: Records, *, unit: str = "nats per image") -> bytes:
    """Objective, log-likelihood, KL and the posterior's scale over the epochs, a panel for each.

    Args:
        records: `{"epoch": int, "train": {...}, "validation": {...} or None}`, the inner ones with
            "objective", "log_likelihood" and "kl"; and `"latent": {"posterior_scale": ...}`. What
            is None or not finite is left out, and so is a panel without numbers.
        unit: written above each panel.

    Returns:
        HTML: an `<svg>` per panel; empty where there is nothing to draw.

    Example:
        >>> means = {"objective": -120.0, "log_likelihood": -100.0, "kl": 20.0}
        >>> training_curves([{"epoch": 1, "train": means, "validation": None}]).count(b"<svg")
        3
    """
    with look():
        return b"\n".join(svg(figure, "small") for figure in curve_figures(records, unit))


def kl_bars(kl: Tensor, variance: Tensor | None = None) -> bytes:
    """The KL of each latent dimension as a bar, the largest first.

    Args:
        kl: nats, a mean over the data for each dimension; any shape. What is not finite is left
            out; what is below 0 (an estimate may be) has no height.
        variance: Var_x E[z|x] of each dimension, of the shape of `kl`: those above 0.01 count as
            active (Burda et al., arXiv 1509.00519). A KL alone does not say that a code follows x:
            one that is the same for all x, and not the prior, has a KL too. Without `variance`
            those with a KL above 0.01 nats count.

    Returns:
        HTML: one `<svg>`.

    Raises:
        VaekitError: where there is no finite number, or the two shapes differ.

    Example:
        >>> import torch
        >>> b"1 of 2 dimensions active, 1.50 nats in total" in kl_bars(torch.tensor([0.0, 1.5]))
        True
        >>> alike = torch.zeros(2)
        >>> b"0 of 2 dimensions active" in kl_bars(torch.tensor([0.0, 1.5]), alike)
        True
    """
    with look():
        return svg(kl_figure(kl, variance), "wide")


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
    scales = _points(records, "latent", "posterior_scale")
    if scales:
        yield _panel("posterior σ", "root mean square of σ(x)", {"": scales})


def _panel(title: str, unit: str, lines: Mapping[str, Points]) -> Figure:
    figure, (axes,) = paper(244, 220)
    for split, points in lines.items():
        (line,) = axes.plot(*zip(*points, strict=True), marker="o", markevery=[-1])
        name, end = split or "train", points[-1][1]
        line.set(color=COLOURS[name], linestyle="-" if name == "train" else "--")
        line.set_label(f"{split} {value(end)}" if split else f"{end:.2g}")
    axes.set_ylim(*limits([y for points in lines.values() for _, y in points]))
    axes.locator_params("x", integer=True, min_n_ticks=1)
    axes.set_xlabel("epoch")
    axes.set_title(unit, loc="left")
    legend = figure.legend(title=title, loc="outside upper left", ncols=2, alignment="left")
    legend.get_title().set(weight="bold")
    ends = ", ".join(str(line.get_label()) for line in axes.lines)
    figure.set_label(f"{title} over the epochs, at the end: {ends} {unit}")
    return figure


def kl_figure(kl: Tensor, variance: Tensor | None = None) -> Figure:
    """The chart of `kl_bars`; the figure's label is its title.

    Example:
        >>> import torch
        >>> kl_figure(torch.tensor([0.0, 1.5])).get_label()
        '1 of 2 dimensions active, 1.50 nats in total'
    """
    bars, active = _largest_first(kl), _active(kl if variance is None else variance, kl)
    figure, (axes,) = paper(380, 226)
    heights = [max(nats, 0.0) for nats, _ in bars]
    colors = [COLOURS["train" if active[index] else "idle"] for _, index in bars]
    end, wide = (0.36, 0.72) if len(bars) <= 100 else (0.5, 2)  # thin ones overlap: no seams
    axes.bar(np.arange(len(bars)) + end, heights, -wide, align="edge", color=colors)
    axes.set_xlim(-0.6, max(len(bars), 8) - 0.4)
    axes.set_ylim(0, max(*heights, 0.1) * 1.05)
    ticks = [str(index) for _, index in bars] if len(bars) <= 16 else []
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_xlabel("latent dimension, largest KL first", loc="left")
    axes.set_ylabel("nats")
    many, total = colors.count(COLOURS["train"]), sum(nats for nats, _ in bars)
    title = f"{many} of {len(bars)} dimensions active, {value(total)} nats in total"
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


def _active(measure: Tensor, kl: Tensor) -> list[bool]:
    if measure.shape != kl.shape:
        raise VaekitError(
            f"got a kl of shape {tuple(kl.shape)} and variances of {tuple(measure.shape)}; "
            "expected one of each per dimension."
        )
    return (measure.detach().flatten().cpu() > ACTIVE).tolist()


def _largest_first(kl: Tensor) -> list[tuple[float, int]]:
    values = kl.detach().flatten().cpu().double().tolist()
    bars = [(nats, index) for index, nats in enumerate(values) if _finite(nats)]
    if not bars:
        raise VaekitError(f"got a kl of shape {tuple(kl.shape)} without one finite number.")
    return sorted(bars, key=lambda bar: -bar[0])

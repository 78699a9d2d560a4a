"""Charts as inline SVG: sharp at any size and on paper, in the page's own colors and letters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vaekit.errors import VaekitError
from vaekit.report.style import COLORS, look, name_text, paper, place, svg, value

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
        line.set(color=COLORS[name], linestyle="-" if name == "train" else "--")
        line.set_label(f"{split} {value(end)}" if split else f"{end:.2g}")
    axes.set_ylim(*limits([y for points in lines.values() for _, y in points]))
    axes.locator_params("x", integer=True, min_n_ticks=1)
    axes.set_xlabel("epoch")
    axes.set_title(unit, loc="left")
    legend = figure.legend(title=title, loc="outside upper left", ncols=2, alignment="left")
    legend.get_title().set(weight="bold")
    ends = ", ".join(str(line.get_label()) for line in axes.lines)
    figure.set_label(f"{title} over the epochs, at the end: {ends} {unit}")
    place(figure, left=6.5, top=49.6, bottom=30.5)
    return figure


def kl_figure(kl: Tensor, variance: Tensor | None = None) -> Figure:
    """The chart of `kl_bars`; the figure's label is its title.

    Example:
        >>> import torch
        >>> kl_figure(torch.tensor([0.0, 1.5])).get_label()
        '1 of 2 dimensions active, 1.50 nats in total'
    """
    bars = _bars(kl, kl if variance is None else variance)
    figure, (axes,) = paper(380, 226)
    heights = [max(nats, 0.0) for nats, _, _ in bars]
    colors = [COLORS["train" if active else "idle"] for _, _, active in bars]
    end, wide = (0.36, 0.72) if len(bars) <= 100 else (0.5, 2)  # thin ones overlap: no seams
    axes.bar(np.arange(len(bars)) + end, heights, -wide, align="edge", color=colors)
    axes.set_xlim(-0.6, max(len(bars), 8) - 0.4)
    axes.set_ylim(0, max(*heights, 0.1) * 1.05)
    ticks = [str(index) for _, index, _ in bars] if len(bars) <= 16 else []
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_xlabel("latent dimension, largest KL first", loc="left")
    axes.set_ylabel("nats")
    many, total = colors.count(COLORS["train"]), sum(nats for nats, _, _ in bars)
    title = f"{many} of {len(bars)} dimensions active, {value(total)} nats in total"
    figure.suptitle(title, x=0.01, ha="left")
    figure.set_label(title)
    place(figure, left=20.5, top=21, bottom=30.5 if ticks else 17)
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


def points(records: Records, read: Callable[[Mapping[str, Any]], object]) -> Points:
    """Epochs and what is read of each, where that is a finite number."""
    rows = ((record["epoch"], read(record)) for record in records)
    return [(float(epoch), float(number)) for epoch, number in rows if _finite(number)]


def _points(records: Records, split: str, name: str) -> Points:
    return points(records, lambda record: (record.get(split) or {}).get(name))


def _bars(kl: Tensor, measure: Tensor) -> list[tuple[float, int, bool]]:
    """KL, number and whether it is active of each dimension, the largest KL first."""
    if measure.shape != kl.shape:
        raise VaekitError(
            f"got a kl of shape {tuple(kl.shape)} and variances of {tuple(measure.shape)}; "
            "expected one of each per dimension."
        )
    values, measures = (part.detach().flatten().cpu().double() for part in (kl, measure))
    every = zip(values.tolist(), range(len(values)), (measures > ACTIVE).tolist(), strict=True)
    bars = [bar for bar in every if _finite(bar[0])]
    if not bars:
        raise VaekitError(f"got a kl of shape {tuple(kl.shape)} without one finite number.")
    return sorted(bars, key=lambda bar: -bar[0])


COLUMNS = 24  # of a map
LONGEST = 14  # letters of a column's name
WIDE = 450  # pixels
LEAST = 1e-3  # the least mean of a logarithmic axis


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of data that are no images, and what a model makes of them.

    Attributes:
        rows: `(N, D)`, in the units of the data.
        reconstructions: E[x|z] at z = E[z|x], `(N, D)`.
        draws: draws of x from the model, `(M, D)`; None where it has no prior.
        columns: their names; or empty.
        counts: whether the values are counts.

    Raises:
        VaekitError: for shapes that do not fit each other.
    """

    rows: Tensor
    reconstructions: Tensor
    draws: Tensor | None = None
    columns: Sequence[str] = ()
    counts: bool = False

    def __post_init__(self) -> None:
        draws = self.rows if self.draws is None else self.draws
        shapes = [tuple(part.shape) for part in (self.rows, self.reconstructions, draws)]
        if len(shapes[0]) != 2 or shapes[0] != shapes[1] or shapes[0][1:] != shapes[2][1:]:
            raise VaekitError(
                f"got rows, reconstructions and draws of shapes {shapes}; expected (N, D) twice "
                "and (M, D)."
            )

    @property
    def shown(self) -> list[int]:
        """The columns of a map: of counts those that vary most, of others the first ones."""
        if not self.counts:
            return list(range(min(COLUMNS, self.rows.shape[1])))
        spreads = self.rows.log1p().var(0, False)
        return spreads.topk(min(COLUMNS, len(spreads))).indices.tolist()

    def names(self, index: Sequence[int]) -> list[str]:
        """Of these columns; a number where they have none."""
        full = (self.columns[i] if self.columns else str(i) for i in index)
        return [name_text(name, LONGEST) for name in full]


def table_charts(table: Table, shown: int = 24) -> tuple[bytes, bytes | None]:
    """SVG of the reconstructions (of the first `shown` rows in the map) and of the draws.

    Example:
        >>> rows = torch.rand(30, 3)
        >>> [part.count(b"<svg") for part in table_charts(Table(rows, rows, rows))]
        [2, 1]
    """
    with look(), np.errstate(invalid="ignore", divide="ignore"):
        figures = maps_figure(table, shown), means_figure(table)
        drawn = None if table.draws is None else _element(draws_figure(table, table.draws))
        return b"\n".join(map(_element, figures)), drawn


def _element(figure: Figure) -> bytes:
    """As wide as the page where it has many columns."""
    return svg(figure, "full" if figure.get_size_inches()[0] * 72 > WIDE else "wide")


def maps_figure(table: Table, shown: int) -> Figure:
    """The data and their reconstructions as two maps: a line is a row, a stripe a column."""
    index, rows = table.shown, slice(shown)
    both = [part[:, index].double().numpy() for part in (table.rows, table.reconstructions)]
    if table.counts:
        both = [np.log1p(part.clip(min=0)) for part in both]
        look_: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": max(0.1, both[0].max())}
        words = "log(1 + count)"
    else:
        loc, scale = both[0].mean(0), both[0].std(0)
        both = [(part - loc) / np.where(scale > 0, scale, 1) for part in both]
        look_ = {"cmap": "RdBu_r", "vmin": -2.5, "vmax": 2.5}
        words = "deviations from the column's mean"
    titles = ("test rows", "their reconstructions")
    figure = _maps([part[rows] for part in both], titles, table.names(index), look_, words)
    figure.axes[0].set_ylabel("row")
    figure.set_label(f"{len(both[0][rows])} test rows and their reconstructions")
    return figure


def means_figure(table: Table) -> Figure:
    """Of counts, each column's mean in data and reconstructions; of others, R^2 by column."""
    if table.counts:
        pairs = (table.rows.mean(0), table.reconstructions.mean(0))
        figure = _against([("mean of each column", pairs, True)], "reconstructions")
        figure.set_label("mean of each column: data and reconstructions")
        return figure
    index = table.shown
    share = _explained(table.rows, table.reconstructions)[index].tolist()
    figure, (axes,) = paper(max(240.0, 120 + 22 * len(index)), 230)
    axes.bar(range(len(index)), [max(one, 0) for one in share], 0.72, color=COLORS["train"])
    axes.set_ylim(0, 1.02)
    axes.set_xticks(range(len(index)), table.names(index), rotation=90)
    axes.set_ylabel("R²")
    axes.set_title("variance of each column that the reconstructions explain", loc="left")
    figure.set_label(f"R² of {len(index)} columns, from {min(share):.2f} to {max(share):.2f}")
    return figure


def draws_figure(table: Table, draws: Tensor) -> Figure:
    """Of counts, means and zeros of data and draws; of others, how their columns correlate."""
    if table.counts:
        means = (table.rows.mean(0), draws.mean(0))
        zeros = ((table.rows == 0).float().mean(0), (draws == 0).float().mean(0))
        panels = [("mean of each column", means, True), ("part of zeros", zeros, False)]
        figure = _against(panels, "draws of the model")
        figure.set_label("mean and part of zeros of each column: data and draws of the model")
        return figure
    index = table.shown
    both = [_correlations(part[:, index]) for part in (table.rows, draws)]
    look_ = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1}
    names = table.names(index)
    figure = _maps(both, ("test rows", "draws of the model"), names, look_, "correlation")
    figure.axes[0].set_yticks(range(len(index)), names)
    figure.set_label(f"correlations of {len(index)} columns: data and draws of the model")
    return figure


def _explained(rows: Tensor, others: Tensor) -> Tensor:
    """R^2 = 1 - sum (x - E[x|z])^2 / sum (x - mean)^2 of each column; 0 for a constant one."""
    x, y = rows.double(), others.double()
    total = (x - x.mean(0)).square().sum(0)
    return torch.where(total > 0, 1 - (x - y).square().sum(0) / total, torch.zeros_like(total))


def _correlations(rows: Tensor) -> np.ndarray:
    x = normalize(rows.double() - rows.double().mean(0), dim=0)
    return (x.T @ x).numpy()


def _maps(
    values: Sequence[np.ndarray],
    titles: Sequence[str],
    names: Sequence[str],
    look_: dict[str, Any],
    words: str,
) -> Figure:
    """Two maps side by side with one scale."""
    high = 90 + 10 * max(len(values[0]), 8) + 6 * max(map(len, names))
    figure, panels = paper(640, high, len(values))
    for axes, part, title in zip(panels, values, titles, strict=True):
        drawn = axes.imshow(part, aspect="auto", interpolation="none", **look_)
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.set_title(title, loc="left")
        if names and names[0].isdecimal():
            axes.set_xlabel("column, counted from 0")
    figure.colorbar(drawn, ax=panels, label=words, shrink=0.9, pad=0.02)
    return figure


def _against(panels: Sequence[tuple[str, tuple[Tensor, Tensor], bool]], who: str) -> Figure:
    """A point per column: the data's number across, the model's up; on the line they are equal."""
    figure, axes = paper(290 * len(panels), 270, len(panels))
    for panel, (title, pair, logarithmic) in zip(axes, panels, strict=True):
        x, y = (part.double().numpy() for part in pair)
        if logarithmic:
            x, y = x.clip(min=LEAST), y.clip(min=LEAST)
            panel.set_xscale("log")
            panel.set_yscale("log")
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        panel.plot(ends, ends, color=COLORS["soft"], linewidth=0.8, zorder=3)
        panel.plot(x, y, ".", color=COLORS["train"], alpha=0.35, markersize=3, rasterized=True)
        panel.set_xlabel("test rows")
        panel.set_ylabel(who)
        panel.set_title(title, loc="left")
    return figure

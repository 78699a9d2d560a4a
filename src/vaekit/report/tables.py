"""Rows that are no images: maps of their values, and how a model's columns compare with them.

Shapes: rows `(N, D)`, a column of the data in each of the D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.report.style import COLOURS, look
from vaekit.report.svg import name_text, paper, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        found: list[int] = spreads.topk(min(COLUMNS, len(spreads))).indices.tolist()
        return found

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
    axes.bar(range(len(index)), [max(one, 0) for one in share], 0.72, color=COLOURS["train"])
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
    x = rows.double()
    x = x - x.mean(0)
    x = x / x.norm(dim=0).clamp(min=1e-12)
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
        panel.plot(ends, ends, color=COLOURS["soft"], linewidth=0.8, zorder=3)
        panel.plot(x, y, ".", color=COLOURS["train"], alpha=0.35, markersize=3, rasterized=True)
        panel.set_xlabel("test rows")
        panel.set_ylabel(who)
        panel.set_title(title, loc="left")
    return figure

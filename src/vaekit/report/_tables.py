"""Rows of data that are no images, beside what a model makes of them: maps, means, correlations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit.data import spread
from vaekit.distributions import Offer
from vaekit.errors import VaekitError
from vaekit.report._blocks import Rebuilt
from vaekit.report._curves import LETTER, Chart, Plot, bars, cut
from vaekit.report._pages import address
from vaekit.report._run_set import Words

COLUMNS, SHOWN = 24, 24  # of a map: columns, and rows
LONGEST = 14  # letters of a column's name
LEAST = 1e-3  # the least mean of a logarithmic axis
WARM, COLD = (0xE0, 0x6A, 0x1E), (0x2B, 0x7C, 0xC0)  # above and below the middle of a scale
SPREAD = 2.5  # deviations at which a map of values has its full color


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

    @property
    def names(self) -> list[str]:
        """Of the columns that are shown; a number where they have none."""
        full = (self.columns[i] if self.columns else str(i) for i in self.shown)
        return [cut(name, LONGEST) for name in full]


def row_maps(table: Table, shown: int = 24, _: Words = str) -> Iterator[Chart]:
    """Draw the first rows and their reconstructions: a line is a row, a stripe a column.

    Example:
        >>> [chart.title for chart in row_maps(Table(torch.rand(30, 3), torch.rand(30, 3)))]
        ['test rows', 'their reconstructions']
    """
    unit = _("log(1 + count)") if table.counts else _("deviations from the column's mean")
    titles = _("test rows"), _("their reconstructions")
    for title, values in zip(titles, scaled(table), strict=True):
        words = f"{title}: {unit}"
        yield Chart(title, unit, heat(values[:shown], table.names, words), words)


def scaled(table: Table) -> list[Tensor]:
    """Return rows and reconstructions of the columns shown, between -1 and 1.

    Of counts, log(1 + count) over its largest among the rows; of values, deviations from the mean
    of the column over its spread, of which 2.5 are 1.
    """
    both = [part[:, table.shown].double() for part in (table.rows, table.reconstructions)]
    if table.counts:
        both = [part.clamp(min=0).log1p() for part in both]
        return [part / both[0].max().clamp(min=0.1) for part in both]
    loc = both[0].nanmean(0)
    scale = (both[0] - loc).square().nanmean(0).sqrt()
    return [(part - loc) / torch.where(scale > 0, scale, 1) / SPREAD for part in both]


def correlations(table: Table, _: Words = str) -> Iterator[Chart]:
    """Draw how the columns that are shown correlate, in data and draws of the model."""
    if table.draws is None:
        return
    what = _("correlation of {} columns").format(len(table.shown))
    both = (_("test rows"), table.rows), (_("draws of the model"), table.draws)
    for title, part in both:
        words = f"{title}: {what}"
        svg = heat(correlated(part[:, table.shown]), table.names, words, table.names)
        yield Chart(title, _("correlation of columns"), svg, words)


def correlated(rows: Tensor) -> Tensor:
    """Return the correlations of columns, `(D, D)`, each over the rows that have both.

    Example:
        >>> import pandas
        >>> x = torch.rand(30, 4).masked_fill(torch.rand(30, 4) < 0.3, torch.nan)
        >>> apart = correlated(x).numpy() - pandas.DataFrame(x.numpy()).corr()
        >>> bool(abs(apart).max(axis=None) < 1e-6)
        True
    """
    x, seen = (rows.double() - rows.double().nanmean(0)).nan_to_num(), (~rows.isnan()).double()
    count, sums = (seen.T @ seen).clamp(min=1), x.T @ seen  # of the first, where the second is seen
    squares = (x.square().T @ seen - sums.square() / count).clamp(min=1e-30)
    return (x.T @ x - sums * sums.T / count) / (squares * squares.T).sqrt()


def heat(values: Tensor, names: Sequence[str], words: str, lines: Sequence[str] = ()) -> str:
    """Draw a map of numbers: warm above 0, cold below, no color at 0 or where there is none.

    Args:
        values: `(N, D)`; from 1 and -1 on the color is full.
        names: of the columns.
        words: what it shows.
        lines: names of the rows, or none.
    """
    values = values.double().nan_to_num(0.0, 0.0, 0.0).clamp(-1, 1)
    color = (
        torch.where((values > 0)[..., None], torch.tensor(WARM), torch.tensor(COLD)).double() / 255
    )
    image = torch.cat([color, values.abs()[..., None]], -1).permute(2, 0, 1)
    left, below = (LETTER * max(map(len, texts), default=0) for texts in (lines, names))
    high = max(140.0, 12.0 * len(values))
    plot = Plot(
        (0, values.shape[1]),
        (len(values), 0),
        (400, high + 14 + below),
        (8 + left, 4, 2, 14 + below),
    )
    x0, x1, y0, y1 = plot.box
    where = f'x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}"'
    uri = address(image.float())
    plot.add(f'<image class="map" preserveAspectRatio="none" {where} href="{uri}"/>')
    plot.add(f'<rect class="grid" fill="none" {where}/>')
    for number, name in enumerate(names):
        plot.upright(plot.at(number + 0.5, 0)[0] + 4, y1 + 8, name)
    for number, name in enumerate(lines):
        plot.text(x0 - 6, plot.at(0, number + 0.5)[1] + 4, name, anchor="end")
    return plot.svg(words)


def explained(table: Table, _: Words = str) -> Chart:
    """Draw R^2 = 1 - sum (x - E[x|z])^2 / sum (x - mean)^2 of each column that is shown.

    Example:
        >>> explained(Table(torch.eye(3), torch.eye(3))).words
        'R² of 3 columns, from 1.00 to 1.00'
    """
    x, made = table.rows.double(), table.reconstructions.double()
    total = (x - x.nanmean(0)).square().nansum(0)
    apart = (x - made).square().nansum(0)
    share = torch.where(total > 0, 1 - apart / total, torch.zeros_like(total))
    found = share[table.shown].nan_to_num(0.0, 0.0, 0.0).tolist()
    words = _("R² of {} columns, from {:.2f} to {:.2f}").format(len(found), min(found), max(found))
    return bars(_("explained"), "R²", found, table.names, top=1.02, words=words)


def against(title: str, across: Tensor, up: Tensor, name: str, *, log: bool) -> Chart:
    """Draw a point for each column: what the data have against what the model has.

    On the line both are equal. A logarithmic axis begins at 0.001, and what is less is there.

    Example:
        >>> against("means", torch.ones(3), torch.ones(3), "draws", log=True).words
        'means: test rows, and draws'
    """
    x, y = (part.double().nan_to_num(0.0, 0.0, 0.0) for part in (across, up))
    if log:
        x, y = x.clamp(min=LEAST), y.clamp(min=LEAST)
    low, high = min(x.min(), y.min()).item(), max(x.max(), y.max()).item()
    high = high if high > low else low + 1
    plot = Plot((low, high), (low, high), (400, 330), (60, 60, 10, 30), "xy" if log else "")
    plot.grid()
    plot.below("")
    plot.line([(low, low), (high, high)], "idle")
    plot.dots(list(zip(x.tolist(), y.tolist(), strict=True)), "points on fine")
    words = f"{title}: test rows, and {name}"
    return Chart(title, f"{name} ↑, test rows →", plot.svg(words), words)


def moments(table: Table) -> list[tuple[str, str, str]]:
    """Return the mean and standard deviation of columns, of data and of draws, in words."""
    if table.draws is None:
        return []
    if table.counts:
        both = [part.sum(1).double()[:, None] for part in (table.rows, table.draws)]
        names = ["sum of a row"]
    else:
        both = [part[:, table.shown].double() for part in (table.rows, table.draws)]
        names = [table.columns[i] if table.columns else f"column {i}" for i in table.shown]
    columns = zip(names, *(part.T for part in both), strict=True)
    return [(name, _spread(data), _spread(drawn)) for name, data, drawn in columns]


def _spread(values: Tensor) -> str:
    values = values[~values.isnan()]
    return f"{values.mean():.4g} ± {values.std(unbiased=False):.3g}".replace("-", "−")


def table_blocks(shown: Rebuilt, say: Words) -> dict[str, Any]:
    """Return the maps of a table, its columns, and what the model draws, for a report."""
    run, labels, see = shown.run, shown.rows.labels, shown.run.spec.values.inverse
    first = spread(len(shown.x), SHOWN)  # spread over all, in the order of their classes
    if labels is not None:
        first = first[labels[first].argsort(stable=True)]
    order = [*first.tolist(), *sorted({*range(len(shown.x))} - {*first.tolist()})]
    draws = None
    if Offer.DRAWS in run.offers:
        draws = see(run.sample(len(order), context=shown.context(order), mean=False))
    counts = shown.data.kind == "counts"
    rows, made = see(shown.x[order]), see(shown.made[order])
    table = Table(rows, made, draws, shown.data.place_names, counts)
    found: dict[str, Any] = {"table": table, "maps": list(row_maps(table, SHOWN, say))}
    found |= {"moments": moments(table), "draws": list(correlations(table, say))}
    if not counts:
        return {**found, "columns": [explained(table, say)]}
    title, names = say("mean of each column"), (say("reconstructions"), say("draws of the model"))
    means = [
        against(title, rows.mean(0), other.mean(0), name, log=True)
        for other, name in zip((made, draws), names, strict=True)
        if other is not None
    ]
    if draws is None:
        return {**found, "columns": means}
    zeros, parts = say("part of zeros of each column"), ((rows == 0), (draws == 0))
    empty, drawn = (part.float().mean(0) for part in parts)
    zero = against(zeros, empty, drawn, names[1], log=False)
    return {**found, "columns": means[:1], "draws": [means[1], zero]}

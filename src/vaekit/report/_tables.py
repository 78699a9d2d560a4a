"""Rows of data that are no images, beside what a model makes of them: maps, means, correlations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data import DataSpec, spread, starts
from vaekit.errors import VaekitError
from vaekit.evaluate import correlated
from vaekit.report._blocks import Rebuilt
from vaekit.report._curves import LETTER, Chart, Plot, bars, cut
from vaekit.report._pages import address
from vaekit.report._run_set import Words

COLUMNS, SHOWN = 24, 24  # of a map: columns, and rows
LONGEST = 14  # letters of a column's name
LEAST = 1e-3  # the least mean of a logarithmic axis
WARM, COLD = (0xE0, 0x6A, 0x1E), (0x2B, 0x7C, 0xC0)  # above and below the middle of a scale
PANELS, BINS, TEXTS = 9, 20, 6  # columns whose values are drawn, in so many bins or texts
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


def marginals(
    real: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray], _: Words = str
) -> Iterator[Chart]:
    """Draw the shares of the values of columns: of data gray, of draws in color.

    Example:
        >>> x, y = (np.random.default_rng(seed).normal(size=100) for seed in (0, 1))
        >>> [chart.words for chart in marginals({"a": x}, {"a": y})]
        ['a: test rows, draws of the model']
    """
    for name in list(real)[:PANELS]:
        both = [np.asarray(column[name]) for column in (real, drawn)]
        both = [part[~np.isnan(part)] if part.dtype.kind == "f" else part for part in both]
        if not all(map(len, both)):
            continue
        edges, heights, texts = _shares(both)
        high = 1.1 * max(part.max() for part in heights)
        plot = Plot((edges[0], edges[-1]), (0, high), (250, 150), (44, 12, 6, 24))
        plot.grid(3)
        for place, each in enumerate(texts):
            across, low = plot.at(place + 0.5, 0)
            plot.text(across, low + 18, cut(each, max(1, 30 // len(texts))), anchor="middle")
        if not texts:
            plot.below("")
        for kind, part in zip(("idle", "accent"), heights, strict=True):
            ends = np.repeat(edges, 2).tolist()
            plot.line(list(zip(ends, [0.0, *np.repeat(part, 2).tolist(), 0.0], strict=True)), kind)
        words = f"{name}: {_('test rows')}, {_('draws of the model')}"
        yield Chart(cut(name, LONGEST), _("share of rows"), plot.svg(words), words)


def _shares(both: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """Return edges, of data and of draws the shares between them, and names of these places.

    Numbers lie in 20 bins between their 0.5 and 99.5 percent, whole ones in one each where they are
    few; of other values there are the most frequent.
    """
    values = np.concatenate(both)
    if values.dtype.kind not in "iufb":
        names, counts = np.unique(values.astype(str), return_counts=True)
        texts = names[counts.argsort(kind="stable")[::-1][:TEXTS]].tolist()
        shares = [np.array([(part == text).mean() for text in texts]) for part in both]
        return np.arange(len(texts) + 1.0), shares, texts
    low, high = np.quantile(values.astype(float), [0.005, 0.995])
    whole = (values == np.rint(values)).all() and high - low < BINS
    edges = np.arange(low - 0.5, high + 1) if whole else np.linspace(low, high or 1.0, BINS + 1)
    if not edges[-1] > edges[0]:
        edges = np.array([low - 0.5, low + 0.5])
    shown = (part.astype(float).clip(edges[0], edges[-1]) for part in both)
    return edges, [np.histogram(part, edges)[0] / len(part) for part in shown], []


def _by_column(spec: DataSpec, x: Tensor) -> dict[str, np.ndarray]:
    """Return rows by column in the units of the file, without gaps; dates as days since 1970."""
    found = spec.columns_of(x, drawn=False)
    for place, column in zip(starts(spec.columns), spec.columns, strict=True):
        if column.kind == "date":
            found[column.name] = spec.values.inverse(x)[:, place].numpy()
    return {n: v[v != None] if v.dtype == object else v for n, v in found.items()}  # noqa: E711


def table_blocks(shown: Rebuilt, say: Words) -> dict[str, Any]:
    """Return the maps of a table, its columns, and what the model draws, for a report."""
    run, labels, see = shown.run, shown.rows.labels, shown.run.spec.values.inverse
    first = spread(len(shown.x), SHOWN)  # spread over all, in the order of their classes
    if labels is not None:
        first = first[labels[first].argsort(stable=True)]
    order = [*first.tolist(), *sorted({*range(len(shown.x))} - {*first.tolist()})]
    draws, found, fitted = None, dict[str, Any](), run.sampled_prior()
    if run.draws:
        x = run.sample(len(order), context=shown.context(order), mean=False)
        both = [_by_column(run.spec, part) for part in (shown.x[order], x)]
        found["marginals"] = list(marginals(both[0], both[1], say))
        draws = see(x)
    counts = shown.data.kind == "counts"
    rows, made = see(shown.x[order]), see(shown.made[order])
    table = Table(rows, made, draws, shown.data.place_names, counts)
    found |= {
        "fitted": fitted and fitted.said(say),
        "table": table,
        "maps": list(row_maps(table, SHOWN, say)),
    }
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

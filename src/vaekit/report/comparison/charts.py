"""The curves of several runs in one chart."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vaekit.report.charts import limits
from vaekit.report.comparison.measured import Entry
from vaekit.report.style import COLOURS, look
from vaekit.report.svg import name_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# The first two are the page's own; the others keep apart in light and dark, and for most eyes.
FIXED = (COLOURS["train"], COLOURS["validation"], "#2f9e6e", "#b865a4", "#a08a00", "#7d6bd6",
         "#4aa5d8", "#8a8f98")  # fmt: skip
DARKER = 0.85  # yellow and light green show on white
LARGEST = 1e100
LONGEST = 48
SIGMA = "posterior σ"
DECADES = 30  # from here on it has a logarithmic axis
WIDE = 736
Lines = dict[str, list[tuple[float, float]]]  # of a run, by split


def colours(many: int) -> list[str]:
    """A colour for each of so many runs.

    Example:
        >>> len(set(colours(5))), len(set(colours(30)))
        (5, 30)
    """
    if many <= len(FIXED):
        return list(FIXED[:many])
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    found = []
    for place in range(many):
        red, green, blue, _ = colormaps["turbo"](0.05 + 0.9 * place / (many - 1))
        found.append(to_hex((DARKER * red, DARKER * green, DARKER * blue)))
    return found


def _means(entry: Entry, split: str, name: str) -> list[tuple[float, float]]:
    found = []
    for record in entry.records:
        means = record.get(split) or {}
        number = means.get(name)
        if name == "elbo" and "kl" in means:
            number = means["log_likelihood"] - means["kl"]
        found.append((record["epoch"], number))
    return _finite(found)


def _recorded(entry: Entry, name: str) -> list[tuple[float, float]]:
    return _finite(
        [(r["epoch"], (r.get("latent") or {}).get(name, r.get(name))) for r in entry.records]
    )


def _finite(points: Sequence[tuple[Any, Any]]) -> list[tuple[float, float]]:
    return [
        (float(x), float(y)) for x, y in points if isinstance(y, int | float) and abs(y) < LARGEST
    ]


def _panels(entries: Sequence[Entry], comparable: bool) -> Iterator[tuple[str, str, list[Lines]]]:
    """Title, unit, and the lines of each run."""
    unit = entries[0].run.spec.unit
    terms = {"log_likelihood": "log-likelihood"} if comparable else {}
    if comparable:
        terms = {**_objective(entries), **terms}
    for name, title in {**terms, "kl": "KL"}.items():
        yield (
            title,
            unit,
            [
                {split: _means(one, split, name) for split in ("train", "validation")}
                for one in entries
            ],
        )
    others = {
        "posterior_scale": (SIGMA, "root mean square of σ(x)"),
        "active_units": ("active units", "latent dimensions"),
        "gradient_norm": ("gradient norm", "mean over the steps looked at"),
        "dead_units": ("dead units", "share of the hidden units"),
    }
    for name, (title, of) in others.items():
        runs = [_recorded(one, name) for one in entries]
        if name != "dead_units" or any(y for points in runs for _, y in points):
            yield title, of, [{"validation": points} for points in runs]


def _objective(entries: Sequence[Entry]) -> dict[str, str]:
    """The objective, where it is the same one for all; else the ELBO, which every run has."""
    kinds = set()
    for one in entries:
        training, weights = one.run.config.training, one.run.objective.named_buffers()
        scalars = tuple((name, value.item()) for name, value in weights if value.dim() == 0)
        objective = one.run.objective
        kinds.add(
            (
                type(objective).__name__,
                objective.samples,
                scalars,
                training.warm_up,
                training.schedule,
            )
        )
    return {"objective": "objective"} if len(kinds) == 1 else {"elbo": "ELBO"}


def curves_figure(entries: Sequence[Entry], comparable: bool = True) -> Figure | None:
    """Training curves: a panel for each number, a colour for each run; None without numbers.

    Lines are of validation rows, dashed ones of training rows. Without `comparable`, numbers that
    hang on the likelihood are left out.
    """
    panels = [
        panel
        for panel in _panels(entries, comparable)
        if any(points for lines in panel[2] for points in lines.values())
    ]
    if not panels:
        return None
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    wide = WIDE if columns == 3 else 280 * columns
    legend = _legend_rows(entries, wide)
    figure = _grid(columns, rows, wide, 18 * legend[1])
    for axes, (title, unit, runs) in zip(figure.axes, panels, strict=False):
        _draw(axes, title, unit, runs, colours(len(entries)))
    for axes in figure.axes[len(panels) :]:
        axes.set_axis_off()
    _legend(figure, entries, legend[0])
    figure.set_label(
        f"{', '.join(title for title, _, _ in panels)} over the epochs, of "
        f"{', '.join(one.name for one in entries)}"
    )
    return figure


def _grid(columns: int, rows: int, wide: int, legend: int) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide / 72, (212 * rows + legend + 30) / 72))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    figure.subplots(rows, columns, squeeze=False)
    return figure


def _draw(axes: Axes, title: str, unit: str, runs: Sequence[Lines], palette: Sequence[str]) -> None:
    shown: list[list[float]] = []
    for lines, colour in zip(runs, palette, strict=True):
        alone = not lines.get("validation")
        for split, points in lines.items():
            if not points:
                continue
            solid = split == "validation" or alone
            (line,) = axes.plot(*zip(*points, strict=True), marker="o", markevery=[-1])
            line.set(color=colour, linestyle="-" if solid else "--", linewidth=1.6 if solid else 1)
            line.set(alpha=1 if solid else 0.7, markersize=3.5)
            shown.append([y for _, y in points])
    if _spans_decades(title, shown):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.tick_params("y", which="minor", left=False)
    else:
        _scale(axes, shown)
    axes.locator_params("x", integer=True, min_n_ticks=1)
    axes.set_xlabel("epoch")
    axes.set_title(unit, loc="left", fontsize=9)
    axes.annotate(title, (0, 1), (0, 20), "axes fraction", "offset points", weight="bold",
                  fontsize=12, annotation_clip=False)  # fmt: skip


def _spans_decades(title: str, lines: Sequence[Sequence[float]]) -> bool:
    """A scale that goes to nothing in one run is flat at 0 on a linear axis."""
    values = [value for line in lines for value in line]
    return title == SIGMA and 0 < DECADES * min(values) < max(values)


def _scale(axes: Axes, lines: Sequence[Sequence[float]]) -> None:
    """An axis on which the most of each line is inside; all of it and 0, where counts are drawn."""
    values = [value for line in lines for value in line]
    counts = all(value == int(value) for value in values)
    ends = [*map(limits, lines), *([(min(0.0, *values), max(values))] if counts else [])]
    lows, highs = zip(*ends, strict=True)
    margin = 0.03 * (max(highs) - min(lows))
    low, high = min(lows) - margin, max(highs) + margin
    axes.set_ylim(low if min(values) < 0 else max(low, -0.03 * high), high)
    if counts:
        axes.locator_params("y", integer=True, min_n_ticks=1)


def _legend_rows(entries: Sequence[Entry], wide: int) -> tuple[int, int]:
    """Columns and rows of a legend that is as wide as the chart."""
    longest = max(min(len(one.name), LONGEST) for one in entries)
    columns = max(1, min(len(entries), int((wide - 10) / (6.3 * longest + 36))))
    return columns, math.ceil(len(entries) / columns)


def _legend(figure: Figure, entries: Sequence[Entry], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, linewidth=2, label=name_text(one.name, LONGEST))
        for one, colour in zip(entries, colours(len(entries)), strict=True)
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, labelcolor="linecolor")
    held_out = any(record.get("validation") for one in entries for record in one.records)
    figure.supxlabel(
        "lines: validation rows; dashed: training rows" if held_out else "lines: training rows",
        x=0.01, ha="left", fontsize=9, color=COLOURS["soft"],
    )  # fmt: skip


def png(figure: Figure) -> bytes:
    """The figure as a PNG file on white, twice as large as in the page."""
    stream = io.BytesIO()
    with look():
        figure.savefig(stream, format="png", dpi=144, facecolor="white")
    return stream.getvalue()

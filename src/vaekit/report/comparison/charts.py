"""The curves of several runs in one chart; and rate against distortion, where beta differs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vaekit.report.comparison.entries import Entry
from vaekit.report.curves import PANELS, Points, limits, points
from vaekit.report.style import COLORS, name_text, paper

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# The first two are the page's own; the others keep apart in light and dark, and for most eyes.
FIXED = (COLORS["train"], COLORS["validation"], "#2f9e6e", "#b865a4", "#a08a00", "#7d6bd6",
         "#4aa5d8", "#8a8f98")  # fmt: skip
DARKER = 0.85  # yellow and light green show on white
LONGEST = 48
SIGMA = "posterior σ"
DECADES = 30  # from here on it has a logarithmic axis
WIDE = 736
ELBO = "ELBO"
BETA = "objective.beta"
SPLITS = ("train", "validation")
OTHERS = {  # that an epoch records besides its terms
    "posterior_scale": (SIGMA, "root mean square of σ(x)"),
    "active_units": ("active units", "latent dimensions"),
    "gradient_norm": ("gradient norm", "mean over the steps looked at"),
    "dead_units": ("dead units", "share of the hidden units"),
}
Lines = dict[str, Points]  # of a run, by split


def colors(many: int) -> list[str]:
    """A color for each of so many runs.

    Example:
        >>> len(set(colors(5))), len(set(colors(30)))
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


def _term(name: str, split: str, record: Mapping[str, Any]) -> Any:
    means = record.get(split) or {}
    if name == ELBO and "kl" in means:
        return means["log_likelihood"] - means["kl"]
    return means.get(name)


def _panels(
    entries: Sequence[Entry], comparable: bool, differing: Iterable[str]
) -> Iterator[tuple[str, str, list[Lines]]]:
    """Title, unit, and the lines of each run.

    Of objectives that differ the ELBO is shown, which every run has.
    """
    unit = entries[0].run.spec.unit
    other = any(n.startswith("objective") or n in ("kl_warmup", "schedule") for n in differing)
    for name, title in PANELS.items():
        if name == "objective" and other:
            name = title = ELBO
        if comparable or name == "kl":
            reads = {split: partial(_term, name, split) for split in SPLITS}
            yield title, unit, [{s: points(r.epochs, reads[s]) for s in SPLITS} for r in entries]
    for name, (title, of) in OTHERS.items():
        read = partial(lambda name, r: (r.get("latent") or {}).get(name, r.get(name)), name)
        runs = [points(one.epochs, read) for one in entries]
        if name != "dead_units" or any(y for line in runs for _, y in line):
            yield title, of, [{"validation": line} for line in runs]


def curves_figure(
    entries: Sequence[Entry], comparable: bool = True, differing: Iterable[str] = ()
) -> Figure | None:
    """Training curves: a panel for each number, a color for each run; None without numbers.

    Lines are of validation rows, dashed ones of training rows. Without `comparable`, numbers that
    hang on the likelihood are left out.
    """
    from matplotlib.figure import Figure

    every = _panels(entries, comparable, differing)
    panels = [panel for panel in every if any(any(lines.values()) for lines in panel[2])]
    if not panels:
        return None
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    wide = WIDE if columns == 3 else 280 * columns
    longest = max(min(len(one.name), LONGEST) for one in entries)
    beside = max(1, min(len(entries), int((wide - 10) / (6.3 * longest + 36))))  # in the legend
    high = 212 * rows + 18 * math.ceil(len(entries) / beside) + 30
    figure = Figure(figsize=(wide / 72, high / 72))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    figure.subplots(rows, columns, squeeze=False)
    for axes, (title, unit, runs) in zip(figure.axes, panels, strict=False):
        _draw(axes, title, unit, runs, colors(len(entries)))
    for axes in figure.axes[len(panels) :]:
        axes.set_axis_off()
    _legend(figure, entries, beside)
    titles, names = [panel[0] for panel in panels], [one.name for one in entries]
    figure.set_label(f"{', '.join(titles)} over the epochs, of {', '.join(names)}")
    return figure


def _draw(axes: Axes, title: str, unit: str, runs: Sequence[Lines], palette: Sequence[str]) -> None:
    shown: list[list[float]] = []
    for lines, color in zip(runs, palette, strict=True):
        for split, found in ((split, found) for split, found in lines.items() if found):
            solid = split == "validation" or not lines.get("validation")
            (line,) = axes.plot(*zip(*found, strict=True), marker="o", markevery=[-1])
            line.set(color=color, linestyle="-" if solid else "--", linewidth=1.6 if solid else 1)
            line.set(alpha=1 if solid else 0.7, markersize=3.5)
            shown.append([y for _, y in found])
    values = [value for line in shown for value in line]
    if title == SIGMA and 0 < DECADES * min(values) < max(values):  # linear, one run is flat at 0
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.tick_params("y", which="minor", left=False)
    else:
        fit_axis(axes, shown)
    axes.locator_params("x", integer=True, min_n_ticks=1)
    axes.set_xlabel("epoch")
    axes.set_title(unit, loc="left", fontsize=9)
    axes.annotate(title, (0, 1), (0, 20), "axes fraction", "offset points", weight="bold",
                  fontsize=12, annotation_clip=False)  # fmt: skip


def fit_axis(axes: Axes, lines: Sequence[Sequence[float]]) -> None:
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


def _legend(figure: Figure, entries: Sequence[Entry], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, linewidth=2, label=name_text(one.name, LONGEST))
        for one, color in zip(entries, colors(len(entries)), strict=True)
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, labelcolor="linecolor")
    held_out = any(record.get("validation") for one in entries for record in one.epochs)
    figure.supxlabel(
        "lines: validation rows; dashed: training rows" if held_out else "lines: training rows",
        x=0.01, ha="left", fontsize=9, color=COLORS["soft"],
    )  # fmt: skip


def distortion_figure(
    entries: Sequence[Entry], values: Mapping[str, Sequence[Any]], comparable: bool = True
) -> Figure | None:
    """Rate (KL) against distortion (-log-likelihood), a point for each beta, at beta = 1.

    Runs that differ in other options besides are lines of their own. On the dotted line the ELBO is
    that of the best run: rate + distortion = -ELBO. None where beta, or the KL, is not of all runs.

    Args:
        entries: the runs.
        values: the options that differ, with the value of each run.
        comparable: whether their likelihoods compare.
    """
    betas = values.get(BETA, [None])
    found = [one.records.get("bound", {}) for one in entries]
    pairs = [(bound.get("kl"), bound.get("log_likelihood")) for bound in found]
    at = [(rate, -fit) for rate, fit in pairs if rate is not None and fit is not None]
    if None in betas or len(at) < len(entries) or not comparable:
        return None
    figure, (axes,) = paper(470, 340)
    groups: dict[tuple[str, ...], list[int]] = {}
    for place in range(len(entries)):
        own = tuple(f"{n}={held[place]}" for n, held in values.items() if n != BETA)
        groups.setdefault(own, []).append(place)
    palette = colors(len(groups))
    for number, (name, places) in enumerate(groups.items()):
        order = sorted(places, key=lambda place: betas[place])
        (line,) = axes.plot(*zip(*(at[p] for p in order), strict=True), "-o")
        line.set(color=palette[number], label=name_text(" ".join(name), LONGEST))
        ink = palette[number] if len(groups) > 1 else COLORS["ink"]
        offset, side = ((-6, -14), "right") if number % 2 else ((6, 5), "left")  # lines take turns
        for place in order:
            axes.annotate(f"β = {betas[place]:g}", at[place], offset,
                          textcoords="offset points", ha=side, color=ink)  # fmt: skip
    _best_bound(axes, at)
    axes.set_xlabel("rate: KL, nats")
    axes.set_ylabel("distortion: −log-likelihood, nats")
    axes.grid(axis="x")
    if len(groups) > 1:
        figure.legend(loc="outside upper left")
    figure.set_label(f"rate against distortion of {len(entries)} runs")
    return figure


def _best_bound(axes: Axes, points: Sequence[tuple[float, ...]]) -> None:
    total = min(rate + distortion for rate, distortion in points)
    axes.margins(0.18, 0.12)
    low, high = axes.get_xlim()
    low = max(low, -0.03 * high)  # no KL is below 0
    bottom, top = axes.get_ylim()
    axes.plot([low, high], [total - low, total - high], ":", color=COLORS["soft"], linewidth=1,
              zorder=0)  # fmt: skip
    axes.set_xlim(low, high)
    axes.set_ylim(bottom, top)

"""Charts of several settings: what is drawn, as SVG for the page and by matplotlib for .png files.

Both have the colors of style.css. A chart shows four settings at most; more have further charts
with the same axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from vaekit.report.curves import (
    PANELS,
    Chart,
    Ends,
    Line,
    Plot,
    Points,
    finite,
    limits,
    lines,
    points,
    short,
    ticks,
)
from vaekit.report.pages import mark
from vaekit.report.ranking import BOUNDS, Measure, Setting
from vaekit.report.run_set import RunSet, Words, option_text, telling
from vaekit.report.style import COLORS, name_text, paper

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("", "accent", "idle", "step1")  # of lines; an ordered option has steps of one hue
STEPS = {2: ("step1", "step3"), 3: ("step1", "step2", "step3")}
BRIEF, LONGEST = 14, 48  # letters of a name at the end of a line, and in a legend
SIGMA = mark("posterior σ")
DECADES = 30  # times: from here on σ has a logarithmic axis
ELBO = mark("ELBO")
BETA = "objective.beta"
OTHERS = {  # that an epoch records besides its terms
    "posterior_scale": (SIGMA, mark("root mean square of σ(x)")),
    "active_units": (mark("active units"), mark("latent dimensions")),
    "gradient_norm": (mark("gradient norm"), mark("mean over the steps looked at")),
    "dead_units": (mark("dead units"), mark("share of the hidden units")),
}

Read = Callable[[Mapping[str, Any]], Any]


class Style(NamedTuple):
    """How a setting is drawn: the class of its lines, and what stands at their ends."""

    kind: str
    label: str


def styles(opened: RunSet) -> dict[str, Style]:
    """Return how each setting is drawn; a long name has a letter in its stead."""
    names = list(opened.settings)
    brief = all(len(name) <= BRIEF for name in names)
    kinds = dict(zip(names, KINDS[: _together(names)] * len(names), strict=False))
    values = [v for name, v in telling(opened.options).items() if name != "seed"]
    numbers = [values[0][rows[0]] for rows in opened.settings.values()] if values else []
    if len(values) == 1 and len(names) in STEPS and all(type(v) in (int, float) for v in numbers):
        order = sorted(range(len(names)), key=lambda n: numbers[n])
        kinds = {names[n]: kind for n, kind in zip(order, STEPS[len(names)], strict=True)}
    return {name: Style(kinds[name], name if brief else _letter(n)) for n, name in enumerate(names)}


def _together(settings: Sequence[Any]) -> int:
    """Return how many settings a chart shows: four at most, about as many in each."""
    return math.ceil(len(settings) / math.ceil(len(settings) / len(KINDS)))


def _letter(number: int) -> str:
    return chr(ord("A") + number % 26) * (number // 26 + 1)


class Panel(NamedTuple):
    """One chart of training: lines over epochs; thin ones are runs, dashed ones training rows."""

    title: str
    unit: str
    lines: list[Line]
    y: Ends
    log: str = ""

    def chart(self, say: Words = str) -> Chart:
        """Return it for the page."""
        return lines(self.title, self.unit, self.lines, x=say("epoch"), y=self.y, log=self.log)


def panels(opened: RunSet, settings: Sequence[Setting], say: Words = str) -> Iterator[Panel]:
    """Yield a panel for each number that epochs record; more where the settings are many.

    Of objectives that differ the ELBO is shown, which every run has; where the likelihoods do not
    compare, what hangs on them is left out.
    """
    style, unit = styles(opened), say(opened.runs[0].spec.unit)
    changed = {name.partition(".")[0] for name in opened.options}
    other = bool(changed & {"objective", "kl_warmup", "schedule"})
    for name, title in PANELS.items():
        if name == "objective" and other:
            name = title = ELBO
        if opened.comparable or name == "kl":
            reads = [partial(_term, name, split) for split in ("validation", "train")]
            yield from _panels(say(title), unit, settings, reads, style)
    for name, (title, of) in OTHERS.items():
        reads, scale = [partial(_other, name)], title == SIGMA
        shown = list(_panels(say(title), say(of), settings, reads, style, scale=scale))
        if name != "dead_units" or any(
            y for p in shown for line in p.lines for _, y in line.points
        ):
            yield from shown


def _term(name: str, split: str, record: Mapping[str, Any]) -> Any:
    terms = record.get(split) or {}
    if name == ELBO and "kl" in terms:
        return terms["log_likelihood"] - terms["kl"]
    return terms.get(name)


def _other(name: str, record: Mapping[str, Any]) -> Any:
    return (record.get("latent") or {}).get(name, record.get(name))


def _panels(
    title: str,
    unit: str,
    settings: Sequence[Setting],
    reads: Sequence[Read],
    style: Mapping[str, Style],
    *,
    scale: bool = False,
) -> Iterator[Panel]:
    drawn = [list(_lines(setting, reads, style[setting.name])) for setting in settings]
    numbers = [[y for _, y in line.points] for group in drawn for line in group]
    if not numbers:
        return
    y, log = axis(numbers, scale=scale)
    step = _together(settings)
    for start in range(0, len(drawn), step):
        some = [line for group in drawn[start : start + step] for line in group]
        if some:
            yield Panel(title, unit, some, y, log)


def _lines(setting: Setting, reads: Sequence[Read], style: Style) -> Iterator[Line]:
    """Yield the lines of a setting: the first kind of rows that it has is solid."""
    solid = True
    for read in reads:
        runs = [at for entry in setting.entries if (at := points(entry.epochs, read))]
        if not runs:
            continue
        if solid and len(runs) > 1:
            yield from (Line(at, "", f"{style.kind} thin") for at in runs)
        label, kind = (style.label, style.kind) if solid else ("", f"{style.kind} thin dashed")
        yield Line(_mean(runs), label, kind.strip())
        solid = False


def _mean(runs: Sequence[Points]) -> Points:
    """Return the mean of lines, at what all of them have."""
    known = [dict(at) for at in runs]
    return [
        (x, sum(at[x] for at in known) / len(known))
        for x, _ in runs[0]
        if all(x in at for at in known)
    ]


def axis(numbers: Sequence[Sequence[float]], *, scale: bool = False) -> tuple[Ends, str]:
    """Return the ends of an axis, and "y" where it is logarithmic.

    The most of each line is inside; all of it and 0, where counts are drawn. A scale that shrinks
    to nothing in one run would be flat at 0 on a linear axis.

    Example:
        >>> axis([[16.0, 16.0], [64.0, 60.0]])[0][0] <= 0, axis([[1.0], [1e-4]], scale=True)[1]
        (True, 'y')
    """
    values = [value for line in numbers for value in line]
    if scale and 0 < DECADES * min(values) < max(values):
        return (0.9 * min(values), 1.1 * max(values)), "y"
    counts = all(value == int(value) for value in values)
    ends = [*map(limits, numbers), *([(min(0.0, *values), max(values))] if counts else [])]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    margin = 0.03 * (high - low)
    low, high = low - margin, high + margin
    return (low if min(values) < 0 else max(low, -0.03 * high), high), ""


ROW = 34  # units that a setting is high


def spread_chart(
    of: Measure,
    unit: str,
    settings: Sequence[Setting],
    style: Mapping[str, Style],
    say: Words = str,
) -> Chart | None:
    """Draw a dot for each run, the mean of each setting, and its 95 % interval as a band.

    `unit` is that of bounds.
    """
    known = [(setting, mean) for setting in settings if finite(mean := setting.value(of))]
    if len(known) < 2:
        return None
    halves = [setting.half_interval(of) or 0.0 for setting, _ in known]
    halves = [half if math.isfinite(half) else 0.0 for half in halves]
    ends = [end for (_, mean), half in zip(known, halves, strict=True)
            for end in (mean - half, mean + half)]  # fmt: skip
    runs = [[entry.value(of) or 0.0 for entry in setting.entries] for setting, _ in known]
    ends += [number for group in runs for number in group]
    margin = 0.04 * (max(ends) - min(ends)) or 0.1
    plot = Plot((min(ends) - margin, max(ends) + margin), (0, 1), (400, ROW * len(known) + 26))
    plot.margins = (8, 8, 4, 22)
    left, right, top, bottom = plot.box
    for number in ticks(plot.x, 4):
        x, _ = plot.at(number, 0)
        plot.add(f'<path class="grid" d="M{x:.1f} {top:g}V{bottom:g}"/>')
        plot.text(x, bottom + 16, short(number), anchor="middle")
    for row, ((setting, mean), half, group) in enumerate(zip(known, halves, runs, strict=True)):
        y = top + ROW * row + 23
        low, high = plot.at(mean - half, 0)[0], plot.at(mean + half, 0)[0]
        plot.add(f'<rect class="band" x="{low:.1f}" y="{y - 4:g}" rx="4" height="8" '
                 f'width="{high - low:.1f}"/>')  # fmt: skip
        for step, number in enumerate(group):
            up = y + 3.0 * (step - (len(group) - 1) / 2)
            kind = f"dot {style[setting.name].kind}".strip()
            plot.add(f'<circle class="{kind}" r="3.5" cx="{plot.at(number, 0)[0]:.1f}" cy="{up:g}">'
                     f"<title>{of.text(number)}</title></circle>")  # fmt: skip
        if len(group) > 1:
            plot.add(f'<path class="err" d="M{plot.at(mean, 0)[0]:.1f} {y - 8:g}v16"/>')
        plot.text(left, y - 11, setting.name, kind="strong")
        plot.text(right, y - 11, setting.text(of), anchor="end")
    texts = ", ".join(f"{setting.name} {setting.text(of)}" for setting, _ in known)
    title, of_column = say(of.title), of.column.unit
    unit = unit if of.column.group == BOUNDS else of_column and say(of_column)
    return Chart(title, unit, plot.svg(f"{title}: {texts}"))


class Tradeoff(NamedTuple):
    """Rate (KL) against distortion (-log-likelihood), a point for each beta, at beta = 1.

    Attributes:
        lines: of settings that differ in beta alone, by what they have in common.
        betas: of the points of each line.
        total: rate + distortion of the best: on that line the ELBO is -total.
    """

    lines: dict[str, Points]
    betas: dict[str, list[float]]
    total: float

    @property
    def ends(self) -> tuple[Ends, Ends]:
        """The ends of both axes, with room for words."""
        at = [point for line in self.lines.values() for point in line]
        both = []
        for values in zip(*at, strict=True):
            margin = 0.15 * (max(values) - min(values)) or 0.1
            both.append((min(values) - margin, max(values) + margin))
        (low, high), y = both
        return (max(low, -0.03 * high), high), y  # no KL is below 0


def tradeoff(opened: RunSet, settings: Sequence[Setting]) -> Tradeoff | None:
    """Return rate and distortion; None where beta or a term is missing, or they do not compare."""
    betas = opened.options.get(BETA, [None])
    bounds = [[entry.records.get("bound", {}) for entry in setting.entries] for setting in settings]
    terms = [
        bound.get(name) for group in bounds for bound in group for name in ("kl", "log_likelihood")
    ]
    if None in betas or not all(map(finite, terms)) or not opened.comparable:
        return None
    groups: dict[str, list[tuple[float, float, float]]] = {}
    for setting, group in zip(settings, bounds, strict=True):
        row = opened.settings[setting.name][0]
        others = [f"{n}={option_text(values[row])}" for n, values in opened.options.items()
                  if n not in (BETA, "seed")]  # fmt: skip
        rate, fit = (sum(b[name] for b in group) / len(group) for name in ("kl", "log_likelihood"))
        groups.setdefault(" ".join(others), []).append((betas[row], rate, -fit))
    lines = {name: [(rate, fit) for _, rate, fit in sorted(at)] for name, at in groups.items()}
    total = min(rate + fit for line in lines.values() for rate, fit in line)
    return Tradeoff(lines, {name: sorted(b for b, *_ in at) for name, at in groups.items()}, total)


def tradeoff_chart(trade: Tradeoff, say: Words = str) -> Chart:
    """Draw it for the page."""
    x, y = trade.ends
    plot = Plot(x, y, (400, 280), (50, 50, 10, 34))
    plot.grid()
    plot.below(say("rate"))
    best = [(x[0], trade.total - x[0]), (x[1], trade.total - x[1])]
    plot.line(best, "idle dashed")
    for number, (name, line) in enumerate(trade.lines.items()):
        kind = KINDS[number % len(KINDS)]
        plot.line(line, kind)
        for point, beta in zip(line, trade.betas[name], strict=True):
            plot.dot(*point, kind)
            across, up = plot.at(*point)
            low = number % 2
            plot.text(across + (-7 if low else 7), up + (16 if low else -6), f"β = {beta:g}",
                      anchor="end" if low else "start")  # fmt: skip
        if len(trade.lines) > 1:
            across, up = plot.at(*line[-1])
            plot.text(across + 8, up + 14, name[:LONGEST], kind="strong")
    unit = say("distortion: −log-likelihood, by rate: KL, nats")
    return Chart(say("Rate and distortion"), unit, plot.svg(say("rate against distortion")))


def _color(kind: str) -> str:
    names = [name for name in kind.split() if name in COLORS]
    return COLORS[names[0] if names else "ink"]


def curves_figure(shown: Sequence[Panel], names: Mapping[str, str]) -> Figure | None:
    """Draw the panels by matplotlib; `names` has the full name of each label."""
    from matplotlib.figure import Figure

    if not shown:
        return None
    columns = 2 if len(shown) == 4 else min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=((280 * columns) / 72, (240 * rows + 10) / 72))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    figure.subplots(rows, columns, squeeze=False)
    for axes, panel in zip(figure.axes, shown, strict=False):
        _draw(axes, panel, names)
    for axes in figure.axes[len(shown) :]:
        axes.set_axis_off()
    words = "lines: validation rows where there are some; dashed: training rows; thin: a run each"
    figure.supxlabel(words, x=0.01, ha="left", fontsize=9, color=COLORS["soft"])
    return figure


def _draw(axes: Axes, panel: Panel, names: Mapping[str, str]) -> None:
    for line in panel.lines:
        thin, label = "thin" in line.kind, name_text(names.get(line.label, ""), LONGEST)
        (drawn,) = axes.plot(*zip(*line.points, strict=True), marker="o", markevery=[-1])
        drawn.set(color=_color(line.kind), linestyle="--" if "dashed" in line.kind else "-")
        drawn.set(linewidth=0.9 if thin else 1.7, alpha=0.6 if thin else 1, label=label or "_")
        drawn.set(markersize=0 if thin else 3.5)
    if panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.tick_params("y", which="minor", left=False)
    axes.set_ylim(*panel.y)
    if all(y == int(y) for line in panel.lines for _, y in line.points):
        axes.locator_params("y", integer=True, min_n_ticks=1)
    axes.locator_params("x", integer=True, min_n_ticks=1)
    axes.set_xlabel("epoch")
    axes.set_title(panel.unit, loc="left", fontsize=9)
    axes.annotate(panel.title, (0, 1), (0, 20), "axes fraction", "offset points", weight="bold",
                  fontsize=12, annotation_clip=False)  # fmt: skip
    if names:
        axes.legend(fontsize=7)


def tradeoff_figure(trade: Tradeoff) -> Figure:
    """Draw rate against distortion by matplotlib."""
    figure, (axes,) = paper(470, 340)
    (low, high), y = trade.ends
    for number, (name, line) in enumerate(trade.lines.items()):
        (drawn,) = axes.plot(*zip(*line, strict=True), "-o")
        drawn.set(color=_color(KINDS[number % len(KINDS)]), label=name_text(name, LONGEST))
        offset, side = ((-6, -14), "right") if number % 2 else ((6, 5), "left")  # lines take turns
        for point, beta in zip(line, trade.betas[name], strict=True):
            axes.annotate(f"β = {beta:g}", point, offset, textcoords="offset points", ha=side)
    axes.plot([low, high], [trade.total - low, trade.total - high], ":", color=COLORS["soft"],
              linewidth=1, zorder=0)  # fmt: skip
    axes.set(xlim=(low, high), ylim=y, xlabel="rate: KL, nats")
    axes.set_ylabel("distortion: −log-likelihood, nats")
    axes.grid(axis="x")
    if len(trade.lines) > 1:
        figure.legend(loc="outside upper left")
    return figure

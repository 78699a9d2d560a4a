"""What the epochs of runs recorded, drawn as curves: of one run, and of several settings.

Those of settings are SVG for the page and drawn by matplotlib for files, in the colors of
style.css. A chart shows four settings at most; more have further charts with the same axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vaekit.report._curves import COLORS, Chart, Ends, Line, Points, finite, limits, lines
from vaekit.report._figures import FULL, name_text
from vaekit.report._measures import Setting
from vaekit.report._pages import mark
from vaekit.report._run_set import RunSet, Words, telling, unit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TERMS = {
    "objective": "objective",
    "log_likelihood": "log-likelihood",
    "kl": "KL",
    "luminance": "luminance",
}
ELBO = mark("ELBO")
OTHERS = {  # that an epoch records besides its terms
    "posterior_scale": (mark("posterior σ"), mark("root mean square of σ(x)")),
    "perplexity": (mark("perplexity of the codes"), mark("codes that are used evenly")),
    "active_units": (mark("active units"), mark("latent dimensions")),
    "gradient_norm": (mark("gradient norm"), mark("mean over the steps looked at")),
    "dead_units": (mark("dead units"), mark("share of the hidden units")),
}
KINDS = ("", "accent", "idle", "step1")  # of lines; an ordered option has steps of one hue
STEPS = {2: ("step1", "step3"), 3: ("step1", "step2", "step3")}
BRIEF, LONGEST = 14, 48  # letters of a name at the end of a line, and in a legend
MOST = 6  # numbers whose curves a file shows
DECADES = 30  # times: from here on σ has a logarithmic axis


def points(records: Sequence[Mapping[str, Any]], name: str, split: str | None = None) -> Points:
    """Return the epochs and a number of each where it is finite: of a split, or of the epoch."""
    found = []
    for record in records:
        terms = (record.get(split) if split else record.get("latent")) or {}
        number = terms.get(name, None if split else record.get(name))
        if name == ELBO and "kl" in terms:
            number = terms["log_likelihood"] - terms["kl"]
        if finite(number):
            found.append((float(record["epoch"]), float(number)))
    return found


def training_curves(
    records: list[dict[str, Any]], unit: str, *, step: int | None = None, say: Words = str
) -> list[Chart]:
    """Return a chart for each term of the objective, and one of the posterior's scale.

    Args:
        records: of metrics.jsonl.
        unit: of the terms.
        step: the optimizer steps after which the weights were saved: that epoch is marked.
        say: the translation of words.

    Example:
        >>> terms = {"objective": -120.0, "log_likelihood": -100.0, "kl": 20.0}
        >>> [chart.title for chart in training_curves([{"epoch": 1, "train": terms}], "nats")]
        ['objective', 'log-likelihood', 'KL']
    """
    best = next((record["epoch"] for record in records if record.get("step") == step), None)
    found = []
    for name, title in TERMS.items():
        both = (("train", ""), ("test", "idle"), ("validation", "accent"))
        shown = [Line(points(records, name, split), say(split), kind) for split, kind in both]
        if shown := [line for line in shown if line.points]:
            dot = next((p for p in shown[-1].points if p[0] == best and step), None)
            found.append(lines(say(title), unit, shown, x=say("epoch"), mark=dot))
    for name, sign in (("posterior_scale", "σ"), ("perplexity", "")):
        if numbers := points(records, name):
            title, of = map(say, OTHERS[name])
            found.append(lines(title, of, [Line(numbers, sign)], x=say("epoch")))
    return found


class Style(NamedTuple):
    """How a setting is drawn: the class of its lines, and what stands at their ends."""

    kind: str
    label: str

    def lines(self, setting: Setting, name: str, splits: Sequence[str | None]) -> Iterator[Line]:
        """Yield the lines of a setting: the first kind of rows that it has is solid."""
        label, kind = self.label, self.kind
        for split in splits:
            runs = [at for entry in setting.entries if (at := points(entry.epochs, name, split))]
            if not runs:
                continue
            if label and len(runs) > 1:
                yield from (Line(at, "", f"{kind} thin") for at in runs)
            known = [dict(at) for at in runs]
            shared = [x for x in known[0] if all(x in at for at in known)]
            mean = [(x, sum(at[x] for at in known) / len(known)) for x in shared]
            yield Line(mean, label, kind.strip())
            label, kind = "", f"{self.kind} thin dashed"


def styles(opened: RunSet) -> dict[str, Style]:
    """Return how each setting is drawn; a long name has a letter in its stead."""
    names = list(opened.settings)
    kinds = dict(zip(names, KINDS[: _together(names)] * len(names), strict=False))
    values = [v for name, v in telling(opened.options).items() if name != "seed"]
    if len(values) == 1 and len(names) in STEPS:
        numbers = {name: values[0][rows[0]] for name, rows in opened.settings.items()}
        if all(type(number) in (int, float) for number in numbers.values()):
            kinds = dict(
                zip(sorted(names, key=numbers.__getitem__), STEPS[len(names)], strict=True)
            )
    if all(len(name) <= BRIEF for name in names):
        return {name: Style(kinds[name], name) for name in names}
    letters = [chr(ord("A") + n % 26) * (n // 26 + 1) for n in range(len(names))]
    return {name: Style(kinds[name], a) for name, a in zip(names, letters, strict=True)}


def _together(settings: Sequence[Any]) -> int:
    """Return how many settings a chart shows: four at most, about as many in each."""
    return math.ceil(len(settings) / math.ceil(len(settings) / len(KINDS)))


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

    def draw(self, axes: Axes, names: Mapping[str, str], *, legend: bool = False) -> None:
        """Draw it by matplotlib; `names` has the full name of each label."""
        for line in self.lines:
            thin = "thin" in line.kind
            width, opacity, size = (0.9, 0.6, 0) if thin else (1.7, 1, 3.5)
            (drawn,) = axes.plot(*zip(*line.points, strict=True), marker="o", markevery=[-1])
            drawn.set(color=line_color(line.kind), linestyle="--" if "dashed" in line.kind else "-")
            drawn.set(linewidth=width, alpha=opacity, markersize=size)
            drawn.set(label=name_text(names.get(line.label, ""), LONGEST) or "_")
        if self.log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.tick_params("y", which="minor", left=False)
        axes.set(ylim=self.y, xlabel="epoch")
        if all(y == int(y) for line in self.lines for _, y in line.points):
            axes.locator_params("y", integer=True, min_n_ticks=1)
        axes.locator_params("x", integer=True, min_n_ticks=1)
        axes.set_title(self.unit, loc="left", fontsize=8.5)
        title = axes.annotate(self.title, (0, 1), (0, 19), "axes fraction", "offset points")
        title.set(weight="bold", fontsize=11, annotation_clip=False)
        if legend and names:
            axes.legend(fontsize=8)


def panels(opened: RunSet, settings: Sequence[Setting], say: Words = str) -> Iterator[Panel]:
    """Yield a panel for each number that epochs record; more where the settings are many.

    Of objectives that differ, and of tables that runs scaled, the ELBO is shown, which every run
    has; where the likelihoods do not compare, what hangs on them is left out.
    """
    changed = {name.partition(".")[0] for name in opened.options}
    terms = dict(TERMS)
    if opened.scaled or changed & {"objective", "kl_warmup", "schedule"}:
        terms = {ELBO if name == "objective" else name: title for name, title in TERMS.items()}
        terms[ELBO] = ELBO
    spec, both = opened.runs[0].spec, ("validation", "test", "train")
    wanted: list[tuple[str, tuple[str, str], tuple[str | None, ...]]] = [
        (name, (say(title), say(spec.unit) if name == "kl" else unit_of(spec, say)), both)
        for name, title in terms.items()
        if opened.comparable or name == "kl"
    ]
    wanted += [(name, (say(title), say(of)), (None,)) for name, (title, of) in OTHERS.items()]
    style, step = styles(opened), _together(settings)
    for name, (title, of), splits in wanted:
        drawn = [list(style[one.name].lines(one, name, splits)) for one in settings]
        numbers = [[y for _, y in line.points] for group in drawn for line in group]
        if not numbers or (name == "dead_units" and not any(map(any, numbers))):
            continue
        ends = [line.points[-1][1] for group in drawn for line in group]
        y, log = axis(numbers, ends, scale=name == "posterior_scale")
        for start in range(0, len(drawn), step):
            some = [line for group in drawn[start : start + step] for line in group]
            if some:
                yield Panel(title, of, some, y, log)


def axis(
    numbers: Sequence[Sequence[float]], last: Sequence[float] = (), *, scale: bool = False
) -> tuple[Ends, str]:
    """Return the ends of an axis, and "y" where it is logarithmic.

    The most of each line is inside, and its `last` value unless it is far away; all of it and 0,
    where counts are drawn. A scale that shrinks to nothing in one run would be flat at 0 on a
    linear axis.

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
    near = [value for value in last if abs(2 * value - low - high) < 4 * (high - low)]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.03 * (high - low)
    low, high = low - margin, high + margin
    return (low if min(values) < 0 else max(low, -0.03 * high), high), ""


def line_color(kind: str) -> str:
    """Return the color of the page for a class of lines.

    Example:
        >>> line_color("accent thin") == COLORS["accent"], line_color("") == COLORS["ink"]
        (True, True)
    """
    return COLORS[next((name for name in kind.split() if name in COLORS), "ink")]


def that_matter(found: Sequence[Panel]) -> list[Panel]:
    """Return the panels of a file: without those whose lines are all flat, of six numbers at most.

    Of seven it is the gradient's norm that is left out.
    """
    moving = [
        panel
        for panel in found
        if any(max(ys) > min(ys) for ys in ([y for _, y in line.points] for line in panel.lines))
    ]
    norm = OTHERS["gradient_norm"][0]
    many = len({panel.title for panel in moving}) > MOST
    return [panel for panel in moving if not (many and panel.title == norm)]


def curves_figure(shown: Sequence[Panel], names: Mapping[str, str]) -> Figure:
    """Draw panels by matplotlib, one at least; `names` has the full name of each label.

    Rows have up to three panels and no holes: where they are not full, panels are wider. The legend
    stands below all of them; in each, where a color is not the same setting in all.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    counts = rows_of(len(shown))
    figure = Figure(figsize=(FULL / 72, (190 * len(counts) + 50) / 72))
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.08)
    grid, first = figure.add_gridspec(len(counts), 6), 0
    alike = all(
        {line.label: line.kind for line in panel.lines if line.label}
        == {line.label: line.kind for line in shown[0].lines if line.label}
        for panel in shown
    )
    for row, count in enumerate(counts):
        for place, panel in enumerate(shown[first : first + count]):
            wide = 6 // count
            axes = figure.add_subplot(grid[row, wide * place : wide * (place + 1)])
            panel.draw(axes, names, legend=not alike)
        first += count
    handles = figure.axes[0].get_legend_handles_labels()[0] if alike else []
    kinds = [line.kind for panel in shown for line in panel.lines]
    for words, style, there in (
        ("training rows", "--", any("dashed" in kind for kind in kinds)),
        ("one run each", "-", any("thin" in kind and "dashed" not in kind for kind in kinds)),
    ):
        if there:
            how: dict[str, Any] = {"color": COLORS["soft"], "linewidth": 0.9, "linestyle": style}
            handles.append(Line2D([], [], label=words, **how))
    if handles:
        letters = [len(str(handle.get_label())) + 6 for handle in handles]  # 105 fit side by side
        rows = math.ceil(len(handles) / max(1, 105 // max(letters)))
        columns = len(handles) if sum(letters) <= 105 else math.ceil(len(handles) / rows)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9.5)
    return figure


def rows_of(count: int) -> list[int]:
    """Return how many panels each row has: three at most, and none of one beside rows of several.

    Example:
        >>> [rows_of(count) for count in (1, 3, 4, 5, 7)]
        [[1], [3], [2, 2], [3, 2], [3, 2, 2]]
    """
    rows = math.ceil(count / 3)
    return [count // rows + (row < count % rows) for row in range(rows)]

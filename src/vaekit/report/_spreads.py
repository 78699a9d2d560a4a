"""How far apart settings are: the spread of a number, and rate against distortion.

As SVG for the page; rate and distortion by matplotlib too, for a file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from vaekit.report._curves import COLORS, Chart, Ends, Plot, finite, short, ticks
from vaekit.report._epochs import KINDS, LONGEST, Style, line_color
from vaekit.report._figures import name_text, paper
from vaekit.report._measures import Measure, Setting
from vaekit.report._run_set import RunSet, Words, plain_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW = 34  # units that a setting is high
BETA = "objective.beta"
Styles = Mapping[str, Style]


def spread_chart(
    of: Measure, settings: Sequence[Setting], style: Styles, say: Words = str
) -> Chart | None:
    """Draw a dot for each run, the mean of each setting, and its 95 % interval as a band."""
    rows = []
    for setting in settings:
        if finite(mean := setting.value(of)):
            half = setting.half_interval(of) or 0.0
            numbers = [entry.value(of) or 0.0 for entry in setting.entries]
            rows.append((setting, mean, half if math.isfinite(half) else 0.0, numbers))
    if len(rows) < 2:
        return None
    ends = [x for _, mean, half, numbers in rows for x in (mean - half, mean + half, *numbers)]
    margin = 0.04 * (max(ends) - min(ends)) or 0.1
    area = (min(ends) - margin, max(ends) + margin), (0, 1), (400, ROW * len(rows) + 26)
    plot = Plot(*area, margins=(8, 8, 4, 22))
    left, right, top, bottom = plot.box
    for number in ticks(plot.x, 4):
        plot.vertical(number)
        plot.text(plot.at(number, 0)[0], bottom + 16, short(number), anchor="middle")
    for row, (setting, mean, half, numbers) in enumerate(rows):
        y = top + ROW * row + 23
        low, middle, high = (plot.at(x, 0)[0] for x in (mean - half, mean, mean + half))
        plot.add(f'<rect class="band" x="{low:.1f}" y="{y - 4:g}" rx="4" height="8" '
                 f'width="{high - low:.1f}"/>')  # fmt: skip
        kind = f"dot {style[setting.name].kind}".strip()
        for step, number in enumerate(numbers):
            x, up = plot.at(number, 0)[0], y + 3.0 * (step - (len(numbers) - 1) / 2)
            plot.add(f'<circle class="{kind}" r="3.5" cx="{x:.1f}" cy="{up:g}">'
                     f"<title>{of.text(number)}</title></circle>")  # fmt: skip
        if len(numbers) > 1:
            plot.add(f'<path class="err" d="M{middle:.1f} {y - 8:g}v16"/>')
        plot.text(left, y - 11, setting.name, "strong")
        plot.text(right, y - 11, setting.text(of), anchor="end")
    texts = ", ".join(f"{setting.name} {setting.text(of)}" for setting, *_ in rows)
    unit = settings[0].entries[0].unit(of, say)
    return Chart(say(of.title), unit, plot.svg(f"{say(of.title)}: {texts}"))


class Tradeoff(NamedTuple):
    """Rate (KL) against distortion (-log-likelihood), a point for each beta, at beta = 1.

    Attributes:
        lines: of settings that differ in beta alone, by what they have in common.
        betas: of the points of each line.
    """

    lines: dict[str, list[tuple[float, float]]]
    betas: dict[str, list[float]]

    @property
    def total(self) -> float:
        """Rate + distortion of the best: on the line of that total the ELBO is -total."""
        return min(rate + fit for line in self.lines.values() for rate, fit in line)

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

    def chart(self, say: Words = str) -> Chart:
        """Draw it for the page."""
        plot = Plot(*self.ends, (400, 280), (50, 50, 10, 34))
        plot.grid()
        plot.below(say("rate"))
        plot.line([(end, self.total - end) for end in plot.x], "idle dashed")
        for number, (name, line) in enumerate(self.lines.items()):
            kind = KINDS[number % len(KINDS)]
            right, down, anchor = (-7, 16, "end") if number % 2 else (7, -6, "start")  # in turns
            plot.line(line, kind)
            for point, beta in zip(line, self.betas[name], strict=True):
                plot.dot(point, kind)
                plot.beside(point, right, down, f"β = {beta:g}", anchor=anchor)
            if len(self.lines) > 1:
                plot.beside(line[-1], 8, 14, name[:LONGEST], kind="strong")
        unit = say("distortion: −log-likelihood, by rate: KL, nats")
        return Chart(say("Rate and distortion"), unit, plot.svg(say("rate against distortion")))

    def figure(self) -> Figure:
        """Draw it by matplotlib."""
        (figure, (axes,)), (x, y) = paper(470, 340), self.ends
        for number, (name, line) in enumerate(self.lines.items()):
            (drawn,) = axes.plot(*zip(*line, strict=True), "-o")
            drawn.set(color=line_color(KINDS[number % len(KINDS)]), label=name_text(name, LONGEST))
            offset, side = ((-6, -14), "right") if number % 2 else ((6, 5), "left")  # in turns
            for point, beta in zip(line, self.betas[name], strict=True):
                axes.annotate(f"β = {beta:g}", point, offset, textcoords="offset points", ha=side)
        best = [self.total - end for end in x]
        axes.plot(x, best, ":", color=COLORS["soft"], linewidth=1, zorder=0)
        axes.set(xlim=x, ylim=y, xlabel="rate: KL, nats")
        axes.set_ylabel("distortion: −log-likelihood, nats")
        axes.grid(axis="x")
        if len(self.lines) > 1:
            figure.legend(loc="outside upper left")
        return figure


def tradeoff(opened: RunSet, settings: Sequence[Setting]) -> Tradeoff | None:
    """Return rate and distortion; None where beta or a term is missing, or they do not compare."""
    betas = opened.options.get(BETA, [None])
    if None in betas or not opened.comparable:
        return None
    others = {n: values for n, values in opened.options.items() if n not in (BETA, "seed")}
    groups: dict[str, list[tuple[float, float, float]]] = {}
    for setting in settings:
        rate = setting.mean(lambda entry: entry.records.get("bound", {}).get("kl"))
        fit = setting.mean(lambda entry: entry.records.get("bound", {}).get("log_likelihood"))
        if not finite(rate) or not finite(fit):
            return None
        row = opened.settings[setting.name][0]
        name = ", ".join(plain_text(n, values[row]) for n, values in others.items())
        groups.setdefault(name, []).append((betas[row], rate, -fit))
    lines = {name: [(rate, fit) for _, rate, fit in sorted(at)] for name, at in groups.items()}
    return Tradeoff(lines, {name: sorted(beta for beta, *_ in at) for name, at in groups.items()})

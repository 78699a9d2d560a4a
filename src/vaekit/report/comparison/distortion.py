"""Rate against distortion of runs that differ in beta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vaekit.report.comparison.charts import LONGEST, colours
from vaekit.report.comparison.measured import Entry
from vaekit.report.style import COLOURS
from vaekit.report.svg import name_text, paper

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def distortion_figure(entries: Sequence[Entry], values: Mapping[str, Sequence[Any]]) -> Figure:
    """Rate (KL) against distortion (-log-likelihood), a point for each beta, at beta = 1.

    Runs that differ in other options besides are lines of their own. On the dotted line the ELBO is
    that of the best run: rate + distortion = -ELBO.

    Args:
        entries: runs that have a KL.
        values: the options that differ, with the value of each run; "beta" is one of them.
    """
    figure, (axes,) = paper(470, 340)
    groups: dict[tuple[str, ...], list[int]] = {}
    others = [name for name in values if name != "beta"]
    for place in range(len(entries)):
        groups.setdefault(tuple(f"{n}={values[n][place]}" for n in others), []).append(place)
    points = [_point(one) for one in entries]
    for number, (name, places) in enumerate(groups.items()):
        order = sorted(places, key=lambda place: values["beta"][place])
        (line,) = axes.plot(*zip(*(points[p] for p in order), strict=True), "-o")
        colour = colours(len(groups))[number] if len(groups) > 1 else COLOURS["ink"]
        line.set(color=colours(len(groups))[number], label=name_text(" ".join(name), LONGEST))
        for place in order:
            text, above = f"β = {values['beta'][place]:g}", number % 2 == 0
            _name(axes, points[place], text, colour, above)
    _best_bound(axes, points)
    axes.set_xlabel("rate: KL, nats")
    axes.set_ylabel("distortion: −log-likelihood, nats")
    axes.grid(axis="x")
    if len(groups) > 1:
        figure.legend(loc="outside upper left")
    figure.set_label(f"rate against distortion of {len(entries)} runs")
    return figure


def _name(axes: Axes, point: tuple[float, float], text: str, colour: str, above: bool) -> None:
    """A word at a point; those of the next line stand on the other side."""
    offset, side = ((6, 5), "left") if above else ((-6, -14), "right")
    axes.annotate(text, point, offset, textcoords="offset points", ha=side, color=colour)


def _point(one: Entry) -> tuple[float, float]:
    assert one.kl is not None
    return one.kl.mean().item(), -one.log_likelihood.mean().item()


def _best_bound(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    total = min(rate + distortion for rate, distortion in points)
    axes.margins(0.18, 0.12)
    low, high = axes.get_xlim()
    low = max(low, -0.03 * high)  # no KL is below 0
    bottom, top = axes.get_ylim()
    axes.plot([low, high], [total - low, total - high], ":", color=COLOURS["soft"], linewidth=1,
              zorder=0)  # fmt: skip
    axes.set_xlim(low, high)
    axes.set_ylim(bottom, top)

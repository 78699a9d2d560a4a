"""Writes what docs shows of benchmarks/results/*.csv: the table of docs/benchmarks.md, and a chart.

python tools/benchmarks.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from peers.results import LINES, newest, quartiles_of, read, table  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks.md"
CHART = ROOT / "docs" / "images" / "benchmark.svg"
BEGIN, END = "<!-- bench -->\n", "<!-- end bench -->\n"

COLORS = {  # by the beginning of what is compared with, and its name in the legend
    "pythae 0.1.2 with": ("#9fc1e2", "pythae at its best"),
    "get_nll": ("#9fc1e2", "pythae at its best"),
    "pythae": ("#2f6fb0", "pythae 0.1.2"),
    "a script": ("#8c959f", "a script by hand"),
    "": ("#d9822b", "the loop of a tutorial"),
}
WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 830, 180, 60, 64, 16, 14
TICKS = range(6)


class Bar(NamedTuple):
    """A ratio of the chart: the workload, what is compared with, the median and its quartiles."""

    what: str
    against: str
    value: float
    quartiles: tuple[float, float] | None


def written(text: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table(read()) + END + rest.partition(END)[2]


def bars() -> list[Bar]:
    """What is faster than a peer at the same work, and by how much, in the order of the table."""
    rows = newest(read())
    found = []
    for line in LINES:
        row = rows.get((line.benchmark, line.measure))
        if row is None or "times faster than" not in line.measure or "bfloat16" in line.measure:
            continue
        ends = [float(rows[key]["value"]) for key in quartiles_of(line) if key in rows]
        quartiles = (ends[0], ends[1]) if ends else None
        what = line.what.partition(" ")[2]  # without W1, W2, ...
        found.append(Bar(what, line.against, float(row["value"]), quartiles))
    return found


def chart() -> str:
    """The bars as SVG: 830 pixels wide, the width of a page on GitHub."""
    found = bars()
    scale = (WIDTH - LEFT - RIGHT) / TICKS[-1]

    def x(value: float) -> str:
        return f"{LEFT + value * scale:.1f}"

    body, y, before = [], TOP, ""
    for bar in found:
        if bar.what != before:
            y += GAP if before else 0
            middle = y + BAR * sum(each.what == bar.what for each in found) / 2
            body.append(
                f'<text x="{LEFT - 12}" y="{middle + 4:.0f}" text-anchor="end">{bar.what}</text>'
            )
        before = bar.what
        color = next(color for begin, (color, _) in COLORS.items() if bar.against.startswith(begin))
        body.append(
            f'<rect x="{LEFT}" y="{y}" width="{bar.value * scale:.1f}" height="{BAR - 2}" '
            f'fill="{color}"/>'
        )
        end = bar.value
        if bar.quartiles:
            low, end = bar.quartiles[0], max(bar.quartiles)
            body.append(
                f'<path d="M{x(low)} {y + 7}H{x(end)}" stroke="#1f2328" stroke-width="1.5"/>'
            )
        body.append(f'<text x="{float(x(end)) + 7:.1f}" y="{y + 12}">{bar.value:.2f}</text>')
        y += BAR
    bottom = y + 6
    grid = [
        f'<path d="M{x(tick)} {TOP - 6}V{bottom}" stroke="#d8dee4"/>'
        f'<text x="{x(tick)}" y="{bottom + 18}" text-anchor="middle" fill="#59636e">{tick}</text>'
        for tick in TICKS
    ]
    legend = [
        f'<rect x="{LEFT + at}" y="32" width="14" height="14" fill="{color}"/>'
        f'<text x="{LEFT + at + 20}" y="44">{name}</text>'
        for at, (color, name) in zip((0, 130, 300, 450), sorted(set(COLORS.values())), strict=True)
    ]
    height = bottom + 32
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-size="14" fill="#1f2328" '
            'font-family="-apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="20" font-size="15" font-weight="600">'
            "The speed of vaekit as a multiple of others' at the same work</text>",
            *legend,
            *grid,
            *body,
            f'<path d="M{x(1)} {TOP - 6}V{bottom}" stroke="#1f2328" stroke-dasharray="3 3"/>',
            "</svg>\n",
        ]
    )


def main() -> None:
    """Writes both."""
    PAGE.write_text(written(PAGE.read_text()))
    CHART.write_text(chart())


if __name__ == "__main__":
    main()

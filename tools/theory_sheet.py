"""The drawing of tools/theory.py: SVG of the width of a page on GitHub, for light and for dark.

Text is text. The ground is part of a figure, so that it is readable where a page and the browser
differ in light and dark.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

from vaekit.report._curves import Plot

WIDTH = 830  # of a page on GitHub
FONT = "-apple-system,'Segoe UI',Helvetica,Arial,sans-serif"
# Each color in light and in dark: of ink, and of the ground of a box.
PALETTE = {
    "ink": (("#1f2328", "#ffffff"), ("#e6edf3", "#0d1117")),
    "soft": (("#59636e", "#f6f8fa"), ("#9aa4ae", "#151b23")),
    "q": (("#1b6a94", "#e6f1f7"), ("#6cb8e0", "#12303f")),
    "p": (("#a3570b", "#fdf0e0"), ("#e8a659", "#3a2813")),
    "loss": (("#a0303f", "#fbeaec"), ("#f08a95", "#3d1a20")),
    "grid": (("#d8dee4", "#ffffff"), ("#30363d", "#0d1117")),
}
Points = Sequence[tuple[float, float]]


def _css() -> str:
    def rules(dark: int) -> str:
        found = f"text,.ink{{fill:{PALETTE['ink'][dark][0]}}}"
        for name, both in PALETTE.items():
            ink, ground = both[dark]
            found += f".{name}{{fill:{ink}}}.pale.{name}{{fill:{ground};stroke:{ink}}}"
            found += f".line.{name}{{fill:none;stroke:{ink}}}"
        grid, ground = PALETTE["grid"][dark]
        return f"{found}path.grid{{fill:none;stroke:{grid}}}.ground{{fill:{ground}}}"

    return (
        f"text{{font:15px {FONT}}}.small{{font-size:13px}}.title{{font-weight:600}}"
        ".i{font-style:italic}.sub{font-size:72%}.line,.pale{stroke-width:1.6}"
        ".thin{stroke-width:1}.dashed{stroke-dasharray:5 4}"
        f"{rules(0)}@media(prefers-color-scheme:dark){{{rules(1)}}}"
    )


def words(text: str) -> str:
    """Return tspans: *z* is italic, and what follows a low line is an index.

    Example:
        >>> words("*q*_φ")
        '<tspan class="i">q</tspan><tspan class="sub" dy="4">φ</tspan>'
    """
    made, low = "", False
    for piece in re.findall(r"\*[^*]+\*|_[φθ]|_|[^*_]+", text):
        index = piece in ("_φ", "_θ")
        kind = "sub" if index else "i" if piece.startswith("*") else ""
        shift = ' dy="4"' if index else ' dy="-4"' if low else ""
        body = escape(piece.strip("*_") if kind else piece, quote=False)
        plain = not (kind or shift)
        class_ = f' class="{kind}"' if kind else ""
        made += body if plain else f"<tspan{class_}{shift}>{body}</tspan>"
        low = index
    return made


class Sheet:
    """A figure of one width: elements, and what they show in words."""

    def __init__(self, height: float, title: str) -> None:
        self.height, self.title, self.parts = height, title, [""]

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> None:
        class_ = f' class="{kind}"' if kind else ""
        where = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
        self.parts.append(f"<text{class_} {where}>{words(text)}</text>")

    def box(
        self, x: float, y: float, wide: float, high: float, text: str = "", kind: str = "ink"
    ) -> None:
        """Add a box around a center, with a line of text in it for each line."""
        where = f'x="{x - wide / 2:g}" y="{y - high / 2:g}" width="{wide:g}" height="{high:g}"'
        self.parts.append(f'<rect class="pale {kind}" {where} rx="5"/>')
        self._lines(x, y, text)

    def round(self, x: float, y: float, text: str, kind: str = "ink", radius: float = 22) -> None:
        self.parts.append(f'<circle class="pale {kind}" cx="{x:g}" cy="{y:g}" r="{radius:g}"/>')
        self._lines(x, y, text)

    def funnel(
        self, x: float, y: float, ends: tuple[float, float], text: str, kind: str, wide: float = 112
    ) -> None:
        """Add a network that is so high at its two ends."""
        left, right = x - wide / 2, x + wide / 2
        a, b = (end / 2 for end in ends)
        path = f"M{left:g} {y - a:g}L{right:g} {y - b:g}V{y + b:g}L{left:g} {y + a:g}Z"
        self.parts.append(f'<path class="pale {kind}" d="{path}" stroke-linejoin="round"/>')
        self._lines(x, y, text)

    def _lines(self, x: float, y: float, text: str) -> None:
        for number, line in enumerate(lines := text.split("\n")):
            self.text(x, y + 5 + 19 * (number - (len(lines) - 1) / 2), line)

    def arrow(self, *points: tuple[float, float], kind: str = "ink", head: bool = True) -> None:
        """Add a line through points with a head at its end."""
        (x0, y0), (x, y) = points[-2:]
        length = math.hypot(x - x0, y - y0)
        u, v = (x - x0) / length, (y - y0) / length
        back = (x - 9 * u, y - 9 * v) if head else (x, y)
        path = "L".join(f"{a:g} {b:g}" for a, b in [*points[:-1], back])
        self.parts.append(f'<path class="line {kind}" d="M{path}"/>')
        if head:
            ends = f"{x:g} {y:g}L{back[0] - 4 * v:.1f} {back[1] + 4 * u:.1f}"
            ends += f"L{back[0] + 4 * v:.1f} {back[1] - 4 * u:.1f}"
            self.parts.append(f'<path class="{kind.split()[0]}" d="M{ends}Z"/>')

    def plot(self, plot: Plot, x: float, y: float) -> None:
        parts = "\n".join(plot.parts)
        self.parts.append(f'<g transform="translate({x:g} {y:g})">\n{parts}\n</g>')

    def svg(self) -> str:
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height:g}" '
                f'width="{WIDTH}" height="{self.height:g}" role="img">',
                f"<title>{escape(self.title, quote=False)}</title>",
                f"<style>{_css()}</style>",
                f'<rect class="ground" width="{WIDTH}" height="{self.height:g}"/>',
                *filter(None, self.parts),
                "</svg>\n",
            ]
        )


def area(plot: Plot, points: Points, kind: str) -> None:
    """Add the area between a curve and 0."""
    ends = [(points[0][0], 0.0), *points, (points[-1][0], 0.0)]
    path = "L".join("{:.1f} {:.1f}".format(*plot.at(*point)) for point in ends)
    plot.add(f'<path class="{kind}" d="M{path}Z"/>')


def axis(plot: Plot, values: Sequence[float], name: str) -> None:
    """Add a line under the area, with these values and the name of what they are."""
    left, right, _, bottom = plot.box
    plot.add(f'<path class="line thin soft" d="M{left:g} {bottom:g}H{right:g}"/>')
    for value in values:
        x, _ = plot.at(value, plot.y[0])
        plot.text(x, bottom + 18, f"{value:g}".replace("-", "−"), "small soft", "middle")
    where = f'x="{right + 12:g}" y="{bottom + 5:g}"'
    plot.add(f"<text {where}>{words(name)}</text>")

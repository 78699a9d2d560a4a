"""How the page looks: light and dark, a phone's width and paper; and its charts."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from vaekit.io import write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Charts are drawn in these; in the page they are variables, so that dark has its own.
COLORS = {
    "ink": "#23262b",
    "soft": "#62676f",
    "rule": "#e4e1da",
    "train": "#1f6f94",
    "validation": "#b4560f",
    "idle": "#b9bcc2",
}

# Settings of matplotlib; sizes are pixels.
LOOK = {
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "figure.constrained_layout.use": True,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "text.color": COLORS["ink"],
    "axes.titlesize": 10,
    "axes.titlecolor": COLORS["soft"],
    "axes.labelcolor": COLORS["soft"],
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": COLORS["rule"],
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
    **{f"{axis}tick.color": COLORS["soft"] for axis in "xy"},
    **{f"{axis}tick.major.size": 0 for axis in "xy"},
    "lines.markersize": 4.5,
    "legend.fontsize": 10,
    "legend.title_fontsize": 12,
    "legend.frameon": False,
    "legend.labelcolor": "linecolor",
    "legend.borderpad": 0,
    "legend.markerscale": 0,
    "legend.borderaxespad": 0.2,
    "legend.handlelength": 1.4,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 0.8,
}

STYLE = f""":root {{ {"; ".join(f"--{name}: {color}" for name, color in COLORS.items())} }}"""
STYLE += """
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #ffffff; --mark: #b4560f; }
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181c; --card: #1d2025; --ink: #e4e4e1; --soft: #9ba1aa; --rule: #31353c;
    --train: #6cb8dc; --validation: #eda268; --idle: #565b64; --mark: #eda268;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 3rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  -webkit-text-size-adjust: 100%; text-size-adjust: 100%; overflow-wrap: break-word;
}
main { max-width: 51rem; margin: 0 auto; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.25; font-weight: 650; letter-spacing: -0.01em; }
h2 { margin: 0 0 0.4rem; font-size: 1.15rem; line-height: 1.35; font-weight: 650; }
p { margin: 0 0 0.6rem; max-width: 46rem; }
p:last-child { margin-bottom: 0; }
header p { margin-top: 0.5rem; font-size: 1.1rem; color: var(--soft); }
section {
  margin-top: 1.5rem; padding: 1.5rem; background: var(--card);
  border: 1px solid var(--rule); border-radius: 0.75rem;
}
section.note { border-left: 4px solid var(--mark); }
figure { margin: 0; }
figcaption { color: var(--soft); }
figcaption + * { margin-top: 1.1rem; }
img { display: block; max-width: 100%; height: auto; border-radius: 3px; }
img.pixels { image-rendering: pixelated; }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem 1.25rem; }
svg { display: block; height: auto; }
svg.small { flex: 1 1 14.5rem; max-width: 15.2rem; min-width: 0; }
svg.wide { width: 100%; max-width: 28rem; }
svg.full { width: 100%; max-width: 46rem; }
svg text { font-family: inherit !important; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; max-width: 46rem; line-height: 1.45; }
figure + table, p + table { margin-top: 1.1rem; }
th, td { padding: 0.45rem 0; border-top: 1px solid var(--rule); vertical-align: top; }
tr:first-child > * { border-top: 0; }
th { width: 38%; padding-right: 1rem; text-align: left; font-weight: 400; color: var(--soft); }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
.scroll + table, .scroll + .scroll, p + .scroll { margin-top: 1.1rem; }
table.columns { max-width: none; font-size: 0.9rem; line-height: 1.35; }
table.columns th { width: auto; }
table.columns thead th { color: var(--ink); font-weight: 650; vertical-align: bottom; }
table.columns td, table.columns thead th + th { text-align: right; padding-left: 0.9rem; }
table.columns thead th + th { padding-right: 0; }
table.columns td { overflow-wrap: normal; white-space: nowrap; }
table.columns tbody th { min-width: 8rem; }
@media (max-width: 40rem) {
  body { padding: 1.75rem 0.75rem 2.5rem; }
  h1 { font-size: 1.5rem; }
  section { padding: 1.1rem 1rem; }
  svg.small { max-width: none; flex-basis: 100%; }
  .charts { overflow-x: auto; }
  svg.full { width: 40rem; max-width: none; flex: none; }
}
@media print {
  :root {
    --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --rule: #ccc;
    --train: #1f6f94; --validation: #b4560f; --idle: #b9bcc2; --mark: #b4560f;
  }
  body { padding: 0; font-size: 10.5pt; print-color-adjust: exact; }
  section { padding: 0.6rem 0; border: 0; border-top: 1px solid var(--rule); border-radius: 0; }
  section.note { padding-left: 0.8rem; }
  section, figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""


def look() -> AbstractContextManager[None]:
    """In it, matplotlib draws for the page, whatever its user has set.

    Example:
        >>> import matplotlib
        >>> with look():
        ...     matplotlib.rcParams["text.color"]
        '#23262b'
    """
    from matplotlib import style

    return style.context(LOOK, after_reset=True)


SHARP = 180  # dots per inch of what is drawn in dots: clouds of points, maps


def paper(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of this size in pixels with panels side by side.

    Example:
        >>> figure, panels = paper(144, 72, 2)
        >>> figure.get_size_inches().tolist(), len(panels)
        ([2.0, 1.0], 2)
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72))
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


LETTERS = {"−": 8.4, ".": 3.2}  # pixels that they are wide; a digit has 6.4


def place(figure: Figure, *, left: float, top: float, bottom: float) -> None:
    """Puts the panel where constrained_layout would, which takes as long as to draw it twice.

    Margins are pixels; `left` is besides the numbers of the axis. All else must be drawn before.
    """
    (axes,), (width, height) = figure.axes, figure.get_size_inches() * 72
    figure.set_layout_engine("none")
    high = bottom / height, (height - top - bottom) / height
    axes.set_position((0.2, high[0], 0.8, high[1]))  # which numbers there are hangs on the height
    numbers = [label.get_text() for label in axes.get_yticklabels()]
    left += max(sum(LETTERS.get(letter, 6.4) for letter in number) for number in numbers)
    axes.set_position((left / width, high[0], (width - left - 3) / width, high[1]))


def name_text(name: str, longest: int) -> str:
    """A name as matplotlib shall write it: cut to `longest` letters, and no formula in it.

    Example:
        >>> name_text("in $ or £", 5), name_text("_hidden", 9)
        ('in \\\\$…', ' _hidden')
    """
    name = name if len(name) <= longest else f"{name[: longest - 1]}…"
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")  # legends skip "_..."


def value(number: float) -> str:
    """A number with the digits that it needs, and a minus sign.

    Example:
        >>> value(-103.239), value(2.5), value(-12345.6)
        ('−103.2', '2.50', '−12,346')
    """
    digits = sum(abs(number) < bound for bound in (1000, 100))
    words = f"{number:.3g}" if abs(number) >= 1e6 else f"{number:,.{digits}f}"
    return words.replace("-", "−")


def svg(figure: Figure, class_: str) -> bytes:
    """The figure as an element of HTML: without a prolog, and with ids that no other figure has.

    The figure's label says in words what it shows, to those who cannot see it.
    """
    from matplotlib import rc_context

    stream, words = io.StringIO(), str(figure.get_label())
    with look(), rc_context({"svg.hashsalt": words}), catch_warnings():
        simplefilter("ignore", UserWarning)  # letters that matplotlib's own font has not
        unsigned = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", dpi=SHARP, transparent=True, metadata=unsigned)
    _, box, rest = re.split(r'<svg[^>]*(viewBox="[^"]*")[^>]*>', stream.getvalue())
    rest = re.sub(r'<(g|image)\b([^>]*?) id="[^"]*"', r"<\1\2", rest)
    rest = re.sub(r"(\.\d\d)\d{3,}", r"\1", rest)  # hundredths of a pixel are enough
    for name, color in COLORS.items():
        rest = rest.replace(color, f"var(--{name}, {color})")
    return f'<svg {box} role="img" aria-label="{escape(words)}" class="{class_}">{rest}'.encode()


def save_figure(draw: Callable[[], Figure], path: Path) -> Path:
    """Draws in the kit's style and writes a .png or an .svg, by the path's suffix, atomically.

    Raises:
        VaekitError: where it cannot be written; an old file is left as it was.
    """
    with look():
        return write(path, figure_bytes(draw(), path.suffix[1:]))


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as a file, "png" or "svg", on white paper: twice as large as in a page."""
    stream, unsigned = io.BytesIO(), {"Software" if kind == "png" else "Date": None}
    with look(), catch_warnings():
        simplefilter("ignore", UserWarning)  # letters that matplotlib's own font has not
        figure.savefig(stream, format=kind, dpi=144, metadata=unsigned)
    return stream.getvalue()

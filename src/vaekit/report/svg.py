"""Paper for charts, and how a chart becomes an element of the page."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from vaekit.report.style import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    with rc_context({"svg.hashsalt": words}), catch_warnings():
        simplefilter("ignore", UserWarning)  # letters that matplotlib's own font has not
        unsigned = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", dpi=SHARP, transparent=True, metadata=unsigned)
    _, box, rest = re.split(r'<svg[^>]*(viewBox="[^"]*")[^>]*>', stream.getvalue())
    rest = re.sub(r'<(g|image)\b([^>]*?) id="[^"]*"', r"<\1\2", rest)
    rest = re.sub(r"(\.\d\d)\d{3,}", r"\1", rest)  # hundredths of a pixel are enough
    for name, colour in COLOURS.items():
        rest = rest.replace(colour, f"var(--{name}, {colour})")
    return f'<svg {box} role="img" aria-label="{escape(words)}" class="{class_}">{rest}'.encode()

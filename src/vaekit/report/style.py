"""How files drawn by matplotlib look: in the colors of the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from vaekit.io import write
from vaekit.report.curves import cut

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


CSS = (Path(__file__).parent / "templates" / "style.css").read_text()
# The colors of the page in light, for files; "train" and "validation" are of two kinds of things.
COLORS = dict(re.findall(r"--([\w-]+): (#\w{6})", CSS[: CSS.index("@media")]))
COLORS |= {"train": COLORS["accent"], "validation": COLORS["warm"]}

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


def look() -> AbstractContextManager[None]:
    """In it, matplotlib draws for the page, whatever its user has set.

    Example:
        >>> import matplotlib
        >>> with look():
        ...     matplotlib.rcParams["text.color"]
        '#1b1d21'
    """
    from matplotlib import style

    return style.context(LOOK, after_reset=True)


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
    name = cut(name, longest)
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")  # legends skip "_..."


def save_figure(draw: Callable[[], Figure], path: Path) -> Path:
    """Draw in vaekit's style and write a .png or an .svg, by the path's suffix, atomically.

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

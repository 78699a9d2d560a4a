"""Figures as files of their own, on white paper."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from vaekit.io import write
from vaekit.report.style import look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


SHARP = 144  # dots per inch


def save_figure(draw: Callable[[], Figure], path: Path) -> Path:
    """Draws in the kit's style and writes a .png or an .svg, by the path's suffix, atomically.

    Raises:
        VaekitError: where it cannot be written; an old file is left as it was.
    """
    stream = io.BytesIO()
    with look(), catch_warnings():
        simplefilter("ignore", UserWarning)  # letters that matplotlib's own font has not
        draw().savefig(stream, format=path.suffix[1:], dpi=SHARP, metadata={"Software": None}
                       if path.suffix == ".png" else {"Date": None})  # fmt: skip
    return write(path, stream.getvalue())

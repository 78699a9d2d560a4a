"""A page of plain sections: headings, text, a figure and a table each."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from vaekit.report.pages import render

SHARP = 768  # pixels: what is wider is shrunk by the page, and smoothly


@dataclass(frozen=True)
class Section:
    """A part of the page: a title, text, a figure ("png" or "svg"), and a table."""

    title: str
    text: str = ""
    figure: bytes | None = None
    kind: str = "png"
    alt: str = ""
    table: Sequence[Sequence[str]] = ()
    head: Sequence[str] = ()
    note: bool = False

    @property
    def source(self) -> str:
        """The figure as the address of itself, or as SVG."""
        assert self.figure is not None
        if self.kind == "svg":
            return self.figure.decode()
        return f"data:image/png;base64,{base64.b64encode(self.figure).decode()}"

    @property
    def size(self) -> tuple[int, int]:
        """The width and height of a PNG."""
        assert self.figure is not None
        wide, high = struct.unpack(">II", self.figure[16:24])
        return wide, high


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """Return the whole HTML file; every text in it is escaped."""
    html = render("sections.html.j2", title=title, kicker=lead, sections=sections)
    return html.decode()

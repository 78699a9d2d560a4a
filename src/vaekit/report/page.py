"""One HTML file, complete in itself: style and pictures inside, no script, no link."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from vaekit.errors import choose
from vaekit.report.style import STYLE

SHARP = 768  # pixels: what is wider is shrunk by the page, and smoothly


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        text: plain; a line is a paragraph. With a figure it is the caption.
        figure: a PNG file, or SVG elements. SVG stands in the page as it is: pass what the charts
            made, not what a stranger sent.
        kind: "png" or "svg".
        alt: what the figure shows, for those who cannot see it.
        table: rows of a name and what it is; with `head`, of a name and a cell for each column.
        head: the titles of the columns, the first one above the names.
        note: set apart, as something to heed.

    Example:
        >>> Section("Data", "Digits.", table=[("rows", "1,797")]).kind
        'png'
    """

    title: str
    text: str = ""
    figure: bytes | None = None
    kind: str = "png"
    alt: str = ""
    table: Sequence[Sequence[str]] = ()
    head: Sequence[str] = ()
    note: bool = False


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The whole HTML file; every text in it is escaped.

    Raises:
        VaekitError: for a figure that is neither "png" nor "svg".

    Example:
        >>> "<h2>A &lt; B</h2>" in page("Report", "In short.", [Section("A < B")])
        True
    """
    body = "\n".join(_section(section) for section in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<h1>{escape(title)}</h1>
<p>{escape(lead)}</p>
</header>
{body}
</main>
</body>
</html>
"""


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    words = "".join(f"<p>{escape(line)}</p>" for line in section.text.splitlines() if line.strip())
    if section.figure is None:
        parts.append(words)
    else:
        picture = choose("kind of figure", section.kind, {"png": _png, "svg": _svg})
        caption = f"<figcaption>{words}</figcaption>" if words else ""
        parts.append(f"<figure>{caption}{picture(section.figure, section.alt)}</figure>")
    if section.table:
        parts.append(_table(section.table, section.head))
    start = '<section class="note">' if section.note else "<section>"
    return "\n".join([start, *parts, "</section>"])


def _png(figure: bytes, alt: str) -> str:
    width, height = struct.unpack(">II", figure[16:24])
    kind = ' class="pixels"' if width <= SHARP else ""
    source = f"data:image/png;base64,{base64.b64encode(figure).decode()}"
    return f'<img{kind} width="{width}" height="{height}" alt="{escape(alt)}" src="{source}">'


def _svg(figure: bytes, alt: str) -> str:
    return f'<div class="charts" role="group" aria-label="{escape(alt)}">{figure.decode()}</div>'


def _table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    cells = (
        f'<tr><th scope="row">{escape(name)}</th>'
        f"{''.join(f'<td>{escape(words)}</td>' for words in columns)}</tr>"
        for name, *columns in rows
    )
    if not head:
        return f"<table>{''.join(cells)}</table>"
    body = f"<thead><tr>{titles}</tr></thead><tbody>{''.join(cells)}</tbody>"
    return f'<div class="scroll"><table class="columns">{body}</table></div>'

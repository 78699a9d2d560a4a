"""One HTML file, complete in itself: style and pictures inside, no script, no link."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from torch import Tensor

from vaekit.errors import choose
from vaekit.io import write
from vaekit.report.charts import Table, kl_bars, table_charts, training_curves
from vaekit.report.codes import CLASSES, Codes, code_charts
from vaekit.report.grids import grid, is_image, png_bytes
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


NOUNS = {"image": "an image", "row": "a row of the data"}
WORDS = (
    ("x, z", "x is {one}; z is its code: the numbers to make x again from."),
    ("E[x|z]", "the mean of all that the model expects for a code z."),
    ("E[z|x]", "the mean of the codes of x."),
    ("log-likelihood", "log p(x|z), a mean over the codes of x: how well they predict x."),
    ("nat", "the unit of all these numbers; 1 nat is 1.44 bits."),
)
BOUND = (
    ("KL", "how far the codes of one x lie from the prior, which knows no x."),
    ("ELBO", "log-likelihood − KL: a lower bound of log p(x). Higher is better."),
)
COLOR = (
    ("x, g", "x is an image in color; g is its gray image, 0.30 R + 0.59 G + 0.11 B."),
    ("E[x|g]", "the mean of all colors that the model expects for g."),
    ("log-likelihood", "log p(x|g) for g under noise: how well the colors are predicted."),
    ("luminance", "½ Σ ((L(E[x|g]) − L(x)) / σ)²: the price of another gray image; 0 is best."),
    ("PSNR", "10 log10(1 / mean square error) decibels, over all images together."),
    ("nat", "the unit of the likelihood; 1 nat is 1.44 bits."),
)
COUNTS = (
    "Under them is a point per column: on the line, its means are equal. A mean of 0 is drawn at "
    "0.001.",
    "There is a point per column: a good model's lie on the line, in their mean and in how often "
    "they are 0.",
)
MOMENTS = "The table has mean ± standard deviation over the rows."
VALUES = (
    "Under them, the part R² of each column's variance that the reconstructions explain: 1 is all "
    "of it, 0 what the column's mean alone would do.",
    "The maps show how the columns correlate: a good model's draws have the pattern of the data.",
)


def sections(report: Report) -> list[Section]:
    """All of them, in their order.

    Example:
        >>> [section.title for section in sections(Report("A run", "."))][:2]
        ['Reconstructions', 'Samples']
    """
    facts = [Section("In numbers", table=report.facts)] if report.facts else []
    notes = [Section("Please note", "\n".join(report.notes), note=True)] if report.notes else []
    one = NOUNS.get(report.noun or "", "an image, or a row of a table")
    *words, nat = [(name, text.format(one=one)) for name, text in WORDS]
    words += [*(BOUND if _bounded(report) else ()), nat]
    if report.gray is not None:
        last = Section("In words", table=COLOR)
        return [*facts, *notes, _colors(report), _training(report), last]
    return [
        *facts,
        *notes,
        *([_reconstructions(report)] if report.table is None else _rows(report, report.table)),
        *([_samples(report)] if report.table is None and report.prior else []),
        _training(report),
        _kl(report.kl, report.variance),
        *([] if report.codes is None else [_codes(report.codes, report.noun or "row")]),
        Section("In words", table=[*words, *report.words]),
    ]


def _no_images(images: Tensor | None) -> str | None:
    """Why there is no picture; None where there is one."""
    if images is None:
        return "There is no picture: the data are not images, or none were kept for the report."
    if not images.numel():
        return "There is no picture: not one image was kept for the report."
    if not is_image(images):
        return f"There is no picture: rows of shape {tuple(images.shape[1:])} are not images."
    return None


def _bounded(report: Report) -> bool:
    """Whether the training had a KL; it may have, where nothing was recorded."""
    means = [record["train"] for record in report.records if record.get("train")]
    return not means or any(part.get("kl") is not None for part in means)


def _reconstructions(report: Report) -> Section:
    title, originals, reconstructions = "Reconstructions", report.originals, report.reconstructions
    why = _no_images(originals) or _no_images(reconstructions)
    if why or originals is None or reconstructions is None:
        return Section(title, why or "", table=report.pixel_facts)
    text = (
        "Each row of images has its reconstructions right under it. Reconstructions show the mean "
        "E[x|z] at z = E[z|x], not a draw: what the code leaves open is averaged, so it is blurred."
    )
    figure = png_bytes(grid(originals, reconstructions))
    alt = f"{len(originals)} images, each with its reconstruction under it"
    return Section(title, text, figure, alt=alt, table=report.pixel_facts)


def _samples(report: Report) -> Section:
    samples = report.samples
    why = _no_images(samples)
    if why or samples is None:
        return Section("Samples", why or "")
    text = (
        "Samples: z is drawn from the prior, the picture shows E[x|z], not a draw of x. "
        "No image went in: a good model gives images that could be data, and all sorts of them."
    )
    if report.sample_classes:
        names = ", ".join(report.sample_classes)
        text += f"\nEach row was asked for one class, from the top: {names}; each column has one z."
    alt = f"{len(samples)} images that the model made from random codes"
    figure = png_bytes(grid(samples, columns=report.sample_columns))
    return Section("Samples", text, figure, alt=alt)


def _rows(report: Report, table: Table) -> list[Section]:
    """What stands for images where the data are none."""
    made, drawn = table_charts(table)
    columns, many = table.rows.shape[1], len(table.shown)
    of = f"the {many} of {columns:,} columns that " if many < columns else f"all {many} columns"
    if many < columns:
        of += "vary most" if table.counts else "come first"
    kept, alike = COUNTS if table.counts else VALUES
    text = (
        f"The maps show test rows and their reconstructions in {of}: the mean E[x|z] at z = E[z|x],"
        f" not a draw. A good code keeps the pattern.\n{kept}"
    )
    samples = f"Draws of x from the model, with z from the prior; no row went in. {alike}\n"
    alt = "test rows and their reconstructions as maps, and a chart that compares their columns"
    found = [Section("Reconstructions", text, made, "svg", alt, report.pixel_facts)]
    if table.draws is not None and drawn is not None:
        facts, alt = _moments(table, table.draws), "columns of data and draws"
        found.append(Section("Samples", samples + MOMENTS, drawn, "svg", alt, facts))
    return found


def _moments(table: Table, drawn: Tensor) -> list[tuple[str, str]]:
    """Mean and standard deviation of the columns, of data and of draws."""
    if table.counts:
        both = [part.sum(1).double() for part in (table.rows, drawn)]
        names, data, draws = ["sum of a row"], *(part[:, None] for part in both)
    else:
        names = [table.columns[i] if table.columns else f"column {i}" for i in table.shown]
        data, draws = (part[:, table.shown].double() for part in (table.rows, drawn))
    columns = zip(names, data.T, draws.T, strict=True)
    return [(name, f"data {_spread(ours)}; draws {_spread(made)}") for name, ours, made in columns]


def _spread(values: Tensor) -> str:
    return f"{values.mean():.4g} ± {values.std(unbiased=False):.3g}"


def _training(report: Report) -> Section:
    noun = report.noun or ("row" if _no_images(report.originals) else "image")
    figure = training_curves(report.records, unit=f"nats per {noun}")
    if not figure:
        why = "no epoch left a finite number" if report.records else "no epoch was recorded"
        return Section("Training", f"There are no curves: {why}.")
    text, alt = "The objective is what training makes as large as it can", "objective"
    if report.gray is not None:
        alt += " and its terms"
        text += ": the log-likelihood of the true colors, less a weight times the luminance term"
    elif _bounded(report):
        alt += ", log-likelihood, KL and posterior scale"
        text += (
            "; for a plain VAE it is the ELBO = log-likelihood − KL. The log-likelihood rewards "
            "faithful reconstructions; the KL is the price of the code, so it is subtracted: near "
            "0, the code says nothing. The posterior's σ is how wide the codes of one x lie"
        )
    text += ".\nThe scale suits the later epochs: the first ones may lie outside."
    return Section("Training", text, figure, "svg", f"{alt} over the epochs of training")


def _kl(kl: Tensor | None, variance: Tensor | None) -> Section:
    title = "What the code uses"
    if kl is None or not kl.isfinite().any():
        return Section(title, "There are no bars: this model has no KL per latent dimension.")
    text = "The KL of each latent dimension, a mean over the data. "
    if variance is None:
        text += (
            "A dimension above 0.01 nats counts as active: it tells something about x; the others "
            "stay at the prior, unused."
        )
    else:
        text += (
            "A dimension counts as active, and is blue, where its code follows x: the variance of "
            "E[z|x] over the data is above 0.01. The others, gray, say the same of every x."
        )
        if not (variance > 0.01).any():
            text += "\nNone is active: the posterior has collapsed, and the model ignores its code."
    return Section(title, text, kl_bars(kl, variance), "svg", "KL per latent dimension")


def _colors(report: Report) -> Section:
    x, gray, made = report.originals, report.gray, report.reconstructions
    assert x is not None and gray is not None and made is not None  # noqa: PT018
    text = (
        "Three rows belong together: test images, their gray images, and the colors E[x|g] that "
        "the model puts on these: a mean, so where many colors are likely it is none of them but "
        "something between, and paler."
    )
    figure = png_bytes(grid(x, gray.expand_as(x), made))
    alt = f"{len(x)} images, each with its gray image and that in new colors under it"
    return Section("Colors", text, figure, alt=alt, table=report.pixel_facts)


def _codes(codes: Codes, noun: str) -> Section:
    of, where = codes.means.shape[1], " and ".join(map(str, codes.dimensions))
    text = f"E[z|x] of test {noun}s, a point each, in the dimension{'s' * (of > 1)} {where}"
    text += "." if of <= 2 else f" of {of}: those in which it varies most."
    many = 0 if codes.labels is None else len(codes.labels.unique())
    if codes.factors is not None:
        text += " Each panel has the colors of one factor: smooth bands, and the code holds it."
    elif 1 < many <= CLASSES:
        text += " Colors are classes." if of > 1 else " A line is a class."
    elif many > CLASSES:
        text += f" The {many:,} classes here are too many for colors."
    if codes.factors is None:
        text += " " + codes.words
    return Section("Codes", text, code_charts(codes), "svg", "codes of the data")


@dataclass(frozen=True, eq=False)
class Report:
    """What a report is made of; whatever is None or empty is left out, and the page says why.

    Attributes:
        title: its heading.
        lead: a sentence under it.
        facts: rows of a table: model, data, numbers.
        originals, reconstructions: floats in [0, 1], `(N, C, H, W)`, of one shape.
        gray: of a colorizer: the gray images of the originals, `(N, 1, H, W)`.
        prior: whether there is a prior to draw from; without one nothing is said of samples.
        samples: floats in [0, 1], `(N, C, H, W)`: E[x|z] at draws z of the prior.
        sample_columns: how many of them stand side by side; by default about as many as rows.
        sample_classes: of a conditional model's samples, a row for each; or empty.
        table: what stands for the images where the data are none.
        kl: nats per latent dimension, a mean over the data.
        variance: Var_x E[z|x] per latent dimension: what says which are active, see `kl_bars`.
        codes: E[z|x] of the data and what is known of them.
        records: of metrics.jsonl, see `training_curves`.
        notes: sentences to heed, set apart.
        pixel_facts: rows of a table under the reconstructions.
        words: rows of a table of terms, besides those that every report explains.
        noun: what one x is: "image" or "row"; by default what the originals are.

    Example:
        >>> Report("A run", "It went well.", facts=[("data", "digits")]).samples is None
        True
    """

    title: str
    lead: str
    facts: Sequence[tuple[str, str]] = ()
    originals: Tensor | None = None
    reconstructions: Tensor | None = None
    gray: Tensor | None = None
    prior: bool = True
    samples: Tensor | None = None
    sample_columns: int | None = None
    sample_classes: Sequence[str] = ()
    table: Table | None = None
    kl: Tensor | None = None
    variance: Tensor | None = None
    codes: Codes | None = None
    records: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()
    pixel_facts: Sequence[tuple[str, str]] = ()
    words: Sequence[tuple[str, str]] = ()
    noun: str | None = None


def write_report(report: Report, path: str | Path) -> Path:
    """Writes the report as one HTML file, atomically, and returns its path.

    Raises:
        VaekitError: where it cannot be written (an old file is left as it was), or where originals
            and reconstructions do not fit each other.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_report(Report("A run", "It went well."), Path(folder, "report.html"))
        ...     path.name, path.read_text()[:15]
        ('report.html', '<!DOCTYPE html>')
    """
    html = page(report.title, report.lead, sections(report))
    return write(path, html.encode("utf-8", "replace"))

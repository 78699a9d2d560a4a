"""The sections of a report: each picture with the words that say what it shows."""

from __future__ import annotations

from torch import Tensor

from vaekit.report.charts import kl_bars, training_curves
from vaekit.report.codes import CLASSES, Codes, code_charts
from vaekit.report.coloring import color_sections
from vaekit.report.images import grid, is_image, pairs, png_bytes
from vaekit.report.page import Section
from vaekit.report.tables import Table, table_charts
from vaekit.report.write import Report

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
    one = {"image": "an image", "row": "a row of the data"}.get(
        report.noun or "", "an image, or a row of a table"
    )
    *words, nat = [(name, text.format(one=one)) for name, text in WORDS]
    words += [*(BOUND if _bounded(report) else ()), nat]
    if report.gray is not None:
        return [*facts, *notes, *color_sections(report)]
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
    figure = png_bytes(pairs(originals, reconstructions))
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
    samples = (
        f"Draws of x from the model, with z from the prior; no row went in. {alike}\n{MOMENTS}"
    )
    alt = "test rows and their reconstructions as maps, and a chart that compares their columns"
    found = [Section("Reconstructions", text, made, "svg", alt, report.pixel_facts)]
    if table.draws is not None and drawn is not None:
        facts, alt = _moments(table, table.draws), "columns of data and draws"
        found.append(Section("Samples", samples, drawn, "svg", alt, facts))
    return found


def _moments(table: Table, drawn: Tensor) -> list[tuple[str, str]]:
    """Mean and standard deviation of the columns, of data and of draws."""
    if table.counts:
        both = [part.sum(1).double() for part in (table.rows, drawn)]
        names, data, draws = ["sum of a row"], *(part[:, None] for part in both)
    else:
        names = [table.columns[i] if table.columns else f"column {i}" for i in table.shown]
        data, draws = (part[:, table.shown].double() for part in (table.rows, drawn))
    return [
        (name, f"data {_spread(data[:, i])}; draws {_spread(draws[:, i])}")
        for i, name in enumerate(names)
    ]


def _spread(values: Tensor) -> str:
    return f"{values.mean():.4g} ± {values.std(unbiased=False):.3g}"


def _training(report: Report) -> Section:
    noun = report.noun or ("row" if _no_images(report.originals) else "image")
    figure = training_curves(report.records, unit=f"nats per {noun}")
    if not figure:
        why = "no epoch left a finite number" if report.records else "no epoch was recorded"
        return Section("Training", f"There are no curves: {why}.")
    text, alt = "The objective is what training makes as large as it can", "objective"
    if _bounded(report):
        alt += ", log-likelihood, KL and posterior scale"
        text += (
            "; for a plain VAE it is the ELBO = log-likelihood − KL. The log-likelihood rewards "
            "faithful reconstructions; the KL is the price of the code, so it is subtracted: near "
            "0, the code says nothing. The posterior's σ is how wide the codes of one x lie"
        )
    text += ".\nThe scale suits the later epochs: the first ones may lie outside."
    alt += " over the epochs of training"
    return Section("Training", text, figure, "svg", alt)


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

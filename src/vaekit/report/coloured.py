"""What the report of a colouriser shows in place of reconstructions, samples and codes."""

from __future__ import annotations

from vaekit.evaluate import Colours
from vaekit.report.charts import training_curves
from vaekit.report.images import png_bytes, stacks
from vaekit.report.page import Section
from vaekit.report.write import Report

WORDS = (
    ("x, g", "x is an image in colour; g is its grey picture, 0.30 R + 0.59 G + 0.11 B."),
    ("E[x|g]", "the mean of all colours that the model expects for g."),
    ("log-likelihood", "log p(x|g) for g under noise: how well the colours are predicted."),
    ("luminance", "½ Σ ((L(E[x|g]) − L(x)) / σ)²: the price of another grey picture; 0 is best."),
    ("PSNR", "10 log10(1 / mean square error) decibels, over all images together."),
    ("nat", "the unit of the likelihood; 1 nat is 1.44 bits."),
)


def colour_facts(found: Colours) -> list[tuple[str, str]]:
    """Rows of a table.

    Example:
        >>> errors = {"gain": 0.1}
        >>> colour_facts(Colours(21.0, 17.5, 3.5, 2.0, errors, [], 9))[0]
        ('PSNR against the true colours', '21.00 dB; the grey picture itself 17.50 dB')
    """
    rows = [
        (
            "PSNR against the true colours",
            f"{found.psnr:.2f} dB; the grey picture itself {found.grey_psnr:.2f} dB",
        ),
        ("gain", f"{found.gain:.2f} ± {found.errors['gain']:.2f} dB"),
        ("luminance error", f"{found.luminance_error:.2f} grey levels, root mean square"),
    ]
    for one in found.noise:
        text = f"luminance at {one.before:.2f} dB before, {one.after:.2f} dB after"
        rows.append((f"noise of {one.levels:g} grey level{'s' * (one.levels != 1)}", text))
    return rows


def coloured(report: Report) -> list[Section]:
    """The sections of a colouriser's report but for its facts and notes."""
    return [_colours(report), _training(report), Section("In words", table=WORDS)]


def _colours(report: Report) -> Section:
    x, grey, made = report.originals, report.grey, report.reconstructions
    assert x is not None
    assert grey is not None
    assert made is not None
    text = (
        "Three rows belong together: test images, their grey pictures, and the colours E[x|g] that "
        "the model puts on these: a mean, so where many colours are likely it is none of them but "
        "something between, and paler."
    )
    figure = png_bytes(stacks(x, grey.expand_as(x), made))
    alt = f"{len(x)} images, each with its grey picture and that in new colours under it"
    return Section("Colours", text, figure, alt=alt, table=report.pixel_facts)


def _training(report: Report) -> Section:
    figure = training_curves(report.records, unit="nats per image")
    if not figure:
        return Section("Training", "There are no curves: no epoch left a finite number.")
    text = (
        "The objective is what training makes as large as it can: the log-likelihood of the true "
        "colours, less a weight times the luminance term.\n"
        "The scale suits the later epochs: the first ones may lie outside."
    )
    return Section("Training", text, figure, "svg", "objective and its terms over the epochs")

"""The report of a run: what was asked for, what came out, and what the pictures mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vaekit.report.charts import kl_bars, training_curves
from vaekit.report.files import write_file
from vaekit.report.images import grid, is_image, pairs, png_bytes
from vaekit.report.page import Section, page

__all__ = ["Report", "write_report"]

WORDS = (
    (
        "x, z",
        "x is an image, or a row of a table; z is its code: a few numbers to make x again from.",
    ),
    ("E[x|z]", "the mean of all that the model expects for a code z."),
    ("log-likelihood", "log p(x|z), a mean over the codes of x: how well they predict x."),
    ("KL", "how far the codes of one x lie from the prior, which knows no x."),
    ("ELBO", "log-likelihood − KL: a lower bound of log p(x). Higher is better."),
    ("nat", "the unit of all these numbers; 1 nat is 1.44 bits."),
)


@dataclass(frozen=True, eq=False)
class Report:
    """What a report is made of; whatever is None or empty is left out, and the page says why.

    Attributes:
        title: its heading.
        lead: a sentence under it.
        facts: rows of a table: model, data, numbers.
        originals, reconstructions: floats in [0, 1], `(N, C, H, W)`, of one shape.
        samples: floats in [0, 1], `(N, C, H, W)`: E[x|z] at draws z of the prior.
        kl: nats per latent dimension, a mean over the data.
        records: of metrics.jsonl, see `training_curves`.
        notes: sentences to heed, set apart.
        pixel_facts: rows of a table under the reconstructions.

    Example:
        >>> Report("A run", "It went well.", facts=[("data", "digits")]).samples is None
        True
    """

    title: str
    lead: str
    facts: Sequence[tuple[str, str]] = ()
    originals: Tensor | None = None
    reconstructions: Tensor | None = None
    samples: Tensor | None = None
    kl: Tensor | None = None
    records: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()
    pixel_facts: Sequence[tuple[str, str]] = ()


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
    html = page(report.title, report.lead, _sections(report))
    return write_file(path, html.encode("utf-8", "replace"))


def _sections(report: Report) -> list[Section]:
    facts = [Section("In numbers", table=report.facts)] if report.facts else []
    notes = [Section("Please note", "\n".join(report.notes), note=True)] if report.notes else []
    return [
        *facts,
        *notes,
        _reconstructions(report),
        _samples(report.samples),
        _training(report),
        _kl(report.kl),
        Section("In words", table=WORDS),
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


def _samples(samples: Tensor | None) -> Section:
    why = _no_images(samples)
    if why or samples is None:
        return Section("Samples", why or "")
    text = (
        "Samples: z is drawn from the prior, the picture shows E[x|z], not a draw of x. "
        "No image went in: a good model gives images that could be data, and all sorts of them."
    )
    alt = f"{len(samples)} images that the model made from random codes"
    return Section("Samples", text, png_bytes(grid(samples)), alt=alt)


def _training(report: Report) -> Section:
    unit = "nats per row" if _no_images(report.originals) else "nats per image"
    figure = training_curves(report.records, unit=unit)
    if not figure:
        why = "no epoch left a finite number" if report.records else "no epoch was recorded"
        return Section("Training", f"There are no curves: {why}.")
    text = (
        "The objective is what training makes as large as it can; for a plain VAE it is the "
        "ELBO = log-likelihood − KL. The log-likelihood rewards faithful reconstructions; the KL "
        "is the price of the code, so it is subtracted: near 0, the code says nothing.\n"
        "The scale suits the later epochs: the first ones may lie outside."
    )
    alt = "objective, log-likelihood and KL over the epochs of training"
    return Section("Training", text, figure, "svg", alt)


def _kl(kl: Tensor | None) -> Section:
    title = "What the code uses"
    if kl is None or not kl.isfinite().any():
        return Section(title, "There are no bars: this model has no KL per latent dimension.")
    text = (
        "The KL of each latent dimension, a mean over the data. A dimension above 0.01 nats counts "
        "as active: it tells something about x; the others stay at the prior, unused."
    )
    return Section(title, text, kl_bars(kl), "svg", "KL per latent dimension, largest first")

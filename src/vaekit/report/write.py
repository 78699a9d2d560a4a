"""The report of a run: what was asked for, what came out, and what the pictures mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vaekit.io import write
from vaekit.report.codes import Codes
from vaekit.report.page import page
from vaekit.report.tables import Table


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
    from vaekit.report.sections import sections

    html = page(report.title, report.lead, sections(report))
    return write(path, html.encode("utf-8", "replace"))

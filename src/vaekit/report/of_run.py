"""The report of a run: what it says, gathered from the run folder and the test data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit.data import Dataset, Split, spread
from vaekit.models import Colorizer, luminance
from vaekit.report.codes import Codes
from vaekit.report.facts import facts, lead, notes, value_facts, words
from vaekit.report.measured import Numbers, measured
from vaekit.report.pictures import CLASSES, sample_sheet
from vaekit.report.posteriors import fixed_rows, posteriors, standard_prior
from vaekit.report.tables import Table
from vaekit.report.write import Report, write_report
from vaekit.runs.run import Run

ROWS = 1000  # test rows that the numbers of the report are measured on
PAIRS, SAMPLES = 24, 64


def write_run_report(run: Run, *, data_dir: str | None = None) -> Path:
    """Writes report.html into the run folder; its numbers come from up to 1,000 test rows.

    Raises:
        VaekitError: where the data are not found or the file cannot be written.
    """
    data = run.dataset(data_dir)
    rows = data.test.take(spread(len(data.test), ROWS))
    found = measured(run, rows, data)
    latent = found.latent
    kl = None if latent is None or latent.kl_per_dim is None else torch.tensor(latent.kl_per_dim)
    report = Report(
        title=f"{run.config.recipe} on {run.spec.name}",
        lead=lead(run),
        facts=facts(run, found),
        kl=kl,
        variance=None if latent is None else torch.tensor(latent.variance),
        codes=_codes(run, data, rows, found),
        records=run.folder.records(),
        notes=notes(run, found),
        pixel_facts=value_facts(run, found),
        words=words(run, found),
        noun=found.noun,
        **_shown(run, data, rows),
    )
    return write_report(report, run.folder.report)


def _shown(run: Run, data: Dataset, rows: Split) -> dict[str, Any]:
    """Images in, images out; or the table that stands for them."""
    seen = run.spec.values.inverse
    if isinstance(run.model, Colorizer):
        x, _ = rows.batch(spread(len(rows), PAIRS))
        parts = {"originals": x, "grey": luminance(x), "reconstructions": run.reconstruct(x)}
        return {name: seen(part) for name, part in parts.items()}
    if len(run.spec.shape) == 3:
        x, given = rows.batch(spread(len(rows), PAIRS))
        made = {"originals": x, "reconstructions": run.reconstruct(x, given)}
        columns = None
        if run.model.prior.drawable:
            made["samples"], columns = sample_sheet(run, SAMPLES)
        shown = {name: seen(part) for name, part in made.items()}
        return {**shown, "sample_columns": columns, "sample_classes": _classes(run)}
    if len(run.spec.shape) != 1:
        return {}
    x, given = rows.batch(_first_seen(rows))
    draws = run.sample(len(rows), given=given, mean=False)
    made = {"reconstructions": run.reconstruct(x, given), "draws": draws}
    parts = {name: seen(part) for name, part in {"rows": x, **made}.items()}
    return {"table": Table(**parts, columns=data.column_names, counts=data.kind == "counts")}


def _first_seen(rows: Split) -> Tensor:
    """All rows; first those that a map shows: spread over all, in the order of their classes."""
    shown = spread(len(rows), PAIRS)
    if rows.labels is not None:
        shown = shown[rows.labels[shown].argsort(stable=True)]
    rest = torch.ones(len(rows), dtype=torch.bool)
    rest[shown] = False
    return torch.cat([shown, rest.nonzero().flatten()])


def _codes(run: Run, data: Dataset, rows: Split, found: Numbers) -> Codes | None:
    if found.codes is None:
        return None
    factors = rows.factors if found.codes.shape[1] > 1 else None
    return Codes(
        found.codes,
        rows.labels,
        data.class_names,
        factors,
        data.factor_names,
        scales=posteriors(run, fixed_rows(rows), rows.given)[1],
        prior=standard_prior(run),
    )


def _classes(run: Run) -> list[str]:
    """The classes of the rows of samples: those of a conditional run."""
    return run.class_names if run.conditional and run.spec.classes <= CLASSES else []

"""The report of a run: what it says, gathered from the run folder and the test data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit.data import Dataset, Split, spread
from vaekit.distributions import Offer
from vaekit.evaluate import Metric, chosen, measured
from vaekit.models import luminance
from vaekit.report.codes import Codes
from vaekit.report.facts import facts, lead, notes, value_facts, words
from vaekit.report.pictures import CLASSES, sample_sheet
from vaekit.report.posteriors import fixed_rows, posteriors, standard_prior
from vaekit.report.tables import Table
from vaekit.report.write import Report, write_report
from vaekit.runs import Run

Record = dict[str, Any]
ROWS = 1000  # test rows that the numbers of the report are measured on
PAIRS, SAMPLES = 24, 64


@dataclass(frozen=True, eq=False)
class Numbers:
    """What was measured of a run for its report.

    Attributes:
        records, metrics: by the names of the metrics.
        noun: what one x is: "image" or "row".
        rows, of: how many test rows were measured, and how many there are.
        groups: how the splits keep groups apart, in words; or empty.
    """

    records: dict[str, Record]
    metrics: dict[str, Metric]
    noun: str
    rows: int
    of: int
    groups: str

    @property
    def bound(self) -> Record:
        """The record of the bound."""
        return self.records["bound"]


def numbers(run: Run, data: Dataset, seed: int = 0) -> Numbers:
    """Measures what a report shows, on up to 1,000 test rows."""
    subject = run.subject(data, limit=ROWS, seed=seed)
    asked = [] if Offer.LATENT in run.offers else ["bound:samples=1"]  # its noise is one level
    metrics = {name: one for name, (one, _) in chosen(subject, "report", asked).items()}
    records = measured(subject, metrics)
    noun = run.spec.unit.split()[-1]
    return Numbers(records, metrics, noun, subject.rows.count, len(data.test), _groups(run, data))


def _groups(run: Run, data: Dataset) -> str:
    """How many groups are in each split, and whether one is in two."""
    seen = {n: set(s.groups.tolist()) for n, s in data.splits.items() if s.groups is not None}
    if not seen:
        return ""
    many = ", ".join(f"{len(groups):,} in {name}" for name, groups in seen.items())
    shared = sum(map(len, seen.values())) - len(set().union(*seen.values()))
    asked = f"by {run.config.data.group}: " if run.config.data.group else ""
    return f"{asked}{many}; {shared if shared else 'none'} of them in two splits"


def write_run_report(run: Run, *, data_dir: str | None = None) -> Path:
    """Writes report.html into the run folder; its numbers come from up to 1,000 test rows.

    Raises:
        VaekitError: where the data are not found or the file cannot be written.
    """
    data = run.dataset(data_dir)
    rows = data.test.take(spread(len(data.test), ROWS))
    found = numbers(run, data)
    latent = found.records.get("latent") or {}
    kl, variance = latent.get("kl_per_dim"), latent.get("variance")
    report = Report(
        title=f"{run.config.recipe} on {run.spec.name}",
        lead=lead(run),
        facts=facts(run, found),
        kl=None if kl is None else torch.tensor(kl),
        variance=None if variance is None else torch.tensor(variance),
        codes=_codes(run, data, rows),
        records=run.folder.records(),
        notes=notes(run, found),
        pixel_facts=value_facts(run, found),
        words=words(run, found),
        noun=found.noun,
        prior=Offer.DRAWS in run.offers,
        **_shown(run, data, rows),
    )
    return write_report(report, run.folder.report)


def _shown(run: Run, data: Dataset, rows: Split) -> dict[str, Any]:
    """Images in, images out; or the table that stands for them."""
    seen = run.spec.values.inverse
    if Offer.COLORS in run.offers:
        x, _ = rows.batch(spread(len(rows), PAIRS))
        parts = {"originals": x, "gray": luminance(x), "reconstructions": run.reconstruct(x)}
        return {name: seen(part) for name, part in parts.items()}
    draws = Offer.DRAWS in run.offers
    if len(run.spec.shape) == 3:
        x, context = rows.batch(spread(len(rows), PAIRS))
        made = {"originals": x, "reconstructions": run.reconstruct(x, context)}
        columns = None
        if draws:
            made["samples"], columns = sample_sheet(run, SAMPLES)
        shown = {name: seen(part) for name, part in made.items()}
        return {**shown, "sample_columns": columns, "sample_classes": _classes(run)}
    if len(run.spec.shape) != 1:
        return {}
    x, context = rows.batch(_first_seen(rows))
    made = {"rows": x, "reconstructions": run.reconstruct(x, context)}
    if draws:
        made["draws"] = run.sample(len(rows), context=context, mean=False)
    parts = {name: seen(part) for name, part in made.items()}
    return {"table": Table(**parts, columns=data.column_names, counts=data.kind == "counts")}


def _first_seen(rows: Split) -> Tensor:
    """All rows; first those that a map shows: spread over all, in the order of their classes."""
    shown = spread(len(rows), PAIRS)
    if rows.labels is not None:
        shown = shown[rows.labels[shown].argsort(stable=True)]
    rest = torch.ones(len(rows), dtype=torch.bool)
    rest[shown] = False
    return torch.cat([shown, rest.nonzero().flatten()])


def _codes(run: Run, data: Dataset, rows: Split) -> Codes | None:
    """Where the codes of the rows lie; None for a model without a latent, or with one of codes."""
    if Offer.LATENT not in run.offers or Offer.CODES in run.offers:
        return None
    means, scales = posteriors(run, fixed_rows(rows), rows.context)
    return Codes(
        means,
        rows.labels,
        data.class_names,
        rows.factors if means.shape[1] > 1 else None,
        data.factor_names,
        scales=scales,
        prior=standard_prior(run),
    )


def _classes(run: Run) -> list[str]:
    """The classes of the rows of samples: those of a conditional run."""
    return run.class_names if run.conditional and run.spec.classes <= CLASSES else []

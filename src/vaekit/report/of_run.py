"""The report of a run: what it says, gathered from the run folder and the test data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit.data import Dataset, Split, spread
from vaekit.distributions import Offer
from vaekit.evaluate import Metric, chosen, is_likelihood, measured
from vaekit.models import luminance
from vaekit.registry import text
from vaekit.report.charts import Table
from vaekit.report.codes import Codes, posteriors, standard_prior
from vaekit.report.grids import CLASSES, sample_images
from vaekit.report.pages import Report, write_report
from vaekit.runs import Run, colorizer_of

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
        drawn: what is drawn for each row.
    """

    records: dict[str, dict[str, Any]]
    metrics: dict[str, Metric]
    noun: str
    rows: int
    of: int
    groups: str
    drawn: str


def numbers(run: Run, data: Dataset, seed: int = 0) -> Numbers:
    """Measures what a report shows, on up to 1,000 test rows."""
    subject = run.subject(data, limit=ROWS, seed=seed)
    latent = Offer.LATENT in run.offers
    asked, drawn = ([], "z") if latent else (["bound:samples=1"], "the noise")  # of one level
    metrics = {name: one for name, (one, _) in chosen(subject, "report", asked).items()}
    records = measured(subject, metrics)
    noun = run.spec.unit.split()[-1]
    of, groups = len(data.test), _groups(run, data)
    return Numbers(records, metrics, noun, subject.rows.count, of, groups, drawn)


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
            made["samples"], columns = sample_images(run, SAMPLES)
        shown = {name: seen(part) for name, part in made.items()}
        named = run.conditional and run.spec.classes <= CLASSES  # a row of samples for each
        classes = run.class_names if named else []
        return {**shown, "sample_columns": columns, "sample_classes": classes}
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
    means, scales = posteriors(run, rows)
    factors, prior = rows.factors if means.shape[1] > 1 else None, standard_prior(run)
    known = (rows.labels, data.class_names, factors, data.factor_names)
    return Codes(means, *known, scales=scales, prior=prior)


Rows = list[tuple[str, str]]


def lead(run: Run) -> str:
    """The run's name, how long it trained, and when."""
    records = run.folder.records()
    started = str(run.folder.read_json("run")["environment"].get("started", ""))[:10]
    seconds = sum(record.get("seconds") or 0 for record in records)
    many = f"{len(records)} epoch{'s' * (len(records) != 1)}"
    epochs = f"{many} in {seconds:,.{int(seconds < 10)}f} s"
    return ", ".join(part for part in (f"run {run.path.name}", epochs, started) if part)


def facts(run: Run, found: Numbers) -> Rows:
    """What was trained, on what, and how well it does on the test rows."""
    known, one = run.folder.read_json("run"), found.noun
    environment = known["environment"]
    splits = (("train", "to train"), ("validation", "for validation"), ("test", "for test"))
    versions = f"vaekit {environment['vaekit']}, torch {environment['torch']}"
    return [
        ("recipe", run.config.recipe),
        ("data", _shape(run, one)),
        ("source", known["data"]["note"]),
        (f"{one}s", ", ".join(f"{known['data'][n]:,} {what}" for n, what in splits)),
        *([("groups", found.groups)] if found.groups else []),
        *_values(run, known["data"].get("card", {})),
        *_parts(run),
        ("parameters", f"{known['parameters']:,}"),
        *_measured(run, found),
        ("trained with", f"{versions}, {environment['device']}, seed {known['seed']}"),
    ]


def _parts(run: Run) -> Rows:
    """What the model is made of; or what goes into a colorizer."""
    parts = run.parts
    if Offer.COLORS in run.offers:
        values = run.spec.values
        noise = 255 * colorizer_of(run).noise / (values.high - values.low)
        levels = f"{noise:.4g} gray level{'s' * (noise != 1)}"
        seen = f"the gray image 0.30 R + 0.59 G + 0.11 B, with noise of σ = {levels}"
        likelihood: Any = parts["likelihood"]
        return [("input", seen), ("likelihood", text(likelihood))]
    found = [site.q.space for site in run.model.example(run.spec.context).sites]
    spaces = [f"{' x '.join(map(str, s.shape))} dimensions, {s.kind}" for s in found]
    written = [(n, one if isinstance(one, str) else text(one, brief=n)) for n, one in parts.items()]
    return [("latent", "; ".join(spaces)), *written]


def _shape(run: Run, one: str) -> str:
    spec = run.spec
    shape = " x ".join(map(str, spec.shape))
    if one == "image":
        return f"{spec.name}: {spec.kind} images, {shape} (channels x height x width)"
    columns = "columns" if len(spec.shape) == 1 else "values"
    return f"{spec.name}: {spec.kind}, {spec.shape[0]:,} {columns}"


def _values(run: Run, card: dict[str, Any]) -> Rows:
    """The range of the values, as they are stored and as the model sees them."""
    asked, seen = run.config.data, run.spec.values
    text = ""
    if card and run.spec.kind != "table":  # columns have units of their own
        low, high = card["range"]
        text = f"{low:g} to {high:g} as stored, mean {card['mean']:.4g}; "
    if run.spec.kind == "counts":
        text += "the model sees the counts"
    elif seen.loc is not None:
        text += "the model sees each column less its training mean, over its deviation"
    elif run.spec.kind == "table":
        text += "the model sees them as they are"
    else:
        text += f"the model sees {seen.low:g} to {seen.high:g}"
    if asked.binarize != "none":
        text += f", binarized ({asked.binarize})"
    if asked.dequantize:
        text += ", dequantized"
    return [("values", text)]


def _measured(run: Run, found: Numbers) -> Rows:
    """The numbers of all metrics but those that stand under the reconstructions."""
    shown = [(metric, found.records[n]) for n, metric in found.metrics.items() if n != "color"]
    rows = [fact for metric, record in shown for fact in metric.facts(record)]
    which = "all" if found.rows == found.of else f"{found.rows:,} of the"
    samples = prod(found.metrics["bound"].samples or (1,))
    draws = "1 draw" if samples == 1 else f"{samples} draws"
    draws = f"{draws} of {found.drawn} each, weights: {run.weights}"
    return [*rows, ("measured on", f"{which} {found.of:,} test {found.noun}s, {draws}")]


def value_facts(run: Run, found: Numbers) -> Rows:
    """How far the reconstructions are from the data, and the scale that the model gives itself."""
    color, rows, mse = found.metrics.get("color"), [], found.records["bound"]["mse"]
    per = "pixel and channel" if found.noun == "image" else "value"
    if mse is not None:
        rows.append(("mean square error", f"{mse:.5f} per {per}, over draws of {found.drawn}"))
        error = f"{math.sqrt(mse):.4f}, the root of the mean square error"
        rows += [("sigma it implies", error)] * (run.px.space.kind != "counts")
    log_scale = getattr(run.px, "log_scale", None)
    if isinstance(log_scale, Tensor) and not log_scale.dim():
        name = "sigma" if type(run.px).__name__ == "Gaussian" else "scale"
        rows.append((f"the model's own {name}", f"{math.exp(log_scale.item()):.4f}"))
    return [*([] if color is None else color.facts(found.records["color"])), *rows]


def notes(run: Run, found: Numbers) -> list[str]:
    """What is to heed: of the data, of the training, and of the numbers here."""
    said = list(run.folder.read_json("run").get("notes", []))
    said += [text for record in run.folder.records() for text in record.get("warnings", [])]
    latent = found.records.get("latent")
    if latent and not latent["active_units"] and not any("collapsed" in text for text in said):
        less = hasattr(run.objective, "beta")
        said.append(
            "Posterior collapse: no latent dimension follows x (Var E[z|x] > 0.01 in none), so all "
            f"reconstructions are alike. It trained for {len(run.folder.records())} epochs; where "
            f"more do not help, try --lr 0.0003{' or --objective :beta=0.5' * less}."
        )
    if not is_likelihood(run.px.space, run.spec.kind) and run.px.space.levels == 2:
        said.append(
            "Gray values under a Bernoulli are not a likelihood: the numbers are the usual loss "
            "and compare only with the same loss on the same data."
        )
    if found.records["bound"]["elbo"] is None and Offer.LATENT in run.offers:
        said.append(UNBOUND if Offer.DRAWS in run.offers else NO_PRIOR)
    return said


UNBOUND = (
    "This model has no bound, and nothing shaped its codes like the prior: its samples show what "
    "that costs."
)
NO_PRIOR = (
    "This model has no bound and no prior: nothing says how its codes are distributed, so there "
    "are no samples."
)


def words(run: Run, found: Numbers) -> Rows:
    """What the words of this report mean that not every report has."""
    rows = []
    if found.records["bound"]["elbo"] is not None:
        rows.append(("ELBO ±", f"one standard error of the mean over the test {found.noun}s."))
    if not run.px.space.discrete:
        said = (
            "this likelihood is a density, not a probability: its log may be above 0, and "
            "compares only where the values have the same range."
        )
        rows.append(("density", said))
    return rows

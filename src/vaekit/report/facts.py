"""The tables of a run's report: what was trained on what, and the numbers that came out."""

from __future__ import annotations

import math
from math import prod
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vaekit.distributions import Offer
from vaekit.evaluate import is_likelihood
from vaekit.recipes import find_recipe, likelihood_spec
from vaekit.registry import completed, text
from vaekit.runs import Run

if TYPE_CHECKING:
    from vaekit.report.of_run import Numbers


Rows = list[tuple[str, str]]


def lead(run: Run) -> str:
    """The run's name, how long it trained, and when."""
    records = run.folder.records()
    started = str(run.folder.read_json("run")["environment"].get("started", ""))[:10]
    seconds = sum(record.get("seconds") or 0 for record in records)
    epochs = (
        f"{len(records)} epoch{'s' * (len(records) != 1)} in {seconds:,.{int(seconds < 10)}f} s"
    )
    return ", ".join(part for part in (f"run {run.path.name}", epochs, started) if part)


def facts(run: Run, found: Numbers) -> Rows:
    """What was trained, on what, and how well it does on the test rows."""
    known, one = run.folder.read_json("run"), found.noun
    environment = known["environment"]
    versions = f"vaekit {environment['vaekit']}, torch {environment['torch']}"
    return [
        ("recipe", run.config.recipe),
        ("data", _shape(run, one)),
        ("source", known["data"]["note"]),
        (f"{one}s", _rows(known["data"])),
        *([("groups", found.groups)] if found.groups else []),
        *_values(run, known["data"].get("card", {})),
        *_parts(run),
        ("parameters", f"{known['parameters']:,}"),
        *_measured(run, found),
        ("trained with", f"{versions}, {environment['device']}, seed {known['seed']}"),
    ]


def _parts(run: Run) -> Rows:
    """What the model is made of; or what goes into a colorizer."""
    config = run.config
    specs = {**config.parts, "likelihood": likelihood_spec(config.parts, run.spec.kind)}
    if Offer.COLORS in run.offers:
        noise = config.parts["model"]["noise"]
        levels = f"{noise:g} gray level{'s' * (noise != 1)}"
        seen = f"the gray image 0.30 R + 0.59 G + 0.11 B, with noise of σ = {levels}"
        return [("input", seen), ("likelihood", text(specs["likelihood"]))]
    named = [name for name in ("posterior", "prior", "likelihood") if name in _asked(run)]
    sites = run.model.example(run.spec.context).sites
    spaces = [
        f"{' x '.join(map(str, s.q.space.shape))} dimensions, {s.q.space.kind}" for s in sites
    ]
    parts = [(name, text(specs[name], brief=name)) for name in (*named, "objective")]
    return [("latent", "; ".join(spaces)), *parts]


def _asked(run: Run) -> tuple[str, ...]:
    entry = find_recipe(run.config.recipe)
    return (*entry.asks, *entry.fixed)


def _drawn(run: Run) -> str:
    """What is drawn for each row."""
    return "z" if Offer.LATENT in run.offers else "the noise"


def _shape(run: Run, one: str) -> str:
    spec = run.spec
    shape = " x ".join(map(str, spec.shape))
    if one == "image":
        return f"{spec.name}: {spec.kind} images, {shape} (channels x height x width)"
    columns = "columns" if len(spec.shape) == 1 else "values"
    return f"{spec.name}: {spec.kind}, {spec.shape[0]:,} {columns}"


def _rows(data: dict[str, Any]) -> str:
    parts = (("train", "to train"), ("validation", "for validation"), ("test", "for test"))
    return ", ".join(f"{data[name]:,} {words}" for name, words in parts)


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
    if asked.binarise != "none":
        text += f", binarised ({asked.binarise})"
    if asked.dequantise:
        text += ", dequantised"
    return [("values", text)]


def _measured(run: Run, found: Numbers) -> Rows:
    """The numbers of all metrics but those that stand under the reconstructions."""
    rows = [
        fact
        for name, metric in found.metrics.items()
        if name != "color"
        for fact in metric.facts(found.records[name])
    ]
    which = (
        f"all {found.rows:,}" if found.rows == found.of else f"{found.rows:,} of the {found.of:,}"
    )
    samples = prod(found.metrics["bound"].samples or (1,))
    draws = "1 draw" if samples == 1 else f"{samples} draws"
    draws = f"{draws} of {_drawn(run)} each, weights: {run.weights}"
    return [*rows, ("measured on", f"{which} test {found.noun}s, {draws}")]


def value_facts(run: Run, found: Numbers) -> Rows:
    """How far the reconstructions are from the data, and the scale that the model gives itself."""
    rows, mse = [], found.bound["mse"]
    per = "pixel and channel" if found.noun == "image" else "value"
    if mse is not None:
        rows.append(("mean square error", f"{mse:.5f} per {per}, over draws of {_drawn(run)}"))
        if run.px.space.kind != "counts":
            error = f"{math.sqrt(mse):.4f}, the root of the mean square error"
            rows.append(("sigma it implies", error))
    log_scale = getattr(run.px, "log_scale", None)
    if isinstance(log_scale, Tensor) and not log_scale.dim():
        name = "sigma" if type(run.px).__name__ == "Gaussian" else "scale"
        rows.append((f"the model's own {name}", f"{math.exp(log_scale.item()):.4f}"))
    color = found.metrics.get("color")
    return [*([] if color is None else color.facts(found.records["color"])), *rows]


def notes(run: Run, found: Numbers) -> list[str]:
    """What is to heed: of the data, of the training, and of the numbers here."""
    said = list(run.folder.read_json("run").get("notes", []))
    said += [text for record in run.folder.records() for text in record.get("warnings", [])]
    latent = found.records.get("latent")
    if latent and not latent["active_units"] and not any("collapsed" in text for text in said):
        less = "beta" in completed("objective", run.config.parts["objective"])
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
    if found.bound["elbo"] is None and Offer.LATENT in run.offers:
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
    if found.bound["elbo"] is not None:
        rows.append(("ELBO ±", f"one standard error of the mean over the test {found.noun}s."))
    if not run.px.space.discrete:
        rows.append(
            (
                "density",
                "this likelihood is a density, not a probability: its log may be above 0, and "
                "compares only where the values have the same range.",
            )
        )
    return rows

"""The tables of a run's report: what was trained on what, and the numbers that came out."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from vaekit.evaluate import is_likelihood
from vaekit.models import Colorizer
from vaekit.report.coloured import colour_facts
from vaekit.report.measured import Numbers
from vaekit.runs.run import Run

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
        _latent(run),
        ("likelihood", repr(run.model.likelihood.family)),
        ("parameters", f"{known['parameters']:,}"),
        *_measured(run, found),
        ("trained with", f"{versions}, {environment['device']}, seed {known['seed']}"),
    ]


def _latent(run: Run) -> tuple[str, str]:
    """The latent's shape and space; or what stands for it in a colouriser."""
    if isinstance(run.model, Colorizer):
        noise = run.config.own["noise"]
        levels = f"{noise:g} grey level{'s' * (noise != 1)}"
        return "input", f"the grey picture 0.30 R + 0.59 G + 0.11 B, with noise of σ = {levels}"
    space = run.vae.prior.space
    return "latent", f"{' x '.join(map(str, space.shape))} dimensions, {space.kind}"


def _drawn(run: Run) -> str:
    """What is drawn for each row."""
    return "z" if "latent" in run.model.offers else "the noise"


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


def _number(value: float, unit: str) -> str:
    return f"{value:,.3f} {unit}".replace("-", "−", 1)


def _measured(run: Run, found: Numbers) -> Rows:
    unit, got = run.spec.unit, found.measured
    rows = [("test log-likelihood", _number(got.log_likelihood, unit))]
    if got.elbo is not None and got.kl is not None and got.elbo_error is not None:
        both = _number(got.elbo, f"± {got.elbo_error:,.3f} {unit}")
        rows += [("test KL", _number(got.kl, unit)), ("test ELBO", both)]
    if found.bits is not None:
        rows.append(("bits per dimension", f"{found.bits:.3f} bits"))
    which = f"all {got.rows:,}" if got.rows == found.of else f"{got.rows:,} of the {found.of:,}"
    draws = "1 draw" if found.draws == 1 else f"{found.draws} draws"
    draws = f"{draws} of {_drawn(run)} each, weights: {run.weights}"
    return [*rows, ("measured on", f"{which} test {found.noun}s, {draws}")]


def value_facts(run: Run, found: Numbers) -> Rows:
    """How far the reconstructions are from the data, and the scale that the model gives itself."""
    family, mse = run.model.likelihood.family, found.measured.mse
    per = "pixel and channel" if found.noun == "image" else "value"
    rows = [("mean square error", f"{mse:.5f} per {per}, over draws of {_drawn(run)}")]
    if family.space.kind != "counts":
        error = f"{math.sqrt(mse):.4f}, the root of the mean square error"
        rows.append(("sigma it implies", error))
    log_scale = getattr(getattr(family, "scale", None), "log_scale", None)
    if isinstance(log_scale, Tensor):
        name = "sigma" if type(family).__name__ == "Gaussian" else "scale"
        rows.append((f"the model's own {name}", f"{math.exp(log_scale.item()):.4f}"))
    return [*([] if found.colours is None else colour_facts(found.colours)), *rows]


def notes(run: Run, found: Numbers) -> list[str]:
    """What is to heed: of the data, of the training, and of the numbers here."""
    said = list(run.folder.read_json("run").get("notes", []))
    said += [text for record in run.folder.records() for text in record.get("warnings", [])]
    latent, family = found.latent, run.model.likelihood.family
    if latent and not latent.active_units and not any("collapsed" in text for text in said):
        said.append(
            "Posterior collapse: no latent dimension follows x (Var E[z|x] > 0.01 in none), so all "
            f"reconstructions are alike. It trained for {len(run.folder.records())} epochs; where "
            "more do not help, try --lr 0.0003 or beta_vae --beta 0.5."
        )
    if not is_likelihood(family, run.spec.kind) and family.space.parameter == 2:
        said.append(
            "Grey values under a Bernoulli are not a likelihood: the numbers are the usual loss "
            "and compare only with the same loss on the same data."
        )
    if found.measured.elbo is None and found.codes is not None:
        said.append(
            "An autoencoder has no bound, and nothing shaped its codes like the prior: its samples "
            "show what that costs."
        )
    return said


def words(run: Run, found: Numbers) -> Rows:
    """What the words of this report mean that not every report has."""
    rows = [("ELBO ±", f"one standard error of the mean over the test {found.noun}s.")]
    family = run.model.likelihood.family
    if family.space.kind != "counts" and family.space.parameter is None:
        rows.append(
            (
                "density",
                "this likelihood is a density, not a probability: its log may be above 0, and "
                "compares only where the values have the same range.",
            )
        )
    return rows

"""The report of a run: what it says, gathered from the run folder and the test data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit.evaluate import LatentMeter
from vaekit.models import evaluating
from vaekit.report.write import Report, write_report
from vaekit.run import Run
from vaekit.training.setup import random_numbers

__all__ = ["write_run_report"]

ROWS = 1000  # test rows that the numbers of the report are measured on
DRAWS = 10


def _kl_per_dimension(run: Run, x: Tensor) -> Tensor | None:
    """The mean KL of each latent dimension, `(Z,)`, nats."""
    meter = LatentMeter()
    with random_numbers(0, run.device, None), evaluating(run.model):
        meter.add(run.model(x.to(run.device)))
    latent = meter.latent()
    return None if latent is None or latent.kl_per_dim is None else torch.tensor(latent.kl_per_dim)


def _number(value: float | None, unit: str = "") -> str:
    return "none" if value is None else f"{value:.3f} {unit}".strip()


def _facts(run: Run, found: dict[str, Any]) -> list[tuple[str, str]]:
    known = run.folder.read_json("run")
    protocol, data = found["protocol"], known["data"]
    unit = protocol["unit"]
    measured = (
        f"{protocol['rows']} test images, {protocol['samples']} draws each, "
        f"weights: {protocol['weights']}"
    )
    facts = [
        ("recipe", run.config.recipe),
        ("data", f"{run.spec.name}: {data['train']} training images, {data['note']}"),
        (
            "latent",
            " x ".join(map(str, run.model.prior.space.shape)) + f" on {run.model.prior.space.kind}",
        ),
        ("likelihood", repr(run.model.likelihood.family)),
        ("parameters", f"{known['parameters']:,}"),
        ("test log-likelihood", _number(found["log_likelihood"], unit)),
    ]
    if found["elbo"] is not None:
        facts += [
            ("test KL", _number(found["kl"], unit)),
            (
                "test ELBO",
                f"{found['elbo']:.3f} ± {found['elbo_standard_error']:.3f} {unit}",
            ),
        ]
    if found["bits_per_dim"] is not None:
        facts.append(("bits per dimension", _number(found["bits_per_dim"])))
    environment = known["environment"]
    versions = f"vaekit {environment['vaekit']}, torch {environment['torch']}"
    return [
        *facts,
        ("measured on", measured),
        ("trained with", f"{versions}, {environment['device']}, seed {known['seed']}"),
    ]


def _pixel_facts(run: Run, found: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("mean square error", f"{found['mse']:.5f}"),
        ("sigma it implies", f"{found['implied_sigma']:.4f}, the root of the mean square error"),
    ]
    scale = getattr(run.model.likelihood.family, "scale", None)
    log_scale = getattr(scale, "log_scale", None)
    if isinstance(log_scale, Tensor):
        name = "sigma" if type(run.model.likelihood.family).__name__ == "Gaussian" else "scale"
        facts.append((f"the model's own {name}", f"{math.exp(log_scale.item()):.4f}"))
    return facts


def _notes(run: Run, found: dict[str, Any]) -> list[str]:
    notes = list(run.folder.read_json("run").get("notes", []))
    notes += [text for record in run.folder.records() for text in record.get("warnings", [])]
    if not found["protocol"]["is_likelihood"]:
        notes.append(
            "Grey values under a Bernoulli are not a likelihood: the numbers are the usual loss "
            "and compare only with the same loss on the same data."
        )
    if found["elbo"] is None:
        notes.append(
            "An autoencoder has no bound, and nothing shaped its codes like the prior: its samples "
            "show what that costs."
        )
    return notes


def write_run_report(run: Run, *, data_dir: str | None = None) -> Path:
    """Writes report.html into the run folder; its numbers come from up to 1,000 test rows.

    Raises:
        VaekitError: where the data are not found or the file cannot be written.
    """
    found = run.evaluate(samples=DRAWS, limit=ROWS, data_dir=data_dir)
    x = run.dataset(data_dir).test.x(slice(ROWS))
    pictures, seen = x.dim() == 4, run.spec.values.inverse
    report = Report(
        title=f"{run.config.recipe} on {run.spec.name}",
        lead=run.folder.path.name,
        facts=_facts(run, found),
        originals=seen(x[:24]) if pictures else None,
        reconstructions=seen(run.reconstruct(x[:24])) if pictures else None,
        samples=seen(run.sample(64)) if pictures else None,
        kl=_kl_per_dimension(run, x),
        records=run.folder.records(),
        notes=_notes(run, found),
        pixel_facts=_pixel_facts(run, found),
    )
    return write_report(report, run.folder.report)

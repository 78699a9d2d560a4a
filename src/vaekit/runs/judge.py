"""What a run is worth on a split of its data: every number with how it was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
import torch
from torch import Tensor
import vaekit
from vaekit import evaluate
from vaekit.runs.agreement import agreement
from collections.abc import Iterable
from vaekit.models import Colorizer
from vaekit.data import Dataset, Split, fingerprint, spread
from vaekit.errors import VaekitError, choose
from vaekit.evaluate.checks import refuse_no_density, standard_error, whole
from vaekit.io import note, write
from vaekit.torchutil import evaluating
from vaekit.torchutil import rng

if TYPE_CHECKING:
    from vaekit.runs.run import Run


MADE = {"binarise", "dequantise", "range", "standardise", "size", "crop", "grey"}
AIS_ROWS = 100  # annealing takes seconds for each row
BATCH = 500

Part = Callable[[], dict[str, Any]]
OnRows = Callable[[str, int, int], None]  # what is measured, rows done, rows in all


@dataclass(frozen=True)
class Asked:
    """What to measure besides the bound; see `Run.evaluate`."""

    samples: int = 10
    nll: int | None = None
    latent: bool = False
    reconstruction: bool = False
    ais: int | None = None
    agreement: int | None = None
    noise: float | None = None


class Rows:
    """The rows to measure, in batches (x, given) on the run's device, again for each part."""

    def __init__(self, run: Run, split: Split, limit: int | None, on_rows: OnRows | None) -> None:
        self.run, self.split, self.on_rows = run, split, on_rows
        self.count = len(split) if limit is None else min(whole("limit", limit), len(split))

    def batches(
        self, what: str, size: int = BATCH, most: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        rows, done = min(self.count, most or self.count), 0
        for index in spread(len(self.split), rows).split(size):
            x, given = self.split.batch(index)
            yield x.to(self.run.device), None if given is None else given.to(self.run.device)
            done += len(index)
            if self.on_rows is not None:
                self.on_rows(what, done, rows)


def judge(
    run: Run,
    asked: Asked,
    *,
    split: str,
    limit: int | None,
    seed: int,
    data_dir: str | None,
    on_rows: OnRows | None = None,
) -> dict[str, Any]:
    """What `Run.evaluate` returns. Each part has its own draws: it does not hang on the others."""
    _refuse(run, asked)
    source = run.source(data_dir)
    data, sha256 = run.prepared(source), _fingerprint(run, source)
    chosen = choose("split", split, data.splits)
    rows = Rows(run, chosen, limit, on_rows)
    found: dict[str, Any] = {}
    parts = _parts(run, rows, asked, most=AIS_ROWS if limit is None else None)
    if asked.agreement is not None:
        told = on_rows and partial(on_rows, "classifier")
        parts["agreement"] = partial(agreement, run, source, sha256, asked.agreement, on_batch=told)
    for name, part in parts.items():
        with rng(seed, run.device, None):
            found[name] = _plain(part())
    protocol = {
        "data": data.name,
        "sha256": sha256,
        "split": split,
        "rows": rows.count,
        "of": len(chosen),
        "samples": asked.samples,
        "seed": seed,
        **_about(run),
    }
    return {**found.pop("bound"), **found, "protocol": protocol}


def _parts(run: Run, rows: Rows, asked: Asked, most: int | None) -> dict[str, Part]:
    """What is asked for, by name; annealing is of at most so many rows."""
    parts: dict[str, Part] = {"bound": partial(_bound, run, rows, asked.samples)}
    if "colours" in run.model.offers:
        parts["colour"] = lambda: colour_numbers(run, rows.batches("colour"), asked.noise)
    if asked.nll is not None:
        parts["nll"] = partial(_nll, run, rows, asked.nll)
    if asked.latent:
        parts["latent"] = partial(_latent, run, rows)
    if asked.reconstruction:
        parts["reconstruction"] = partial(_reconstruction, run, rows)
    if asked.ais is not None:
        parts["ais"] = partial(_ais, run, rows, asked.ais, most)
    return parts


def _fingerprint(run: Run, source: Dataset) -> str:
    """The sha256 of the rows, and a note where the run was trained on others."""
    found = fingerprint(source)
    if found != run.folder.read_json("run")["data"]["sha256"]:
        note(
            f"{source.name} has changed since {run.path} was trained: what is measured may hold "
            "rows that it was trained on."
        )
    return found


def _about(run: Run) -> dict[str, Any]:
    """What of the protocol does not hang on the question."""
    family = run.model.likelihood.family
    made = run.config.data.model_dump(include=MADE, exclude_defaults=True)
    if run.spec.kind == "table":  # whether a density is of the units of the file
        made["standardise"] = run.spec.values.loc is not None
    return {
        "weights": run.weights,
        "step": run.step,
        "likelihood": type(family).__name__,
        "is_likelihood": evaluate.is_likelihood(family, run.spec.kind),
        "unit": run.spec.unit,
        "made": made,
        "vaekit": vaekit.__version__,
        "torch": torch.__version__,
    }


def _refuse(run: Run, asked: Asked) -> None:
    """What can be refused is, before anything is measured."""
    if asked.noise is not None:
        noise_levels(run, asked.noise)
    if asked.nll or asked.ais or asked.latent or asked.agreement:
        _ = run.vae  # which says why there is none
    for name in ("samples", "nll", "ais", "agreement"):
        if getattr(asked, name) is not None:
            whole(name, getattr(asked, name))
    family = run.model.likelihood.family
    if (asked.nll or asked.ais) and not evaluate.is_likelihood(family, run.spec.kind):
        raise VaekitError(
            f"{type(family).__name__} does not normalise over {run.spec.kind} values, so this "
            "model has no likelihood, and no --nll or --ais: train with --binarise dynamic, or "
            "with another --likelihood, as gaussian."
        )
    if asked.nll or asked.ais:
        refuse_no_density(run.vae, "log p(x)")


def _bits(run: Run, log_prob: float | None) -> float | None:
    if log_prob is None:
        return None
    return evaluate.bits_per_dim(log_prob, run.model.likelihood.family, run.spec)


def _bound(run: Run, rows: Rows, samples: int) -> dict[str, Any]:
    size = max(1, 1000 // samples)
    found = evaluate.measure(run.model, rows.batches("elbo", size), samples=samples)
    return {
        "elbo": found.elbo,
        "elbo_standard_error": found.elbo_error,
        "log_likelihood": found.log_likelihood,
        "log_likelihood_standard_error": found.log_likelihood_error,
        "kl": found.kl,
        "kl_standard_error": found.kl_error,
        "bits_per_dim": _bits(run, found.elbo),
        "mse": found.mse,
        "implied_sigma": math.sqrt(found.mse),
    }


def _nll(run: Run, rows: Rows, samples: int) -> dict[str, Any]:
    size = max(1, min(BATCH, 500_000 // samples))  # a batch is what progress is told of
    found = evaluate.nll(run.vae, rows.batches("nll", size), samples=samples)
    return {**asdict(found), "bits_per_dim": _bits(run, -found.mean)}


def _latent(run: Run, rows: Rows) -> dict[str, Any]:
    """Active units and KL of each dimension; of one latent with a density the aggregate too."""
    meter = evaluate.LatentMeter()
    with evaluating(run.model):
        for x, given in rows.batches("latent"):
            meter.add(run.model(x, given))
    held = meter.latent()
    assert held is not None
    found = {"active_units": held.active_units, "units": len(held.variance), **asdict(held)}
    if {"density", "one_site"} <= run.model.offers:
        summed = evaluate.aggregate_posterior(run.vae, rows.batches("aggregate posterior"))
        found |= asdict(summed)
    return {**found, "rows": rows.count}


def _reconstruction(run: Run, rows: Rows) -> dict[str, Any]:
    """PSNR is of pictures alone: the values of other data have no range."""
    picture = len(run.spec.shape) == 3
    span = run.spec.values.high - run.spec.values.low if picture else 1.0
    batches = rows.batches("reconstruction")
    found = asdict(evaluate.reconstructions(run.model, batches, data_range=span))
    if not picture:
        found["psnr"] = None
        del found["errors"]["psnr"]
    return found


def _ais(run: Run, rows: Rows, steps: int, most: int | None) -> dict[str, Any]:
    """By annealing on the rows, and from both sides on as many that the model makes itself."""
    batches = list(rows.batches("ais", 10, most))
    found = [evaluate.ais(run.vae, x, given, steps=steps) for x, given in batches]
    log_p = torch.cat([one.log_p for one in found])
    some = [given for _, given in batches if given is not None]
    both = evaluate.bidirectional(
        run.vae, len(log_p), torch.cat(some) if some else None, steps=steps
    )
    return {
        "mean": -log_p.mean().item(),
        "standard_error": standard_error(log_p),
        "acceptance": sum(one.acceptance for one in found) / len(found),
        "steps": steps,
        "chains": len(found[0].log_weight),
        "rows": len(log_p),
        "simulated_rows": len(both.x),
        "simulated_gap": both.gap,
    }


def _plain(value: Any) -> Any:
    """None for what JSON has no number for: the standard error of one row, an infinite PSNR."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def keep(run: Run, found: dict[str, Any]) -> None:
    """Adds a record to the run's evaluation.json; one of the same question is replaced.

    Raises:
        VaekitError: where it cannot be written, or holds something else.
    """
    path = run.path / "evaluation.json"
    kept = _kept(path)
    question = _question(found)
    kept = [one for one in kept if _question(one) != question]
    write(path, (json.dumps([*kept, found], indent=2) + "\n").encode())


def _kept(path: Any) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        kept = json.loads(path.read_text())
    except ValueError:
        kept = None
    if not isinstance(kept, list) or not all(isinstance(one, dict) for one in kept):
        raise VaekitError(f"{path} is broken: it holds no list of records; move it away.")
    return kept


def _question(found: dict[str, Any]) -> dict[str, Any]:
    """What was asked: the protocol, and of each part how it was measured."""
    parts = {n: part for n, part in found.items() if isinstance(part, dict) and n != "protocol"}
    asked = {
        n: [part.get(key) for key in ("samples", "steps", "levels")] for n, part in parts.items()
    }
    return {"protocol": found.get("protocol"), "parts": asked}


def colorizer_of(run: Run) -> Colorizer:
    """The model of a run that is a colouriser.

    Raises:
        VaekitError: where it is another.
    """
    if not isinstance(run.model, Colorizer):
        raise VaekitError(
            f"{run.path} is no colouriser but of the recipe {run.config.recipe}: take one, as "
            "`vaekit train colorizer` makes it."
        )
    return run.model


def noise_levels(run: Run, more: float | None) -> list[float]:
    """The noise that a colouriser is judged under, in grey levels: 1, and what is asked for.

    Raises:
        VaekitError: for a run that is no colouriser, or noise that is not positive.
    """
    colorizer_of(run)
    if more is None:
        return [1.0]
    if not 0 < more < math.inf:
        raise VaekitError(f"got noise={more}; expected a positive number of grey levels.")
    return [1.0, more]


def colour_numbers(
    run: Run, batches: Iterable[tuple[Tensor, Tensor | None]], noise: float | None = None
) -> dict[str, Any]:
    """What `vaekit.evaluate.colours` finds of a colouriser's run, as plain values."""
    levels, values = noise_levels(run, noise), run.spec.values
    span = values.high - values.low
    found = evaluate.colours(colorizer_of(run), batches, data_range=span, levels=levels)
    return {**asdict(found), "levels": levels}

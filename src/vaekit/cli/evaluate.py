"""The command that measures a run: `evaluate`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter

import vaekit
from vaekit.cli.show import (
    DataDir,
    Device,
    Json,
    MaybeWhole,
    RunPath,
    Weights,
    Whole,
    dump,
    say,
    start,
)

BOUND = {  # the name of each number, and where its standard error stands
    "elbo": "elbo_standard_error",
    "log_likelihood": "log_likelihood_standard_error",
    "kl": "kl_standard_error",
    "bits_per_dim": None,
    "mse": None,
    "implied_sigma": None,
}
UNITS = {  # of what is not in nats, and has a unit
    **dict.fromkeys(("psnr", "grey_psnr", "gain"), "decibels"),
    "luminance_error": "grey levels",
}


def evaluate(
    run: RunPath,
    /,
    *,
    samples: Annotated[Whole, Parameter(help="Draws of the bound, for each row.")] = 10,
    nll: Annotated[
        MaybeWhole, Parameter(help="log p(x) by importance sampling, with so many draws.")
    ] = None,
    latent: Annotated[
        bool, Parameter(negative=(), help="Active units, mutual information, total correlation.")
    ] = False,
    reconstruction: Annotated[
        bool, Parameter(negative=(), help="MSE, L1, PSNR, SSIM, MS-SSIM.")
    ] = False,
    ais: Annotated[
        MaybeWhole,
        Parameter(help="log p(x) by annealing in so many steps; on 100 rows without --limit."),
    ] = None,
    agreement: Annotated[
        MaybeWhole,
        Parameter(
            help="Of a conditional run: how many of so many images a classifier calls by the label "
            "they were asked for."
        ),
    ] = None,
    noise: Annotated[
        float | None,
        Parameter(
            help="Of a colouriser: what it makes of so much noise on its input, in grey levels, "
            "besides that of 1 level."
        ),
    ] = None,
    split: Annotated[str, Parameter(help="test, validation or train.")] = "test",
    limit: Annotated[MaybeWhole, Parameter(help="So many rows only, evenly spread.")] = None,
    seed: Annotated[Whole, Parameter(help="Of the draws.")] = 0,
    weights: Weights = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure a run on test data: the bound, log p(x), the latent, reconstructions.

    The numbers are added to the run's evaluation.json.
    """
    start()
    from vaekit.runs.judge import keep

    loaded = vaekit.load(run, weights=weights, device=device)
    found = loaded.evaluate(
        samples=samples,
        nll=nll,
        latent=latent,
        reconstruction=reconstruction,
        ais=ais,
        agreement=agreement,
        noise=noise,
        split=split,
        limit=limit,
        seed=seed,
        data_dir=data_dir,
        on_rows=_Told() if sys.stderr.isatty() else None,
    )
    if json:
        say(dump(found))
    else:
        _show(found)
    keep(loaded, found)


class _Told:
    """Says on the terminal how far it is, where that takes long."""

    def __init__(self) -> None:
        self._what, self._began, self._shown = "", 0.0, 0.0

    def __call__(self, what: str, done: int, rows: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._began = what, now
        if now - self._shown > 0.5 and now - self._began > 1:
            self._shown = now
            print(f"\r{what}: {done} of {rows} rows ", end="", file=sys.stderr)  # noqa: T201
        if done == rows and self._shown:
            self._shown = 0.0
            print("\r\033[K", end="", file=sys.stderr)  # noqa: T201


def _show(found: dict[str, Any]) -> None:
    protocol = found["protocol"]
    for name, error in BOUND.items():
        if "colour" in found and found[name] is None:
            continue
        _line(name, found[name], found[error] if error else None)
    if "colour" in found:
        _colour(found["colour"])
    if "nll" in found:
        _nll(found["nll"])
    if "latent" in found:
        _latent(found["latent"])
    if "reconstruction" in found:
        _measures("reconstruction", found["reconstruction"])
    if "ais" in found:
        _ais(found["ais"])
    if "agreement" in found:
        _agreement(found["agreement"])
    if not protocol["is_likelihood"]:
        say("not a likelihood: grey values under a Bernoulli are the usual loss, no more")
    for line in _protocol(protocol, "the noise" if "colour" in found else "z"):
        say(line)


def _protocol(of: dict[str, Any], drawn: str) -> Iterator[str]:
    """How it was measured, for people; --json has all of it."""
    which = f"all {of['rows']:,}" if of["rows"] == of["of"] else f"{of['rows']:,} of {of['of']:,}"
    step = "" if of["step"] is None else f" (step {of['step']:,})"
    draws = f"{of['samples']} draw{'s' * (of['samples'] != 1)} of {drawn}, seed {of['seed']}"
    yield f"{which} {of['split']} rows of {of['data']}; {draws}; weights {of['weights']}{step}"
    made = ", ".join(f"{name} {value}" for name, value in of["made"].items())
    parts = (f"{of['likelihood']} likelihood", of["unit"], made and f"data with {made}")
    yield "; ".join(part for part in parts if part)
    yield f"data sha256 {of['sha256'][:16]}; vaekit {of['vaekit']}, torch {of['torch']}"


def _line(name: str, value: float | None, error: float | None = None, more: str = "") -> None:
    shown = "-" if value is None else f"{value:.4f}"
    spread = "" if error is None else f" ± {error:.4f}"
    say(f"{name:20} {shown}{spread}{more and '  ' + more}")


def _nll(one: dict[str, Any]) -> None:
    _line("nll", one["mean"], one["standard_error"], f"{one['samples']} draws for each row")
    if one["at_half"] is not None:
        _line("  with half of them", one["at_half"])
    if one["bits_per_dim"] is not None:
        _line("  bits_per_dim", one["bits_per_dim"])


def _latent(one: dict[str, Any]) -> None:
    say(f"{'latent':20} {one['active_units']} of {one['units']} units are active")
    if one["kl_per_dim"] is not None:
        say(f"{'  kl_per_dim':20} {' '.join(f'{value:.2f}' for value in one['kl_per_dim'])}")
    _measures("", one)


def _measures(title: str, one: dict[str, Any]) -> None:
    """A line for each mean that has a standard error."""
    if title:
        say(f"{title:20} {one['rows']} rows")
    for name, error in one.get("errors", {}).items():
        _line(f"  {name}", one[name], error, UNITS.get(name, ""))


def _colour(one: dict[str, Any]) -> None:
    _measures("colours", one)
    for of in one["noise"]:
        from_to = f"{of['before']:.2f} to {of['after']:.2f} decibels, luminance"
        _line(f"  noise of {of['levels']:g}", of["gain"], of["gain_error"], from_to)


def _ais(one: dict[str, Any]) -> None:
    how = f"{one['rows']} rows, {one['chains']} chains, {one['steps']} steps"
    _line("nll by annealing", one["mean"], one["standard_error"], how)
    _line("  gap when simulated", one["simulated_gap"])
    _line("  acceptance", one["acceptance"])


def _agreement(one: dict[str, Any]) -> None:
    _line("agreement", one["share"], one["standard_error"], f"{one['samples']} images")
    _line("  worst class", one["worst_share"], more=str(one["worst_class"]))
    _line("  the classifier", one["classifier_accuracy"], more="accuracy on test rows")

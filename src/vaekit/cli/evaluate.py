"""The commands that measure runs: `evaluate`, and `compare`, which sets them side by side."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    print_table,
    say,
    start,
)
from vaekit.registry import make

if TYPE_CHECKING:
    from vaekit.report import Comparison


def evaluate(
    run: RunPath,
    /,
    *metrics: Annotated[
        str,
        Parameter(
            help="What to measure besides: nll:samples=5000, latent; see `vaekit parts metric`."
        ),
    ],
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
    from vaekit.runs import keep_evaluation

    loaded = vaekit.load(run, weights=weights, device=device)
    found = loaded.evaluate(
        *metrics,
        split=split,
        limit=limit,
        seed=seed,
        data_dir=data_dir,
        on_rows=_Told() if sys.stderr.isatty() else None,
    )
    drawn = "z" if "latent" in loaded.offers else "the noise"
    say(dump(found)) if json else _show(found, drawn)
    keep_evaluation(loaded, found)


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


def _show(found: dict[str, Any], drawn: str) -> None:
    """What each metric has to say, and how it was measured."""
    protocol = found["protocol"]
    for name, record in {"bound": found, **found}.items():
        if isinstance(record, dict) and name != "protocol":
            for line in make("metric", {"name": name}).lines(record):
                _line(*line)
    if not protocol["is_likelihood"]:
        say("not a likelihood: gray values under a Bernoulli are the usual loss, no more")
    for text in _protocol(protocol, drawn):
        say(text)


def _line(name: str, value: float | None, error: float | None, more: str) -> None:
    """A number with its standard error and a word on it; nothing where there is no number."""
    number = "" if value is None else f"{value:.4f}"
    number += "" if error is None else f" ± {error:.4f}"
    if number or more:
        say(f"{name:20} {'  '.join(filter(None, (number, more)))}")


def _protocol(of: dict[str, Any], drawn: str) -> Iterator[str]:
    """How it was measured, for people; --json has all of it."""
    which = f"all {of['rows']:,}" if of["rows"] == of["of"] else f"{of['rows']:,} of {of['of']:,}"
    step = "" if of["step"] is None else f" (step {of['step']:,})"
    kind = "relaxed " if of["draws"] == "relaxed" else ""
    draws = f"{of['samples']} {kind}draw{'s' * (of['samples'] != 1)} of {drawn}, seed {of['seed']}"
    yield f"{which} {of['split']} rows of {of['data']}; {draws}; weights {of['weights']}{step}"
    made = ", ".join(f"{name} {value}" for name, value in of["made"].items())
    parts = (f"{of['likelihood']} likelihood", of["unit"], made and f"data with {made}")
    yield "; ".join(part for part in parts if part)
    yield f"data sha256 {of['sha256'][:16]}; vaekit {of['vaekit']}, torch {of['torch']}"


def compare(
    *runs: Annotated[Path, Parameter(help="Run folders, two at least.")],
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="The page.")] = Path("compare.html"),
    limit: Annotated[
        Whole, Parameter(help="Test rows, evenly spread, and as many training rows.")
    ] = 1000,
    rank: Annotated[
        str | None, Parameter(help="elbo, psnr, ssim or mse: the best first, in the table.")
    ] = None,
    seed: Annotated[Whole, Parameter(help="Of the draws.")] = 0,
    title: Annotated[str | None, Parameter(help="Of the page.")] = None,
    images: Annotated[
        Path | None, Parameter(help="A folder for the charts and images as .png, and table.md.")
    ] = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Compare runs of one data set on a page: what differs, and what came of it."""
    start()
    from vaekit.report import compare as compare_runs

    found = compare_runs(
        runs,
        out=out,
        limit=limit,
        rank=rank,
        seed=seed,
        title=title,
        images=images,
        data_dir=data_dir,
        device=device,
    )
    show(found, json)


def show(found: Comparison, json: bool) -> None:
    """The words, the table and the page's path on standard output."""
    if json:
        content = {**asdict(found), "path": str(found.path)}
        del content["table"]  # the same, as text
        say(dump(content))
        return
    for sentence in found.words:
        say(sentence)
    for part in found.table.values():
        print_table(part)
    for note in found.notes:
        say(note)
    say(f"page     {found.path}")

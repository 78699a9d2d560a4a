"""The commands that measure: `evaluate` and `compare`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vaekit
from vaekit.cli.show import MaybeWhole, Out, Rows, Whole, dump, print_table, say, start
from vaekit.registry import make

if TYPE_CHECKING:
    from vaekit.report import Comparison

NO_LIKELIHOOD = "not a likelihood: gray values under a Bernoulli are the usual loss, no more"


def evaluate(
    run: Path,
    /,
    *metrics: str,
    split: str = "test",
    limit: MaybeWhole = None,
    seed: Whole = 0,
    opening: Rows = Rows(),
    json: bool = False,
) -> None:
    """Measure a run: the bound, log p(x), its latent, reconstructions.

    The numbers are added to the run's evaluation.json.

    Example: vaekit evaluate runs/vae-mnist nll:samples=5000 latent

    Args:
        metrics: Metrics besides the bound: nll:samples=5000; see `vaekit parts metric`.
        limit: Measure this many rows, evenly spread.
    """
    loaded = opening.load(run)
    from vaekit.cli.progress import RowCount

    record = loaded.evaluate(
        *metrics,
        split=split,
        limit=limit,
        seed=seed,
        data_dir=opening.data_dir,
        on_rows=RowCount() if sys.stderr.isatty() else None,
    )
    if json:
        dump(record)
    else:
        for line in _lines(record, "z" if "latent" in loaded.offers else "the noise"):
            say(line)
    vaekit.runs.keep_evaluation(loaded, record)


def _lines(record: dict[str, Any], drawn: str) -> Iterator[str]:
    """Yield what each metric has to say, and how it was measured."""
    for name, values in {"bound": record, **record}.items():
        if isinstance(values, dict) and name != "protocol":
            for title, value, error, more in make("metric", {"name": name}).lines(values):
                number = "" if value is None else f"{value:.4f}"
                number += "" if error is None else f" ± {error:.4f}"
                if number or more:
                    yield f"{title:20} {'  '.join(filter(None, (number, more)))}"
    yield from protocol_lines(record["protocol"], drawn)


def protocol_lines(of: Mapping[str, Any], drawn: str) -> Iterator[str]:
    """Yield how a run was measured, for people; `--json` has all of it."""
    if not of["is_likelihood"]:
        yield NO_LIKELIHOOD
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
    *runs: Path,
    out: Out = Path("compare.html"),
    limit: Whole = 1000,
    rank: str | None = None,
    seed: Whole = 0,
    title: str | None = None,
    images: Path | None = None,
    lang: str = "en",
    data_dir: str | None = None,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Compare runs of one data set on a page: differences and results.

    Example: vaekit compare runs/a runs/b --rank elbo -o compare.html

    Args:
        runs: Run folders, at least two.
        out: The page.
        limit: Measure this many test rows, and as many training rows.
        rank: Sort the table, the best first, by elbo, psnr, ssim or mse.
        title: The title of the page.
        images: Write charts and images as .png, and table.md, to this folder.
    """
    start()
    how: dict[str, Any] = {"out": out, "limit": limit, "rank": rank, "seed": seed, "title": title}
    how |= {"images": images, "lang": lang, "data_dir": data_dir, "device": device}
    show_comparison(vaekit.compare(runs, **how), json)


def show_comparison(comparison: Comparison, json: bool) -> None:
    """Print what differs, the table, and the path of the page."""
    if json:
        content = {**asdict(comparison), "path": str(comparison.path)}
        del content["table"]  # the same, as text
        dump(content)
        return
    for sentence in comparison.words:
        say(sentence)
    for part in comparison.table.values():
        print_table(part)
    for note in comparison.notes:
        say(note)
    say(f"page     {comparison.path}")

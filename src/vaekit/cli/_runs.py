"""The commands on runs, from `runs` to `reproduce`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vaekit
from vaekit.cli._show import (
    MaybeOut,
    MaybeWhole,
    Opening,
    Out,
    Output,
    Rows,
    Styled,
    Whole,
    answer,
    say,
    start,
    table,
)
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.models import LayerTable
    from vaekit.report import Comparison

FIELDS = ("name", "title", "number", "reference", "protocol", "source")
RESULTS = Path("benchmarks", "results", "reproductions.csv")
NO_LIKELIHOOD = "not a likelihood of such values, as gray ones under a Bernoulli: a loss, no more"


def runs(folder: Path = Path("runs"), /, *, sort: str = "name", json: bool = False) -> None:
    """List the runs of a folder in a table.

    Example: vaekit runs runs --sort elbo

    Args:
        folder: A folder of runs.
        sort: The column that sorts the table.
    """
    rows = vaekit.runs.tabulate(folder, sort=sort)
    answer(json, rows, [table(vaekit.runs.cells(rows), left=(0, 1, 2, 10))])


def info(run: Path, /, *, json: bool = False) -> None:
    """Show a run's options, data and environment, and how it trained.

    Example: vaekit info runs/vae-mnist
    """
    loaded = Opening(device="cpu").load(run)
    records = loaded.folder.records()
    content = {
        "config": loaded.config.to_json(),
        "spec": loaded.spec.to_json(),
        **(loaded.folder.read_json("run") if loaded.recorded else {}),
        "epochs": len(records),
        "last": records[-1] if records else None,
        "weights": loaded.weights,
    }
    import yaml

    answer(json, content, [yaml.safe_dump(content, sort_keys=False), repr(loaded.model)])


def show(run: Path, /, *, out: MaybeOut = None, json: bool = False) -> None:
    """Show the network: layers, shapes and parameters.

    Shapes are of what comes out of one row.

    Example: vaekit show runs/vae-mnist -o network.svg

    Args:
        out: Draw the network into this .svg.
    """
    loaded = Opening(device="cpu").load(run)
    if out is not None:
        vaekit.report.save_network(loaded, out)
    show_layers(loaded.layers(), json)


def show_layers(tables: Sequence[LayerTable], json: bool) -> None:
    """Print a table for each network, what its output is, and all parameters."""
    total = sum(each.parameters for each in tables)
    content = {"networks": [each.to_json() for each in tables], "parameters": total}
    lines = []
    for each in tables:
        shown = table([("layer", "output", "parameters"), *each.rows()], left=(0, 1))
        lines += [each.title(), Styled(shown.strip("\n")), *filter(None, [each.meaning()]), ""]
    answer(json, content, [*lines, f"parameters in all: {total:,}"])


def save(run: Path, to: Path, /, *, weights: str | None = None, overwrite: bool = False) -> Path:
    """Save a run's model alone: its parts, its weights, a README.

    A command that takes a run takes a saved model, too, if it needs no records of the training.

    Example: vaekit save runs/vae-mnist mnist.vaekit

    Args:
        to: A folder, or a file that ends in .vaekit.
        weights: best, last, ema or epoch-N.
        overwrite: Replace what is there.
    """
    return Opening(weights, device="cpu").load(run).save(to, overwrite=overwrite)


def report(run: Path, /, *, lang: str = "en", opening: Rows = Rows()) -> Path:
    """Write a run's report.html again.

    Example: vaekit report runs/vae-mnist
    """
    loaded = opening.load(run)
    return vaekit.report.write_run_report(loaded, data_dir=opening.data_dir, lang=lang)


def explore(
    run: Path, /, *, to: Output = Output(), lang: str = "en", opening: Rows = Rows()
) -> Path:
    """Write one page that holds the model: to move through its latent.

    It needs nothing but a browser, and may be sent. What no page can hold is refused by its name.
    Without --out it goes beside the run's report, which links it when it is written again.

    Example: vaekit explore runs/vae-mnist -o explore.html
    """
    beside = to.out is None and run.is_dir()
    path = None if beside else to.at(run, "explore.html")
    if path and path.suffix.lower() not in (".html", ".htm"):
        raise VaekitError(f"got `out={path}`; a page ends in .html.")
    made = vaekit.report.explore(opening.load(run), path, data_dir=opening.data_dir, lang=lang)
    say(f"explore: {made}")
    return made.path


def fit_prior(
    run: Path,
    /,
    *,
    prior: str = "mixture",
    seed: MaybeWhole = None,
    opening: Rows = Rows(),
) -> None:
    """Fit a prior to the codes of a trained model, and keep it.

    `vaekit sample` then draws z from it where it suits held-out codes better than p(z), or where
    the model has no p(z), as of an autoencoder. Bounds stay with p(z), but for `vaekit evaluate
    RUN --prior fitted`.

    Example: vaekit fit-prior runs/vae-mnist --prior flow

    Args:
        prior: mixture, flow, two-stage; of numbered codes codes-transformer. Options as
            flow:flow=spline: `vaekit parts density`.
        seed: Of the draws of q(z|x) and of the fit; by default that of the training.
    """
    if run.is_file():
        raise VaekitError(f"{run} is a saved model, which keeps no new prior: name a run folder.")
    loaded = opening.load(run)
    from vaekit.cli._progress import log

    def on_epoch(epoch: int, epochs: int, nats: float) -> None:
        if epoch % 10 == 0 or epoch in (1, epochs):
            log(f"epoch {epoch} of {epochs} at most: {nats:.2f} nats for held-out codes")

    fitted = loaded.fit_prior(prior, seed=seed, data_dir=opening.data_dir, on_epoch=on_epoch)
    say(f"prior {fitted}")
    if not fitted.better:
        say("that is no gain: samples stay with p(z), but for `vaekit sample RUN --prior fitted`")


def evaluate(
    run: Path,
    /,
    *metrics: str,
    data: str | None = None,
    split: str = "test",
    limit: MaybeWhole = None,
    seed: Whole = 0,
    prior: str = "model",
    opening: Rows = Rows(),
    json: bool = False,
) -> None:
    """Measure a run: its bound, log p(x), latent and samples.

    The numbers are added to the run's evaluation.json.

    Example: vaekit evaluate runs/vae-mnist nll:samples=5000 latent

    Args:
        metrics: Metrics besides the bound: nll:samples=5000; see `vaekit parts metric`.
        data: New rows, in place of a split: a folder, a .zip, an array, a table, or a set's name.
        limit: Measure this many rows, evenly spread.
        prior: model: p(z); fitted: the prior fitted to the codes, as the numbers then say.
    """
    loaded = opening.load(run)
    loaded.folder.evaluations()  # what could not be kept is refused before it takes hours
    from vaekit.cli._progress import RowCount

    how: dict[str, Any] = {"data": data, "split": split, "limit": limit, "seed": seed}
    how |= {"prior": prior, "data_dir": opening.data_dir}
    how |= {"on_rows": RowCount() if sys.stderr.isatty() else None}
    record = loaded.evaluate(*metrics, **how)
    try:  # first: what took hours outlives a closed pipe; and it is shown where it cannot be kept
        vaekit.runs.keep_evaluation(loaded, record)
    finally:
        answer(json, record, _lines(record, "z" if "latent" in loaded.offers else "the noise"))


def _lines(record: dict[str, Any], drawn: str) -> Iterator[str]:
    """Yield what each metric has to say, and how it was measured."""
    for title, number, more in vaekit.runs.metric_lines(record):
        if number or more:
            yield f"{title:20} {'  '.join(filter(None, (number, more)))}"
    how = record["protocol"]
    if not how["is_likelihood"]:
        yield NO_LIKELIHOOD
    rows, of, count = how["rows"], how["of"], how["samples"]
    which = f"all {rows:,}" if rows == of else f"{rows:,} of {of:,}"
    step = "" if how["step"] is None else f" (step {how['step']:,})"
    kind = "relaxed " if how["draws"] == "relaxed" else ""
    draws = f"{count} {kind}draw{'s' * (count != 1)} of {drawn}, seed {how['seed']}"
    yield f"{which} {how['split']} rows of {how['data']}; {draws}; weights {how['weights']}{step}"
    if "standard_error_over" in record:
        yield vaekit.evaluate.over_words(record["standard_error_over"], record)
    made = ", ".join(f"{name} {value}" for name, value in how["made"].items())
    given = f" given {how['given']}" if how.get("given") else ""
    prior = how.get("prior") and f"prior {how['prior']}, not p(z)"
    data = made and f"data with {made}"
    parts = (f"{how['likelihood']} likelihood{given}", prior, how["unit"], data)
    yield "; ".join(filter(None, parts))
    yield f"data sha256 {how['sha256'][:16]}; vaekit {how['vaekit']}, torch {how['torch']}"


def compare(
    *runs: Path,
    out: Out = Path("compare.html"),
    limit: Whole = 1000,
    rank: str | None = None,
    seed: Whole = 0,
    title: str | None = None,
    files: Path | None = None,
    prior: str | None = None,
    lang: str = "en",
    data_dir: str | None = None,
    training_data: str | None = None,
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
        files: Write charts and images as .png, and table.md, to this folder.
        prior: model: draw the samples' z from p(z); fitted: from the prior fitted to the codes.
    """
    start()
    how: dict[str, Any] = {"out": out, "limit": limit, "rank": rank, "seed": seed, "title": title}
    how |= {"files": files, "prior": prior, "lang": lang, "device": device}
    how |= {"data_dir": data_dir, "training_data": training_data}
    show_comparison(vaekit.compare(runs, **how), json)


def show_comparison(comparison: Comparison, json: bool) -> None:
    """Print what differs, the table, and the path of the page."""
    content = {**asdict(comparison), "path": str(comparison.path)}
    tables = map(table, content.pop("table").values())  # as text; the runs have the numbers
    page = f"page     {comparison.path}"
    answer(json, content, [*comparison.words, *tables, *comparison.notes, page])


def reproduce(
    name: str | None = None,
    /,
    *,
    list_: bool = False,
    out: MaybeOut = None,
    seed: Whole = 0,
    record: Path | None = None,
    results: Path = RESULTS,
    data_dir: str | None = None,
    device: str = "auto",
    threads: MaybeWhole = None,
    quiet: bool = False,
    json: bool = False,
) -> None:
    """Train and measure a published result again, by its protocol.

    Example: vaekit reproduce mlp-gray --record results.csv

    Args:
        name: Which result: see --list.
        list_: List the results, with what was measured.
        out: The run folder; an interrupted run continues.
        seed: The seed of the training.
        record: Add the result to this .csv of results.
        results: The .csv of results that --list shows.
    """
    start()
    if list_:
        _list_reproductions(results, json)
        return
    if name is None:
        raise VaekitError("got no reproduction; expected a name: `list_` shows what there is.")
    from vaekit.cli._progress import progress

    how: dict[str, Any] = {"data_dir": data_dir, "device": device, "threads": threads}
    row = vaekit.reproduce(name, out=out, seed=seed, callbacks=[progress(quiet or json)], **how)
    if record is not None:
        vaekit.runs.record(row, record)
    answer(json, row, (f"{title:15} {value}" for title, value in row.items()))


def _list_reproductions(results: Path, json: bool) -> None:
    """List the results that can be reproduced, with what was measured of each."""
    rows = vaekit.runs.measured(results)
    listed: list[dict[str, Any]] = []
    lines: list[str] = []
    for entry in vaekit.runs.known().values():
        numbers = [float(row["ours"]) for row in rows if row["name"] == entry.name]
        listed.append({**entry.model_dump(include={*FIELDS}), "ours": numbers})
        ours = ", ".join(f"{value:.2f}" for value in numbers) or "not measured here"
        reference = "closed form" if entry.reference is None else entry.reference
        number = f"{entry.number}: reference {reference}; ours {ours}"
        lines.append(f"{entry.name:15} {entry.title}")
        lines += [f"{'':15} {text}" for text in (number, entry.protocol, entry.source)]
    answer(json, listed, lines)

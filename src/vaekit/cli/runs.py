"""The commands on runs as they are: `runs`, `info`, `save`, `report`; and `reproduce`."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from vaekit.cli.show import (
    DataDir,
    Json,
    Lang,
    MaybeWhole,
    Opening,
    Quiet,
    Rows,
    RunPath,
    Whole,
    dump,
    print_table,
    say,
    start,
)
from vaekit.errors import VaekitError

RESULTS = Path("benchmarks", "results", "reproductions.csv")


def runs(
    folder: Annotated[Path, Parameter(help="A folder of runs.")] = Path("runs"),
    /,
    *,
    sort: Annotated[str, Parameter(help="The column that sorts the table.")] = "name",
    json: Json = False,
) -> None:
    """List the runs of a folder in a table.

    Example: vaekit runs runs --sort elbo
    """
    from vaekit.runs import cells, tabulate

    rows = tabulate(folder, sort=sort)
    dump(rows) if json else print_table(cells(rows), left=(0, 1, 2, 10))


def info(run: RunPath, /, *, json: Json = False) -> None:
    """Show a run's options, data and environment, and how it trained.

    Example: vaekit info runs/vae-mnist
    """
    loaded = Opening(device="cpu").load(run)
    records = loaded.folder.records()
    trained = (loaded.path / "run.json").is_file()  # a saved model has no records
    content = {
        "config": loaded.config.to_json(),
        "spec": loaded.spec.to_json(),
        **(loaded.folder.read_json("run") if trained else {}),
        "epochs": len(records),
        "last": records[-1] if records else None,
        "weights": loaded.weights,
    }
    if json:
        dump(content)
        return
    import yaml

    say(yaml.safe_dump(content, sort_keys=False))
    say(repr(loaded.model))


def save(
    run: RunPath,
    to: Annotated[Path, Parameter(help="A folder, or a file that ends in .vaekit.")],
    /,
    *,
    weights: Annotated[str | None, Parameter(help="best, last or ema.")] = None,
    overwrite: Annotated[bool, Parameter(help="Replace what is there.")] = False,
) -> None:
    """Save a run's model alone: its parts, its weights, a README.

    A command that takes a run takes a saved model, too, if it needs no records of the training.

    Example: vaekit save runs/vae-mnist mnist.vaekit
    """
    say(Opening(weights, device="cpu").load(run).save(to, overwrite=overwrite))


def report(run: RunPath, /, *, lang: Lang = "en", opening: Rows = Rows()) -> None:
    """Write a run's report.html again.

    Example: vaekit report runs/vae-mnist
    """
    loaded = opening.load(run)
    from vaekit.report import write_run_report

    say(write_run_report(loaded, data_dir=opening.data_dir, lang=lang))


def reproduce(
    name: Annotated[str | None, Parameter(help="Which result: see --list.")] = None,
    /,
    *,
    list_: Annotated[bool, Parameter(help="List the results, with what was measured.")] = False,
    out: Annotated[
        Path | None,
        Parameter(name=["--out", "-o"], help="The run folder; an interrupted run continues."),
    ] = None,
    seed: Annotated[Whole, Parameter(help="The seed of the training.")] = 0,
    record: Annotated[
        Path | None, Parameter(help="Add the result to this .csv of results.")
    ] = None,
    results: Annotated[Path, Parameter(help="The .csv of results that --list shows.")] = RESULTS,
    data_dir: DataDir = None,
    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    threads: Annotated[MaybeWhole, Parameter(help="CPU threads.")] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train and measure a published result again, by its full protocol.

    Example: vaekit reproduce mlp-gray --record results.csv
    """
    start()
    if list_:
        _list_reproductions(results, json)
        return
    if name is None:
        raise VaekitError("got no reproduction; expected a name: `list_` shows what there is.")
    from vaekit.api import reproduce as train_again
    from vaekit.cli.progress import progress
    from vaekit.runs import record as add_result

    how: dict[str, Any] = {"data_dir": data_dir, "device": device, "threads": threads}
    row = train_again(name, out=out, seed=seed, callbacks=[progress(quiet or json)], **how)
    if record is not None:
        add_result(row, record)
    if json:
        say(jsons.dumps(row))
    else:
        for title, value in row.items():
            say(f"{title:15} {value}")


def _list_reproductions(results: Path, json: bool) -> None:
    from vaekit.runs import known, measured

    rows = measured(results)
    listed: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "title": entry.title,
            "number": entry.number,
            "reference": entry.reference,
            "ours": [float(row["ours"]) for row in rows if row["name"] == entry.name],
            "protocol": entry.protocol,
            "source": entry.source,
        }
        for entry in known().values()
    ]
    if json:
        dump(listed)
        return
    for entry in listed:
        ours = ", ".join(f"{value:.2f}" for value in entry["ours"]) or "not measured here"
        reference = "closed form" if entry["reference"] is None else entry["reference"]
        say(f"{entry['name']:15} {entry['title']}")
        say(f"{'':15} {entry['number']}: reference {reference}; ours {ours}")
        say(f"{'':15} {entry['protocol']}")
        say(f"{'':15} {entry['source']}")

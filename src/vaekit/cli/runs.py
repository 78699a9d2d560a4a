"""The commands on runs as they are: `runs`, `info`, `save`, `report`; and `reproduce`."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Any

import vaekit
from vaekit.cli.show import (
    MaybeOut,
    MaybeWhole,
    Opening,
    Rows,
    Whole,
    dump,
    print_table,
    say,
    start,
)
from vaekit.errors import VaekitError

FIELDS = ("name", "title", "number", "reference", "protocol", "source")
RESULTS = Path("benchmarks", "results", "reproductions.csv")


def runs(folder: Path = Path("runs"), /, *, sort: str = "name", json: bool = False) -> None:
    """List the runs of a folder in a table.

    Example: vaekit runs runs --sort elbo

    Args:
        folder: A folder of runs.
        sort: The column that sorts the table.
    """
    rows = vaekit.runs.tabulate(folder, sort=sort)
    dump(rows) if json else print_table(vaekit.runs.cells(rows), left=(0, 1, 2, 10))


def info(run: Path, /, *, json: bool = False) -> None:
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


def save(run: Path, to: Path, /, *, weights: str | None = None, overwrite: bool = False) -> None:
    """Save a run's model alone: its parts, its weights, a README.

    A command that takes a run takes a saved model, too, if it needs no records of the training.

    Example: vaekit save runs/vae-mnist mnist.vaekit

    Args:
        to: A folder, or a file that ends in .vaekit.
        weights: best, last or ema.
        overwrite: Replace what is there.
    """
    say(Opening(weights, device="cpu").load(run).save(to, overwrite=overwrite))


def report(run: Path, /, *, lang: str = "en", opening: Rows = Rows()) -> None:
    """Write a run's report.html again.

    Example: vaekit report runs/vae-mnist
    """
    loaded = opening.load(run)
    say(vaekit.report.write_run_report(loaded, data_dir=opening.data_dir, lang=lang))


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
    from vaekit.cli.progress import progress

    how: dict[str, Any] = {"data_dir": data_dir, "device": device, "threads": threads}
    row = vaekit.reproduce(name, out=out, seed=seed, callbacks=[progress(quiet or json)], **how)
    if record is not None:
        vaekit.runs.record(row, record)
    if json:
        say(jsons.dumps(row))
    else:
        for title, value in row.items():
            say(f"{title:15} {value}")


def _list_reproductions(results: Path, json: bool) -> None:
    rows = vaekit.runs.measured(results)
    listed: list[dict[str, Any]] = [
        {
            **{field: getattr(entry, field) for field in FIELDS},
            "ours": [float(row["ours"]) for row in rows if row["name"] == entry.name],
        }
        for entry in vaekit.runs.known().values()
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

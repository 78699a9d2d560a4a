"""The command that makes published results again: `reproduce`."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from vaekit.cli.show import DataDir, Device, Json, MaybeWhole, Whole, dump, say, start
from vaekit.errors import VaekitError

reproduce = App(name="reproduce", help="Make a published result again, by its full protocol.")

RESULTS = Path("benchmarks", "results", "reproductions.csv")


@reproduce.default
def _reproduce(
    name: Annotated[str | None, Parameter(help="Which: see --list.")] = None,
    /,
    *,
    list_: Annotated[
        bool, Parameter(name="--list", negative=(), help="What there is, with what was measured.")
    ] = False,
    out: Annotated[
        Path | None, Parameter(name=["--out", "-o"], help="The run folder; a stopped one goes on.")
    ] = None,
    seed: Annotated[Whole, Parameter(help="Of the training.")] = 0,
    record: Annotated[
        Path | None, Parameter(help="Add the result to this .csv of results.")
    ] = None,
    results: Annotated[Path, Parameter(help="The .csv of results that --list shows.")] = RESULTS,
    data_dir: DataDir = None,
    device: Device = "auto",
    threads: Annotated[MaybeWhole, Parameter(help="CPU threads.")] = None,
    quiet: Annotated[bool, Parameter(negative=(), help="Show no progress.")] = False,
    json: Json = False,
) -> None:
    """Make a published result again, by its full protocol."""
    start()
    if list_:
        _list(results, json)
        return
    if name is None:
        raise VaekitError("name a reproduction, or take --list to see what there is.")
    from vaekit.api import reproduce as make_again
    from vaekit.cli.progress import progress
    from vaekit.runs import record as keep

    place: dict[str, Any] = {"data_dir": data_dir, "device": device, "threads": threads}
    shown = progress(quiet or json)
    row = make_again(name, out=out, seed=seed, callbacks=[shown], **place)
    if record is not None:
        keep(row, record)
    say(jsons.dumps(row)) if json else _show(row)


def _show(row: dict[str, Any]) -> None:
    for name, value in row.items():
        say(f"{name:15} {value}")


def _list(results: Path, as_json: bool) -> None:
    from vaekit.runs import known, measured

    rows = measured(results)
    listed: list[dict[str, Any]] = [
        {
            "name": one.name,
            "title": one.title,
            "number": one.number,
            "reference": one.reference,
            "ours": [float(row["ours"]) for row in rows if row["name"] == one.name],
            "protocol": one.protocol,
            "source": one.source,
        }
        for one in known().values()
    ]
    if as_json:
        say(dump(listed))
        return
    for one in listed:
        ours = ", ".join(f"{value:.2f}" for value in one["ours"]) or "not measured here"
        reference = "closed form" if one["reference"] is None else one["reference"]
        say(f"{one['name']:15} {one['title']}")
        say(f"{'':15} {one['number']}: reference {reference}; ours {ours}")
        say(f"{'':15} {one['protocol']}")
        say(f"{'':15} {one['source']}")

"""`vaekit sweep RECIPE --grid NAME=VALUES`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from vaekit.cli.compare import as_json, show
from vaekit.cli.show import dump, say, start
from vaekit.cli.train import option, options_of

sweep = App(
    name="sweep",
    help="Train a grid of options side by side, and compare: "
    "`vaekit sweep vae --data mnist --grid latent=16,64 --grid objective.beta=1,4`.",
)

Grid = Annotated[
    tuple[str, ...],
    Parameter(
        help="NAME=VALUE,VALUE: an option, or one of a part as net.hidden, and its values; again "
        "for another."
    ),
]
OWN = [
    option("out", Path | None, None, "The folder of the runs and of compare.html; named again, it "
           "continues; else the next free one in runs/.", "run"),
    option("jobs", int | None, None, "Runs at once; as many as there are cores.", "run"),
    option("pictures", Path | None, None, "A folder for the page's charts and images as .png, and "
           "table.md.", "run"),
    option("no_report", bool, False, "Do not write a report.html for each run.", "run"),
    option("quiet", bool, False, "Show no progress.", "run"),
    option("json", bool, False, "Print one JSON object alone.", "run"),
]  # fmt: skip


def _done(row: Mapping[str, Any]) -> None:
    """A line on standard error for a run that is trained, and what it should be known for."""
    print(f"{row['name']} is trained", file=sys.stderr, flush=True)  # noqa: T201
    for text in row["warnings"]:
        print(f"vaekit: note: {row['name']}: {text}", file=sys.stderr)  # noqa: T201


def sweep_command(recipe: str) -> Callable[..., None]:
    """The command `sweep RECIPE`: the options of `train RECIPE`, and the grid."""

    def command(*, grid: Grid, **options: Any) -> None:
        own = {p.name: options.pop(p.name, p.default) for p in OWN}
        start()
        _sweep(recipe, grid, own, options)

    first = inspect.signature(command).parameters["grid"]
    grid = first.replace(annotation=Grid)
    parameters = [grid, *options_of(recipe), *OWN]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__doc__ = f"Train a grid of {recipe} side by side, and compare the runs on a page."
    command.__name__ = recipe
    return command


def _sweep(
    recipe: str, grid: tuple[str, ...], own: Mapping[str, Any], options: dict[str, Any]
) -> None:
    from vaekit.api import compare_grid
    from vaekit.runs import Config, default_folder, parse_grid

    parsed = parse_grid(grid)
    out = own["out"] or default_folder(recipe, Config.flat(recipe, **options).data.data, "sweep")
    try:
        found = compare_grid(
            recipe,
            parsed,
            options,
            out=out,
            jobs=own["jobs"],
            report=not own["no_report"],
            on_run=None if own["quiet"] or own["json"] else _done,
            pictures=own["pictures"],
        )
    except KeyboardInterrupt:
        say(f"stopped  continue with the same command and --out {out}")
        sys.exit(130)
    if own["json"]:
        say(dump(as_json(found)))
    else:
        show(found)

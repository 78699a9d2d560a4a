"""A grid of trainings: every combination of a few values, side by side, and their comparison."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.config import RECORDS, Config, flat_fields
from vaekit.errors import VaekitError, unknown
from vaekit.several import Row, Task, check, train_all

if TYPE_CHECKING:
    from vaekit.report import Comparison
    from vaekit.run import Run

__all__ = ["Grid", "default_folder", "parse_grid", "sweep", "train_grid"]

Grid = Mapping[str, Sequence[Any]]
PAGE, PICTURES = "compare.html", "pictures"


def parse_grid(texts: Sequence[str]) -> dict[str, list[str]]:
    """`NAME=VALUE,VALUE` as typed; values that hold commas stand between semicolons.

    Raises:
        VaekitError: for what has no name, no value, or a name that came before.

    Example:
        >>> parse_grid(["latent=16,64", "hidden=512 256,64", "range=0,1;-1,1"])
        {'latent': ['16', '64'], 'hidden': ['512 256', '64'], 'range': ['0,1', '-1,1']}
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        values = [value.strip() for value in rest.split(";" if ";" in rest else ",")]
        if not equals or not name.strip() or not all(values):
            raise VaekitError(f"got --grid '{text}'; expected NAME=VALUE,VALUE, as latent=16,64.")
        if name.strip() in found:
            raise VaekitError(f"got --grid {name.strip()} twice; give it all its values at once.")
        found[name.strip()] = values
    return found


def sweep(
    recipe: str = "vae",
    *,
    grid: Grid,
    out: str | Path | None = None,
    jobs: int | None = None,
    report: bool = True,
    on_run: Callable[[Row], None] | None = None,
    **options: Any,
) -> list[Run]:
    """Trains every combination of the grid's values, and compares them on a page.

    Side by side, a thread each (or `threads`), as many as there are cores, or `jobs`. Called again
    with the same `out`, it continues what was interrupted, and keeps what is done; so a grid may
    grow. A script calls it under `if __name__ == "__main__":`, since its processes import it.

    Args:
        recipe: a recipe's name.
        grid: by option, as on the command line, its values: `{"latent": [16, 64]}`; with or without
            the record in front, as "net.activation".
        out: gets the run folders, as `latent=16,activation=relu`, and compare.html; by default the
            next free folder under `runs/`.
        jobs: how many at once.
        report: whether each run writes its report.html.
        on_run: is called with `name`, `run` and `warnings` of each run once it is done.
        options: as for `vaekit.train`, the same for all.

    Returns:
        The runs, the last option of the grid changing fastest.

    Raises:
        VaekitError: for an unknown option, a value that does not fit, and anything else that can
            be mended, in one line; nothing is trained then.
        KeyboardInterrupt: after Ctrl-C; each run has saved its checkpoint.
    """
    from vaekit.run import open_run

    found = train_grid(
        recipe, grid, out=out, jobs=jobs, report=report, on_run=on_run, options=options
    )
    return [open_run(row["run"]) for row in found.runs]


def train_grid(
    recipe: str,
    grid: Grid,
    *,
    out: str | Path | None = None,
    jobs: int | None = None,
    report: bool = True,
    on_run: Callable[[Row], None] | None = None,
    options: Mapping[str, Any],
    pictures: str | Path | None = None,
) -> Comparison:
    """What `sweep` does; returns the comparison, with the runs in the order of the grid."""
    if jobs is not None and jobs < 1:
        raise VaekitError(f"got jobs={jobs}; expected at least 1.")
    options = {**options, "threads": options.get("threads") or 1}
    chosen = _chosen(recipe, grid, options)
    data = Config.flat(recipe, **options).data.data
    out = default_folder(recipe, data) if out is None else Path(out)
    tasks = [_task(recipe, values, options, out, report) for values in _combinations(chosen)]
    workers = check(tasks, out, _ours, "runs of a grid")
    train_all(tasks, min(jobs or workers, len(tasks)), finish=_done, on_row=on_run)
    from vaekit.report import compare

    return compare(
        [task.out for task in tasks],
        out=out / PAGE,
        data_dir=options.get("data_dir"),
        device=options.get("device", "auto"),
        title=f"{recipe} on {Path(data).stem}: {' by '.join(chosen)}",
        pictures=pictures,
    )


def default_folder(recipe: str, data: str) -> Path:
    """The next free folder of its kind under `runs/`."""
    from vaekit.training.folder import next_folder

    return next_folder(Path("runs"), f"{recipe}-{Path(data).stem}-sweep")


def _chosen(recipe: str, grid: Grid, options: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The grid by flat names, its values as the options hold them."""
    homes = {name: (record, field) for name, record, field, _ in flat_fields(recipe)}
    if "latent" not in homes:
        raise VaekitError(
            f"a sweep ends in a comparison of models with a latent, and {recipe} has none: train "
            "each by itself, and take `vaekit evaluate`."
        )
    chosen: dict[str, list[Any]] = {}
    for key, values in grid.items():
        name = _name(key, homes)
        if name in chosen or (name in options and name != "threads"):
            where = "the grid twice" if name in chosen else "the grid and an option besides"
            raise VaekitError(f"{name} is in {where}: leave one.")
        if homes[name][0] == "data":
            raise VaekitError(
                f"{name} is an option of the data, and runs of different data do not compare: "
                "sweep each by itself."
            )
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise VaekitError(f"got {values!r} for {name} in the grid; expected a list of values.")
        chosen[name] = [_value(recipe, name, homes[name], value) for value in values]
    _refuse_few(chosen)
    return chosen


def _refuse_few(chosen: Mapping[str, Sequence[Any]]) -> None:
    for name, values in chosen.items():
        texts = [_text(value) for value in values]
        if len(set(texts)) < len(texts):
            raise VaekitError(f"{name} has a value twice in the grid: {', '.join(texts)}.")
    if max(map(len, chosen.values()), default=0) < 2:
        raise VaekitError(
            "a grid needs an option with at least two values, as --grid latent=16,64."
        )


def _name(key: str, homes: Mapping[str, tuple[str, str]]) -> str:
    """The flat name of an option: "net.activation", "batch-size" and "net.kind" are such."""
    record, dot, field = key.replace("-", "_").rpartition(".")
    if not dot:
        if field not in homes:
            raise unknown("option of the grid", key, list(homes))
        return field
    if record not in ("own", *RECORDS):
        raise unknown("record of options", record, ("own", *RECORDS))
    names = {place[1]: name for name, place in homes.items() if place[0] == record}
    if field not in names:
        raise unknown(f"option of the grid in {record}", field, list(names))
    return names[field]


def _value(recipe: str, name: str, home: tuple[str, str], value: Any) -> Any:
    """A value as the option holds it: text, as from the command line, becomes a number."""
    record, field = home
    several = "tuple" in str({n: i for n, _, _, i in flat_fields(recipe)}[name].annotation)
    if several and isinstance(value, str):
        value = value.split()
    config = Config.flat(recipe, **{name: value})
    return config.own[field] if record == "own" else getattr(getattr(config, record), field)


def _combinations(chosen: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [
        dict(zip(chosen, values, strict=True)) for values in itertools.product(*chosen.values())
    ]


def _task(
    recipe: str, values: Mapping[str, Any], options: Mapping[str, Any], out: Path, report: bool
) -> Task:
    name = ",".join(f"{key}={_text(value)}" for key, value in values.items())
    return Task(name, recipe, {**options, **values}, out / name, report)


def _text(value: Any) -> str:
    """A value in the name of a folder."""
    if isinstance(value, tuple | list):
        return "-".join(map(_text, value)) or "none"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^\w.:=+-]", "_", text)


def _ours(name: str) -> bool:
    return name in (PAGE, PICTURES) or "=" in name


def _done(run: Run) -> Row:
    """Of a run that is trained."""
    warnings = [text for record in run.folder.records() for text in record.get("warnings", [])]
    return {"name": run.path.name, "run": str(run.path), "warnings": warnings}

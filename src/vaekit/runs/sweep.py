"""A grid of trainings: every combination of a few values, side by side, and their comparison."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from vaekit.runs.config import RECORDS, Config, flat_fields
from vaekit.errors import VaekitError, unknown
from vaekit.runs.several import Row, Task, Train, check, train_all

if TYPE_CHECKING:
    from vaekit.runs.run import Run


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


def train_grid(
    recipe: str,
    grid: Grid,
    options: Mapping[str, Any],
    out: Path,
    *,
    jobs: int | None = None,
    report: bool = True,
    on_run: Callable[[Row], None] | None = None,
    train: Train,
) -> list[Task]:
    """Trains every combination of the grid's values into `out`; the tasks, in the grid's order."""
    if jobs is not None and jobs < 1:
        raise VaekitError(f"got jobs={jobs}; expected at least 1.")
    options = {**options, "threads": options.get("threads") or 1}
    chosen = _chosen(recipe, grid, options)
    tasks = [_task(recipe, values, options, out, report) for values in _combinations(chosen)]
    workers = check(tasks, out, _ours, "runs of a grid")
    workers = min(jobs or workers, len(tasks))
    train_all(tasks, workers, train=train, finish=_done, on_row=on_run)
    return tasks


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
    return Task(name, recipe, {**options, **values}, out / name, report, tuple(values))


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

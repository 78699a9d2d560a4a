"""A grid of trainings: every combination of a few values, side by side, and their comparison."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.errors import VaekitError, unknown
from vaekit.imports import Import
from vaekit.registry import checked, text
from vaekit.runs.config import RECORDS, Config, flat_fields
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
        >>> parse_grid(["latent=16,64", "net.hidden=512,256;64"])
        {'latent': ['16', '64'], 'net.hidden': ['512,256', '64']}
    """
    found: dict[str, list[str]] = {}
    for one in texts:
        name, equals, rest = one.partition("=")
        values = [value.strip() for value in rest.split(";" if ";" in rest else ",")]
        if not equals or not name.strip() or not all(values):
            raise VaekitError(
                f"got '{one}' for the grid; expected NAME=VALUE,VALUE, as latent=16,64."
            )
        if name.strip() in found:
            raise VaekitError(
                f"got {name.strip()} twice in the grid; give it all its values at once."
            )
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
    given: Sequence[Import] = (),
) -> list[Task]:
    """Trains every combination of the grid's values into `out`; the tasks, in the grid's order."""
    if jobs is not None and jobs < 1:
        raise VaekitError(f"got jobs={jobs}; expected at least 1.")
    options = {**options, "threads": options.get("threads") or 1}
    chosen = _chosen(recipe, grid, options)
    tasks = []
    for combination in itertools.product(*chosen.values()):
        values = dict(zip(chosen, combination, strict=True))
        name = ",".join(f"{key}={_text(value)}" for key, value in values.items())
        asked, varied = {**options, **values}, tuple(values)
        tasks.append(Task(name, recipe, asked, out / name, report, varied, tuple(given)))
    workers = check(tasks, out, lambda n: n in (PAGE, PICTURES) or "=" in n, "runs of a grid")
    workers = min(jobs or workers, len(tasks))
    train_all(tasks, workers, train=train, finish=_done, on_row=on_run)
    return tasks


def _chosen(recipe: str, grid: Grid, options: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The grid by flat names, its values as the options hold them."""
    homes = {name: group for name, group, _ in flat_fields(recipe)}
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
        home = homes[name.partition(".")[0]]
        if home == "data":
            raise VaekitError(
                f"{name} is an option of the data, and runs of different data do not compare: "
                "sweep each by itself."
            )
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise VaekitError(f"got {values!r} for {name} in the grid; expected a list of values.")
        chosen[name] = [_value(recipe, name, home, value) for value in values]
    _refuse_few(chosen)
    return chosen


def _refuse_few(chosen: Mapping[str, Sequence[Any]]) -> None:
    for name, values in chosen.items():
        texts = [_text(value) for value in values]
        if len(set(texts)) < len(texts):
            raise VaekitError(f"{name} has a value twice in the grid: {', '.join(texts)}.")
    if max(map(len, chosen.values()), default=0) < 2:
        raise VaekitError("a grid needs an option with at least two values, as latent=16,64.")


def _name(key: str, homes: Mapping[str, str]) -> str:
    """The flat name of an option: "batch-size", "training.batch_size" and "net.hidden" are such."""
    name = key.replace("-", "_")
    head, _, rest = name.partition(".")
    name = rest if head in RECORDS and homes.get(rest) == head else name
    if name.partition(".")[0] not in homes:
        raise unknown("option of the grid", key if head in RECORDS else head, list(homes))
    return name


def _value(recipe: str, name: str, home: str, value: Any) -> Any:
    """A value as the option holds it: text, as from the command line, becomes a number."""
    config = Config.flat(recipe, **{name: value})
    if home != "parts":
        return getattr(getattr(config, home), name)
    part: Any = config.parts
    for word in name.split("."):
        part = part[word]
    return text(checked(name, value, part)) if isinstance(part, dict) else part


def _text(value: Any) -> str:
    """A value in the name of a folder."""
    if isinstance(value, tuple | list):
        return "-".join(map(_text, value)) or "none"
    return re.sub(r"[^\w.:=+-]", "_", f"{value:g}" if isinstance(value, float) else str(value))


def _done(run: Run) -> Row:
    """Of a run that is trained."""
    return {"name": run.path.name, "run": str(run.path)}

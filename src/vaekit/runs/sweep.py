"""A grid of trainings: every combination of a few values, side by side, and their comparison."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vaekit.errors import VaekitError, at_least, unknown
from vaekit.imports import Named, load
from vaekit.registry import checked, text
from vaekit.runs.config import RECORDS, Config, flat_fields
from vaekit.runs.folder import RunFolder
from vaekit.runs.parallel import Row, train_all

Grid = Mapping[str, Sequence[Any]]
PAGE, IMAGES = "compare.html", "images"  # what stands beside the runs of a grid


def parse_grid(texts: Sequence[str]) -> dict[str, list[str]]:
    """Read `NAME=VALUE,VALUE` as typed; values with commas in them stand between semicolons.

    Raises:
        VaekitError: for what has no name, no value, or a name that came before.

    Example:
        >>> parse_grid(["latent=16,64", "net.hidden=512,256;64"])
        {'latent': ['16', '64'], 'net.hidden': ['512,256', '64']}
    """
    grid: dict[str, list[str]] = {}
    for entry in texts:
        name, equals, rest = entry.partition("=")
        values = [value.strip() for value in rest.split(";" if ";" in rest else ",")]
        if not equals or not name.strip() or not all(values):
            raise VaekitError(
                f"got '{entry}' for the grid; expected NAME=VALUE,VALUE, as latent=16,64."
            )
        if name.strip() in grid:
            raise VaekitError(
                f"got {name.strip()} twice in the grid; give it all its values at once."
            )
        grid[name.strip()] = values
    return grid


def train_grid(
    recipe: str,
    grid: Grid,
    options: Mapping[str, Any],
    out: Path,
    *,
    import_: Named = (),
    jobs: int | None = None,
    on_run: Callable[[Row], None] | None = None,
    **how: Any,
) -> tuple[list[Path], list[str]]:
    """Train every combination of the grid's values.

    Returns:
        The run folders, in the grid's order, and the names of the options that vary.
    """
    imports = load(import_)
    if jobs is not None:
        at_least("jobs", jobs, 1)
    options = {**options, "threads": options.get("threads") or 1}
    values = _values(recipe, grid, options)
    configs = {}
    for combination in itertools.product(*values.values()):
        varied = dict(zip(values, combination, strict=True))
        name = ",".join(f"{key}={_in_name(value)}" for key, value in varied.items())
        configs[name] = Config.flat(recipe, **{**options, **varied}).importing(imports)
    content = ("runs of a grid", rf".*=.*|{re.escape(PAGE)}|{IMAGES}")
    train_all(out, configs, _row, content=content, jobs=jobs, on_row=on_run, **how)
    return [out / name for name in configs], list(values)


def _row(folder: RunFolder, config: Config) -> Row:
    return {"name": folder.path.name, "run": str(folder.path)}


def _values(recipe: str, grid: Grid, options: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the grid by flat names, with the values that the options take."""
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
    for name, values in chosen.items():
        texts = [_in_name(value) for value in values]
        if len(set(texts)) < len(texts):
            raise VaekitError(f"{name} has a value twice in the grid: {', '.join(texts)}.")
    if max(map(len, chosen.values()), default=0) < 2:
        raise VaekitError("a grid needs an option with at least two values, as latent=16,64.")
    return chosen


def _name(key: str, homes: Mapping[str, str]) -> str:
    """Return the flat name of "batch-size", "training.batch_size" or "net.hidden"."""
    name = key.replace("-", "_")
    head, _, rest = name.partition(".")
    name = rest if head in RECORDS and homes.get(rest) == head else name
    if name.partition(".")[0] not in homes:
        raise unknown("option of the grid", key if head in RECORDS else head, list(homes))
    return name


def _value(recipe: str, name: str, home: str, value: Any) -> Any:
    """Return a value as the option takes it: text, as typed, becomes a number."""
    config = Config.flat(recipe, **{name: value})
    if home != "parts":
        return getattr(getattr(config, home), name)
    part: Any = config.parts
    for word in name.split("."):
        part = part[word]
    return text(checked(name, value, part)) if isinstance(part, dict) else part


def _in_name(value: Any) -> str:
    """Return a value as it stands in the name of a folder."""
    if isinstance(value, tuple | list):
        return "-".join(map(_in_name, value)) or "none"
    return re.sub(r"[^\w.:=+-]", "_", f"{value:g}" if isinstance(value, float) else str(value))

"""One recipe trained several times, side by side: from several seeds, or over a grid of options."""

from __future__ import annotations

import itertools
import json
import math
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from vaekit._arguments import shown
from vaekit._borders import border
from vaekit._imports import Named, load
from vaekit._io import write
from vaekit._torchutil import rng
from vaekit.errors import VaekitError, at_least, unknown
from vaekit.evaluate import counted
from vaekit.registry import checked, text
from vaekit.runs._config import RECORDS, Config, flat_fields
from vaekit.runs._folder import RunFolder, claimed
from vaekit.runs._opening import open_run
from vaekit.runs._parallel import Row, train_all

if TYPE_CHECKING:
    from vaekit.signature import RecipeOptions

Grid = Mapping[str, Sequence[Any]]
MOST_SEEDS = 10_000
PAGE, IMAGES = "compare.html", "images"  # what stands beside the runs of a grid
BOUND, POINT = ("elbo", "log_likelihood", "kl"), ("log_likelihood", "mse")


@contextmanager
def folder_of(out: str | Path | None, config: Config, what: str) -> Iterator[Path]:
    """Yield `out`; by default a new folder of its kind under `runs/`, which no other has."""
    name = f"{config.recipe}-{Path(config.data.data).stem}-{what}"
    with claimed(Path("runs"), name) if out is None else nullcontext(Path(out)) as folder:
        yield folder


def summarize(rows: Sequence[Row]) -> Row:
    """Return mean and standard error over seeds (sample standard deviation over sqrt(N)).

    The standard error of one seed is None. Without an ELBO: log-likelihood and mse alone.

    Example:
        >>> rows = [{"elbo": None, "log_likelihood": v, "mse": 0.5} for v in (1.0, 2.0, 3.0)]
        >>> summarize(rows)["mean"]
        {'log_likelihood': 2.0, 'mse': 0.5}
        >>> summarize(rows)["standard_error"]["log_likelihood"] == 1 / math.sqrt(3)
        True
    """
    names = POINT if any(row["elbo"] is None for row in rows) else BOUND
    columns = {name: [row[name] for row in rows] for name in names}
    mean = {name: statistics.fmean(column) for name, column in columns.items()}
    error: Row = dict.fromkeys(columns)
    if len(rows) > 1:
        root = math.sqrt(len(rows))
        error = {name: statistics.stdev(column) / root for name, column in columns.items()}
    over = counted(len(rows), what="seeds")
    return {"mean": mean, "standard_error": error, "standard_error_over": over}


@border
def train_seeds(
    recipe: str = "vae",
    *,
    seeds: int = 5,
    out: str | Path | None = None,
    report: bool = True,
    on_seed: Callable[[Row], None] | None = None,
    import_: Named = (),
    lang: str = "en",
    **options: Unpack[RecipeOptions],
) -> Row:
    """Train a recipe from `seed`, `seed + 1`, ... and evaluate each on the test split.

    Each has a process and a thread (or `threads`) of its own, as many at once as there are cores;
    one at a time on an accelerator. Called again with the same `out`, it continues what was
    interrupted.

    Args:
        recipe: a recipe's name.
        seeds: how many.
        out: gets `seed-0`, `seed-1`, ..., which are run folders, and seeds.json; by default the
            next free folder under `runs/`.
        report: whether each run writes its report.html.
        on_seed: is called with the numbers of each seed once it is trained.
        import_: files of your own parts, and modules: see `vaekit.train`.
        lang: the language of the reports.
        options: as for `vaekit.train`; `seed` is the first one.

    Returns:
        What seeds.json holds: `runs` (a dict for each seed: seed, run, step, elbo, log_likelihood,
        kl, mse, warnings), `mean` and `standard_error` of elbo, log_likelihood and kl
        (log_likelihood and mse where there is no bound), `standard_error_over`, as "5 seeds", and
        `protocol`.

    Raises:
        VaekitError: for anything that can be mended, in one line; nothing is written then.
        KeyboardInterrupt: after Ctrl-C; each seed has saved its checkpoint.
    """
    if at_least("seeds", seeds, 1) > MOST_SEEDS:
        raise VaekitError(f"got `seeds={shown(seeds)}`; expected at most {MOST_SEEDS:,}.")
    imports = load(import_)
    config = Config.flat(recipe, **_alone(options))
    configs = {}
    for seed in range(config.training.seed, config.training.seed + seeds):
        training = config.training.model_copy(update={"seed": seed})
        configs[f"seed-{seed}"] = replace(config, training=training).importing(imports)

    def evaluate(folder: RunFolder, config: Config) -> Row:
        run = open_run(folder.path, device=config.training.device)
        with rng(0, run.device, config.training.threads):
            results = run.evaluate()
        step = results["protocol"].pop("step")  # of the best epoch: each seed has its own
        numbers = {name: results[name] for name in (*BOUND, "mse", "protocol")}
        return {"seed": config.training.seed, "run": str(run.path), "step": step, **numbers}

    how: dict[str, Any] = {"report": report, "lang": lang, "on_row": on_seed}
    content = "seeds", r"seed-.*|seeds\.json"
    with folder_of(out, config, "seeds") as folder:
        rows = train_all(folder, configs, evaluate, content=content, **how)
        protocol, *_ = [row.pop("protocol") for row in rows]
        summary = {"recipe": recipe, "runs": rows, **summarize(rows), "protocol": protocol}
        write(folder / "seeds.json", (json.dumps(summary, indent=2) + "\n").encode())
    return summary


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
        name, equals, rest = (word.strip() for word in entry.partition("="))
        values = [value.strip() for value in rest.split(";" if ";" in rest else ",")]
        if not equals or not name or not all(values):
            what = "NAME=VALUE,VALUE, as latent=16,64"
            raise VaekitError(f"got '{entry}' for the grid; expected {what}.")
        if name in grid:
            raise VaekitError(f"got {name} twice in the grid; give it all its values at once.")
        grid[name] = values
    return grid


def _alone(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with a thread for each training, where no number is given."""
    threads = options.get("threads")
    return {**options, "threads": 1 if threads is None else threads}


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
    options = _alone(options)
    values = _values(recipe, grid, options)
    configs = {}
    for combination in itertools.product(*values.values()):
        varied = dict(zip(values, combination, strict=True))
        name = ",".join(f"{key}={_in_name(value)}" for key, value in varied.items())
        configs[name] = Config.flat(recipe, **{**options, **varied}).importing(imports)
    content = ("runs of a grid", rf".*=.*|{re.escape(PAGE)}|{IMAGES}")

    def row(folder: RunFolder, config: Config) -> Row:
        return {"name": folder.path.name, "run": str(folder.path)}

    train_all(out, configs, row, content=content, jobs=jobs, on_row=on_run, **how)
    return [out / name for name in configs], list(values)


def _values(recipe: str, grid: Grid, options: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the grid by flat names, with the values that the options take."""
    homes = dict(flat_fields(recipe))
    if "latent" not in homes:
        raise VaekitError(
            f"a sweep ends in a comparison of models with a latent, and {recipe} has none: train "
            "each by itself, and take `vaekit evaluate`."
        )
    chosen: dict[str, list[Any]] = {}
    for key, values in grid.items():
        head, _, rest = key.replace("-", "_").partition(".")
        short = head in RECORDS and homes.get(rest) == head  # training.batch_size is batch_size
        name = rest if short else key.replace("-", "_")
        if name.partition(".")[0] not in homes:
            raise unknown("option of the grid", key if head in RECORDS else head, list(homes))
        if name in chosen or (name in options and name != "threads"):
            where = "the grid twice" if name in chosen else "the grid and an option besides"
            raise VaekitError(f"{name} is in {where}: leave one.")
        if homes[name.partition(".")[0]] == "data":
            raise VaekitError(
                f"{name} is an option of the data, and runs of different data do not compare: "
                "sweep each by itself."
            )
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise VaekitError(f"got {values!r} for {name} in the grid; expected a list of values.")
        chosen[name] = [_value(recipe, name, value) for value in values]
        texts = [_in_name(value) for value in chosen[name]]
        if len(set(texts)) < len(texts):
            raise VaekitError(f"{name} has a value twice in the grid: {', '.join(texts)}.")
    if max(map(len, chosen.values()), default=0) < 2:
        raise VaekitError("a grid needs an option with at least two values, as latent=16,64.")
    return chosen


def _value(recipe: str, name: str, value: Any) -> Any:
    """Return a value as the option takes it: text, as typed, becomes a number."""
    config = Config.flat(recipe, **{name: value})
    if name in config.training.model_fields_set:
        return getattr(config.training, name)
    part: Any = config.parts
    for word in name.split("."):
        part = part[word]
    return text(checked(name, value, part)) if isinstance(part, dict) else part


def _in_name(value: Any) -> str:
    """Return a value as it stands in the name of a folder."""
    if isinstance(value, tuple | list):
        return "-".join(map(_in_name, value)) or "none"
    return re.sub(r"[^\w.:=+-]", "_", f"{value:g}" if isinstance(value, float) else str(value))

"""The same training from several seeds, side by side, with means and standard errors."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.errors import VaekitError
from vaekit.io import write
from vaekit.runs.config import Config
from vaekit.runs.several import Row, Task, Train, check, default_folder, train_all

if TYPE_CHECKING:
    from vaekit.runs.job import Job
    from vaekit.runs.run import Run
    from vaekit.training import Callbacks


BOUND, POINT = ("elbo", "log_likelihood", "kl"), ("log_likelihood", "mse")


def summarise(rows: Sequence[Row]) -> Row:
    """Mean and standard error over seeds (sample standard deviation over sqrt(N)).

    The standard error of one seed is None. Without an ELBO: log-likelihood and mse alone.

    Example:
        >>> rows = [{"elbo": None, "log_likelihood": v, "mse": 0.5} for v in (1.0, 2.0, 3.0)]
        >>> summarise(rows)["mean"]
        {'log_likelihood': 2.0, 'mse': 0.5}
        >>> summarise(rows)["standard_error"]["log_likelihood"] == 1 / math.sqrt(3)
        True
    """
    names = POINT if any(row["elbo"] is None for row in rows) else BOUND
    columns = {name: [row[name] for row in rows] for name in names}
    root = math.sqrt(len(rows))
    return {
        "mean": {name: statistics.fmean(column) for name, column in columns.items()},
        "standard_error": {
            name: statistics.stdev(column) / root if len(rows) > 1 else None
            for name, column in columns.items()
        },
    }


def train_seeds(
    recipe: str = "vae",
    *,
    train: Train,
    callbacks_of: Callable[[Job], Callbacks],
    seeds: int = 5,
    out: str | Path | None = None,
    report: bool = True,
    together: bool = False,
    on_seed: Callable[[Row], None] | None = None,
    **options: Any,
) -> Row:
    """Trains a recipe from `seed`, `seed + 1`, ... and evaluates each on the test split.

    Side by side, a thread each (or `threads`), as many as there are cores; one at a time on an
    accelerator; or all of them as one, in the same kernels (`together`), which is sooner for small
    networks. Called again with the same `out`, it continues what was interrupted. A script
    calls it under `if __name__ == "__main__":`, since its processes import the script.

    Args:
        recipe: a recipe's name.
        train: trains a task.
        callbacks_of: what is told of a training.
        seeds: how many.
        out: gets `seed-0`, `seed-1`, ..., which are run folders, and seeds.json; by default the
            next free folder under `runs/`.
        together: whether those that have not begun train as one, with all threads: see
            `training.Together`. Interrupted, they go on side by side.
        report: whether each run writes its report.html.
        on_seed: is called with the numbers of each seed once it is done.
        options: as for `vaekit.train`; `seed` is the first one.

    Returns:
        What seeds.json holds: `runs` (a dict for each seed: seed, run, step, elbo, log_likelihood,
        kl, mse, warnings), `mean` and `standard_error` of elbo, log_likelihood and kl
        (log_likelihood and mse where there is no bound), and `protocol`.

    Raises:
        VaekitError: for anything that can be mended, in one line; nothing is written then.
        KeyboardInterrupt: after Ctrl-C; each seed has saved its checkpoint.
    """
    if seeds < 1:
        raise VaekitError(f"got seeds={seeds}; expected at least 1.")
    threads = options.get("threads")
    options["threads"] = threads or 1
    config = Config.flat(recipe, **options)
    out = default_folder(recipe, config.data.data, "seeds") if out is None else Path(out)
    first = config.training.seed
    tasks = [
        Task(f"seed {number}", recipe, {**options, "seed": number}, out / f"seed-{number}", report)
        for number in range(first, first + seeds)
    ]
    workers = check(tasks, out, _ours, "seeds")
    fresh = [task for task in tasks if not (task.out / "config.json").exists()]
    if together and len(fresh) > 1:
        from vaekit.runs.stacked import train_stacked

        train_stacked(fresh, threads, callbacks_of)
    rows = train_all(tasks, min(workers, seeds), train=train, finish=_numbers, on_row=on_seed)
    protocol, *_ = [row.pop("protocol") for row in rows]
    found = {"recipe": recipe, "runs": rows, **summarise(rows), "protocol": protocol}
    write(out / "seeds.json", (json.dumps(found, indent=2) + "\n").encode())
    return found


def _ours(name: str) -> bool:
    return name == "seeds.json" or name.startswith("seed-")


def _numbers(run: Run) -> Row:
    """Of a seed that is trained: what it does on the test split."""
    found = run.evaluate()
    warnings = [text for record in run.folder.records() for text in record.get("warnings", [])]
    step = found["protocol"].pop("step")  # of the best epoch: each seed has its own
    names = ("elbo", "log_likelihood", "kl", "mse", "protocol")
    numbers = {name: found[name] for name in names}
    seed = run.config.training.seed
    return {"seed": seed, "run": str(run.path), "step": step, **numbers, "warnings": warnings}

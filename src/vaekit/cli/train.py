"""The commands that train: `train RECIPE`, `train --resume RUN`, `sweep RECIPE`, `demo`."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from cyclopts import App, Group, Parameter

from vaekit.cli.evaluate import show as show_comparison
from vaekit.cli.show import NAMED, DataDir, Json, MaybeWhole, dump, named, say, start, whole
from vaekit.errors import VaekitError
from vaekit.recipes import find_recipe, names
from vaekit.runs import flat_fields

if TYPE_CHECKING:
    from vaekit.runs import Run


def _line(name: str, row: Mapping[str, Any], shown: Mapping[str, float]) -> str:
    return f"{name:16}" + "".join(f"{row[n]:>16.4f}" for n in shown)


def _done(row: Mapping[str, Any]) -> None:
    """A line on standard error for a run that is trained, and what it should be known for."""
    name = row["name"] if "name" in row else f"seed {row['seed']}"
    shown = [n for n in ("elbo", "log_likelihood", "kl") if row.get(n) is not None]
    numbers = ", ".join(f"{n.replace('_', '-')} {row[n]:.2f}" for n in shown)
    done = f"{name} is trained: {numbers}" if numbers else f"{name} is trained"
    print(done, file=sys.stderr, flush=True)  # noqa: T201
    for text in row["warnings"]:
        print(f"vaekit: note: {name}: {text}", file=sys.stderr)  # noqa: T201


def _show(found: Mapping[str, Any], out: Path) -> None:
    mean, error = found["mean"], found["standard_error"]
    say(" " * 16 + "".join(f"{n.replace('_', '-'):>16}" for n in mean))
    for row in found["runs"]:
        say(_line(f"seed {row['seed']}", row, mean))
    say(_line("mean", mean, mean))
    if len(found["runs"]) > 1:
        say(_line("± standard error", error, mean))
    if not found["protocol"]["is_likelihood"]:
        say("not a likelihood: gray values under a Bernoulli are the usual loss, no more")
    say("; ".join(f"{k} {v}" for k, v in found["protocol"].items() if k != "seed"))
    say(f"runs     {out}")


def _several(
    recipe: str, own: Mapping[str, Any], data: str, what: str, work: Callable[..., Any]
) -> tuple[Any, Path]:
    """What comes of training several, and where: `work` takes that, and what is told of each."""
    from vaekit.runs import default_folder

    out = own["out"] or default_folder(recipe, data, what)
    try:
        return work(out, None if own["quiet"] or own["json"] else _done), out
    except KeyboardInterrupt:
        say(f"stopped  continue with the same command and --out {out}")
        sys.exit(130)


def _train_seeds(recipe: str, own: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Trains the seeds and prints what they have in common."""
    from vaekit.api import train_seeds
    from vaekit.runs import Config

    def work(out: Path, told: Callable[..., None] | None) -> Any:
        how = {"seeds": own["seeds"], "together": own["together"], "report": not own["no_report"]}
        return train_seeds(recipe, out=out, on_seed=told, import_=NAMED, **how, **options)

    data = Config.flat(recipe, **options).data.data
    found, out = _several(recipe, own, data, "seeds", work)
    say(dump(found)) if own["json"] else _show(found, out)


train = App(
    name="train",
    help="Train a recipe: `vaekit train vae --data mnist`. "
    "`vaekit train vae --help` lists its options.",
)
GROUPS = {
    name: Group(name.capitalize(), sort_key=position)
    for position, name in enumerate(("parts", "data", "training", "run"))
}
WHOLE = (int, int | None, tuple[int, ...], tuple[int, ...] | None)


def option(
    name: str, annotation: Any, default: Any, text: str, group: str = "run"
) -> inspect.Parameter:
    """A flag of a command."""
    several = "tuple" in str(annotation)
    signs = any(str(choice).startswith("-") for choice in get_args(annotation))
    parameter = Parameter(
        help=text,
        group=GROUPS[group],
        consume_multiple=several,
        allow_leading_hyphen=signs,
        converter=whole if annotation in WHOLE else None,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[annotation, parameter],
        default=default,
    )


SHARED = [
    option("quiet", bool, False, "Show no progress."),
    option("json", bool, False, "Print one JSON object alone."),
]
RUN_OPTIONS = [
    option("out", Path | None, None, "The run folder; else the next free one in runs/."),
    option(
        "seeds",
        int | None,
        None,
        "Train this many seeds side by side, a thread each, into OUT/seed-0, ...; print mean and "
        "standard error on the test split.",
    ),
    option("together", bool, False, "Train the seeds as one: sooner for small networks."),
    option("no_report", bool, False, "Do not write report.html."),
    *SHARED,
]


@functools.cache
def options_of(recipe: str) -> tuple[inspect.Parameter, ...]:
    """A flag for each option of the recipe, its default and its help."""
    return tuple(
        option(name, info.annotation, info.default, info.description or "", group)
        for name, group, info in flat_fields(recipe)
    )


def train_command(recipe: str) -> Callable[..., None]:
    """The command `train RECIPE`, with one flag for each option of the recipe."""

    def command(**options: Any) -> None:
        own = {p.name: options.pop(p.name, p.default) for p in RUN_OPTIONS}
        start()
        if own["together"] and own["seeds"] is None:
            raise VaekitError("--together is for several seeds: add --seeds N, or leave it.")
        if own["seeds"] is not None:
            _train_seeds(recipe, own, options)
            return
        from vaekit.api import train as train_recipe
        from vaekit.cli.progress import progress

        shown = progress(own["quiet"] or own["json"])
        options |= {"report": not own["no_report"], "callbacks": [shown], "import_": NAMED}
        run = train_recipe(recipe, out=own["out"], **options)
        _show_run(run, own["json"], shown.interrupted)

    parameters = [*options_of(recipe), *RUN_OPTIONS]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    entry = find_recipe(recipe)
    command.__doc__ = f"{entry.title}\n\n{entry.text}".rstrip()
    command.__name__ = recipe
    return command


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
    option(
        "out",
        Path | None,
        None,
        "The folder of the runs and of compare.html; named again, it continues; else the next free "
        "one in runs/.",
    ),
    option("jobs", int | None, None, "Runs at once; as many as there are cores."),
    option(
        "images",
        Path | None,
        None,
        "A folder for the page's charts and images as .png, and table.md.",
    ),
    option("no_report", bool, False, "Do not write a report.html for each run."),
    *SHARED,
]


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
    from vaekit.runs import Config, parse_grid

    parsed = parse_grid(grid)

    def work(out: Path, told: Callable[..., None] | None) -> Any:
        how = {"jobs": own["jobs"], "report": not own["no_report"], "images": own["images"]}
        return compare_grid(recipe, parsed, options, out=out, on_run=told, import_=NAMED, **how)

    data = Config.flat(recipe, **options).data.data
    found, _ = _several(recipe, own, data, "sweep", work)
    show_comparison(found, own["json"])


def add_recipes(
    app: App, command: Callable[[str], Callable[..., None]], recipes: Iterable[str] | None = None
) -> None:
    """A command for each of these recipes that has none yet, by default for all that there are."""
    for recipe in names() if recipes is None else recipes:
        if recipe not in app:
            app.command(command(recipe), name=recipe)


def _show_run(run: Run, as_json: bool, interrupted: bool) -> None:
    records = run.folder.records()
    last = records[-1] if records else {}
    if as_json:
        say(json.dumps({"run": str(run.path), "weights": run.weights, "last": last}))
    elif interrupted:
        say(f"stopped  continue with: vaekit train --resume {run.path}{named()}")
    else:
        _show_paths(run)
    if interrupted:
        sys.exit(130)


def _show_paths(run: Run) -> None:
    say(f"run      {run.path}")
    if run.folder.report.is_file():
        say(f"report   {run.folder.report}")
    say(f"next     vaekit evaluate {run.path}{named()}")


@train.default
def _resume(
    *,
    resume: Annotated[Path, Parameter(help="Continue this run exactly where it stopped.")],
    epochs: Annotated[MaybeWhole, Parameter(help="Epochs in all.")] = None,
    data_dir: DataDir = None,
    quiet: Annotated[bool, Parameter(negative=(), help="Show no progress.")] = False,
    json: Json = False,
) -> None:
    """Continue a run: `vaekit train --resume RUN`."""
    start()
    from vaekit.api import resume as resume_run
    from vaekit.cli.progress import progress

    shown = progress(quiet or json)
    run = resume_run(resume, epochs=epochs, data_dir=data_dir, callbacks=[shown])
    _show_run(run, json, shown.interrupted)


DEMO: dict[str, Any] = {
    "data": "digits",
    "latent": 8,
    "net": "mlp:hidden=256,128:activation=silu",
    "epochs": 200,
    "batch_size": 64,
    "lr_schedule": "cosine",
    "threads": 1,  # enough for so small a model, and it never waits for a busy core
}


def demo(
    *,
    out: Annotated[Path | None, Parameter(help="The run folder.")] = None,
    quiet: Annotated[bool, Parameter(negative=(), help="Show no progress.")] = False,
) -> None:
    """Train a VAE on 8 x 8 digits that come with the kit, and write a report of it."""
    start()
    from vaekit.api import train as train_recipe
    from vaekit.cli.progress import progress
    from vaekit.runs import next_folder

    if out is not None and out.exists():
        out = next_folder(out.parent, out.name)
    shown = progress(quiet)
    run = train_recipe("vae", out=out, callbacks=[shown], **DEMO)
    _show_run(run, False, shown.interrupted)
    say(f"open     file://{run.folder.report.resolve()}")

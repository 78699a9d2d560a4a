"""The commands that train: `train RECIPE`, `train --resume RUN`, `sweep RECIPE`, `demo`."""

# No `from __future__ import annotations`: the commands' types are made for each recipe.
import functools
import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from vaekit.cli.evaluate import NO_LIKELIHOOD
from vaekit.cli.show import (
    IMPORTS,
    DataDir,
    Json,
    Lang,
    MaybeWhole,
    Quiet,
    dump,
    imports_as_typed,
    say,
    start,
    whole,
)
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.runs import Run

train = App(name="train")
sweep = App(
    name="sweep",
    help="Train a grid of options side by side, and compare the runs.\n\n"
    "`vaekit sweep vae --help` lists the options of a recipe.\n\n"
    "Example: vaekit sweep vae --data mnist --grid latent=16,64 --grid objective.beta=1,4",
)

DEMO: dict[str, Any] = {
    "data": "digits",
    "latent": 8,
    "net": "mlp:hidden=256,128:activation=silu",
    "epochs": 200,
    "batch_size": 64,
    "lr_schedule": "cosine",
    "threads": 1,  # enough for so small a model, and it never waits for a busy core
}
NUMBERS = ("elbo", "log_likelihood", "kl")  # that are printed of a run of several


@dataclass(frozen=True)
class RunOptions:
    """Where a training goes, and what is shown of it."""

    out: Annotated[
        Path | None,
        Parameter(
            name=["--out", "-o"],
            help="The folder of the run. By default the next free one in runs/; the folder of "
            "--seeds or of a sweep continues what was interrupted.",
        ),
    ] = None
    report: Annotated[bool, Parameter(help="Write no report.html.")] = True
    lang: Lang = "en"
    quiet: Quiet = False
    json: Json = False


@dataclass(frozen=True)
class TrainOptions(RunOptions):
    """The options of `train` besides those of the recipe."""

    seeds: Annotated[
        MaybeWhole,
        Parameter(
            help="Train this many seeds side by side, into OUT/seed-0 and so on. Mean and standard "
            "error on the test split are printed."
        ),
    ] = None
    together: Annotated[
        bool, Parameter(help="Train the seeds as one model: faster for small networks.")
    ] = False
    print_config: Annotated[
        bool, Parameter(help="Print all options as YAML for --config, and train nothing.")
    ] = False


@dataclass(frozen=True)
class SweepOptions(RunOptions):
    """The options of `sweep` besides those of the recipe."""

    jobs: Annotated[
        MaybeWhole, Parameter(help="Runs at once. By default as many as there are cores.")
    ] = None
    images: Annotated[
        Path | None, Parameter(help="Write the page's charts and images, and table.md, here.")
    ] = None


Grid = Annotated[
    tuple[str, ...],
    Parameter(
        group="Run",
        help="NAME=VALUE,VALUE: an option, or a part's option such as net.hidden, and its values. "
        "Again for another.",
    ),
]
Paths = Annotated[tuple[str, ...], Parameter(name="--path", show=False)]


def flat(group: str) -> Parameter:
    """Return what makes options of a record's fields."""
    return Parameter(name="*", group=group)


@functools.cache
def _records(recipe: str) -> tuple[Any, Any, Any]:
    """Return the records of a recipe's parts, data and training, each with its defaults."""
    from vaekit.options import Data, Training
    from vaekit.recipes import find_recipe, resolve
    from vaekit.registry import KINDS, entries, text

    entry, parts, fields = find_recipe(recipe), resolve(recipe, {}), []
    for name in entry.asks:
        kind: Any = str
        value, words = parts[name], "The size of the latent."
        if name == "latent":
            kind, shown = int, str(value)
        else:
            words = f"{KINDS[name]}: {', '.join(entries(name))}. Options: vaekit parts {name}."
            shown = "by the kind of data" if value is None else text(value, brief=name)
        if name == "likelihood":
            words += " Gray values under bernoulli are the usual loss and not a likelihood."
        parameter = Parameter(
            help=words, show_default=shown, converter=whole if kind is int else None
        )
        fields.append((name, Annotated[kind | None, parameter], None))
    presets = entry.options.items()
    data, training = (
        # Validation would build the schema, which takes longer than all of help.
        record.model_construct(set(), **{k: v for k, v in presets if k in record.model_fields})
        for record in (Data, Training)
    )
    # cyclopts takes a class of the module `types` for a built-in one
    made = make_dataclass("Parts", fields, frozen=True, namespace={"__module__": __name__})
    return made(), data, training


def _typed(parts: Any, data: Any, training: Any, paths: tuple[str, ...]) -> dict[str, Any]:
    """Return the options that were typed, by name, and options of parts by their path."""
    options = {name: value for name, value in asdict(parts).items() if value is not None}
    for record in (data, training):
        options |= {name: getattr(record, name) for name in record.model_fields_set}
    return options | dict(path.split("=", 1) for path in paths)


def train_command(recipe: str) -> Callable[..., None]:
    """Return the command `train RECIPE`, with an option for each field of its records."""
    parts_, data_, training_ = _records(recipe)

    def command(
        *,
        parts: Annotated[type(parts_), flat("Parts")] = parts_,  # type: ignore[valid-type]
        data: Annotated[type(data_), flat("Data")] = data_,  # type: ignore[valid-type]
        training: Annotated[type(training_), flat("Training")] = training_,  # type: ignore[valid-type]
        run: Annotated[TrainOptions, flat("Run")] = TrainOptions(),
        path: Paths = (),
    ) -> None:
        options = _typed(parts, data, training, path)
        if run.together and run.seeds is None:
            raise VaekitError("`together` is for several seeds: add `seeds=N`, or leave it.")
        if run.print_config:
            _print_config(recipe, options)
        elif run.seeds is not None:
            _train_seeds(recipe, run, options)
        else:
            _train(recipe, run, options)

    return _named(command, recipe, f"--data digits --epochs 20 --out runs/{recipe}")


def sweep_command(recipe: str) -> Callable[..., None]:
    """Return the command `sweep RECIPE`: the options of `train RECIPE`, and the grid."""
    parts_, data_, training_ = _records(recipe)

    def command(
        *,
        grid: Grid,
        parts: Annotated[type(parts_), flat("Parts")] = parts_,  # type: ignore[valid-type]
        data: Annotated[type(data_), flat("Data")] = data_,  # type: ignore[valid-type]
        training: Annotated[type(training_), flat("Training")] = training_,  # type: ignore[valid-type]
        run: Annotated[SweepOptions, flat("Run")] = SweepOptions(),
        path: Paths = (),
    ) -> None:
        start()
        from vaekit.api import compare_grid
        from vaekit.cli.evaluate import show_comparison
        from vaekit.runs import parse_grid

        options, parsed = _typed(parts, data, training, path), parse_grid(grid)
        how: dict[str, Any] = {"jobs": run.jobs, "report": run.report, "import_": IMPORTS}
        how |= {"images": run.images, "lang": run.lang}

        def work(out: Path, on_run: Callable[..., None] | None) -> Any:
            return compare_grid(recipe, parsed, options, out=out, on_run=on_run, **how)

        show_comparison(_together(recipe, run, options, "sweep", work)[0], run.json)

    return _named(command, recipe, "--data digits --grid latent=2,16", "sweep")


def _named(
    command: Callable[..., None], recipe: str, example: str, verb: str = "train"
) -> Callable[..., None]:
    """Give a command the name and the words of its recipe."""
    from vaekit.recipes import find_recipe

    entry = find_recipe(recipe)
    words = f"{entry.title}\n\n{entry.text}".rstrip()
    if verb == "sweep":
        words = f"Train a grid of options of {recipe} side by side, and compare the runs on a page."
    command.__doc__ = f"{words}\n\nExample: vaekit {verb} {recipe} {example}"
    command.__name__ = recipe
    return command


def _train(recipe: str, run: TrainOptions, options: Mapping[str, Any]) -> None:
    start()
    from vaekit.api import train as train_recipe
    from vaekit.cli.progress import progress

    shown = progress(run.quiet or run.json)
    how: dict[str, Any] = {"out": run.out, "report": run.report, "lang": run.lang}
    trained = train_recipe(recipe, callbacks=[shown], import_=IMPORTS, **how, **options)
    _show_run(trained, run.json, shown.interrupted)


def _print_config(recipe: str, options: Mapping[str, Any]) -> None:
    """Print every option of a training, as `--config` reads it."""
    import yaml

    from vaekit.runs import Config

    config = flat_config(Config.flat(recipe, **options).to_json())
    say(yaml.safe_dump(config, sort_keys=False).rstrip())


def flat_config(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in a run's config.json by their names, parts as text."""
    from vaekit.recipes import find_recipe
    from vaekit.registry import text

    parts = {name: record["parts"].get(name) for name in find_recipe(record["recipe"]).asks}
    options = {name: text(v) if isinstance(v, dict) else v for name, v in parts.items()}
    options |= {**(record.get("data") or {}), **(record.get("training") or {})}
    kept = {name: value for name, value in options.items() if value not in (None, [])}
    return {"recipe": record["recipe"], **kept}


def _train_seeds(recipe: str, run: TrainOptions, options: Mapping[str, Any]) -> None:
    """Train the seeds and print what they have in common."""
    start()
    from vaekit.api import train_seeds

    def work(out: Path, on_seed: Callable[..., None] | None) -> Any:
        how: dict[str, Any] = {"seeds": run.seeds, "together": run.together, "report": run.report}
        return train_seeds(recipe, out=out, on_seed=on_seed, import_=IMPORTS, **how, **options)

    result, out = _together(recipe, run, options, "seeds", work)
    dump(result) if run.json else _show_seeds(result, out)


def _together(
    recipe: str, run: RunOptions, options: Mapping[str, Any], what: str, work: Callable[..., Any]
) -> tuple[Any, Path]:
    """Return the result of training several, and its folder; an interrupt says how to go on."""
    from vaekit.runs import Config, default_folder

    out = run.out or default_folder(recipe, Config.flat(recipe, **options).data.data, what)
    try:
        return work(out, None if run.quiet or run.json else _show_done), out
    except KeyboardInterrupt:
        say(f"stopped  continue with the same command and --out {out}")
        sys.exit(130)


def _show_done(row: Mapping[str, Any]) -> None:
    """Log that a run is trained, with its numbers and its warnings."""
    from vaekit.cli.progress import log

    name = row["name"] if "name" in row else f"seed {row['seed']}"
    shown = [n for n in NUMBERS if row.get(n) is not None]
    numbers = ", ".join(f"{n.replace('_', '-')} {row[n]:.2f}" for n in shown)
    log(f"{name} is trained: {numbers}" if numbers else f"{name} is trained")
    for text in row["warnings"]:
        logging.getLogger("vaekit").warning("%s: %s", name, text)


def _show_seeds(result: Mapping[str, Any], out: Path) -> None:
    mean, error = result["mean"], result["standard_error"]
    rows = {f"seed {row['seed']}": row for row in result["runs"]} | {"mean": mean}
    if len(result["runs"]) > 1:
        rows["± standard error"] = error
    say(" " * 16 + "".join(f"{name.replace('_', '-'):>16}" for name in mean))
    for title, row in rows.items():
        say(f"{title:16}" + "".join(f"{row[name]:>16.4f}" for name in mean))
    if not result["protocol"]["is_likelihood"]:
        say(NO_LIKELIHOOD)
    say("; ".join(f"{k} {v}" for k, v in result["protocol"].items() if k != "seed"))
    say(f"runs     {out}")


def _show_run(run: "Run", as_json: bool, interrupted: bool) -> None:
    records = run.folder.records()
    if as_json:
        last = records[-1] if records else {}
        say(json.dumps({"run": str(run.path), "weights": run.weights, "last": last}))
    elif interrupted:
        say(f"stopped  continue with: vaekit train --resume {run.path}{imports_as_typed()}")
    else:
        say(f"run      {run.path}")
        if run.folder.report.is_file():
            say(f"report   {run.folder.report}")
        say(f"next     vaekit evaluate {run.path}{imports_as_typed()}")
    if interrupted:
        sys.exit(130)


@train.default
def resume(
    *,
    resume: Annotated[Path, Parameter(help="Continue this run exactly where it stopped.")],
    epochs: Annotated[MaybeWhole, Parameter(help="Epochs in all.")] = None,
    data_dir: DataDir = None,
    lang: Lang = "en",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a recipe, or continue a run where it stopped.

    `vaekit train vae --help` lists the options of a recipe.

    Example: vaekit train vae --data mnist
    Example: vaekit train --resume runs/vae-mnist
    """
    start()
    from vaekit.api import resume as resume_run
    from vaekit.cli.progress import progress

    shown = progress(quiet or json)
    how: dict[str, Any] = {"epochs": epochs, "data_dir": data_dir, "lang": lang}
    _show_run(resume_run(resume, callbacks=[shown], **how), json, shown.interrupted)


def demo(
    *,
    out: Annotated[
        Path | None, Parameter(name=["--out", "-o"], help="The folder of the run.")
    ] = None,
    lang: Lang = "en",
    quiet: Quiet = False,
) -> None:
    """Train a VAE on 8 x 8 digits that come with vaekit, with a report.

    Example: vaekit demo
    """
    start()
    from vaekit.api import train as train_recipe
    from vaekit.cli.progress import progress
    from vaekit.runs import next_folder

    if out is not None and out.exists():
        out = next_folder(out.parent, out.name)
    shown = progress(quiet)
    run = train_recipe("vae", out=out, callbacks=[shown], lang=lang, **DEMO)
    _show_run(run, False, shown.interrupted)
    say(f"open     file://{run.folder.report.resolve()}")

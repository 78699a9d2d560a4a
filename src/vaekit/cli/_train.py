"""The commands that train: `train RECIPE`, `train --resume RUN`, `sweep RECIPE`, `demo`."""

# No `from __future__ import annotations`: the commands' types are made for each recipe.
import functools
import json
import logging
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

import vaekit
from vaekit.cli._options import flat, make_record, record_of
from vaekit.cli._runs import NO_LIKELIHOOD, show_comparison, show_layers
from vaekit.cli._show import IMPORTS, MaybeOut, MaybeWhole, answer, say, start
from vaekit.errors import VaekitError
from vaekit.recipes import find_recipe, resolve
from vaekit.registry import KINDS, Spec, entries, text

if TYPE_CHECKING:
    from vaekit.runs import Run

train = App(name="train")
sweep = App(
    name="sweep",
    help="Train a grid of options side by side, and compare the runs.\n\n"
    "`vaekit sweep vae --help` lists the options of a recipe.\n\n"
    "Example: vaekit sweep vae --data mnist --grid latent=16,64 --grid objective.beta=1,4",
)
DEMO: dict[str, Any] = {"data": "avatars", "size": 48, "limit": 10_000, "epochs": 9}
SOME = 7  # parts of a kind that help names
NUMBERS = ("elbo", "log_likelihood", "kl")  # that are printed of a run of several


@dataclass(frozen=True)
class RunOptions:
    """Where a training goes, and what is shown of it.

    Args:
        out: The folder of the run. By default the next free one in runs/; that of --seeds or of a
            sweep continues what was interrupted.
        report: Write no report.html.
    """

    out: MaybeOut = None
    report: bool = True
    lang: str = "en"
    quiet: bool = False
    json: bool = False

    @contextmanager
    def several(self, what: str, recipe: str, options: Spec) -> Iterator[Spec]:
        """Yield what seeds and a sweep are trained with; after Ctrl-C say how to go on."""
        start()
        config = vaekit.runs.Config.flat(recipe, **options)
        with vaekit.runs.folder_of(self.out, config, what) as out:
            try:
                yield {"out": out, "report": self.report, "lang": self.lang, "import_": IMPORTS}
            except KeyboardInterrupt:
                say(f"stopped  continue with the same command and --out {out}")
                sys.exit(130)

    def show_done(self, row: Mapping[str, Any]) -> None:
        """Log that one of several is trained, with its numbers and warnings; if quiet, these."""
        from vaekit.cli._progress import log

        name = row["name"] if "name" in row else f"seed {row['seed']}"
        numbers = [f"{n.replace('_', '-')} {row[n]:.2f}" for n in NUMBERS if row.get(n) is not None]
        if not (self.quiet or self.json):
            log(f"{name} is trained{': ' * bool(numbers)}{', '.join(numbers)}")
        for warning in row["warnings"]:
            logging.getLogger("vaekit").warning("%s: %s", name, warning)


@dataclass(frozen=True)
class TrainOptions(RunOptions):
    """The options of `train` besides those of the recipe.

    Args:
        seeds: Train this many seeds side by side, into OUT/seed-0 and so on. Mean and standard
            error on the test split are printed.
        print_config: Print all options as YAML for --config, and train nothing.
        print_layers: Print the network as `vaekit show` does, and train nothing.
    """

    seeds: MaybeWhole = None
    print_config: bool = False
    print_layers: bool = False

    def train(self, recipe: str, options: Spec) -> None:
        """Train a recipe, once or from several seeds, and print what came of it."""
        if self.print_config:
            import yaml

            flat = _flat_config(vaekit.runs.Config.flat(recipe, **options).to_json())
            say(yaml.safe_dump(flat, sort_keys=False).rstrip())
        elif self.print_layers:
            start()
            from vaekit.models import layer_tables

            config = vaekit.runs.Config.flat(recipe, **options)
            job = vaekit.runs.make_job(config, vaekit.runs.RunFolder(Path()))
            show_layers(layer_tables(job.recipe.model, job.spec.context), self.json)
        elif self.seeds is None:
            how: Any = {
                "out": self.out,
                "report": self.report,
                "lang": self.lang,
                "import_": IMPORTS,
            }
            _train_one("train", recipe, self.quiet, self.json, **options, **how)
        else:
            with self.several("seeds", recipe, options) as how:
                how |= {"seeds": self.seeds, "on_seed": self.show_done}
                result = vaekit.train_seeds(recipe, **how, **options)
            answer(self.json, result, _seed_lines(result, how["out"]))


@dataclass(frozen=True)
class SweepOptions(RunOptions):
    """The options of `sweep` besides those of the recipe.

    Args:
        grid: NAME=VALUE,VALUE: an option, or a part's option as net.hidden, and its values. Again
            for another.
        jobs: Runs at once. By default as many as there are cores.
        files: Write the page's charts and images as .png, and table.md, to this folder.
    """

    grid: tuple[str, ...] = ()
    jobs: MaybeWhole = None
    files: Path | None = None

    def train(self, recipe: str, options: Spec) -> None:
        """Train a grid of a recipe's options, and print the comparison."""
        if not self.grid:
            what = "`grid=NAME=VALUE,VALUE`, once or several times"
            raise VaekitError(f"got no grid; expected {what}.")
        with self.several("sweep", recipe, options) as how:
            from vaekit.api import compare_grid

            how |= {"jobs": self.jobs, "files": self.files, "on_run": self.show_done}
            grid = vaekit.runs.parse_grid(self.grid)
            comparison = compare_grid(recipe, grid, options, **how)
        show_comparison(comparison, self.json)


_BY_DATA = {"likelihood": "by the kind of data", "net": "by shape"}


@functools.cache
def _records(recipe: str) -> tuple[Any, ...]:
    """Return the options of a recipe's parts, of data and of training, with their defaults."""
    entry, parts = find_recipe(recipe), resolve(recipe, {})
    rows: list[Any] = []
    kind: Any
    for name in entry.asks:
        kind, words, shown = MaybeWhole, "The size of the latent.", str(parts[name] or "by shape")
        if name != "latent":
            kind, known = str | None, [*entries(name)]
            more = f" and {len(known) - SOME} more" if len(known) > SOME else ""
            words = f"{KINDS[name]}: {', '.join(known[:SOME])}{more}. All: vaekit parts {name}."
            shown = text(parts[name], brief=name) if parts[name] else _BY_DATA[name]
        if name == "likelihood":
            words += " Gray values under bernoulli are the usual loss and not a likelihood."
        parameter = Parameter(help=words, show_default=shown)
        rows.append((name, Annotated[kind, parameter], None))
    data, training = (record_of(record, entry.options) for record in ("Data", "Training"))
    return make_record("Parts", rows), data, training


def recipe_command(verb: str, recipe: str, paths: dict[str, str]) -> Callable[..., None]:
    """Return the command `train RECIPE` or `sweep RECIPE`, its options those of the records.

    Args:
        verb: `train` or `sweep`.
        recipe: a recipe's name.
        paths: options of parts that were typed, as `objective.beta`, with their values.
    """
    parts_, data_, training_ = _records(recipe)
    run_ = TrainOptions() if verb == "train" else SweepOptions()

    def command(
        *,
        parts: flat(parts_, "Parts") = parts_,  # type: ignore[valid-type]
        data: flat(data_, "Data") = data_,  # type: ignore[valid-type]
        training: flat(training_, "Training") = training_,  # type: ignore[valid-type]
        run: flat(run_, "Run") = run_,  # type: ignore[valid-type]
    ) -> None:
        options: dict[str, Any] = {}
        for record, default in ((parts, parts_), (data, data_), (training, training_)):
            values = asdict(record).items()
            options |= {name: value for name, value in values if value != getattr(default, name)}
        run.train(recipe, options | paths)

    entry = find_recipe(recipe)
    words, example = f"{entry.title}\n\n{entry.text}".rstrip(), f"--out runs/{recipe}"
    if verb == "sweep":
        words = f"Train a grid of options of {recipe} side by side, and compare the runs on a page."
        example = "--grid latent=2,16"
    suits = {"colorizer": "avatars", "count_vae": "mouse-bladder"}.get(recipe, "digits")
    command.__doc__ = f"{words}\n\nExample: vaekit {verb} {recipe} --data {suits} {example}"
    command.__name__ = recipe
    return command


def _flat_config(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in a run's config.json by their names, parts as text."""
    parts = {name: record["parts"].get(name) for name in find_recipe(record["recipe"]).asks}
    options = {name: text(v) if isinstance(v, dict) else v for name, v in parts.items()}
    options |= {**(record.get("data") or {}), **(record.get("training") or {})}
    if options.get("augment") == []:  # of a run from before there was a default by the data
        options["augment"] = "none"
    typed = {name: value for name, value in options.items() if value not in (None, [])}
    return {"recipe": record["recipe"], **typed}


def read_options(path: Path) -> dict[str, Any]:
    """Return the options in a YAML file, or in the config.json of a run."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Takes a name once, as the last value would win, and no alias: a few fill the memory."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                mark, what = self.peek_event().start_mark, "expected no alias, as *name"
                raise yaml.composer.ComposerError(None, None, what, mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [key.value for key, _ in node.value]
            for name in names:
                if not isinstance(name, str) or names.count(name) > 1:
                    what = f"a name is {name!r}" if not isinstance(name, str) else f"{name} twice"
                    raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
            return super().construct_mapping(node, deep)

    options: Any = None
    try:
        options, why = yaml.load(path.read_bytes(), Loader), "it holds no names with values"
        json.dumps(options, default=str)  # what holds itself, or is 5,000 brackets deep, is no JSON
    except RecursionError:
        options, why = None, "it is nested too deeply"
    except OSError as error:
        why = "there is no file" if isinstance(error, FileNotFoundError) else "cannot read"
        raise VaekitError(f"{why} {path}; expected a YAML file of options.") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or "it holds other bytes than text, or itself"
        options = None
        why += f" in line {mark.line + 1}" if mark else ""
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        mend = "expected lines as `latent: 8`"
        raise VaekitError(f"{path} is no YAML file of options: {why}; {mend}.")
    if not isinstance(options.get("parts"), dict):
        return options
    records = [options.get(name, {}) for name in ("data", "training")]
    if not isinstance(options.get("recipe"), str) or not all(isinstance(r, dict) for r in records):
        raise VaekitError(f"{path} is broken: it holds no recipe with its data and training.")
    if options["recipe"] == "composed":
        raise VaekitError(f"{path} is of a model that was composed in Python: name a recipe.")
    return _flat_config(options)


def _seed_lines(result: Mapping[str, Any], out: Path) -> Iterator[str]:
    """Yield the numbers of each seed, their mean and its error, and how they were measured."""
    mean, error = result["mean"], result["standard_error"]
    rows = {f"seed {row['seed']}": row for row in result["runs"]} | {"mean": mean}
    if len(result["runs"]) > 1:
        rows[f"± over {result['standard_error_over']}"] = error
    yield " " * 16 + "".join(f"{name.replace('_', '-'):>16}" for name in mean)
    for title, row in rows.items():
        yield f"{title:16}" + "".join(f"{row[name]:>16.4f}" for name in mean)
    if not result["protocol"]["is_likelihood"]:
        yield NO_LIKELIHOOD
    yield "; ".join(f"{k} {v}" for k, v in result["protocol"].items() if k != "seed")
    yield f"runs     {out}"


def _train_one(
    verb: Literal["train", "resume"], what: str | Path, quiet: bool, json: bool, **options: Any
) -> "Run":
    """Train a recipe or resume a run, and print where it is and how to go on."""
    start()
    from vaekit.cli._progress import progress

    callback = progress(quiet or json)
    run: Run = getattr(vaekit, verb)(what, callbacks=[callback], **options)
    imports = "".join(f" --import {shlex.quote(name)}" for name in IMPORTS)
    records = run.folder.records()
    if callback.interrupted:
        lines = [f"stopped  continue with: vaekit train --resume {run.path}{imports}"]
    else:
        lines = [*_result(records), f"run      {run.path}"]
        if run.folder.report.is_file():
            lines.append(f"report   {run.folder.report}")
        lines.append(f"next     vaekit evaluate {run.path}{imports}")
        if run.draws:
            lines.append(f"samples  vaekit sample {run.path}{imports}")
    last = (records or [{}])[-1]
    answer(json, {"run": str(run.path), "weights": run.weights, "last": last}, lines)
    if callback.interrupted:
        sys.exit(130)
    return run


def _result(records: Sequence[Spec]) -> list[str]:
    """Return the best epoch in a line, or the last one where none is; of no epochs nothing."""
    from vaekit.cli._progress import numbers

    if not records:
        return []
    best = ([record for record in records if record["best"]] or records)[-1]
    which = "best epoch" if best["best"] else "epoch"
    early = ", where it stopped early" * bool(records[-1].get("stopped_early"))
    line = f"result   {which} {best['epoch']} of {records[-1]['epoch']}{early}: {numbers(best)}"
    active = (best["latent"] or {}).get("active_units")
    return [line if active is None else f"{line}; {active} latent dimensions in use"]


@train.default
def resume(
    *,
    resume: Path,
    epochs: MaybeWhole = None,
    lr: float | None = None,
    batch_size: MaybeWhole = None,
    device: str | None = None,
    threads: MaybeWhole = None,
    data_dir: str | None = None,
    training_data: str | None = None,
    report: bool = True,
    lang: str = "en",
    quiet: bool = False,
    json: bool = False,
) -> None:
    """Train a recipe, or continue a run where it stopped.

    `vaekit train vae --help` lists the options of a recipe.

    Example: vaekit train vae --data mnist
    Example: vaekit train --resume runs/vae-mnist

    Args:
        resume: Continue this run exactly where it stopped.
        epochs: Epochs in all.
        lr: Another learning rate from here on.
        batch_size: Other rows per step from here on.
        report: Write no report.html.
    """
    how: Any = {"epochs": epochs, "lr": lr, "batch_size": batch_size, "device": device}
    how |= {"threads": threads, "data_dir": data_dir, "training_data": training_data}
    how |= {"report": report, "lang": lang}
    _train_one("resume", resume, quiet, json, **how)


def demo(*, out: MaybeOut = None, lang: str = "en", quiet: bool = False) -> None:
    """Train a VAE on drawn faces, and write a report.

    Example: vaekit demo

    Args:
        out: The folder of the run.
    """
    if out is not None and out.exists():
        out = vaekit.runs.next_folder(out.parent, out.name)
    run = _train_one("train", "vae", quiet, False, out=out, lang=lang, **DEMO)
    say(f"open     file://{run.folder.report.resolve()}")
    say(f"explore  vaekit explore {run.path}")

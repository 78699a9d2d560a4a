"""The command line. torch is imported only inside commands, so that help answers at once."""

from __future__ import annotations

import ast
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from cyclopts.argument import Argument
from cyclopts.config import Dict

import vaekit
from vaekit.cli.data import data, parts, recipes
from vaekit.cli.evaluate import compare, evaluate
from vaekit.cli.pictures import PICTURES
from vaekit.cli.reproduce import reproduce
from vaekit.cli.show import (
    NAMED,
    DataDir,
    Device,
    Json,
    RunPath,
    Weights,
    dump,
    print_table,
    say,
    start,
)
from vaekit.cli.train import add_recipes, demo, sweep, sweep_command, train, train_command
from vaekit.errors import VaekitError
from vaekit.imports import load
from vaekit.options import Data, Training
from vaekit.recipes import find_recipe
from vaekit.registry import KINDS, spec_of, text

app = App(
    name="vaekit",
    version=vaekit.__version__,
    help="Train, understand, evaluate, compare and use variational autoencoders.",
    result_action="return_value",
)
COMMANDS: tuple[Any, ...] = (train, demo, evaluate, compare, sweep, reproduce)
for command in (*COMMANDS, data, parts, recipes, *PICTURES):
    app.command(command)


@app.command
def info(run: RunPath, /, *, json: Json = False) -> None:
    """What a run is: its options, data, environment, and how its training went."""
    start()
    loaded = vaekit.load(run, device="cpu")
    records = loaded.folder.records()
    trained = (loaded.path / "run.json").is_file()  # a saved model has no records
    content = {
        "config": loaded.config.to_json(),
        "spec": loaded.spec.to_json(),
        **(loaded.folder.read_json("run") if trained else {}),
        "epochs": len(records),
        "last": records[-1] if records else None,
        "weights": loaded.weights,
    }
    if json:
        say(dump(content))
        return
    import yaml

    say(yaml.safe_dump(content, sort_keys=False))
    say(repr(loaded.model))


@app.command
def save(
    run: RunPath,
    to: Annotated[Path, Parameter(help="A folder, or a file that ends in .vaekit.")],
    /,
    *,
    weights: Weights = None,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace what is there.")] = False,
) -> None:
    """Save a run's model by itself: what it is, its weights, and a README.

    Every command that takes a run takes what is saved, as far as no records are asked for.
    """
    start()
    say(str(vaekit.load(run, weights=weights, device="cpu").save(to, overwrite=overwrite)))


@app.command
def report(run: RunPath, /, *, data_dir: DataDir = None, device: Device = "auto") -> None:
    """Write a run's report.html again."""
    start()
    from vaekit.report import write_run_report

    say(str(write_run_report(vaekit.load(run, device=device), data_dir=data_dir)))


@app.command
def runs(
    folder: Annotated[Path, Parameter(help="A folder of runs.")] = Path("runs"),
    /,
    *,
    sort: Annotated[str, Parameter(help="A column of the table.")] = "name",
    json: Json = False,
) -> None:
    """The runs in a folder, in a table."""
    from vaekit.runs import cells, tabulate

    rows = tabulate(folder, sort=sort)
    say(dump(rows)) if json else print_table(cells(rows), left=(0, 1, 2, 10))


def _options(path: Path) -> dict[str, Any]:
    """The options in a YAML file, each part as text, as on the command line.

    Raises:
        VaekitError: for what cyclopts would not tell in a line.
    """
    import yaml

    found: Any = None
    try:
        found, why = yaml.safe_load(path.read_bytes()), "it holds no names with values"
    except OSError as error:
        why = "there is no file" if isinstance(error, FileNotFoundError) else "cannot read"
        raise VaekitError(f"{why} {path}; expected a YAML file of options.") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or "it holds other bytes than text"
        why += f" in line {mark.line + 1}" if mark else ""
    if not isinstance(found, dict):
        raise VaekitError(
            f"{path} is no YAML file of options: {why}; expected lines as `latent: 8`."
        )
    return {
        name: text(spec_of(name, value)) if name in KINDS and isinstance(value, dict) else value
        for name, value in found.items()
    }


def _check_train(tokens: Sequence[str], config: Path | None) -> None:
    """`train` needs a recipe, first, or a run to continue."""
    resumes = any(token.split("=")[0] == "--resume" for token in tokens)
    if tokens and not tokens[0].startswith("-"):
        find_recipe(tokens[0])
        if resumes:
            raise VaekitError("--resume takes the recipe from the run: leave it, and its options.")
    elif not resumes and config is None and not {"--help", "-h"} & set(tokens):
        raise VaekitError(
            "got no recipe; expected it before all options, as `vaekit train vae --data digits`, "
            "or `vaekit train --resume RUN`."
        )


@app.meta.default
def _meta(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help="A YAML file with options.")] = None,
    import_: Annotated[
        str | None,  # only its help: `main` takes it away, since parts and recipes make options
        Parameter(
            name="--import",
            help="A file of your own parts, or a module, for training and whatever opens the run; "
            "again for another.",
        ),
    ] = None,
) -> None:
    options = None if config is None else _options(config)
    if tokens[:1] == ("train",):
        _check_train(tokens[1:], config)
    if options is not None:
        app.config = (Dict(options, use_commands_as_keys=False, source=str(config)),)
    app(tokens, exit_on_error=False, print_error=False)


def _without_imports(words: list[str]) -> list[str]:
    """The words but for `--import` and what it names, which goes into NAMED."""
    NAMED.clear()
    others, rest = [], iter(words)
    for word in rest:
        if word == "--import":
            NAMED.append(next(rest, ""))
        elif word.startswith("--import="):
            NAMED.append(word.partition("=")[2])
        else:
            others.append(word)
    if "" in NAMED:
        raise VaekitError("--import names nothing; expected a .py file or a module after it.")
    return others


ARGUMENT = re.compile(r"`([A-Za-z_]\w*(?:\.\w+)*)(?:=([^`]*))?`")


def _options_of(tree: App) -> Iterator[tuple[str, Argument]]:
    """Yield the options of all commands, each by its name in Python."""
    for argument in tree.assemble_argument_collection() if tree.default_command else ():
        if argument.name.startswith("-"):
            yield argument.field_info.name, argument
    for name in tree:
        if not name.startswith("-"):
            yield from _options_of(tree[name])


def in_shell(text: str) -> str:
    """Return an error's or a note's text with flags in place of Python's arguments.

    An argument stands in backticks: `` `size=64` `` becomes `--size 64`, `` `data_dir` `` becomes
    `--data-dir`, `` `objective.beta=4` `` becomes `--objective.beta 4`. What no command has as an
    option stays as it is, backticks included.
    """
    text = " ".join(text.split())
    if not ARGUMENT.search(text):
        return text
    flags: dict[str, tuple[str, ...]] = {}
    for name in (*KINDS, "latent", *Data.model_fields, *Training.model_fields):
        hyphened = name.replace("_", "-")
        flags[name] = (f"--{hyphened}", f"--no-{hyphened}")
    flags |= {name: (option.name, *option.negatives) for name, option in _options_of(app)}
    flags["import_"] = ("--import",)

    def flag(match: re.Match[str]) -> str:
        name, value = match.groups()
        first, _, path = name.partition(".")
        if first not in flags:
            return match[0]
        return _written(flags[first], f".{path}" if path else "", value)

    return ARGUMENT.sub(flag, text)


def _written(flags: tuple[str, ...], path: str, value: str | None) -> str:
    """Return a flag with its value, as it is typed."""
    flag = flags[0] + path
    if value is None:
        return flag
    try:
        literal = ast.literal_eval(value)
    except (SyntaxError, ValueError):  # text without quotes: a placeholder, a part
        return f"{flag} {value}"
    if isinstance(literal, bool):
        return flag if literal else flags[-1]
    if isinstance(literal, list):
        return " ".join(f"{flag} {shlex.quote(str(item))}" for item in literal)
    items = literal if isinstance(literal, tuple) else [literal]
    return " ".join((flag, *(shlex.quote(str(item)) for item in items)))


class Notes(logging.Handler):
    """Print what the logger `vaekit` says as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        print(f"vaekit: note: {in_shell(record.getMessage())}", file=sys.stderr, flush=True)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: what a user can mend is one line on standard error and exit code 2."""
    app.config = ()  # of a call before, in the same process
    logger, notes = logging.getLogger("vaekit"), Notes()
    logger.addHandler(notes)
    try:
        words = _without_imports(list(sys.argv[1:] if arguments is None else arguments))
        load(NAMED)
        one = None  # the recipe whose options are needed, where not all are
        if len(words) > 1 and words[0] in ("train", "sweep") and not words[1].startswith("-"):
            words[1] = find_recipe(words[1]).name  # hyphens or underscores
            one = words[1:2]
        for parent, command in ((train, train_command), (sweep, sweep_command)):
            if parent.name[0] in words:
                add_recipes(parent, command, one)
        app.meta(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except (VaekitError, CycloptsError) as error:
        print(f"vaekit: {in_shell(str(error))}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    finally:
        logger.removeHandler(notes)

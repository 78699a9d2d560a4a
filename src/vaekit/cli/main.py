"""The command line. torch is imported only inside commands, so that help answers at once."""

from __future__ import annotations

import ast
import errno
import io
import logging
import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

import vaekit
from vaekit._io import FULL, out_of_memory
from vaekit.cli import _data as data
from vaekit.cli import _edits as edits
from vaekit.cli import _runs as runs
from vaekit.cli import _samples as samples
from vaekit.cli import _train as train
from vaekit.cli import _uses as uses
from vaekit.cli._show import IMPORTS, columns, help_of, say
from vaekit.errors import VaekitError, unknown, visible
from vaekit.registry import KINDS, parse, spec_of, text

app = App(
    name="vaekit",
    help_flags=(),
    version_flags=(),
    result_action="return_value",
    default_parameter=Parameter(negative_iterable=(), negative_none=(), consume_multiple=True),
)
COMMANDS: dict[str, tuple[Any, ...]] = {
    "Start": (train.demo, data.data, data.recipes, data.parts, train.train, train.sweep),
    "Look": (
        *(
            runs.report,
            runs.explore,
            runs.show,
            samples.sample,
            runs.fit_prior,
            samples.reconstruct,
            edits.interpolate,
            edits.edit,
            samples.traverse,
        ),
        *(samples.manifold, samples.scatter, samples.overlap, samples.animate),
    ),
    "Measure": (runs.evaluate, runs.compare, runs.reproduce),
    "Use": (uses.encode, uses.score, uses.outliers, uses.impute, uses.neighbors, uses.colorize),
    "Manage": (runs.runs, runs.info, runs.save),
}
for group in COMMANDS.values():
    for command in group:
        app.command(command)
GLOBAL = {
    "--import FILE|MODULE": "Import parts of your own, for training and whenever the run is opened "
    "again; again for another.",
    "--config FILE": "Read options from a YAML file, or from a run's config.json; typed ones win.",
    "--help, --help-all": "Show a command's options; --help-all: each in full.",
    "--version": "Show the versions of vaekit and torch, and the device.",
}
SELDOM = {  # options of train and sweep that only --help-all shows
    "test", "split_seed", "group", "fit", "crop", "background",
    "levels", "pages", "skip_damaged", "augment", "labels", "label_from", "columns", "drop", "date",
    "missing", "kind", "kinds", "standardize", "range", "dequantize", "cache", "max_memory",
    "library",
    "images", "shape", "test_data",
    "test_bound", "fast", "optimizer", "weight_decay", "optimizer_options", "clip", "lr_warmup",
    "schedule", "ema", "init_from", "freeze",
    "snapshots", "checkpoint_seconds", "keep_every", "threads", "precision", "compile", "capture",
}  # fmt: skip
HELP = {"--help", "-h", "--help-all"}
SHORT = {"-n": "--number", "-o": "--out"}
ARGUMENT = re.compile(r"`([A-Za-z_]\w*(?:\.\w+)*)(?:=([^`]*))?`")
RECIPE_COMMANDS = ("train", "sweep")
FILES = {"--import": ".py file or a module", "--config": "YAML file of options"}
PATH = rf"--({'|'.join(KINDS)})\..*"  # of a part's option, as --objective.beta


def _help(words: Sequence[str]) -> str:
    """Return the help of the command that these words name; else that of all commands."""
    command, path = app, ["vaekit"]
    if words and words[0] not in app and not words[0].startswith("-"):
        raise unknown("command", words[0], [*app])
    for word in words:
        if word.startswith("-") or word not in command:
            break
        command, path = command[word], [*path, word]
    if command is app:
        title = "Train, understand, evaluate, compare and use variational autoencoders."
        lines = ["Usage: vaekit COMMAND [OPTIONS]", "", title]
        for job, group in COMMANDS.items():
            names = [each.name[0] if isinstance(each, App) else each.__name__ for each in group]
            names = [name.replace("_", "-") for name in names]
            rows = {name: app[name].help.partition("\n")[0] for name in names}
            lines += ["", f"{job}:", *columns(rows)]
        return "\n".join([*lines, "", "Options of all commands:", *columns(GLOBAL)])
    brief = path[1] in RECIPE_COMMANDS and "--help-all" not in words
    lines = [help_of(command, " ".join(path), SELDOM if brief else None)]
    if command in (train.train, train.sweep):
        from vaekit import recipes as known

        lines += ["", f"Recipes, as `vaekit {path[1]} vae`; `vaekit recipes` says what each is:"]
        lines += columns({"": ", ".join(known.names())}, indent="")
    return "\n".join(lines)


def _take(words: list[str], option: str) -> list[tuple[str, str]]:
    """Remove the options that a pattern names from the words; return each with its value."""
    values, rest = [], iter(words.copy())
    words.clear()
    for word in rest:
        name, equals, value = word.partition("=")
        if re.fullmatch(option, name):
            values.append((name, value if equals else next(rest, "")))
        else:
            words.append(word)
    return values


def _add_file(words: list[str], path: Path) -> None:
    """Add the options of a file that are not typed."""
    typed = {word.partition("=")[0].replace("_", "-") for word in words}
    typed |= {flag for short, flag in SHORT.items() if short in typed}
    for name, value in train.read_options(path).items():
        flag, off = (f"--{prefix}{str(name).replace('_', '-')}" for prefix in ("", "no-"))
        if name == "recipe":
            if len(words) == 1 or words[1].startswith("-"):
                words.insert(1, str(value))
        elif value is not None and name in KINDS and flag in typed:
            for _, given in _take(words, flag):  # `:scale=fitted` changes what the file says
                over = {**(spec_of(name, value) if given.startswith(":") else {}), **_named(given)}
                words.append(f"{flag}={text(over)}")
        elif value is None or {flag, off} & typed:
            continue
        elif isinstance(value, bool):
            words.append(flag if value else off)
        elif isinstance(value, list):
            words += [f"{flag}={item}" for item in value]
        elif isinstance(value, dict) and name not in KINDS:
            raise VaekitError(f"got {value} for {name} in {path}; expected one value.")
        else:
            words.append(f"{flag}={text(spec_of(name, value)) if name in KINDS else value}")


def _named(written: str) -> dict[str, Any]:
    """Return a typed part as a spec, without a name where none is typed."""
    return {option: value for option, value in parse(written).items() if value != ""}


def _add_recipe(words: list[str], app_: App) -> None:
    """Make the command of the recipe that is named, since each recipe has options of its own."""
    from vaekit.recipes import find_recipe

    resumes = any(word.partition("=")[0] == "--resume" for word in words)
    if len(words) > 1 and not words[1].startswith("-"):
        name = words[1] = find_recipe(words[1]).name  # hyphens or underscores
        if resumes:
            raise VaekitError("`resume` takes the recipe from the run: leave it, and its options.")
        if name in app_:
            del app_[name]
        paths = {path[2:]: value for path, value in _take(words, PATH)}
        app_.command(train.recipe_command(words[0], name, paths), name=name)
    elif resumes:
        _refuse_kept(words)
    elif not HELP & set(words):
        raise VaekitError(
            f"got no recipe; expected it before all options, as `vaekit {words[0]} vae --data "
            "digits`, or `vaekit train --resume RUN`."
        )


def _refuse_kept(words: Sequence[str]) -> None:
    """Refuse the options that a run keeps when it is resumed."""
    from vaekit._train_options import Data, Training

    known = {each.name for each in train.train.assemble_argument_collection()}
    for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
        name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
        kept = {"latent", *KINDS, *Data.model_fields, *Training.model_fields}
        if flag not in known and name.partition(".")[0] in kept:
            raise VaekitError(
                f"a run keeps its `{name}`: `train --resume` takes `epochs`, `lr`, `batch_size`, "
                "`device` and `threads`, and where the data are; for all else train anew."
            )


def _run(words: list[str]) -> None:
    named: dict[str, list[str]] = {}
    for option, what in FILES.items():
        named[option] = [value for _, value in _take(words, option)]
        if "" in named[option]:
            raise VaekitError(f"{option} names nothing; expected a {what} after it.")
    IMPORTS[:] = named["--import"]
    if IMPORTS:
        from vaekit._imports import load

        load(IMPORTS)
    for path in named["--config"]:
        _add_file(words, Path(path))
    # Of -1 no option is made.
    words += [f"{name}={value}" for name, value in _take(words, "--range|--label")]
    if words and words[0] in RECIPE_COMMANDS:
        _add_recipe(words, app[words[0]])
    if "--version" in words:
        torch, cuda = version("torch"), Path("/dev/nvidiactl").exists()
        apple = sys.platform == "darwin" and platform.machine() == "arm64"
        device = "cuda" if cuda and "+cpu" not in torch else "mps" if apple else "cpu"
        say(f"vaekit {vaekit.__version__}, torch {torch}, device {device}")
    elif not words or HELP & set(words):
        say(_help(words))
    else:
        written = app(words, exit_on_error=False, print_error=False)
        if written is not None:
            say(written)
    sys.stdout.flush()


def in_shell(text: str) -> str:
    """Return an error's or a note's text with flags in place of Python's arguments.

    An argument stands in backticks: `` `size=64` `` becomes `--size 64`, `` `data_dir` `` becomes
    `--data-dir`, `` `objective.beta=4` `` becomes `--objective.beta 4`. What no command has as an
    option stays as it is, backticks included.
    """
    text = " ".join(text.split())
    if not ARGUMENT.search(text):
        return text
    from vaekit._train_options import Data, Training

    names = {"import_", "latent", *KINDS, *Data.model_fields, *Training.model_fields}
    records = (*fields(train.TrainOptions), *fields(train.SweepOptions))
    names |= {field.name for field in records}
    for command in (app[name] for name in app):
        every = command.assemble_argument_collection() if command.default_command else ()
        names |= {each.field_info.name for each in every if each.name.startswith("-")}

    def flag(match: re.Match[str]) -> str:
        name, value = match.groups()
        first, _, path = name.partition(".")
        if first not in names:
            return match[0]
        hyphened = first.strip("_").replace("_", "-")
        flag = (f"-{first}" if len(first) == 1 else f"--{hyphened}") + (f".{path}" if path else "")
        return flag if value is None else _with_value(flag, value)

    return ARGUMENT.sub(flag, text)


def _with_value(flag: str, value: str) -> str:
    """Return a flag with its value, as it is typed."""
    try:
        literal = ast.literal_eval(value)
    except (SyntaxError, ValueError):  # text without quotes: a placeholder, a part
        return f"{flag} {value}"
    if isinstance(literal, bool):
        return flag if literal else f"--no-{flag[2:]}"
    if isinstance(literal, list):
        return " ".join(f"{flag} {shlex.quote(str(item))}" for item in literal)
    items = literal if isinstance(literal, tuple) else [literal]
    return " ".join((flag, *(shlex.quote(str(item)) for item in items)))


class Notes(logging.Handler):
    """Print what the logger `vaekit` says as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        text = visible(in_shell(record.getMessage()))
        print(f"vaekit: note: {text}", file=sys.stderr, flush=True)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command: what a user can mend is one line on standard error and exit code 2."""
    logger, notes = logging.getLogger("vaekit"), Notes()
    logger.addHandler(notes)
    _open_streams()
    try:
        _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except (VaekitError, CycloptsError) as error:
        text = in_shell(str(error))
        if isinstance(error, UnusedCliTokensError):
            words = shlex.join(error.unused_tokens or ())
            mend = "each value follows its option, as --data mnist: see --help"
            text = f"got {words}, for which there is no place; {mend}."
        print(f"vaekit: {visible(text)}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except (MemoryError, RuntimeError, ImportError) as error:
        if (asked := out_of_memory(error)) is None:
            raise
        how = f"at {asked} more: ask for less at a time"
        if isinstance(error, ImportError):
            how = "as a library was loaded: give it more"
        print(f"vaekit: memory ran out, {how}.", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt as stopped:
        if said := str(stopped):
            print(f"vaekit: {visible(said)}", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except BrokenPipeError:  # the reader, as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            print("vaekit: a name of a file is too long: take a shorter one.", file=sys.stderr)  # noqa: T201
            sys.exit(2)
        if error.errno not in FULL or error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print("vaekit: standard output is full: name another place for it.", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    finally:
        logger.removeHandler(notes)


class _Unheard(io.FileIO):
    """A file that loses what cannot be written: no word is worth a training.

    Standard error may be a file on a full disk, or a terminal that has gone.
    """

    def write(self, content: Any, /) -> int:
        """Write, or lose it."""
        with suppress(OSError):
            return super().write(content)
        return len(content)


def _open_streams() -> None:
    """Make streams that take all that is printed: closed ones, and those of few letters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed, as by `>&-`
            setattr(sys, name, open(os.devnull, "w", errors="replace"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a sign that an ASCII terminal lacks is a ?
    if os.name == "posix" and sys.stderr is sys.__stderr__ and sys.stderr is not None:
        heard = io.BufferedWriter(_Unheard(sys.stderr.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(
            heard, encoding=sys.stderr.encoding, errors="replace", line_buffering=True
        )

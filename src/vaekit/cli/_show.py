"""What all commands share: how they start, the options they have in common, how they print."""

from __future__ import annotations

import gc
import json
import mmap
import os
import re
import shutil
import signal
import sys
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Signature, cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from cyclopts import App, Parameter, Token, convert

import vaekit
from vaekit._io import in_words
from vaekit.errors import VaekitError, visible
from vaekit.registry import helps

if TYPE_CHECKING:
    from cyclopts.argument import Argument

    from vaekit.runs import Run

IMPORTS: list[str] = []  # files and modules after --import; they are imported before a command runs
ARGS = re.compile(r"\n+Args:\n(?: {4}.*\n?|\n)+")
SENTENCE = re.compile(r"(?<=[A-Za-z0-9)])\. (?=[A-Z`])")
SPINS = "5000"  # turns in which a thread of OpenMP waits busily, of 300,000
LIBRARIES = 900 << 20  # bytes of addresses that torch and what comes with it take
WIDE = 300  # columns of a table where standard output is no terminal


def whole(hint: Any, tokens: Sequence[Token]) -> Any:
    """Convert whole numbers: left to itself, cyclopts rounds 1.5 to 2."""
    for token in tokens:
        if "." in token.value and token.value.split(".")[1].strip("0"):
            raise ValueError(f'got "{token.value}"; expected a whole number.')
    return convert(hint, tokens)


Whole = Annotated[int, Parameter(converter=whole)]
MaybeWhole = Annotated[int | None, Parameter(converter=whole)]
Number = Annotated[int, Parameter(name=["-n", "--number"], converter=whole)]
MaybeNumber = Annotated[int | None, Parameter(name=["-n", "--number"], converter=whole)]
Out = Annotated[Path, Parameter(name=["--out", "-o"])]
MaybeOut = Annotated[Path | None, Parameter(name=["--out", "-o"])]


def options_of_all_commands() -> None:
    """Say what an option is wherever a command says nothing else.

    Args:
        run: A run folder, or a saved model.
        label: A class, by its name, of a run that is conditioned on labels.
        n: How many images.
        steps, columns: Images in a row.
        seed: The seed of everything that is drawn.
        set_: DIM=VALUE: put this latent dimension at VALUE, in standard deviations of the prior;
            again for another, as --set 3=+2 --set 0=-1.
        split: test, validation or train.
        data_dir: The folder of data sets. By default VAEKIT_DATA, then the user cache.
        training_data: The data that the run was trained on, where they have moved.
        device: auto, cpu, cuda, cuda:1 or mps.
        threads: CPU threads.
        lang: The language of report pages: en or zh.
        quiet: Show no progress; notes are shown all the same.
        json: Print one JSON object, and nothing else.
    """


@Parameter(name="*")
@dataclass(frozen=True)
class Opening:
    """How a run is opened.

    Args:
        weights: best (the default, if rows were held out), last, ema, or epoch-N (--keep-every).
    """

    weights: str | None = None
    device: str = "auto"

    def load(self, path: Path, **counts: int | None) -> Run:
        """Return the run of a folder; refuse counts below 1 first."""
        start()
        for name, value in counts.items():
            if value is not None and value < 1:
                raise VaekitError(f"got `{name}={value}`; expected at least 1.")
        return vaekit.load(path, weights=self.weights, device=self.device, **self.where)

    @property
    def where(self) -> dict[str, Any]:
        """Return where the data of the training lie, as `vaekit.load` takes it."""
        return {}


@Parameter(name="*")
@dataclass(frozen=True)
class Rows(Opening):
    """How a run is opened, and where its data set is."""

    data_dir: str | None = None
    training_data: str | None = None

    @property
    def where(self) -> dict[str, Any]:
        """Return where the data of the training lie, as `vaekit.load` takes it."""
        return {"training_data": self.training_data}


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    """Where a command writes.

    Args:
        out: The file: an image (.png) or arrays (.npz), of rows also .csv and .parquet, of plots
            .svg. By default in RUN/outputs/.
        overwrite: Replace the file that --out names.
    """

    out: MaybeOut = None
    overwrite: bool = False

    def at(self, run: Path, name: str) -> Path:
        """Return the file that is named, or this name among the outputs of a run.

        Raises:
            VaekitError: for a file that is there already, unless it is to be replaced.
        """
        if self.out is None:  # a saved model may be a file
            return run / "outputs" / name if run.is_dir() else Path(name)
        if self.out.exists() and not self.overwrite:
            raise VaekitError(f"there is a file {self.out}: name another, or add `overwrite`.")
        return self.out


def _leave_room() -> None:
    """Refuse a limit, as of `ulimit -v`, under which libraries hang, or end it, as they load."""
    if "torch" in sys.modules or not hasattr(mmap, "MAP_ANONYMOUS"):
        return
    try:
        how = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        mmap.mmap(-1, LIBRARIES, flags=how, prot=mmap.PROT_READ).close()
    except OSError:
        room = in_words(LIBRARIES)
        raise VaekitError(
            f"torch takes {room} of memory, and there is less: give it more."
        ) from None


def start() -> None:
    """Do what every command that computes does first."""
    _leave_room()
    if "OMP_WAIT_POLICY" not in os.environ:  # libgomp reads it once, as torch is imported
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    gc.disable()  # torch brings a million objects to stay: collections would walk them all
    import torch

    from vaekit._torchutil import keep_memory

    gc.freeze()
    gc.enable()
    if getattr(signal.getsignal(signal.SIGINT), "__name__", "") == "leave":  # of vaekit.__main__
        signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_flush_denormal(True)  # importance weights underflow; denormals are slow
    keep_memory()


class Styled(str):
    """Text with colors of our own; names in it are `visible`."""


def say(text: object = "") -> None:
    """Print a line, or a table with its styles, on standard output."""
    print(text if isinstance(text, Styled) else visible(str(text)))  # noqa: T201


def answer(as_json: bool, content: Any, lines: Iterable[object]) -> None:
    """Print what a command found: its content as JSON, or else the lines for people."""
    for line in [json.dumps(content, indent=2)] if as_json else lines:
        say(line)


def table(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> Styled:
    """Return titles and rows as a table, as wide as it is where standard output is no terminal.

    Args:
        rows: the titles first.
        left: columns of words, by their number; the others are numbers.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, title in enumerate(rows[0]):
        justify: Any = "left" if column in left else "right"
        table.add_column(Text(visible(title)), justify=justify, overflow="fold")
    for row in rows[1:]:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console = Console()
    console = Console(width=console.width if console.is_terminal else WIDE)
    with console.capture() as capture:
        console.print(table)
    return Styled(capture.get().removesuffix("\n"))


def columns(rows: Mapping[str, str], indent: str = "  ", most: int = 100) -> list[str]:
    """Return lines with names at the left, and words on each beside it.

    Names wider than `most` have their words on the next line.
    """
    left = max((len(name) for name in rows if len(name) <= most), default=0)
    width = max(shutil.get_terminal_size().columns, left + 40)
    rest = " " * (len(indent) + left + 2)
    lines: list[str] = []
    for name, words in rows.items():
        head = f"{indent}{name:{left}}  "
        if len(name) > left:
            lines, head = [*lines, head.rstrip()], rest
        filled = textwrap.wrap(words, width, initial_indent=head, subsequent_indent=rest)
        lines += filled or [head.rstrip()]
    return lines


def help_of(command: App, path: str, seldom: Collection[str] | None = None) -> str:
    """Return the help of a command: its use, what it does, an example, its options.

    Args:
        command: the command.
        path: how it is called, as "vaekit train vae".
        seldom: names of options that are left out; of all others the first sentence is shown. By
            default all are shown in full.
    """
    collection = command.assemble_argument_collection() if command.default_command else ()
    words = helps(options_of_all_commands) | helps(command.default_command)
    defaults = {}
    for record in (each for each in collection if each.children):
        words |= helps(record.hint)
        for child in record.children:
            defaults[id(child)] = getattr(record.field_info.default, child.keys[-1])
    every = [argument for argument in collection if argument.show]
    groups: dict[str, dict[str, str]] = {}
    for argument in every:
        name, parameter = argument.field_info.name, argument.parameter
        if name in (seldom or ()):
            continue
        default = defaults.get(id(argument), argument.field_info.default)
        line = parameter.help or words.get(name, "")
        if seldom is not None:
            line = f"{SENTENCE.split(line)[0].rstrip('.')}."
        shown = parameter.show_default or default
        if not (shown in (None, "", (), Signature.empty) or isinstance(shown, bool)):
            line += f" [{' '.join(map(str, shown)) if isinstance(shown, tuple) else shown}]"
        title = parameter.group[0].name.replace("Parameters", "Options")  # type: ignore[index]
        groups.setdefault(title, {})[_flags(argument, default)] = line
    positional = (each.name for each in every if not each.name.startswith("-"))
    lines = [" ".join([f"Usage: {path}", *positional, "[OPTIONS]"]), ""]
    lines.append(ARGS.sub("", cleandoc(command.help)))
    for title, rows in groups.items():
        lines += ["", f"{title}:", *columns(rows, most=26)]
    if seldom is not None and any(each.field_info.name in seldom for each in every):
        lines += ["", f"All options, and more on each: {path} --help-all"]
    return "\n".join(lines)


def _flags(argument: Argument, default: Any) -> str:
    """Return the names of an option as they are typed, with a word for its value."""
    names = tuple(argument.parameter.name or ())
    if not argument.name.startswith("-"):
        return argument.name
    if "bool" in str(argument.hint):
        return ", ".join({True: argument.negatives, False: names}.get(default, argument.names))
    return f"{', '.join(names)} {_value(argument.hint)}"


def _value(hint: Any) -> str:
    """Return a word for the values of a type: INT, PATH, `a|b`, TEXT..."""
    inner = [each for each in get_args(hint) if each not in (type(None), ...)]
    if get_origin(hint) is Literal:
        return "|".join(map(str, inner))
    if get_origin(hint) is tuple:
        return _value(inner[0]) + ("..." if len(inner) == 1 else f" {_value(inner[1])}")
    if inner:  # a union with None, or an annotated type
        return _value(inner[0])
    return "TEXT" if hint is str else str(hint.__name__).upper()

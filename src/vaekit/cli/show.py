"""What all commands share: options, how they start, and how they print."""

from __future__ import annotations

import gc
import json
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token, convert


def whole(hint: Any, tokens: Sequence[Token]) -> Any:
    """Whole numbers: left to itself, cyclopts rounds 1.5 to 2."""
    for token in tokens:
        if "." in token.value and token.value.split(".")[1].strip("0"):
            raise ValueError(f'got "{token.value}"; expected a whole number.')
    return convert(hint, tokens)


Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object alone.")]
RunPath = Annotated[Path, Parameter(help="A run folder, or a saved model.")]
Weights = Annotated[str | None, Parameter(help="best, last or ema.")]
Device = Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1, mps.")]
Whole = Annotated[int, Parameter(converter=whole)]
MaybeWhole = Annotated[int | None, Parameter(converter=whole)]
DataDir = Annotated[str | None, Parameter(help="Where data sets lie.")]
NAMED: list[str] = []  # files and modules after --import; they are imported before a command runs


def named() -> str:
    """The same as options, for a command line."""
    return "".join(f" --import {shlex.quote(one)}" for one in NAMED)


WIDE = 300  # columns where standard output is no terminal


def say(text: str = "") -> None:
    """A line on standard output."""
    print(text)  # noqa: T201


def dump(content: Any) -> str:
    """JSON for people."""
    return json.dumps(content, indent=2)


def print_table(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> None:
    """Titles, then rows; as wide as they are where standard output is no terminal.

    Args:
        rows: the titles first.
        left: columns of words, by their number; the others are numbers.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, title in enumerate(rows[0]):
        justify: Any = "left" if place in left else "right"
        table.add_column(Text(title), justify=justify, overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    console = Console()
    Console(width=console.width if console.is_terminal else WIDE).print(table)


def start() -> None:
    """What every command that computes does first."""
    gc.disable()  # torch brings a million objects to stay: collections would walk them all
    import torch

    from vaekit.torchutil import keep_memory

    gc.freeze()
    gc.enable()
    torch.set_flush_denormal(True)  # importance weights underflow; denormals are slow
    keep_memory()

"""What all commands share: options, how they start, and how they print."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
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
RunPath = Annotated[Path, Parameter(help="A run folder.")]
Weights = Annotated[str | None, Parameter(help="best, last or ema.")]
Device = Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1, mps.")]
Whole = Annotated[int, Parameter(converter=whole)]
MaybeWhole = Annotated[int | None, Parameter(converter=whole)]
DataDir = Annotated[str | None, Parameter(help="Where data sets lie.")]


def say(text: str = "") -> None:
    """A line on standard output."""
    print(text)  # noqa: T201


def dump(content: Any) -> str:
    """JSON for people."""
    return json.dumps(content, indent=2)


def start() -> None:
    """What every command that computes does first."""
    gc.disable()  # torch brings a million objects to stay: collections would walk them all
    import torch

    from vaekit.torchutil import keep_memory

    gc.freeze()
    gc.enable()
    torch.set_flush_denormal(True)  # importance weights underflow; denormals are slow
    keep_memory()

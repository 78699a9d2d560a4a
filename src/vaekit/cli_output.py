"""What all commands share: how they start and print."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import Parameter

__all__ = ["Json", "dump", "say", "start"]

Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object alone.")]


def say(text: str = "") -> None:
    """A line on standard output."""
    print(text)  # noqa: T201


def dump(content: Any) -> str:
    """JSON for people."""
    return json.dumps(content, indent=2)


def start() -> None:
    """What every command that computes does first."""
    import torch

    torch.set_flush_denormal(True)  # importance weights underflow; denormals are slow

"""A case of the table of refusals."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from broken import Make


def nothing(here: Path) -> None:
    """No file is needed."""


class Case(NamedTuple):
    """`vaekit COMMAND`, typed in a folder that `make` has filled, is refused with these words.

    A trained run is there as `run`, before `make`, where the command speaks of it.
    """

    name: str
    command: str
    words: tuple[str, ...]
    make: Make = nothing


def case(name: str, command: str, *words: str, make: Make = nothing) -> Case:
    return Case(name, command, words, make)

"""What the records of a run folder have to hold: each is checked where it is read.

Numbers that are not finite are read, as a training may write them; what is not named here is kept
as it is. It needs no torch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vaekit._io import parsed, read_lines
from vaekit.errors import VaekitError, first_wrong

Whole = Annotated[int, Field(ge=0, lt=2**53)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
DEEPEST = 200  # levels: a composed model has two for each of its parts


class Record(BaseModel):
    """A record, of which these are the keys that something reads."""

    model_config = ConfigDict(strict=True, extra="allow", defer_build=True)


class Terms(Record):
    """The means of an epoch over a split: of the objective and its parts."""

    __pydantic_extra__: dict[str, float]
    objective: float


class Latent(Record):
    """What the dimensions of z held after an epoch."""

    kl_per_dim: list[float] | dict[str, float] | None = None
    active_units: int | None = None
    posterior_scale: float | None = None
    perplexity: float | None = None
    share_used: float | None = None


class Epoch(Record):
    """A line of metrics.jsonl."""

    epoch: Whole
    step: Whole
    train: Terms
    validation: Terms | None = None
    test: Terms | None = None
    latent: Latent | None = None
    dead_units: float | None = None
    gradient_norm: float | None = None
    lr: float | None = None
    weights: dict[str, float] = {}
    best: bool = False
    stopped_early: bool = False
    compares: bool = True
    warnings: list[str] = []
    seconds: Seconds = 0.0
    images_per_second: float | None = None


class Card(Record):
    """What run.json says of the data as they are stored."""

    range: Annotated[list[float], Field(min_length=2, max_length=2)]
    mean: float
    test_sha256: str = ""


class Rows(Record):
    """What run.json says of the data."""

    sha256: str
    note: str
    train: Whole
    validation: Whole
    test: Whole
    stamp: list[int] = []
    path: str = ""
    from_run: str = ""
    tests: dict[str, str] = {}
    card: Card = None  # type: ignore[assignment]  # it may be missing, and not null


class Machine(Record):
    """What run.json says of versions and hardware."""

    vaekit: str
    torch: str
    device: str
    started: str = ""


class Beginning(Record):
    """run.json: how a training began."""

    environment: Machine
    notes: list[str] = []
    seed: int
    data: Rows
    parameters: Whole


class Protocol(Record):
    """How an evaluation was made."""

    weights: str | None = None
    step: int | None = None
    split: str
    rows: Whole


class Evaluation(Record):
    """A record of evaluation.json; each metric reads its own numbers."""

    protocol: Protocol = None  # type: ignore[assignment]  # likewise
    standard_error_over: str = ""


class Named(Record):
    """The data of config.json."""

    data: str


class Asked(Record):
    """The training of config.json."""

    epochs: int


class Head(Record):
    """config.json, as far as the table of runs reads it."""

    recipe: str
    data: Named
    parts: dict[str, Any]
    training: Asked


KINDS: dict[str, Any] = {
    "run.json": Beginning,
    "evaluation.json": list[Evaluation],
    "config.json": dict[str, Any],  # `Config.from_json` checks it
}


def record_of(name: str, content: bytes, kind: Any = None) -> Any:
    """Return what a file of a run holds.

    Args:
        name: of the file.
        content: of the file.
        kind: what it has to be, where that is another than `KINDS` says.

    Raises:
        VaekitError: that says what is wrong, as what the file does: "holds no JSON".

    Example:
        >>> record_of("evaluation.json", b'[{"protocol": {"rows": 9, "split": 3}}]')
        Traceback (most recent call last):
        vaekit.errors.VaekitError: holds 3 for 0.protocol.split; expected a valid string
    """
    try:
        tree = parsed(content)
    except ValueError:
        raise VaekitError("holds no JSON") from None
    return _checked(kind or KINDS[name], tree)


def epochs_of(path: Path) -> list[dict[str, Any]]:
    """Return the records of metrics.jsonl; lines cut off, and those of no epoch, are left out.

    Raises:
        VaekitError: as `record_of`.
    """
    return [_checked(Epoch, tree) for tree in read_lines(path) if "epoch" in tree]


def _checked(kind: Any, tree: Any) -> Any:
    """Return a tree that is what it has to be."""
    if _deeper(tree, DEEPEST):
        raise VaekitError("holds no JSON")
    try:
        _adapter(kind).validate_python(tree)
    except ValidationError as error:
        raise VaekitError(first_wrong(error)) from None
    return tree


_adapter = functools.cache(TypeAdapter)


def _deeper(tree: Any, room: int) -> bool:
    inner: Sequence[Any] = ()
    if isinstance(tree, dict | list):
        inner = [*tree.values()] if isinstance(tree, dict) else tree
    return room < 0 or any(_deeper(each, room - 1) for each in inner)

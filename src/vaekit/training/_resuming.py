"""What a checkpoint has to hold, before anything goes on from it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from torch import Tensor, nn

from vaekit._safetensors import MEND
from vaekit._torchutil import load_state, misfit
from vaekit.errors import VaekitError, first_wrong
from vaekit.training._checkpoints import Best
from vaekit.training._progress import Progress, bad_weights
from vaekit.training._watch import Watch

HOW = ConfigDict(strict=True, arbitrary_types_allowed=True, defer_build=True)


def _like(kind: Any) -> Any:
    """Return the record of a dataclass, whose defaults may be left out."""
    types = get_type_hints(kind)
    known: Any = {f.name: (types[f.name], ... if _asked(f) else None) for f in fields(kind)}
    return create_model(kind.__name__, __config__=ConfigDict(strict=True, extra="forbid"), **known)


def _asked(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


class Part(BaseModel):
    """A part of a checkpoint; what is not named is kept as it is."""

    model_config = HOW


class Sums(Part):
    """The sum of a mean, and of how many."""

    total: Tensor | None
    count: int = 0


class Sum(Sums):
    """The sums of an epoch's terms, by their names, and over how many rows."""

    names: list[str]
    rows: int


class Optimizer(Part):
    """What an optimizer keeps; `rehearse` finds out whether it is enough."""

    state: dict[int, dict[str, Any]]
    param_groups: list[dict[str, Any]]


class Where(Part):
    """What `Progress.state` returned."""

    step: int = Field(ge=0)
    shift: int = 0
    model: dict[str, Tensor]
    objective: dict[str, Tensor]
    optimizer: Optimizer
    critic: Optimizer | None = None
    average: dict[str, Tensor] | None = None
    meter: Sum
    gradient: Sums | None = None
    seconds: float = 0.0
    start: tuple[float, float] | None = None
    random: dict[str, Any]


BestRecord: Any = _like(Best)
WatchRecord: Any = _like(Watch)


class Checkpoint(Part):
    """What `Supervisor.save` wrote."""

    progress: Where
    epoch: int = Field(ge=0)
    best: BestRecord
    watch: WatchRecord | None = None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return the checkpoint that a training goes on from.

    Raises:
        VaekitError: where the file is missing or damaged, or holds something else.
    """
    state = load_state(path)
    try:
        Checkpoint.model_validate(state)
    except ValidationError as error:
        why = f"it {first_wrong(error)}"
        raise VaekitError(f"{path} is another kind of checkpoint: {why}: {MEND}") from None
    return state


def check_weights(path: Path, state: Mapping[str, Any], model: nn.Module) -> None:
    """Refuse to resume this model, which may be without memory, from another one's checkpoint.

    Raises:
        VaekitError: that says which weight is another one.
    """
    if why := misfit(state["progress"]["model"], model):
        raise _other(path, why)


def check_state(path: Path, state: Mapping[str, Any], progress: Progress) -> None:
    """Refuse to resume this training from the checkpoint of another one.

    Weights and optimizers of `progress` are others afterwards, until `Progress.restore` sets them.

    Args:
        path: of the checkpoint.
        state: what `load_checkpoint` returned.
        progress: of the training.

    Raises:
        VaekitError: where weights or the state of an optimizer are of another kind.
    """
    before = state["progress"]
    check_weights(path, state, progress.model)
    if why := misfit(before["objective"], progress.objective) or _rehearse(before, progress):
        raise _other(path, why)
    for module in (progress.model, progress.objective):
        if why := bad_weights(module):
            raise VaekitError(f"{path} holds weights that are lost: {why}. Train again.")


def _other(path: Path, why: str) -> VaekitError:
    mend = "Restore it, or the config.json it was made with, or train again."
    return VaekitError(f"{path} is of another training: {why}. {mend}")


def _rehearse(state: Mapping[str, Any], progress: Progress) -> str | None:
    """Go on from the state and take a step without a gradient; return what that says against it."""
    groups = [s["param_groups"] for s in (state["optimizer"], progress.optimizer.state_dict())]
    for name in sorted(groups[0][0].keys() ^ groups[1][0].keys()):
        return f"the optimizer's option {name} is only in one of the two"
    kept = {name: copy.deepcopy(state[name]) for name in ("optimizer", "critic") if name in state}
    devices = [progress.device] if progress.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            progress.restore({**state, **kept})
            for optimizer in filter(None, (progress.optimizer, progress.critic)):
                _still_step(optimizer)
    except Exception as error:  # whatever torch says of a state that is not its own
        text = " ".join(str(error).split())
        return f"{type(error).__name__}: {text[:200]}"
    return None


def _still_step(optimizer: torch.optim.Optimizer) -> None:
    """Take a step without a gradient, where sizes allow it: a kernel need not look at them."""
    for group in optimizer.param_groups:
        for weight in group["params"]:
            for value in optimizer.state[weight].values():
                if isinstance(value, Tensor):
                    value.expand_as(weight)
            weight.grad = torch.zeros_like(weight)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)

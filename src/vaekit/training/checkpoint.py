"""Checkpoints: nested state in one safetensors file, written atomically. Nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError
from vaekit.io import write

TENSOR, DICT, LIST, TUPLE = "tensor", "dict", "list", "tuple"


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON, with its tensors put into `tensors` and replaced by their names."""
    if isinstance(value, Tensor):
        name = f"{len(tensors)}"
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {TENSOR: name}
    if isinstance(value, dict):
        return {DICT: [[k, _pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = TUPLE if isinstance(value, tuple) else LIST
        return {kind: [_pack(v, tensors) for v in value]}
    return value


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == TENSOR:
        return tensors[inner]
    if kind == DICT:
        return {k: _unpack(v, tensors) for k, v in inner}
    made = [_unpack(v, tensors) for v in inner]
    return tuple(made) if kind == TUPLE else made


def save_state(path: Path, state: dict[str, Any], mend: str = "") -> None:
    """Writes nested dicts, lists, numbers, strings and tensors; see `load_state`.

    Raises:
        VaekitError: where it cannot be written; an older checkpoint is left as it was.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    skeleton = json.dumps(_pack(state, tensors))
    write(path, save(tensors, {"state": skeleton}), mend)


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote, on the CPU.

    Raises:
        VaekitError: where the file is missing, truncated, or no checkpoint.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "x.safetensors"
        ...     save_state(path, {"step": 3, "weights": {0: torch.ones(2)}})
        ...     load_state(path)
        {'step': 3, 'weights': {0: tensor([1., 1.])}}
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise VaekitError(f"there is no checkpoint {path}: restore it, or train again.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _unpack(json.loads(metadata["state"]), tensors)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise VaekitError(
            f"{path} is truncated or no checkpoint of vaekit ({type(error).__name__}): "
            "take another one, or train again."
        ) from None


def check_state(
    path: Path, state: Mapping[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Refuses to resume this model with this optimiser from the checkpoint of another training.

    Raises:
        VaekitError: where parts are missing, or weights or optimiser are of another kind.
    """

    def refuse(why: str) -> NoReturn:
        raise VaekitError(
            f"{path} is of another training: {why}. Restore it, or the config.json it was made "
            "with, or train again."
        )

    missing = {"progress", "best", "epoch"} - state.keys()
    if missing:
        refuse(f"it has no {min(missing)}")
    saved, known = state["progress"]["model"], model.state_dict()
    for name in sorted(saved.keys() ^ known.keys()):
        refuse(f"{name} is only in {'it' if name in saved else 'the model'}")
    for name, value in saved.items():
        if value.shape != known[name].shape:
            refuse(f"{name} is {tuple(value.shape)}; expected {tuple(known[name].shape)}")
    groups = [s["param_groups"] for s in (state["progress"]["optimizer"], optimizer.state_dict())]
    for name in sorted(groups[0][0].keys() ^ groups[1][0].keys()):
        refuse(f"the optimiser's option {name} is only in one of the two")


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of the generators that a run draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """The inverse of `random_state`."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)

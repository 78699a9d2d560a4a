"""Wrong types, shapes, numbers and ranges, to everything public: a VaekitError in one line.

Walked are the constructors of all public classes, the functions of `vaekit.api` and the methods
of a run, each argument in turn, the others good. A call is given what its signature asks for: a
missing argument and an unknown name are Python's own TypeError, and stay that.
"""

from __future__ import annotations

import collections.abc as abc
import importlib
import inspect
import math
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributions as td
from torch import nn

import vaekit as vk
from vaekit._arguments import ROOMS, hints
from vaekit._train_options import Data
from vaekit.errors import VaekitError

WRONG: list[Any] = [
    *(None, True, -1, 0, 2.5, math.nan, math.inf, 10**30),
    *("3", "", b"", "\x1b[0m\n", [], (), {}, [None], ["a"], [-1], [10**30], {"a": object()}),
    *(object(), int, lambda: 0),
    *(np.zeros((2, 2, 2, 2)), np.array(["a"]), np.array(3), np.float32(-1)),
    *(torch.zeros(0), torch.tensor(3), torch.zeros(2, 3, 4, 5, 6), torch.full((3,), math.nan)),
    *(torch.zeros(2, dtype=torch.int64), torch.zeros(3, dtype=torch.complex64)),
    torch.zeros(2, 3, device="meta"),
]
GRAY, COLOR = (1, 8, 8), (3, 8, 8)


def classes() -> dict[str, type]:
    """All public classes that can be made, each once, by their first name."""
    found: dict[type, str] = {}
    for room in (vk, *(importlib.import_module(f"vaekit.{name}") for name in (*ROOMS, "testing"))):
        for name in room.__all__:
            part = getattr(room, name)
            made = inspect.isclass(part) and not inspect.isabstract(part)
            if made and not issubclass(part, Exception):
                found.setdefault(part, f"{room.__name__}.{name}".removeprefix("vaekit."))
    return {name: part for part, name in found.items()}


def conditional(family: Any, *inputs: int) -> vk.Conditional:
    return vk.Conditional(vk.MLP(inputs, family.param_shape, hidden=()), family)


def vae() -> vk.VAE:
    parts = conditional(vk.Gaussian(2), 3), conditional(vk.Bernoulli(3), 2)
    return vk.VAE(vk.StandardNormal(2), *parts)


def blank(hint: Any) -> Any:
    """The simplest value of an annotation; of a record one that was never filled in."""
    plain = {int: 2, float: 0.5, str: "a", bool: True, Any: 3, type(None): None}
    made: dict[Any, Callable[[], Any]] = {
        torch.Tensor: lambda: torch.zeros(2, 3),
        torch.device: lambda: torch.device("cpu"),
        nn.Module: lambda: nn.Linear(3, 3),
        Path: lambda: Path("a"),
        vk.VAE: vae,
        vk.Model: vae,
        vk.Objective: vk.ELBO,
        vk.Distribution: lambda: vk.StandardNormal(2)(),
    }
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        return None if type(None) in args else blank(args[0])
    if origin is abc.Callable:
        return lambda *_: None
    if origin in (tuple, list, abc.Sequence, abc.Iterable):
        inner = tuple(blank(each) for each in args if each is not ...)
        return inner if origin is tuple else list(inner)
    if origin in (dict, abc.Mapping):
        return {}
    if hint in plain or hint in made:
        return made[hint]() if hint in made else plain[hint]
    if inspect.isclass(hint) and issubclass(hint, tuple):
        return hint(*map(blank, list(hints(hint.__new__, hint).values())[1:]))
    return object.__new__(hint) if inspect.isclass(hint) else None


def images() -> vk.Dataset:
    rows = vk.data.Split(torch.rand(8, *GRAY))
    return vk.Dataset("t", "gray", rows, rows)


def stream() -> Any:
    return vk.data.from_value([torch.rand(4, 3) for _ in range(5)], Data()).stream


ARGUMENTS: dict[str, Callable[[], Mapping[str, Any]]] = {
    "Batches": lambda: {"split": images().train},
    "ColorNet": lambda: {"shape": COLOR},
    "Colorizer": lambda: {
        "likelihood": vk.Conditional(vk.ColorNet(COLOR), vk.Gaussian(COLOR, scale="shared"), GRAY)
    },
    "Conditional": lambda: {"net": vk.MLP(3, 4), "family": vk.Gaussian(2)},
    "ConvDecoder": lambda: {"out_shape": GRAY},
    "ConvEncoder": lambda: {"in_shape": GRAY},
    "PoolEncoder": lambda: {"in_shape": GRAY},
    "UnpoolDecoder": lambda: {"in_shape": 34, "out_shape": GRAY},
    "UnpoolEncoder": lambda: {"in_shape": GRAY},
    "DataSpec": lambda: {"kind": "gray", "shape": GRAY},
    "Dataset": lambda: {"kind": "gray", "train": images().train, "test": images().train},
    "LogCounts": lambda: {"net": vk.MLP(3, 4)},
    "Offer": lambda: {"value": "mean"},
    "VAE": lambda: {name: getattr(vae(), name) for name in ("prior", "posterior", "likelihood")},
    "data.Loader": lambda: {"stream": stream(), "split": images().train},
    "data.MappedRows": lambda: {"array": np.zeros((4, 3))},
    "distributions.TorchDistribution": lambda: {"distribution": td.Gamma(1.0, 1.0)},
    "evaluate.Classifier": lambda: {"shape": GRAY},
    "evaluate.Rows": lambda: {"split": images().train},
    "parts.TorchFamily": lambda: {"cls": td.Gamma},
    "parts.TorchPrior": lambda: {"cls": td.Gamma, "concentration": 1.0, "rate": 1.0},
    "report.Snapshots": lambda: {"folder": vk.runs.RunFolder("a")},
    "runs.Reproduction": lambda: {
        **dict.fromkeys(("name", "title", "number", "source", "protocol"), "a"),
        "recipe": "vae",
        "options": {},
        "measure": {"metric": "elbo"},
    },
    "training.DensePass": lambda: {"model": vae(), "objective": vk.ELBO()},
    "training.Supervisor": lambda: {"folder": vk.runs.RunFolder("a")},
}


def good(name: str, part: type) -> dict[str, Any]:
    """Arguments that a class takes: all that it asks for."""
    asked = inspect.signature(part).parameters.values()
    of = hints(part.__new__ if issubclass(part, tuple) else part.__init__, part)
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [p.name for p in asked if p.default is p.empty and p.kind not in variable]
    more = ARGUMENTS.get(name, dict)()
    return {name: more[name] if name in more else blank(of[name]) for name in needed} | dict(more)


def refusals(call: Callable[[Any], Any], where: str) -> tuple[list[str], list[bool]]:
    """What each wrong value gives that is neither taken nor refused in a line; whether it is."""
    faults, refused = [], []
    for wrong in WRONG:
        try:
            call(wrong)
            refused.append(False)
        except VaekitError as error:
            refused.append(True)
            if "\n" in str(error) or len(str(error)) > 400:
                faults.append(f"{where}={wrong!r:.40}: {str(error)!r}")
        except Exception as error:
            faults.append(f"{where}={wrong!r:.40}: {type(error).__name__}: {str(error)[:200]}")
    return faults, refused


@pytest.mark.parametrize("name", classes())
def test_no_constructor_raises_anything_else(name: str) -> None:
    """What has a type of its own refuses an object of none."""
    part = classes()[name]
    arguments = good(name, part)
    part(**arguments)
    of, faults = hints(part.__new__ if issubclass(part, tuple) else part.__init__, part), []
    for each in inspect.signature(part).parameters.values():
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) or name == "Offer":
            continue

        def call(wrong: Any, argument: str = each.name) -> Any:
            return part(**arguments | {argument: wrong})

        found, refused = refusals(call, each.name)
        faults += found
        if of.get(each.name, Any) is not Any:
            faults += [] if any(refused) else [f"{each.name} takes anything: {of[each.name]}"]
    assert not faults, "\n".join(faults)

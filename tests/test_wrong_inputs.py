"""Wrong types, shapes, numbers and ranges, to everything public: a VaekitError in one line.

Walked are the constructors of all public classes, the functions of `vaekit.api` and the methods
of a run, each argument in turn, the others good. A call is given what its signature asks for: a
missing argument and an unknown name are Python's own TypeError, and stay that.
"""

from __future__ import annotations

import collections.abc as abc
import enum
import importlib
import inspect
import math
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch import distributions as td
from torch import nn

import vaekit as vk
from vaekit._arguments import ROOMS, hints
from vaekit._train_options import Data, Training
from vaekit.errors import VaekitError

GRAY, COLOR = (1, 8, 8), (3, 8, 8)


class Odd:
    """It takes anything, as a callback must."""

    def __init__(self, *_: Any) -> None:
        pass


def quantized() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is old
        return torch.quantize_per_tensor(torch.zeros(2, 1, 8, 8), 0.1, 0, torch.quint8)


def nested() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is new
        return torch.nested.nested_tensor([torch.zeros(1, 8, 8)] * 2)


WRONG: list[Any] = [
    *(None, True, -1, 0, 2.5, math.nan, math.inf, 10**30),
    *("3", "", b"", "\x1b[0m\n", [], (), {}, [None], ["a"], [-1], [10**30], {"a": object()}),
    *(object(), Odd, lambda *_: 0),
    *(np.zeros((2, 2, 2, 2)), np.array(["a"]), np.array(3), np.float32(-1)),
    *(torch.zeros(0), torch.tensor(3), torch.zeros(2, 3, 4, 5, 6), torch.full((3,), math.nan)),
    *(torch.zeros(2, dtype=torch.int64), torch.zeros(3, dtype=torch.complex64)),
    torch.zeros(2, 3, device="meta"),
    *("\0", "\ud800", "a" * 5000, 10**320, quantized()),
    torch.zeros(2, 1, 8, 8, dtype=torch.float8_e4m3fn),
]


def classes() -> dict[str, type]:
    """All public classes that can be made, each once, by their first name.

    Errors take any words; an enumeration compares what comes with its own first.
    """
    found: dict[type, str] = {}
    for room in (vk, *(importlib.import_module(f"vaekit.{name}") for name in (*ROOMS, "testing"))):
        for name in room.__all__:
            part = getattr(room, name)
            made = inspect.isclass(part) and not inspect.isabstract(part)
            if made and not issubclass(part, Exception | enum.Enum):
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
        vk.Prior: lambda: vk.StandardNormal(2),
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


COLUMNS = vk.data.ColumnSpec("a", "numeric"), vk.data.ColumnSpec("b", "count")
MIXED = vk.DataSpec("t", (2,), "mixed", 20, columns=COLUMNS)
ARGUMENTS: dict[str, Callable[[], Mapping[str, Any]]] = {
    "Blocks": lambda: {"event_shape": 2, "data": MIXED},
    "data.ColumnSpec": lambda: {"kind": "numeric"},
    "Batches": lambda: {"split": images().train},
    "ColorNet": lambda: {"shape": COLOR},
    "Colorizer": lambda: {
        "likelihood": vk.Conditional(vk.ColorNet(COLOR), vk.Gaussian(COLOR, scale="shared"), GRAY)
    },
    "Conditional": lambda: {"net": vk.MLP(3, 4), "family": vk.Gaussian(2)},
    "ConvDecoder": lambda: {"out_shape": GRAY},
    "ConvEncoder": lambda: {"in_shape": GRAY},
    "PoolEncoder": lambda: {"in_shape": GRAY},
    "nn.PatchDecoder": lambda: {"out_shape": GRAY},
    "nn.PatchEncoder": lambda: {"in_shape": GRAY},
    "nn.ResidualDecoder": lambda: {"out_shape": GRAY},
    "nn.ResidualEncoder": lambda: {"in_shape": GRAY},
    "UnpoolDecoder": lambda: {"in_shape": 34, "out_shape": GRAY},
    "UnpoolEncoder": lambda: {"in_shape": GRAY},
    "DataSpec": lambda: {"kind": "gray", "shape": GRAY},
    "Dataset": lambda: {"kind": "gray", "train": images().train, "test": images().train},
    "LogCounts": lambda: {"net": vk.MLP(3, 4)},
    "VAE": lambda: {name: getattr(vae(), name) for name in ("prior", "posterior", "likelihood")},
    "data.Loader": lambda: {"stream": stream(), "split": images().train},
    "data.MappedRows": lambda: {"array": np.zeros((4, 3))},
    "distributions.TorchDistribution": lambda: {"distribution": td.Gamma(1.0, 1.0)},
    "objectives.FactorVAE": lambda: {"critic_hidden": (4,)},
    "evaluate.Classifier": lambda: {"shape": GRAY},
    "evaluate.Rows": lambda: {"split": images().train},
    "models.CodeModel": lambda: {
        "prior": vk.parts.CodesPrior((1, 12)),
        "posterior": conditional(vk.Delta(2), 3),
        "quantizer": vk.parts.FSQ(levels=(4, 3)),
        "likelihood": conditional(vk.Gaussian(3, scale=1.0), 2),
    },
    "parts.DiscretizedLogisticMixture": lambda: {"event_shape": (3, 2, 2)},
    "parts.Similarity": lambda: {"event_shape": (1, 2, 2)},
    "models.HamiltonianVAE": lambda: {
        name: getattr(vae(), name) for name in ("prior", "posterior", "likelihood")
    },
    "parts.VampPrior": lambda: {"data": vk.DataSpec("t", (3,), "table", 9)},
    "parts.OfLibrary": lambda: {"family": vk.Poisson(3)},
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
            said = (
                str(error).replace(str(wrong), "") if isinstance(wrong, str | int) else str(error)
            )
            if "\n" in said or len(said) > 400:
                faults.append(f"{where}={wrong!r:.40}: {str(error)!r}")
        except Exception as error:
            faults.append(f"{where}={wrong!r:.40}: {type(error).__name__}: {str(error)[:200]}")
    return faults, refused


def test_an_offer_of_another_word_is_none() -> None:
    for wrong in ("means", 3, None, [], {}):
        with pytest.raises(VaekitError, match="unknown offer"):
            vk.Offer(wrong)


@pytest.mark.parametrize("name", classes())
def test_no_constructor_raises_anything_else(name: str) -> None:
    """What has a type of its own refuses an object of none."""
    part = classes()[name]
    arguments = good(name, part)
    part(**arguments)
    of, faults = hints(part.__new__ if issubclass(part, tuple) else part.__init__, part), []
    for each in inspect.signature(part).parameters.values():
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue

        def call(wrong: Any, argument: str = each.name) -> Any:
            return part(**arguments | {argument: wrong})

        found, refused = refusals(call, each.name)
        faults += found
        if of.get(each.name, Any) is not Any:
            faults += [] if any(refused) else [f"{each.name} takes anything: {of[each.name]}"]
    assert not faults, "\n".join(faults)


SMALL: Any = {"latent": 2, "epochs": 1, "threads": 1, "report": False, "net": "mlp:hidden=8"}


def trained(recipe: str, folder: Path) -> vk.Run:
    return vk.train(recipe, data="digits", limit=64, out=folder / recipe, **SMALL)


@pytest.fixture(scope="module", params=["vae", "cvae"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> vk.Run:
    return trained(request.param, tmp_path_factory.mktemp("runs"))


def usual(run: vk.Run, folder: Path) -> dict[str, dict[str, Any]]:
    """A good call of each method of a run."""
    context = run.context("3", 2) if run.conditional else None
    batch = {"x": torch.rand(2, *run.spec.shape), "context": context}
    data = torch.randint(0, 255, (4, *run.spec.shape), dtype=torch.uint8)
    return {
        "by_class": {"n": 1},
        "context": {"label": 3, "n": 2},
        "decode": {"z": torch.zeros(2, 2), "context": context},
        "edit": {**batch, "toward": {"3": 1.0}, "steps": 2},
        "encode": batch,
        "evaluate": {"limit": 4},
        "fit_prior": {"prior": "mixture:components=1"},
        "impute": {"data": data},
        "new_data": {"data": data},
        "outliers": {"k": 2, "by": "error", "samples": 1},
        "prepared": {"source": run.source()},
        "prior": {"context": None if context is None else context[:1]},
        "read": {"data": data},
        "reconstruct": batch,
        "sample": {"n": 2, "context": context},
        "score": {"samples": 1, "limit": 4},
        "save": {"path": folder / "saved", "overwrite": True},
        "subject": {"data": run.dataset()},
        "with_data": {"value": data},
    }


def walked(function: Callable[..., Any], given: Mapping[str, Any], names: Iterable[str]) -> None:
    """Call a function with each wrong value of each argument, the others as given."""
    faults = []
    for name in sorted(names):

        def call(wrong: Any, argument: str = name) -> Any:
            return function(**{**given, argument: wrong})

        faults += refusals(call, name)[0]
    assert not faults, "\n".join(faults)


OF_RUN = {name: m for part in vk.Run.__mro__ for name, m in vars(part).items()}
METHODS = [name for name, m in OF_RUN.items() if name[0] != "_" and inspect.isfunction(m)]


@pytest.mark.parametrize("method", METHODS)
def test_no_method_of_a_run_raises_anything_else(
    run: vk.Run, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function = getattr(run, method)
    given = usual(run, tmp_path).get(method, {})
    unlabeled = ("read", "new_data") if run.conditional else ("context", "by_class")
    if method not in ("with_data", "impute", *unlabeled):  # which are refused as a whole
        function(**given)
    names = {*given, *inspect.signature(function).parameters} - {"how", "metrics", "words"}
    walked(function, given, names)


def test_nor_does_what_fills_a_table(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 3))
    run = vk.train("vae", data=rows, kind="table", out=tmp_path / "run", **SMALL)
    rows[3, 1] = np.nan
    given = {"data": pandas.DataFrame(rows[:4], columns=["1", "2", "3"]), "samples": 2}
    run.impute(**given)
    walked(run.impute, given, inspect.signature(run.impute).parameters)


def test_words_and_metrics_of_a_run_are_refused_too(run: vk.Run) -> None:
    for function in (run.require, run.evaluate):
        faults, refused = refusals(function, "words")
        assert not faults, "\n".join(faults)
        assert all(refused[:6])


class TookError(VaekitError):
    """What stands in for a training: all that came was taken."""


def take(*_: Any, **__: Any) -> Any:
    raise TookError("it would train.")


def calls(run: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """A good call of each function of `vaekit.api`."""
    rows = np.zeros((64, 8, 8), np.uint8)
    return {
        "compare": {"runs": [run, run], "limit": 4, "out": folder / "c.html"},
        "load": {"run": run},
        "reproduce": {"name": "linear-mnist", "out": folder / "reproduced"},
        "resume": {"run": run, "epochs": 2},
        "save": {"run": run, "path": folder / "saved", "overwrite": True},
        "sweep": {"grid": {"latent": [1, 2]}, "data": "digits", "out": folder / "swept"},
        "train": {"data": rows, "out": folder / "trained", **SMALL},
        "train_seeds": {"data": "digits", "out": folder / "seeds"},
    }


@pytest.mark.parametrize("verb", sorted({*vk.api.__all__} - {"Run"}))
def test_no_verb_raises_anything_else(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All options of a training go through `train`; what the others make of them is the same."""
    monkeypatch.chdir(tmp_path)
    given = calls(trained("vae", tmp_path).path, tmp_path)[verb]
    for where in ("api.optimize", "api.describe", "runs._parallel.describe"):
        monkeypatch.setattr(f"vaekit.{where}", take)
    function = getattr(vk, verb)
    names = {*given, *inspect.signature(function).parameters} - {"options"}
    if verb == "train":
        names |= {*Data.model_fields, *Training.model_fields, "latent", "prior", "likelihood"}
    if verb in ("train", "train_seeds", "sweep", "resume"):
        with pytest.raises(TookError):
            function(**given)
    walked(function, given, names)


def test_a_code_of_one_number_has_two_dimensions_and_a_table_no_classes(tmp_path: Path) -> None:
    run = vk.train("vae", data=np.eye(16), out=tmp_path / "run", **SMALL | {"latent": 1})
    for codes in (torch.tensor(0.0), torch.zeros(3)):
        with pytest.raises(vk.VaekitError, match="expected numbers"):
            run.decode(codes)
    with pytest.raises(vk.VaekitError, match="knows no classes"):
        run.by_class(1)


@pytest.mark.parametrize(
    "call",
    [
        lambda run: run.sample(0),
        lambda run: run.encode(torch.tensor(1.0)),
        lambda run: run.reconstruct(torch.tensor(1.0)),
        lambda run: run.encode(torch.rand(4, 1, 8, 8).to_sparse()),
        lambda run: run.encode(nested()),
        lambda run: run.sample(nested()),
    ],
    ids=["no samples", "one number", "one number rebuilt", "sparse", "nested", "nested samples"],
)
def test_rows_of_no_shape_are_refused(run: vk.Run, call: Any) -> None:
    with pytest.raises(vk.VaekitError, match="expected"):
        call(run)

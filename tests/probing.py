"""A walk of a recipe through the shell, which every probe of a part takes; a pair to train."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from vaekit.cli.main import main
from vaekit.data import Batches, Split, load
from vaekit.models import VAE
from vaekit.nn import MLP
from vaekit.objectives import Objective, players
from vaekit.parts import Bernoulli, Conditional, Family, Gaussian, StandardNormal
from vaekit.runs import Run, open_run
from vaekit.training import Progress, fit, make_optimizer

Pair = tuple[VAE, Objective]

DATA = ("--data", "digits", "--limit", "200", "--threads", "1")
ASKED = ("nll:samples=8", "latent", "aggregate", "reconstruction", "bound:samples=2")


def run(*words: object) -> int:
    """The exit code of `vaekit WORDS`."""
    try:
        main([str(word) for word in words])
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def weights(path: Path) -> Any:
    return open_run(path, weights="last").model.state_dict()


def resumed(tmp_path: Path, recipe: str, *options: str) -> Path:
    """Trains two epochs at once, and one after the other, to the same weights; the run's folder."""
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert run("train", recipe, *DATA, *options, "--epochs", 2, "--out", whole) == 0
    assert run("train", recipe, *DATA, *options, "--epochs", 1, "--out", parted) == 0
    assert run("train", "--resume", parted, "--epochs", 2) == 0
    first, second = weights(whole), weights(parted)
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)
    return whole


def whole_way(tmp_path: Path, recipe: str, latent: int, *commands: str) -> Run:
    """Trains a small one and resumes it; commands exit 0, and -nll is above the ELBO; the run."""
    torch.set_default_dtype(torch.float32)
    path = resumed(tmp_path, recipe, "--latent", str(latent), "--net", "mlp:hidden=16")
    for command in ("evaluate", "encode", "score", "sample", "reconstruct", "scatter", *commands):
        assert run(command, path) == 0
    assert "</html>" in (path / "report.html").read_text()
    made = open_run(path, weights="last")
    found = made.evaluate("nll", limit=20)
    assert found["nll"]["mean"] <= -found["elbo"] + 1
    return made


def walk(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    recipe: str,
    *options: str,
    refused: Collection[str] = (),
    asked: Sequence[str] = ASKED,
) -> dict[str, Any]:
    """Trains, resumes, evaluates, reports, compares, samples and traverses; what was measured.

    What is `refused` must exit 2 in one line, and all else 0.
    """
    whole, plain = resumed(tmp_path, recipe, *options), tmp_path / "plain"
    assert run("train", "vae", *DATA, "--epochs", 1, "--out", plain) == 0
    assert "report.html" in {path.name for path in whole.iterdir()}
    commands: dict[str, list[object]] = {
        "evaluate": ["evaluate", whole, *asked, "--json"],
        "report": ["report", whole],
        "compare": ["compare", whole, plain, "--out", tmp_path / "page.html"],
        "sample": ["sample", whole, "--out", tmp_path / "samples.png"],
        "traverse": ["traverse", whole, "--out", tmp_path / "traverse.png"],
    }
    found: dict[str, Any] = {}
    for name, words in commands.items():
        capsys.readouterr()
        code = run(*words)
        said = capsys.readouterr()
        assert code == (2 if name in refused else 0), f"{name}: {said.err}"
        if name in refused:
            assert len(said.err.strip().splitlines()) == 1, said.err
        elif name == "evaluate":
            found = json.loads(said.out)
    return found


def rows_of_digits(count: int = 96) -> Split:
    """The first rows of the digits, flat."""
    return Split(load("digits").train.images[:count].flatten(1))


def pair(objective: Objective, latent: int = 2, likelihood: Family | None = None) -> Pair:
    """A small VAE of digits, and the objective that it is trained with."""
    made = VAE(
        StandardNormal(latent),
        Conditional(MLP(64, 2 * latent, hidden=(16,)), Gaussian(latent)),
        Conditional(MLP(latent, 64, hidden=(16,)), likelihood or Bernoulli(64)),
    )
    return made, objective


def stepped(made: Pair, steps: int = 5, lr: float = 1e-2, **options: Any) -> Progress:
    """What some steps of Adam make of a pair."""
    model, objective = made
    adam = make_optimizer("adam", players(model, objective)[0], lr=lr)
    batches = options.pop("batches", None) or Batches(rows_of_digits(), 32)
    return fit(model, objective, batches, steps=steps, optimizer=adam, **options)


def _process(rank: int, folder: str, make: Callable[[], Pair]) -> None:
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    torch.manual_seed(rank)
    made = make()
    stepped(made, batches=Batches(rows_of_digits(), 32, rank=rank, world=2))
    torch.save([part.state_dict() for part in made], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def two_processes(folder: Path, make: Callable[[], Pair]) -> list[Any]:
    """The states of a pair after some steps by two processes, which must be equal."""
    torch.multiprocessing.spawn(_process, (str(folder), make), nprocs=2)
    both = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for one, other in zip(*both, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items())
        assert all(bool(value.isfinite().all()) for value in one.values())
    found: list[Any] = both[0]
    return found

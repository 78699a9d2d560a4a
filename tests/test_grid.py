"""Every posterior with every prior, likelihood and objective, by name, those of the probes too.

What each cell says at construction stands in grid.json: "ok", or the letter of the rule that
refuses it. `python tests/test_grid.py` writes what is missing; without the file, all anew.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import test_probe_likelihood
import test_probe_posterior
import test_probe_prior
import torch

from vaekit.data import ColumnSpec, DataSpec
from vaekit.errors import VaekitError
from vaekit.objectives import by_part, drawing, players
from vaekit.recipes import Builder, Recipe, build
from vaekit.registry import entries, make
from vaekit.training import differentiate

TABLE = Path(__file__).with_name("grid.json")
PROBES = (test_probe_likelihood, test_probe_posterior, test_probe_prior)
MORE = {
    "posterior": ["gaussian:scale=shared"],
    "likelihood": ["gaussian:scale=fitted"],
    "objective": [
        "elbo:kl=sampled",
        "factor-vae:critic_hidden=8",
        "geco:goal=0.5",
        *(f"{name}:samples=3" for name in ("iwae", "ciwae", "renyi", "dreg", "vimco")),
        *(f"{name}:m=2:k=3" for name in ("miwae", "piwae")),
    ],
}
COLUMNS = (
    ColumnSpec("a", "numeric"),
    ColumnSpec("s", "category", ("x", "y", "z")),
    ColumnSpec("n", "count"),
)


@pytest.fixture(autouse=True)
def _probes() -> None:
    for probe in PROBES:
        probe.enter()


def axis(kind: str) -> list[str]:
    """The names of a kind; objectives of many draws with a few."""
    few = {part.partition(":")[0] for part in MORE.get("objective", [])} - {"elbo"}
    return [*sorted(set(entries(kind)) - few), *MORE.get(kind, [])]


def lines() -> Iterator[tuple[str, str, str]]:
    yield from itertools.product(axis("posterior"), axis("prior"), axis("objective"))


def data_for(likelihood: str) -> DataSpec:
    if likelihood == "blocks":
        return DataSpec("grid", (5,), "mixed", rows=20, columns=COLUMNS)
    counts = likelihood in ("poisson", "negative-binomial", "zinb", "multinomial")
    return DataSpec("grid", (1, 4, 4), "counts" if counts else "gray", rows=20)


def rows_for(likelihood: str, x: torch.Tensor) -> torch.Tensor:
    """Rows of the likelihood's kind, of images in [0, 1]."""
    if likelihood == "blocks":
        return torch.cat([x[:, 0, 0, :1], torch.eye(3).repeat(2, 1), x[:, 0, 1, :1].round()], 1)
    return (8 * x).round() if data_for(likelihood).kind == "counts" else x


def made(posterior: str, prior: str, objective: str, likelihood: str) -> Recipe | str:
    """The model and objective, or the rule that refuses them."""
    parts = {"posterior": posterior, "prior": prior, "objective": objective}
    parts |= {"likelihood": likelihood, "net": "mlp:hidden=8:start=init"}
    try:
        return build("vae", data_for(likelihood), latent=2, **parts)
    except VaekitError as error:
        rule = re.split(r", which|;|: ", str(error))[0]
        return re.sub(r"^\w+ (?=needs |trains )", "", rule)  # of whichever objective


@contextmanager
def sharing() -> Iterator[None]:
    """Let cells that differ by their objective alone share a model: to make it takes longest."""
    last: list[str] = []
    known: dict[str, Any] = {}

    class Seen(Builder):
        def __init__(self, parts: Any, data: DataSpec) -> None:
            super().__init__(parts, data)
            last[:] = [repr([parts[kind] for kind in ("posterior", "prior", "likelihood")])]

    def once(kind: str, spec: Any, makers: Any = None) -> Any:
        if kind != "model":
            return make(kind, spec, makers)
        if last[0] not in known:
            if len(known) >= 2 * len(axis("likelihood")):
                known.clear()
            try:
                known[last[0]] = make(kind, spec, makers)
            except VaekitError as error:
                known[last[0]] = error
        if isinstance(known[last[0]], VaekitError):
            raise known[last[0]]
        return known[last[0]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.recipes.builder.make", once)
        patch.setattr("vaekit.recipes.builder.Builder", Seen)
        yield


def row(line: tuple[str, str, str]) -> list[Recipe | str]:
    return [made(*line, likelihood) for likelihood in axis("likelihood")]


def three_steps(recipe: Recipe, likelihood: str) -> None:
    """Three steps, after each of which all is finite; draws; and the same model from its weights.

    Each parameter gets a gradient, and weights that are saved and loaded give the same bound.
    """
    x = rows_for(likelihood, torch.rand(6, 1, 4, 4))
    model, objective = recipe.model, recipe.objective
    optimizer = torch.optim.SGD([*model.parameters(), *objective.parameters()], 1e-4)
    for _ in range(3):
        with drawing(objective, model):
            bound = objective(model(x, samples=objective.samples))
        assert torch.isfinite(bound.value).all()
        optimizer.zero_grad()
        first = players(model, objective)[0]
        differentiate(bound, len(x), partial(by_part, model, objective), first)
        assert [name for name, value in model.named_parameters() if value.grad is None] == []
        optimizer.step()
    assert all(torch.isfinite(value).all() for value in model.parameters())
    if "draws" in model.offers:
        assert torch.isfinite(model.sample(2)).all()  # type: ignore[operator]


def same_when_loaded(recipe: Recipe, again: Recipe, likelihood: str) -> None:
    again.model.load_state_dict(recipe.model.state_dict())
    again.objective.load_state_dict(recipe.objective.state_dict())
    x = rows_for(likelihood, torch.ones(6, 1, 4, 4))
    values = []
    for each in (recipe, again):
        each.model.eval()
        torch.manual_seed(0)
        with torch.no_grad(), drawing(each.objective, each.model):
            values.append(each.objective(each.model(x, samples=each.objective.samples)).value)
    assert torch.equal(*values)


def test_every_cell_is_taken_or_refused_by_its_rule() -> None:
    table = json.loads(TABLE.read_text())
    assert table["likelihoods"] == axis("likelihood")
    assert list(table["cells"]) == [" ".join(line) for line in lines()]
    with sharing():
        for line in lines():
            verdicts = table["cells"][" ".join(line)].split()
            for likelihood, verdict, found in zip(
                axis("likelihood"), verdicts, row(line), strict=True
            ):
                rule = table["rules"].get(verdict) if isinstance(found, str) else "ok"
                assert (found if isinstance(found, str) else verdict) == rule, (line, likelihood)


def covering() -> list[tuple[str, str, str, str]]:
    """At least 300 cells that are taken, in which every two parts that go together are."""
    table = json.loads(TABLE.read_text())
    cells = [
        (*name.split(), likelihood)
        for name, verdicts in table["cells"].items()
        for likelihood, verdict in zip(table["likelihoods"], verdicts.split(), strict=True)
        if verdict == "ok"
    ]
    random.Random(0).shuffle(cells)
    seen: set[tuple[str, str]] = set()
    chosen, rest = [], []
    for cell in cells:
        new = {*itertools.combinations(map("{}{}".format, range(4), cell), 2)} - seen
        (chosen if new else rest).append(cell)
        seen |= new
    return [*chosen, *rest[: max(0, 300 - len(chosen))]]  # type: ignore[list-item]


def test_a_covering_set_of_cells_takes_three_steps_draws_and_is_loaded() -> None:
    cells = covering()
    assert len(cells) >= 300
    for posterior, prior, objective, likelihood in cells:
        found = made(posterior, prior, objective, likelihood)
        again = made(posterior, prior, objective, likelihood)
        assert isinstance(found, Recipe)
        assert isinstance(again, Recipe)
        three_steps(found, likelihood)
        same_when_loaded(found, again, likelihood)


def write() -> None:
    """Write what is not there as yet, or all anew where the likelihoods are others."""
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    if table.get("likelihoods") != axis("likelihood"):
        table = {"rules": {}, "cells": {}}
    rules: dict[str, str] = table["rules"]
    cells = {}
    for line in lines():
        if (known := table["cells"].get(" ".join(line))) is not None:
            cells[" ".join(line)] = known
            continue
        found = [one if isinstance(one, str) else "ok" for one in row(line)]
        for one in found:
            if one != "ok" and one not in rules.values():
                rules[chr(ord("A") + len(rules))] = one
        letters = {"ok": "ok", **{rule: letter for letter, rule in rules.items()}}
        cells[" ".join(line)] = " ".join(letters[one] for one in found)
    table = {"likelihoods": axis("likelihood"), "rules": rules, "cells": cells}
    TABLE.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    for probe in PROBES:
        probe.enter()
    with sharing():
        write()

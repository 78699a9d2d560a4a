"""Numbers that schedules fill: which there are, by what names, and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import vaekit as vk
from vaekit.data import Batches, Split
from vaekit.objectives import ELBO, Objective, Reconstruction, Weight, over_samples, weights
from vaekit.parts import Conditional, Gaussian, StandardNormal
from vaekit.training import Progress, fit, make_optimizer, targets


def vae(scale: Any = "fitted") -> vk.VAE:
    return vk.VAE(
        StandardNormal(2),
        Conditional(vk.MLP(6, 4, hidden=(8,), norm="batch"), Gaussian(2)),
        Conditional(vk.MLP(2, 6, hidden=(8,)), Gaussian(6, scale=scale)),
    )


class Two(Objective):
    """One weight of its own, and one of a part."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = Weight(1.0)
        self.inner = nn.Module()
        self.inner.beta, self.inner.gamma = Weight(2.0), Weight(3.0)
        self._held = nn.Buffer(torch.zeros(()))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("several", torch.zeros(3))

    def value(self, trace: Any) -> torch.Tensor:
        return over_samples(trace.log_likelihood)


def place(name: str, model: nn.Module, objective: Objective) -> tuple[nn.Module, str]:
    """Where a schedule of this name leads."""
    return next(iter(targets({name: float}, model, objective)[1]))


def test_weights_are_0_dim_and_floating_and_have_no_underscore() -> None:
    model = vae()
    model.temperature = Weight(0.5)  # type: ignore[assignment]
    assert "posterior.net.body.1.num_batches_tracked" in dict(model.named_buffers())
    assert list(weights(model, "model")) == ["model.temperature"]
    assert list(weights(Two())) == ["beta", "inner.beta", "inner.gamma"]
    assert list(weights(vae(scale=0.5))) == ["likelihood.family.scale.log_scale"]


def test_a_name_is_a_path_or_an_end_of_one_path_alone() -> None:
    model, objective = vae(scale=0.5), Two()
    fixed = model.likelihood.family.scale, "log_scale"
    for name in ("log_scale", "scale.log_scale", "model.likelihood.family.scale.log_scale"):
        assert place(name, model, objective) == fixed
    assert place("objective.beta", model, objective) == (objective, "beta")
    assert place("inner.beta", model, objective) == (objective.inner, "beta")
    assert place("gamma", model, objective) == (objective.inner, "gamma")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("beta", "'beta' is the weight of objective.beta, objective.inner.beta: write one of"),
        ("gama", "unknown weight 'gama'; did you mean 'gamma'? Known: lr, objective.beta, "
         "inner.beta, gamma, log_scale."),
        ("eta", "unknown weight 'eta'"),
        ("count", "unknown weight 'count'"),
        ("_held", "unknown weight '_held'"),
        ("num_batches_tracked", "unknown weight 'num_batches_tracked'"),
    ],
)  # fmt: skip
def test_other_names_are_refused_with_the_shortest_that_are_known(name: str, message: str) -> None:
    with pytest.raises(vk.VaekitError) as caught:
        targets({"lr": float, name: float}, vae(scale=0.5), Two())
    assert message in str(caught.value)


def test_two_names_of_one_weight_are_one_schedule_and_the_later_one_counts() -> None:
    objective = ELBO()
    found = targets({"objective.beta": float, "beta": abs}, vae(), objective)[1]
    assert found == {(objective, "beta"): abs}


def test_a_weight_is_looked_up_when_it_is_filled() -> None:
    """`.double()` puts another tensor in its place."""
    model, objective = vae(scale=1.0), ELBO()
    seen = []

    def turn(progress: Progress) -> None:
        seen.append((objective.beta.item(), model.likelihood.family.scale.log_scale.item()))
        model.double()
        objective.double()
        for value in progress.optimizer.state.values():
            value.update({k: v.double() for k, v in value.items() if k != "step"})
        batches._images = batches._images.double()  # type: ignore[union-attr]

    batches = Batches(Split(torch.rand(8, 6)), 4)
    adam = make_optimizer("adam", model.parameters(), lr=1e-3)
    schedules: Any = {"beta": lambda step: step + 2.0, "log_scale": lambda step: step / 4}
    fit(model, objective, batches, steps=2, optimizer=adam, schedules=schedules, on_step=turn)
    assert seen == [(2.0, 0.0), (3.0, 0.25)]


def test_a_record_lists_the_weights_of_the_objective_and_no_more(tmp_path: Path) -> None:
    class Noted(Two):
        needs = Reconstruction.needs

    vk.register("objective", "noted")(Noted)
    options = {"data": "digits", "limit": 100, "latent": 2, "net": "mlp:hidden=8:norm=batch"}
    run = vk.train("vae", objective="noted", out=tmp_path / "r", epochs=1, report=False,
                   schedule=("gamma=constant:9",), **options)  # type: ignore[arg-type]  # fmt: skip
    record = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[0])
    assert record["weights"] == {"beta": 1.0, "inner.beta": 2.0, "inner.gamma": 9.0}

"""Models that train as one against the same models alone: the same noise, the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from replay import Replayed
from torch.overrides import TorchFunctionMode

import vaekit as vk
from vaekit.data import Split, load, prepare
from vaekit.options import Data
from vaekit.training import Together, fit, make_optimizer, parse

CASES: dict[str, dict[str, Any]] = {
    "vae": {"latent": 2},
    "sigma_vae": {"latent": 2},
    "iwae": {"latent": 2, "objective": ":samples=3"},
    "cvae": {"latent": 2},
    "vae of convolutions": {"latent": 2},
    "vae with batch norm": {"latent": 2},
}
N, STEPS = 3, 5


class Share(TorchFunctionMode):
    """Noise is drawn for N models, and one has its own; dynamo would remember a patch of randn."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.randn:
            return func((N, *args[0]), **(kwargs or {}))[self.number]
        return func(*args, **(kwargs or {}))


def members(case: str) -> tuple[list[Any], list[vk.Batches]]:
    """Recipes and rows of N seeds."""
    data = prepare(load("digits"), Data(context="label" if case == "cvae" else "none"))
    net = "conv:channels=4,8" if "conv" in case else "mlp:hidden=16"
    net += ":norm=batch" if "norm" in case else ""
    made = []
    for seed in range(N):
        torch.manual_seed(seed)
        made.append(vk.recipes.build(case.split()[0], data.spec(), **CASES[case], net=net))
    return made, [vk.Batches(data.train, 600, seed=seed) for seed in range(N)]


def options(model: torch.nn.Module, objective: Any, optimizer: str = "adam") -> dict[str, Any]:
    """Of a training."""
    schedules = {"lr": parse(f"linear:0.001:0.01:{STEPS}")}
    if "beta" in dict(objective.named_buffers()):
        schedules["beta"] = parse(f"linear:0:1:{STEPS}")
    made = make_optimizer(optimizer, model.parameters(), lr=1e-3)
    return {"steps": STEPS, "optimizer": made, "schedules": schedules}


def optimizer_of(case: str) -> str:
    """Adam, but where gradients are nothing but rounding: it makes steps of them."""
    return "sgd" if "norm" in case else "adam"


def alone(case: str) -> tuple[list[Any], list[float]]:
    """Each by itself, with its share of the noise of all."""
    made, batches = members(case)
    means = []
    for number, (one, rows) in enumerate(zip(made, batches, strict=True)):
        torch.manual_seed(7)
        asked = options(one.model, one.objective, optimizer_of(case))
        with Share(number):
            trained = fit(one.model, one.objective, rows, **asked)
        means.append(trained.means["objective"])
    return made, means


def together(case: str, **more: Any) -> tuple[Together, list[float]]:
    """All as one."""
    made, batches = members(case)
    whole = Together([one.model for one in made], made[0].objective, batches)
    torch.manual_seed(7)
    asked = {**options(whole, whole.objective, optimizer_of(case)), **more}
    trained = fit(whole, whole.objective, whole.batches, **asked)
    return whole, trained.means["objective"]  # type: ignore[return-value]


@pytest.mark.parametrize("case", CASES)
def test_models_as_one_take_the_steps_of_each_alone(case: str) -> None:
    made, means = alone(case)
    whole, of_all = together(case)
    assert of_all == pytest.approx(means, rel=1e-5)
    for mine, one in zip(whole.unstack(), made, strict=True):
        states = mine.state_dict().values(), one.model.state_dict().values()
        for left, right in zip(*states, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-3, atol=2e-5)
    weights = [torch.cat([p.flatten() for p in one.parameters()]) for one in whole.models]
    assert not torch.equal(weights[0], weights[1])


def test_they_are_captured_as_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vk.training.graphs.GRAPHS, "cpu", Replayed)
    _, plain = together("vae", steps=9)
    _, again = together("vae", steps=9, captured=True)
    assert again == pytest.approx(plain, rel=1e-5)


def test_one_that_diverges_stops_all_with_one_line() -> None:
    made, batches = members("vae")
    next(made[1].model.parameters()).data.fill_(torch.nan)
    whole = Together([one.model for one in made], made[0].objective, batches)
    with pytest.raises(vk.training.DivergedError, match="one model by itself"):
        fit(whole, whole.objective, whole.batches, **options(whole, whole.objective))


def test_models_that_are_not_alike_are_refused() -> None:
    made, batches = members("vae")
    models = [one.model for one in made]
    objective = made[0].objective
    with pytest.raises(vk.VaekitError, match="got 3 models and the batches of 2"):
        Together(models, objective, batches[:2])
    digits = load("digits")
    other = vk.recipes.build("vae", digits.spec(), latent=5).model
    with pytest.raises(vk.VaekitError, match="same parts and sizes"):
        Together([*models[:2], other], objective, batches)
    fewer = vk.Batches(Split(torch.rand(700, 1, 8, 8)), 600)
    with pytest.raises(vk.VaekitError, match="as many rows a step"):
        Together(models, objective, [*batches[:2], fewer])


def test_objectives_that_cannot_be_shared_are_refused() -> None:
    class Learns(vk.ELBO):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

    class ByPart(vk.ELBO):
        def surrogate(self, trace: Any, value: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"posterior": value}

    made, batches = members("vae")
    models = [one.model for one in made]
    with pytest.raises(vk.VaekitError, match="learns parameters of its own"):
        Together(models, Learns(), batches)
    whole = Together(models, ByPart(), batches)
    with pytest.raises(vk.VaekitError, match="differentiates by part"):
        fit(whole, whole.objective, whole.batches, **options(whole, whole.objective))

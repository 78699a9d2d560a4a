"""Optimizers without torch._dynamo against torch's own: equal weights and states, to the bit."""

from __future__ import annotations

import copy
import inspect
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vaekit as vk
from vaekit.training import make_optimizer

OPTIONS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "amsgrad": ("amsgrad=true",),
    "maximize": ("maximize=true", "betas=0.5,0.9", "eps=1e-5"),
    "both": ("amsgrad=true", "maximize=true"),
}
TORCH = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def net(*dtypes: torch.dtype) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3), (4,), (2, 4, 3, 3), (), (5,)]
    kinds = dtypes or (torch.float32,)
    made = [torch.randn(shape, generator=generator) for shape in shapes]
    made[2] = made[2].contiguous(memory_format=torch.channels_last)
    return [nn.Parameter(each.to(kinds[n % len(kinds)])) for n, each in enumerate(made)]


def steps(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], count: int) -> None:
    """The last weight never has a gradient, the one before it in every other step."""
    generator = torch.Generator().manual_seed(1)
    for number in range(count):
        optimizer.zero_grad()
        for weight in weights[: 4 - number % 2]:
            noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
            weight.grad = torch.empty_like(weight).copy_(noise)
        optimizer.step()


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other) or isinstance(one, Tensor)
    if isinstance(one, Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_same(value, other[key])
    elif isinstance(one, list | tuple):
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


@pytest.mark.parametrize("more", OPTIONS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", TORCH)
def test_fused_steps_are_those_of_torch(
    name: str, decay: float, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a state of either goes on with the other."""
    mine, theirs = net(), net()
    lean = make_optimizer(name, mine, lr=0.1, weight_decay=decay, more=OPTIONS[more])
    known = {k: v for k, v in lean.defaults.items() if k != "decoupled_weight_decay"}
    own = TORCH[name](theirs, **known)  # type: ignore[arg-type]
    steps(own, theirs, 5)
    with monkeypatch.context() as patch:
        module = inspect.unwrap(torch.optim.Adam.step).__globals__
        patch.setitem(module, "adam", None)  # the kernel is called at once
        steps(lean, mine, 5)
    assert_same(mine, theirs)
    assert_same(lean.state_dict(), own.state_dict())
    first, second = copy.deepcopy(lean.state_dict()), copy.deepcopy(own.state_dict())
    lean.load_state_dict(second)
    own.load_state_dict(first)
    steps(lean, mine, 3)
    steps(own, theirs, 3)
    assert_same(mine, theirs)
    assert_same(lean.state_dict(), own.state_dict())


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "nadam", "adagrad", "adafactor"])
def test_other_optimizers_step_as_torchs(name: str) -> None:
    mine, theirs = net(), net()
    cls = {n.lower(): c for n, c in vars(torch.optim).items()}[name]
    lean, own = make_optimizer(name, mine, lr=0.1), cls(theirs, lr=0.1, weight_decay=0.0)
    steps(lean, mine, 4)
    steps(own, theirs, 4)
    assert_same(mine, theirs)
    assert_same(lean.state_dict(), own.state_dict())


def test_what_is_no_one_call_of_the_kernel_is_torchs_own_step() -> None:
    def rate(optimizer: torch.optim.Optimizer) -> None:
        optimizer.param_groups[0]["lr"] = torch.tensor(0.05)

    def plain(optimizer: torch.optim.Optimizer) -> None:
        optimizer.param_groups[0]["fused"] = False

    for dtypes, change in (
        ((torch.float32, torch.float64), lambda _: None),
        ((torch.float64,), lambda _: None),
        ((torch.float32,), rate),
        ((torch.float32,), plain),
    ):
        mine, theirs = net(*dtypes), net(*dtypes)
        lean = make_optimizer("adam", mine, lr=0.1)
        own = torch.optim.Adam(theirs, lr=0.1, fused=True)
        for optimizer, weights in ((lean, mine), (own, theirs)):
            change(optimizer)
            steps(optimizer, weights, 4)
        assert_same(mine, theirs)


def test_closures_and_hooks_are_torchs() -> None:
    weight = nn.Parameter(torch.ones(2))
    adam = make_optimizer("adam", [weight], lr=0.1)
    seen: list[str] = []
    adam.register_step_pre_hook(lambda *_: seen.append("before"))
    adam.register_step_post_hook(lambda *_: seen.append("after"))

    def closure() -> float:
        assert torch.is_grad_enabled()
        weight.grad = torch.ones(2)
        return 3.0

    assert adam.step(closure) == 3.0
    assert seen == ["before", "after"]
    assert isinstance(adam, torch.optim.Adam)
    assert type(adam).__name__ == "Adam"
    torch.testing.assert_close(weight.detach(), torch.full((2,), 0.9))


def test_options_that_exclude_each_other_are_refused_in_a_line() -> None:
    with pytest.raises(vk.VaekitError, match="adam cannot train this model"):
        make_optimizer("adam", net(), lr=0.1, more=("foreach=true",))


SCRIPT = """
import sys, torch, vaekit as vk
from vaekit.data import load
from vaekit.objectives import ELBO
from vaekit.parts import FullMixture
from vaekit.runs import structure
from vaekit.training import fit, make_average, make_optimizer

class ByPart(ELBO):
    def surrogate(self, trace, value):
        return {"posterior": value, "rest": value}

asked = ("adam", None, ELBO()), ("adamw", 1.0, ByPart()), ("sgd", 1.0, ELBO())
for name, clip, objective in asked:
    made = vk.recipes.build("vae", load("digits").spec(), latent=2)
    optimizer = make_optimizer(name, made.model.parameters(), lr=1e-3)
    average = make_average(made.model, 0.9)
    batches = vk.Batches(load("digits").train, 128)
    asked = dict(optimizer=optimizer, average=average, clip=clip, precision="bf16")
    progress = fit(made.model, objective, batches, steps=3, **asked)
    fit(made.model, objective, batches, steps=5, resume=progress.state(), **asked)
structure(FullMixture(2, components=2))  # which is kept beside a run's weights
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


def test_a_training_does_not_import_what_compiles_graphs() -> None:
    """It takes 2 s and 70 MiB of each process."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_fused_step_of_another_optimizer_is_torchs_own() -> None:
    ours, theirs = net(), net()
    more = ["fused=true", "momentum=0.9"]
    steps(make_optimizer("sgd", ours, lr=0.1, more=more), ours, 3)
    steps(torch.optim.SGD(theirs, lr=0.1, momentum=0.9, fused=True), theirs, 3)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))

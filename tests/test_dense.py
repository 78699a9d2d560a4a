"""Gradients by hand against autograd's: of each layer, through trainings, and who takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

import vaekit as vk
from vaekit._torchutil import load_state, save_state
from vaekit.data import Batches, Split, load
from vaekit.training import (
    DensePass,
    DivergedError,
    Progress,
    differentiate,
    fit,
    make_average,
    make_optimizer,
    parse,
)
from vaekit.training import _graphs as graphs
from vaekit.training import _update as update

SHAPE, LATENT = (1, 3, 3), 4
ACTIVATIONS = ("relu", "leaky-relu:0.2", "gelu", "silu", "tanh")
LIKELIHOODS: dict[str, Callable[[], Any]] = {
    "bernoulli": lambda: vk.Bernoulli(SHAPE),
    "gaussian, fixed": lambda: vk.Gaussian(SHAPE, scale=0.5),
    "gaussian, fitted": lambda: vk.Gaussian(SHAPE, scale="fitted"),
    "gaussian, shared": lambda: vk.Gaussian(SHAPE, scale="shared", mean="sigmoid"),
    "gaussian, free": lambda: vk.Gaussian(SHAPE, scale="free", floor=-3.0),
    "laplace, fitted": lambda: vk.Laplace(SHAPE, scale="fitted"),
    "laplace, shared": lambda: vk.Laplace(SHAPE, scale="shared"),
    "categorical": lambda: vk.Categorical(SHAPE, levels=3),
}


def vae(likelihood: Any = None, *, q: Any = None, prior: Any = None, **options: Any) -> vk.VAE:
    torch.manual_seed(0)
    family = vk.Bernoulli(SHAPE) if likelihood is None else likelihood
    q = vk.Gaussian(LATENT) if q is None else q
    options = {"hidden": (8, 7), **options}
    model = vk.VAE(
        vk.StandardNormal(LATENT) if prior is None else prior,
        vk.Conditional(vk.MLP(SHAPE, q.param_shape, **options), q),
        vk.Conditional(vk.MLP(LATENT, family.param_shape, **options), family),
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)
    return model


def rows(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randint(0, 3, (count, *SHAPE), generator=torch.Generator().manual_seed(1)) / (
        torch.tensor(2, dtype=dtype)
    )


def taken(parameters: list[nn.Parameter]) -> list[Tensor]:
    """Their gradients, which they then have no more."""
    found = [p.grad.clone() for p in parameters if p.grad is not None]
    assert len(found) == len(parameters)
    for p in parameters:
        p.grad = None
    return found


def assert_equal_gradients(
    model: vk.VAE, objective: vk.ELBO, dtype: torch.dtype, sizes: tuple[int, ...] = (5, 3, 11, 5)
) -> None:
    """Of batches of several sizes, one after the other; and all that is reported of them."""
    by_hand = DensePass.of(model, objective)
    assert by_hand is not None
    parameters = list(model.parameters())
    tolerance = 1e-10 if dtype == torch.float64 else 1e-6
    for size in sizes:
        x = rows(size, dtype)
        buffers = [buffer.clone() for buffer in model.buffers()]
        torch.manual_seed(size)
        trace = model(x, samples=objective.samples)
        bound = objective(trace)
        loss = differentiate(bound, 7)
        wanted, after = taken(parameters), [buffer.clone() for buffer in model.buffers()]
        for buffer, before in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        torch.manual_seed(size)
        assert by_hand.fits(x, None)
        same, again, other_loss = by_hand(x, 7)
        for got, want in zip(taken(parameters), wanted, strict=True):
            assert (got - want).norm() <= tolerance * want.norm()
        close: Any = {"rtol": tolerance, "atol": 10 * tolerance}
        torch.testing.assert_close(list(model.buffers()), after, **close)
        torch.testing.assert_close(other_loss, loss, **close)
        torch.testing.assert_close(again.value, bound.value.detach(), **close)
        torch.testing.assert_close(again.parts, bound.parts, **close)
        torch.testing.assert_close(same.site.z, trace.site.z.detach(), **close)
        assert not any(value.requires_grad for value in (again.value, *again.parts.values()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_gradient_is_that_of_autograd(
    likelihood: str, activation: str, dtype: torch.dtype
) -> None:
    model = vae(LIKELIHOODS[likelihood](), activation=activation).to(dtype)
    for samples, beta in ((1, 1.0), (3, 4.0), (1, 0.0)):
        objective = vk.ELBO(samples=samples, beta=beta).to(dtype)
        assert_equal_gradients(model, objective, dtype)


@pytest.mark.parametrize("hidden", [(), 6, (5, 6, 7)])
def test_of_networks_of_any_depth(hidden: Any) -> None:
    model = vae(hidden=hidden).double()
    assert_equal_gradients(model, vk.ELBO().double(), torch.float64)


def test_a_log_scale_that_is_clamped_has_no_gradient() -> None:
    model = vae().double()
    with torch.no_grad():
        model.posterior.net.output.bias[LATENT:] = torch.tensor([-99.0, 19.0, 99.0, 0.0])
    x = rows(5, torch.float64)
    by_hand = DensePass.of(model, vk.ELBO().double())
    assert by_hand is not None
    by_hand(x, 5)
    gradient = model.posterior.net.output.bias.grad[LATENT:]
    taken(list(model.parameters()))
    assert (gradient != 0).tolist() == [False, True, False, True]
    assert_equal_gradients(model, vk.ELBO().double(), torch.float64)


def trained(
    fast: str, recipe: str = "vae", *, ema: bool = False, **options: Any
) -> tuple[list[dict[str, Any]], Progress]:
    """The numbers of each epoch, and where the training then is: 7 steps of 64 and 16 rows each."""
    torch.manual_seed(0)
    digits = load("digits")
    parts = options.pop("parts", {})
    made = vk.recipes.build(recipe, digits.spec(), latent=3, net="mlp:hidden=16,12", **parts)
    torch.manual_seed(1)
    optimizer = make_optimizer(options.pop("optimizer", "adam"), made.model.parameters(), lr=1e-3)
    found: list[dict[str, Any]] = []

    def note(progress: Progress) -> None:
        found.append({**progress.means, "norm": progress.gradient_norm, "start": progress.start})

    batches = Batches(digits.train.take(torch.arange(400)), 64)
    average = make_average(made.model, 0.9) if ema else None
    options = {"steps": 14, "on_epoch": note, "average": average, **options}
    return found, fit(
        made.model, made.objective, batches, optimizer=optimizer, fast=fast, **options
    )


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "bernoulli": {"parts": {"likelihood": "bernoulli"}},
    "laplace": {"parts": {"likelihood": "laplace"}},
    "sigma": {"recipe": "sigma_vae"},
    "beta, of three draws": {"recipe": "beta_vae", "parts": {"objective": ":beta=4:samples=3"}},
    "clipped": {"clip": 0.5},
    "scheduled": {"schedules": {"beta": parse("linear:0:1:9"), "lr": parse("linear:0:0.01:9")}},
    "averaged": {"ema": True},
    "adamw": {"optimizer": "adamw"},
    "sgd": {"optimizer": "sgd"},
}


def assert_close(state: Any, wanted: Any, **tolerance: float) -> None:
    (left, shape), (right, wanted_shape) = tree_flatten(state), tree_flatten(wanted)
    assert shape == wanted_shape
    for one, other in zip(left, right, strict=True):
        if isinstance(one, Tensor | float):
            torch.testing.assert_close(one, other, **tolerance)
        else:
            assert one == other


@pytest.fixture
def no_autograd(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes it an error that the loop asks autograd for the gradient of its loss."""

    def refuse(*_: Any) -> None:
        raise AssertionError("autograd")

    return lambda: monkeypatch.setattr(update, "differentiate", refuse)


@pytest.mark.parametrize("case", CASES)
def test_trainings_are_equal_to_rounding(case: str, no_autograd: Callable[[], None]) -> None:
    """Epochs, norms, weights, averages, moments and the layout of the state; short batches too."""
    numbers, eager = trained("off", **CASES[case])
    wanted = eager.state()
    no_autograd()
    again, progress = trained("auto", **CASES[case])
    assert_close(again, numbers, rtol=1e-4, atol=1e-5)
    assert_close(progress.state(), wanted, rtol=1e-3, atol=1e-5)
    assert all(p.grad is None for p in progress.model.parameters())


@pytest.mark.parametrize("case", ["plain", "bernoulli", "averaged"])
@pytest.mark.parametrize("split", [3, 9])
def test_three_and_three_steps_equal_six_to_the_bit(case: str, split: int, tmp_path: Path) -> None:
    _, whole = trained("auto", **CASES[case], steps=14)
    _, half = trained("auto", **CASES[case], steps=split)
    save_state(tmp_path / "state", half.state())
    _, rest = trained("auto", **CASES[case], resume=load_state(tmp_path / "state"))
    assert_close(rest.state(), whole.state(), rtol=0, atol=0)


@pytest.mark.parametrize("first", ["auto", "off"])
def test_either_goes_on_from_the_other(first: str) -> None:
    _, whole = trained("off")
    _, half = trained(first, steps=9)
    _, rest = trained("off" if first == "auto" else "auto", resume=half.state())
    assert_close(rest.state(), whole.state(), rtol=1e-3, atol=1e-5)


def test_a_training_that_diverges_says_where_as_autograd_does() -> None:
    """And the weights of before stay."""
    said = []
    for fast in ("off", "auto"):
        model = vae(vk.Gaussian(SHAPE, scale=1.0))
        with torch.no_grad():
            model.likelihood.net.output.bias[0] = torch.inf
        before = [p.clone() for p in model.parameters()]
        adam = make_optimizer("adam", model.parameters(), lr=1e-3)
        with pytest.raises(DivergedError) as raised:
            fit(model, vk.ELBO(), Batches(Split(rows(9)), 9), steps=1, optimizer=adam, fast=fast)
        said.append(str(raised.value))
        assert all(map(torch.equal, before, model.parameters()))
    assert said[0] == said[1]
    assert "the weight likelihood.net.output.bias: infinite" in said[0]


class Mine(vk.VAE):
    """A subclass, which may do anything."""


class MyPrior(vk.StandardNormal):
    """Another one."""


def _hooked(model: vk.VAE) -> vk.VAE:
    model.likelihood.net.output.register_forward_hook(lambda *_: None)
    return model


def _watched(model: vk.VAE) -> vk.VAE:
    next(model.parameters()).register_hook(lambda gradient: None)
    return model


def _gaps(model: vk.VAE) -> vk.VAE:
    model.gaps = True
    return model


def _frozen(model: vk.VAE) -> vk.VAE:
    next(model.parameters()).requires_grad_(False)
    return model


def _tied(model: vk.VAE) -> vk.VAE:
    encoder, decoder = model.posterior.net, model.likelihood.net
    decoder.body[0].bias = encoder.output.bias
    return model


def _mixed(model: vk.VAE) -> vk.VAE:
    model.likelihood.net.double()
    return model


def _parametrized(model: vk.VAE) -> vk.VAE:
    nn.utils.parametrizations.weight_norm(model.likelihood.net.output)
    return model


def _other(model: vk.VAE, net: nn.Module) -> vk.VAE:
    return vk.VAE(
        model.prior, vk.Conditional(net, vk.Gaussian(LATENT), in_shape=SHAPE), model.likelihood
    )


OTHERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], vk.objectives.Objective]]] = {
    "gaps": (lambda: _gaps(vae()), vk.ELBO),
    "batch norm": (lambda: vae(norm="batch"), vk.ELBO),
    "dropout": (lambda: vae(dropout=0.1), vk.ELBO),
    "another network": (
        lambda: _other(vae(), nn.Sequential(nn.Flatten(), nn.Linear(9, 2 * LATENT))),
        vk.ELBO,
    ),
    "another layer": (
        lambda: _other(
            vae(),
            vk.nn.Network(
                SHAPE,
                (2 * LATENT,),
                [nn.Flatten(), nn.Linear(9, 5), nn.Softplus()],
                nn.Linear(5, 2 * LATENT),
            ),
        ),
        vk.ELBO,
    ),
    "a network without a bias": (
        lambda: _other(
            vae(),
            vk.nn.Network(SHAPE, (2 * LATENT,), [nn.Flatten()], nn.Linear(9, 2 * LATENT, False)),
        ),
        vk.ELBO,
    ),
    "another prior": (lambda: vae(prior=MyPrior(LATENT)), vk.ELBO),
    "another posterior": (lambda: vae(q=vk.Laplace(LATENT)), vk.ELBO),
    "a softplus scale": (lambda: vae(q=vk.Gaussian(LATENT, scale="softplus")), vk.ELBO),
    "a floor": (lambda: vae(q=vk.Gaussian(LATENT, floor=-3.0)), vk.ELBO),
    "a shared scale": (lambda: vae(q=vk.Gaussian(LATENT, scale="shared")), vk.ELBO),
    "a bounded mean": (lambda: vae(q=vk.Gaussian(LATENT, mean="tanh")), vk.ELBO),
    "the sampled KL": (vae, lambda: vk.ELBO(kl="sampled")),
    "another objective": (vae, lambda: vk.IWAE(samples=2)),
    "a subclass": (lambda: Mine(*vae().children()), vk.ELBO),
    "a module hook": (lambda: _hooked(vae()), vk.ELBO),
    "a parameter's hook": (lambda: _watched(vae()), vk.ELBO),
    "frozen weights": (lambda: _frozen(vae()), vk.ELBO),
    "shared weights": (lambda: _tied(vae(hidden=2 * LATENT)), vk.ELBO),
    "two types": (lambda: _mixed(vae()), vk.ELBO),
    "parametrized weights": (lambda: _parametrized(vae()), vk.ELBO),
    "another device": (lambda: vae().to("meta"), vk.ELBO),
}


@pytest.mark.parametrize("what", OTHERS)
def test_all_else_takes_autograd(what: str) -> None:
    model, objective = OTHERS[what]
    assert DensePass.of(model(), objective()) is None


@pytest.mark.parametrize("name", ["ae", "iwae", "unpool_ae"])
def test_so_do_other_recipes(name: str) -> None:
    made = vk.recipes.build(name, load("digits").spec(), latent=3)
    assert DensePass.of(made.model, made.objective) is None


def test_batches_that_do_not_fit_take_autograd() -> None:
    model = vae()
    by_hand = DensePass.of(model, vk.ELBO())
    assert by_hand is not None
    x = rows(5)
    assert by_hand.fits(x, None)
    assert not by_hand.fits(x, torch.ones(5, 1))
    assert not by_hand.fits(x.double(), None)
    assert not by_hand.fits(x.flatten(1), None)
    with vk.nn.precision("bf16"):
        assert not by_hand.fits(x, None)
    next(model.parameters()).requires_grad_(False)
    assert not by_hand.fits(x, None)


@pytest.mark.parametrize("options", [{"fast": "off"}, {"precision": "bf16"}, {"compiled": True}])
def test_what_asks_for_autograd_gets_it(
    options: dict[str, Any], no_autograd: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "BACKEND", "eager")
    no_autograd()
    with pytest.raises(AssertionError, match="autograd"):
        trained(**{"fast": "auto", **options})


def test_weights_that_are_frozen_in_the_middle_stay() -> None:
    seen: list[Tensor] = []

    def freeze(progress: Progress) -> None:
        weight = next(progress.model.parameters())
        weight.requires_grad_(False)
        seen.append(weight.clone())

    trained("auto", on_step=freeze, steps=4, optimizer="sgd")
    assert len(seen) == 4
    assert all(torch.equal(seen[0], each) for each in seen)


def test_hooks_that_are_registered_in_the_middle_are_called() -> None:
    called: list[str] = []

    def watch(progress: Progress) -> None:
        if not called:
            called.append("begun")
            model: Any = progress.model
            model.likelihood.net.register_forward_hook(lambda *_: called.append("module"))
            next(model.parameters()).register_hook(lambda _: called.append("parameter"))

    trained("auto", on_step=watch, steps=3)
    assert called == ["begun", *["module", "parameter"] * 2]

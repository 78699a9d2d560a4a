"""Codes that are one-hot: relaxed while they train, and measured as they are."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves
from probing import run, whole_way
from scipy import stats
from torch import Tensor
from torch import distributions as td

import vaekit as vk
from vaekit import distributions as d
from vaekit.data import DataSpec
from vaekit.errors import VaekitError
from vaekit.evaluate import log_likelihood, measure
from vaekit.models import LatentModel, exact
from vaekit.parts import CategoricalPrior, Gumbel
from vaekit.recipes import build
from vaekit.testing import check_family, check_model

GRAY = DataSpec("t", (1, 4, 4), "gray", rows=20)
SMALL = {"latent": 2, "net": "mlp:hidden=8", "posterior": "gumbel:categories=3"}


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def toy(**parts: Any) -> LatentModel:
    """A model of two variables of three values each: nine codes in all."""
    made: Any = build("gumbel_vae", GRAY, **{**SMALL, **parts}).model
    model: LatentModel = made.double()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.3 * torch.randn_like(value))
    return model.eval()


def all_codes() -> Tensor:
    eye = torch.eye(3)
    return torch.stack([torch.stack(pair) for pair in itertools.product(eye, eye)])


def test_one_hot_variables_are_torch_s(proves: Proves) -> None:
    logits, other = 2 * torch.randn(7, 3, 4), torch.randn(3, 4)
    q, p = d.OneHotCategorical(logits), d.OneHotCategorical(other)
    known = td.Independent(td.OneHotCategorical(logits=logits), 1)
    z = q.sample((5,))
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert (z.sum(-1) == 1).all()
    proves("OneHotCategorical, density", "torch.distributions", q.log_prob(z), known.log_prob(z),
           limit=1e-12)  # fmt: skip
    proves("OneHotCategorical, mean", "torch.distributions", q.mean, known.mean, limit=1e-12)
    proves("OneHotCategorical, variance", "torch.distributions", q.variance, known.variance,
           limit=1e-12)  # fmt: skip
    categories = (td.Independent(td.Categorical(logits=v), 1) for v in (logits, other))
    wanted = td.kl_divergence(*categories)
    proves("KL(OneHotCategorical || OneHotCategorical)", "torch.distributions", d.kl(q, p), wanted,
           limit=1e-12)  # fmt: skip
    relaxed = d.GumbelSoftmax(logits, torch.tensor(0.7))
    proves("KL(GumbelSoftmax || OneHotCategorical)", "torch.distributions", d.kl(relaxed, p),
           wanted, limit=1e-12)  # fmt: skip
    many = q.sample((100_000,))[:, 0]
    assert (many.mean(0) - q.mean[0]).abs().max() < 0.01
    assert q.tempered(0).mean.amax(-1).min() > 1 - 1e-9  # cold draws are the likeliest values


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_relaxed_draws_are_those_of_the_concrete_distribution(
    temperature: float, proves: Proves
) -> None:
    logits = torch.tensor([[1.0, 0.0, -2.0]])
    q = d.GumbelSoftmax(logits, torch.tensor(temperature))
    known = td.RelaxedOneHotCategorical(torch.tensor(temperature), logits=logits[0])
    ours, theirs = q.sample((20_000,))[:, 0], known.sample((20_000,))
    proves("GumbelSoftmax, mean of draws", "torch.distributions", ours.mean(0), theirs.mean(0),
           limit=0.03)  # fmt: skip
    for k in range(3):
        assert stats.ks_2samp(ours[:, k].numpy(), theirs[:, k].numpy()).pvalue > 1e-4
    pair = d.GumbelSoftmax(torch.tensor([[0.7, -0.4]]), torch.tensor(temperature))
    drawn = np.log(pair.sample((20_000,))[:, 0].numpy())  # two Gumbel variables lie logistic apart
    known = stats.logistic(1.1 / temperature, 1 / temperature)
    apart = stats.kstest(drawn[:, 0] - drawn[:, 1], known.cdf).statistic
    proves("draws of GumbelSoftmax", "distribution function of scipy", apart, 0,
           limit=2.2 / math.sqrt(20_000))  # fmt: skip


def test_a_gumbel_family_has_gradients_relaxed_and_probabilities_exact() -> None:
    family = Gumbel(3, categories=4)
    check_family(family)
    assert family.offers == {"rsample", "bound", "fixed"}
    with exact(family):
        check_family(family)
        assert "rsample" not in family.offers
    q = family(torch.randn(2, 12))
    with pytest.raises(VaekitError, match="relaxed draws have no probability"):
        q.log_prob(q.sample())


def test_noise_of_zero_makes_no_infinite_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator may return 0 for an exponential variable, whose logarithm is infinite."""
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda self: self.zero_())
    family = Gumbel(3, categories=4)
    params = torch.zeros(2, 12, requires_grad=True)
    z = family(params).rsample((5,))
    z.square().sum().backward()
    assert torch.isfinite(z).all()
    assert torch.isfinite(params.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("learned", ["false", "true"])
def test_nll_and_bound_are_exhaustive_sums_over_all_codes(learned: str, proves: Proves) -> None:
    model: Any = toy(prior=f"categorical:learned={learned}")
    x, zs = torch.rand(6, 1, 4, 4), all_codes()
    with torch.no_grad(), exact(model):
        q, p = model.posterior(x), model.prior()
        assert bool(p.logits.any()) == (learned == "true")
        log_x = torch.stack([model.likelihood(z.expand(6, 2, 3)).log_prob(x) for z in zs])
        log_q = torch.stack([q.log_prob(z.expand(6, 2, 3)) for z in zs])
        log_p = p.log_prob(zs)[:, None]
        log_weight = log_x + log_p
        elbo = (log_q.exp() * (log_weight - log_q)).sum(0)
    assert torch.allclose(log_q.exp().sum(0), torch.ones(6))
    got = log_likelihood(model, x, samples=20_000)
    proves("NLL by one-hot draws", "a sum over all codes", got, log_weight.logsumexp(0), limit=5e-3)
    measured = measure(model, [(x, None)], samples=20_000)
    proves("ELBO by one-hot draws", "a sum over all codes", measured.elbo, elbo.mean(), limit=5e-3)


def test_the_model_is_relaxed_to_train_and_exact_to_measure() -> None:
    model: Any = toy()
    x = torch.rand(6, 1, 4, 4)
    check_model(model, x)
    z = model(x).site.z
    assert z.requires_grad
    assert not torch.equal(z, z.round())
    with exact(model):
        z = model(x).site.z
    assert torch.equal(z, z.round())
    assert model.sample(3).shape == (3, 1, 4, 4)
    assert torch.allclose(model.encode(x)[0], model.posterior(x).logits.softmax(-1))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"objective": "iwae"}, "IWAE needs draws that are not relaxed (exact)"),
        ({"objective": "elbo:kl=sampled"}, "ELBO needs the densities of a draw"),
        ({"posterior": "gumbel:categories=1"}, "categories=1`; expected a whole number of"),
        ({"posterior": "gumbel:temperature=0"}, "temperature=0`; expected a positive number"),
        ({"posterior": "gaussian"}, "take the posterior gumbel"),
        ({"prior": "standard-normal"}, "lives on reals(2) and the posterior on one-hot(2, 3)"),
    ],
)
def test_what_does_not_go_with_choices_is_refused(parts: dict[str, str], message: str) -> None:
    with pytest.raises(VaekitError) as caught:
        build("vae", GRAY, **{**SMALL, "prior": "categorical", **parts})
    assert message in str(caught.value)
    with pytest.raises(VaekitError, match="takes a number of variables"):
        Gumbel((2, 3))


def test_the_temperature_follows_the_paper_s_schedule_and_is_kept(tmp_path: Path) -> None:
    one = whole_way(tmp_path, "gumbel_vae", 4, "interpolate")
    step = one.step
    assert step
    got = one.model.state_dict()["posterior.family.temperature"].item()
    assert abs(got - math.exp(-1e-4 * (step - 1))) < 1e-6  # of the last step that was taken
    assert one.protocol()["draws"] == "exact"
    assert vk.load(one.path).step  # the best weights, though the temperature still falls
    assert run("traverse", one.path, "-o", tmp_path / "t.npz") == 0
    codes = torch.zeros(4, 10)
    codes[:, 0] = 1
    codes[1] = torch.eye(10)[7]  # the eighth category of the second of four variables
    shown = torch.from_numpy(np.load(tmp_path / "t.npz")["images"])
    assert len(shown) == 40
    assert torch.allclose(shown[17], one.decode(codes[None])[0], atol=1e-5)
    assert run("traverse", one.path, "--row", 3) == 0
    assert run("traverse", one.path, "--dims", 0) == 2
    assert run("sample", one.path, "--set", "1=2") == 2


def test_a_prior_of_choices_is_uniform_until_it_learns() -> None:
    choices = Gumbel(2, categories=3).choices
    fixed, learned = CategoricalPrior(choices), CategoricalPrior(choices, learned=True)
    assert fixed().log_prob(all_codes()).exp().tolist() == pytest.approx([1 / 9] * 9)
    assert [len(list(each.parameters())) for each in (fixed, learned)] == [0, 1]
    assert list(fixed.state_dict()) == []

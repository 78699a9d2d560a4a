"""Latents of numbers and of categories side by side, and the capacities that they are drawn to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves
from probing import run, whole_way
from torch import Tensor
from torch import distributions as td

from vaekit import distributions as d
from vaekit.data import DataSpec
from vaekit.errors import VaekitError
from vaekit.evaluate import log_likelihood
from vaekit.models import Site, Trace, exact
from vaekit.objectives import Capacity
from vaekit.parts import Joint, JointPrior
from vaekit.recipes import build
from vaekit.testing import check_family, check_model

GRAY = DataSpec("t", (1, 4, 4), "gray", rows=20)
SMALL: dict[str, Any] = {"net": "mlp:hidden=8", "posterior": "joint:categories=3:variables=2"}


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_a_product_is_the_sum_of_torch_s_densities(proves: Proves) -> None:
    loc, log_scale, logits = torch.randn(7, 2), torch.randn(7, 2), torch.randn(7, 2, 3)
    q = d.Product(d.Gaussian(loc, log_scale), d.OneHotCategorical(logits))
    x = q.sample((5,))
    normal = td.Independent(td.Normal(loc, log_scale.exp()), 1)
    choice = td.Independent(td.OneHotCategorical(logits=logits), 1)
    wanted = normal.log_prob(x[..., :2]) + choice.log_prob(x[..., 2:].unflatten(-1, (2, 3)))
    proves("Product, density", "torch.distributions", q.log_prob(x), wanted, limit=1e-12)
    many = q.sample((50_000,))
    assert (many.mean(0) - q.mean).abs().max() < 0.05
    assert (many.var(0) / q.variance - 1).abs().max() < 0.15
    assert not q.stopped().log_prob(x).requires_grad
    for temperature in (0.5, 2.0):
        normal = td.Independent(td.Normal(loc, temperature * log_scale.exp()), 1)
        choice = td.Independent(td.OneHotCategorical(logits=logits / temperature), 1)
        wanted = normal.log_prob(x[..., :2]) + choice.log_prob(x[..., 2:].unflatten(-1, (2, 3)))
        got = q.tempered(temperature).log_prob(x)
        proves("Product, tempered", "torch.distributions", got, wanted, limit=1e-12)


def test_a_joint_family_has_gradients_relaxed_and_densities_exact() -> None:
    family = Joint(2, variables=2, categories=3)
    check_family(family)
    assert family.offers == {"rsample", "bound", "fixed"}
    with exact(family):
        check_family(family)
        assert {"density", "mean", "moments", "exact"} <= family.offers
        assert not family.offers & {"factors", "rsample"}


def test_nll_is_quadrature_over_numbers_and_a_sum_over_codes(proves: Proves) -> None:
    model: Any = build("joint_vae", GRAY, latent=1, **SMALL).model.double().eval()
    for value in model.parameters():
        value.data.add_(0.3 * torch.randn_like(value))
    x = torch.rand(4, 1, 4, 4)
    check_model(model, x)
    eye, grid = torch.eye(3), torch.linspace(-7, 7, 401)
    log_p = []
    with torch.no_grad():
        for first in eye:
            for second in eye:
                codes = torch.stack([first, second]).expand(401, 4, 2, 3)
                px = model.likelihood_at((grid[:, None, None].expand(401, 4, 1), codes))
                prior = -0.5 * grid**2 - 0.5 * math.log(2 * math.pi)
                log_p.append(px.log_prob(x) + prior[:, None] + math.log(14 / 400 / 9))
    wanted = torch.stack(log_p).flatten(0, 1).logsumexp(0)
    got = log_likelihood(model, x, samples=20_000)
    proves("NLL of numbers and one-hot codes", "quadrature and a sum", got, wanted, limit=0.01)


def test_a_model_of_both_has_two_sites_and_no_more_words_than_it_can_keep() -> None:
    model: Any = build("joint_vae", GRAY, latent=2, **SMALL).model
    x = torch.rand(5, 1, 4, 4)
    trace = model(x, samples=(3,))
    assert [site.name for site in trace.sites] == ["continuous", "discrete"]
    assert [tuple(site.z.shape) for site in trace.sites] == [(3, 5, 2), (3, 5, 2, 3)]
    normal, choice = trace.sites
    standard = td.Normal(torch.zeros(2), torch.ones(2))
    first = td.kl_divergence(td.Normal(normal.q.loc, normal.q.scale), standard).sum(-1)
    q = choice.q.logits.softmax(-1)
    second = (q * (q * 3).log()).sum((-1, -2))
    assert torch.allclose(trace.kl, (first + second).expand(3, 5))
    assert [z.shape[1:] for z in model.draw_prior(4)] == [(2,), (2, 3)]
    assert "one_site" not in model.offers
    with exact(model):
        assert {"density", "mean", "exact"} <= model.offers


class FixedSite(Site):
    """A site whose KL is given, row by row."""

    @property
    def kl(self) -> Tensor:  # type: ignore[override]
        return self.z[..., 0]


def test_a_capacity_is_of_the_mean_kl_and_capped_by_what_codes_hold(proves: Proves) -> None:
    """The mean of distances is another objective: here it would be 3 and not 1."""
    px = d.Gaussian(torch.zeros(1, 3, 4), torch.zeros(()))
    kl = torch.tensor([[[1.0], [3.0], [8.0]]], requires_grad=True)
    normal = FixedSite("continuous", kl, px, d.StandardGaussian(torch.zeros(1)))
    few = torch.tensor([[[0.5], [0.5], [2.0]]], requires_grad=True)
    choice = FixedSite("discrete", few, px, d.OneHotCategorical(torch.zeros(2, 3)))
    x = torch.randn(3, 4)
    objective = Capacity(gamma=7.0, capacity=5.0, discrete=9.0)
    trace = Trace(x, (normal, choice), px, None)
    value = objective(trace).value
    price = abs(4 - 5) + abs(1 - 2 * np.log(3))  # two variables of three values hold 2 log 3 nats
    wanted = -0.5 * (x.numpy() ** 2).sum(1) - 2 * np.log(2 * np.pi) - 7 * price
    proves("objective capacity", "numpy", value, wanted, limit=1e-12)
    value.mean().backward()
    assert kl.grad is not None
    assert torch.allclose(kl.grad, torch.full_like(kl, 7 / 3))  # below its capacity it may rise
    parts = objective(trace).parts
    assert parts["kl_continuous"].tolist() == [1.0, 3.0, 8.0]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"objective": "iwae"}, "IWAE needs draws that are not relaxed (exact)"),
        ({"prior": "standard-normal"}, "the posterior on reals(2) x one-hot(2, 3): they must"),
        ({"posterior": "gaussian"}, "the prior joint is over one-hot codes"),
        ({"posterior": "joint:categories=1"}, "categories=1`; expected a whole number of"),
        ({"objective": "capacity:gamma=-1"}, "gamma=-1"),
    ],
)
def test_what_does_not_go_with_both_is_refused(parts: dict[str, str], message: str) -> None:
    with pytest.raises(VaekitError) as caught:
        build("vae", GRAY, **{**SMALL, "latent": 2, "prior": "joint", **parts})
    assert message in str(caught.value)
    with pytest.raises(VaekitError, match="joint is over vectors"):
        Joint((2, 3))
    assert len(list(JointPrior(2, (1, 3), learned=True).parameters())) == 1


def test_joint_vae_goes_the_whole_way(tmp_path: Path) -> None:
    one = whole_way(tmp_path, "joint_vae", 2, "traverse")
    assert run("traverse", one.path, "-o", tmp_path / "t.npz", "--steps", 4) == 0
    assert len(np.load(tmp_path / "t.npz")["images"]) == 2 * 4 + 10
    x = torch.rand(3, 1, 8, 8)
    assert one.encode(x).shape == (3, 12)
    assert torch.equal(one.decode(one.encode(x)), one.reconstruct(x))
    train = one.folder.records()[-1]["train"]
    assert abs(train["kl"] - train["kl_continuous"] - train["kl_discrete"]) < 1e-4

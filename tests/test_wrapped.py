"""Distributions of torch and flows of zuko as parts of a model."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as td

import vaekit as vk
from vaekit import distributions as d
from vaekit.data import Batches, Split
from vaekit.distributions import Offer, TorchDistribution, kl, kl_terms
from vaekit.errors import VaekitError
from vaekit.objectives import require
from vaekit.parts import TorchFamily, TorchPrior, ZukoFamily
from vaekit.testing import check_family, check_model
from vaekit.training import Progress, fit, make_optimizer


def gaussians() -> tuple[d.Gaussian, TorchDistribution]:
    loc, log_scale = torch.randn(5, 3, dtype=torch.double), torch.randn(5, 3, dtype=torch.double)
    return (
        d.Gaussian(loc, log_scale),
        TorchDistribution(td.Normal(loc, log_scale.exp()), event_dim=1),
    )


def test_a_wrapped_normal_is_the_gaussian_of_the_kit(proves: Any) -> None:
    (q, wrapped), (p, other) = gaussians(), gaussians()
    x = torch.randn(7, 5, 3, dtype=torch.double)
    for name, got, expected in (
        ("log_prob", wrapped.log_prob(x), q.log_prob(x)),
        ("terms", wrapped.terms(x), q.terms(x)),
        ("mean", wrapped.mean, q.mean),
        ("variance", wrapped.variance, q.variance),
        ("kl", kl(wrapped, other), kl(q, p)),
        ("kl_terms", kl_terms(wrapped, other), kl_terms(q, p)),
    ):
        proves(f"TorchDistribution(Normal) {name}", "vaekit Gaussian", got, expected, limit=1e-12)
    assert (wrapped.offers, wrapped.space) == (q.offers, q.space)
    assert wrapped.event_shape == q.event_shape
    assert wrapped.rsample((7,)).shape == q.rsample((7,)).shape
    independent = TorchDistribution(td.Independent(wrapped.distribution, 1))
    assert torch.equal(independent.log_prob(x), wrapped.log_prob(x))
    assert torch.equal(independent.terms(x), wrapped.terms(x))


def leaf() -> Tensor:
    return torch.full((4, 3), 1.3, requires_grad=True)


def triangle() -> Tensor:
    return torch.eye(3).mul(1.3).requires_grad_()


MADE = {
    "gamma": (lambda: td.Gamma(leaf(), leaf()), "positive(3)"),
    "beta": (lambda: td.Beta(leaf(), leaf()), "pixels(3)"),
    "log-normal": (lambda: td.LogNormal(leaf(), leaf()), "positive(3)"),
    "von mises": (lambda: td.VonMises(leaf(), leaf()), "reals(3)"),
    "uniform": (lambda: td.Uniform(-leaf(), leaf()), "interval(3)"),
    "unit": (lambda: td.Uniform(torch.zeros(4, 3), 1.0), "pixels(3)"),
    "poisson": (lambda: td.Poisson(leaf()), "counts(3)"),
    "bernoulli": (lambda: td.Bernoulli(logits=leaf()), "pixels(3; 2)"),
    "full": (lambda: td.MultivariateNormal(leaf(), scale_tril=triangle()), "reals(3)"),
    "dirichlet": (lambda: td.Dirichlet(leaf()), "simplex(3)"),
    "mixture": (
        lambda: td.MixtureSameFamily(
            td.Categorical(logits=torch.zeros(4, 3, 2)),
            td.Normal(torch.randn(4, 3, 2), leaf()[..., None]),
        ),
        "reals(3)",
    ),
    "shifted": (
        lambda: td.TransformedDistribution(
            td.Normal(leaf(), 1.0), [td.AffineTransform(leaf(), leaf()), td.ExpTransform().inv.inv]
        ),
        "positive(3)",
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_what_torch_offers_is_offered_and_nothing_else(name: str) -> None:
    make, space = MADE[name]
    p = TorchDistribution(make(), event_dim=1)
    x = p.sample((7,))
    assert str(p.space) == space
    assert x.shape == (7, 4, 3)
    assert x.dtype == torch.float32
    assert not x.requires_grad
    log_prob = p.log_prob(x)
    assert log_prob.shape == (7, 4)
    whole = td.Independent(make(), 1 - len(make().event_shape))
    torch.manual_seed(0)
    if name != "mixture":  # whose locations are random
        assert torch.allclose(log_prob, whole.log_prob(x))
    assert ("factors" in p.offers) == (not make().event_shape)
    if "factors" in p.offers:
        assert torch.allclose(p.terms(x).sum(-1), log_prob)
    else:
        with pytest.raises(VaekitError, match="does not factorize"):
            p.terms(x)
    assert ("rsample" in p.offers) == p.reparameterized == make().has_rsample
    assert "stopped" in p.offers
    stopped = p.stopped()
    assert not stopped.log_prob(x).requires_grad
    assert torch.equal(stopped.log_prob(x), log_prob)
    assert "moments" not in p.offers or p.variance.shape == (4, 3)
    if "mean" not in p.offers:
        assert name == "shifted"
        with pytest.raises(VaekitError, match="TransformedDistribution has no mean: take draws"):
            _ = p.mean


def test_a_uniform_lives_on_pixels_where_all_of_it_is_on_zero_to_one() -> None:
    one = torch.ones(2)
    assert TorchDistribution(td.Uniform(0 * one, one), event_dim=1).space.kind == "pixels"
    half = torch.tensor([0.0, 0.5])
    for low, high in ((half, one), (0 * one, one + half)):
        assert TorchDistribution(td.Uniform(low, high), event_dim=1).space.kind != "pixels"


def test_what_a_diverged_network_gives_is_passed_on_for_the_loop_to_name() -> None:
    p = TorchFamily(td.Normal, 3)(torch.full((2, 6), torch.nan))
    assert p.log_prob(torch.zeros(2, 3)).isnan().all()


def test_a_mean_that_is_not_a_number_is_not_offered() -> None:
    p = TorchDistribution(td.Cauchy(torch.zeros(3), torch.ones(3)), event_dim=1)
    assert not {"mean", "moments"} & p.offers
    mixed = td.StudentT(torch.tensor([0.9, 3.0]))  # the first has no mean
    assert not {"mean", "moments"} & TorchDistribution(mixed, event_dim=1).offers


def test_a_kl_is_torchs_where_torch_has_one(proves: Any) -> None:
    full = TorchDistribution(td.MultivariateNormal(torch.ones(4, 3), scale_tril=triangle()))
    other = TorchDistribution(td.MultivariateNormal(torch.zeros(3), scale_tril=torch.eye(3)))
    expected = td.kl_divergence(full.distribution, other.distribution)
    proves("KL of full Gaussians", "torch kl_divergence", kl(full, other), expected, limit=0)
    assert kl_terms(full, other) is None
    gamma = TorchDistribution(td.Gamma(leaf(), leaf()), event_dim=1)
    laplace = TorchDistribution(td.LogNormal(leaf(), leaf()), event_dim=1)
    assert kl(gamma, laplace) is None
    assert kl(gamma, d.StandardGaussian(torch.zeros(3))) is None
    assert kl(full, TorchDistribution(td.Normal(leaf(), leaf()), event_dim=1)) is None


FAMILIES: dict[str, tuple[TorchFamily, float]] = {
    "normal": (TorchFamily(td.Normal, (2, 2)), 1.0),
    "laplace": (TorchFamily(td.Laplace, 3), 1.0),
    "gamma": (TorchFamily(td.Gamma, 3), 0.5),
    "log-normal": (TorchFamily(td.LogNormal, 3), 0.5),
    "student": (TorchFamily(td.StudentT, 3, df=6.0), 0.5),
    "bernoulli": (TorchFamily(td.Bernoulli, 3), 1.0),
    "poisson": (TorchFamily(td.Poisson, 3), 1.0),
    "full": (TorchFamily(td.MultivariateNormal, 3), 1.0),
    "dirichlet": (TorchFamily(td.Dirichlet, 3), 0.5),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_torch_pass_the_check(name: str) -> None:
    family, spread = FAMILIES[name]
    smooth = name not in ("gamma", "dirichlet", "student")  # drawn by rejection
    check_family(copy.deepcopy(family), spread=spread, smooth=smooth)


def test_parameters_are_the_arguments_in_their_order_each_once() -> None:
    assert list(TorchFamily(td.StudentT, 2).maps) == ["df", "loc", "scale"]
    assert list(TorchFamily(td.Bernoulli, 2).maps) == ["logits"]
    assert list(TorchFamily(td.MultivariateNormal, 2).maps) == ["loc", "scale_tril"]
    assert list(TorchFamily(td.NegativeBinomial, 2, total_count=3).maps) == ["logits"]
    full = TorchFamily(td.MultivariateNormal, 3)
    raw = torch.arange(24.0).reshape(2, 12) / 10
    q: Any = full(raw)
    assert torch.equal(q.mean, raw[:, :3])
    below = raw[:, 3:].reshape(2, 3, 3).tril(-1)
    assert torch.equal(q.distribution.scale_tril.tril(-1), below)
    image = TorchFamily(td.Normal, (3, 4, 4))
    assert image.param_shape == (6, 4, 4)
    params = torch.randn(5, 7, 6, 4, 4)
    assert torch.equal(image(params).mean, params[:, :, :3])


class Halved(nn.Module):
    """The kit's log-variances as log-scales."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.in_shape = net, (9,)

    def forward(self, x: Tensor) -> Tensor:
        loc, log_variance = self.net(x).chunk(2, -1)
        return torch.cat([loc, log_variance / 2], -1)


def trained(model: Any, objective: Any = None, steps: int = 12) -> Progress:
    torch.manual_seed(3)
    rows = Batches(Split((torch.rand(60, 9) > 0.5).float()), 20)
    adam = make_optimizer("adam", model.parameters(), lr=1e-2)
    return fit(model, objective or vk.ELBO(), rows, steps=steps, optimizer=adam)


def test_a_vae_of_torchs_parts_trains_to_the_numbers_of_the_kits(proves: Any) -> None:
    encoder, decoder = vk.MLP(9, 4, hidden=(8,)), vk.MLP(2, 9, hidden=(8,))
    ours = vk.VAE(
        vk.StandardNormal(2),
        vk.Conditional(encoder, vk.Gaussian(2)),
        vk.Conditional(decoder, vk.Bernoulli(9)),
    )
    theirs = vk.VAE(
        TorchPrior(td.Normal, 2, loc=0.0, scale=1.0),
        vk.Conditional(Halved(copy.deepcopy(encoder)), TorchFamily(td.Normal, 2)),
        vk.Conditional(copy.deepcopy(decoder), TorchFamily(td.Bernoulli, 9)),
    )
    assert theirs.offers == ours.offers
    for objective in (vk.ELBO, lambda: vk.IWAE(samples=5)):
        one, two = trained(ours, objective()), trained(theirs, objective())
        for name, value in one.means.items():
            proves(f"VAE of TorchFamily {name}", "vaekit", two.means[name], value, limit=1e-5)


def gammas() -> Any:
    return vk.VAE(
        TorchPrior(td.Gamma, 2, concentration=2.0, rate=1.0),
        vk.Conditional(vk.MLP(9, 4, hidden=(8,)), TorchFamily(td.Gamma, 2)),
        vk.Conditional(vk.MLP(2, 9, hidden=(8,)), vk.Bernoulli(9)),
    )


def flows(flow: str = "nsf") -> Any:
    family = ZukoFamily(2, flow=flow, params=6, transforms=2, hidden_features=(8,))
    return vk.VAE(
        vk.StandardNormal(2),
        vk.Conditional(vk.MLP(9, 6, hidden=(8,)), family),
        vk.Conditional(vk.MLP(2, 9, hidden=(8,)), vk.Bernoulli(9)),
    )


@pytest.mark.parametrize("make", [gammas, flows, lambda: flows("maf"), lambda: flows("nice")])
def test_a_vae_with_a_posterior_of_others_trains_samples_and_checks(make: Any) -> None:
    model = make()
    progress = trained(model, steps=60)
    assert progress.start is not None
    assert progress.means["objective"] > progress.start[0]
    assert model.sample(4).shape == (4, 9)
    assert model.reconstruct(torch.rand(3, 9)).shape == (3, 9)
    for parameter in model.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
    twin = make()
    twin.load_state_dict(copy.deepcopy(model).state_dict())
    x = torch.rand(3, 9)
    torch.manual_seed(0)
    expected = model(x).log_weight
    torch.manual_seed(0)
    assert torch.equal(twin(x).log_weight, expected)


def test_the_kl_of_gammas_is_in_closed_form() -> None:
    trace = gammas()(torch.rand(3, 9), samples=(7,))
    site = trace.site
    expected = td.kl_divergence(site.q.distribution, site.p.distribution)
    assert torch.equal(site.kl_terms, expected.expand(7, 3, 2))
    assert torch.equal(site.kl, expected.sum(-1).expand(7, 3))


@pytest.mark.parametrize("flow", ["nsf", "maf", "nice"])
def test_the_density_of_a_flow_is_that_of_its_draws_and_sums_to_one(flow: str) -> None:
    torch.manual_seed(5)
    family = ZukoFamily(2, flow=flow, params=3, transforms=2, hidden_features=(8,)).double()
    check_family(family)
    q = family(torch.randn(1, 3, dtype=torch.double))
    assert q.one_pass
    assert family.offers == {*q.offers, Offer.FIXED}
    assert not {"stopped", "mean", "moments", "factors"} & q.offers
    with torch.no_grad():
        z, log_q = q.rsample_and_log_prob((100,))
        assert torch.allclose(q.log_prob(z), log_q, atol=1e-8)
        axis = torch.linspace(-15, 15, 1001, dtype=torch.double)
        grid = torch.cartesian_prod(axis, axis)[:, None]
        mass = q.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(float(mass) - 1) < 1e-3
    with pytest.raises(VaekitError, match="holds networks, which cannot be detached"):
        q.stopped()


def test_a_flow_of_a_class_of_zuko_and_what_it_is_not_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(td.Distribution, "_validate_args", td.Distribution._validate_args)
    from zuko.flows import GF

    family = ZukoFamily(3, flow=GF, params=4, transforms=2)
    assert family(torch.zeros(5, 4)).log_prob(torch.zeros(5, 3)).shape == (5,)
    with pytest.raises(VaekitError, match="unknown flow 'nfs'; did you mean 'nsf'"):
        ZukoFamily(2, flow="nfs")
    with pytest.raises(VaekitError, match=r"over vectors; got the event_shape \(2, 2\)"):
        ZukoFamily((2, 2))


FLAG = """
import torch
from torch.distributions import Distribution, Normal
from vaekit.parts import ZukoFamily
Distribution.set_default_validate_args({flag})
q = ZukoFamily(2)(torch.zeros(1, 64))
print(Distribution._validate_args, Normal(0.0, 1.0)._validate_args)
print(q.log_prob(torch.full((1, 2), float("nan"))).isnan().all().item())
"""


@pytest.mark.parametrize("flag", ["True", "False"])
def test_zuko_leaves_torchs_checks_as_they_were(flag: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FLAG.replace("{flag}", flag)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [flag, flag, "True"]


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    for make, message in (
        (lambda: TorchFamily(td.Binomial, 2), "cannot make the total_count of a Binomial .*fix it"),
        (lambda: TorchFamily(td.Uniform, 2), "a Uniform says what its parameters may be only"),
        (
            lambda: TorchFamily(td.Normal, 2, scales=1.0),
            "unknown parameter of Normal 'scales'; did",
        ),
        (lambda: TorchPrior(td.Normal, 2, loc=0.0), "Normal does not take these parameters"),
        (lambda: TorchPrior(td.Normal, 2, loc=0.0, scale=-1.0), "Normal does not take these"),
        (
            lambda: TorchDistribution(td.Normal(0.0, 1.0), event_dim=1),
            "got .event_dim=1.; a Normal of",
        ),
        (
            lambda: vk.VAE(
                vk.StandardNormal(2),
                vk.Conditional(vk.MLP(9, 4), TorchFamily(td.Gamma, 2)),
                vk.Conditional(vk.MLP(2, 9), vk.Bernoulli(9)),
            ),
            r"the prior lives on reals\(2\) and the posterior on positive\(2\)",
        ),
    ):
        with pytest.raises(VaekitError, match=message) as caught:
            make()
        assert "\n" not in str(caught.value)
    counted = vk.VAE(
        TorchPrior(td.Poisson, 2, rate=1.0),
        vk.Conditional(vk.MLP(9, 2), TorchFamily(td.Poisson, 2)),
        vk.Conditional(vk.MLP(2, 9), vk.Bernoulli(9)),
    )
    with pytest.raises(VaekitError, match="carry gradients"):
        require(vk.ELBO(), counted)


def test_models_with_wrapped_parts_pass_the_check_of_models() -> None:
    check_model(gammas(), torch.rand(3, 9))
    check_model(flows(), torch.rand(3, 9))

"""Priors, posteriors and likelihoods of the field, against what shares no code with them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zuko
from scipy import integrate, special, stats
from torch import Tensor
from torch import distributions as td

import vaekit as vk
from vaekit import distributions as d
from vaekit.cli.main import main
from vaekit.data import DataSpec
from vaekit.errors import VaekitError
from vaekit.parts import (
    IAF,
    FlowPrior,
    FullGaussian,
    LowRankGaussian,
    PlanarFlow,
    PowerSpherical,
    SplineFlow,
)
from vaekit.recipes import build
from vaekit.registry import checked, make
from vaekit.testing import check_family

Proves = Callable[..., None]
GRAY = DataSpec("t", (1, 4, 4), "gray", rows=20)


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def likelihood(spec: str, shape: tuple[int, ...]) -> Any:
    return make("likelihood", checked("likelihood", spec), {"event_shape": lambda: shape})


@pytest.mark.parametrize(
    "spec",
    [
        *("logistic", "logistic:scale=free", "student-t", "student-t:df=4:scale=free", "log-cosh"),
        *("log-cosh:a=3:scale=free", "discretized-logistic:levels=8", "discretized-logistic"),
        *("discretized-logistic:scale=free:levels=8", "discretized-logistic-mixture:components=3"),
    ],
)
def test_families_are_normalized_and_draw_from_their_density(spec: str) -> None:
    check_family(likelihood(spec, (3, 2, 2)))


@pytest.mark.parametrize("posterior", [IAF(3, hidden=8), SplineFlow(3, hidden=8),
                                       FullGaussian(3), PlanarFlow(3),
                                       LowRankGaussian(3, rank=2)])  # fmt: skip
def test_posteriors_have_gradients_and_densities_of_their_draws(posterior: Any) -> None:
    if "marginal" in posterior.offers:
        check_family(posterior.double())
    q = posterior.double()(torch.randn(2, *posterior.param_shape))
    z, log_q = q.rsample_and_log_prob((5,))
    assert (z.shape, log_q.shape) == ((5, 2, 3), (5, 2))
    if "marginal" in q.offers:
        assert torch.allclose(q.log_prob(z), log_q, atol=1e-9)
    else:
        with pytest.raises(VaekitError, match="does not factorize"):
            q.log_prob(z)


@pytest.mark.parametrize("transforms", [1, 3])
def test_splines_say_how_much_they_stretch(transforms: int, proves: Proves) -> None:
    """The base is N(0, I): log q(z) + log |det| of the way to z is its density there."""
    family = SplineFlow(3, transforms=transforms, hidden=8, given=4).double()
    q: Any = family(3 * torch.randn(*family.param_shape))
    way, noise = q.distribution.transform.inv, 2 * torch.randn(3)
    jacobian: Any = torch.autograd.functional.jacobian(way, noise)
    stretch = jacobian.det().abs().log()
    assert stretch.abs() > 0.01
    wanted = stats.norm.logpdf(noise.numpy()).sum() - stretch
    proves("log-determinant of SplineFlow", "autograd's Jacobian", q.log_prob(way(noise)), wanted,
           limit=1e-9)  # fmt: skip


def test_splines_are_moved_and_scaled_last(proves: Proves) -> None:
    """The same noise and h: z = loc + scale v, and its density is that of v by the scales."""
    family = SplineFlow(3, hidden=8, given=4).double()
    h, loc, scale = torch.randn(4), torch.tensor([5.0, -3.0, 0.0]), torch.tensor([0.1, 2.0, 1e-3])
    drawn = []
    for place, width in ((torch.zeros(3), torch.ones(3)), (loc, scale)):
        torch.manual_seed(0)
        q: Any = family(torch.cat([place, 2 * width.log(), h]).double())
        drawn.append(q.rsample_and_log_prob((50,)))
    (v, log_p), (z, log_q) = drawn
    proves("draws of SplineFlow", "arithmetic", z, loc + scale * v, limit=1e-6)
    proves("density of SplineFlow, scaled", "arithmetic", log_q, log_p - scale.log().sum(),
           limit=1e-6)  # fmt: skip


@pytest.mark.parametrize("family", [IAF(3, steps=3, hidden=8, given=4), PlanarFlow(3)])
def test_layers_say_how_much_they_stretch(family: Any, proves: Proves) -> None:
    q = family.double()(2 * torch.randn(1, *family.param_shape))

    def through(z: Tensor) -> Tensor:
        z = z[None]
        for layer in q.layers:
            z = layer(z, q.h)[0]
        return z[0]

    z = torch.randn(3)
    jacobian: Any = torch.autograd.functional.jacobian(through, z)
    total, at = torch.zeros(()), z[None]
    for layer in q.layers:
        at, stretch = layer(at, q.h)
        total = total + stretch[0]
    name = f"log-determinant of {type(family).__name__}"
    proves(name, "autograd's Jacobian", total, jacobian.det().abs().log(), limit=1e-9)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_power_spherical_distribution(size: int, proves: Proves) -> None:
    family = PowerSpherical(size)
    check_family(family, smooth=False)
    q: Any = family(torch.cat([torch.randn(2, size), torch.tensor([[-1.0], [3.0]])], 1))
    t = torch.linspace(-1, 1, 1_000_001)[1:-1]
    ring = special.gammaln((size - 1) / 2)  # the sphere across: 2 pi^(s / 2) / gamma(s / 2)
    weight = np.log(2) + (size - 1) / 2 * np.log(np.pi) - ring
    for i in range(2):
        log_p = float(q.concentration[i]) * (torch.log1p(t) - np.log(2)) - q.log_norm[i]
        mass = (log_p + weight + (size - 3) / 2 * torch.log1p(-t.square())).exp() * 2e-6
        proves("PowerSpherical, mass", "a sum over cosines", mass.sum(), 1.0, limit=2e-3)
        entropy = -(mass * log_p).sum() / mass.sum()
        proves("PowerSpherical, entropy", "a sum over cosines", q.entropy()[i], entropy, limit=2e-3)
        near = (mass * t).sum() / mass.sum()
        proves("PowerSpherical, mean", "a sum over cosines", q.mean[i].norm(), near, limit=2e-3)
    x = q.sample((100_000,))
    assert torch.allclose(x.norm(dim=-1), torch.ones(()), atol=1e-9)
    assert (x.mean(0) - q.mean).abs().max() < 0.01
    assert (x.var(0) - q.variance).abs().max() < 0.01
    flat = d.SphereUniform(torch.zeros(size))
    got, gap = d.kl(q, flat), q.log_prob(x) - flat.log_prob(x)
    assert (got - gap.mean(0)).abs().max() < 5 * gap.std(0).max() / 100_000**0.5  # type: ignore[operator]
    area = 2 * np.pi ** (size / 2) / special.gamma(size / 2)
    proves("SphereUniform, density", "the surface of the sphere", flat.log_prob(x[:5]),
           np.full((5, 2), -np.log(area)), limit=1e-12)  # fmt: skip
    assert torch.allclose(flat.sample((100_000,)).var(0), flat.variance, atol=0.01)


@pytest.mark.parametrize("size", [2, 3, 8, 50])
@pytest.mark.parametrize("sharp", [0.0, 0.3, 4.0, 300.0])
def test_the_power_spherical_density_and_kl_are_those_of_its_cosine(
    size: int, sharp: float, proves: Proves
) -> None:
    """(1 + cosine) / 2 has a Beta distribution, and the direction across is uniform."""
    loc, half = torch.nn.functional.normalize(torch.randn(size), dim=0), (size - 1) / 2
    q = d.PowerSpherical(loc, torch.tensor(sharp))
    beta = stats.beta(half + sharp, half)
    across = math.log(2) + half * math.log(math.pi) - special.gammaln(half)  # of the sphere there

    def log_density(cosine: Any) -> Any:
        ring = across + (size - 3) / 2 * np.log1p(-(cosine**2))
        return beta.logpdf((1 + cosine) / 2) - math.log(2) - ring

    x = q.sample((5,))
    proves("PowerSpherical, density", "scipy's beta", q.log_prob(x),
           log_density((x @ loc).numpy()), limit=1e-9)  # fmt: skip
    area = math.log(2) + size / 2 * math.log(math.pi) - special.gammaln(size / 2)

    def share(angle: float) -> Any:  # of the KL
        log_p = log_density(math.cos(angle))
        return math.exp(log_p + across + (size - 2) * math.log(math.sin(angle))) * (log_p + area)

    mode = np.arccos(1 - 2 * (half / (2 * half + sharp)))
    points = [p for p in (mode / 4, mode, 2 * mode) if p < math.pi]
    wanted = integrate.quad(share, 0, math.pi, points=points, limit=200, epsabs=1e-12)[0]
    flat = d.SphereUniform(torch.zeros(size))
    got = d.kl(q, flat)
    proves("KL(PowerSpherical || SphereUniform)", "scipy's quad", got, wanted, limit=1e-8)
    part, whole = (  # of the square of one element; the density of its angle is a power of the sine
        integrate.quad(lambda t, k=k: math.cos(t) ** k * math.sin(t) ** (size - 2), 0, math.pi)[0]
        for k in (2, 0)
    )
    proves("SphereUniform, variance", "scipy's quad", flat.variance, np.full(size, part / whole),
           limit=1e-9)  # fmt: skip


def test_the_variance_of_log_cosh_is_that_of_its_density(proves: Proves) -> None:
    for a in (0.3, 1.0, 4.0):
        p = d.LogCosh(torch.zeros(1), torch.tensor(-0.3), a)
        x = torch.linspace(-90, 90, 400_001)
        wanted = (x**2 * p.terms(x[:, None])[:, 0].exp()).sum() * (x[1] - x[0])
        proves("LogCosh, variance", "the trapezoidal rule", p.variance, wanted, limit=1e-8)


def test_planar_layers_can_be_inverted_whatever_the_network_says() -> None:
    family = PlanarFlow(2, steps=1).double()
    points = torch.linspace(-4, 4, 2001)[:, None] * torch.tensor([0.6, 0.8])
    for _ in range(50):
        (layer,), h = family.layers, 5 * torch.randn(1, 5)
        h[0, 2:4] = 5 * torch.tensor([0.6, 0.8])  # w, along which the points lie
        moved = layer(points, h.expand(len(points), -1))[0] @ torch.tensor([0.6, 0.8])
        assert (moved.diff() > 0).all()


def test_full_covariance_is_torch_s(proves: Proves) -> None:
    family = FullGaussian(4)
    params = torch.randn(7, *family.param_shape)
    q: Any = family(params)
    known = td.MultivariateNormal(q.loc, scale_tril=q.tril)
    x = torch.randn(5, 7, 4)
    proves("FullGaussian, density", "torch.distributions", q.log_prob(x), known.log_prob(x),
           limit=1e-10)  # fmt: skip
    proves("FullGaussian, variance", "torch.distributions", q.variance, known.variance, limit=1e-12)
    standard = td.MultivariateNormal(torch.zeros(4), torch.eye(4))
    got = d.kl(q, d.StandardGaussian(torch.zeros(4)))
    proves("KL(FullGaussian || StandardGaussian)", "torch.distributions", got,
           td.kl_divergence(known, standard), limit=1e-10)  # fmt: skip
    raw = params[0].numpy()
    entries = np.eye(4)
    entries[np.tril_indices(4, -1)] = raw[8:]
    entries = np.diag(np.exp(raw[4:8])) @ entries
    proves("family factor of a FullGaussian", "numpy", q.tril[0], entries, limit=1e-12)


@pytest.mark.parametrize("rank", [1, 3])
def test_low_rank_is_torch_s(rank: int, proves: Proves) -> None:
    family = LowRankGaussian(5, rank=rank)
    params = 2 * torch.randn(7, *family.param_shape)
    q: Any = family(params)
    diagonal = params[:, 5:10].exp()
    factor = params[:, 10:].unflatten(-1, (5, rank)) * diagonal.sqrt()[:, :, None]
    known = td.LowRankMultivariateNormal(params[:, :5], factor, diagonal)
    x = 3 * torch.randn(4, 7, 5)
    proves("LowRankGaussian, density", "torch.distributions", q.log_prob(x), known.log_prob(x),
           limit=1e-10)  # fmt: skip
    proves("LowRankGaussian, variance", "torch.distributions", q.variance, known.variance,
           limit=1e-12)  # fmt: skip
    standard = td.MultivariateNormal(torch.zeros(5), torch.eye(5))
    dense = td.MultivariateNormal(known.mean, known.covariance_matrix)
    got = d.kl(q, d.StandardGaussian(torch.zeros(5)))
    proves("KL(LowRankGaussian || StandardGaussian)", "torch.distributions", got,
           td.kl_divergence(dense, standard), limit=1e-9)  # fmt: skip
    draws = q.sample((200_000,))[:, 0]
    assert torch.allclose(draws.T.cov(), known.covariance_matrix[0], rtol=0.03, atol=0.1)


def test_mixtures_by_matrix_products_are_torch_s(proves: Proves) -> None:
    loc, log_scale = 3 * torch.randn(6, 2, 2) + 5, 0.3 * torch.randn(6, 2, 2)
    weights = torch.randn(6).log_softmax(0)
    ours = d.Mixture(weights, d.Gaussian(loc, log_scale, event_dim=2))
    x = 9 * torch.rand(9, 3, 2, 2)
    each = td.Independent(td.Normal(loc, log_scale.exp()), 2)
    known = td.MixtureSameFamily(td.Categorical(logits=weights), each)
    proves("Mixture, density", "torch.distributions", ours.log_prob(x), known.log_prob(x),
           limit=1e-11)  # fmt: skip
    laplaces = d.Mixture(weights, d.Laplace(loc, log_scale, event_dim=2))
    each = td.Independent(td.Laplace(loc, log_scale.exp()), 2)
    known = td.MixtureSameFamily(td.Categorical(logits=weights), each)
    proves("Mixture of Laplace, density", "torch.distributions", laplaces.log_prob(x),
           known.log_prob(x), limit=1e-11)  # fmt: skip
    moved = d.Gaussian(loc.float() + 100, log_scale.float(), event_dim=2)
    far = d.Mixture(weights.float(), moved).log_prob(x.float() + 100)
    assert (far.double() - ours.log_prob(x)).abs().max() < 1e-3  # far from 0 as near it


def test_the_mixture_of_discretized_logistics_is_a_sum_over_components(proves: Proves) -> None:
    k, levels = 3, 5
    logits, weights = torch.randn(k, 1, 1), 0.3 * torch.randn(k, 3, 1, 1)
    loc, log_scale = torch.rand(k, 3, 1, 1), torch.randn(k, 3, 1, 1) - 1
    p = d.DiscretizedLogisticMixture(logits, loc, log_scale, weights, bins=levels)
    wanted, values = [], np.arange(levels) / (levels - 1)
    for x in itertools.product(values, repeat=3):
        total = 0.0
        for i in range(k):
            w = weights[i].flatten().numpy()
            at = loc[i].flatten().numpy().copy()
            at[1] += w[0] * (2 * x[0] - 1)
            at[2] += w[1] * (2 * x[0] - 1) + w[2] * (2 * x[1] - 1)
            mass = 1.0
            for c in range(3):
                cdf = stats.logistic(at[c], math.exp(float(log_scale[i, c]))).cdf
                top = 1.0 if x[c] == 1 else cdf(x[c] + 0.5 / (levels - 1))
                mass *= top - (0.0 if x[c] == 0 else cdf(x[c] - 0.5 / (levels - 1)))
            total += float(logits.softmax(0)[i]) * mass
        wanted.append(total)
    v = torch.linspace(0, 1, levels)
    grid = torch.cartesian_prod(v, v, v)[:, :, None, None]
    got = p.log_prob(grid).exp()
    proves("DiscretizedLogisticMixture, density", "scipy, summed", got, wanted, limit=1e-9)
    assert abs(float(got.sum()) - 1) < 1e-9
    means, shares = [], special.softmax(logits.flatten().numpy())
    for at, (a, b, c) in zip(loc.flatten(1).numpy(), weights.flatten(1).numpy(), strict=True):
        red = at[0]
        green = at[1] + a * (2 * red - 1)
        means.append([red, green, at[2] + b * (2 * red - 1) + c * (2 * green - 1)])
    near = np.clip(shares @ np.array(means), 0, 1)
    proves("DiscretizedLogisticMixture, mean", "channel after channel, numpy", p.mean.flatten(),
           near, limit=1e-12)  # fmt: skip
    draws = p.sample((40_000,)).flatten(1)
    index = (draws * (levels - 1)).round().long() @ torch.tensor([levels**2, levels, 1])
    counts = index.bincount(minlength=levels**3).numpy()
    keep = np.array(wanted) * 40_000 > 5
    chi = ((counts - np.array(wanted) * 40_000) ** 2 / (np.array(wanted) * 40_000))[keep].sum()
    assert stats.chi2(keep.sum()).sf(chi) > 1e-4


def test_the_laplace_prior_is_scipy_s(proves: Proves) -> None:
    prior: Any = make("prior", checked("prior", "laplace:learned=yes"), {"event_shape": lambda: 3})
    assert make("prior", checked("prior", "laplace"), {"event_shape": lambda: 3}).state_dict() == {}
    prior.log_scale.data = torch.tensor([-1.0, 0.0, 0.7])
    known, z = stats.laplace(0, prior.log_scale.detach().exp().numpy()), 3 * torch.randn(20, 3)
    proves("prior laplace, density", "scipy", prior().log_prob(z), known.logpdf(z).sum(1),
           limit=1e-12)  # fmt: skip
    shares = known.cdf(prior().sample((20_000,)).numpy())
    assert min(stats.kstest(each, "uniform").pvalue for each in shares.T) > 1e-4


def test_the_flow_prior_is_zuko_s(proves: Proves) -> None:
    prior = FlowPrior(2, hidden=16).double()
    z = torch.randn(50, 2)
    with torch.no_grad():
        proves("prior flow, density", "zuko", prior().log_prob(z), prior.flow().log_prob(z),
               limit=1e-12)  # fmt: skip
        axis = torch.linspace(-9, 9, 601)
        mass = prior().log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * (18 / 600) ** 2
    assert abs(float(mass) - 1) < 1e-3
    assert isinstance(prior.flow, zuko.flows.Flow)


def test_a_vamp_prior_is_the_mean_of_posteriors_at_its_inputs(proves: Proves) -> None:
    model: Any = build("vae", GRAY, latent=2, prior="vamp:components=5").model.double()
    model.prior.inputs.data = torch.rand(5, 1, 4, 4) * 3 - 1
    q = model.posterior(model.prior.inputs.clamp(0, 1))
    z = torch.randn(30, 2)
    each = stats.norm(q.loc.detach().numpy(), q.scale.detach().numpy()).pdf(z.numpy()[:, None])
    got = model.prior(None, model.posterior).log_prob(z)
    proves("prior vamp, density", "scipy", got, np.log(each.prod(-1).mean(1)), limit=1e-10)
    assert "separate" not in model.offers
    rows = torch.rand(20, 1, 4, 4)
    spec = DataSpec("t", (1, 4, 4), "gray", rows=3, source=lambda n: rows[:n])
    started: Any = build("vae", spec, latent=2, prior="vamp:components=5").model.prior
    assert torch.equal(started.inputs.double(), rows[[0, 1, 2, 0, 1]].to(started.inputs).double())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"prior": "vamp", "posterior": "planar"}, "VampPrior needs the density of the posterior"),
        ({"prior": "vamp:components=0"}, "components=0"),
        ({"prior": "flow:flow=glow"}, "unknown flow 'glow'"),
        ({"prior": "mixture", "objective": "reconstruction"}, "Reconstruction trains no prior"),
        ({"likelihood": "student-t:df=1.5"}, "df=1.5`; expected a number above 2"),
        ({"likelihood": "log-cosh:a=0"}, "a=0`; expected a positive number"),
        ({"likelihood": "logistic:scale=fitted"}, "has no scale in closed form"),
        ({"likelihood": "discretized-logistic:levels=1"}, "levels=1"),
        ({"posterior": "spline", "latent": 1}, "latent=1"),
        ({"posterior": "low-rank:rank=3"}, "low-rank:rank=3`; expected at most 2"),
    ],
)
def test_what_does_not_go_together_is_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(VaekitError) as caught:
        build("vae", GRAY, **{"latent": 2, **parts})
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["gaussian:scale=shared", "student-t", "log-cosh", "logistic"])
def test_a_shared_scale_starts_at_half_the_spread_of_the_data(name: str) -> None:
    rows = 0.5 + 0.1 * torch.randn(300, 1, 4, 4)
    spec = DataSpec("t", (1, 4, 4), "gray", rows=300, mean=rows.mean(0), source=lambda n: rows[:n])
    family: Any = build("vae", spec, latent=2, likelihood=name).model.likelihood.family  # type: ignore[union-attr]
    assert abs(family.scale.log_scale.exp().item() - 0.05) < 0.0025
    opened: Any = build("vae", GRAY, latent=2, likelihood=name).model.likelihood.family  # type: ignore[union-attr]
    assert opened.scale.log_scale.item() == 0


@pytest.mark.parametrize("name", ["negative-binomial", "zinb"])
def test_dispersions_start_by_the_variance_of_the_counts(name: str) -> None:
    """Of t = 0.5 at four times as much; 10 where none is seen, as of all zeros and a Poisson's."""
    rng = np.random.default_rng(0)
    seen = rng.negative_binomial(0.5, 0.5 / 20.5, (20_000, 1))
    rows = np.concatenate([seen, 0 * seen, rng.poisson(0.01, seen.shape)], 1)
    x = torch.tensor(rows, dtype=torch.float32)
    spec = DataSpec("t", (3,), "counts", rows=len(x), mean=x.mean(0), source=lambda n: x)
    model: Any = build("vae", spec, latent=2, likelihood=name).model
    t = model.likelihood.family.log_dispersion.exp()
    assert t[0].item() == pytest.approx(2.0, rel=0.1)
    assert t[1].item() == pytest.approx(10.0, rel=1e-3)
    assert 2 < t[2].item() < 30


def test_data_that_a_part_is_not_for_are_refused() -> None:
    context = DataSpec("t", (1, 4, 4), "gray", rows=20, classes=2, context=(2,))
    with pytest.raises(VaekitError, match="under a context: take the prior mixture"):
        build("cvae", context, latent=2, prior="vamp")
    with pytest.raises(VaekitError, match="is of images"):
        build("vae", DataSpec("t", (5,), "table", rows=20), latent=2,
              likelihood="discretized-logistic-mixture")  # fmt: skip


def test_a_multinomial_sums_to_one_over_the_rows_of_a_total(proves: Proves) -> None:
    torch.set_default_dtype(torch.float64)
    log_mean = torch.tensor([0.3, -1.0, 2.0, 0.0])
    p = d.Multinomial(log_mean)
    rows = [row for row in itertools.product(range(7), repeat=4) if sum(row) == 6]
    x = torch.tensor(rows, dtype=torch.float64)
    proves("Multinomial, mass", "sums", p.log_prob(x).exp().sum(), 1.0, limit=1e-12)
    shares = special.softmax(log_mean.numpy())
    wanted = stats.multinomial(6, shares).logpmf(np.array(rows))
    proves("Multinomial, density", "scipy", p.log_prob(x), wanted, limit=1e-11)
    big = torch.tensor([[60_000.0, 1.0, 140_000.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    wanted = [stats.multinomial(int(n.sum()), shares).logpmf(n.numpy()) for n in big]
    got = d.Multinomial(log_mean.float()).log_prob(big.float())
    proves("Multinomial, density, float32", "scipy", got, wanted, limit=1e-6)


def test_draws_of_a_multinomial_have_the_total_that_is_given() -> None:
    family = vk.Multinomial((2, 3), library=True)
    drawn = family(torch.randn(4, 5, 2, 3), torch.tensor([[0.0], [1], [7], [1000], [3]])).sample()
    totals = torch.tensor([0.0, 1, 7, 1000, 3]).expand(4, 5)
    assert torch.equal(drawn.sum((-2, -1)), totals)
    assert (drawn >= 0).all()
    alone = vk.Multinomial(3, library=False)
    start = alone.start(torch.tensor([2.0, 3.0, 5.25]))
    torch.testing.assert_close(alone(start[None]).mean, torch.tensor([[2.0, 3.0, 5.25]]))
    assert alone(torch.randn(9, 3)).sample().sum(1).tolist() == [10.0] * 9
    with pytest.raises(VaekitError, match="of a library size"):
        family(torch.zeros(1, 2, 3))


@pytest.mark.parametrize("name", ["iaf", "planar", "spline", "full-covariance", "logistic"])
@pytest.mark.parametrize("checks", [True, False])
def test_a_posterior_is_made_without_memory_whether_torch_checks_draws_or_not(
    name: str, checks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(td.Distribution, "_validate_args", checks)
    with torch.device("meta"):
        model = build("vae", GRAY, posterior=name, prior="flow", latent=4).model
    assert {each.device.type for each in model.parameters()} == {"meta"}


def test_the_likeness_of_images_is_a_loss_with_a_slope_everywhere(proves: Proves) -> None:
    torch.set_default_dtype(torch.float64)
    family: Any = make("likelihood", checked("likelihood", "ms-ssim:weight=0.5"),
                       {"event_shape": lambda: (2, 24, 24)})  # fmt: skip
    x = torch.rand(4, 2, 24, 24)
    near = (x + 0.3 * torch.randn(3, *x.shape)).clamp(0.01, 0.99)
    wanted = [0.5 * 2 * 24**2 * (vk.evaluate.ms_ssim(x, mean) - 1) for mean in near]
    got = family(near.logit()).log_prob(x)
    proves("Similarity, log p", "evaluate.ms_ssim", got, torch.stack(wanted), limit=1e-9)
    assert -300 < got.mean() < -20
    negative = (0.9 - 0.8 * x).logit().requires_grad_()  # each scale of it is below 0
    found = family(negative).log_prob(x)
    assert (found < -500).all()
    (slope,) = torch.autograd.grad(found.sum(), negative)
    assert torch.isfinite(slope).all()
    assert not family.space.normalized
    assert torch.equal(family(negative).sample(), negative.sigmoid())
    with pytest.raises(VaekitError, match="is of images"):
        build("vae", DataSpec("t", (5,), "table", rows=20), latent=2, likelihood="ms-ssim")


NEW = (
    *("vamp_vae", "mixture_vae", "flow_prior_vae", "iaf_vae", "planar_vae", "flow_vae"),
    *("full_covariance_vae", "power_spherical_vae", "student_t_vae", "log_cosh_vae", "dmol_vae"),
    "ms_ssim_vae",
)


@pytest.mark.parametrize("recipe", NEW)
def test_a_recipe_goes_the_whole_way(recipe: str, tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)
    run, other = str(tmp_path / "run"), str(tmp_path / "other")
    small = ["--data", "digits", "--latent", "2", "--net", "mlp:hidden=16", "--limit", "120"]
    small += ["--prior", ":components=9"] if recipe == "vamp_vae" else []
    main(["train", recipe, "--epochs", "2", "--out", run, *small])
    main(["train", recipe, "--epochs", "1", "--out", other, *small])
    main(["train", "--resume", other, "--epochs", "2"])
    one, two = (vk.load(path, weights="last") for path in (run, other))
    states = (each.model.state_dict().values() for each in (one, two))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert "</html>" in (tmp_path / "run" / "report.html").read_text()
    proper = one.model.likelihood.family.space.normalized  # type: ignore[union-attr]
    for command in (["evaluate", run, *["nll:samples=20"] * proper], ["encode", run],
                    ["score", run], ["sample", run, "-n", "4"], ["reconstruct", run],
                    ["interpolate", run], ["traverse", run], ["scatter", run]):  # fmt: skip
        main(command)
    assert torch.isfinite(one.sample(3)).all()
    if not proper:
        with pytest.raises(VaekitError, match="does not normalize"):
            one.evaluate("nll", limit=20)
        return
    found = one.evaluate("nll", limit=20)
    assert found["nll"]["mean"] <= -found["elbo"] + 1

"""Densities, draws and divergences against scipy, sums, quadrature and autograd."""

from __future__ import annotations

import itertools
import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from conftest import Proves
from scipy import integrate, special, stats
from torch import Tensor

import vaekit as vk
from vaekit import distributions as d
from vaekit._torchutil import lazy
from vaekit.errors import VaekitError

N = 50


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_gaussian_density_is_scipys(proves: Proves) -> None:
    loc, log_scale, x = randn(N), randn(N), 3 * randn(N)
    expected = stats.norm.logpdf(x, loc, log_scale.exp())
    got = d.Gaussian(loc, log_scale, event_dim=0).log_prob(x)
    proves("Gaussian, density", "scipy", got, expected, limit=1e-12)
    standard = d.StandardGaussian(torch.zeros(N, dtype=torch.float64), event_dim=0)
    got, expected = standard.log_prob(x), stats.norm.logpdf(x)
    proves("StandardGaussian, density", "scipy", got, expected, limit=1e-12)


def test_laplace_density_is_scipys(proves: Proves) -> None:
    loc, log_scale, x = randn(N), randn(N), 3 * randn(N)
    expected = stats.laplace.logpdf(x, loc, log_scale.exp())
    got = d.Laplace(loc, log_scale, event_dim=0).log_prob(x)
    proves("Laplace, density", "scipy", got, expected, limit=1e-12)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bernoulli_density_is_scipys_with_and_without_gradients(
    grad: bool, dtype: torch.dtype, proves: Proves
) -> None:
    logits = torch.cat([5 * randn(N), torch.tensor([-100.0, -40, -30, 0, 30, 40, 100])]).to(dtype)
    for x in (torch.zeros_like(logits), torch.ones_like(logits)):
        sign = 2 * x.double().numpy() - 1
        expected = special.log_expit(sign * logits.double().numpy())
        with torch.set_grad_enabled(grad):
            got = d.Bernoulli(logits, event_dim=0).log_prob(x)
        limit = 1e-6 if dtype == torch.float32 else 1e-12
        part = f"Bernoulli, {str(dtype)[6:]}" + ("" if grad else ", without gradients")
        proves(part, "scipy's log_expit", got, expected, limit=limit)


def test_a_bernoulli_over_gray_values_does_not_sum_to_one() -> None:
    """Hence "not a likelihood": the factor is 1 / C of the continuous Bernoulli."""
    logit = 1.7
    s = 1 / (1 + math.exp(-logit))
    mass = integrate.quad(
        lambda x: d.Bernoulli(torch.tensor(logit), event_dim=0).log_prob(torch.tensor(x)).exp(),
        0,
        1,
    )[0]
    constant = 2 * math.atanh(1 - 2 * s) / (1 - 2 * s)
    assert mass == pytest.approx(1 / constant, rel=1e-6)
    assert mass < 0.5


@pytest.mark.parametrize("logit", [-30.0, -3.0, -0.21, -0.19, -1e-3, 1e-7, 0.05, 0.5, 8.0, 60.0])
def test_continuous_bernoulli_is_the_papers(logit: float, proves: Proves) -> None:
    """log C, the normalization and the mean of arXiv 1907.06845, written as there."""
    p = d.ContinuousBernoulli(torch.tensor(logit, dtype=torch.float64), event_dim=0)
    s = special.expit(logit)
    x = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    if abs(logit) > 1e-2 and abs(logit) < 20:
        log_c = math.log(2 * math.atanh(1 - 2 * s) / (1 - 2 * s))
        expected = x * math.log(s) + (1 - x) * math.log(1 - s) + log_c
        oracle = "the formula of arXiv 1907.06845"
        proves("ContinuousBernoulli, density", oracle, p.log_prob(x), expected, limit=1e-10)
        mean = s / (2 * s - 1) + 1 / (2 * math.atanh(1 - 2 * s))
        assert p.mean.item() == pytest.approx(mean, rel=1e-9)

    def density(x: float) -> float:
        return p.log_prob(torch.tensor(x, dtype=torch.float64)).exp().item()

    edge = (0, 1 / max(abs(logit), 1), 1 - 1 / max(abs(logit), 1), 1)
    pieces = list(itertools.pairwise(edge))
    mass = sum(integrate.quad(density, a, b)[0] for a, b in pieces)
    mean = sum(integrate.quad(lambda x: x * density(x), a, b)[0] for a, b in pieces)
    proves("ContinuousBernoulli, normalization", "quadrature", mass, 1, limit=1e-8)
    proves("ContinuousBernoulli, mean", "quadrature", p.mean, mean, limit=1e-8)


def test_continuous_bernoulli_gradients_hold_through_zero() -> None:
    logits = torch.tensor([-50.0, -2, -0.2, -0.1, 0, 1e-6, 0.2, 3, 50], dtype=torch.float64)
    logits.requires_grad_()
    x = torch.full_like(logits, 0.3)
    assert torch.autograd.gradcheck(
        lambda z: d.ContinuousBernoulli(z, event_dim=0).log_prob(x), logits
    )


def test_categorical_sums_to_one_and_is_a_softmax(proves: Proves) -> None:
    logits = randn(3, 256)
    p = d.Categorical(logits, event_dim=1)
    x = torch.arange(256, dtype=torch.float64)[:, None].expand(-1, 3) / 255
    terms = p.terms(x)
    expected = special.log_softmax(logits.numpy(), 1)
    proves("Categorical, density", "scipy's log_softmax", terms.T, expected, limit=1e-12)
    eight_bit = torch.randint(0, 256, (1000,), dtype=torch.uint8)
    same = d.Categorical(logits[0], event_dim=0).log_prob(eight_bit.float().div(255))
    np.testing.assert_allclose(same, logits[0].log_softmax(0)[eight_bit.long()], atol=1e-12)


def test_delta_has_draws_and_no_density() -> None:
    p = d.Delta(torch.ones(2, 3))
    assert torch.equal(p.rsample((4,)), torch.ones(4, 2, 3))
    with pytest.raises(VaekitError, match="Delta has no density"):
        p.log_prob(torch.ones(2, 3))


@pytest.mark.parametrize("p", [d.Bernoulli(torch.zeros(2)), d.Categorical(torch.zeros(2, 4))])
def test_draws_without_gradients_are_refused_by_name(p: d.Distribution) -> None:
    with pytest.raises(VaekitError, match=f"draws of {type(p).__name__} carry no gradients"):
        p.rsample()
    assert p.sample((3,)).shape == (3, 2)


def pairs() -> list[tuple[d.Distribution, d.Distribution]]:
    zero = torch.zeros(N, dtype=torch.float64)
    gaussians = [d.Gaussian(randn(N), 0.5 * randn(N), event_dim=0) for _ in range(2)]
    standard = d.StandardGaussian(zero, event_dim=0)
    laplaces = [d.Laplace(randn(N), 0.5 * randn(N), event_dim=0) for _ in range(2)]
    return [
        (gaussians[0], gaussians[1]),
        (gaussians[0], standard),
        (standard, gaussians[1]),
        (standard, standard),
        (laplaces[0], laplaces[1]),
        (d.Laplace(laplaces[0].loc, laplaces[0].log_scale / 2, event_dim=0), standard),
        (gaussians[0], laplaces[1]),
    ]


@pytest.mark.parametrize("index", range(7))
def test_closed_form_kl_is_the_integral(index: int, proves: Proves) -> None:
    q, p = pairs()[index]
    x = torch.linspace(-40, 40, 160_001, dtype=torch.float64)[:, None]
    log_q, log_p = q.terms(x), p.terms(x)
    expected = torch.trapezoid(log_q.exp() * (log_q - log_p), x, dim=0)
    got = d.kl_terms(q, p)
    assert got is not None
    name = f"KL({type(q).__name__} || {type(p).__name__})"
    proves(name, "the trapezoidal rule", got, expected.expand_as(got), limit=2e-5)


@pytest.mark.parametrize("levels", [2, 5])
def test_closed_form_kl_of_discrete_distributions_is_the_sum(levels: int, proves: Proves) -> None:
    logits_q, logits_p = randn(N, levels), randn(N, levels)
    q = d.Categorical(logits_q, event_dim=0)
    p = d.Categorical(logits_p, event_dim=0)
    expected = special.rel_entr(
        special.softmax(logits_q.numpy(), 1), special.softmax(logits_p.numpy(), 1)
    ).sum(1)
    oracle = "scipy's rel_entr"
    proves("KL(Categorical || Categorical)", oracle, d.kl_terms(q, p), expected, limit=1e-12)
    if levels == 2:
        q2 = d.Bernoulli(logits_q[:, 1] - logits_q[:, 0], event_dim=0)
        p2 = d.Bernoulli(logits_p[:, 1] - logits_p[:, 0], event_dim=0)
        proves("KL(Bernoulli || Bernoulli)", oracle, d.kl_terms(q2, p2), expected, limit=1e-12)


def test_kl_goes_by_exact_type_and_is_none_where_unknown() -> None:
    class Special(d.Gaussian):
        pass

    q = Special(torch.zeros(2), torch.zeros(2))
    assert d.kl_terms(q, d.StandardGaussian(torch.zeros(2))) is None
    assert d.kl_terms(d.Delta(torch.zeros(2)), d.StandardGaussian(torch.zeros(2))) is None


@pytest.mark.parametrize("which", ["Gaussian", "Laplace", "Bernoulli", "Categorical"])
def test_variance_is_that_of_the_draws(which: str) -> None:
    parts = {
        "Gaussian": d.Gaussian(torch.tensor(1.0), torch.tensor(0.3), event_dim=0),
        "Laplace": d.Laplace(torch.tensor(1.0), torch.tensor(0.3), event_dim=0),
        "Bernoulli": d.Bernoulli(torch.tensor(0.8), event_dim=0),
        "Categorical": d.Categorical(torch.randn(7), event_dim=0),
    }
    p = parts[which]
    draws = p.sample((200_000,))
    assert p.variance.item() == pytest.approx(draws.var().item(), rel=0.03)  # type: ignore[attr-defined]


def test_spaces_compare_by_value() -> None:
    assert d.reals(3) == d.Gaussian(torch.zeros(2, 3), torch.zeros(())).space
    assert d.reals(3) != d.pixels(3) != d.counts(3) != d.reals(4)
    assert d.pixels(3, levels=2) == d.Bernoulli(torch.zeros(2, 3)).space
    assert d.pixels(3, levels=2) != d.ContinuousBernoulli(torch.zeros(2, 3)).space
    assert str(d.codes(4, 512)) == "codes(4; 512)"


def test_a_distribution_shows_its_parameters() -> None:
    assert repr(d.Gaussian(torch.zeros(2, 3), torch.zeros(()))) == (
        "Gaussian(loc: (2, 3), log_scale: ())"
    )


@pytest.mark.parametrize("logit", [-1e-3, -9e-4, 0.0, 5e-4, 0.02])
def test_continuous_bernoulli_draws_invert_its_distribution_function(logit: float) -> None:
    p = d.ContinuousBernoulli(torch.full((1000,), logit, dtype=torch.float64), event_dim=0)
    torch.manual_seed(1)
    x = p.sample()
    torch.manual_seed(1)
    u = torch.rand(1000, dtype=torch.float64)
    cdf = x if logit == 0 else torch.expm1(logit * x) / math.expm1(logit)
    assert (cdf - (1 - u if logit > 0 else u)).abs().max() < 1e-6


@pytest.mark.parametrize("logit", [0.0, 1e-6, -0.3, 4.0])
def test_continuous_bernoulli_means_and_draws_carry_gradients_at_zero_too(logit: float) -> None:
    logits = torch.full((2000,), logit, dtype=torch.float64, requires_grad=True)
    p = d.ContinuousBernoulli(logits, event_dim=0)
    (slope,) = torch.autograd.grad(p.mean.sum(), logits)
    step = 1e-4
    ends = [d.ContinuousBernoulli(logits.detach() + s, event_dim=0).mean for s in (step, -step)]
    assert torch.allclose(slope, (ends[0] - ends[1]) / (2 * step), atol=1e-7)
    (path,) = torch.autograd.grad(p.rsample().sum(), logits)
    assert path.mean().item() == pytest.approx(slope[0].item(), rel=0.05)


DOUBLE = torch.float64


def grid(*axes: list[float]) -> list[Tensor]:
    """All combinations, one flat tensor per axis."""
    made = torch.meshgrid(*(torch.tensor(a, dtype=DOUBLE) for a in axes), indexing="ij")
    return [part.flatten() for part in made]


COUNTS = [0.0, 1.0, 2.0, 7.0, 60.0, 900.0]


def test_poisson_density_is_scipys(proves: Proves) -> None:
    x, log_rate = grid(COUNTS, [-20.0, -3.0, 0.0, 1.0, math.log(7), 4.0, 7.0])
    expected = stats.poisson.logpmf(x, log_rate.exp())
    got = d.Poisson(log_rate, event_dim=0).log_prob(x)
    proves("Poisson, density", "scipy", got, expected, limit=1e-12)
    got = d.Poisson(log_rate.float(), event_dim=0).log_prob(x.float())
    proves("Poisson, density, float32", "scipy", got, expected, limit=1e-6)


def test_negative_binomial_density_is_scipys(proves: Proves) -> None:
    x, log_mean, log_dispersion = grid(COUNTS, [-8.0, -1.0, 0.0, 2.0, 6.0], [-5.0, -1.0, 0.0, 3.0])
    m, t = log_mean.exp(), log_dispersion.exp()
    expected = stats.nbinom.logpmf(x, t, t / (t + m))
    got = d.NegativeBinomial(log_mean, log_dispersion, event_dim=0).log_prob(x)
    proves("NegativeBinomial, density", "scipy", got, expected, limit=1e-10)


def test_zero_inflated_density_is_that_of_the_mixture(proves: Proves) -> None:
    x, log_mean, logits, log_dispersion = grid(
        [0.0, 1.0, 7.0, 900.0], [-8.0, 0.0, 6.0], [-30.0, -2.0, 0.0, 5.0, 30.0], [-3.0, 0.0, 3.0]
    )
    m, t, added = log_mean.exp(), log_dispersion.exp(), special.expit(logits.numpy())
    mass = (1 - added) * stats.nbinom.pmf(x, t, t / (t + m)) + added * (x == 0).numpy()
    kept = mass > 1e-250
    p = d.ZeroInflatedNegativeBinomial(log_mean, logits, log_dispersion, event_dim=0)
    got, name = p.log_prob(x)[kept], "ZeroInflatedNegativeBinomial, density"
    near = logits[kept] < 20  # beyond, 1 - s of float64 has lost its digits
    proves(name, "scipy, a mixture", got[near], np.log(mass[kept][near]), limit=1e-10)
    single = d.ZeroInflatedNegativeBinomial(
        log_mean.float(), logits.float(), log_dispersion.float(), event_dim=0
    )
    proves(f"{name}, float32", "float64", single.log_prob(x.float())[kept], got, limit=1e-4)


def exact(x: float, log_mean: float, log_dispersion: float) -> tuple[float, float, float]:
    """The log-density as Lopez et al. write it and its two slopes, with 60 digits."""
    with mpmath.workdps(60):
        a, b = mpmath.mpf(log_mean), mpmath.mpf(log_dispersion)
        m, t = mpmath.exp(a), mpmath.exp(b)
        both = mpmath.log(t + m)
        density = mpmath.loggamma(x + t) - mpmath.loggamma(t) - mpmath.loggamma(x + 1)
        density += t * b + x * a - (x + t) * both
        slope = mpmath.digamma(x + t) - mpmath.digamma(t) + b - both + 1 - (x + t) / (t + m)
        return float(density), float((x - m) * t / (t + m)), float(t * slope)


@pytest.mark.parametrize(
    ("dtype", "largest", "limit"),
    [(torch.float64, 16, 1e-12), (torch.float32, 7, 3e-6), (torch.float32, 11, 5e-6)],
)
def test_negative_binomials_keep_their_digits_at_the_extremes(
    dtype: torch.dtype, largest: float, limit: float, proves: Proves
) -> None:
    """Also where the lgammas are 1e10 and their difference is 1."""
    rows = []
    for log_mean in np.linspace(-30, largest, 12).astype(np.float32).tolist():
        for log_dispersion in np.linspace(-30, 20, 13).astype(np.float32).tolist():
            m, t = math.exp(log_mean), math.exp(log_dispersion)
            sd = math.sqrt(m + m * m / t)
            seen = {0, 1, 2, 9, 11, round(m), round(m + min(sd, 3 * m)), round(max(m - sd, m / 9))}
            rows += [(float(x), log_mean, log_dispersion) for x in seen]
    x, log_mean, log_dispersion = torch.tensor(rows, dtype=dtype).T
    log_mean, log_dispersion = log_mean.requires_grad_(), log_dispersion.requires_grad_()
    got = d.NegativeBinomial(log_mean, log_dispersion, event_dim=0).log_prob(x)
    slopes = torch.autograd.grad(got.sum(), (log_mean, log_dispersion))
    expected = np.array([exact(*row) for row in rows]).T
    name = f"NegativeBinomial, {str(dtype)[6:]}, counts to exp({largest})"
    proves(name, "60 digits", got, expected[0], limit=limit)
    size = math.exp(largest) ** 0.5  # the slopes' rounding grows with the count; their spread, too
    for slope, want in zip(slopes, expected[1:], strict=True):
        proves(f"{name}, slopes", "60 digits", slope / size, want / size, limit=20 * limit)


def test_the_usual_formula_would_lose_them() -> None:
    """Hence the saddle-point form: the same formula in plain float32 is off by nats."""
    x, a, b = torch.tensor([1000.0]), torch.tensor([7.0]), torch.tensor([16.0])
    m, t = a.exp(), b.exp()
    plain = torch.lgamma(x + t) - torch.lgamma(t) - torch.lgamma(x + 1)
    plain = plain + t * b + x * a - (x + t) * (t + m).log()
    want = exact(1000, 7.0, 16.0)[0]
    assert abs(plain.item() - want) > 1
    got = d.NegativeBinomial(a, b).log_prob(x)
    assert got.item() == pytest.approx(want, abs=1e-4)


@pytest.mark.parametrize("log_mean", [-2.0, 0.0, 3.0])
def test_masses_sum_to_one_and_have_the_moments(log_mean: float, proves: Proves) -> None:
    x = torch.arange(60_000, dtype=DOUBLE)
    mean = torch.tensor(log_mean, dtype=DOUBLE)
    made: list[Any] = [d.Poisson(mean, event_dim=0)]
    made += [d.NegativeBinomial(mean, mean.new_tensor(t), event_dim=0) for t in (-2.0, 0.0, 5.0)]
    made += [
        d.ZeroInflatedNegativeBinomial(mean, mean.new_tensor(s), mean.new_zeros(()), event_dim=0)
        for s in (-20.0, -1.0, 3.0)
    ]
    for p in made:
        mass = p.log_prob(x).exp()
        first = (mass * x).sum()
        moments = [mass.sum(), first, (mass * (x - first).square()).sum()]
        name = f"{type(p).__name__}, mass and moments"
        proves(name, "sums", [1.0, p.mean, p.variance], torch.stack(moments), limit=1e-9)


def test_draws_have_the_masses() -> None:
    """Chi-square, against scipy's masses."""
    for p, q in [
        (d.Poisson(torch.tensor(1.2), event_dim=0), stats.poisson(math.exp(1.2))),
        (
            d.NegativeBinomial(torch.tensor(1.2), torch.tensor(-0.5), event_dim=0),
            stats.nbinom(math.exp(-0.5), 1 / (1 + math.exp(1.7))),
        ),
    ]:
        draws = p.sample((50_000,))
        assert draws.dtype == torch.float32
        edge = int(q.ppf(0.999))
        seen = np.bincount(draws.long().clamp(max=edge + 1).numpy(), minlength=edge + 2)
        mass = np.append(q.pmf(np.arange(edge + 1)), q.sf(edge))
        assert stats.chisquare(seen, 50_000 * mass).pvalue > 0.01


def test_poisson_is_the_limit_of_a_large_dispersion(proves: Proves) -> None:
    x, log_mean = grid(COUNTS, [-3.0, 0.0, 2.0, 6.0])
    for dtype, limit in ((DOUBLE, 1e-6), (torch.float32, 3e-6)):
        x, log_mean = x.to(dtype), log_mean.to(dtype)
        p = d.Poisson(log_mean, event_dim=0)
        q = d.NegativeBinomial(log_mean, torch.full_like(log_mean, 30.0), event_dim=0)
        name = f"NegativeBinomial of dispersion exp(30), {str(dtype)[6:]}"
        proves(name, "Poisson", q.log_prob(x), p.log_prob(x), limit=limit)
        rough = d.NegativeBinomial(log_mean, torch.zeros_like(log_mean), event_dim=0)
        assert (rough.log_prob(x) - p.log_prob(x)).abs().max() > 1


def test_kl_of_poissons_is_the_sum(proves: Proves) -> None:
    q = d.Poisson(torch.tensor([-1.0, 0.5, 2.0], dtype=DOUBLE), event_dim=0)
    p = d.Poisson(torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE), event_dim=0)
    x = torch.arange(200, dtype=DOUBLE)[:, None]
    log_q, log_p = q.terms(x), p.terms(x)
    expected = (log_q.exp() * (log_q - log_p)).sum(0)
    proves("KL(Poisson || Poisson)", "sums", d.kl_terms(q, p), expected, limit=1e-12)


def test_gradients_hold_at_zero_at_the_mean_and_far_from_it() -> None:
    x = torch.tensor([0.0, 0.0, 1.0, 1.0, 5.0, 400.0], dtype=DOUBLE)
    log_mean = torch.tensor([-5.0, 4.0, 0.0, -3.0, math.log(5), 2.0], dtype=DOUBLE)
    log_dispersion = torch.tensor([0.0, -4.0, 0.0, 6.0, 2.0, -1.0], dtype=DOUBLE)
    assert torch.autograd.gradcheck(
        lambda a, b: d.NegativeBinomial(a, b, event_dim=0).log_prob(x),
        (log_mean.requires_grad_(), log_dispersion.requires_grad_()),
    )
    assert torch.autograd.gradcheck(lambda a: d.Poisson(a, event_dim=0).log_prob(x), log_mean)
    assert torch.autograd.gradcheck(
        lambda a, s, b: d.ZeroInflatedNegativeBinomial(a, s, b, event_dim=0).log_prob(x),
        (log_mean, log_mean.detach().flip(0).clone().requires_grad_(), log_dispersion),
    )


def test_draws_carry_no_gradients_and_stopped_drops_them() -> None:
    value = torch.zeros(3, requires_grad=True)
    inflated = d.ZeroInflatedNegativeBinomial(value, value, value)
    for p in (d.Poisson(value), d.NegativeBinomial(value, value), inflated):
        with pytest.raises(vk.VaekitError, match=f"draws of {type(p).__name__} carry no gradients"):
            p.rsample()
        assert p.space == d.counts(3)
        assert p.log_prob(torch.ones(3)).requires_grad
        assert not p.stopped().log_prob(torch.ones(3)).requires_grad


def test_whole_numbers_of_any_type_are_scored_alike() -> None:
    p = d.NegativeBinomial(torch.randn(5), torch.randn(5))
    x = torch.tensor([0, 1, 3, 70, 2])
    assert torch.equal(p.log_prob(x), p.log_prob(x.float()))


def test_what_is_first_read_without_a_gradient_has_one_later() -> None:
    """The entropy of directions had a wrong slope after a draw, which reads the mean by itself."""

    class Square:
        side = torch.ones(2, requires_grad=True)

        @lazy
        def area(self) -> torch.Tensor:
            return self.side.square()

    square = Square()
    with torch.no_grad():
        assert square.area is square.area
        assert not square.area.requires_grad
    assert square.area.requires_grad
    with torch.no_grad():
        assert square.area.requires_grad  # the same, not computed again
    assert torch.equal(torch.autograd.grad(square.area.sum(), square.side)[0], 2 * torch.ones(2))

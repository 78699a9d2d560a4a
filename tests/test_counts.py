"""Counts: densities, draws, families, likelihoods by kind of data, and a model trained on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch import Tensor

import vaekit as vk
from vaekit import distributions as d
from vaekit.data import Dataset, DataSpec, Split
from vaekit.evaluate import bits_per_dim, is_likelihood, measure
from vaekit.recipes import build
from vaekit.testing import check_family, check_gradient, check_model

Proves = Callable[..., None]
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


def test_draws_carry_no_gradients_and_stopped_drops_them() -> None:
    value = torch.zeros(3, requires_grad=True)
    for p in (d.Poisson(value), d.NegativeBinomial(value, value)):
        with pytest.raises(vk.VaekitError, match=f"draws of {type(p).__name__} carry no gradients"):
            p.rsample()
        assert p.space == d.counts(3)
        assert p.log_prob(torch.ones(3)).requires_grad
        assert not p.stopped().log_prob(torch.ones(3)).requires_grad


def test_whole_numbers_of_any_type_are_scored_alike() -> None:
    p = d.NegativeBinomial(torch.randn(5), torch.randn(5))
    x = torch.tensor([0, 1, 3, 70, 2])
    assert torch.equal(p.log_prob(x), p.log_prob(x.float()))


FAMILIES = {
    "poisson": vk.Poisson((2, 3)),
    "shared": vk.NegativeBinomial(4),
    "free": vk.NegativeBinomial((2, 2, 1), dispersion="free"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_family_conforms(name: str) -> None:
    check_family(FAMILIES[name])


def test_check_family_finds_a_wrong_constant_of_counts() -> None:
    class Wrong(d.Poisson):
        def terms(self, x: Tensor) -> Tensor:
            return x * self.log_rate - self.mean

    class Broken(vk.Poisson):
        def forward(self, params: Tensor, given: Tensor | None = None) -> d.Distribution:
            return Wrong(params)

    with pytest.raises(AssertionError, match="sums to 1 only within"):
        check_family(Broken(3), spread=0.1)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_starts_at_the_mean_it_is_given(name: str) -> None:
    family = FAMILIES[name].to(DOUBLE)
    mean = torch.logspace(-3, 8, math.prod(family.event_shape), dtype=DOUBLE)
    mean = mean.view(family.event_shape)
    p = family(family.start(mean).unsqueeze(0))
    assert torch.allclose(p.mean[0], mean, rtol=1e-6)
    none = family(family.start(torch.zeros_like(mean)).unsqueeze(0)).mean
    assert torch.allclose(none, torch.full_like(none, 1e-4), rtol=1e-6)
    if name == "free":
        assert torch.allclose(p.log_dispersion, torch.zeros_like(p.log_dispersion), atol=1e-6)


def test_the_shared_dispersion_is_learned_one_per_element() -> None:
    family = vk.NegativeBinomial(3).to(DOUBLE)
    assert [tuple(v.shape) for v in family.parameters()] == [(3,)]
    x, params = torch.tensor([[0.0, 4.0, 9.0]], dtype=DOUBLE), torch.ones(1, 3, dtype=DOUBLE)

    def log_prob(value: Tensor) -> Tensor:
        made: Tensor = torch.func.functional_call(
            family, {"log_dispersion": value}, (params,)
        ).log_prob(x)
        return made.sum()

    check_gradient(log_prob, torch.tensor([0.2, -1.0, 2.0], dtype=DOUBLE))
    assert not list(vk.NegativeBinomial(3, dispersion="free").parameters())
    with pytest.raises(vk.VaekitError, match="unknown dispersion 'sharde'; did you mean 'shared'"):
        vk.NegativeBinomial(3, dispersion="sharde")


@pytest.mark.parametrize("family", [vk.Poisson(4), vk.NegativeBinomial(2, dispersion="free")])
def test_no_output_of_a_network_overflows_and_the_way_back_stays_open(family: vk.Family) -> None:
    for value in (-1e10, -60.0, 60.0, 1e10):
        params = torch.full((1, 4), value, requires_grad=True)
        p = family(params)
        score = p.log_prob(torch.tensor([0.0, 1000.0]).repeat(family.event_shape[0] // 2))
        (slope,) = torch.autograd.grad(score.sum(), params)
        for numbers in (score, slope, p.sample()):
            assert numbers.isfinite().all()
        if value == 60.0:
            assert (slope[:, :2] < 0).all(), "a mean far too large must be pulled down"
    mild = torch.tensor([[-9.0, -1.0, 0.5, 9.0]])
    means = family(mild).mean
    assert torch.allclose(means, mild[:, : means.shape[1]].exp(), rtol=1e-4)


def test_log_counts_is_the_net_of_log_one_plus_x() -> None:
    net = vk.MLP((2, 3), 4, (5,))
    x = torch.randint(0, 1000, (7, 2, 3)).float()
    wrapped = vk.LogCounts(net)
    assert torch.allclose(wrapped(x), net((1 + x).log()), atol=1e-6)
    assert (wrapped.in_shape, wrapped.out_shape) == ((2, 3), (4,))
    with pytest.raises(vk.VaekitError, match="LogCounts takes a net with `in_shape`; Linear"):
        vk.LogCounts(torch.nn.Linear(3, 4))


def spec(kind: str) -> DataSpec:
    return DataSpec("mine", (1, 4, 4), kind, rows=50, mean=torch.full((1, 4, 4), 0.5))


NAMES = {
    "bernoulli": vk.Bernoulli,
    "continuous-bernoulli": vk.ContinuousBernoulli,
    "categorical": vk.Categorical,
    "gaussian": vk.Gaussian,
    "laplace": vk.Laplace,
    "negative-binomial": vk.NegativeBinomial,
    "poisson": vk.Poisson,
}


@pytest.mark.parametrize("kind", ["binary", "grey", "colour", "table", "counts"])
@pytest.mark.parametrize("name", NAMES)
def test_a_likelihood_fits_the_kind_of_data_or_is_refused(name: str, kind: str) -> None:
    pixels = vk.Pixels(likelihood=name)
    over_counts = name in ("negative-binomial", "poisson")
    if name in ("gaussian", "laplace") or over_counts == (kind == "counts"):
        model = build("vae", spec(kind), pixels=pixels).model
        assert type(model.likelihood.family) is NAMES[name]
        assert isinstance(model.posterior.net, vk.LogCounts) == (kind == "counts")
        return
    with pytest.raises(vk.VaekitError) as caught:
        build("vae", spec(kind), pixels=pixels)
    line = str(caught.value)
    takes = "takes counts;" if over_counts else "takes values in [0, 1], not counts;"
    assert f"the likelihood {name} {takes} the data mine are of kind {kind}: take " in line
    assert "\n" not in line


def test_counts_are_negative_binomial_by_default_with_any_recipe_and_net() -> None:
    for name in ("ae", "vae", "beta_vae", "iwae"):
        for net in (vk.Net(hidden=(8,)), vk.Net(kind="conv", channels=(4,))):
            model = build(name, spec("counts"), net=net).model
            assert isinstance(model.likelihood.family, vk.NegativeBinomial)
            x = torch.randint(0, 50, (3, 1, 4, 4)).float()
            assert model(x).log_likelihood.shape == (1, 3)


def test_counts_that_are_not_whole_are_refused() -> None:
    for bad in (0.5, -1.0, math.inf, math.nan):
        rows = Split(torch.tensor([[0.0, 3.0], [bad, 1.0]]))
        with pytest.raises(vk.VaekitError, match="not all are whole numbers from 0 on"):
            Dataset("mine", "counts", rows, rows)


def test_masses_of_counts_are_likelihoods_with_bits() -> None:
    for family in (vk.Poisson(4), vk.NegativeBinomial(4)):
        assert is_likelihood(family, "counts")
        assert not is_likelihood(family, "grey")
        assert bits_per_dim(-8 * math.log(2), family, spec("counts")) == pytest.approx(2)
        assert bits_per_dim(-1.0, family, spec("table")) is None
    assert is_likelihood(vk.Gaussian(4), "counts") == is_likelihood(vk.Gaussian(4), "grey")
    assert bits_per_dim(-1.0, vk.Gaussian(4), spec("counts")) is None
    assert not is_likelihood(vk.Bernoulli(4), "counts")


GENES, DISPERSION = 12, 4.0


def synthetic(rows: int, weight: np.ndarray, seed: int) -> np.ndarray:
    """Counts (rows, GENES) of negative binomials with the log-mean 1 + z weight, z ~ N(0, 1)."""
    rng = np.random.RandomState(seed)
    mean = np.exp(1 + rng.randn(rows, 1) * weight)
    return rng.poisson(mean * rng.gamma(DISPERSION, 1 / DISPERSION, mean.shape))


def true_log_prob(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """log p(x) (rows,), by quadrature over z."""
    z = np.linspace(-7, 7, 400)
    mean = np.exp(1 + z[:, None, None] * weight)
    terms = stats.nbinom.logpmf(x, DISPERSION, DISPERSION / (DISPERSION + mean)).sum(-1)
    joint = terms + stats.norm.logpdf(z)[:, None]
    return np.logaddexp.reduce(joint, 0) + math.log(z[1] - z[0])


def independent_log_prob(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """log p(x) (rows,) under the best independent negative binomial of each gene."""

    def score(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        t, m = np.exp(theta)
        return np.asarray(stats.nbinom.logpmf(x, t, t / (t + m)))

    total = np.zeros(len(test))
    for gene in range(GENES):
        start = np.array([0.0, math.log(train[:, gene].mean())])
        best = optimize.minimize(lambda v, x: -score(v, x).mean(), start, (train[:, gene],))
        total += score(best.x, test[:, gene])
    return total


def test_a_vae_on_counts_finds_what_independent_negative_binomials_miss() -> None:
    """Its ELBO on held-out rows lies between the best independent model and the truth."""
    weight = np.random.RandomState(0).choice([-0.8, 0.8], GENES)
    train, test = synthetic(2000, weight, 1), synthetic(1000, weight, 2)
    data = Dataset("cells", "counts", *(Split(torch.from_numpy(x).float()) for x in (train, test)))
    made = build("vae", data.spec(), {"latent": 1}, net=vk.Net(hidden=(32,)))
    batches = vk.Batches(data.train, 100)
    parameters = [*made.model.parameters(), *made.objective.parameters()]
    adam = torch.optim.Adam(parameters, lr=5e-3)
    vk.fit(made.model, made.objective, batches, steps=600, optimizer=adam)
    found = measure(made.model, [(data.test.images, None)], samples=20)
    low, high = independent_log_prob(train, test).mean(), true_log_prob(test, weight).mean()
    assert found.elbo is not None
    assert high - low > 2
    assert low + 0.8 * (high - low) < found.elbo < high
    family: Any = made.model.likelihood.family
    fitted = family.log_dispersion.detach().exp()
    assert fitted.log().mean().exp().item() == pytest.approx(DISPERSION, rel=0.25)
    check_model(made.model, data.test.images[:6])

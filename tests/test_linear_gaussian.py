"""The identities of the linear-Gaussian VAE: closed forms to 1e-9 in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vaekit.evaluate import log_likelihood
from vaekit.models import VAE
from vaekit.nn import MLP
from vaekit.objectives import ELBO, IWAE
from vaekit.parts import Conditional, Gaussian, StandardNormal
from vaekit.testing import LinearGaussian

D, K, N = 6, 3, 40
Proves = Callable[..., None]


@pytest.fixture
def x() -> Tensor:
    scales = torch.linspace(3, 0.3, D, dtype=torch.float64)
    mixed = torch.linalg.qr(torch.randn(D, D, dtype=torch.float64)).Q
    return torch.randn(N, D, dtype=torch.float64) * scales @ mixed + 2


def rotation(k: int = K) -> Tensor:
    return torch.linalg.qr(torch.randn(k, k, dtype=torch.float64)).Q


def expected_elbo(model: VAE, x: Tensor, oracle: LinearGaussian) -> Tensor:
    q = model.posterior(x)
    return oracle.elbo(x, q.mean, q.variance[0])


def test_the_oracle_is_a_multivariate_normal_and_its_likelihood_the_spectrums(
    x: Tensor, proves: Proves
) -> None:
    oracle = LinearGaussian.fit(x, K)
    covariance = oracle.weight @ oracle.weight.T + oracle.variance * torch.eye(D)
    normal = torch.distributions.MultivariateNormal(oracle.mean, covariance)
    assert torch.allclose(oracle.log_prob(x), normal.log_prob(x), atol=1e-10)
    values, _ = LinearGaussian.spectrum(x)
    formula = -0.5 * (
        D * math.log(2 * math.pi) + values[:K].log().sum() + (D - K) * oracle.variance.log() + D
    )
    got = oracle.log_prob(x).mean()
    proves("the oracle's log p(x)", "the spectrum (Tipping & Bishop)", got, formula, limit=1e-9)


def test_the_best_elbo_equals_the_likelihood(x: Tensor, proves: Proves) -> None:
    oracle = LinearGaussian.fit(x, K)
    model = oracle.vae()
    best = expected_elbo(model, x, oracle)
    proves("the best ELBO of a linear VAE", "log p(x)", best, oracle.log_prob(x), limit=1e-9)
    precision = oracle.weight.T @ oracle.weight + oracle.variance * torch.eye(K)
    assert (precision - precision.diagonal().diag()).abs().max() < 1e-9, "M is diagonal"


def test_another_rotation_costs_exactly_the_off_diagonal(x: Tensor, proves: Proves) -> None:
    straight = LinearGaussian.fit(x, K)
    turned = LinearGaussian.fit(x, K, rotation())
    assert (straight.log_prob(x) - turned.log_prob(x)).abs().max() < 1e-9
    gap = (turned.log_prob(x) - expected_elbo(turned.vae(), x, turned)).mean()
    m = turned.precision
    cost = 0.5 * (m.diagonal().log().sum() - torch.logdet(m))
    proves(
        "the ELBO of a rotated linear VAE", "1/2 (sum log M_ii - log det M)", gap, cost, limit=1e-9
    )
    assert gap > 0.01


@pytest.mark.parametrize("objective", [ELBO(kl="sampled"), *[IWAE(samples=k) for k in (1, 2, 50)]])
def test_at_the_optimum_every_bound_is_log_p_for_any_draw(
    x: Tensor, objective: ELBO, proves: Proves
) -> None:
    oracle = LinearGaussian.fit(x, K)
    model = oracle.vae()
    trace = model(x, samples=(7,))
    expected = oracle.log_prob(x)
    oracle_name = "log p(x) of probabilistic PCA"
    proves(
        "log_weight at the optimum",
        oracle_name,
        trace.log_weight,
        expected.expand(7, -1),
        limit=1e-9,
    )
    value = objective.double()(model(x, samples=objective.samples)).value
    name = f"{type(objective).__name__} of {objective.samples[0]} at the optimum"
    proves(name, oracle_name, value, expected, limit=1e-9)
    for samples in (1, 3, 64):
        found = log_likelihood(model, x, samples=samples)
        proves("log_likelihood at the optimum", oracle_name, found, expected, limit=1e-9)


def test_the_closed_form_elbo_is_the_oracles_in_expectation(x: Tensor) -> None:
    """Away from the optimum, over many draws; a decoded mean would be off by tr(W'W D) / 2 s2."""
    oracle = LinearGaussian.fit(x, K, rotation())
    variance = torch.full((K,), 0.5, dtype=torch.float64)
    model = oracle.vae(variance=variance)
    expected = oracle.elbo(x, model.posterior(x).mean, variance).mean()
    with torch.no_grad():
        draws = torch.stack([ELBO()(model.eval()(x)).value.mean() for _ in range(2000)])
    error = draws.std() / math.sqrt(len(draws))
    assert abs(draws.mean() - expected) < 4 * error
    decoded = 0.5 * 0.5 * (oracle.weight.square().sum() / oracle.variance)
    assert decoded > 50 * error, "the test would see a decoded mean"


def test_the_gradient_is_zero_at_the_optimum(x: Tensor) -> None:
    """Of the expected ELBO, by quadrature-free averaging over antithetic closed forms."""
    oracle = LinearGaussian.fit(x, K)
    model = oracle.vae()
    # the encoder's pathwise gradient vanishes draw by draw, the score part in expectation
    site = model(x).site
    z = site.z.detach().requires_grad_()
    px = model.likelihood(z)
    log_weight = px.log_prob(x) + model.prior().log_prob(z) - site.q.stopped().log_prob(z)
    (path,) = torch.autograd.grad(log_weight.sum(), z)
    assert path.abs().max() < 1e-8
    total = torch.stack(
        [
            torch.cat(
                [
                    g.flatten()
                    for g in torch.autograd.grad(
                        ELBO().double()(model(x, samples=(500,))).value.mean(),
                        list(model.parameters()),
                    )
                ]
            )
            for _ in range(20)
        ]
    )
    error = total.std(0) / math.sqrt(len(total))
    assert (total.mean(0).abs() < 5 * error + 1e-9).all()


def test_perturbing_the_optimum_lowers_the_bound(x: Tensor) -> None:
    oracle = LinearGaussian.fit(x, K)
    best = oracle.log_prob(x).mean()
    for _ in range(20):
        weight = oracle.weight + 0.1 * torch.randn_like(oracle.weight)
        other = LinearGaussian(oracle.mean, weight, oracle.variance)
        assert expected_elbo(other.vae(), x, other).mean() < best


def test_kl_active_units_and_the_aggregate_posterior_have_their_closed_forms(
    x: Tensor, proves: Proves
) -> None:
    oracle = LinearGaussian.fit(x, K)
    values, _ = LinearGaussian.spectrum(x)
    trace = oracle.vae()(x)
    kl = trace.site.kl_terms.mean((0, 1))
    closed = 0.5 * (values[:K] / oracle.variance).log()
    proves("mean KL per latent", "1/2 log(lam_i / s2)", kl, closed, limit=1e-9)
    q = trace.site.q
    means = torch.cov(q.mean.T, correction=0)
    assert (means.diagonal() - (1 - oracle.variance / values[:K])).abs().max() < 1e-9
    aggregate = means + q.variance.mean(0).diag()
    proves("covariance of the aggregate posterior", "I", aggregate, torch.eye(K), limit=1e-9)


def test_a_fixed_wide_scale_collapses_the_latent(x: Tensor) -> None:
    """With s2 above lam_i, the ELBO falls as column i of W leaves 0."""
    values, vectors = LinearGaussian.spectrum(x)
    s2 = 1.5 * values[2]
    gain = (values[:K] - s2).clamp(min=0).sqrt()
    weight = vectors[:, :K] * gain
    assert (gain[2:] == 0).all()
    assert (gain[:2] > 0).all()
    best = LinearGaussian(x.mean(0), weight, s2)
    top = expected_elbo(best.vae(), x, best).mean()
    for size in (0.05, 0.2):
        moved = weight.clone()
        moved[:, 2] = size * vectors[:, 2]
        other = LinearGaussian(x.mean(0), moved, s2)
        assert expected_elbo(other.vae(), x, other).mean() < top
    kl = best.vae()(x).site.kl_terms.mean((0, 1))
    assert abs(kl[2]) < 1e-12


def test_beta_times_the_kl_has_the_optimum_of_a_wider_scale(x: Tensor) -> None:
    """beta KL at s2 is, up to a factor and constants, KL at s2' = beta s2."""
    beta, s2 = 3.0, torch.tensor(0.4, dtype=torch.float64)
    gaps = []
    for _ in range(5):
        weight = torch.randn(D, K, dtype=torch.float64)
        variance = torch.rand(K, dtype=torch.float64) + 0.1
        encoder = torch.randn(K, D, dtype=torch.float64)
        loc = (x - x.mean(0)) @ encoder.T
        weighted = LinearGaussian(x.mean(0), weight, s2).elbo(x, loc, variance, beta=beta)
        wide = LinearGaussian(x.mean(0), weight, beta * s2).elbo(x, loc, variance)
        gaps.append(weighted.mean() - beta * wide.mean())
    assert (torch.stack(gaps) - gaps[0]).abs().max() < 1e-9


def test_the_kits_weighted_elbo_is_that_of_the_oracle(x: Tensor) -> None:
    oracle = LinearGaussian.fit(x, K)
    trace = oracle.vae()(x)
    got = ELBO(beta=3.0).double()(trace).value
    assert torch.allclose(got, trace.log_likelihood[0] - 3 * trace.kl[0])
    q = trace.site.q
    kl = oracle.elbo(x, q.mean, q.variance[0]) - oracle.elbo(x, q.mean, q.variance[0], beta=2.0)
    assert (trace.kl[0] - kl).abs().max() < 1e-9


def test_bounds_tighten_with_more_draws_and_stay_below(x: Tensor) -> None:
    oracle = LinearGaussian.fit(x, K, rotation())
    model = oracle.vae()
    exact = oracle.log_prob(x).mean()
    with torch.no_grad():
        runs = {
            k: torch.stack([log_likelihood(model, x, samples=k).mean() for _ in range(60)])
            for k in (1, 10, 1000)
        }
    means = {k: v.mean() for k, v in runs.items()}
    errors = {k: v.std() / math.sqrt(60) for k, v in runs.items()}
    assert means[1] < means[10] < means[1000] < exact + 4 * errors[1000]
    assert exact - means[1000] < 0.1 * (exact - means[1])


def test_a_trained_linear_vae_finds_the_likelihood_and_the_principal_directions(x: Tensor) -> None:
    oracle = LinearGaussian.fit(x, K)
    model = VAE(
        StandardNormal(K),
        Conditional(MLP(D, 2 * K, hidden=()), Gaussian(K)),
        Conditional(MLP(K, D, hidden=()), Gaussian(D, scale="shared")),
    ).double()
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        lr=1,
        max_iter=2000,
        max_eval=4000,
        tolerance_grad=1e-10,
        tolerance_change=1e-14,
        history_size=50,
        line_search_fn="strong_wolfe",
    )
    eye = torch.eye(K, dtype=torch.float64)

    def closure() -> Tensor:
        """The exact expectation over z: antithetic points carry all first and second moments."""
        optimizer.zero_grad()
        q = model.posterior(x)
        points = math.sqrt(K) * torch.cat([eye, -eye])
        z = q.mean + q.scale * points[:, None]
        kl = model(x).kl
        loss = -(model.likelihood(z).log_prob(x).mean(0) - kl).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    best = oracle.log_prob(x).mean().item()
    assert best - 1e-3 < -closure().item() < best + 1e-9
    weight = next(p for n, p in model.likelihood.named_parameters() if n.endswith("weight"))
    learned = torch.nn.functional.normalize(weight.detach(), dim=0)
    true = LinearGaussian.spectrum(x)[1][:, :K]
    cosine = (true.T @ learned).abs().max(1).values
    assert torch.rad2deg(torch.arccos(cosine.clamp(max=1))).max() < 1

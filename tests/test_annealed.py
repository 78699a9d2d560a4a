"""Annealed importance sampling, its reverse, and the transitions that both are made of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import log_expit, logsumexp
from torch import Tensor

import vaekit as vk
from vaekit.evaluate import ais, bidirectional, log_likelihood
from vaekit.evaluate.annealing import hmc, leapfrog
from vaekit.models import VAE
from vaekit.testing import LinearGaussian

Proves = Callable[..., None]


def bend(z: Tensor) -> Tensor:
    """A log-density that is not Gaussian, log f(z) = -sum z^4 / 4 - sum_i z_i z_(i+1) / 2."""
    return -z.pow(4).sum(-1) / 4 - 0.5 * (z[..., 1:] * z[..., :-1]).sum(-1)


def energy(z: Tensor, momentum: Tensor) -> Tensor:
    return 0.5 * momentum.square().sum(-1) - bend(z)


def test_leapfrog_is_reversible_and_conserves_volume(proves: Proves) -> None:
    z, momentum = torch.randn(2, 3, 4, 2, dtype=torch.float64)
    step = torch.tensor(0.1, dtype=torch.float64)
    ahead, after = leapfrog(bend, z, momentum, step, 25)
    back, before = leapfrog(bend, ahead, -after, step, 25)
    assert (ahead - z).abs().min() > 1e-3
    proves("leapfrog, there and back", "the start", back, z, limit=1e-12)
    proves("leapfrog, there and back, momentum", "the start", -before, momentum, limit=1e-12)
    start, h = torch.cat([z[0, 0], momentum[0, 0]]), 1e-5
    columns = []
    for i in range(4):
        ends = []
        for sign in (h, -h):
            moved = start.clone()
            moved[i] += sign
            ends.append(torch.cat(leapfrog(bend, moved[:2], moved[2:], step, 25)))
        columns.append((ends[0] - ends[1]) / (2 * h))
    volume = torch.linalg.det(torch.stack(columns, 1))
    proves("leapfrog, Jacobian by differences", "1", volume, 1, limit=1e-6)


def test_the_energy_error_of_leapfrog_is_of_second_order() -> None:
    """A full step of momentum in place of the half step is of first order."""
    z, momentum = torch.randn(2, 50, 1, 2, dtype=torch.float64)
    errors = []
    for count in (20, 40, 80):
        step = torch.tensor(1 / count, dtype=torch.float64)
        ends = leapfrog(bend, z, momentum, step, count)
        errors.append((energy(*ends) - energy(z, momentum)).abs().mean())
    for coarse, fine in itertools.pairwise(errors):
        assert 3.7 < coarse / fine < 4.3


def test_transitions_leave_their_density_unchanged_and_meet_each_row_with_its_own_step() -> None:
    """From draws of exp(-z^4 / 4), with steps so wide that the Metropolis test matters."""
    grid = np.linspace(-6, 6, 4001)
    density = np.exp(-(grid**4) / 4)
    second, fourth = (np.sum(grid**k * density) / np.sum(density) for k in (2, 4))
    cells = torch.multinomial(torch.from_numpy(density), 40_000, replacement=True)
    z = torch.from_numpy(grid)[cells].view(20_000, 2, 1)
    step = torch.tensor([0.9, 0.3], dtype=torch.float64)
    chances = []
    for _ in range(40):
        z, chance = hmc(bend, z, step, 3)
        chances.append(chance.mean(0))
    mean = torch.stack(chances).mean(0)
    assert mean[0] < 0.9 < 0.98 < mean[1]
    assert len(z[:, 0].unique()) > 19_000, "chains move"
    for k, expected in ((2, second), (4, fourth)):
        values = z[..., 0].pow(k)
        error = values.std(0) / math.sqrt(len(z))
        assert ((values.mean(0) - expected).abs() < 4.5 * error).all()


def curved(latent: int, pixels: int = 6) -> VAE:
    """A decoder that bends, and an encoder that knows nothing."""
    model = VAE(
        vk.StandardNormal(latent),
        vk.Conditional(vk.MLP(pixels, 2 * latent, hidden=()), vk.Gaussian(latent)),
        vk.Conditional(
            vk.MLP(latent, pixels, hidden=(8,), activation="tanh"), vk.Bernoulli(pixels)
        ),
    ).double()
    with torch.no_grad():
        for value in model.likelihood.parameters():
            value.copy_(2 * torch.randn_like(value))
    return model


def by_quadrature(model: VAE, x: Tensor) -> np.ndarray:
    """log p(x) on a grid, by numpy alone: the trapezoid rule is exact for such integrands."""
    layers = [p.detach().numpy() for p in model.likelihood.parameters()]
    latent = layers[0].shape[1]
    axis = np.linspace(-8, 8, 4001 if latent == 1 else 401)
    z = np.stack(np.meshgrid(*[axis] * latent), -1).reshape(-1, latent)
    logits = np.tanh(z @ layers[0].T + layers[1]) @ layers[2].T + layers[3]
    log_prior = -0.5 * (z**2).sum(1) - 0.5 * latent * math.log(2 * math.pi)
    pixels = x.numpy()[:, None]
    log_px = (pixels * log_expit(logits) + (1 - pixels) * log_expit(-logits)).sum(-1)
    return logsumexp(log_px + log_prior, axis=1) + latent * math.log(axis[1] - axis[0])


@pytest.mark.parametrize("latent", [1, 2])
@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_annealing_and_importance_sampling_find_the_integral(
    latent: int, start: str, proves: Proves
) -> None:
    model = curved(latent)
    x = model.sample(20)
    expected = by_quadrature(model, x)
    name = f"quadrature, {latent}-d latent"
    found = ais(model, x, chains=200, steps=100, leapfrogs=5, start=start)
    proves(f"ais from the {start}", name, found.log_p, expected, limit=0.08)
    ratio = (found.log_weight - torch.from_numpy(expected)).exp()
    error = ratio.std(0) / math.sqrt(len(ratio))
    assert ((ratio.mean(0) - 1).abs() < 4.5 * error).all()
    assert error.max() < 0.08
    assert 0.5 < found.acceptance < 0.95
    sampled = log_likelihood(model, x, samples=100_000)
    proves("log_likelihood", name, sampled, expected, limit=0.03)


def test_weights_average_to_p_of_x_for_any_number_of_steps() -> None:
    """Unbiased with four steps, too: peers that adapt while they anneal are not."""
    oracle = LinearGaussian.fit(torch.randn(60, 4, dtype=torch.float64), 2)
    x = 1.5 * torch.randn(5, 4, dtype=torch.float64)
    for schedule in ("linear", "sigmoid"):
        found = ais(oracle.vae(), x, chains=20_000, steps=4, leapfrogs=3, schedule=schedule)
        ratio = (found.log_weight - oracle.log_prob(x)).exp()
        error = ratio.std(0) / math.sqrt(len(ratio))
        assert ((ratio.mean(0) - 1).abs() < 4.5 * error).all()
        assert found.log_weight.std(0).min() > 0.05


def test_with_one_step_annealing_is_importance_sampling(proves: Proves) -> None:
    oracle = LinearGaussian.fit(torch.randn(60, 4, dtype=torch.float64), 2)
    model = oracle.vae(variance=torch.full((2,), 2.0, dtype=torch.float64))
    x = torch.randn(5, 4, dtype=torch.float64)
    torch.manual_seed(2)
    model.eval()
    model.posterior(x).sample((4,))  # the pilots'
    with torch.no_grad():
        expected = model(x, samples=(64,)).log_weight
    torch.manual_seed(2)
    found = ais(model, x, chains=64, steps=1, start="posterior")
    proves("ais with one step", "log weights of the trace", found.log_weight, expected, limit=1e-12)
    assert math.isnan(found.acceptance)


def test_annealing_sharpens_with_steps_and_is_below_log_p() -> None:
    oracle = LinearGaussian.fit(torch.randn(60, 6, dtype=torch.float64) * 2, 4)
    x = 3 * torch.randn(60, 6, dtype=torch.float64)
    exact = oracle.log_prob(x)
    gaps = [
        (exact - ais(oracle.vae(), x, chains=2, steps=steps, leapfrogs=3).log_p).mean()
        for steps in (2, 10, 200)
    ]
    assert gaps[0] > gaps[1] > gaps[2] > -0.05
    assert gaps[2] < 0.1 < gaps[0]


def test_both_directions_close_on_the_closed_form(proves: Proves) -> None:
    oracle = LinearGaussian.fit(torch.randn(60, 4, dtype=torch.float64) * 2, 2)
    loose = bidirectional(oracle.vae(), 300, chains=1, steps=3, leapfrogs=2)
    exact = oracle.log_prob(loose.x)
    for sign, bound in ((1, loose.lower), (-1, loose.upper)):
        gap = sign * (exact - bound)
        assert gap.mean() > 4 * gap.std() / math.sqrt(300)
    tight = bidirectional(oracle.vae(), 50, chains=16, steps=300, leapfrogs=5)
    exact = oracle.log_prob(tight.x)
    name = "log p(x) of probabilistic PCA"
    proves("bidirectional, lower", name, tight.lower.mean(), exact.mean(), limit=0.01)
    proves("bidirectional, upper", name, tight.upper.mean(), exact.mean(), limit=0.01)
    assert 0 <= tight.gap + 0.01 < 0.03
    assert loose.gap > 10 * abs(tight.gap)


def test_inverse_weights_of_the_reverse_chain_average_to_the_inverse_of_p() -> None:
    """Exactly, for any number of steps; from a narrow q, so that the average converges."""
    oracle = LinearGaussian.fit(torch.randn(60, 4, dtype=torch.float64), 2)
    narrow = 0.3 * oracle.variance / oracle.precision.diagonal()
    model = oracle.vae(variance=narrow)
    for schedule in ("linear", "sigmoid"):
        found = bidirectional(
            model, 20_000, chains=1, steps=4, leapfrogs=3, start="posterior", schedule=schedule
        )
        ratio = (oracle.log_prob(found.x) - found.upper).exp()
        error = ratio.std() / math.sqrt(len(ratio))
        assert abs(ratio.mean() - 1) < 4.5 * error
        assert 0.2 < ratio.std() < 2


def test_the_sandwich_closes_where_the_posterior_has_several_modes(proves: Proves) -> None:
    model = curved(2)
    found = bidirectional(model, 60, chains=20, steps=80, leapfrogs=4)
    expected = by_quadrature(model, found.x)
    name = "quadrature, 2-d latent"
    proves("bidirectional, lower", name, found.lower.mean(), expected.mean(), limit=0.03)
    proves("bidirectional, upper", name, found.upper.mean(), expected.mean(), limit=0.03)


def test_data_drawn_from_the_model_have_its_moments() -> None:
    oracle = LinearGaussian.fit(torch.randn(60, 4, dtype=torch.float64) + 3, 2)
    found = bidirectional(oracle.vae(), 4000, chains=1, steps=1)
    covariance = oracle.weight @ oracle.weight.T + oracle.variance * torch.eye(4)
    assert (found.x.mean(0) - oracle.mean).abs().max() < 0.1
    assert (torch.cov(found.x.T) - covariance).abs().max() < 0.15


def test_what_annealing_cannot_do_is_refused_in_one_line() -> None:
    oracle = LinearGaussian.fit(torch.randn(20, 4, dtype=torch.float64), 2)
    model, x = oracle.vae(), torch.randn(2, 4, dtype=torch.float64)
    with pytest.raises(vk.VaekitError, match="unknown schedule 'sigmod'; did you mean 'sigmoid'"):
        ais(model, x, schedule="sigmod")
    with pytest.raises(vk.VaekitError, match="unknown start 'q'"):
        ais(model, x, start="q")
    with pytest.raises(vk.VaekitError, match="got steps=0; expected a whole number"):
        ais(model, x, steps=0)
    with pytest.raises(vk.VaekitError, match="got n=0"):
        bidirectional(model, 0)
    with pytest.raises(vk.VaekitError, match="1 of the 8 numbers of x are not finite"):
        ais(model, x.masked_fill(x == x[0, 0], math.inf))
    point = VAE(
        vk.StandardNormal(2),
        vk.Conditional(vk.MLP(4, 2), vk.Delta(2)),
        vk.Conditional(vk.MLP(2, 4), vk.Gaussian(4)),
    )
    with pytest.raises(vk.VaekitError, match="Delta has no density"):
        ais(point, x.float())


def test_annealing_leaves_the_weights_and_modes_alone() -> None:
    model = curved(1).train()
    before = [p.clone() for p in model.parameters()]
    ais(model, model.sample(3), chains=2, steps=3, leapfrogs=2)
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())

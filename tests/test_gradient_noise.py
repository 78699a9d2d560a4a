"""The noise of a gradient, against its closed form and against numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import Proves
from torch import Tensor, nn

import vaekit as vk
from vaekit.evaluate import gradient_noise
from vaekit.models import VAE, Trace
from vaekit.objectives import Bound, Objective

M, S, W, SIGMA = 0.4, 0.6, 1.5, 0.8


class Known(nn.Module):
    """q(z|x) = N(m, S^2) for every x; m alone is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.tensor(M, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        log_variance = x.new_full((len(x), 1), 2 * math.log(S))
        return torch.cat([self.m.expand(len(x), 1), log_variance], 1)


class Line(nn.Module):
    """E[x|z] = W z."""

    def forward(self, z: Tensor) -> Tensor:
        return W * z


def one_parameter() -> VAE:
    posterior = vk.Conditional(Known(), vk.Gaussian(1), in_shape=(1,))
    likelihood = vk.Conditional(Line(), vk.Gaussian(1, scale=SIGMA), in_shape=(1,))
    return VAE(vk.StandardNormal(1), posterior, likelihood).double()


@pytest.mark.parametrize("kl", ["closed", "sampled"])
def test_variance_and_mean_of_the_reparameterised_gradient(kl: str, proves: Proves) -> None:
    """z = m + s e: d/dm log p(x|z) = w (x - w z) / sigma^2, and d/dm KL = m closed, z sampled."""
    rows, repeats = 3, 4000
    x = torch.tensor([[0.3], [-1.0], [2.2]], dtype=torch.float64)
    slope = W**2 / SIGMA**2 + (kl == "sampled")
    variance = (slope * S) ** 2 / rows
    mean = W * (x.mean().item() - W * M) / SIGMA**2 - M
    found = gradient_noise(one_parameter(), vk.ELBO(kl=kl), x, repeats=repeats)
    assert (found.parameters, found.repeats) == (1, repeats)
    limit = 5 * math.sqrt(2 / repeats)  # five standard errors of a Gaussian's variance
    proves(f"gradient variance, {kl} KL", "closed form", found.variance / variance, 1, limit=limit)
    error = 5 * 2 * abs(mean) * math.sqrt(variance / repeats)
    assert found.squared_norm == pytest.approx(mean**2, abs=error)
    assert found.ratio == found.variance / found.squared_norm


def test_the_closed_kl_has_less_noise_here() -> None:
    x = torch.ones(4, 1, dtype=torch.float64)
    noise = [gradient_noise(one_parameter(), vk.ELBO(kl=kl), x) for kl in ("closed", "sampled")]
    slope = W**2 / SIGMA**2
    assert noise[1].variance / noise[0].variance == pytest.approx(((slope + 1) / slope) ** 2)


def small() -> VAE:
    return VAE(
        vk.StandardNormal(2),
        vk.Conditional(vk.MLP(5, 4, [6]), vk.Gaussian(2)),
        vk.Conditional(vk.MLP(2, 5, [6]), vk.Bernoulli(5)),
    )


def by_numpy(model: VAE, objective: Objective, x: Tensor, repeats: int) -> np.ndarray:
    """All gradients, `(R, P)`, each by `backward`."""
    rows = []
    torch.manual_seed(7)
    for _ in range(repeats):
        model.zero_grad()
        objective(model(x, samples=objective.samples)).value.mean().backward()
        rows.append(np.concatenate([p.grad.flatten().numpy() for p in model.parameters()]))
    return np.array(rows, dtype=np.float64)


@pytest.mark.parametrize(
    "objective", [vk.ELBO(samples=2), vk.IWAE(samples=3)], ids=["elbo", "iwae"]
)
def test_it_is_numpys_covariance(objective: Objective) -> None:
    model, x = small(), torch.rand(6, 5)
    rows = by_numpy(model, objective, x, 9)
    found = gradient_noise(model, objective, x, repeats=9, seed=7)
    variance = np.trace(np.cov(rows.T, ddof=1))
    assert found.variance == pytest.approx(variance, rel=1e-6)
    squared = (rows.mean(0) ** 2).sum() - variance / 9
    assert found.squared_norm == pytest.approx(squared, rel=1e-5)


def test_the_squared_norm_is_unbiased() -> None:
    x = torch.full((1, 1), W * M + M * SIGMA**2 / W, dtype=torch.float64)  # where E[g] = 0
    found = [
        gradient_noise(one_parameter(), vk.ELBO(), x, repeats=2, seed=seed).squared_norm
        for seed in range(400)
    ]
    mean, error = np.mean(found), np.std(found) / 20
    assert abs(mean) < 4 * error
    variance = (W**2 / SIGMA**2 * S) ** 2
    assert variance / 2 > 8 * error, "the biased one would be seen"
    assert any(one < 0 for one in found)


def test_without_a_mean_gradient_the_ratio_is_infinite() -> None:
    x = torch.full((1, 1), W * M + M * SIGMA**2 / W, dtype=torch.float64)
    ratios = [gradient_noise(one_parameter(), vk.ELBO(), x, repeats=2, seed=s) for s in range(20)]
    assert {one.ratio == math.inf for one in ratios if one.squared_norm <= 0} == {True}


def test_everything_is_left_as_it_was() -> None:
    model = small()
    model.posterior.net.add_module("drop", nn.Dropout(0.5))
    model.train()
    x, before = torch.rand(4, 5), torch.get_rng_state()
    with torch.no_grad():
        one = gradient_noise(model, vk.ELBO(), x, repeats=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert one == gradient_noise(model.eval(), vk.ELBO(), x, repeats=3)
    assert one != gradient_noise(model, vk.ELBO(), x, repeats=3, seed=1)


class Apart(Objective):
    """Each part has a target of its own."""

    def value(self, trace: Trace) -> Tensor:
        return trace.log_likelihood.mean(0) - trace.kl.mean(0)

    def forward(self, trace: Trace) -> Bound:
        value = self.value(trace)
        return Bound(value, {"posterior": value, "likelihood": 3 * value})


def test_targets_by_part_are_differentiated_part_by_part() -> None:
    model, x = small(), torch.rand(6, 5)
    rows = by_numpy(model, vk.ELBO(), x, 5)
    first = sum(p.numel() for p in model.posterior.parameters())
    rows[:, first:] *= 3
    found = gradient_noise(model, Apart(), x, repeats=5, seed=7)
    assert found.variance == pytest.approx(rows.var(0, ddof=1).sum(), rel=1e-6)


def test_refusals() -> None:
    with pytest.raises(vk.VaekitError, match="got repeats=1; expected a whole"):
        gradient_noise(small(), vk.ELBO(), torch.rand(4, 5), repeats=1)
    with pytest.raises(vk.VaekitError, match="no parameter that is trained"):
        gradient_noise(small().requires_grad_(False), vk.ELBO(), torch.rand(4, 5))
    model = small()
    next(model.parameters()).data.fill_(math.nan)
    with pytest.raises(vk.VaekitError, match="not finite"):
        gradient_noise(model, vk.ELBO(), torch.rand(4, 5))

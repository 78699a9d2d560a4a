"""log p(x) and q(z), against closed forms, quadrature and full sums written out."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves
from scipy.special import expit, log_expit, logsumexp, xlogy
from scipy.stats import norm
from torch import Tensor

import vaekit as vk
from vaekit import distributions as d
from vaekit.evaluate import (
    aggregate_log_prob,
    aggregate_posterior,
    ais,
    bidirectional,
    hmc,
    importance_sampled,
    leapfrog,
    log_likelihood,
    nll,
    rows_and_draws,
)
from vaekit.models import VAE
from vaekit.registry import make
from vaekit.testing import LinearGaussian


@pytest.mark.parametrize("shape", [(7,), (784,), (1, 4, 8)])
@pytest.mark.parametrize("spread", [1.0, 12.0])
def test_the_bernoulli_of_evaluation_is_the_density(
    shape: tuple[int, ...], spread: float, proves: Proves
) -> None:
    """The path without gradients takes one logarithm for many pixels."""
    logits = spread * torch.randn(5, 3, *shape, dtype=torch.float64)
    for x in (torch.bernoulli(logits[0].sigmoid()), torch.rand(3, *shape, dtype=torch.float64)):
        one = expit(logits.numpy())
        terms = xlogy(x.numpy(), one) + xlogy(1 - x.numpy(), expit(-logits.numpy()))
        expected = terms.reshape(5, 3, -1).sum(-1)
        p = d.Bernoulli(logits, event_dim=len(shape))
        with torch.no_grad():
            got = p.log_prob(x)
            single = d.Bernoulli(logits.float(), event_dim=len(shape)).log_prob(x.float())
        oracle = "scipy expit and xlogy"
        proves("Bernoulli, summed without gradients", oracle, got, expected, limit=1e-12)
        proves("Bernoulli, summed in float32", oracle, single, expected, limit=2e-6)
        assert torch.allclose(p.log_prob(x), got, rtol=1e-12)


def loose(rows: int = 30, wide: float = 3.0) -> tuple[LinearGaussian, VAE, Tensor]:
    """A linear model whose posterior is too wide, so that weights vary; and data."""
    oracle = LinearGaussian.fit(torch.randn(60, 4, dtype=torch.float64), 2)
    model = oracle.vae(variance=torch.full((2,), wide, dtype=torch.float64))
    return oracle, model, torch.randn(rows, 4, dtype=torch.float64)


class Counting(VAE):
    """Notes the rows encoded and the (draws, rows) of every pass."""

    def __init__(self, plain: VAE) -> None:
        super().__init__(plain.prior, plain.posterior, plain.likelihood)
        self.encoded: list[int] = []
        self.passes: list[tuple[int, int]] = []

    def infer(self, x: Tensor, *rest: Any) -> Any:
        self.encoded.append(len(x))
        return super().infer(x, *rest)

    def likelihood_at(self, zs: tuple[Tensor, ...], *rest: Any) -> d.Distribution:
        draws, rows, _ = zs[0].shape
        self.passes.append((draws, rows))
        return super().likelihood_at(zs, *rest)


@pytest.mark.parametrize(("samples", "chunk"), [(1, 5), (25, 10), (100, 7), (1000, 320), (64, 999)])
def test_every_row_is_encoded_once_and_has_exactly_the_draws_asked_for(
    samples: int, chunk: int
) -> None:
    """Peers encode for every chunk, take the batch size for the draws, or drop the last chunk."""
    model = Counting(loose()[1])
    log_likelihood(model, torch.randn(6, 4, dtype=torch.float64), samples=samples, chunk=chunk)
    assert sum(model.encoded) == 6
    assert sum(draws * rows for draws, rows in model.passes) == 6 * samples
    assert max(draws * rows for draws, rows in model.passes) <= chunk


def test_log_likelihood_is_the_log_mean_weight_of_its_draws(proves: Proves) -> None:
    """Peers return the wrong sign, or the log of the sum."""
    _, model, x = loose(6)
    torch.manual_seed(1)
    found = importance_sampled(model, x, samples=45, chunk=16)
    torch.manual_seed(1)
    with torch.no_grad():
        parts = [[model(row[None], samples=(n,)).log_weight for n in (16, 6, 16, 7)] for row in x]
    weights = torch.cat([torch.cat(row) for row in parts], 1).exp().numpy()
    assert found.log_p.mean() < 0
    oracle = "the mean of the same weights"
    proves("log_likelihood", oracle, found.log_p, np.log(weights.mean(0)), limit=1e-12)
    halves = (np.log(weights[:22].mean(0)) + np.log(weights[22:].mean(0))) / 2
    proves("log_likelihood at half the draws", oracle, found.at_half, halves, limit=1e-12)


def test_the_chunk_changes_nothing_but_the_order_of_additions(proves: Proves) -> None:
    _, model, x = loose(4)
    found = []
    for chunk in (32, 80, 500, 10**6):
        torch.manual_seed(3)
        rows = [log_likelihood(model, row[None], samples=1024, chunk=chunk) for row in x]
        found.append(torch.cat(rows))
    for other in found[1:]:
        proves("log_likelihood in other chunks", "in chunks of 32", other, found[0], limit=1e-12)
    assert found[0].std() > 0.1


def test_log_likelihood_converges_to_the_closed_form_and_half_the_draws_show_the_bias() -> None:
    oracle, model, x = loose(200)
    exact = -oracle.log_prob(x).mean().item()
    found = {s: nll(model, [(x[:150], None), (x[150:], None)], samples=s) for s in (2, 20, 4000)}
    gaps = {s: f.mean - exact for s, f in found.items()}
    assert gaps[2] > gaps[20] > abs(gaps[4000])
    assert abs(gaps[4000]) < 0.01
    for s in (2, 20):
        assert found[s].at_half - found[s].mean > 0.2 * gaps[s]
    values = oracle.log_prob(x)
    error = values.std().item() / math.sqrt(200)
    assert found[4000].standard_error == pytest.approx(error, rel=0.02)
    assert (found[4000].rows, found[4000].samples) == (200, 4000)


def test_one_draw_and_one_row_are_right() -> None:
    _, model, x = loose(1)
    torch.manual_seed(0)
    found = nll(model, [(x, None)], samples=1)
    torch.manual_seed(0)
    expected = -model(x, samples=(1,)).log_weight.item()
    assert found.mean == pytest.approx(expected, abs=1e-12)
    assert found.at_half is None
    assert math.isnan(found.standard_error)


def test_the_likelihood_of_what_is_seen_is_the_marginal(proves: Proves) -> None:
    """Against the Gaussian of the columns that are seen, with a posterior made for them."""
    oracle, model, x = loose(5, wide=1.0)
    seen = torch.tensor([1.0, 0.0, 1.0, 1.0])
    hidden = torch.where(seen != 0, x, torch.nan)
    found = log_likelihood(model, hidden, samples=200_000, mask=seen.expand_as(x))
    keep = seen != 0
    expected = LinearGaussian(oracle.mean[keep], oracle.weight[keep], oracle.variance)
    oracle_name = "the marginal Gaussian"
    proves("masked log_likelihood", oracle_name, found, expected.log_prob(x[:, keep]), limit=0.02)


def test_memory_is_bounded_by_the_decoder_not_by_the_draws() -> None:
    big = VAE(
        vk.StandardNormal(2),
        vk.Conditional(vk.MLP((3, 64, 64), 4, hidden=()), vk.Gaussian(2)),
        vk.Conditional(vk.MLP(2, (3, 64, 64), hidden=()), vk.Bernoulli((3, 64, 64))),
    )
    rows, draws = rows_and_draws(big, 1000, 10**6)
    assert rows * draws * 3 * 64 * 64 * 4 <= 2**23
    levels = VAE(
        vk.StandardNormal(2),
        vk.Conditional(vk.MLP((1, 28, 28), 4, hidden=()), vk.Gaussian(2)),
        vk.Conditional(vk.MLP(2, (1, 28, 28, 256), hidden=()), vk.Categorical((1, 28, 28))),
    )
    assert rows_and_draws(levels, 1000, 5000) == (1, 10)


def test_what_has_no_likelihood_is_refused_in_one_line() -> None:
    _, model, x = loose(3)
    point = VAE(
        vk.StandardNormal(2),
        vk.Conditional(vk.MLP(4, 2), vk.Delta(2)),
        vk.Conditional(vk.MLP(2, 4), vk.Gaussian(4)),
    )
    with pytest.raises(vk.VaekitError, match=r"^Delta has no density, so the model has no log p"):
        log_likelihood(point, x.float())
    with pytest.raises(vk.VaekitError, match="got `samples=0`; expected a whole number"):
        log_likelihood(model, x, samples=0)
    with pytest.raises(vk.VaekitError, match=r"got `len\(x\)=0`"):
        log_likelihood(model, x[:0])
    with pytest.raises(vk.VaekitError, match="got no rows"):
        nll(model, [])
    with pytest.raises(vk.VaekitError, match="1 of the 12 numbers of x are not finite"):
        log_likelihood(model, x.masked_fill(x == x[1, 2], math.nan))
    with torch.no_grad():
        next(model.likelihood.parameters()).fill_(math.inf)
    with pytest.raises(vk.VaekitError, match=r"3 of 3 rows is not a number"):
        log_likelihood(model, x, samples=10)


def test_evaluation_leaves_the_model_as_it_was() -> None:
    _, model, x = loose(3)
    model.train()
    model.posterior.eval()
    log_likelihood(model, x, samples=3)
    assert model.likelihood.training
    assert not model.posterior.training


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


def test_a_proposal_where_there_is_no_density_is_refused_with_chance_zero() -> None:
    z = torch.linspace(-0.9, 0.9, 20, dtype=torch.float64).view(10, 2, 1)
    far = torch.tensor([30.0, 50.0], dtype=torch.float64)
    new, chance = hmc(lambda z: (1 - z.square()).log().sum(-1), z, far, 1)
    assert torch.equal(new, z)
    assert torch.equal(chance, torch.zeros(10, 2, dtype=torch.float64))


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
@pytest.mark.slow
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
            model, 10_000, chains=2, steps=4, leapfrogs=3, start="posterior", schedule=schedule
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
    with pytest.raises(vk.VaekitError, match="got `steps=0`; expected a whole number"):
        ais(model, x, steps=0)
    with pytest.raises(vk.VaekitError, match="got `n=0`"):
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


PARTS = ("mutual_information", "total_correlation", "dimension_wise_kl")


def written_out(loc: np.ndarray, scale: np.ndarray, z: np.ndarray) -> SimpleNamespace:
    """The measures at z (N, D), by loops over rows and dims with scipy's normal density."""
    n, dims = loc.shape
    log_qx = np.array([norm.logpdf(z[i], loc[i], scale[i]).sum() for i in range(n)])
    log_q, product = np.empty(n), np.empty(n)
    for i in range(n):
        pairs = np.array(
            [[norm.logpdf(z[i, k], loc[j, k], scale[j, k]) for k in range(dims)] for j in range(n)]
        )
        log_q[i] = logsumexp(pairs.sum(1)) - math.log(n)
        product[i] = sum(logsumexp(pairs[:, k]) - math.log(n) for k in range(dims))
    log_p = norm.logpdf(z).sum(1)
    return SimpleNamespace(
        mutual_information=(log_qx - log_q).mean(),
        total_correlation=(log_q - product).mean(),
        dimension_wise_kl=(product - log_p).mean(),
        marginal_kl=(log_q - log_p).mean(),
        kl_sampled=(log_qx - log_p).mean(),
    )


def perturbed(rows: int = 23, latent: int = 3) -> tuple[VAE, Tensor]:
    """A linear model whose posterior is not exact, and data."""
    model = LinearGaussian.fit(torch.randn(60, 5, dtype=torch.float64), latent).vae()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.3 * torch.randn_like(value))
    return model, torch.randn(rows, 5, dtype=torch.float64)


def test_every_measure_is_the_full_sum(monkeypatch: pytest.MonkeyPatch, proves: Proves) -> None:
    """However the rows come in batches, and the points in pieces."""
    model, x = perturbed()
    for sizes, room in (([23], 2**23), ([10, 10, 3], 2**12), ([1] * 23, 1)):
        monkeypatch.setattr("vaekit.evaluate._latent.BYTES", room)
        batches = [(part, None) for part in x.split(sizes)]
        torch.manual_seed(5)
        found = aggregate_posterior(model, batches)
        torch.manual_seed(5)
        with torch.no_grad():
            z = torch.cat([model(part).site.z[0] for part, _ in batches])
            q = model.posterior(x)
        expected = written_out(q.loc.numpy(), q.scale.numpy(), z.numpy())
        for name, value in vars(expected).items():
            part = name.replace("_", " ")
            proves(part, "loops over scipy's normal", getattr(found, name), value, limit=1e-11)
        assert sum(getattr(found, name) for name in PARTS) == pytest.approx(found.kl_sampled)
        assert (found.rows, found.samples) == (23, 1)
        assert found.mutual_information < math.log(23)


def test_the_square_error_is_that_of_the_means_at_the_draws() -> None:
    model, x = perturbed()
    torch.manual_seed(4)
    found = vk.measure(model, [(x, None)], samples=3)
    torch.manual_seed(4)
    y = model(x, samples=(3,)).px.mean.detach()
    assert found.mse == pytest.approx(np.square(x.numpy() - y.numpy()).mean())


@pytest.mark.parametrize("bounded", [False, True])
def test_what_the_number_of_rows_bounds_says_so(bounded: bool) -> None:
    parts = ("mutual_information", "marginal_kl", "total_correlation")
    names = ("rate", "distortion", *parts, "dimension_wise_kl", "kl_sampled")
    record = {**dict.fromkeys(names, 1.0), "errors": {}, "rows": 100, "bounded": bounded}
    words = {name: more for name, _, _, more in make("metric", {"name": "aggregate"}).lines(record)}
    assert list(words) == list(names)
    for name, more in words.items():
        assert ("bounded by log N = 4.61" in more) == (bounded and name in parts)


def test_rows_far_from_a_point_count_in_q_of_z_as_scipy_counts_them() -> None:
    """One row at the point, 5,000 others so far that each adds exp(-32) or nothing at all."""
    at = torch.cat([torch.zeros(1), torch.full((5000,), 8.0), torch.full((500,), 60.0)])
    q = d.Gaussian(at[:, None].double(), torch.zeros(1, dtype=torch.float64))
    z = torch.tensor([[0.0], [0.5], [30.0]], dtype=torch.float64)
    log_q, terms = aggregate_log_prob([q], z)
    expected = logsumexp(norm.logpdf(z.numpy(), at.numpy()), axis=1) - math.log(len(at))
    assert terms is not None
    for got in (log_q, terms[:, 0]):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_rate_and_distortion_are_those_of_the_closed_forms(proves: Proves) -> None:
    oracle = LinearGaussian.fit(torch.randn(60, 5, dtype=torch.float64), 2)
    x = torch.randn(40, 5, dtype=torch.float64)
    model = oracle.vae()
    found = aggregate_posterior(model, [(x[:25], None), (x[25:], None)], samples=2000)
    q = model.posterior(x)
    loc, variance = q.mean.detach(), q.variance[0].detach()
    rate = 0.5 * (loc.square() + variance - 1 - variance.log()).sum(1)
    oracle_name = "the linear-Gaussian closed form"
    proves("rate", oracle_name, found.rate, rate.mean(), limit=1e-12)
    distortion = -oracle.elbo(x, loc, variance, beta=0.0).mean()
    proves("distortion, 2000 draws", oracle_name, found.distortion, distortion, limit=2e-3)
    assert found.errors["rate"] == pytest.approx(rate.std().item() / math.sqrt(40))
    assert found.kl_sampled == pytest.approx(found.rate, abs=0.02)


def test_of_many_rows_of_the_model_itself_the_aggregate_is_the_prior() -> None:
    """As N grows q(z) becomes p(z), so I(x; z) = 1/2 log det(M / s2) and nothing else is left.

    The sum over N points is above the integral by about E[q(z|x) / q(z)] / 2N, here 0.0004.
    """
    oracle = LinearGaussian(
        torch.zeros(3).double(),
        torch.tensor([[1.0], [0.5], [0.0]]).double(),
        torch.tensor(0.5).double(),
    )
    model = oracle.vae()
    x = model.sample(4000)
    found = aggregate_posterior(model, [(part, None) for part in x.split(500)])
    exact = 0.5 * torch.logdet(oracle.precision / oracle.variance).item()
    assert exact == pytest.approx(0.626, abs=1e-3)
    assert abs(found.mutual_information - exact) < 4 * found.errors["mutual_information"] + 0.002
    assert abs(found.marginal_kl) < 4 * found.errors["marginal_kl"] + 0.002
    assert abs(found.total_correlation) < 1e-12, "one latent"


def test_the_exact_row_of_the_table_of_estimators() -> None:
    """5000 posteriors, 10 latents, sigma 0.1: MI = log N = 8.52, TC 14.5, dimension-wise KL 0.02.

    An estimate from a batch gives 4.2 to 42, -33 to 94 and -84 to 1.3 here.
    """
    loc = torch.randn(5000, 10)
    z = loc + 0.1 * torch.randn_like(loc)
    q = [d.Gaussian(part, torch.tensor(math.log(0.1))) for part in loc.split(500)]
    some = torch.arange(1000)
    log_q, terms = aggregate_log_prob(q, z[some])
    log_qx = d.Gaussian(loc, torch.tensor(math.log(0.1))).log_prob(z)[some]
    log_p = d.StandardGaussian(torch.zeros(10)).log_prob(z)[some]
    assert (log_qx - log_q).mean() == pytest.approx(math.log(5000), abs=0.005)
    assert (log_q - terms.sum(1)).mean() == pytest.approx(14.5, abs=0.4)
    assert (terms.sum(1) - log_p).mean() == pytest.approx(0.02, abs=0.15)


def test_the_mutual_information_is_between_nothing_and_log_n() -> None:
    x = torch.randn(50, 5, dtype=torch.float64)
    oracle = LinearGaussian.fit(x, 2)
    blind = oracle.vae(torch.zeros(2, 5).double(), torch.ones(2).double())
    sharp = oracle.vae(variance=torch.full((2,), 1e-8).double())
    none, all_of_it = (aggregate_posterior(m, [(x, None)], samples=2) for m in (blind, sharp))
    for name in (*PARTS, "rate", "marginal_kl"):
        assert abs(getattr(none, name)) < 1e-12
    assert all_of_it.mutual_information == pytest.approx(math.log(50), abs=1e-6)
    assert (none.bounded, all_of_it.bounded) == (False, True)
    one = aggregate_posterior(sharp, [(x[:1], None)])
    assert abs(one.mutual_information) < 1e-9
    assert math.isnan(one.errors["rate"])


@pytest.mark.parametrize(("variance", "share", "bounded"), [(6e-4, 0.98, True), (4e-3, 0.9, False)])
def test_mutual_information_within_5_percent_of_log_n_is_bounded_by_it(
    variance: float, share: float, bounded: bool
) -> None:
    x = torch.randn(50, 5, dtype=torch.float64)
    model = LinearGaussian.fit(x, 2).vae(variance=torch.full((2,), variance).double())
    found = aggregate_posterior(model, [(x, None)], samples=20)
    assert found.mutual_information / math.log(50) == pytest.approx(share, abs=0.02)
    assert found.bounded is bounded


class Whole(d.Gaussian):
    """A Gaussian that does not say it factorizes."""

    offers = d.Gaussian.offers - {"factors"}


def test_what_does_not_factorise_has_no_total_correlation() -> None:
    class Family(vk.Gaussian):
        distribution = Whole

    model, x = perturbed()
    torch.manual_seed(0)
    expected = aggregate_posterior(model, [(x, None)])
    model.posterior.family = Family(3)
    torch.manual_seed(0)
    found = aggregate_posterior(model, [(x, None)])
    assert found.mutual_information == pytest.approx(expected.mutual_information, abs=1e-12)
    assert found.total_correlation is None
    assert found.dimension_wise_kl is None


def test_what_has_no_aggregate_is_refused_in_one_line() -> None:
    model, x = perturbed(4)
    point = VAE(
        vk.StandardNormal(2),
        vk.Conditional(vk.MLP(5, 2), vk.Delta(2)),
        vk.Conditional(vk.MLP(2, 5), vk.Gaussian(5)),
    )
    with pytest.raises(vk.VaekitError, match=r"^Delta has no density, so the model has no q\(z\)"):
        aggregate_posterior(point, [(x.float(), None)])
    with pytest.raises(vk.VaekitError, match="got no rows"):
        aggregate_posterior(model, [])
    with pytest.raises(vk.VaekitError, match="20 of the 20 numbers of x are not finite"):
        aggregate_posterior(model, [(x * math.nan, None)])
    with pytest.raises(vk.VaekitError, match="got `samples=0`"):
        aggregate_posterior(model, [(x, None)], samples=0)
    with torch.no_grad():
        next(model.posterior.parameters()).fill_(math.inf)
    with pytest.raises(vk.VaekitError, match=r"rate of \d of 4 rows is not a number"):
        aggregate_posterior(model, [(x, None)])

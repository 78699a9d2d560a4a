"""log p(x) by importance sampling and by annealing, against closed forms and quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import expit, xlogy
from torch import Tensor

import vaekit as vk
from vaekit import distributions as d
from vaekit.evaluate import importance_sampled, log_likelihood, nll
from vaekit.evaluate.likelihood import rows_and_draws
from vaekit.models import VAE, Site, Trace
from vaekit.testing import LinearGaussian

Proves = Callable[..., None]


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

    def infer(self, x: Tensor, *rest: Tensor | None) -> d.Distribution:
        self.encoded.append(len(x))
        return super().infer(x, *rest)

    def decoded(self, x: Tensor, sites: tuple[Site, ...], *rest: Tensor | None) -> Trace:
        self.passes.append((len(sites[0].z), len(x)))
        return super().decoded(x, sites, *rest)


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
    with pytest.raises(vk.VaekitError, match="got samples=0; expected a whole number"):
        log_likelihood(model, x, samples=0)
    with pytest.raises(vk.VaekitError, match="got rows of x=0"):
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

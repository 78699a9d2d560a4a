"""What is missing is filled in as the exact conditional of a linear Gaussian model says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vaekit.errors import VaekitError
from vaekit.evaluate import impute
from vaekit.testing import LinearGaussian

D, B = 5, 40


@pytest.fixture
def problem() -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A model, rows with gaps, and mean and covariance of what is missing given what is seen."""
    torch.manual_seed(0)
    mix = torch.randn(D, D)
    rows = torch.randn(500, D) @ mix + 0.3
    oracle = LinearGaussian.fit(rows, latent=2)
    weight, mean = oracle.weight.double(), oracle.mean.double()
    covariance = weight @ weight.T + oracle.variance.double() * torch.eye(D)
    x = rows[:B].clone()
    missing = torch.rand(B, D, generator=torch.Generator().manual_seed(1)) < 0.4
    missing[:, 0] = False
    x[missing] = torch.nan
    expected, spread = x.double().clone(), torch.zeros(B, D, dtype=torch.float64)
    for i in range(B):
        m, o = missing[i], ~missing[i]
        gain = covariance[m][:, o] @ covariance[o][:, o].inverse()
        expected[i, m] = mean[m] + gain @ (x[i, o].double() - mean[o])
        spread[i, m] = (covariance[m][:, m] - gain @ covariance[o][:, m]).diagonal()
    variance = 9 * oracle.posterior(rows)[1].diagonal()  # wide: what is seen tells less of z
    return oracle.vae(variance=variance), x, missing, expected, spread


def test_a_single_fill_is_the_conditional_mean(problem: Any) -> None:
    model, x, missing, expected, spread = problem
    torch.manual_seed(0)
    filled = impute(model, x, samples=20_000)
    assert torch.equal(filled[~missing], x[~missing])
    apart = (filled.double() - expected)[missing] / spread[missing].sqrt()
    assert apart.abs().max() < 0.15
    assert apart.square().mean().sqrt() < 0.04


def test_draws_have_the_conditional_mean_and_variance(problem: Any) -> None:
    model, x, missing, expected, spread = problem
    torch.manual_seed(0)
    drawn = impute(model, x, samples=5000, draws=2000).double()
    assert drawn.shape == (2000, B, D)
    assert torch.equal(drawn[7][~missing], x[~missing].double())
    apart = (drawn.mean(0) - expected)[missing] / spread[missing].sqrt()
    assert apart.square().mean().sqrt() < 0.06
    ratio = drawn.var(0)[missing] / spread[missing]
    assert (ratio - 1).abs().median() < 0.05
    assert (ratio.mean() - 1).abs() < 0.05


def test_rows_without_gaps_stay_and_wrong_numbers_are_refused(problem: Any) -> None:
    model, x, missing, *_ = problem
    whole = torch.where(missing, torch.zeros_like(x), x)
    assert torch.equal(impute(model, whole, samples=2), whole)
    for how in ({"samples": 0}, {"draws": -1}):
        with pytest.raises(VaekitError, match="at least"):
            impute(model, x, **how)

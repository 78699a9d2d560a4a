"""log p(x) by importance sampling and by annealing, against closed forms and quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import expit, xlogy
from torch import Tensor

from vaekit import distributions as d

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
        proves("the same in float32", oracle, single, expected, limit=2e-6)
        assert torch.allclose(p.log_prob(x), got, rtol=1e-12)

"""A likelihood of one's own: independent logistic variables of one learned scale."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from probing import walk
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.distributions import Distribution, Space, offering, reals
from vaekit.parts import Family
from vaekit.registry import register
from vaekit.testing import check_family


class LogisticDistribution(Distribution):
    """Logistic variables: density e^-u / (s (1 + e^-u)^2), u = (x - loc) / s."""

    parameters = ("loc", "log_scale")
    offers = offering(
        "rsample", "draws", "density", "marginal", "factors", "mean", "stopped", "exact"
    )

    def __init__(self, loc: Tensor, log_scale: Tensor, *, event_dim: int = 1) -> None:
        self.loc, self.log_scale, self.event_dim = loc, log_scale, event_dim

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def space(self) -> Space:
        return reals(*self.event_shape)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        u = torch.rand(*shape, *self.loc.shape, dtype=self.loc.dtype)
        return self.loc + self.log_scale.exp() * u.clamp(1e-12, 1 - 1e-7).logit()

    def terms(self, x: Tensor) -> Tensor:
        u = (x - self.loc) / self.log_scale.exp()
        return -u - 2 * F.softplus(-u) - self.log_scale


class Logistic(Family):
    """Independent logistic variables.

    Args:
        scale: where the one scale starts.
    """

    distribution = LogisticDistribution

    def __init__(self, event_shape: int | tuple[int, ...], *, scale: float = 0.2) -> None:
        super().__init__(event_shape)
        self.log_scale = nn.Parameter(torch.tensor(scale).log())

    @property
    def space(self) -> Space:
        return reals(*self.event_shape)

    def forward(self, params: Tensor, context: Tensor | None = None) -> LogisticDistribution:
        return LogisticDistribution(params, self.log_scale, event_dim=len(self.event_shape))

    def start(self, mean: Tensor) -> Tensor:
        return mean


def enter() -> None:
    register("likelihood", "own-logistic")(Logistic)


def test_its_density_and_its_draws_agree() -> None:
    check_family(Logistic(3, scale=0.7))


def test_a_likelihood_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enter()
    found = walk(tmp_path, capsys, "vae", "--latent", "2", "--likelihood", "own-logistic:scale=0.3")
    assert found["protocol"]["likelihood"] == "LogisticDistribution"
    assert found["nll"]["mean"] <= -found["elbo"]

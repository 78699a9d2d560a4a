"""A prior of one's own: VampPrior, a mixture of posteriors at learned inputs.

Tomczak & Welling, "VAE with a VampPrior", 2018, arXiv 1705.07120, eq. 9.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from probing import walk
from torch import Tensor, nn

from vaekit.distributions import Distribution, Gaussian, Offer, Space, offering, reals
from vaekit.parts import Prior
from vaekit.registry import register


class Mixture(Distribution):
    """The components of q, `(K, D)`, with equal weights."""

    parameters = ()
    offers = offering("draws", "density")

    def __init__(self, q: Distribution) -> None:
        self.q, self.event_dim = q, q.event_dim

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.q.event_shape

    @property
    def space(self) -> Space:
        return self.q.space

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        z = self.q.sample(shape)  # (*shape, K, D)
        which = torch.randint(z.shape[-2], (*shape, 1, 1)).expand(*shape, 1, z.shape[-1])
        return z.gather(-2, which).squeeze(-2)

    def log_prob(self, x: Tensor) -> Tensor:
        each = self.q.log_prob(x.unsqueeze(-2))
        return each.logsumexp(-1) - math.log(each.shape[-1])


class Vamp(Prior):
    """A mixture of the posterior at learned inputs (arXiv 1705.07120).

    Args:
        components: how many inputs.
    """

    needs = offering("draws", "density", "marginal")

    def __init__(
        self, event_shape: tuple[int, ...], x_shape: tuple[int, ...], *, components: int = 8
    ) -> None:
        super().__init__()
        self.event_shape = event_shape
        self.inputs = nn.Parameter(torch.rand(components, *x_shape))

    @property
    def offers(self) -> frozenset[Offer]:
        return Mixture.offers

    @property
    def space(self) -> Space:
        return reals(*self.event_shape)

    def forward(self, context: Tensor | None = None, posterior: nn.Module | None = None) -> Mixture:
        assert posterior is not None
        return Mixture(posterior(self.inputs))


def enter() -> None:
    register("prior", "own-vamp")(Vamp)


def test_its_density_is_the_mean_of_the_components() -> None:
    loc, log_scale, z = torch.randn(3, 2), torch.randn(3, 2), torch.randn(5, 2)
    each = torch.distributions.Normal(loc, log_scale.exp()).log_prob(z[:, None]).sum(-1)
    expected = each.exp().mean(1).log()
    assert torch.allclose(Mixture(Gaussian(loc, log_scale)).log_prob(z), expected, atol=1e-5)


def test_a_prior_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enter()
    found = walk(tmp_path, capsys, "vae", "--latent", "2", "--prior", "own-vamp:components=4")
    assert found["kl"] > 0
    assert found["aggregate"]["dimension_wise_kl"] is None  # the mixture does not factorize

"""A model of one's own whose latents are codes: finite scalar quantization.

Mentzer, Minnen, Agustsson & Tschannen, "Finite Scalar Quantization: VQ-VAE Made Simple", 2023,
arXiv 2309.15505, section 3.1, for odd numbers of levels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from probing import walk
from torch import Tensor

from vaekit.distributions import Distribution, Offer, Space, codes, offering
from vaekit.models import LatentModel, Site
from vaekit.nn import Nets
from vaekit.parts import Family
from vaekit.recipes import recipe
from vaekit.registry import register


class Point(Distribution):
    """All mass on one code at each place: indices `(*batch, n)`."""

    parameters = ("index",)
    offers = offering("draws", "density", "codes", "exact")

    def __init__(self, index: Tensor, levels: int = 2, *, event_dim: int = 1) -> None:
        self.index, self.levels, self.event_dim = index, levels, event_dim

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.index.shape[-1:])

    @property
    def space(self) -> Space:
        return codes(self.index.shape[-1], self.levels)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return self.index.expand(*shape, *self.index.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.where(x == self.index, 0.0, -math.inf).sum(-1)


class Uniform(Point):
    """Every code alike, at each place."""

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randint(self.levels, (*shape, *self.index.shape))

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.full(x.shape[:-1], -x.shape[-1] * math.log(self.levels))


class FSQ(LatentModel):
    """Each number of the code is rounded to one of a few levels (arXiv 2309.15505).

    Args:
        levels: an odd number: how many values each number of a code takes.
    """

    def __init__(
        self, x_shape: tuple[int, ...], net: Nets, family: Family, latent: int, *, levels: int = 5
    ) -> None:
        super().__init__()
        self._x_shape, self.family, self.latent, self.levels = x_shape, family, latent, levels
        self.encoder = net.encoder(x_shape, (latent,))
        self.decoder = net.decoder((latent,), family.param_shape, latent)

    @property
    def offers(self) -> frozenset[Offer]:  # type: ignore[override]
        words = ("latent", "rsample", "density", "bound", "codes", "exact", "draws", "one_site")
        return offering(*words) | (self.family.offers & {Offer.FIXED})

    @property
    def x_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self._x_shape

    def infer(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Any:
        soft = (self.levels - 1) / 2 * self.encoder(x).tanh()
        rounded = soft + (soft.round() - soft).detach()  # straight through
        return rounded, (rounded.detach() + (self.levels - 1) / 2).round().long()

    def draw(self, state: Any, samples: tuple[int, ...]) -> tuple[Site, ...]:
        q, p = Point(state[1], self.levels), Uniform(torch.zeros(self.latent), self.levels)
        return (Site.draw("codes", q, p, samples),)

    @torch.no_grad()
    def draw_prior(
        self, n: int, context: Tensor | None = None, temperature: float = 1.0
    ) -> tuple[Tensor, ...]:
        return (Uniform(torch.zeros(self.latent), self.levels).sample((n,)),)

    def likelihood_at(
        self, zs: tuple[Tensor, ...], context: Tensor | None = None, state: Any = None
    ) -> Distribution:
        z = zs[0].float() - (self.levels - 1) / 2
        if state is not None:
            z = state[0].expand(*zs[0].shape)
        return self.family(self.decoder(z.flatten(0, -2)).unflatten(0, z.shape[:-1]))


def enter() -> None:
    register("model", "fsq")(FSQ)
    recipe("fsq", "Codes of a few levels each.", model="fsq", latent=6)


def test_a_model_of_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enter()
    found = walk(
        *(tmp_path, capsys, "fsq", "--net", "mlp:hidden=32", "--model", ":levels=3"),
        asked=["nll:samples=2", "codes", "reconstruction"],
        refused=["traverse"],
    )
    assert found["kl"] == pytest.approx(6 * math.log(3), rel=1e-5)
    assert 0 < found["codes"]["share_used"] <= 1

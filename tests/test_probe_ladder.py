"""A model of one's own with two latents: z2, then z1 given z2, then x given both.

Sonderby et al., "Ladder Variational Autoencoders", 2016, arXiv 1602.02282; top-down, without the
precision-weighted merge.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from probing import ASKED, walk
from torch import Tensor, nn

from vaekit.distributions import Distribution, Gaussian, Offer, StandardGaussian, offering
from vaekit.models import LatentModel, Site
from vaekit.nn import Nets
from vaekit.parts import Family
from vaekit.recipes import recipe
from vaekit.registry import register
from vaekit.testing import check_model


class Ladder(LatentModel):
    """Two latents, the lower of which depends on the upper one (arXiv 1602.02282).

    Args:
        upper: the size of the upper latent.
        width: of the hidden layers between them.
    """

    zero: Tensor

    def __init__(
        self,
        x_shape: tuple[int, ...],
        net: Nets,
        family: Family,
        latent: int,
        *,
        upper: int = 3,
        width: int = 32,
    ) -> None:
        super().__init__()
        self._x_shape, self.family = x_shape, family
        self.up1, self.up2 = net.encoder(x_shape, (width,)), nn.Linear(width, width)
        self.q2 = nn.Linear(width, 2 * upper)
        self.q1 = nn.Linear(2 * width, 2 * latent)
        self.down, self.p1 = nn.Linear(upper, width), nn.Linear(width, 2 * latent)
        self.out = net.decoder((width + latent,), family.param_shape, width + latent)
        self.register_buffer("zero", torch.zeros(upper), persistent=False)

    @property
    def offers(self) -> frozenset[Offer]:  # type: ignore[override]
        words = ("latent", "rsample", "density", "bound", "exact", "draws", "factors", "stopped")
        return offering(*words) | (self.family.offers & {Offer.FIXED})

    @property
    def x_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self._x_shape

    def infer(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Any:
        first = self.up1(x)
        return first, self.up2(nn.functional.gelu(first))

    def draw(self, state: Any, samples: tuple[int, ...]) -> tuple[Site, ...]:
        first, second = state
        upper = Site.draw("z2", _gauss(self.q2(second)), StandardGaussian(self.zero), samples)
        path = self._path(upper.z)
        both = torch.cat([path, first.expand(*samples, *first.shape)], -1)
        return upper, Site.draw("z1", _gauss(self.q1(both)), _gauss(self.p1(path)), ())

    @torch.no_grad()
    def draw_prior(
        self, n: int, context: Tensor | None = None, temperature: float = 1.0
    ) -> tuple[Tensor, ...]:
        upper = StandardGaussian(self.zero).tempered(temperature).sample((n,))
        return upper, _gauss(self.p1(self._path(upper))).tempered(temperature).sample()

    def likelihood_at(
        self, zs: tuple[Tensor, ...], context: Tensor | None = None, state: Any = None
    ) -> Distribution:
        h = torch.cat([self._path(zs[0]), zs[1]], -1)
        made = self.out(h.flatten(0, -2))
        return self.family(made.unflatten(0, h.shape[:-1]))

    def _path(self, upper: Tensor) -> Tensor:
        return nn.functional.gelu(self.down(upper))


def _gauss(params: Tensor) -> Gaussian:
    loc, raw = params.chunk(2, -1)
    return Gaussian(loc, (0.5 * raw).clamp(-7, 5), event_dim=1)


def enter() -> None:
    register("model", "ladder")(Ladder)
    recipe("ladder", "Two latents, one above the other.", model="ladder", latent=4)


def test_it_keeps_the_contract_of_a_model() -> None:
    from vaekit.nn import MLP
    from vaekit.parts import Bernoulli

    class Plain:
        def encoder(self, in_shape: Any, out_shape: Any) -> nn.Module:
            return MLP(in_shape, out_shape, (16,))

        def decoder(self, in_shape: Any, out_shape: Any, latent: int) -> nn.Module:
            return MLP(in_shape, out_shape, (16,))

    model = Ladder((1, 4, 4), Plain(), Bernoulli((1, 4, 4)), 2)  # type: ignore[arg-type]
    check_model(model, torch.rand(5, 1, 4, 4))


def test_a_model_with_two_latents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enter()
    asked = [one for one in ASKED if one != "aggregate"]  # of one latent alone
    found = walk(
        *(tmp_path, capsys, "ladder", "--net", "mlp:hidden=32", "--model", ":upper=2"),
        asked=asked,
    )
    assert found["kl"] > 0
    assert found["nll"]["mean"] <= -found["elbo"]

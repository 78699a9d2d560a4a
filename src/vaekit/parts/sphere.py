"""A latent on the unit sphere: its uniform prior, and posteriors that point."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit import distributions as d
from vaekit.errors import at_least
from vaekit.nn import Phrase
from vaekit.parts.conditional import Family
from vaekit.parts.flows import vector
from vaekit.parts.priors import Prior
from vaekit.registry import register


@register("prior", "sphere")
class SpherePrior(Prior):
    """The uniform distribution over unit vectors: a code is a direction.

    Example:
        >>> SpherePrior(3)().sample((5,)).norm(dim=-1).round(decimals=4)
        tensor([1., 1., 1., 1., 1.])
    """

    zero: Tensor

    def __init__(self, event_shape: int | tuple[int, ...]) -> None:
        super().__init__()
        self.event_shape = (at_least("latent", vector("a sphere", event_shape), 2),)
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)

    @property
    def space(self) -> d.Space:
        return d.SphereUniform(torch.zeros(self.event_shape)).space

    @property
    def offers(self) -> frozenset[d.Offer]:
        return d.SphereUniform.offers

    def forward(
        self, context: Tensor | None = None, posterior: nn.Module | None = None
    ) -> d.Distribution:
        return d.SphereUniform(self.zero)

    def extra_repr(self) -> str:
        return str(self.event_shape)


class _Pointed(Family):
    """A direction from the network, and a concentration: 1 + softplus of its last number."""

    name: ClassVar[str]

    def __init__(self, event_shape: int | tuple[int, ...]) -> None:
        super().__init__(event_shape)
        at_least("latent", vector("a sphere", event_shape), 2)

    @property
    def param_shape(self) -> tuple[int, ...]:
        """Return the shape that the network must return for one example."""
        return (self.event_shape[0] + 1,)

    @property
    def gives(self) -> tuple[Phrase, ...]:
        """Return what the network's output is."""
        return ((f"direction and concentration of a {self.name} distribution",),)

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        loc, raw = F.normalize(params[..., :-1], dim=-1), params[..., -1]
        made: d.Distribution = self.distribution(loc, 1 + F.softplus(raw))
        return made


@register("posterior", "power-spherical")
class PowerSpherical(_Pointed):
    """Densities over directions that fall with a power of the angle's cosine.

    The network returns a vector, whose direction is the location, and the concentration before
    softplus, to which 1 is added.

    References:
        De Cao and Aziz 2020, The power spherical distribution, arXiv 2006.04437.

    Example:
        >>> PowerSpherical(3).param_shape, str(PowerSpherical(3).space)
        ((4,), 'sphere(3)')
    """

    distribution = d.PowerSpherical
    name = "power spherical"


@register("posterior", "vmf")
class VonMisesFisher(_Pointed):
    """Densities over directions that fall exponentially with the angle's cosine.

    The network returns a vector, whose direction is the location, and the concentration before
    softplus, to which 1 is added.

    References:
        Davidson et al. 2018, Hyperspherical variational auto-encoders, arXiv 1804.00891.

    Example:
        >>> VonMisesFisher(3).param_shape, str(VonMisesFisher(3).space)
        ((4,), 'sphere(3)')
    """

    distribution = d.VonMisesFisher
    name = "von Mises-Fisher"

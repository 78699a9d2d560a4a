"""A latent on the unit sphere: its uniform prior, and posteriors that point."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from vaekit import distributions as d
from vaekit.errors import at_least
from vaekit.parts.conditional import Family, Shape
from vaekit.parts.flows import vector
from vaekit.parts.priors import _Shaped
from vaekit.registry import register


@register("prior", "sphere")
class SpherePrior(_Shaped):
    """The uniform distribution over unit vectors: a code is a direction.

    Example:
        >>> SpherePrior(3)().sample((5,)).norm(dim=-1).round(decimals=4)
        tensor([1., 1., 1., 1., 1.])
    """

    distribution = d.SphereUniform

    def __init__(self, event_shape: Shape) -> None:
        super().__init__(at_least("latent", vector("a sphere", event_shape), 2))


class _Pointed(Family):
    """A direction from the network, and a concentration: 1 + softplus of its last number."""

    def __init__(self, event_shape: Shape) -> None:
        super().__init__(event_shape)
        self.numbers = (1 + at_least("latent", vector("a sphere", event_shape), 2),)

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
    form = ("direction and concentration of a power spherical distribution",)


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
    form = ("direction and concentration of a von Mises-Fisher distribution",)

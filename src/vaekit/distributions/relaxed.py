"""One-hot categorical variables, and draws of them that are relaxed to carry gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NoReturn

import torch
from torch import Tensor

from vaekit.distributions.base import USUAL, Distribution, Offer, Space, offering, sum_event
from vaekit.errors import VaekitError

COLDEST = 1e-6  # of a temperature: below it the likeliest value is all that is drawn


@dataclass(eq=False, repr=False)
class _Choices(Distribution):
    """Independent variables, each one of K: the last dim is one-hot, or sums to one."""

    logits: Tensor
    event_dim: int = field(default=2, kw_only=True)

    shaped_as = "logits"
    kind = "one-hot"

    def _noisy(self, shape: tuple[int, ...]) -> Tensor:
        """Return logits and Gumbel noise, `(*shape, *batch, *event)`: argmax draws a value."""
        wait = self.logits.new_empty((*shape, *self.logits.shape)).exponential_()
        return self.logits - wait.clamp_min_(torch.finfo(wait.dtype).tiny).log_()


class OneHotCategorical(_Choices):
    """Independent categorical variables as one-hot vectors: sum_k z_k log softmax(logits)_k each.

    Args:
        logits: `(*batch, *event)`, of which the last dim has the K values.
        event_dim: how many of the last dims are one draw.

    Example:
        >>> p = OneHotCategorical(torch.zeros(3, 4))
        >>> p.log_prob(torch.eye(4)[:3]), p.mean[0], str(p.space)
        (tensor(-4.1589), tensor([0.2500, 0.2500, 0.2500, 0.2500]), 'one-hot(3, 4)')
    """

    offers = USUAL - {Offer.FACTORS}

    @property
    def mean(self) -> Tensor:
        """Return the probabilities."""
        return self.logits.softmax(-1)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    def tempered(self, temperature: float) -> Distribution:
        """Return the same with its logits by the temperature."""
        logits = self.logits / max(temperature, COLDEST)
        return OneHotCategorical(logits, event_dim=self.event_dim)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        noisy = self._noisy(shape)
        return torch.zeros_like(noisy).scatter_(-1, noisy.argmax(-1, keepdim=True), 1.0)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-probability `(...)`, nats."""
        return sum_event(x * self.logits.log_softmax(-1), self.event_dim)


@dataclass(eq=False, repr=False)
class GumbelSoftmax(_Choices):
    """Relaxed draws of a `OneHotCategorical`: softmax((logits + noise) / temperature).

    They carry gradients, and the lower the temperature the nearer they are to one-hot. What they
    are draws of is no categorical variable: the density is refused, and the KL to a categorical
    prior is that of the variable that is relaxed.

    Args:
        logits: `(*batch, *event)`, of which the last dim has the K values.
        temperature: above 0.
        event_dim: how many of the last dims are one draw.

    References:
        Jang, Gu and Poole 2017, Categorical reparameterization with Gumbel-softmax, arXiv
        1611.01144.
        Maddison, Mnih and Teh 2017, The concrete distribution, arXiv 1611.00712.

    Example:
        >>> q = GumbelSoftmax(torch.zeros(3, 4), torch.tensor(0.5))
        >>> q.rsample((5,)).sum(-1).shape
        torch.Size([5, 3])
    """

    temperature: Tensor

    offers = offering("rsample", "bound")

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return (self._noisy(shape) / self.temperature).softmax(-1)

    def log_prob(self, x: Tensor) -> NoReturn:
        """Refuse: the probability is that of the variable that is not relaxed."""
        raise VaekitError("relaxed draws have no probability: score them within `exact(model)`.")


def joint_space(*spaces: Space) -> Space:
    """Return the space of vectors that have elements of these side by side."""
    shape = (sum(prod(space.shape) for space in spaces),)
    return Space(" x ".join(map(str, spaces)), shape)


def joint_offers(*offers: frozenset[Offer]) -> frozenset[Offer]:
    """Return what all of them offer, as far as a product does: none of its dimensions alone."""
    words = frozenset.intersection(*offers) - {Offer.FACTORS}
    bound = all(each & {Offer.DENSITY, Offer.BOUND} for each in offers)
    return words | ({Offer.BOUND} if bound else set())


class Product(Distribution):
    """Two independent distributions side by side in one vector: `latents` has them apart.

    Args:
        continuous, discrete: with the same batch shape.

    Example:
        >>> from vaekit.distributions import StandardGaussian
        >>> p = Product(StandardGaussian(torch.zeros(2)), OneHotCategorical(torch.zeros(1, 3)))
        >>> p.sample((5,)).shape, list(p.latents), str(p.space)
        (torch.Size([5, 5]), ['continuous', 'discrete'], 'reals(2) x one-hot(1, 3)')
    """

    def __init__(self, continuous: Distribution, discrete: Distribution) -> None:
        super().__init__()
        self.parts = continuous, discrete

    @property
    def latents(self) -> dict[str, Distribution]:
        return dict(zip(("continuous", "discrete"), self.parts, strict=True))

    @property
    def offers(self) -> frozenset[Offer]:  # type: ignore[override]
        return joint_offers(*(part.offers for part in self.parts))

    @property
    def space(self) -> Space:
        return joint_space(*(part.space for part in self.parts))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.space.shape

    @property
    def mean(self) -> Tensor:
        return self._joined([part.mean for part in self.parts])

    @property
    def variance(self) -> Tensor:
        return self._joined([part.variance for part in self.parts])  # type: ignore[attr-defined]

    def tempered(self, temperature: float) -> Distribution:
        """Return the product of both at this temperature."""
        return Product(*(part.tempered(temperature) for part in self.parts))

    def stopped(self) -> Product:
        """Return the product of both with their parameters detached."""
        return Product(*(part.stopped() for part in self.parts))

    def _joined(self, values: Sequence[Tensor]) -> Tensor:
        pairs = zip(values, self.parts, strict=True)
        return torch.cat([value.flatten(-part.event_dim) for value, part in pairs], -1)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return self._joined([part._draw(shape) for part in self.parts])

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the sum of both log-densities `(...)`, nats."""
        shapes = [part.event_shape for part in self.parts]
        pieces = zip(x.split([prod(s) for s in shapes], -1), shapes, self.parts, strict=True)
        first, second = (part.log_prob(z.unflatten(-1, shape)) for z, shape, part in pieces)
        return first + second

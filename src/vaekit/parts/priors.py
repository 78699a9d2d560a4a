"""Priors p(z): modules whose forward returns a distribution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from vaekit import distributions as d
from vaekit.errors import VaekitError
from vaekit.nn import sizes
from vaekit.registry import register


class Prior(nn.Module, ABC):
    """p(z), or p(z | context): `forward(context, posterior) -> Distribution` on `space`.

    The model passes its posterior at every pass: a prior that needs it stores nothing of it.

    Attributes:
        needs: what the posterior must offer, in the words of `Offer`.
    """

    needs: ClassVar[frozenset[d.Offer]] = frozenset()

    @property
    def offers(self) -> frozenset[d.Offer]:
        """Return what may be asked of the distribution."""
        return d.offering("draws", "density")

    @property
    @abstractmethod
    def space(self) -> d.Space:
        """Return the space of the latent."""

    @abstractmethod
    def forward(
        self, context: Tensor | None = None, posterior: nn.Module | None = None
    ) -> d.Distribution:
        """Return the distribution; its batch shape is empty or the context's."""


class _Shaped(Prior):
    """A prior over reals of one shape, without parameters."""

    distribution: ClassVar[type[d.StandardGaussian]]
    zero: Tensor

    def __init__(self, event_shape: int | tuple[int, ...]) -> None:
        super().__init__()
        self.event_shape = sizes("event_shape", event_shape)
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)

    @property
    def space(self) -> d.Space:
        return d.reals(*self.event_shape)

    @property
    def offers(self) -> frozenset[d.Offer]:
        return self.distribution.offers

    def forward(
        self, context: Tensor | None = None, posterior: nn.Module | None = None
    ) -> d.Distribution:
        return self.distribution(self.zero, event_dim=len(self.event_shape))

    def extra_repr(self) -> str:
        return str(self.event_shape)


@register("prior", "standard-normal")
class StandardNormal(_Shaped):
    """N(0, I), whatever the context.

    Example:
        >>> StandardNormal(2)().log_prob(torch.zeros(5, 2))
        tensor([-1.8379, -1.8379, -1.8379, -1.8379, -1.8379])
    """

    distribution = d.StandardGaussian


class _Nothing(d.StandardGaussian):
    """A space without a distribution: draws and densities are refused."""

    offers = frozenset()

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        raise self._refusal("sample from")

    def terms(self, x: Tensor) -> Tensor:
        raise self._refusal("score codes by")

    def _refusal(self, what: str) -> VaekitError:
        return VaekitError(
            f"this model has no prior to {what}: nothing says how its codes are distributed; "
            "reconstruct or interpolate, or train with a prior, as standard-normal."
        )


@register("prior", "none")
class NoPrior(_Shaped):
    """No prior: nothing says how the codes are distributed, and there are no samples.

    Example:
        >>> NoPrior(2)().sample((3,))
        Traceback (most recent call last):
        ...
        vaekit.errors.VaekitError: this model has no prior to sample from: nothing says how its
        codes are distributed; reconstruct or interpolate, or train with a prior, as
        standard-normal.
    """

    distribution = _Nothing

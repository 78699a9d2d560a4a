"""Priors p(z): modules whose forward returns a distribution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from vaekit import distributions as d
from vaekit.errors import VaekitError
from vaekit.nn.network import sizes


class Prior(nn.Module, ABC):
    """p(z), or p(z | given): `forward(given) -> Distribution` on `space`.

    Attributes:
        drawable: whether there is anything to draw from.
    """

    drawable: ClassVar[bool] = True

    @property
    @abstractmethod
    def space(self) -> d.Space:
        """The space of the latent."""

    @abstractmethod
    def forward(self, given: Tensor | None = None) -> d.Distribution:
        """The distribution; its batch shape is empty or `given`'s."""


class _Shaped(Prior):
    """Of reals of one shape, without parameters."""

    zero: Tensor

    def __init__(self, event_shape: int | tuple[int, ...]) -> None:
        super().__init__()
        self.event_shape = sizes("event_shape", event_shape)
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)

    @property
    def space(self) -> d.Space:
        return d.reals(*self.event_shape)

    def extra_repr(self) -> str:
        return str(self.event_shape)


class StandardNormal(_Shaped):
    """N(0, I), whatever is given.

    Example:
        >>> StandardNormal(2)().log_prob(torch.zeros(5, 2))
        tensor([-1.8379, -1.8379, -1.8379, -1.8379, -1.8379])
    """

    def forward(self, given: Tensor | None = None) -> d.Distribution:
        return d.StandardGaussian(self.zero, event_dim=len(self.event_shape))


class NoPrior(_Shaped):
    """Of a code of which nothing says how it is distributed: a space, and no draws.

    Example:
        >>> NoPrior(2)().sample((3,))
        Traceback (most recent call last):
        ...
        vaekit.errors.VaekitError: this model has no prior to sample from: nothing says how its
        codes are distributed; reconstruct or interpolate, or train a recipe that has one, as vae.
    """

    drawable: ClassVar[bool] = False

    def forward(self, given: Tensor | None = None) -> d.Distribution:
        return _Nothing(self.zero, event_dim=len(self.event_shape))


class _Nothing(d.Distribution):
    """A space without a distribution: draws and densities are refused."""

    parameters: ClassVar[tuple[str, ...]] = ("zero",)
    offers: ClassVar[frozenset[str]] = frozenset({"stopped"})

    def __init__(self, zero: Tensor, *, event_dim: int = 1) -> None:
        self.zero = zero
        self.event_dim = event_dim

    @property
    def mean(self) -> Tensor:
        return self.zero

    @property
    def space(self) -> d.Space:
        return d.reals(*self.event_shape)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        raise self._refusal("sample from")

    def terms(self, x: Tensor) -> Tensor:
        raise self._refusal("score codes by")

    def _refusal(self, what: str) -> VaekitError:
        return VaekitError(
            f"this model has no prior to {what}: nothing says how its codes are distributed; "
            "reconstruct or interpolate, or train a recipe that has one, as vae."
        )

"""All mass on one point."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from vaekit.distributions.base import Distribution, Space, reals
from vaekit.errors import VaekitError

__all__ = ["Delta"]


class Delta(Distribution):
    """All mass on `loc`: the posterior of an autoencoder. It has draws and no density.

    Args:
        loc: `(*batch, *event)`.
        event_dim: how many of the last dims are one draw.

    Example:
        >>> import torch
        >>> Delta(torch.ones(2)).rsample((3,)).shape
        torch.Size([3, 2])
        >>> Delta(torch.ones(2)).log_prob(torch.ones(2))
        Traceback (most recent call last):
        ...
        vaekit.errors.VaekitError: Delta has no density: an autoencoder has no bound; ...
    """

    parameters: ClassVar[tuple[str, ...]] = ("loc",)
    offers: ClassVar[frozenset[str]] = frozenset({"rsample", "stopped"})

    def __init__(self, loc: Tensor, *, event_dim: int = 1) -> None:
        self.loc = loc
        self.event_dim = event_dim

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def space(self) -> Space:
        return reals(*self.event_shape)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return self.loc.expand(*shape, *self.loc.shape)

    def terms(self, x: Tensor) -> Tensor:
        raise VaekitError(
            "Delta has no density: an autoencoder has no bound; ask for the reconstruction, "
            "or take a posterior that has one (Gaussian)."
        )

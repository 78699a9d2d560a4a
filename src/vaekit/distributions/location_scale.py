"""What distributions with a location and a scale share."""

from __future__ import annotations

from typing import ClassVar, Protocol, Self

from torch import Tensor

from vaekit.distributions.base import Space, reals
from vaekit.lazy import lazy

__all__ = ["LocationScale", "ScaleStore"]


class ScaleStore(Protocol):
    """Where a shared scale that is fitted to data is kept: see `Distribution.fitted`."""

    def fit(self, residual: Tensor, mask: Tensor | None) -> Tensor | None:
        """The log-scale that suits `residual` best; None where the stored one holds."""


class LocationScale:
    """Parameters and conveniences of x = loc + scale * noise.

    Args:
        loc: `(*batch, *event)`.
        log_scale: log scale, of any shape that broadcasts to `loc`.
        event_dim: how many of the last dims are one draw.
        store: keeps a shared scale that is fitted in closed form while training.
    """

    parameters: ClassVar[tuple[str, ...]] = ("loc", "log_scale")
    offers: ClassVar[frozenset[str]] = frozenset(
        {"rsample", "density", "factors", "moments", "stopped"}
    )

    def __init__(
        self,
        loc: Tensor,
        log_scale: Tensor,
        *,
        event_dim: int = 1,
        store: ScaleStore | None = None,
    ) -> None:
        self.loc = loc
        self.log_scale = log_scale
        self.event_dim = event_dim
        self.store = store

    @lazy
    def scale(self) -> Tensor:
        """exp(log_scale)."""
        return self.log_scale.exp()

    @property
    def mean(self) -> Tensor:
        """`loc`."""
        return self.loc

    @property
    def space(self) -> Space:
        """The reals."""
        return reals(*self.loc.shape[self.loc.dim() - self.event_dim :])

    def fitted(self, x: Tensor, mask: Tensor | None = None) -> Self:
        """With the scale that the store fits to x, where there is a store and it is training."""
        log_scale = None if self.store is None else self.store.fit(x - self.loc.detach(), mask)
        if log_scale is None:
            return self
        return type(self)(self.loc, log_scale, event_dim=self.event_dim)

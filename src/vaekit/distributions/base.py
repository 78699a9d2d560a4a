"""What every distribution of the kit offers, and the spaces they live on.

Shapes: parameters `(*batch, *event)`, draws `(*shape, *batch, *event)`; densities drop the event.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from vaekit.errors import VaekitError

D = TypeVar("D", bound="Distribution")


@dataclass(frozen=True)
class Space:
    """The set a variable lives in: a prior and a posterior must agree on it.

    Example:
        >>> reals(2) == Space("reals", (2,))
        True
        >>> print(ball(1.0, 5))
        ball(5; 1.0)
    """

    kind: str
    shape: tuple[int, ...]
    parameter: float | None = None

    def __str__(self) -> str:
        size = ", ".join(map(str, self.shape))
        extra = "" if self.parameter is None else f"; {self.parameter}"
        return f"{self.kind}({size}{extra})"


def reals(*shape: int) -> Space:
    """The reals, one number per element of `shape`."""
    return Space("reals", shape)


def sphere(d: int) -> Space:
    """The unit sphere in d dimensions."""
    return Space("sphere", (d,))


def ball(curvature: float, d: int) -> Space:
    """The Poincare ball of d dimensions and curvature -`curvature`."""
    return Space("ball", (d,), curvature)


def simplex(k: int) -> Space:
    """The probability vectors of k entries."""
    return Space("simplex", (k,))


def codes(n: int, k: int) -> Space:
    """n codes, each one of k."""
    return Space("codes", (n,), k)


def counts(*shape: int) -> Space:
    """The whole numbers 0, 1, 2, ..., one per element of `shape`."""
    return Space("counts", shape)


def pixels(*shape: int, levels: int | None = None) -> Space:
    """Values in [0, 1]; with `levels`, only k / (levels - 1)."""
    return Space("pixels", shape, levels)


def sum_event(terms: Tensor, event_dim: int) -> Tensor:
    """The sum over the last `event_dim` dims.

    Example:
        >>> sum_event(torch.ones(5, 2, 3), 2)
        tensor([6., 6., 6., 6., 6.])
    """
    return terms.sum(tuple(range(-event_dim, 0))) if event_dim else terms


class Distribution(ABC):
    """A distribution over the last `event_dim` dims of its parameters.

    Densities are in nats with all normalising constants. `offers` says what an objective may ask
    for: `rsample` (draws that carry gradients), `density` (log_prob), `factors` (terms),
    `moments` (mean and variance), `stopped`.
    """

    parameters: ClassVar[tuple[str, ...]]
    offers: ClassVar[frozenset[str]]
    one_pass: ClassVar[bool] = False  # the density of a draw comes with the draw, as in a flow
    event_dim: int

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """The mean `(*batch, *event)`."""

    @property
    @abstractmethod
    def space(self) -> Space:
        """The space the variable lives in."""

    @property
    def reparameterised(self) -> bool:
        """Whether draws carry gradients to the parameters."""
        return "rsample" in self.offers

    @abstractmethod
    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        """Draws `(*shape, *batch, *event)`, with gradients where `offers` names `rsample`."""

    def rsample(self, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws `(*shape, *batch, *event)` that carry gradients to the parameters."""
        if not self.reparameterised:
            raise VaekitError(
                f"draws of {self._name} carry no gradients; take a distribution whose `offers` "
                "names 'rsample', or ask for `sample`."
            )
        return self._draw(shape)

    def sample(self, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws `(*shape, *batch, *event)` without gradients."""
        with torch.no_grad():
            return self._draw(shape)

    def terms(self, x: Tensor) -> Tensor:
        """The log-density per element `(..., *event)`, nats."""
        raise VaekitError(f"the density of {self._name} does not factorise: ask for log_prob.")

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density `(...)`, nats: `terms` summed over the event."""
        return sum_event(self.terms(x), self.event_dim)

    def rsample_and_log_prob(self, shape: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """Draws and their log-densities; flows do it in one pass."""
        z = self.rsample(shape)
        return z, self.log_prob(z)

    def stopped(self: D) -> D:
        """The same distribution with its parameters detached."""
        values = [getattr(self, name).detach() for name in self.parameters]
        return type(self)(*values, event_dim=self.event_dim)  # type: ignore[call-arg]

    def fitted(self, x: Tensor, mask: Tensor | None = None) -> Distribution:
        """This distribution with what it fits to data set to `x`; itself for most."""
        return self

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one draw."""
        return tuple(self.mean.shape[self.mean.dim() - self.event_dim :])

    @property
    def _name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        inner = ", ".join(f"{n}: {tuple(getattr(self, n).shape)}" for n in self.parameters)
        return f"{self._name}({inner})"

"""What every distribution of the kit offers, and the spaces they live on.

Shapes: parameters `(*batch, *event)`, draws `(*shape, *batch, *event)`; densities drop the event.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from vaekit.errors import VaekitError

D = TypeVar("D", bound="Distribution")


class Offer(StrEnum):
    """A word for what a model, a family or a distribution can do: see `WORDS`."""

    LATENT = "latent"
    RSAMPLE = "rsample"
    DRAWS = "draws"
    DENSITY = "density"
    MARGINAL = "marginal"
    FACTORS = "factors"
    MOMENTS = "moments"
    MEAN = "mean"
    STOPPED = "stopped"
    BOUND = "bound"
    EXACT = "exact"
    CODES = "codes"
    GAPS = "gaps"
    ONE_SITE = "one_site"
    SEPARATE = "separate"
    FIXED = "fixed"
    COLORS = "colors"


WORDS = {
    Offer.LATENT: "latents to encode to and decode from",
    Offer.RSAMPLE: "draws of the posterior that carry gradients to it",
    Offer.DRAWS: "a prior to draw from",
    Offer.DENSITY: "the densities of a draw under posterior and prior",
    Offer.MARGINAL: "the density of the posterior at any point",
    Offer.FACTORS: "densities that are products over dimensions",
    Offer.MOMENTS: "the variance of the posterior",
    Offer.MEAN: "the mean of the posterior",
    Offer.STOPPED: "the posterior with its parameters detached",
    Offer.BOUND: "a KL between posterior and prior",
    Offer.EXACT: "draws that are not relaxed",
    Offer.CODES: "latents that are one of so many codes",
    Offer.GAPS: "values that may be missing (NaN) in x",
    Offer.ONE_SITE: "one latent and not several",
    Offer.SEPARATE: "a posterior whose parameters serve nothing else",
    Offer.FIXED: "a likelihood that is not fitted to the batch that it scores",
    Offer.COLORS: "colors for a gray image",
}


def offering(*words: str) -> frozenset[Offer]:
    """These words, or an error for one that is none.

    Example:
        >>> sorted(offering("density", "mean"))
        [<Offer.DENSITY: 'density'>, <Offer.MEAN: 'mean'>]
    """
    return frozenset(Offer(word) for word in words)


USUAL = offering(
    "draws", "density", "marginal", "factors", "moments", "mean", "stopped", "exact"
)  # of a distribution that is a product over elements, of which all is known but a gradient


@dataclass(frozen=True)
class Space:
    """The set a variable lives in: a prior and a posterior must agree on it.

    Attributes:
        kind: "reals", "pixels", "counts" or "codes".
        shape: of one draw.
        levels: how many values an element can take, where these are few; else None.

    Example:
        >>> reals(2) == Space("reals", (2,))
        True
        >>> print(codes(5, 512)), codes(5, 512).discrete, reals(2).discrete
        codes(5; 512)
        (None, True, False)
    """

    kind: str
    shape: tuple[int, ...]
    levels: int | None = None

    @property
    def discrete(self) -> bool:
        """Whether there are probabilities of values, and no density."""
        return self.levels is not None or self.kind == "counts"

    def __str__(self) -> str:
        size = ", ".join(map(str, self.shape))
        extra = "" if self.levels is None else f"; {self.levels}"
        return f"{self.kind}({size}{extra})"


def reals(*shape: int) -> Space:
    """The reals, one number per element of `shape`."""
    return Space("reals", shape)


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

    Densities are in nats with all normalizing constants. `offers` says what it can do, in the
    words of `Offer`. One without a mean names its `event_shape`.
    """

    parameters: ClassVar[tuple[str, ...]]
    offers: ClassVar[frozenset[Offer]]
    one_pass: bool = False  # the density of a draw comes with the draw, as in a flow
    event_dim: int

    @property
    def mean(self) -> Tensor:
        """The mean `(*batch, *event)`, where `offers` names it."""
        raise VaekitError(f"{self._name} has no mean: take draws of it.")

    @property
    @abstractmethod
    def space(self) -> Space:
        """The space the variable lives in."""

    @property
    def reparameterized(self) -> bool:
        """Whether draws carry gradients to the parameters."""
        return "rsample" in self.offers

    @abstractmethod
    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        """Draws `(*shape, *batch, *event)`, with gradients where `offers` names `rsample`."""

    def rsample(self, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws `(*shape, *batch, *event)` that carry gradients to the parameters."""
        if not self.reparameterized:
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
        raise VaekitError(f"the density of {self._name} does not factorize: ask for log_prob.")

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

    def tempered(self, temperature: float) -> Distribution:
        """This distribution with its spread times `temperature`, where it has one to scale."""
        if temperature == 1:
            return self
        raise VaekitError(f"{self._name} has no temperature: leave it at 1.")

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

"""The base of all distributions, the words for what they offer, and the spaces they live on.

Shapes: parameters `(*batch, *event)`, draws `(*shape, *batch, *event)`; densities drop the event.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from enum import StrEnum
from math import log, pi
from typing import Any, ClassVar, NoReturn, Self

import torch
from torch import Tensor

from vaekit.errors import VaekitError, unknown

HALF_LOG_TAU = 0.5 * log(2 * pi)


class Offer(StrEnum):
    """A word for what a model, a family or a distribution can do, with its meaning.

    Example:
        >>> Offer("bound").meaning
        'a KL between posterior and prior'
    """

    meaning: str

    def __new__(cls, word: str, meaning: str = "") -> Self:
        """Make the member of this word."""
        member = str.__new__(cls, word)
        member._value_, member.meaning = word, meaning
        return member

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise unknown("offer", str(value), list(cls))

    LATENT = "latent", "latents to encode to and decode from"
    RSAMPLE = "rsample", "draws of the posterior that carry gradients to it"
    SCORE = "score", "draws of the posterior that carry no gradients, with their probabilities"
    DRAWS = "draws", "a prior to draw from"
    DENSITY = "density", "the densities of a draw under posterior and prior"
    MARGINAL = "marginal", "the density of the posterior at any point"
    FACTORS = "factors", "densities that are products over dimensions"
    MOMENTS = "moments", "the variance of the posterior"
    MEAN = "mean", "the mean of the posterior"
    STOPPED = "stopped", "the posterior with its parameters detached"
    BOUND = "bound", "a KL between posterior and prior"
    EXACT = "exact", "draws that are not relaxed"
    NUMBERS = "numbers", "latents that are numbers and no indices of codes"
    CODES = "codes", "latents that are one of so many codes"
    GAPS = "gaps", "values that may be missing (NaN) in x"
    ONE_SITE = "one_site", "one latent and not several"
    SEPARATE = "separate", "a posterior whose parameters serve nothing else"
    FIXED = "fixed", "a likelihood that is not fitted to the batch that it scores"
    COLORS = "colors", "colors for a gray image"


def offering(*words: str) -> frozenset[Offer]:
    """Return the set of these words, or raise an error for one that is none.

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
        kind: "reals", "pixels", "counts", "codes", "one-hot", "sphere" or "ball".
        shape: of one draw.
        levels: how many values an element can take, where these are few; else None.
        normalized: whether what is called a density there is one.
        curvature: c of a ball of curvature -c; 0 elsewhere.

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
    normalized: bool = True
    curvature: float = 0.0

    @property
    def discrete(self) -> bool:
        """Return whether there are probabilities of values, and no density."""
        return self.levels is not None or self.kind in ("counts", "one-hot")

    def __str__(self) -> str:
        if self.kind.endswith(")"):  # of several, which say it themselves
            return self.kind
        size = ", ".join(map(str, self.shape))
        extra = "" if self.levels is None else f"; {self.levels}"
        extra += f"; curvature {-self.curvature:g}" if self.curvature else ""
        return f"{self.kind}({size}{extra})"


def reals(*shape: int) -> Space:
    """Return the space of reals, one number per element of `shape`."""
    return Space("reals", shape)


def codes(n: int, k: int) -> Space:
    """Return the space of n codes, each one of k."""
    return Space("codes", (n,), k)


def counts(*shape: int) -> Space:
    """Return the space of whole numbers 0, 1, 2, ..., one per element of `shape`."""
    return Space("counts", shape)


def pixels(*shape: int, levels: int | None = None) -> Space:
    """Return the space of values in [0, 1]; with `levels`, only k / (levels - 1)."""
    return Space("pixels", shape, levels)


def sum_event(terms: Tensor, event_dim: int) -> Tensor:
    """Return the sum over the last `event_dim` dims.

    Example:
        >>> sum_event(torch.ones(5, 2, 3), 2)
        tensor([6., 6., 6., 6., 6.])
    """
    return terms.sum(tuple(range(-event_dim, 0))) if event_dim else terms


class _Names:
    """The names of a distribution's fields: of those that are tensors, or of the others."""

    def __init__(self, tensors: bool) -> None:
        self.tensors = tensors

    def __get__(self, instance: Any, owner: Any) -> tuple[str, ...]:
        known = () if instance is None else fields(instance)
        kinds = {each.name: each.type in (Tensor, "Tensor") for each in known}
        return tuple(n for n, kind in kinds.items() if kind == self.tensors and n != "store")


@dataclass(eq=False, repr=False)
class Distribution(ABC):
    """A distribution over the last `event_dim` dims of its parameters.

    Densities are in nats with all normalizing constants. `offers` says what it can do, in the
    words of `Offer`. `kind` and `levels` describe its `space`. `parameters` are the names of its
    tensors, and `settings` of its other arguments: by default the fields of a dataclass.
    `shaped_as` names what has the shape of a draw, `center` the parameter that is the mean.
    """

    event_dim: int = field(default=1, kw_only=True)

    parameters: ClassVar[Any] = _Names(tensors=True)
    settings: ClassVar[Any] = _Names(tensors=False)
    shaped_as: ClassVar[str] = "mean"
    center: ClassVar[str] = ""
    offers: ClassVar[frozenset[Offer]]
    kind: ClassVar[str] = "reals"
    levels: ClassVar[int | None] = None
    normalized: ClassVar[bool] = True
    one_pass = False  # whether the density of a draw comes with the draw, as in a flow

    @property
    def mean(self) -> Tensor:
        """Return the mean `(*batch, *event)`, where `offers` names it."""
        if not self.center:
            raise VaekitError(f"{self._name} has no mean: take draws of it.")
        value: Tensor = getattr(self, self.center)
        return value

    @property
    def latents(self) -> dict[str, Distribution]:
        """Return the latents that it is of, by name: itself, as z, but for a product of several."""
        return {"z": self}

    @property
    def space(self) -> Space:
        """Return the space that the variable lives in."""
        return Space(self.kind, self.event_shape, self.levels, self.normalized)

    @property
    def reparameterized(self) -> bool:
        """Return whether draws carry gradients to the parameters."""
        return "rsample" in self.offers

    @abstractmethod
    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        """Draw `(*shape, *batch, *event)`, with gradients where `offers` names `rsample`."""

    def rsample(self, shape: tuple[int, ...] = ()) -> Tensor:
        """Draw `(*shape, *batch, *event)`, with gradients to the parameters."""
        if not self.reparameterized:
            raise VaekitError(
                f"draws of {self._name} carry no gradients; use a distribution whose `offers` "
                "names 'rsample', or `sample`."
            )
        return self._draw(shape)

    def sample(self, shape: tuple[int, ...] = ()) -> Tensor:
        """Draw `(*shape, *batch, *event)` without gradients."""
        with torch.no_grad():
            return self._draw(shape)

    def terms(self, x: Tensor) -> Tensor:
        """Return the log-density per element `(..., *event)`, nats."""
        raise VaekitError(f"the density of {self._name} does not factorize: use log_prob.")

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats: `terms` summed over the event."""
        return sum_event(self.terms(x), self.event_dim)

    def rsample_and_log_prob(self, shape: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """Return draws and their log-densities; flows compute both in one pass."""
        z = self.rsample(shape)
        return z, self.log_prob(z)

    def stopped(self) -> Self:
        """Return the same distribution with its parameters detached."""
        values = [getattr(self, name).detach() for name in self.parameters]
        settings = {name: getattr(self, name) for name in self.settings}
        return type(self)(*values, **settings)

    def tempered(self, temperature: float) -> Distribution:
        """Return the distribution with its spread times `temperature`, where it has one."""
        if temperature == 1:
            return self
        raise VaekitError(f"{self._name} has no temperature: leave it at 1.")

    def fitted(self, x: Tensor, mask: Tensor | None = None) -> Distribution:
        """Return the distribution with what it fits to data set to `x`; itself for most."""
        return self

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Return the shape of one draw."""
        shape = getattr(self, self.shaped_as).shape
        return tuple(shape[len(shape) - self.event_dim :])

    @property
    def _name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        inner = ", ".join(f"{n}: {tuple(getattr(self, n).shape)}" for n in self.parameters)
        return f"{self._name}({inner})"

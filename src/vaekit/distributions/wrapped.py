"""Any distribution of torch.distributions, or of a package that builds on it."""

from __future__ import annotations

import weakref
from typing import Any, Self

import torch
from torch import Tensor
from torch import distributions as td
from torch.distributions import constraints

from vaekit._torchutil import lazy, wide
from vaekit.distributions.base import Distribution, Offer, Space, offering, reals, sum_event
from vaekit.distributions.divergences import closed_form
from vaekit.errors import VaekitError

INTEGERS = (constraints.integer_interval, type(constraints.nonnegative_integer))
_Part = td.Distribution | td.Transform


class TorchDistribution(Distribution):
    """A distribution of torch.distributions.

    Draws carry gradients where torch's `rsample` does; `terms` and a KL per element exist where
    torch's event is a scalar. What it offers is tried out: a mean that it does not know, or that
    is NaN, is not offered.

    Args:
        distribution: the one of torch; an `Independent` is taken apart.
        event_dim: how many of the last dims of its batch and event are one draw; by default
            those of its event.
        offers: what it offers, where that is known.

    Raises:
        VaekitError: for an `event_dim` that it does not have.

    Example:
        >>> q = TorchDistribution(td.Gamma(torch.full((5, 3), 2.0), torch.ones(())), event_dim=1)
        >>> q.rsample((7,)).shape, q.log_prob(torch.ones(5, 3)).shape, str(q.space)
        (torch.Size([7, 5, 3]), torch.Size([5]), 'positive(3)')
    """

    def __init__(
        self,
        distribution: td.Distribution,
        *,
        event_dim: int | None = None,
        offers: frozenset[Offer] | None = None,
    ) -> None:
        event_dim = len(distribution.event_shape) if event_dim is None else event_dim
        while isinstance(distribution, td.Independent):
            distribution = distribution.base_dist
        batch, event = tuple(distribution.batch_shape), tuple(distribution.event_shape)
        if not len(event) <= event_dim <= len(event) + len(batch):
            raise VaekitError(
                f"got `event_dim={event_dim}`; a {type(distribution).__name__} of batch {batch} "
                f"and event {event} takes {len(event)} to {len(event) + len(batch)}."
            )
        super().__init__(event_dim=event_dim)
        self.distribution: Any = distribution
        self.one_pass = hasattr(distribution, "rsample_and_log_prob")
        if offers is not None:
            self.__dict__["offers"] = offers

    @lazy
    def offers(self) -> frozenset[Offer]:
        """Return what it can do."""
        torch_s = self.distribution
        words = {
            "rsample": torch_s.has_rsample,
            "factors": not torch_s.event_shape,
            "mean": _known(torch_s, "mean"),
            "moments": _known(torch_s, "mean") and _known(torch_s, "variance"),
            "stopped": _plain(torch_s),
        }
        named = [word for word, offered in words.items() if offered]
        return offering("draws", "density", "marginal", "exact", *named)

    @property
    def reparameterized(self) -> bool:
        """Return whether draws carry gradients to the parameters."""
        return bool(self.distribution.has_rsample)

    @property
    def mean(self) -> Tensor:
        """Return the mean `(*batch, *event)`, where `offers` names it."""
        return self._moment("mean")

    @property
    def variance(self) -> Tensor:
        """Return the variance per element, where `offers` names moments."""
        return self._moment("variance")

    def _moment(self, name: str) -> Any:
        try:
            return getattr(self.distribution, name)
        except NotImplementedError:
            raise VaekitError(f"{self._name} has no {name}: take draws of it.") from None

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Return the shape of one draw."""
        shape = (*self.distribution.batch_shape, *self.distribution.event_shape)
        return shape[len(shape) - self.event_dim :]

    @property
    def space(self) -> Space:
        """Return the support: reals, positive, pixels (of [0, 1]), counts, codes, simplex, ..."""
        try:
            support: Any = self.distribution.support
        except NotImplementedError:
            return reals(*self.event_shape)
        while hasattr(support, "base_constraint"):
            support = support.base_constraint
        ends = [getattr(support, f"{end}_bound", None) for end in ("lower", "upper")]
        low, high = (None if e is None else wide(torch.as_tensor(e)) for e in ends)
        kind, levels = type(support).__name__.strip("_").lower(), None
        if isinstance(self.distribution, td.Categorical) and len(self.event_shape) == 1:
            kind, levels = "codes", self.distribution.logits.shape[-1]
        elif isinstance(support, type(constraints.boolean)):
            kind, levels = "pixels", 2
        elif support.is_discrete and isinstance(support, INTEGERS):
            kind = "counts"
        elif isinstance(support, type(constraints.real)):
            kind = "reals"
        elif low is not None and not low.any() and (high is None or bool((high == 1).all())):
            kind = "positive" if high is None else "pixels"
        return Space(kind, self.event_shape, levels)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        torch_s = self.distribution
        draw: Tensor = (torch_s.rsample if torch_s.has_rsample else torch_s.sample)(shape)
        return draw if draw.is_floating_point() else draw.to(torch.get_default_dtype())

    def terms(self, x: Tensor) -> Tensor:
        """Return the log-density per element `(..., *event)`, nats."""
        if self.distribution.event_shape:
            return super().terms(x)
        terms: Tensor = self.distribution.log_prob(x)
        return terms

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats."""
        return self._summed(self.distribution.log_prob(x))

    def _summed(self, values: Tensor) -> Tensor:
        return sum_event(values, self.event_dim - len(self.distribution.event_shape))

    def rsample_and_log_prob(self, shape: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """Return draws and their log-densities, in one pass where torch's has one."""
        if not (self.one_pass and self.reparameterized):
            return super().rsample_and_log_prob(shape)
        z, log_prob = self.distribution.rsample_and_log_prob(shape)
        return z, self._summed(log_prob)

    def stopped(self) -> Self:
        """Return the same distribution with its parameters detached, where `offers` names it."""
        if not _plain(self.distribution):
            raise VaekitError(f"{self._name} holds networks, which cannot be detached.")
        torch_s = _detached(self.distribution, {})
        return type(self)(torch_s, event_dim=self.event_dim, offers=self.offers)

    @property
    def _name(self) -> str:
        return type(self.distribution).__name__

    def __repr__(self) -> str:
        return f"TorchDistribution({self.distribution!r}, event_dim={self.event_dim})"


def _known(distribution: td.Distribution, name: str) -> bool:
    try:
        return not bool(getattr(distribution, name).isnan().any())
    except NotImplementedError:
        return False


def _plain(part: Any, seen: tuple[Any, ...] = ()) -> bool:
    """Return whether it consists of numbers, tensors, distributions and transforms alone."""
    if isinstance(part, _Part):
        inner = [] if any(part is each for each in seen) else list(vars(part).values())
        return all(_plain(each, (*seen, part)) for each in inner)
    if isinstance(part, list | tuple):
        return all(_plain(each, seen) for each in part)
    return isinstance(part, Tensor | type | weakref.ref) or not callable(part)


def _detached(part: Any, done: dict[int, Any]) -> Any:
    """Return a copy of which no tensor carries a gradient."""
    if isinstance(part, Tensor):
        return part.detach()
    if type(part) in (list, tuple):
        return type(part)(_detached(each, done) for each in part)
    if isinstance(part, weakref.ref):  # of a transform to its inverse, which is computed anew
        return None
    if not isinstance(part, _Part) or id(part) in done:
        return done.get(id(part), part)
    twin = done[id(part)] = object.__new__(type(part))
    twin.__dict__.update({name: _detached(value, done) for name, value in vars(part).items()})
    return twin


@closed_form(TorchDistribution, TorchDistribution)
def _terms(q: TorchDistribution, p: TorchDistribution) -> Tensor | None:
    """Return torch's KL per element, where both have scalar events and torch knows one."""
    return None if q.distribution.event_shape else _torch_kl(q, p)


@closed_form(TorchDistribution, TorchDistribution, whole=True)
def _whole(q: TorchDistribution, p: TorchDistribution) -> Tensor | None:
    """Return torch's KL of what is no product over elements, where torch knows one."""
    value = _torch_kl(q, p)
    return None if value is None else q._summed(value)


def _torch_kl(q: TorchDistribution, p: TorchDistribution) -> Tensor | None:
    if q.distribution.event_shape != p.distribution.event_shape:
        return None
    try:
        return td.kl_divergence(q.distribution, p.distribution)
    except NotImplementedError:
        return None

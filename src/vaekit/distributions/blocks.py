"""One-hot categories, and a product of distributions over slices of one row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from vaekit.distributions.base import Distribution, offering


def segments(widths: Sequence[int]) -> Tensor:
    """Return where the values of each category lie, `(C, widest)`; where there is none, their sum.

    Example:
        >>> segments((2, 3))
        tensor([[0, 1, 5],
                [2, 3, 4]])
    """
    lengths = torch.tensor(tuple(widths))
    places, first = torch.arange(int(max(widths))), lengths.cumsum(0) - lengths
    return torch.where(places < lengths[:, None], first[:, None] + places, sum(widths))


@dataclass(eq=False, repr=False)
class OneHot(Distribution):
    """Independent categories side by side, each one-hot: x log softmax(logits) per element.

    The elements of one category together are its log-probability: none has one by itself, so the
    density is no product over elements.

    Args:
        logits: `(*batch, D)`.
        widths: how many values each category can take; they add up to D.
        where: as `segments` gives it; by default made anew each time.

    Example:
        >>> p = OneHot(torch.zeros(5), widths=(2, 3))
        >>> p.log_prob(torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0])), p.mean[:2]
        (tensor(-1.7918), tensor([0.5000, 0.5000]))
    """

    logits: Tensor
    widths: Sequence[int] = field(kw_only=True)
    where: Tensor | None = field(default=None, kw_only=True)

    kind = "one-hot"
    offers = offering("draws", "density", "mean", "stopped", "exact")

    def _padded(self) -> tuple[Tensor, Tensor]:
        """Return the logits by category, `(*batch, C, widest)`, with -inf for none; the places."""
        none = torch.full_like(self.logits[..., :1], -torch.inf)
        where = segments(self.widths).to(none.device) if self.where is None else self.where
        return torch.cat([self.logits, none], -1)[..., where], where

    def _flat(self, values: Tensor, where: Tensor) -> Tensor:
        """Return values by category side by side, `(..., D)`."""
        return values.flatten(-2)[..., where.flatten().argsort()[: sum(self.widths)]]

    def _log_softmax(self) -> Tensor:
        padded, where = self._padded()
        return self._flat(padded.log_softmax(-1), where)

    @property
    def mean(self) -> Tensor:
        """Return the probabilities."""
        return self._log_softmax().exp()

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        padded, where = self._padded()
        wait = padded.new_empty((*shape, *padded.shape)).exponential_()
        drawn = (padded - wait.log_()).argmax(-1, keepdim=True)  # the Gumbel-max trick
        places = torch.arange(where.shape[-1], device=padded.device)
        return self._flat((places == drawn).to(padded.dtype), where)

    def terms(self, x: Tensor) -> Tensor:
        return x * self._log_softmax()

    def stopped(self) -> Self:
        """Return the same distribution with its logits detached."""
        return replace(self, logits=self.logits.detach())


@dataclass(eq=False, repr=False)
class Blocks(Distribution):
    """A product of distributions over slices of a row `(D,)`.

    Args:
        parts: a distribution for each slice, with an event of one dim.
        places: where the elements of each lie in the row: int64, together 0 to D - 1.
        slope: gives what is added to each term at x, `(..., D)`: log |dx/du|, where the density is
            to be that of another variable u; None adds nothing.

    Example:
        >>> from vaekit.distributions import Bernoulli, Gaussian
        >>> parts = Gaussian(torch.zeros(1), torch.zeros(1)), Bernoulli(torch.zeros(2))
        >>> p = Blocks(parts, (torch.tensor([1]), torch.tensor([0, 2])))
        >>> p.terms(torch.tensor([1.0, 0.0, 0.0]))
        tensor([-0.6931, -0.9189, -0.6931])
    """

    parts: tuple[Distribution, ...]
    places: tuple[Tensor, ...]
    slope: Callable[[Tensor], Tensor] | None = None

    kind = "blocks"
    offers = offering("draws", "density", "mean", "stopped", "exact")

    def _joined(self, values: Sequence[Tensor]) -> Tensor:
        """Return the elements of all slices in the order of the row."""
        return torch.cat(tuple(values), -1)[..., torch.cat(self.places).argsort()]

    @property
    def mean(self) -> Tensor:
        return self._joined([part.mean for part in self.parts])

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return self._joined([part.sample(shape) for part in self.parts])

    def terms(self, x: Tensor) -> Tensor:
        pairs = zip(self.parts, self.places, strict=True)
        terms = self._joined([part.terms(x[..., place]) for part, place in pairs])
        return terms if self.slope is None else terms + self.slope(x)

    def fitted(self, x: Tensor, mask: Tensor | None = None) -> Self:
        """Return it with what its parts fit to data set to their slices of x."""
        seen = None if mask is None else mask.expand_as(x)
        pairs = zip(self.parts, self.places, strict=True)
        parts = [
            part.fitted(x[..., place], None if seen is None else seen[..., place])
            for part, place in pairs
        ]
        return replace(self, parts=tuple(parts))

    def stopped(self) -> Self:
        """Return the same distribution with the parameters of its parts detached."""
        return replace(self, parts=tuple(part.stopped() for part in self.parts))

    def __repr__(self) -> str:
        return f"Blocks({', '.join(map(repr, self.parts))})"

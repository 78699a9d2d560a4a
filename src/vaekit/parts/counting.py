"""Families of counts: from a network's output to Poisson, negative binomial, multinomial."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit import distributions as d
from vaekit.errors import VaekitError, choose
from vaekit.nn import Phrase
from vaekit.parts.conditional import Family, Shape
from vaekit.registry import register

LOWEST, HIGHEST = -30.0, 20.0  # of a log-mean: float32 holds whole numbers up to exp(16.6) alone
RARE = -2.0  # logits of an added zero at the start
EMPTY = 1e-3  # in place of the total of a row that is all 0
RAREST = 1e-4  # the least mean that a bias starts at


def _bounded(raw: Tensor) -> Tensor:
    """Return `raw`, softly bounded by LOWEST and HIGHEST: its exp and the squares stay finite.

    A hard clamp would cut the gradient that leads back, and an element beyond it would stay there.
    """
    low = HIGHEST - F.softplus(HIGHEST - raw, threshold=60)
    return LOWEST + F.softplus(low - LOWEST, threshold=60)


def _start(mean: Tensor) -> Tensor:
    """Return what `_bounded` maps to the log of this mean, floored."""
    return _unbounded(mean.clamp(min=RAREST).log())


def _unbounded(log_mean: Tensor) -> Tensor:
    """Return what `_bounded` maps to these, where they are not near LOWEST."""
    gap = HIGHEST - log_mean.clamp(max=HIGHEST - 1)
    return HIGHEST - (gap + torch.log(-torch.expm1(-gap)))


@register("likelihood", "poisson")
class Poisson(Family):
    """Independent Poisson variables; the network returns log-means, softly bounded by 20.

    Example:
        >>> Poisson(3)(torch.zeros(1, 3)).mean
        tensor([[1., 1., 1.]])
    """

    distribution = d.Poisson
    gives = (("log means of a Poisson",),)

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        return d.Poisson(_bounded(params), event_dim=len(self.event_shape))

    def start(self, mean: Tensor) -> Tensor:
        """Return the log of the mean, floored at 1e-4."""
        return _start(mean)


class _Dispersed(Family):
    """The base of the negative binomial families.

    Attributes:
        means: how many numbers the network returns for each element, before a free log t.
        words: what they are, without a free log t and with one.

    Raises:
        VaekitError: for an unknown dispersion.
    """

    means: ClassVar[int]
    words: ClassVar[tuple[str, str]]

    def __init__(self, event_shape: Shape, *, dispersion: str = "shared") -> None:
        super().__init__(event_shape)
        self.free = choose("dispersion", dispersion, {"shared": False, "free": True})
        self.copies = self.means + self.free
        if not self.free:
            self.log_dispersion = nn.Parameter(torch.zeros(self.event_shape))

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        event_dim = len(self.event_shape)
        parts = list(_bounded(params).chunk(self.copies, -event_dim))
        parts += [] if self.free else [_bounded(self.log_dispersion)]
        made: d.Distribution = self.distribution(*parts, event_dim=event_dim)
        return made

    @torch.no_grad()
    def start_spread(self, rows: Tensor) -> None:
        """Start learned dispersions by the variance of these rows: an optimizer moves them slowly.

        It is t = 4 m^2 / (variance - m), as though the means explained three quarters of what
        is beyond a Poisson's variance; near 10 where the rows are too few to see any.

        Args:
            rows: `(N, *event)`.
        """
        if not self.free:
            mean, variance = rows.mean(0), rows.var(0)
            error = ((mean + 2 * mean.square()) / len(rows)).sqrt() + RAREST
            beyond = (variance - mean).clamp(min=0) + error
            t = (4 * mean.square() + 10 * error) / beyond
            self.log_dispersion.copy_(t.log())

    @property
    def gives(self) -> tuple[Phrase, ...]:
        """Return what the network's output is; and where the dispersion comes from."""
        if self.free:
            return ((self.words[1],),)
        return ((self.words[0],), ("one learned log dispersion each",))


@register("likelihood", "negative-binomial")
class NegativeBinomial(_Dispersed):
    """Independent negative binomials: counts with the variance m + m^2 / t for the mean m.

    The network returns log-means. They and the log-dispersions are softly kept in [-30, 20].

    Args:
        event_shape: the shape of one draw.
        dispersion: where t comes from. "shared": one learned log t per element of the event, the
            same for all rows (the gene dispersion of Lopez et al., Nature Methods 2018); "free":
            one per element and row from the network (which then returns twice the event:
            log-means, then log-dispersions).

    Raises:
        VaekitError: for an unknown dispersion.

    Example:
        >>> NegativeBinomial(5).param_shape, NegativeBinomial(5, dispersion="free").param_shape
        ((5,), (10,))
        >>> NegativeBinomial(3)(torch.zeros(1, 3)).log_prob(torch.zeros(1, 3))
        tensor([-2.0794], grad_fn=<SumBackward1>)
    """

    distribution = d.NegativeBinomial
    means = 1
    words = (
        "log means of a negative binomial",
        "log means and log dispersions of a negative binomial",
    )

    def start(self, mean: Tensor) -> Tensor:
        """Return the log of the mean, floored at 1e-4; free dispersions at 1."""
        log_mean = _start(mean)
        return torch.cat([log_mean, torch.zeros_like(log_mean)]) if self.free else log_mean


@register("likelihood", "zinb")
class ZeroInflatedNegativeBinomial(_Dispersed):
    """Independent negative binomials with added zeros, as counts of single cells are modeled.

    The network returns log-means, then the logits of an added zero.

    Args:
        event_shape: the shape of one draw.
        dispersion: as of `NegativeBinomial`.

    References:
        Lopez et al. 2018, Deep generative modeling for single-cell transcriptomics.

    Example:
        >>> ZeroInflatedNegativeBinomial(5).param_shape
        (10,)
        >>> ZeroInflatedNegativeBinomial(3)(torch.zeros(1, 6)).log_prob(torch.zeros(1, 3))
        tensor([-0.8630], grad_fn=<SumBackward1>)
    """

    distribution = d.ZeroInflatedNegativeBinomial
    means = 2
    words = (
        "log means and logits of an added zero of a negative binomial",
        "log means, logits of an added zero and log dispersions of a negative binomial",
    )

    def start(self, mean: Tensor) -> Tensor:
        """Return log-means and logits with this mean: zeros are added to an eighth."""
        log_mean = _start(mean.clamp(min=RAREST) * (1 + math.exp(RARE)))
        parts = [log_mean, torch.full_like(log_mean, RARE), torch.zeros_like(log_mean)]
        return torch.cat(parts[: self.copies])


@register("likelihood", "multinomial")
class Multinomial(Family):
    """Counts of one total over all elements: the network returns the logits of their shares.

    Densities are those of a row given its total. Draws have the total that a library size says,
    or else that of the mean of the training rows.

    Args:
        event_shape: the shape of one draw.
        library: whether the total is the last number of the context.

    References:
        Liang et al. 2018, Variational autoencoders for collaborative filtering, arXiv 1802.05814.

    Example:
        >>> family = Multinomial(4, library=True)
        >>> family(torch.zeros(1, 4), torch.tensor([[20.0]])).mean
        tensor([[5., 5., 5., 5.]])
    """

    distribution = d.Multinomial
    gives = (("logits of the shares of a multinomial",),)
    totals = True  # that a library size reaches it without `OfLibrary`

    def __init__(self, event_shape: Shape, *, library: bool) -> None:
        super().__init__(event_shape)
        self.library = library
        self._total = nn.Buffer(torch.ones(()))

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        total: Tensor = self._total
        if self.library:
            total = _total_of(context, params).view(-1, *[1] * len(self.event_shape))
        logits = params.flatten(-len(self.event_shape)).log_softmax(-1).view(params.shape)
        log_mean = _bounded(_unbounded(logits + total.log()))
        return d.Multinomial(log_mean, event_dim=len(self.event_shape))

    def start(self, mean: Tensor) -> Tensor:
        """Return logits with the shares of this mean; its total is that of draws."""
        self._total.fill_(mean.clamp(min=RAREST).sum())
        return mean.clamp(min=RAREST).log()


def _total_of(context: Tensor | None, params: Tensor) -> Tensor:
    """Return the total of each row, `(B, 1)`: the last number of its context."""
    if context is None:
        raise VaekitError("this likelihood is of a library size: give it as the context.")
    return context[:, -1:].to(params.dtype).clamp(min=EMPTY)


@register("module", "of-library")
class OfLibrary(Family):
    """Counts of a row whose total is known: the network says which share of it an element has.

    The log of a mean is log softmax(network)_i + log total, and reaches a family of counts in
    place of the network's; what else that takes stays the network's. The total is the last number
    of the context, which the network itself does not get: see `Conditional`. Densities are those of
    x given its total, log p(x | total, z), over counts of any total.

    Args:
        family: of counts, whose event is one row `(D,)`.

    Raises:
        VaekitError: for another family, and a pass without a context.

    References:
        Lopez et al. 2018, Deep generative modeling for single-cell transcriptomics.

    Example:
        >>> family = OfLibrary(Poisson(4))
        >>> family(torch.zeros(1, 4), torch.tensor([[20.0]])).mean
        tensor([[5., 5., 5., 5.]])
    """

    def __init__(self, family: Family) -> None:
        if (
            not isinstance(family, Family)
            or family.space.kind != "counts"
            or len(family.event_shape) != 1
        ):
            raise VaekitError(
                f"a library size goes with likelihoods of rows of counts, as negative-binomial, "
                f"zinb and poisson; got {family}: leave `library`, or take one of these."
            )
        super().__init__(family.event_shape)
        self.family = family
        self.distribution = family.distribution  # type: ignore[misc]
        self.copies = family.copies

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        total = _total_of(context, params)
        logits, rest = params.split(
            (self.event_shape[0], params.shape[-1] - self.event_shape[0]), -1
        )
        log_mean = logits.log_softmax(-1) + total.log()
        return self.family(torch.cat([_unbounded(log_mean), rest], -1))

    @property
    def gives(self) -> tuple[Phrase, ...]:
        """Return what the network's output is, and that softmax makes shares of it."""
        return (*self.family.gives, ("means as shares of the library size",))

    def start_spread(self, rows: Tensor) -> None:
        """Start what the family of counts learns."""
        self.family.start_spread(rows)

    def start(self, mean: Tensor) -> Tensor:
        """Return parameters whose shares are those of the mean."""
        return self.family.start(mean)

    def extra_repr(self) -> str:
        return repr(self.family)

"""Families with other tails than a Gaussian's, and Gaussians that are not diagonal."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit import distributions as d
from vaekit.errors import VaekitError, within
from vaekit.parts.conditional import Family, Shape, one_dim
from vaekit.parts.families import PIXEL_FLOOR, FreeScale, _LocationScale, _phrases
from vaekit.registry import register


@register("posterior", "logistic")
@register("likelihood", "logistic", scale="shared", floor=PIXEL_FLOOR)
class Logistic(_LocationScale):
    """Independent logistic variables.

    Args:
        event_shape: the shape of one draw.
        scale: as of `Gaussian`, but for "fitted"; a free one is given as log scale.
        mean: what maps the network's output to the location: identity, sigmoid, tanh, relu.
        floor: a soft lower bound of a free log-scale; give one for pixels.

    Example:
        >>> Logistic(3, scale=1.0)(torch.zeros(1, 3)).log_prob(torch.zeros(1, 3))
        tensor([-4.1589])
    """

    distribution = d.Logistic
    fits = False
    terms: ClassVar = _phrases("a logistic distribution")


@register("likelihood", "student-t", scale="shared", floor=PIXEL_FLOOR)
class StudentT(_LocationScale):
    """Independent Student-t variables: outliers cost the logarithm of their distance.

    Args:
        event_shape: the shape of one draw.
        df: degrees of freedom above 2: a number; or 0, learned as 2 + softplus, from 5 on.
        scale: as of `Gaussian`, but for "fitted".
        mean: what maps the network's output to the location: identity, sigmoid, tanh, relu.
        floor: a soft lower bound of a free log-scale; give one for pixels.

    Raises:
        VaekitError: for degrees of freedom of 2 or less.

    References:
        Takahashi et al. 2018, Student-t variational autoencoder for robust density estimation.

    Example:
        >>> StudentT(3, df=3.0, scale=1.0)(torch.zeros(1, 3)).log_prob(torch.zeros(1, 3))
        tensor([-3.0027])
    """

    distribution = d.StudentT
    fits = False
    terms: ClassVar = _phrases("a Student-t distribution")

    def __init__(
        self,
        event_shape: Shape,
        *,
        df: float = 0.0,
        scale: str | float = "free",
        mean: str = "identity",
        floor: float | None = None,
    ) -> None:
        super().__init__(event_shape, scale=scale, mean=mean, floor=floor)
        if df and not 2 < df < math.inf:
            raise VaekitError(f"got `df={df:g}`; expected a number above 2, or 0 to learn it.")
        start = torch.tensor(math.log(math.expm1(3.0)) if not df else float(df))
        self.learned = not df
        if self.learned:
            self.raw_df = nn.Parameter(start)
        else:
            self.register_buffer("df", start, persistent=False)

    def _make(self, loc: Tensor, log_scale: Tensor, **how: Any) -> d.Distribution:
        df = 2 + F.softplus(self.raw_df) if self.learned else self.df
        return d.StudentT(loc, log_scale, df=df, **how)  # type: ignore[arg-type]


@register("likelihood", "log-cosh", scale="shared", floor=PIXEL_FLOOR)
class LogCosh(_LocationScale):
    """Independent variables of the density c cosh(a u)^(-1/a): squares near, absolute values far.

    Args:
        event_shape: the shape of one draw.
        a: how sharp the bend between the two is.
        scale: as of `Gaussian`, but for "fitted".
        mean: what maps the network's output to the location: identity, sigmoid, tanh, relu.
        floor: a soft lower bound of a free log-scale; give one for pixels.

    Raises:
        VaekitError: for an `a` that is not positive.

    References:
        Chen et al. 2019, Log hyperbolic cosine loss improves variational auto-encoder, whose loss
        log cosh(a u) / a has here what normalizes it.

    Example:
        >>> LogCosh(1, scale=1.0)(torch.zeros(1, 1)).log_prob(torch.zeros(1, 1))
        tensor([-1.1447])
    """

    distribution = d.LogCosh
    fits = False
    terms: ClassVar = _phrases("a log-cosh distribution")

    def __init__(
        self,
        event_shape: Shape,
        *,
        a: float = 1.0,
        scale: str | float = "free",
        mean: str = "identity",
        floor: float | None = None,
    ) -> None:
        super().__init__(event_shape, scale=scale, mean=mean, floor=floor)
        if not 0 < a < math.inf:
            raise VaekitError(f"got `a={a:g}`; expected a positive number.")
        self.a = a

    def _make(self, loc: Tensor, log_scale: Tensor, **how: Any) -> d.Distribution:
        return d.LogCosh(loc, log_scale, a=self.a, **how)


class _OverVectors(Family):
    """The base of the Gaussians with covariances.

    Raises:
        VaekitError: for an event of several dims.
    """

    bounds = FreeScale.bounds

    def __init__(self, event_shape: Shape) -> None:
        super().__init__(event_shape)
        one_dim("covariances are of vectors", event_shape, ": take `posterior=gaussian`")


@register("posterior", "full-covariance")
class FullGaussian(_OverVectors):
    """Gaussians with all covariances, by a triangular factor of which the network gives each entry.

    With D dimensions it returns D means, D logarithms of the diagonal and D (D - 1) / 2 entries
    below it, in units of the diagonal of their row: an error in one is as small as z is certain.

    Raises:
        VaekitError: for an event of several dims.

    Example:
        >>> family = FullGaussian(3)
        >>> family.param_shape, family(torch.zeros(5, 9)).variance[0]
        ((9,), tensor([1., 1., 1.]))
    """

    distribution = d.FullGaussian
    form = ("mean and triangular factor of a Gaussian",)

    def __init__(self, event_shape: Shape) -> None:
        super().__init__(event_shape)
        (size,) = self.event_shape
        self.each = [size, size, size * (size - 1) // 2]
        self.numbers = (sum(self.each),)

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        (size,) = self.event_shape
        loc, log_diagonal, below = params.split(self.each, -1)
        diagonal = log_diagonal.clamp(*self.bounds).exp()
        tril = torch.diag_embed(diagonal)
        row, column = torch.tril_indices(size, size, -1, device=params.device)
        tril[..., row, column] = below * diagonal[..., row]
        return d.FullGaussian(loc, tril)


@register("posterior", "low-rank")
class LowRankGaussian(_OverVectors):
    """Gaussians whose covariances have few directions: a diagonal, and a matrix of low rank.

    With D dimensions the network returns D means, D log-variances of the diagonal S^2 and the D by
    `rank` entries of a matrix W: the covariance is S (I + W W^T) S.

    Args:
        event_shape: how many numbers one draw has.
        rank: how many directions.

    Raises:
        VaekitError: for an event of several dims, and a rank below 1 or above their number.

    References:
        Ong, Nott and Smith 2018, Gaussian variational approximation with a factor covariance
        structure, arXiv 1701.03208.

    Example:
        >>> family = LowRankGaussian(4, rank=2)
        >>> family.param_shape, family(torch.zeros(5, 16)).variance[0]
        ((16,), tensor([1., 1., 1., 1.]))
    """

    distribution = d.LowRankGaussian
    form = ("mean, log variance and {} directions of a Gaussian", "rank")

    def __init__(self, event_shape: Shape, *, rank: int = 1) -> None:
        super().__init__(event_shape)
        self.rank = within("rank", rank, 1, self.event_shape[0])
        self.copies = 2 + rank

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        (size,) = self.event_shape
        loc, raw, factor = params.split([size, size, self.rank * size], -1)
        log_scale = (raw / 2).clamp(*self.bounds)
        factor = factor.unflatten(-1, (size, self.rank)) * log_scale.exp().unsqueeze(-1)
        return d.LowRankGaussian(loc, log_scale, factor)

"""Gaussians, Laplace distributions and points: distributions with a location."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from vaekit._torchutil import lazy
from vaekit.distributions.base import HALF_LOG_TAU, USUAL, Distribution, Offer, offering
from vaekit.errors import VaekitError


@dataclass(eq=False, repr=False)
class _LocationScale(Distribution):
    """The distribution of x = loc + scale * noise.

    Args:
        loc: `(*batch, *event)`.
        log_scale: log scale, of any shape that broadcasts to `loc`.
        event_dim: how many of the last dims are one draw.
        store: holds a shared scale that is fitted in closed form while training: its
            `fit(residual, mask)` returns the best log-scale, or None where the stored one holds.
    """

    loc: Tensor
    log_scale: Tensor
    store: Any = field(default=None, kw_only=True)

    center = "loc"
    offers = USUAL | {Offer.RSAMPLE}

    @lazy
    def scale(self) -> Tensor:
        """Return exp(log_scale)."""
        return self.log_scale.exp()

    def fitted(self, x: Tensor, mask: Tensor | None = None) -> Self:
        """Return it with the scale that the store fits to x, where a store is training."""
        log_scale = None if self.store is None else self.store.fit(x - self.loc.detach(), mask)
        if log_scale is None:
            return self
        return type(self)(self.loc, log_scale, event_dim=self.event_dim)


class Gaussian(_LocationScale):
    """Independent Gaussians: log N(x; loc, scale^2) per element.

    -1/2 ((x - loc) / scale)^2 - log scale - 1/2 log 2 pi

    Args:
        loc: `(*batch, *event)`.
        log_scale: log sigma (not log sigma^2), of any shape that broadcasts to `loc`.
        event_dim: how many of the last dims are one draw.
        store: holds a shared scale that is fitted in closed form while training.

    Example:
        >>> q = Gaussian(torch.zeros(3, 2), torch.zeros(3, 2))
        >>> q.rsample((5,)).shape
        torch.Size([5, 3, 2])
        >>> q.log_prob(torch.zeros(3, 2))
        tensor([-1.8379, -1.8379, -1.8379])
    """

    @property
    def variance(self) -> Tensor:
        return self.scale.square().expand_as(self.loc)

    def tempered(self, temperature: float) -> Distribution:
        """Return it with sigma times `temperature`."""
        log_scale = self.log_scale + math.log(temperature)
        return self if temperature == 1 else Gaussian(self.loc, log_scale, event_dim=self.event_dim)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return torch.addcmul(self.loc, self.scale, normal_noise(self.loc, shape))

    def terms(self, x: Tensor) -> Tensor:
        standard = (x - self.loc) / self.scale
        return torch.addcmul(-(self.log_scale + HALF_LOG_TAU), standard, standard, value=-0.5)


@dataclass(eq=False, repr=False)
class StandardGaussian(Distribution):
    """N(0, I): a separate type, since its closed forms are cheaper.

    Args:
        zero: `(*batch, *event)`, zeros: they give shape, type and device.

    Example:
        >>> p = StandardGaussian(torch.zeros(2))
        >>> p.log_prob(torch.tensor([0.0, 1.0]))
        tensor(-2.3379)
    """

    zero: Tensor

    center = "zero"
    offers = _LocationScale.offers

    @property
    def variance(self) -> Tensor:
        return torch.ones_like(self.zero)

    def tempered(self, temperature: float) -> Distribution:
        """Return N(0, temperature^2 I)."""
        scale = torch.full_like(self.zero, math.log(temperature))
        return self if temperature == 1 else Gaussian(self.zero, scale, event_dim=self.event_dim)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return normal_noise(self.zero, shape)

    def terms(self, x: Tensor) -> Tensor:
        return x.square().mul(-0.5).sub(HALF_LOG_TAU)


LOG_2 = math.log(2)


class Laplace(_LocationScale):
    """Independent Laplace distributions: -|x - loc| / scale - log(2 scale) per element.

    A plain L1 loss is `scale = 1`.

    Args:
        loc: `(*batch, *event)`.
        log_scale: log b, of any shape that broadcasts to `loc`.
        event_dim: how many of the last dims are one draw.
        store: holds a shared scale that is fitted in closed form while training.

    Example:
        >>> p = Laplace(torch.zeros(1), torch.zeros(1))
        >>> p.log_prob(torch.tensor([2.0]))
        tensor(-2.6931)
    """

    @property
    def variance(self) -> Tensor:
        return (2 * self.scale.square()).expand_as(self.loc)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        waits = self.loc.new_empty((2, *shape, *self.loc.shape)).exponential_()
        return torch.addcmul(self.loc, self.scale, waits[0] - waits[1])

    def terms(self, x: Tensor) -> Tensor:
        return -((x - self.loc).abs() / self.scale + (self.log_scale + LOG_2))


@dataclass(eq=False, repr=False)
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

    loc: Tensor

    center = "loc"
    offers = offering("rsample", "draws", "mean", "exact")

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return self.loc.expand(*shape, *self.loc.shape)

    def terms(self, x: Tensor) -> Tensor:
        raise VaekitError(
            "Delta has no density: an autoencoder has no bound; use the reconstruction, or a "
            "posterior that has one (Gaussian)."
        )


def normal_noise(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return draws of N(0, 1), `(*shape, *like.shape)`."""
    return torch.randn((*shape, *like.shape), dtype=like.dtype, device=like.device)


def logistic_noise(loc: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return draws of the standard logistic distribution, `(*shape, *loc.shape)`."""
    u = torch.rand((*shape, *loc.shape), dtype=loc.dtype, device=loc.device)
    edge = torch.finfo(loc.dtype).eps / 2
    return torch.special.logit(u.clamp(edge, 1 - edge))


@dataclass(eq=False, repr=False)
class FullGaussian(Distribution):
    """N(loc, L L^T) over vectors: log det and white residual by the triangular factor.

    Args:
        loc: `(*batch, D)`.
        tril: L, `(*batch, D, D)`, lower with a positive diagonal.

    Example:
        >>> p = FullGaussian(torch.zeros(2), torch.eye(2))
        >>> p.log_prob(torch.tensor([0.0, 1.0]))
        tensor(-2.3379)
    """

    loc: Tensor
    tril: Tensor

    center = "loc"
    offers = USUAL - {Offer.FACTORS} | {Offer.RSAMPLE}

    @property
    def variance(self) -> Tensor:
        return self.tril.square().sum(-1)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        noise = normal_noise(self.loc, shape)
        return self.loc + (self.tril @ noise.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats."""
        apart = (x - self.loc).unsqueeze(-1)
        white = torch.linalg.solve_triangular(
            self.tril.expand(*apart.shape[:-2], *self.tril.shape[-2:]), apart, upper=False
        )
        size = self.loc.shape[-1]
        norm = self.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1) + size * HALF_LOG_TAU
        return -0.5 * white.squeeze(-1).square().sum(-1) - norm


@dataclass(eq=False, repr=False)
class LowRankGaussian(Distribution):
    """N(loc, diag(scale^2) + W W^T) over vectors: what it solves is as large as W is wide.

    With V = W / scale and the triangular factor L of I + V^T V the log-determinant is
    2 sum log scale + 2 sum log diag L, and the squared length of the white residual is that of
    u = (x - loc) / scale less that of L^-1 V^T u.

    Args:
        loc: `(*batch, D)`.
        log_scale: `(*batch, D)`.
        factor: W, `(*batch, D, R)`.

    Example:
        >>> p = LowRankGaussian(torch.zeros(2), torch.zeros(2), torch.ones(2, 1))
        >>> p.variance, p.log_prob(torch.tensor([1.0, -1.0]))
        (tensor([2., 2.]), tensor(-3.3872))
    """

    loc: Tensor
    log_scale: Tensor
    factor: Tensor

    center = "loc"
    offers = USUAL - {Offer.FACTORS} | {Offer.RSAMPLE}

    @property
    def variance(self) -> Tensor:
        return (2 * self.log_scale).exp() + self.factor.square().sum(-1)

    @lazy
    def _inner(self) -> tuple[Tensor, Tensor]:
        """Return V^T, `(*batch, R, D)`, and L, `(*batch, R, R)`."""
        flat = (self.factor * (-self.log_scale).exp().unsqueeze(-1)).mT
        eye = torch.eye(flat.shape[-2], dtype=flat.dtype, device=flat.device)
        return flat, torch.linalg.cholesky_ex(eye + flat @ flat.mT)[0]

    @property
    def log_det(self) -> Tensor:
        """Return the log-determinant of the covariance matrix, `(*batch)`."""
        _, tril = self._inner
        return 2 * (self.log_scale.sum(-1) + tril.diagonal(dim1=-2, dim2=-1).log().sum(-1))

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        first = normal_noise(self.loc, shape)
        second = first.new_empty((*shape, *self.factor.shape[:-2], self.factor.shape[-1], 1))
        across = (self.factor @ second.normal_()).squeeze(-1)
        return self.loc + self.log_scale.exp() * first + across

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats."""
        flat, tril = self._inner
        white = (x - self.loc) * (-self.log_scale).exp()
        inner = flat @ white.unsqueeze(-1)
        inner = torch.linalg.solve_triangular(
            tril.expand(*inner.shape[:-2], *tril.shape[-2:]), inner, upper=False
        )
        squares = white.square().sum(-1) - inner.squeeze(-1).square().sum(-1)
        return -0.5 * (squares + self.log_det) - self.loc.shape[-1] * HALF_LOG_TAU

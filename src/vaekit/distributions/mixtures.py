"""Mixtures: of Gaussians with full covariances, and how one is fitted; of any distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit._torchutil import lazy
from vaekit.distributions.base import HALF_LOG_TAU, USUAL, Distribution, Offer, Space, offering
from vaekit.distributions.continuous import Gaussian

RIDGE = 1e-4  # added to covariances, times the variance of all points: no component falls on one
COMPONENTS = (1, 2, 5, 10, 20, 40, 80)
BY_CLASS = (1, 2, 4, 8)
AT_ONCE = 1 << 19  # numbers: what a processor's cache holds; much more costs a page fault a page


@dataclass(eq=False, repr=False)
class GaussianMixture(Distribution):
    """The density sum_k w_k N(z; loc_k, L_k L_k^T).

    Args:
        log_weights: log w, `(*batch, K)`.
        loc: `(K, *event)`, the same for all of a batch.
        tril: the lower Cholesky factors L, `(K, D, D)` for an event of D elements.

    References:
        Bishop 2006, Pattern Recognition and Machine Learning, section 9.2.

    Example:
        >>> z = torch.tensor([[-1.0], [1.0]])
        >>> p = GaussianMixture(torch.tensor([0.5, 0.5]).log(), z, torch.ones(2, 1, 1))
        >>> p.log_prob(torch.zeros(3, 1)), p.mean, p.variance
        (tensor([-1.4189, -1.4189, -1.4189]), tensor([0.]), tensor([2.]))
    """

    log_weights: Tensor
    loc: Tensor
    tril: Tensor

    offers = offering("draws", "density", "marginal", "moments", "mean", "stopped", "exact")

    def __post_init__(self) -> None:
        self.event_dim = self.loc.dim() - 1

    @property
    def mean(self) -> Tensor:
        """Return sum_k w_k loc_k."""
        return torch.tensordot(self.log_weights.exp(), self.loc, 1)

    @property
    def variance(self) -> Tensor:
        """Return the variance of each element: within the components, and of their means."""
        within = self.tril.square().sum(2).view_as(self.loc)
        second = torch.tensordot(self.log_weights.exp(), within + self.loc.square(), 1)
        return second - self.mean.square()

    @lazy
    def whitening(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return what makes each component N(0, I): the matrices side by side, shifts, log-norms.

        (D, K * D), (K * D,) and (K,): the density of all points under all components is then one
        matrix product. The weights are in the norms but for those of a batch.
        """
        eye = torch.eye(self.tril.shape[-1], dtype=self.tril.dtype, device=self.tril.device)
        inverse = torch.linalg.solve_triangular(self.tril, eye.expand_as(self.tril), upper=False)
        shift = torch.einsum("kij,kj->ki", inverse, self.loc.flatten(1)).flatten()
        diagonal = self.tril.diagonal(dim1=1, dim2=2)
        norm = -diagonal.log().sum(1) - len(eye) * HALF_LOG_TAU
        norm = norm if self.log_weights.dim() > 1 else norm + self.log_weights
        return inverse.permute(2, 0, 1).flatten(1), shift, norm

    def joint(self, z: Tensor) -> Tensor:
        """Return log w_k N(z; loc_k, L_k L_k^T), `(M, K)`, at z `(M, D)`; w is 1 of a batch."""
        matrix, shift, norm = self.whitening
        most = max(1, AT_ONCE // len(shift))
        if len(z) > most:
            return torch.cat([self.joint(some) for some in z.split(most)])
        white = torch.addmm(-shift, z, matrix).unflatten(1, (len(norm), -1))
        return torch.addcmul(norm, white.square().sum(2), norm.new_tensor(-0.5))

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats."""
        batch = x.shape[: x.dim() - self.event_dim]
        joint = self.joint(x.reshape(batch.numel(), -1)).view(*batch, -1)
        return (joint + self.log_weights if self.log_weights.dim() > 1 else joint).logsumexp(-1)

    def of_classes(self, labels: Tensor) -> GaussianMixture:
        """Return it with the weights `(*labels, K)` of classes, where a batch of it is of these."""
        return GaussianMixture(self.log_weights[labels], self.loc, self.tril)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        shape, weights = (*shape, *self.log_weights.shape[:-1]), self.log_weights.exp()
        n, each = math.prod(shape), weights.reshape(-1, weights.shape[-1])
        which = torch.multinomial(each, n // len(each), replacement=True).T.flatten()
        noise = torch.randn(n, self.tril.shape[-1], dtype=self.loc.dtype, device=self.loc.device)
        z = torch.empty_like(noise)
        for k, (loc, tril) in enumerate(zip(self.loc.flatten(1), self.tril, strict=True)):
            z[which == k] = torch.addmm(loc, noise[which == k], tril.T)
        return z.view(*shape, *self.loc.shape[1:])

    def tempered(self, temperature: float) -> GaussianMixture:
        """Return it with the spread of each component times `temperature`."""
        return GaussianMixture(self.log_weights, self.loc, self.tril * temperature)


@dataclass(eq=False, repr=False)
class Mixture(Distribution):
    """The density sum_k w_k p_k(z) of components that are one distribution with K of a batch.

    A mixture of `Gaussian` is scored by two matrix products: ((z - m) / s)^2 summed over elements
    is z^2 1/s^2 - 2 z m/s^2 + m^2/s^2, with z and m less the mean of all m.

    Args:
        log_weights: log w, `(K,)`.
        each: the components, of batch shape `(K,)`.

    Example:
        >>> from vaekit.distributions.continuous import Gaussian
        >>> each = Gaussian(torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1))
        >>> p = Mixture(torch.tensor([0.5, 0.5]).log(), each)
        >>> p.log_prob(torch.zeros(3, 1)), p.mean
        (tensor([-1.4189, -1.4189, -1.4189]), tensor([0.]))
    """

    log_weights: Tensor
    each: Distribution

    parameters = ()

    def __post_init__(self) -> None:
        self.event_dim = self.each.event_dim

    @property
    def offers(self) -> frozenset[Offer]:  # type: ignore[override]
        """Return what it can do: what the components can, but for products and gradients."""
        return self.each.offers & USUAL - {Offer.FACTORS, Offer.STOPPED}

    @property
    def space(self) -> Space:
        return self.each.space

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.each.event_shape

    @property
    def mean(self) -> Tensor:
        """Return sum_k w_k E_k[z]."""
        return torch.tensordot(self.log_weights.exp(), self.each.mean, 1)

    @property
    def variance(self) -> Tensor:
        """Return the variance of each element: within the components, and of their means."""
        each: Any = self.each
        second = torch.tensordot(self.log_weights.exp(), each.variance + each.mean.square(), 1)
        return second - self.mean.square()

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        z = self.each.sample(shape)  # (*shape, K, *event)
        n, dim = len(self.log_weights), len(shape)
        which = torch.multinomial(self.log_weights.exp(), math.prod(shape), replacement=True)
        picked = which.view(*shape, 1, *[1] * self.event_dim).expand(*shape, 1, *z.shape[dim + 1 :])
        return z.gather(dim, picked).squeeze(dim) if n > 1 else z.squeeze(dim)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats."""
        if type(self.each) is not Gaussian:
            joint = self.each.log_prob(x.unsqueeze(x.dim() - self.event_dim))
            return (joint + self.log_weights).logsumexp(-1)
        weight, shift, norm, center = self._products
        z = (x - center).flatten(x.dim() - self.event_dim)
        joint = torch.addmm(norm, torch.cat([z.square(), z], -1).flatten(0, -2), weight)
        return (joint + shift).logsumexp(-1).view(x.shape[: x.dim() - self.event_dim])

    @lazy
    def _products(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the matrix `(2 D, K)`, the terms without z `(K,)` in two parts, and the center."""
        each: Any = self.each
        center = each.loc.detach().mean(0)
        loc, log_scale = torch.broadcast_tensors(each.loc - center, each.log_scale)
        loc, log_scale = loc.flatten(1), log_scale.flatten(1)
        precision = torch.exp(-2 * log_scale)
        matrix = torch.cat([-0.5 * precision, loc * precision], 1).T
        shift = -0.5 * (loc.square() * precision).sum(1)
        norm = self.log_weights - log_scale.sum(1) - loc.shape[1] * HALF_LOG_TAU
        return matrix, shift, norm, center

    def tempered(self, temperature: float) -> Distribution:
        """Return it with the spread of each component times `temperature`."""
        return Mixture(self.log_weights, self.each.tempered(temperature))


def fit_mixture(
    z: Tensor,
    components: int,
    *,
    steps: int = 10,
    start: GaussianMixture | None = None,
    seed: int = 0,
) -> GaussianMixture:
    """Fit a mixture to points by expectation maximization.

    It starts from clusters by k-means, or from `start`, whose heaviest components are split in two
    until there are enough: from the one that is likelier after three steps. Where clusters lie
    apart k-means finds them; the codes of a VAE overlap, and there a split was likelier by a nat.

    Args:
        z: `(N, D)`.
        components: K, at most N.
        steps: at most: they stop where one gains less than 0.003 nats per point.
        start: a mixture of fewer components that was fitted to these points.
        seed: of k-means.

    References:
        Dempster, Laird and Rubin 1977, Maximum likelihood from incomplete data by EM.
        Ueda, Nakano, Ghahramani and Hinton 2000, SMEM algorithm for mixture models.

    Example:
        >>> z = torch.cat([torch.randn(200, 1) - 9, torch.randn(600, 1) + 9])
        >>> p = fit_mixture(z, 2)
        >>> sorted(round(w, 2) for w in p.log_weights.exp().tolist())
        [0.25, 0.75]
    """
    shares = z.new_ones(len(z), 1)
    if components > 1:
        from sklearn.cluster import KMeans  # it is slow to import

        clusters = KMeans(components, n_init=1, max_iter=20, random_state=seed)
        labels = torch.tensor(clusters.fit_predict(z.numpy(force=True))).long()
        shares = torch.nn.functional.one_hot(labels, components).to(z)
    ridge = RIDGE * z.var(0, correction=0).mean().clamp_min(1e-12)
    mixture = _maximized(z, shares, ridge)
    if start is not None:
        both = _climbed(z, mixture, 3, ridge), _climbed(z, _split(start, components), 3, ridge)
        mixture, _ = max(both, key=lambda each: each[1])
    return _climbed(z, mixture, steps, ridge)[0]


def _climbed(
    z: Tensor, mixture: GaussianMixture, steps: int, ridge: Tensor
) -> tuple[GaussianMixture, float]:
    """Return the mixture after these steps at most, and log p of the points before the last."""
    best = -math.inf
    for _ in range(steps):
        joint = mixture.joint(z)
        total = joint.logsumexp(1, keepdim=True)
        value = total.mean().item()
        if value < best + 3e-3:
            break
        best, mixture = value, _maximized(z, (joint - total).exp(), ridge)
    return mixture, best


def _split(mixture: GaussianMixture, components: int) -> GaussianMixture:
    """Return it with its heaviest components in two each, half a deviation off the middle."""
    while (count := len(mixture.log_weights)) < components:
        heavy = mixture.log_weights.topk(min(count, components - count)).indices
        tril = mixture.tril[heavy]
        squares, axes = torch.linalg.eigh(tril @ tril.mT)
        step = 0.5 * squares[:, -1:].clamp_min(0).sqrt() * axes[:, :, -1]
        log_weights, loc = mixture.log_weights.clone(), mixture.loc.clone()
        log_weights[heavy] -= math.log(2)
        loc[heavy] += step
        mixture = GaussianMixture(
            torch.cat([log_weights, log_weights[heavy]]),
            torch.cat([loc, mixture.loc[heavy] - step]),
            torch.cat([mixture.tril, tril]),
        )
    return mixture


def _maximized(z: Tensor, shares: Tensor, ridge: Tensor) -> GaussianMixture:
    """Return the mixture of the greatest likelihood, where `(N, K)` shares say whose a point is."""
    center = z.mean(0)
    z = z - center  # far from 0 the squares below would cancel
    counts = shares.sum(0) + 1e-6
    loc = shares.T @ z / counts[:, None]
    second = torch.stack([(z.T * share) @ z for share in shares.T]) / counts[:, None, None]
    covariance = second - loc[:, :, None] * loc[:, None]
    covariance.diagonal(dim1=1, dim2=2).add_(ridge)
    tril, failed = torch.linalg.cholesky_ex(covariance)
    if failed.any():  # as few points as dimensions, and rounding: their spread by element
        spread = covariance.diagonal(dim1=1, dim2=2).clamp_min(ridge).sqrt().diag_embed()
        tril = torch.where((failed > 0)[:, None, None], spread, tril)
    return GaussianMixture((counts / counts.sum()).log(), loc + center, tril.contiguous())


def choose_mixture(
    z: Tensor, held_out: Tensor, candidates: Sequence[int] = COMPONENTS, *, seed: int = 0
) -> GaussianMixture | None:
    """Return the mixture with the number of components that suits held-out points best.

    Numbers are tried in order, until one is no better than the one before, or has fewer points than
    two for each dimension of each component; None where even the first one has.

    Args:
        z: points to fit to, `(N, D)`.
        held_out: points to choose by, `(M, D)`.
        candidates: numbers of components, from small to large.
        seed: of the starts.

    Example:
        >>> z = torch.randn(900, 2) + torch.tensor([[-9.0, 0], [0, 9], [9, 0]]).repeat(300, 1)
        >>> 3 <= len(choose_mixture(z[:600], z[600:], (1, 2, 3, 4)).log_weights) <= 4
        True
    """
    best, score, mixture = None, -math.inf, None
    for count in candidates:
        if len(z) < 2 * count * z.shape[1]:
            break
        mixture = fit_mixture(z, count, start=mixture, seed=seed)
        value = mixture.log_prob(held_out).mean().item()
        if value <= score:
            break
        best, score = mixture, value
    return best


def choose_by_class(
    mixture: GaussianMixture,
    z: Tensor,
    labels: Tensor,
    held_out: Tensor,
    held_labels: Tensor,
    classes: int,
    *,
    seed: int = 0,
) -> GaussianMixture:
    """Return p(z|y): Gaussians, and weights of each class, that suit held-out points best.

    Expectation maximization starts from a mixture that was fitted to all, whose weights each class
    begins with; and from mixtures of 1, 2, 4 and 8 that were fitted to each class alone, until one
    is no better than the one before, or has fewer points than two for each dimension.

    Args:
        mixture: of K Gaussians.
        z, held_out: points to fit to, `(N, D)`, and to choose by.
        labels, held_labels: their classes, whole numbers from 0.
        classes: how many there are.
        seed: of the starts.

    Returns:
        A mixture whose log_weights are `(classes, K)`.

    Example:
        >>> z = torch.cat([torch.randn(300, 1) - 9, torch.randn(300, 1) + 9])
        >>> labels = torch.arange(600) // 300
        >>> p = choose_by_class(fit_mixture(z, 2), z, labels, z, labels, 2)
        >>> p.sample((5,)).shape, (p.mean[:, 0] / 9).round()
        (torch.Size([5, 2, 1]), tensor([-1.,  1.]))
    """
    weights = mixture.log_weights.exp().expand(classes, -1)
    best = _climbed_by_class(mixture, weights, z, labels)
    score, last = best.of_classes(held_labels).log_prob(held_out).mean().item(), -math.inf
    fewest = labels.bincount(minlength=classes).min()
    for count in BY_CLASS:
        if fewest < 2 * count * z.shape[1]:
            break
        each = [fit_mixture(z[labels == y], count, seed=seed) for y in range(classes)]
        shares = labels.bincount(minlength=classes).log() - math.log(len(labels))
        start = GaussianMixture(
            torch.cat([one.log_weights + share for one, share in zip(each, shares, strict=True)]),
            torch.cat([one.loc for one in each]),
            torch.cat([one.tril for one in each]),
        )
        weights = torch.block_diag(*(one.log_weights.exp()[None] for one in each))
        made = _climbed_by_class(start, weights, z, labels)
        value = made.of_classes(held_labels).log_prob(held_out).mean().item()
        if value > score:
            best, score = made, value
        if value <= last:
            break
        last = value
    return best


def _climbed_by_class(
    mixture: GaussianMixture, weights: Tensor, z: Tensor, labels: Tensor, steps: int = 5
) -> GaussianMixture:
    """Return it after these steps; a class has the weights of all as one point more."""
    ridge = RIDGE * z.var(0, correction=0).mean().clamp_min(1e-12)
    first = mixture.log_weights.exp()
    of = torch.nn.functional.one_hot(labels, len(weights)).to(z)
    for _ in range(steps):
        shares = (mixture.joint(z) - mixture.log_weights + weights.log()[labels]).softmax(1)
        weights = of.T @ shares + first
        weights = weights / weights.sum(1, keepdim=True)
        mixture = _maximized(z, shares, ridge)
    return GaussianMixture(weights.log(), mixture.loc, mixture.tril)

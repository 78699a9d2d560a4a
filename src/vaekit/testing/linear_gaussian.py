"""The linear-Gaussian model: the oracle that proves most of a VAE."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaekit.models import VAE
from vaekit.parts import Conditional, Gaussian, StandardNormal


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """p(x|z) = N(W z + mean, variance I), p(z) = N(0, I): probabilistic PCA, in closed form.

    Tipping & Bishop 1999; Lucas et al., arXiv 1911.02469. d data dims, k latents.

    Args:
        mean: `(d,)`.
        weight: W, `(d, k)`.
        variance: s2.

    Example:
        >>> from vaekit.testing import seeded
        >>> with seeded():
        ...     x = torch.randn(100, 4, dtype=torch.float64)
        >>> oracle = LinearGaussian.fit(x, latent=2)
        >>> loc, covariance = oracle.posterior(x)
        >>> best = oracle.elbo(x, loc, covariance.diagonal())
        >>> bool((oracle.log_prob(x) - best).abs().max() < 1e-12)
        True
    """

    mean: Tensor
    weight: Tensor
    variance: Tensor

    @classmethod
    def fit(cls, x: Tensor, latent: int, rotation: Tensor | None = None) -> LinearGaussian:
        """Return the maximum-likelihood model of `x` (N, d); W = U (Lambda - s2 I)^(1/2) R."""
        values, vectors = cls.spectrum(x)
        variance = values[latent:].mean()
        weight = vectors[:, :latent] * (values[:latent] - variance).sqrt()
        return cls(x.mean(0), weight if rotation is None else weight @ rotation, variance)

    @staticmethod
    def spectrum(x: Tensor) -> tuple[Tensor, Tensor]:
        """Return eigenvalues, largest first, and eigenvectors (columns) of the covariance (1/N)."""
        values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
        return values.flip(0), vectors.flip(1)

    @property
    def latent(self) -> int:
        """Return k."""
        return self.weight.shape[1]

    @property
    def precision(self) -> Tensor:
        """Return M = W'W + s2 I, `(k, k)`."""
        eye = torch.eye(self.latent, dtype=self.weight.dtype)
        return self.weight.T @ self.weight + self.variance * eye

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) `(N,)`, by the Cholesky factor of W W' + s2 I."""
        d = x.shape[1]
        covariance = self.weight @ self.weight.T + self.variance * torch.eye(d, dtype=x.dtype)
        factor = torch.linalg.cholesky(covariance)
        standard = torch.linalg.solve_triangular(factor, (x - self.mean).T, upper=False)
        log_det = 2 * factor.diagonal().log().sum()
        return -0.5 * (standard.square().sum(0) + log_det + d * math.log(2 * math.pi))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the exact p(z|x): locations `(N, k)` and their common covariance `(k, k)`."""
        inverse = torch.linalg.inv(self.precision)
        return (x - self.mean) @ self.weight @ inverse, self.variance * inverse

    def elbo(self, x: Tensor, loc: Tensor, variance: Tensor, beta: float = 1.0) -> Tensor:
        """Return the expected ELBO `(N,)` of q(z|x) = N(loc, diag variance)."""
        d = x.shape[1]
        error = (x - self.mean - loc @ self.weight.T).square().sum(1)
        error = error + (self.weight.square() @ variance).sum()
        constant = d * (math.log(2 * math.pi) + self.variance.log())
        kl = 0.5 * (loc.square() + variance - 1 - variance.log()).sum(1)
        return -0.5 * (error / self.variance + constant) - beta * kl

    def vae(self, encoder: Tensor | None = None, variance: Tensor | None = None) -> VAE:
        """Return a VAE with these weights; without arguments q is the best diagonal Gaussian.

        Args:
            encoder: V `(k, d)` of q's location V (x - mean).
            variance: D `(k,)` of q's covariance diag(D).
        """
        if encoder is None:
            encoder = torch.linalg.solve(self.precision, self.weight.T)
        if variance is None:
            variance = self.variance / self.precision.diagonal()
        k, d = encoder.shape
        bias = torch.cat([-encoder @ self.mean, variance.log()])
        into = _linear(torch.cat([encoder, torch.zeros_like(encoder)]), bias)
        family = Gaussian(d, scale="shared")
        model = VAE(
            StandardNormal(k),
            Conditional(into, Gaussian(k), in_shape=d),
            Conditional(_linear(self.weight, self.mean), family, in_shape=k),
        ).to(self.weight.dtype)
        with torch.no_grad():
            family.scale.log_scale.copy_(0.5 * self.variance.log())  # type: ignore[operator]
        return model


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer

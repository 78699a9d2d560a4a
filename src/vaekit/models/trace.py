"""One pass of a model over a batch: its latents, and p(x|z), scored when first read.

Shapes: `S` Monte-Carlo dims, `B` batch; every log-density is `(S, B)`, in nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit._torchutil import lazy
from vaekit.distributions import Distribution, kl, kl_terms, sum_event
from vaekit.errors import VaekitError


@dataclass(frozen=True, eq=False)
class Site:
    """One latent of one pass: a draw z `(S, B, *Z)` from q, and the p it is compared with.

    Example:
        >>> from vaekit.distributions import Gaussian, StandardGaussian
        >>> q = Gaussian(torch.zeros(3, 2), torch.zeros(3, 2))
        >>> site = Site.draw("z", q, StandardGaussian(torch.zeros(2)), (5,))
        >>> site.z.shape, site.log_q.shape, site.kl.shape, float(site.kl.sum())
        (torch.Size([5, 3, 2]), torch.Size([5, 3]), torch.Size([5, 3]), 0.0)
    """

    name: str
    z: Tensor
    q: Distribution
    p: Distribution

    @classmethod
    def draw(cls, name: str, q: Distribution, p: Distribution, samples: tuple[int, ...]) -> Site:
        """Return a site with a fresh draw from q: with gradients where q has them."""
        if not q.one_pass:
            return cls(name, q.rsample(samples) if q.reparameterized else q.sample(samples), q, p)
        z, log_q = q.rsample_and_log_prob(samples)
        site = cls(name, z, q, p)
        site.__dict__["log_q"] = log_q
        return site

    @lazy
    def log_q(self) -> Tensor:
        """Return log q(z|x), (S, B)."""
        return self.q.log_prob(self.z)

    @lazy
    def log_p(self) -> Tensor:
        """Return log p(z), (S, B)."""
        return self.p.log_prob(self.z)

    @lazy
    def log_q_stopped(self) -> Tensor:
        """Return log q(z|x) with q's parameters detached, (S, B)."""
        return self.q.stopped().log_prob(self.z)

    @lazy
    def kl(self) -> Tensor:
        """Return KL(q || p) in closed form where there is one, else log q - log p at z; (S, B)."""
        whole = kl(self.q, self.p)
        if whole is None:
            return self.log_q - self.log_p
        return self._over_samples(whole, self.q.event_dim)

    @lazy
    def kl_terms(self) -> Tensor:
        """Return `kl` per dimension, (S, B, *Z), where q and p factorize."""
        terms = kl_terms(self.q, self.p)
        if terms is None:
            return self.q.terms(self.z) - self.p.terms(self.z)
        return self._over_samples(terms, 0)

    def _over_samples(self, value: Tensor, dropped: int) -> Tensor:
        return value.expand(self.z.shape[: self.z.dim() - dropped])


@dataclass(frozen=True, eq=False)
class Trace:
    """One pass over a batch: x `(B, *X)`, its sites, p(x|z), and the model that made it.

    `mask` (broadcast to x) multiplies the likelihood's terms: 0 where x is not observed.
    `penalty` (B,) is subtracted from what is maximized, and from nothing that is reported.

    Example:
        >>> from vaekit.distributions import Gaussian
        >>> px = Gaussian(torch.zeros(5, 3, 4), torch.zeros(()))
        >>> trace = Trace(x=torch.zeros(3, 4), sites=(), px=px, model=None)
        >>> trace.log_likelihood.shape, trace.kl.shape
        (torch.Size([5, 3]), torch.Size([5, 3]))
    """

    x: Tensor
    sites: tuple[Site, ...]
    px: Distribution
    model: Any
    context: Tensor | None = None
    mask: Tensor | None = None
    penalty: Tensor | None = None

    @lazy
    def scored(self) -> Distribution:
        """Return p(x|z) with the scale that scores x: see `Distribution.fitted`."""
        return self.px.fitted(self._observed, self.mask)

    @lazy
    def log_likelihood(self) -> Tensor:
        """Return log p(x|z), (S, B)."""
        if self.mask is None:
            return self.scored.log_prob(self.x)
        if type(self.scored).terms is Distribution.terms:
            raise VaekitError(
                f"{type(self.px).__name__} has no density of what is seen of a row alone: give "
                "whole rows, or take another likelihood, as gaussian."
            )
        terms = self.scored.terms(self._observed)
        terms = torch.where(self.mask != 0, terms * self.mask, torch.zeros_like(terms))
        return sum_event(terms, self.px.event_dim)

    @property
    def _observed(self) -> Tensor:
        """Return x with 0 where it is not observed."""
        if self.mask is None:
            return self.x
        return torch.where(self.mask != 0, self.x, torch.zeros_like(self.x))

    @lazy
    def kl(self) -> Tensor:
        """Return the sum of the sites' `kl`, (S, B)."""
        return self._sum([site.kl for site in self.sites])

    @lazy
    def kl_sampled(self) -> Tensor:
        """Return the sum of log q - log p at the draws, (S, B)."""
        return self._sum([site.log_q - site.log_p for site in self.sites])

    @lazy
    def log_weight(self) -> Tensor:
        """Return log p(x|z) + log p(z) - log q(z|x), (S, B): never with a closed-form kl."""
        return self.log_likelihood - self.kl_sampled

    @lazy
    def reconstruction(self) -> Tensor:
        """Return E[x|z] at the codes of x, `(B, *X)`: one for all who look at it."""
        made: Tensor = self.model.reconstruct(self.x, self.context, mask=self.mask)
        return made

    @property
    def site(self) -> Site:
        """Return the only site."""
        if len(self.sites) != 1:
            names = ", ".join(site.name for site in self.sites) or "none"
            raise VaekitError(f"asked for the one latent of a model that has: {names}.")
        return self.sites[0]

    def _sum(self, values: list[Tensor]) -> Tensor:
        return sum(values[1:], values[0]) if values else torch.zeros_like(self.log_likelihood)

"""Constraints on the KL or on the distortion: a capacity, free bits, and a tolerance (GECO).

Shapes: `S` Monte-Carlo dims, `B` batch. The KL of a group is the mean over the batch, so that a
row's value depends on the others.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.distributions import Offer, offering
from vaekit.errors import at_least, one_of, within
from vaekit.models import Site, Trace
from vaekit.objectives.base import Objective, Weight, over_samples
from vaekit.registry import register

EXTREME = 1e6  # of GECO's multiplier, and of its inverse: beyond, one of the two terms is noise


@register("objective", "capacity")
class Capacity(Objective):
    """E_q[log p(x|z)] - gamma sum_s |KL_s - C_s|: the KL of each latent is drawn to its capacity.

    KL_s is the mean over the batch, so that a row's value depends on the others (Burgess et al.,
    arXiv 1804.03599, eq. 8; of several latents Dupont, arXiv 1804.00104, eq. 7). It is no bound.

    Args:
        gamma: the weight of what the KL is apart from its capacity.
        capacity: C of a latent of real numbers, nats, which a schedule may fill.
        discrete: C of one-hot codes, which a schedule may fill; at most what they can hold, the
            logarithm of their number.
        samples: Monte-Carlo draws.

    Raises:
        VaekitError: for a negative number, or no samples.

    Example:
        >>> Capacity(gamma=1000.0, capacity=25.0).capacity
        tensor(25.)
    """

    capacity: Tensor
    discrete: Tensor
    coupled = True
    needs = offering("latent", "rsample", "bound")

    def __init__(
        self,
        *,
        gamma: float = 30.0,
        capacity: float = 5.0,
        discrete: float = 5.0,
        samples: int = 1,
    ) -> None:
        super().__init__()
        self.gamma = Weight(at_least("gamma", gamma, 0.0))
        self.capacity = Weight(at_least("capacity", capacity, 0.0))
        self.discrete = Weight(at_least("discrete", discrete, 0.0))
        self.samples = (at_least("samples", samples, 1),)

    def _target(self, site: Site) -> Tensor:
        space = site.p.space
        if space.kind != "one-hot":
            return self.capacity
        return self.discrete.clamp(max=math.prod(space.shape[:-1]) * math.log(space.shape[-1]))

    def value(self, trace: Trace) -> Tensor:
        price = sum((site.kl.mean() - self._target(site)).abs() for site in trace.sites)
        return over_samples(trace.log_likelihood) - self.gamma * price

    def parts(self, trace: Trace) -> dict[str, Tensor]:
        """Return the KL of each latent besides, where there are several, `(B,)`, detached."""
        several = trace.sites if len(trace.sites) > 1 else ()
        each = {f"kl_{site.name}": over_samples(site.kl.detach()) for site in several}
        return {**super().parts(trace), **each}


@register("objective", "free-bits")
class FreeBits(Objective):
    """E_q[log p(x|z)] - sum_g max(lambda, KL_g): the first lambda nats of each group are free.

    KL_g is the mean over the batch, so that a group below lambda has no gradient, and one above it
    that of the ELBO (Kingma et al., arXiv 1606.04934, appendix C.8). It is no bound; the ELBO that
    is recorded beside it is that of all nats.

    Args:
        lam: lambda, nats for each group, which a schedule may fill.
        groups: "dimension", each of z; "latent", all of a latent together.
        samples: Monte-Carlo draws.

    Raises:
        VaekitError: for other groups, a negative lambda, or no samples.

    Example:
        >>> FreeBits(lam=0.5).lam
        tensor(0.5000)
    """

    lam: Tensor
    coupled = True

    @property
    def needs(self) -> frozenset[Offer]:  # type: ignore[override]
        """Return its needs: a KL of each dimension only where these are the groups."""
        factors = ["factors"] if self.groups == "dimension" else []
        return offering("latent", "rsample", "bound", *factors)

    def __init__(self, *, lam: float = 0.1, groups: str = "dimension", samples: int = 1) -> None:
        super().__init__()
        self.groups = one_of("groups", groups, ["dimension", "latent"])
        self.lam = Weight(at_least("lam", lam, 0.0))
        self.samples = (at_least("samples", samples, 1),)

    def _kl(self, site: Site) -> Tensor:
        """Return the mean KL of each group, nats."""
        if self.groups == "latent":
            return site.kl.mean()
        terms = site.kl_terms
        return terms.flatten(0, terms.dim() - site.q.event_dim - 1).mean(0)

    def value(self, trace: Trace) -> Tensor:
        price = sum(torch.maximum(self._kl(site), self.lam).sum() for site in trace.sites)
        return over_samples(trace.log_likelihood) - price


@register("objective", "geco")
class GECO(Objective):
    """-KL - m D (distortion - goal): the least KL at which the distortion reaches its goal.

    The distortion is -log p(x|z) / D, nats for each of the D elements of x. The multiplier m rises
    while its running mean is above the goal and falls while it is below, by a factor of

        exp(rate mean_t),  mean_t = decay mean_{t-1} + (1 - decay) (distortion - goal),

    at each step of the training (Rezende & Viola, arXiv 1810.00597, algorithm 1, with the
    constraint on the log-likelihood); it starts at 1, where the gradient is the ELBO's, and the
    mean at 0. Both are in the checkpoint. It is no bound, and epochs of different multipliers do
    not compare: the weights of the last one are kept.

    Args:
        goal: nats for each element, which a schedule may fill; of a Gaussian whose errors are as
            large as its scale s it is log s + 1.42, as -0.88 for s = 0.1. Name it: what is right
            depends on the data, and of bits, levels, categories and counts it is above 0, for
            their -log p is: with a goal out of reach the multiplier rises without end.
        rate: of the multiplier, for each nat of an element.
        decay: of the running mean.
        samples: Monte-Carlo draws.

    Raises:
        VaekitError: for a rate outside [0, 10], a decay outside [0, 1], no samples, and, with its
            model, a goal that no likelihood of its kind reaches.

    References:
        Engelcke et al. 2020, GENESIS, arXiv 1907.13052, appendix, which has a goal of this kind.

    Example:
        >>> objective = GECO(goal=-0.9)
        >>> objective._multiplier
        tensor(1.)
    """

    coupled = True
    monitor = "latest"
    needs = offering("latent", "rsample", "bound")

    def __init__(
        self, *, goal: float = 0.0, rate: float = 0.1, decay: float = 0.99, samples: int = 1
    ) -> None:
        super().__init__()
        self.goal = Weight(within("goal", goal, -EXTREME, EXTREME))
        self.rate = within("rate", rate, 0.0, 10.0)
        self.decay = within("decay", decay, 0.0, 1.0)
        self.samples = (at_least("samples", samples, 1),)
        self._multiplier = nn.Buffer(torch.ones(()))
        self._mean = nn.Buffer(torch.zeros(()))

    def unsuited(self, model: Any) -> str:
        """Refuse a goal of 0 or less where no element's -log p is."""
        family = getattr(getattr(model, "likelihood", None), "family", None)
        if family is None or self.goal > 0 or not family.space.discrete:
            return ""
        name, goal = type(family).__name__, self.goal.item()
        return (
            f"has the goal {goal:g}, and -log p of {name} is above 0: take `objective.goal=0.1`, "
            "or what each element of x may cost in nats."
        )

    @torch.no_grad()
    def _follow(self, excess: Tensor) -> None:
        """Move the running mean and the multiplier by a batch's distortion above the goal."""
        self._mean.lerp_(excess.to(self._mean.dtype), 1 - self.decay)
        moved = self._multiplier * (self.rate * self._mean).exp()
        self._multiplier.copy_(moved.clamp(1 / EXTREME, EXTREME))

    def value(self, trace: Trace) -> Tensor:
        seen = torch.ones_like(trace.x) if trace.mask is None else trace.mask.expand_as(trace.x)
        size = seen.flatten(1).sum(1)
        excess = -over_samples(trace.log_likelihood) - size * self.goal
        if self.training:
            self._follow((excess.detach() / size.clamp(min=1)).mean())
        return -over_samples(trace.kl) - self._multiplier.clone() * excess

    def parts(self, trace: Trace) -> dict[str, Tensor]:
        """Return the multiplier besides, `(B,)`, detached."""
        return {**super().parts(trace), "multiplier": self._multiplier.expand(len(trace.x)).clone()}

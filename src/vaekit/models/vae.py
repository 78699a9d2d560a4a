"""A variational autoencoder with one latent, or several that are independent given x."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor

from vaekit.distributions import Distribution, Offer, Product
from vaekit.errors import VaekitError
from vaekit.models.base import Context, LatentModel, Mask, State
from vaekit.models.trace import Site
from vaekit.parts import Conditional, Prior
from vaekit.registry import register


def check_parts(prior: Prior, posterior: Conditional, likelihood: Conditional) -> None:
    """Refuse parts that do not go together: other spaces, another latent, a scale that is fitted.

    Raises:
        VaekitError: with what does not fit.
    """
    if prior.space != posterior.family.space:
        raise VaekitError(
            f"the prior lives on {prior.space} and the posterior on "
            f"{posterior.family.space}: they must agree."
        )
    if likelihood.in_shape != prior.space.shape:
        raise VaekitError(
            f"the likelihood takes a latent of shape {likelihood.in_shape}; the prior's is "
            f"{prior.space.shape}: build its network, or its in_shape, to that."
        )
    if Offer.FIXED not in posterior.family.offers:
        raise VaekitError(
            f"{posterior.family} fits its scale to what it scores, which a posterior is not "
            "for: take scale=free."
        )
    if missing := sorted(prior.needs - posterior.family.offers):
        raise VaekitError(
            f"{type(prior).__name__} needs {missing[0].meaning} ({missing[0]}), which the "
            f"posterior {posterior.family} does not offer: take another of the two."
        )


class ThreeParts(LatentModel):
    """A model of a prior, a posterior and a likelihood: a subclass says how z is inferred."""

    def __init__(
        self, prior: Prior, posterior: Conditional, likelihood: Conditional, *, gaps: bool = False
    ) -> None:
        super().__init__()
        check_parts(prior, posterior, likelihood)
        self.prior, self.posterior, self.likelihood = prior, posterior, likelihood
        self.gaps, self.x_shape = gaps, likelihood.family.event_shape

    @torch.no_grad()
    def draw_prior(
        self, n: int, context: Context = None, temperature: float = 1.0
    ) -> tuple[Tensor, ...]:
        """Return n draws `(n, *Z)` of each latent of p(z), one for each row of the context."""
        zs = []
        for each in self.prior(context, self.posterior).tempered(temperature).latents.values():
            z = each.sample(() if context is not None else (n,))
            if z.dim() == len(each.event_shape):  # a prior that ignores the context
                z = each.sample((n,))
            zs.append(z)
        return tuple(zs)

    def likelihood_at(
        self, zs: tuple[Tensor, ...], context: Context = None, state: State = None
    ) -> Distribution:
        """Return p(x|z)."""
        if len(zs) == 1:
            return self.likelihood(zs[0], context)
        shapes = (p.event_shape for p in self.prior(context, self.posterior).latents.values())
        flat = [z.flatten(-len(shape)) for z, shape in zip(zs, shapes, strict=True)]
        return self.likelihood(torch.cat(flat, -1), context)


@register("model", "vae")
class VAE(ThreeParts):
    """Three distributions: prior p(z), posterior q(z|x), likelihood p(x|z).

    `forward` is one pass, a `Trace`; nothing is scored until an objective asks.

    Args:
        prior: p(z).
        posterior: q(z|x), a conditional of x.
        likelihood: p(x|z), a conditional of z.
        gaps: whether NaN in x says that a value is not seen.

    Raises:
        VaekitError: where the prior and the posterior live on different spaces, or the
            likelihood takes another latent.

    Example:
        >>> import vaekit as vk
        >>> model = VAE(
        ...     vk.StandardNormal(2),
        ...     vk.Conditional(vk.MLP(9, 4), vk.Gaussian(2)),
        ...     vk.Conditional(vk.MLP(2, 9), vk.Bernoulli(9)),
        ... )
        >>> model(torch.rand(5, 9), samples=(7,)).log_weight.shape
        torch.Size([7, 5])
        >>> model.sample(3).shape
        torch.Size([3, 9])
    """

    @property
    def offers(self) -> frozenset[Offer]:  # type: ignore[override]
        """Return what may be asked of it: the posterior's words, the prior's, the likelihood's."""
        q, p = self.posterior.family.offers, self.prior.offers
        words = {Offer.LATENT, *(q & OF_Q), *(p & {Offer.DRAWS})}
        words |= set() if getattr(self.posterior.net, "maxima", 0) else {Offer.NUMBERS}
        words |= set() if self.posterior.family.distribution is Product else {Offer.ONE_SITE}
        words |= self.likelihood.family.offers & {Offer.FIXED}
        if Offer.DENSITY in q & p:
            words |= {Offer.DENSITY, *(q & {Offer.MARGINAL, Offer.STOPPED})}
            words |= set() if Offer.RSAMPLE in q else {Offer.SCORE}
        if Offer.DENSITY in q & p or (Offer.BOUND in q and p & {Offer.DENSITY, Offer.BOUND}):
            words |= {Offer.BOUND, *(q & p & {Offer.FACTORS})}
        ids = {id(parameter) for parameter in self.posterior.parameters()}
        others = chain(self.prior.parameters(), self.likelihood.parameters())
        if not self.prior.needs and ids.isdisjoint(map(id, others)):
            words.add(Offer.SEPARATE)
        return frozenset(words | ({Offer.GAPS} if self.gaps else set()))

    def infer(self, x: Tensor, context: Context = None, mask: Mask = None) -> State:
        """Return q(z|x) of what is seen of x, and p(z)."""
        return self.posterior(x, context), self.prior(context, self.posterior)

    def draw(self, state: State, samples: tuple[int, ...]) -> tuple[Site, ...]:
        """Return the latent, or each of those that the posterior is a product over."""
        q, p = state
        return tuple(Site.draw(n, each, p.latents[n], samples) for n, each in q.latents.items())


OF_Q = {Offer.RSAMPLE, Offer.MOMENTS, Offer.MEAN, Offer.CODES, Offer.EXACT}

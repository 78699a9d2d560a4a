"""A variational autoencoder with one latent."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vaekit.distributions import Distribution
from vaekit.errors import VaekitError
from vaekit.models.fixed import fixed_at
from vaekit.models.trace import Site, Trace
from vaekit.parts.conditional import Conditional
from vaekit.parts.priors import Prior
from vaekit.torchutil import evaluating


class VAE(nn.Module):
    """Three distributions: prior p(z), posterior q(z|x), likelihood p(x|z).

    `forward` is one pass, a `Trace`; nothing is scored until an objective asks.

    Args:
        prior: p(z).
        posterior: q(z|x), a conditional of x.
        likelihood: p(x|z), a conditional of z.

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

    def __init__(self, prior: Prior, posterior: Conditional, likelihood: Conditional) -> None:
        super().__init__()
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
        self.prior = prior
        self.posterior = posterior
        self.likelihood = likelihood

    @property
    def offers(self) -> frozenset[str]:
        """What an objective may ask of a trace."""
        return self.posterior.family.offers | {"latent", "one_site"}

    @property
    def x_shape(self) -> tuple[int, ...]:
        """The shape of one x."""
        return self.likelihood.family.event_shape

    def forward(
        self,
        x: Tensor,
        given: Tensor | None = None,
        *,
        samples: tuple[int, ...] = (1,),
        mask: Tensor | None = None,
    ) -> Trace:
        """One pass over x `(B, *X)` with `samples` draws of each latent."""
        return self.trace(x, self.infer(x, given, mask), given, samples=samples, mask=mask)

    def infer(
        self, x: Tensor, given: Tensor | None = None, mask: Tensor | None = None
    ) -> Distribution:
        """q(z|x) of what is seen of x: what `trace` takes."""
        seen = x if mask is None else torch.where(mask != 0, x, torch.zeros_like(x))
        return self.posterior(seen, given)

    def trace(
        self,
        x: Tensor,
        q: Distribution,
        given: Tensor | None = None,
        *,
        samples: tuple[int, ...] = (1,),
        mask: Tensor | None = None,
    ) -> Trace:
        """The pass that draws from a q that `infer` made, so that one q serves many passes."""
        return self.decoded(x, self.drawn(q, given, samples), given, mask)

    def drawn(
        self, q: Distribution, given: Tensor | None = None, samples: tuple[int, ...] = (1,)
    ) -> tuple[Site, ...]:
        """The random half of `trace`: the latents."""
        return (Site.draw("z", q, self.prior(given), samples),)

    def decoded(
        self,
        x: Tensor,
        sites: tuple[Site, ...],
        given: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Trace:
        """The other half of `trace`, which draws nothing: any thread may run it."""
        px = self.likelihood(sites[0].z, given)
        return Trace(x=x, sites=sites, px=px, model=self, given=given, mask=mask)

    def sample(
        self,
        n: int,
        given: Tensor | None = None,
        *,
        mean: bool = False,
        fixed: Mapping[int, float] | None = None,
    ) -> Tensor:
        """n draws `(n, *X)` of x from the model; with `mean`, E[x|z] of n draws of z.

        With `fixed`, those dimensions of z stand where `fixed_at` puts them.
        """
        if given is not None and len(given) != n:
            raise VaekitError(f"`given` has {len(given)} rows; expected {n}, one per draw.")
        with evaluating(self):
            z = self.draw_latent(n, given)
            if fixed:
                z = fixed_at(z, fixed, self.prior(given))
            px = self.likelihood(z, given)
            return px.mean if mean else px.sample()

    @torch.no_grad()
    def draw_latent(self, n: int, given: Tensor | None = None) -> Tensor:
        """n draws `(n, *Z)` of z from the prior, one for each row of `given`."""
        prior = self.prior(given)
        z = prior.sample(() if given is not None else (n,))
        if z.dim() == len(self.prior.space.shape):  # a prior that ignores what is given
            z = prior.sample((n,))
        return z

    def encode(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """E[z|x], `(B, *Z)`."""
        with evaluating(self):
            return self.posterior(x, given).mean

    def decode(self, z: Tensor, given: Tensor | None = None) -> Tensor:
        """E[x|z], `(B, *X)`."""
        with evaluating(self):
            return self.likelihood(z, given).mean

    def reconstruct(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """E[x|z] at z = E[z|x], `(B, *X)`."""
        return self.decode(self.encode(x, given), given)

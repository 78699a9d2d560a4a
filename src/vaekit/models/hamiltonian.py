"""A variational autoencoder whose posterior follows the gradient of log p(x, z)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vaekit._torchutil import evaluating
from vaekit.distributions import Distribution, Offer, Space, offering
from vaekit.errors import VaekitError, within
from vaekit.models.base import Context, Mask, State
from vaekit.models.trace import Site, Trace
from vaekit.models.vae import ThreeParts
from vaekit.parts import Conditional, Prior
from vaekit.registry import register

WIDEST = 0.5  # step
MOST = 1000  # steps


def leapfrog(
    force: Callable[[Tensor], Tensor],
    z: Tensor,
    momentum: Tensor,
    step: Tensor,
    cooling: Sequence[Tensor | float],
) -> tuple[Tensor, Tensor]:
    """Return position and momentum after a leapfrog step for each factor of `cooling`.

    Half a step of the momentum moves the position, and the second half follows; then the momentum
    is multiplied by the factor. Without cooling, by ones, a step can be reversed, keeps volumes,
    and the energy but for a multiple of the square of its length.

    Example:
        >>> z, momentum = leapfrog(torch.neg, torch.ones(1), torch.zeros(1), torch.tensor(0.1), [1])
        >>> z, momentum
        (tensor([0.9950]), tensor([-0.0997]))
    """
    push = force(z)
    for factor in cooling:
        momentum = momentum + 0.5 * step * push
        z = z + step * momentum
        push = force(z)
        momentum = (momentum + 0.5 * step * push) * factor
    return z, momentum


class Flowed(Distribution):
    """What a Hamiltonian flow leaves behind: known at its own draw, and nowhere else."""

    offers = offering("rsample", "density")

    def __init__(self, space: Space) -> None:
        super().__init__(event_dim=len(space.shape))
        self._space = space

    @property
    def space(self) -> Space:
        return self._space

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self._space.shape

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        raise VaekitError("a Hamiltonian flow is drawn from by its model alone.")


@register("model", "hamiltonian")
class HamiltonianVAE(ThreeParts):
    """A VAE whose draw of q(z|x) then moves by `steps` of Hamiltonian dynamics toward log p(x, z).

    With z0 of q, a momentum rho0 = noise / sqrt(beta0), and K leapfrog steps, after each of which
    rho is multiplied by sqrt(beta_k-1 / beta_k), the log-weight is log p(x, zK) - |rhoK|^2 / 2 -
    log q(z0|x) + beta0 |rho0|^2 / 2, whose last term is latent / 2 on average: the KL takes that.
    1 / sqrt(beta_k) falls from 1 / sqrt(beta0) to 1 as (k / K)^2 grows. The force is that of the
    decoder in eval mode. Step sizes, one for each dimension, and beta0 are learned.

    Args:
        prior: p(z), over vectors of reals, with a density.
        posterior: q(z|x), with a density and gradients: where the flow starts.
        likelihood: p(x|z).
        steps: K, of the leapfrog.
        step_size: of each dimension at the start, below 0.5.
        beta0: the inverse temperature of the first momentum at the start, below 1.
        gaps: whether NaN in x says that a value is not seen.

    Raises:
        VaekitError: as of `VAE`, for another prior or posterior, and numbers that do not fit.

    References:
        Caterini, Doucet and Sejdinovic 2018, Hamiltonian variational auto-encoder, arXiv
        1805.11328, algorithm 1, with the quadratic tempering of its section 4.

    Example:
        >>> import vaekit as vk
        >>> model = HamiltonianVAE(
        ...     vk.StandardNormal(2),
        ...     vk.Conditional(vk.MLP(9, 4), vk.Gaussian(2)),
        ...     vk.Conditional(vk.MLP(2, 9), vk.Bernoulli(9)),
        ... )
        >>> model(torch.rand(5, 9), samples=(7,)).log_weight.shape
        torch.Size([7, 5])
    """

    compiles = False  # the force is a gradient, and gradients of it are taken

    def __init__(
        self,
        prior: Prior,
        posterior: Conditional,
        likelihood: Conditional,
        *,
        steps: int = 3,
        step_size: float = 0.01,
        beta0: float = 0.3,
        gaps: bool = False,
    ) -> None:
        super().__init__(prior, posterior, likelihood, gaps=gaps)
        lacks = offering("density") - prior.offers
        lacks |= offering("density", "rsample") - posterior.family.offers
        if lacks or prior.space.kind != "reals" or len(prior.space.shape) != 1:
            raise VaekitError(
                f"a Hamiltonian flow moves vectors of reals with a density; got {prior.space} with "
                f"the prior {type(prior).__name__} and the posterior "
                f"{type(posterior.family).__name__}: take standard-normal and gaussian."
            )
        for name, value, most in (("step_size", step_size, WIDEST), ("beta0", beta0, 1.0)):
            if not 0 < value < most:
                raise VaekitError(f"got `{name}={value:g}`; expected between 0 and {most:g}.")
        self.steps = within("steps", steps, 1, MOST)
        self.raw_step = nn.Parameter(torch.full(prior.space.shape, _logit(step_size / WIDEST)))
        self.raw_beta0 = nn.Parameter(torch.tensor(_logit(beta0)))

    @property
    def offers(self) -> frozenset[Offer]:  # type: ignore[override]
        """Return what may be asked of it: of q(z|x) draws with their densities, and no more."""
        words = offering("latent", "numbers", "one_site", "rsample", "density", "bound", "exact")
        words |= self.prior.offers & {Offer.DRAWS} | self.likelihood.family.offers & {Offer.FIXED}
        return words | ({Offer.GAPS} if self.gaps else frozenset())

    def infer(self, x: Tensor, context: Context = None, mask: Mask = None) -> State:
        """Return q(z0|x) and p(z), with what the force is a function of."""
        return self.posterior(x, context), self.prior(context, self.posterior), x, context, mask

    def cooling(self) -> tuple[Tensor, list[Tensor]]:
        """Return beta0, and the factor sqrt(beta_k-1 / beta_k) of each step."""
        beta0 = self.raw_beta0.sigmoid()
        hot = beta0.rsqrt()
        heat = [hot + (1 - hot) * (k / self.steps) ** 2 for k in range(self.steps + 1)]
        return beta0, [after / before for before, after in pairwise(heat)]

    def draw(self, state: State, samples: tuple[int, ...]) -> tuple[Site, ...]:
        """Return the latent at the end of the flow, with its log q and its KL."""
        q, p, x, context, mask = state
        z, log_q = q.rsample_and_log_prob(samples)
        beta0, cooling = self.cooling()
        noise = torch.randn_like(z)

        learning = torch.is_grad_enabled()

        def force(z: Tensor) -> Tensor:
            z = z if learning and z.requires_grad else z.detach().requires_grad_()
            with torch.enable_grad():  # torch.func.grad would refuse hooks on saved tensors
                trace = Trace(x, (), self.likelihood(z, context), None, context, mask)
                log_joint = (trace.log_likelihood + p.log_prob(z)).sum()
                return torch.autograd.grad(log_joint, z, create_graph=learning)[0]

        with evaluating(self.likelihood, gradients=learning):
            step = WIDEST * self.raw_step.sigmoid()
            z, momentum = leapfrog(force, z, noise * beta0.rsqrt(), step, cooling)
        site = Site("z", z, Flowed(self.prior.space), p)
        log_q = log_q + 0.5 * momentum.square().sum(-1)
        site.__dict__["log_q"] = log_q - 0.5 * noise.square().sum(-1)
        site.__dict__["kl"] = log_q - 0.5 * z.shape[-1] - site.log_p
        return (site,)

    def extra_repr(self) -> str:
        return f"steps={self.steps}"


def _logit(share: float) -> float:
    return math.log(share / (1 - share))

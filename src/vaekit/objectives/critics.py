"""Objectives with a second player: a critic of codes or of images, which learns beside the model.

Shapes: `B` batch. Each critic gives a logit of "this row is real", and minimizes its cross-entropy
on what is detached; what the model gains by its verdict is a term of the model's objective.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from vaekit.distributions import offering
from vaekit.errors import at_least, within
from vaekit.models import Trace
from vaekit.nn import MLP, ConvEncoder
from vaekit.objectives.base import Objective, Weight, over_samples
from vaekit.registry import register

LEAKY = "leaky-relu:0.2"
STEPS = 1000  # of a critic for each of the model's, at most


class _TwoPlayers(Objective):
    """An objective with a critic, whose term waits for the critic's first step.

    Args:
        critic: the second player.
        critic_lr: its learning rate.
        critic_start: the step from which it trains, and the model sees it.
        critic_steps: its steps for each of the model's.
    """

    critic: Any
    critic_on: Tensor

    def __init__(
        self, critic: nn.Module, critic_lr: float, critic_start: int, critic_steps: int
    ) -> None:
        super().__init__()
        self.critic, self.critic_on = critic, Weight(1.0)
        self.critic_lr = at_least("critic_lr", critic_lr, 0.0)
        self.critic_start = at_least("critic_start", critic_start, 0)
        self.critic_steps = within("critic_steps", critic_steps, 1, STEPS)


@register("objective", "factor-vae")
class FactorVAE(_TwoPlayers):
    """The ELBO less a price for total correlation, E log p(x|z) - KL - gamma TC.

    TC = KL(q(z) || prod_j q(z_j)) is estimated by a critic that tells codes from codes whose
    dimensions are permuted within the batch, each by itself: TC = E[logit_0 - logit_1] of its two
    logits (Kim & Mnih, "Disentangling by factorising", arXiv 1802.05983, eq. 2, 3 and algorithm 2).
    It sees the second half of a batch as it is, and the first one permuted. What is watched is the
    ELBO, since the estimate rises while the critic learns.

    Args:
        z_shape: of z.
        gamma: the price of total correlation, which a schedule may fill.
        critic_hidden: the widths of the critic's layers.

    Raises:
        VaekitError: for a negative number, or a width below 1.

    Example:
        >>> objective = FactorVAE((10,), gamma=35.0)
        >>> objective.gamma, objective.critic
        (tensor(35.), ...)
    """

    gamma: Tensor
    needs = offering("latent", "rsample", "bound", "factors", "one_site")
    monitor = "elbo"
    least_rows = 4  # a half of one row is permuted to itself
    critic_options = ("betas=0.5,0.9",)

    def __init__(
        self,
        z_shape: tuple[int, ...],
        *,
        gamma: float = 35.0,
        critic_hidden: tuple[int, ...] = (1000,) * 6,
        critic_lr: float = 1e-4,
        critic_start: int = 0,
        critic_steps: int = 1,
    ) -> None:
        critic = MLP(z_shape, 2, critic_hidden, activation=LEAKY)
        super().__init__(critic, critic_lr, critic_start, critic_steps)
        self.gamma = Weight(at_least("gamma", gamma, 0.0))

    def ratio(self, z: Tensor) -> Tensor:
        """Return log q(z) - sum_j log q(z_j) as the critic estimates it, `(B,)`."""
        logits: Tensor = self.critic(z)
        return logits[:, 0] - logits[:, 1]

    def _ratio_of(self, trace: Trace) -> Tensor:
        """Return it at the draws of a trace: computed once, as value and parts both ask."""
        known: dict[Any, Tensor] = trace.__dict__.setdefault("ratios", {})
        key = (self, torch.is_grad_enabled())
        if key not in known:
            known[key] = self.ratio(trace.site.z[0])
        return known[key]

    @staticmethod
    def permuted(z: Tensor) -> Tensor:
        """Return codes `(B, *Z)` with each dimension in an order of its own.

        Example:
            >>> z = torch.arange(6.0).reshape(3, 2)
            >>> FactorVAE.permuted(z).sort(0).values
            tensor([[0., 1.],
                    [2., 3.],
                    [4., 5.]])
        """
        flat = z.flatten(1)
        return flat.gather(0, torch.rand_like(flat).argsort(0)).view_as(z)

    def value(self, trace: Trace) -> Tensor:
        bound = over_samples(trace.log_likelihood - trace.kl)
        return bound - self.critic_on * self.gamma * self._ratio_of(trace)

    def parts(self, trace: Trace) -> dict[str, Tensor]:
        """Return the total correlation besides, `(B,)`, detached."""
        return {**super().parts(trace), "tc": self._ratio_of(trace).detach()}

    def critic_loss(self, trace: Trace) -> Tensor:
        """Return the cross-entropy, both halves alike; 0 where there are too few rows."""
        z = trace.site.z[0].detach()
        half = len(z) // 2
        if len(z) < self.least_rows:
            return 0 * self.ratio(z)
        wrong = softplus(torch.cat([self.ratio(self.permuted(z[:half])), -self.ratio(z[half:])]))
        rows = torch.full_like(wrong, 0.5 * len(z) / half)
        rows[half:] = 0.5 * len(z) / (len(z) - half)
        return rows * wrong


@register("objective", "aae")
class AAE(_TwoPlayers):
    """E_q[log p(x|z)], and codes that a critic cannot tell from draws of the prior.

    E[log p(x|z) + weight log D(z)], where D(z) is the critic's probability that z comes from the
    prior (Makhzani et al., "Adversarial autoencoders", arXiv 1511.05644, section 2). It is no
    bound, and needs no density of the posterior: z may be a point.

    Args:
        z_shape: of z.
        weight: of log D(z), which a schedule may fill.
        critic_hidden: the widths of the critic's layers.

    Raises:
        VaekitError: for a negative number, or a width below 1.

    Example:
        >>> AAE((8,), weight=10.0).monitor
        'log_likelihood'
    """

    weight: Tensor
    needs = offering("latent", "numbers", "rsample", "draws", "one_site")
    monitor = "log_likelihood"
    critic_options = ("betas=0.5,0.9",)

    def __init__(
        self,
        z_shape: tuple[int, ...],
        *,
        weight: float = 10.0,
        critic_hidden: tuple[int, ...] = (256, 256),
        critic_lr: float = 1e-3,
        critic_start: int = 0,
        critic_steps: int = 1,
    ) -> None:
        critic = MLP(z_shape, 1, critic_hidden, activation=LEAKY)
        super().__init__(critic, critic_lr, critic_start, critic_steps)
        self.weight = Weight(at_least("weight", weight, 0.0))

    def value(self, trace: Trace) -> Tensor:
        return over_samples(trace.log_likelihood)

    def surrogate(self, trace: Trace, value: Tensor) -> Tensor:
        fooled = logsigmoid(self.critic(trace.site.z[0]).squeeze(1))
        return value + self.critic_on * self.weight * fooled

    def critic_loss(self, trace: Trace) -> Tensor:
        z = trace.site.z[0].detach()
        (drawn,) = trace.model.draw_prior(len(z), trace.context)
        return softplus(-self.critic(drawn)).squeeze(1) + softplus(self.critic(z)).squeeze(1)


@register("objective", "vae-gan")
class VAEGAN(_TwoPlayers):
    """A VAE whose likelihood is of a critic's features, and whose decoder fools the critic.

    The encoder goes up L = features log N(f(x); f(y), I) + pixels log p(x|z) - KL, where y = E[x|z]
    and f are what the critic's last hidden layer gives; the decoder goes up
    L + adversarial / 2 (log D(y) + log D(y')), with y' = E[x|z'] at a draw z' of the prior; and
    the critic tells x from y and y' (Larsen et al., "Autoencoding beyond pixels using a learned
    similarity metric", arXiv 1512.09300, algorithm 1). What is reported is the ELBO. The parameters
    of p(x|z) beside its network, as a shared scale or dispersions, go up log p(x|z) alone, whatever
    pixels weigh; a scale of each element is an output of the network, and only pixels move it.

    Args:
        x_shape: of x: of images `(C, H, W)` the critic is convolutions, of all else dense.
        features: the weight of the likelihood of features.
        pixels: the weight of that of x itself, which the paper has not.
        adversarial: the weight of the decoder's gain by fooling the critic.
        critic_channels: of its convolutions of 4 x 4 and stride 2.
        critic_hidden: the widths of its layers, where x is no image.

    Raises:
        VaekitError: for a negative number, or a width below 1.

    Example:
        >>> VAEGAN((1, 28, 28)).critic.body[-1], VAEGAN((30,)).critic.body[-1]
        (Flatten(start_dim=1, end_dim=-1), LeakyReLU(negative_slope=0.2))
    """

    features: Tensor
    pixels: Tensor
    adversarial: Tensor
    needs = offering("latent", "numbers", "rsample", "bound", "draws", "separate")
    monitor = "latest"  # it climbs by features, and the ELBO says little of an epoch
    critic_options = ("betas=0.5,0.9",)

    def __init__(
        self,
        x_shape: tuple[int, ...],
        *,
        features: float = 10.0,
        pixels: float = 0.0,
        adversarial: float = 3.0,
        critic_channels: tuple[int, ...] = (16, 32),
        critic_hidden: tuple[int, ...] = (256, 256),
        critic_lr: float = 5e-4,
        critic_start: int = 0,
        critic_steps: int = 1,
    ) -> None:
        critic: Any = MLP(x_shape, 1, critic_hidden, activation=LEAKY)
        if len(x_shape) == 3:
            critic = ConvEncoder(x_shape, 1, critic_channels, kernel=4, activation=LEAKY)
        super().__init__(critic, critic_lr, critic_start, critic_steps)
        self.features = Weight(at_least("features", features, 0.0))
        self.pixels = Weight(at_least("pixels", pixels, 0.0))
        self.adversarial = Weight(at_least("adversarial", adversarial, 0.0))

    def value(self, trace: Trace) -> Tensor:
        return over_samples(trace.log_likelihood - trace.kl)

    def surrogate(self, trace: Trace, value: Tensor) -> dict[str, Tensor]:
        seen = self.critic.body(_made(trace, trace.px))
        with torch.no_grad():
            real = self.critic.body(trace.x)
        alike = -0.5 * (real - seen).square().sum(1)
        logits = self.critic.output(seen), self.critic(_drawn(trace))
        fooled = 0.5 * sum(logsigmoid(each).squeeze(1) for each in logits)
        likelihood = self.features * alike + self.pixels * over_samples(trace.log_likelihood)
        bound = likelihood - over_samples(trace.kl)
        return {
            "posterior": bound,
            "likelihood.family": over_samples(trace.log_likelihood),
            "rest": bound + self.critic_on * self.adversarial * fooled,
        }

    def critic_loss(self, trace: Trace) -> Tensor:
        with torch.no_grad():
            fakes = _made(trace, trace.px), _drawn(trace)
        wrong = [softplus(self.critic(each)) for each in fakes]
        return (softplus(-self.critic(trace.x)) + 0.5 * (wrong[0] + wrong[1])).squeeze(1)


def _made(trace: Trace, px: Any) -> Tensor:
    """Return E[x|z] `(B, *X)`, with 0 where x is not seen, as x has."""
    y: Tensor = px.mean
    y = y.reshape(trace.x.shape)
    return y if trace.mask is None else torch.where(trace.mask != 0, y, torch.zeros_like(y))


def _drawn(trace: Trace) -> Tensor:
    """Return E[x|z] at draws of the prior."""
    zs = trace.model.draw_prior(len(trace.x), trace.context)
    return _made(trace, trace.model.likelihood_at(zs, trace.context))

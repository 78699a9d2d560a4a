"""How a prior is fitted to the codes of a trained model, by name.

Each is a function of the kind "density": it asks for draws z of q(z|x), `(N, *Z)`, or where they
are numbered for `codes`; for `held_out` ones, by which it chooses, the `space` that they are of, a
`seed`, and what is told of each epoch; for the `classes` of both, or None; and returns a prior with
log p of the held-out ones.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaekit._torchutil import rng, wide
from vaekit.distributions import (
    COMPONENTS,
    Space,
    choose_by_class,
    choose_mixture,
)
from vaekit.errors import at_least
from vaekit.evaluate import average, log_likelihood
from vaekit.models import VAE
from vaekit.nn import MLP
from vaekit.parts import (
    AutoregressivePrior,
    Conditional,
    FlowPrior,
    FullMixture,
    Gaussian,
    MovedPrior,
    Prior,
    SecondStage,
    StandardNormal,
)
from vaekit.registry import register
from vaekit.training._optimizers import make_optimizer

BATCH, LR, PATIENCE = 256, 1e-3, 10
DRAWS = 100  # by which the density under a second VAE is bounded
OnEpoch = Callable[[int, int, float], None]  # the epoch, of how many, nats of held-out codes


class Fit(NamedTuple):
    """A prior, and log p of the held-out codes `(M,)`: a lower bound where it has no density.

    Of one that hangs on the label also how many nats that gains, beside one for all labels.
    """

    prior: Prior
    log_p: Tensor
    by_label: float | None = None


class Classes(NamedTuple):
    """The labels that a model is given: of the codes `(N,)`, of the held-out ones, and how many.

    And the groups of the held-out ones, for a standard error: see `standard_error`.
    """

    of: Tensor
    held_out: Tensor
    number: int
    groups: Tensor | None = None


@register("density", "mixture")
def mixture(
    z: Tensor,
    held_out: Tensor,
    seed: int,
    classes: Classes | None,
    *,
    components: tuple[int, ...] = COMPONENTS,
) -> Fit | None:
    """A mixture of Gaussians with full covariances, by expectation maximization.

    Of a model that is given a label p(z|y), where that suits held-out codes better than one for all
    labels, by more than two standard errors. None for fewer codes than two for each dimension.

    Args:
        components: numbers of Gaussians, of which the one is taken that suits held-out codes best.
    """
    for count in components:
        at_least("components", count, 1)
    shape = tuple(z.shape[1:])
    with rng(seed, threads=1):  # matrices so small that threads would wait for each other
        flat, others = z.flatten(1), held_out.flatten(1)
        found = choose_mixture(flat, others, components, seed=seed)
        if found is None:
            return None
        log_p, by_label = found.log_prob(others), None
        if classes is not None:
            held = classes.held_out
            told = choose_by_class(found, flat, classes.of, others, held, classes.number, seed=seed)
            better = told.of_classes(held).log_prob(others) - log_p
            gain, error = average(wide(better), classes.groups)
            if gain > 2 * error:
                found, log_p, by_label = told, log_p + better, gain
    count, number = len(found.loc), len(found.log_weights) * (found.log_weights.dim() - 1)
    prior = FullMixture(shape, components=count, classes=number)
    state = {name: getattr(found, name) for name in found.parameters}
    prior.load_state_dict({**state, "loc": found.loc.view(-1, *shape)})
    return Fit(prior, log_p, by_label)


@register("density", "flow")
def flow(
    z: Tensor,
    held_out: Tensor,
    seed: int,
    on_epoch: OnEpoch | None,
    *,
    flow: str = "maf",
    transforms: int = 5,
    hidden: int = 128,
    epochs: int = 100,
) -> Fit | None:
    """A normalizing flow, by its likelihood of the codes: the prior `flow`.

    Args:
        flow: maf or spline: see the prior.
        transforms: how many layers.
        hidden: the width of their networks.
        epochs: at most; it ends ten after the one that suits held-out codes best.
    """
    size, shape = z[0].numel(), tuple(z.shape[1:])
    with rng(seed, threads=1):
        inner = FlowPrior(size, flow=flow, transforms=transforms, hidden=hidden)
        prior = MovedPrior(inner, shape)
        prior.move_to(z)
        climbed = climb(prior, lambda z: prior().log_prob(z), z, held_out, epochs, on_epoch)
    with torch.no_grad():
        return Fit(prior, prior().log_prob(held_out)) if climbed else None


@register("density", "two-stage")
def two_stage(
    z: Tensor,
    held_out: Tensor,
    seed: int,
    on_epoch: OnEpoch | None,
    *,
    hidden: tuple[int, ...] = (256, 256, 256),
    epochs: int = 100,
) -> Fit | None:
    """A second VAE on the codes, with a latent of the same size (arXiv 1903.05789): draws alone.

    Its density of a code is only known as a bound.

    Args:
        hidden: the widths of its networks.
        epochs: at most; it ends ten after the one that suits held-out codes best.
    """
    size, shape = z[0].numel(), tuple(z.shape[1:])
    with rng(seed, threads=1):
        posterior = Conditional(MLP(size, 2 * size, hidden), Gaussian(size))
        likelihood = Conditional(MLP(size, size, hidden), Gaussian(size, scale="fitted"))
        model = VAE(StandardNormal(size), posterior, likelihood)
        prior = MovedPrior(SecondStage(model), shape)
        prior.move_to(z)

        def moved(z: Tensor) -> Tensor:
            return ((z - prior.loc) / prior.scale).flatten(1)

        def elbo(z: Tensor) -> Tensor:
            trace = model(moved(z))
            return trace.log_likelihood[0] - trace.kl[0] - prior.scale.log().sum()

        if not climb(prior, elbo, z, held_out, epochs, on_epoch):
            return None
        bound = log_likelihood(model, moved(held_out), samples=DRAWS)
    return Fit(prior, bound - prior.scale.log().sum())


@register("density", "codes-transformer")
def codes_transformer(
    codes: Tensor,
    held_out: Tensor,
    seed: int,
    on_epoch: OnEpoch | None,
    space: Space,
    *,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    epochs: int = 30,
) -> Fit | None:
    """Of numbered codes: each given those before it, by a causal transformer (arXiv 1711.00937).

    Args:
        width, layers, heads: of the prior codes-transformer.
        epochs: at most; it ends ten after the one that suits held-out codes best.
    """
    with rng(seed):
        counts = (space.shape[0], space.levels or 0)
        prior = AutoregressivePrior(counts, width=width, layers=layers, heads=heads)

        def log_p(codes: Tensor) -> Tensor:
            return torch.cat([prior().log_prob(some) for some in codes.split(BATCH)])

        climbed = climb(prior, log_p, codes, held_out, epochs, on_epoch)
    with torch.no_grad():
        return Fit(prior, log_p(held_out)) if climbed else None


def climb(
    module: nn.Module,
    value: Callable[[Tensor], Tensor],
    z: Tensor,
    held_out: Tensor,
    epochs: int,
    on_epoch: OnEpoch | None = None,
) -> bool:
    """Train a module for the mean of `value(z)`, and leave it as it was best for held-out rows.

    Args:
        module: what is trained.
        value: of rows, `(B,)`.
        z, held_out: rows to train on, and to choose the epoch by.
        epochs: at most; it ends `PATIENCE` after the best one.
        on_epoch: is told the epoch, of how many at most, and the mean of held-out rows.

    Returns:
        Whether any epoch gave a finite mean.
    """
    adam = make_optimizer("adam", module.parameters(), lr=LR)
    best, kept, since = -math.inf, None, 0
    for epoch in range(1, at_least("epochs", epochs, 1) + 1):
        module.train()
        for index in torch.randperm(len(z)).split(BATCH):
            adam.zero_grad()
            (-value(z[index]).mean()).backward()
            adam.step()
        module.eval()
        with torch.no_grad():
            now = value(held_out).mean().item()
        if on_epoch is not None:
            on_epoch(epoch, epochs, now)
        since += 1
        if now > best:
            best, kept, since = now, copy.deepcopy(module.state_dict()), 0
        if since == PATIENCE or not math.isfinite(now):
            break
    if kept is not None:
        module.load_state_dict(kept)
    return kept is not None

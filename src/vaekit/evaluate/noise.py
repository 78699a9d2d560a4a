"""How noisy an objective's gradient is on one batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError
from vaekit.evaluate.checks import whole
from vaekit.models import VAE
from vaekit.objectives import Bound, Objective

__all__ = ["GradientNoise", "gradient_noise"]


@dataclass(frozen=True)
class GradientNoise:
    """The gradient g of the mean objective of one batch, over fresh draws of the latent.

    Attributes:
        variance: the sum over all parameters of Var[g], unbiased: the trace of its covariance.
        squared_norm: |E[g]|^2, unbiased, so it may be below 0 where the noise is large.
        ratio: variance / squared_norm; inf where squared_norm is not positive.
        parameters: how many numbers g has.
        repeats: how many gradients were taken.
    """

    variance: float
    squared_norm: float
    ratio: float
    parameters: int
    repeats: int


class _Welford:
    """Mean and summed squared deviations of vectors; none of them is kept."""

    def __init__(self) -> None:
        self.count, self.squares, self.mean = 0, 0.0, torch.zeros(())

    def add(self, value: Tensor) -> None:
        self.count += 1
        step = value - self.mean
        self.mean = self.mean + step / self.count
        self.squares += torch.dot(step, value - self.mean).item()


def gradient_noise(
    model: VAE,
    objective: Objective,
    x: Tensor,
    given: Tensor | None = None,
    *,
    repeats: int = 32,
    seed: int = 0,
) -> GradientNoise:
    """The noise that the draws of the latent put on the gradient of one batch.

    The gradient of the batch's mean objective, over all parameters of model and objective that
    are trained, is taken `repeats` times with fresh draws; in eval mode, so that dropout and batch
    norm add nothing. The variance is the trace of the unbiased covariance; the squared norm is
    |mean|^2 - variance / repeats. No `.grad` is touched.

    Args:
        model: what is differentiated.
        objective: what is maximised.
        x: the batch `(B, *X)`, canonical.
        given: `(B, ...)`, what the model is conditioned on.
        repeats: how many gradients, 2 at least.
        seed: of the draws; torch's own stay as they were.

    Raises:
        VaekitError: for fewer than two repeats, a model without parameters that are trained, or a
            gradient that is not finite.

    Example:
        >>> import vaekit as vk
        >>> model = vk.VAE(
        ...     vk.StandardNormal(2),
        ...     vk.Conditional(vk.MLP(5, 4), vk.Gaussian(2)),
        ...     vk.Conditional(vk.MLP(2, 5), vk.Bernoulli(5)),
        ... )
        >>> found = gradient_noise(model, vk.ELBO(), torch.rand(8, 5), repeats=4)
        >>> found.repeats, found.variance > 0
        (4, True)
    """
    whole("repeats", repeats, 2)
    values = [p for p in (*model.parameters(), *objective.parameters()) if p.requires_grad]
    if not values:
        raise VaekitError("the model has no parameter that is trained: it has no gradient.")
    noise = _Welford()
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _eval_mode(model, objective):
        torch.manual_seed(seed)
        for _ in range(repeats):
            bound = objective(model(x, given, samples=objective.samples))
            noise.add(_gradient(bound, model, values))
    if not bool(torch.isfinite(noise.mean).all()):
        raise VaekitError("the gradient is not finite: the model's weights are not, or too large.")
    variance = noise.squares / (repeats - 1)
    squared = noise.mean.square().sum().item() - variance / repeats
    ratio = variance / squared if squared > 0 else math.inf
    return GradientNoise(variance, squared, ratio, noise.mean.numel(), repeats)


@contextmanager
def _eval_mode(*parts: nn.Module) -> Iterator[None]:
    """In eval mode, with gradients, and afterwards as they were."""
    modes = [(module, module.training) for part in parts for module in part.modules()]
    for part in parts:
        part.eval()
    try:
        with torch.enable_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _gradient(bound: Bound, model: nn.Module, values: list[nn.Parameter]) -> Tensor:
    """Of the mean target, `(P,)`; a target by part is differentiated for that part alone."""
    target = bound.target
    if isinstance(target, Tensor):
        return _flat(target.mean(), values)
    total = torch.zeros(())
    for name, part in target.items():
        own = {id(p) for p in getattr(model, name).parameters()}
        mine = torch.cat([v.new_full((v.numel(),), float(id(v) in own)) for v in values])
        total = total + _flat(part.mean(), values).mul(mine.to(_wide(mine)))
    return total


def _flat(value: Tensor, values: list[nn.Parameter]) -> Tensor:
    found = torch.autograd.grad(value, values, retain_graph=True, allow_unused=True)
    parts = [torch.zeros_like(v) if g is None else g for g, v in zip(found, values, strict=True)]
    flat = torch.cat([part.detach().flatten() for part in parts])
    return flat.to(_wide(flat))


def _wide(value: Tensor) -> torch.dtype:
    return torch.float32 if value.device.type == "mps" else torch.float64

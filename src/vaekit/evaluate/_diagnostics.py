"""Signs that a training goes wrong: dead units, a scale far off, a noisy gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from vaekit._torchutil import Moments, evaluating, rng, wide
from vaekit.distributions import Gaussian, Laplace
from vaekit.errors import VaekitError, at_least
from vaekit.evaluate._checks import Numbers
from vaekit.evaluate._metrics import Column, Record, Rows, Study, Subject
from vaekit.models import Model, Trace
from vaekit.nn import is_activation
from vaekit.objectives import Bound, Objective, Parts, by_part, drawing, players
from vaekit.registry import register

STILL = 1e-6  # a unit whose output moves by no more than this is dead


class DeadUnits:
    """A context that measures the share of hidden units whose activation never changes.

    While it is open, it watches passes of `model`, up to `rows` rows of each activation; positions
    count as rows. It is meant for eval mode.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
        >>> with torch.no_grad(), DeadUnits(net) as dead:
        ...     _ = net[0].bias.copy_(torch.tensor([99.0, 99.0, 99.0, -99.0]))
        ...     _ = net(torch.rand(10, 2))
        >>> dead.fraction()
        0.25
    """

    def __init__(self, model: nn.Module, rows: int = 1000) -> None:
        self._modules = [part for part in model.modules() if is_activation(part)]
        self._rows = rows
        self._handles: list[Any] = []
        self._seen: dict[nn.Module, int] = {}
        self._ranges: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> Self:
        self._handles = [part.register_forward_hook(self._watch) for part in self._modules]
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _watch(self, module: nn.Module, context: tuple[Any, ...], out: Tensor) -> None:
        seen = self._seen.get(module, 0)
        if seen >= self._rows or out.dim() < 2 or not len(out):
            return
        out = out.detach()[: self._rows - seen]
        self._seen[module] = seen + len(out)
        # Features are dim 1 of an image's planes, and the last dim of all else.
        features = 1 if out.dim() > 3 else out.dim() - 1
        dims = [dim for dim in range(out.dim()) if dim != features]
        low, high = out.amin(dims), out.amax(dims)
        before = self._ranges.get(module, (low, high))
        if before[0].shape != low.shape:  # its last dim is no features
            del self._ranges[module]
            self._seen[module] = self._rows
            return
        self._ranges[module] = torch.minimum(low, before[0]), torch.maximum(high, before[1])

    def fraction(self) -> float | None:
        """Return the share of units that moved by at most 1e-6; None without any activation."""
        if not self._ranges:
            return None
        still = torch.cat([high - low for low, high in self._ranges.values()]) <= STILL
        return int(still.sum()) / still.numel()


class ScaleMeter:
    """A meter of the scale that a likelihood claims and of that of its errors, over a data set.

    For a Gaussian, the root mean square of sigma and of x - E[x|z]; for a Laplace distribution,
    the mean of b and of |x - loc|. Other likelihoods have no scale.

    Attributes:
        fitted: whether the scale is fitted to the training rows in closed form.
        power: 2 for squares, 1 for absolute values.
        size: how many elements a row has.

    Example:
        >>> from vaekit.distributions import Gaussian
        >>> px = Gaussian(torch.zeros(1, 2, 3), torch.zeros(()))
        >>> meter = ScaleMeter()
        >>> meter.add(Trace(torch.full((2, 3), 0.5), (), px, None))
        >>> meter.means()
        (1.0, 0.5)
    """

    def __init__(self) -> None:
        self.fitted, self.power, self.size = False, 2, 1
        self._sums = torch.zeros(())

    def add(self, trace: Trace) -> None:
        """Add a batch; nothing is read from the device."""
        px = trace.px
        if not isinstance(px, Gaussian | Laplace):
            return
        self.power = 1 if isinstance(px, Laplace) else 2
        self.fitted, self.size = px.store is not None, math.prod(px.event_shape)
        error, scale = trace.x - px.loc.detach(), px.scale.detach()
        count = torch.tensor(float(error.numel()), device=error.device)
        if trace.mask is not None:
            seen = (trace.mask != 0).expand_as(error)
            error, scale = torch.where(seen, error, 0.0), torch.where(seen, scale, 0.0)
            count = seen.sum()
        power = torch.abs if self.power == 1 else torch.square
        repeats = error.numel() / max(1, scale.numel())  # a shared scale is not expanded
        sums = [wide(power(scale).sum()) * repeats, wide(power(error).sum()), wide(count)]
        self._sums = self._sums + torch.stack(sums)

    def means(self) -> tuple[float, float] | None:
        """Return the scale claimed and that of the errors; None where the likelihood has none."""
        if not self._sums.any():
            return None
        claimed, seen, count = self._sums.tolist()
        root = 1 / self.power
        return (claimed / count) ** root, (seen / count) ** root

    def gain(self) -> float:
        """Return how many nats per row the scale of the errors would add to log p(x|z).

        D (log(claimed / seen) + ((seen / claimed)^p - 1) / p), which is the difference of two
        Gaussians, or Laplace distributions, at their errors' mean power.
        """
        if (found := self.means()) is None or not all(found):
            return 0.0
        apart = math.log(found[1]) - math.log(found[0])
        most = min(self.power * apart, 700.0)  # beyond which an exponential overflows
        return self.size * (math.expm1(most) / self.power - apart)


def gradient_noise(
    model: Model,
    objective: Objective,
    x: Tensor,
    context: Tensor | None = None,
    *,
    repeats: int = 32,
    seed: int = 0,
) -> Numbers:
    """Measure the noise that the draws of the latent put on the gradient of one batch.

    The gradient of the batch's mean objective, over all parameters of model and objective that
    are trained, is taken `repeats` times with fresh draws; in eval mode, so that dropout and batch
    norm add nothing. The variance is the trace of the unbiased covariance; the squared norm is
    |mean|^2 - variance / repeats. No `.grad` is touched.

    Args:
        model: what is differentiated.
        objective: what is maximized.
        x: the batch `(B, *X)`, canonical.
        context: `(B, ...)`, what the model is conditioned on.
        repeats: how many gradients, 2 at least.
        seed: of the draws; torch's own stay as they were.

    Returns:
        `variance`, the sum over all parameters of Var[g], unbiased: the trace of its covariance;
        `squared_norm`, |E[g]|^2, unbiased, so it may be below 0 where the noise is large; `ratio`,
        the former over the latter, inf where that is not positive; `parameters`, how many numbers
        g has; `repeats`, how many gradients were taken.

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
        >>> result = gradient_noise(model, vk.ELBO(), torch.rand(8, 5), repeats=4)
        >>> result.repeats, result.variance > 0
        (4, True)
    """
    at_least("repeats", repeats, 2)
    values = [p for p in players(model, objective)[0] if p.requires_grad]
    if not values:
        raise VaekitError("the model has no parameter that is trained: it has no gradient.")
    noise = Moments()
    drawn = drawing(objective, model)
    with rng(seed, x.device), evaluating(model, objective, gradients=True), drawn:
        for _ in range(repeats):
            bound = objective(model(x, context, samples=objective.samples))
            noise.add(_gradient(bound, values, partial(by_part, model, objective))[None])
    if not bool(torch.isfinite(noise.mean).all()):
        raise VaekitError("the gradient is not finite: the model's weights are not, or too large.")
    variance = noise.squares.sum().item() / (repeats - 1)
    squared = noise.mean.square().sum().item() - variance / repeats
    return Numbers(
        variance=variance,
        squared_norm=squared,
        ratio=variance / squared if squared > 0 else math.inf,
        parameters=noise.mean.numel(),
        repeats=repeats,
    )


def _gradient(
    bound: Bound, values: list[nn.Parameter], parts: Callable[[tuple[str, ...]], Parts]
) -> Tensor:
    """Return that of the mean target, `(P,)`; a target by part moves that part alone."""
    target = bound.target
    if isinstance(target, Tensor):
        return _flat(target.mean(), values)
    total = torch.zeros(())
    for name, part in parts(tuple(target)):
        inside = {id(p) for p in part}
        mask = torch.cat([v.new_full((v.numel(),), float(id(v) in inside)) for v in values])
        total = total + _flat(target[name].mean(), values).mul(wide(mask))
    return total


def _flat(value: Tensor, values: list[nn.Parameter]) -> Tensor:
    """Return the gradient by all values side by side."""
    gradients = torch.autograd.grad(
        value, values, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return wide(torch.cat([gradient.detach().flatten() for gradient in gradients]))


@register("metric", "gradient-noise")
class Noise(Study):
    """The noise that the draws of the latent put on the gradient of one batch of training rows.

    Args:
        rows: of the batch.
        repeats: gradients that are taken.
    """

    places = frozenset({"compare"})
    columns = (Column("ratio", "gradient noise", decimals=4, group="Size and training"),)

    def __init__(self, *, rows: int = 128, repeats: int = 32) -> None:
        super().__init__()
        self.count, self.repeats = at_least("rows", rows, 1), at_least("repeats", repeats, 2)

    def suits(self, subject: Subject) -> str | None:
        """Refuse a subject without training rows, or the objective that the model had."""
        missing = subject.train is None or subject.objective is None
        return "there are no training rows, or no objective" if missing else None

    def study(self, subject: Subject) -> Record:
        """Return the numbers of `gradient_noise`."""
        assert subject.train is not None
        rows = Rows(subject.train, subject.rows.device, self.count)
        ((x, context),) = rows.batches("gradient", self.count)
        return gradient_noise(
            subject.model, subject.objective, x, context, repeats=self.repeats, seed=subject.seed
        )

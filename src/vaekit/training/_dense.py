"""Steps of dense VAEs without autograd: forward and backward in buffers, gradients into `.grad`.

A small step is three quarters matrix products. Half of the rest is what autograd takes for its
graph and for memory that is new in every step; here each step writes where the last one did.

Shapes: `S` Monte-Carlo dims, `B` batch, `N` rows of a network: `S * B` of the decoder's.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vaekit.distributions import bernoulli_sum
from vaekit.models import VAE, Site, Trace
from vaekit.nn import MLP, Network, lowered
from vaekit.objectives import ELBO, Bound, Objective, over_samples
from vaekit.parts import Bernoulli, Conditional, FreeScale, Gaussian, StandardNormal

aten = torch.ops.aten
Value = Callable[[Any, Tensor, Tensor], object]
Slope = Callable[[Any, Tensor, Tensor, Tensor], object]

# What writes f(x) into y, and what turns the gradient g of y into that of x, in place.
ACTIVATIONS: dict[type, tuple[Value, Slope]] = {
    nn.ReLU: (
        lambda f, x, y: aten.relu.out(x, out=y),
        lambda f, x, y, g: aten.threshold_backward.grad_input(g, x, 0, grad_input=g),
    ),
    nn.LeakyReLU: (
        lambda f, x, y: aten.leaky_relu.out(x, f.negative_slope, out=y),
        lambda f, x, y, g: aten.leaky_relu_backward.grad_input(
            g, x, f.negative_slope, False, grad_input=g
        ),
    ),
    nn.GELU: (
        lambda f, x, y: aten.gelu.out(x, approximate=f.approximate, out=y),
        lambda f, x, y, g: aten.gelu_backward.grad_input(
            g, x, approximate=f.approximate, grad_input=g
        ),
    ),
    nn.SiLU: (
        lambda f, x, y: aten.silu.out(x, out=y),
        lambda f, x, y, g: aten.silu_backward.grad_input(g, x, grad_input=g),
    ),
    nn.Tanh: (
        lambda f, x, y: aten.tanh.out(x, out=y),
        lambda f, x, y, g: aten.tanh_backward.grad_input(g, y, grad_input=g),
    ),
}


class _Layer(NamedTuple):
    """An affine map, the activation after it, and where its gradient is written."""

    affine: nn.Linear
    activation: nn.Module | None
    weight: Tensor
    bias: Tensor


class _Memory(NamedTuple):
    """What one layer has for each row: affine value, output, and the gradient of either."""

    affine: Tensor
    output: Tensor
    gradient: Tensor


def _layers(net: nn.Module) -> list[_Layer]:
    """Return the layers of a dense network; none where it is of another kind."""
    if type(net) not in (MLP, Network):
        return []
    body: list[Any] = [*net.body, net.output, None]  # type: ignore[misc]
    if len(net.in_shape) > 1 and repr(body.pop(0)) != repr(nn.Flatten()):  # type: ignore[arg-type]
        return []
    pairs = list(zip(body[::2], body[1::2], strict=False))
    if len(body) % 2 or any(type(a) is not nn.Linear or a.bias is None for a, _ in pairs):
        return []
    if any(type(f) not in ACTIVATIONS for _, f in pairs[:-1]):
        return []
    return [_Layer(a, f, torch.empty_like(a.weight), torch.empty_like(a.bias)) for a, f in pairs]


class _Stack:
    """A dense network: its gradient reads what the last pass left in memory.

    Args:
        layers: of the network, from the input on; the last one has no activation.
    """

    def __init__(self, layers: list[_Layer]) -> None:
        self.layers = layers
        self.inputs: list[Tensor] = []
        self._rows = 0
        self._memory: dict[int, list[_Memory]] = {}

    def memory(self, rows: int) -> list[_Memory]:
        """Return where so many rows leave values: in the first rows of the largest batch's."""
        if rows > self._rows:
            self._rows, self._memory = rows, {}
            like = self.layers[0].weight
            widths = [layer.affine.out_features for layer in self.layers]
            self._memory[rows] = [
                _Memory(*(like.new_empty(rows, width) for _ in _Memory._fields)) for width in widths
            ]
        if rows not in self._memory:
            whole = self._memory[self._rows]
            self._memory[rows] = [_Memory(*(each[:rows] for each in layer)) for layer in whole]
        return self._memory[rows]

    def __call__(self, x: Tensor) -> Tensor:
        """Return the output for rows `(N, in)`."""
        self.inputs = [x]
        for layer, room in zip(self.layers, self.memory(len(x)), strict=True):
            affine, f = layer.affine, layer.activation
            torch.addmm(affine.bias, self.inputs[-1], affine.weight.t(), out=room.affine)
            if f is not None:
                ACTIVATIONS[type(f)][0](f, room.affine, room.output)
                self.inputs.append(room.output)
        return room.affine

    def differentiate(self, gradient: Tensor, through: bool = False) -> Tensor | None:
        """Set `.grad` of all weights, for this gradient of the output.

        Args:
            gradient: `(N, out)`.
            through: whether to return the gradient of the input.
        """
        memory = self.memory(len(gradient))
        for number, layer in reversed(list(enumerate(self.layers))):
            affine = layer.affine
            affine.weight.grad = torch.mm(gradient.t(), self.inputs[number], out=layer.weight)
            affine.bias.grad = torch.sum(gradient, 0, out=layer.bias)
            if number:
                f, room = self.layers[number - 1].activation, memory[number - 1]
                gradient = torch.mm(gradient, affine.weight, out=room.gradient)
                ACTIVATIONS[type(f)][1](f, room.affine, room.output, gradient)
            elif through:
                return gradient @ affine.weight
        return None


class DensePass:
    """A pass of a dense VAE with a Gaussian posterior under the ELBO, and its gradient.

    Args:
        model: what `of` lets through.
        objective: the same.
    """

    def __init__(self, model: VAE, objective: ELBO) -> None:
        self.model, self.objective = model, objective
        self.encoder = _Stack(_layers(model.posterior.net))
        self.decoder = _Stack(_layers(model.likelihood.net))
        self.weights = list(model.parameters())
        self.hooks = _hooks(model, objective)
        px: Any = model.likelihood.family  # Gaussians at the output, of a scale without a gradient
        self.centered = type(px) is Gaussian and px.mean == "identity" and px.copies == 1
        self.centered = self.centered and not list(px.parameters())

    @classmethod
    def of(cls, model: nn.Module, objective: Objective) -> DensePass | None:
        """Return the pass by hand of a model under an objective; None where autograd must do it.

        It takes a `VAE` of two MLPs without norm and dropout, with a free Gaussian posterior, the
        prior N(0, I) and any likelihood, under an `ELBO` with the closed KL, on the CPU, all of it
        trained.

        Example:
            >>> import vaekit as vk
            >>> def model(**options):
            ...     encoder, decoder = vk.MLP(9, 4), vk.MLP(2, 9, **options)
            ...     q = vk.Conditional(encoder, vk.Gaussian(2))
            ...     px = vk.Conditional(decoder, vk.Bernoulli(9))
            ...     return vk.VAE(vk.StandardNormal(2), q, px)
            >>> [DensePass.of(model(norm=norm), vk.ELBO()) is None for norm in ("none", "batch")]
            [False, True]
        """
        if type(model) is not VAE or type(objective) is not ELBO:
            return None
        q, px = model.posterior, model.likelihood
        if not (type(q) is type(px) is Conditional and type(model.prior) is StandardNormal):
            return None
        if (
            model.gaps
            or objective.kl != "closed"
            or not _plain(q.family)
            or any(_hooks(model, objective))
            or any(map(_watched, model.parameters()))
        ):
            return None
        stacks = _layers(q.net), _layers(px.net)
        if not all(stacks):
            return None
        mine = [p for layer in chain(*stacks) for p in layer.affine.parameters()]
        mine += px.family.parameters()
        known = [*model.parameters(), *objective.parameters()]  # each of them once
        first = known[0]
        alike = {(p.dtype, p.device.type, p.requires_grad) for p in known} == {
            (first.dtype, "cpu", True)
        }
        return cls(model, objective) if alike and len(mine) == len(known) else None

    def fits(self, x: Tensor, context: Tensor | None) -> bool:
        """Return whether the pass of this batch is what autograd's would be."""
        first = self.weights[0]
        return (
            context is None
            and (x.dtype, x.device) == (first.dtype, first.device)
            and x.shape[1:] == self.model.posterior.in_shape
            and all(p.requires_grad and not _watched(p) for p in self.weights)
            and not any(self.hooks)
            and not lowered()
        )

    @torch.no_grad()
    def __call__(self, x: Tensor, nominal: int) -> tuple[Trace, Bound, Tensor]:
        """Return trace, bound and loss of a batch, and set `.grad` of all weights.

        Args:
            x: the rows, `(B, *X)`.
            nominal: how many rows a whole batch has.
        """
        q: Any = self.model.posterior.family(self.encoder(x.flatten(1)))
        noise = torch.randn((*self.objective.samples, *q.loc.shape), dtype=q.loc.dtype)
        site = Site("z", torch.addcmul(q.loc, q.scale, noise), q, self.model.prior())
        trace, gradient = self._decode(x, site, 1 / (len(noise) * nominal))
        beta = self.objective.beta.item()
        parts = {"log_likelihood": over_samples(trace.log_likelihood), "kl": site.kl[0]}
        value = torch.sub(parts["log_likelihood"], parts["kl"], alpha=beta)
        dz = self.decoder.differentiate(gradient, through=True)
        assert dz is not None
        slope = self._of_posterior(q, noise, dz.view_as(noise), beta / nominal)
        self.encoder.differentiate(slope)
        return trace, Bound(value, None, parts), -value.sum() / nominal

    def _decode(self, x: Tensor, site: Site, share: float) -> tuple[Trace, Tensor]:
        """Return the trace at a draw, and the loss's gradient at the decoder's output `(N, out)`.

        It is (mean - x) / variance for a Gaussian whose scale has no gradient, and sigmoid(logits)
        - x for Bernoulli variables; for other likelihoods autograd finds it.
        """
        family = self.model.likelihood.family
        output = self.decoder(site.z.flatten(0, 1))
        params = output.view(*site.z.shape[:2], *family.param_shape)
        if type(family) is not Bernoulli and not self.centered:
            return self._decode_others(x, site, params, share)
        trace = Trace(x, (site,), family(params), self.model)
        params, x = params.flatten(2), x.flatten(1)
        gradient = self.decoder.memory(len(output))[-1].gradient.view_as(params)
        if type(family) is Bernoulli:
            sigmoid = torch.sigmoid(params, out=gradient)
            trace.__dict__["log_likelihood"] = bernoulli_sum(params, x, sigmoid)
            gradient.sub_(x).mul_(share)
        else:
            scored: Any = trace.scored
            torch.sub(params, x, out=gradient).mul_(share / scored.scale.square())
        return trace, gradient.flatten(0, 1)

    def _decode_others(
        self, x: Tensor, site: Site, params: Tensor, share: float
    ) -> tuple[Trace, Tensor]:
        leaf = params.detach().requires_grad_()
        with torch.enable_grad():
            trace = Trace(x, (site,), self.model.likelihood.family(leaf), self.model)
            (trace.log_likelihood.sum() * -share).backward()
        trace.__dict__["log_likelihood"] = trace.log_likelihood.detach()
        assert leaf.grad is not None
        return trace, leaf.grad.flatten(2).flatten(0, 1)

    def _of_posterior(self, q: Any, noise: Tensor, dz: Tensor, weight: float) -> Tensor:
        """Return the gradient at the encoder's output, of draws loc + scale noise and of the KL.

        Args:
            q: the posterior.
            noise: of the draws, `(S, B, Z)`.
            dz: the gradient at the draws.
            weight: what a nat of a row's KL adds to the loss.
        """
        gradient = self.encoder.memory(noise.shape[1])[-1].gradient
        loc, log_variance = gradient.chunk(2, 1)
        torch.add(_total(dz), q.loc, alpha=weight, out=loc)
        spread = _total(dz.mul_(noise)).add_(q.scale, alpha=weight).mul_(q.scale).sub_(weight)
        aten.hardtanh_backward.grad_input(  # 0 where the log-scale is clamped
            spread.div_(2), q.log_scale, *FreeScale.bounds, grad_input=log_variance
        )
        return gradient


def _total(draws: Tensor) -> Tensor:
    """Return the sum over the draws `(S, B, Z)`; of one draw a view."""
    return draws[0] if len(draws) == 1 else draws.sum(0)


def _plain(family: nn.Module) -> bool:
    """Return whether a posterior's family takes locations and log-variances as they are."""
    if type(family) is not Gaussian or family.mean != "identity" or len(family.event_shape) != 1:
        return False
    scale = family.scale
    return type(scale) is FreeScale and scale.floor is None and not scale.softplus


def _hooks(*parts: nn.Module) -> list[dict[int, Any]]:
    """Return where all modules have their hooks: those that are registered later are there too."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    modules = [module for part in parts for module in part.modules()]
    return [getattr(module, name) for module in modules for name in names]


def _watched(weight: Tensor) -> bool:
    """Return whether a hook waits for the gradient of a parameter."""
    return bool(weight._backward_hooks or weight._post_accumulate_grad_hooks)

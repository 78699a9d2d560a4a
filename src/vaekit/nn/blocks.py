"""Activations by name, the hidden block of every network, and how a network starts.

A block is an affine map, [norm], activation, [dropout]; or the last two the other way around."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import prod, sqrt
from typing import TypeVar

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError, choose, same_shape
from vaekit.registry import register

_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "glu": partial(nn.GLU, 1),
}


def activation(spec: str) -> Callable[[], nn.Module]:
    """Return the constructor of an activation: a new module at every call.

    Args:
        spec: "relu", "leaky_relu" (slope 0.01), "leaky_relu:0.2" (slope 0.2), "gelu", "silu",
            "tanh", or "glu", which gates one half of dim 1 by the other: a * sigmoid(b).

    Raises:
        VaekitError: if the name is unknown, or what follows the colon is no slope.

    Example:
        >>> make = activation("leaky_relu:0.2")
        >>> make()
        LeakyReLU(negative_slope=0.2)
    """
    name, colon, slope = spec.replace("-", "_", 1).partition(":")
    make = choose("activation", name, _ACTIVATIONS)
    if not colon:
        return make
    if name != "leaky_relu":
        raise VaekitError(f"activation '{name}' takes no number; got '{spec}', write '{name}'.")
    try:
        number = float(slope)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise VaekitError(
            f"activation '{spec}' needs a number after the colon, as in 'leaky_relu:0.2'."
        )
    return partial(nn.LeakyReLU, number)


def is_activation(module: nn.Module) -> bool:
    """Return whether `module` is one of the activations that `activation` makes.

    Example:
        >>> is_activation(nn.Tanh()), is_activation(nn.Linear(2, 2))
        (True, False)
    """
    return type(module) in (*_ACTIVATIONS.values(), nn.GLU)


_NORMS: Mapping[str, Mapping[type[nn.Module], Callable[[int], nn.Module]]] = {
    "none": {},
    "batch": {
        nn.Linear: nn.BatchNorm1d,
        nn.Conv2d: nn.BatchNorm2d,
        nn.ConvTranspose2d: nn.BatchNorm2d,
    },
}


@dataclass(frozen=True)
class Block:
    """How a network's hidden blocks are made: norm before the activation, dropout after it.

    Under a norm the affine map has no bias: the norm subtracts the mean, and adds its own. Dropout
    before the activation is the same for ReLU and its leaky kind: f(d h) = d f(h) where d >= 0.

    Args:
        activation: a name that `vaekit.nn.activation` knows.
        norm: "none" or "batch".
        dropout: the share of activations dropped while training, in [0, 1).
        dropout_first: whether it stands before the activation.
        norm_bias: whether the affine map has its bias under a norm too.

    Raises:
        VaekitError: if a name is unknown or `dropout` is outside [0, 1).

    Example:
        >>> layers = Block("tanh", norm="batch", dropout=0.1).dense((3, 8))
        >>> [type(layer).__name__ for layer in layers]
        ['Linear', 'BatchNorm1d', 'Tanh', 'Dropout']
    """

    activation: str = "gelu"
    norm: str = "none"
    dropout: float = 0.0
    dropout_first: bool = False
    norm_bias: bool = False

    def __post_init__(self) -> None:
        activation(self.activation)
        choose("norm", self.norm, _NORMS)
        _check_share("dropout", self.dropout)

    @property
    def bias(self) -> bool:
        """Return whether the affine map of a block has a bias."""
        return self.norm == "none" or self.norm_bias

    def after(self, affine: nn.Module, width: int) -> list[nn.Module]:
        """Return the block that begins with `affine`, whose output has this width."""
        if self.activation == "glu" and not isinstance(affine, nn.Linear):
            raise VaekitError("activation glu halves a width: it is of dense nets alone.")
        make_norm = _NORMS[self.norm].get(type(affine))
        return [affine, *([make_norm(width)] if make_norm else []), *self.bend()]

    def bend(self) -> list[nn.Module]:
        """Return what comes after the affine map and its norm: activation and dropout."""
        bent: list[nn.Module] = [activation(self.activation)()]
        bent += [nn.Dropout(self.dropout)] if self.dropout else []
        return bent[::-1] if self.dropout_first else bent

    def dense(self, widths: Sequence[int], end: str = "block") -> list[nn.Module]:
        """Return dense blocks `widths[0] -> widths[1] -> ...`, none for a single width.

        With the end "affine" the last one is the map alone: no norm, no activation.
        """
        bare = choose("end", end, {"block": False, "affine": True})
        layers: list[nn.Module] = []
        gates = 2 if self.activation == "glu" else 1
        for at, (before, width) in enumerate(pairwise(widths), 2):
            if bare and at == len(widths):
                return [*layers, nn.Linear(before, width)]
            made = gates * width
            layers += self.after(nn.Linear(before, made, bias=self.bias), made)
        return layers


@register("module", "latent-dropout")
class LatentDropout(nn.Module):
    """Dropout of z in front of a decoder, and not of the labels that are joined to it.

    While training, each of the first `latent` elements of an input is 0 with probability `share`,
    and z / (1 - share) otherwise; in eval mode nothing changes.

    Args:
        latent: how many elements z has.
        share: the share that is dropped, in [0, 1).

    Raises:
        VaekitError: if `share` is outside [0, 1).

    References:
        Srivastava et al. 2014, Dropout.

    Example:
        >>> drop = LatentDropout(2, 0.5)
        >>> set(drop(torch.ones(100, 2)).flatten().tolist()) == {0.0, 2.0}
        True
        >>> drop(torch.ones(100, 3))[:, 2].unique()  # a label's
        tensor([1.])
    """

    def __init__(self, latent: int, share: float) -> None:
        super().__init__()
        _check_share("latent_dropout", share)
        self.latent = latent
        self.drop = nn.Dropout(share)

    def forward(self, code: Tensor) -> Tensor:
        """Return the code with elements dropped.

        Args:
            code: `(N, latent)`, or wider where labels are joined.
        """
        z = self.drop(code[:, : self.latent])
        return torch.cat([z, code[:, self.latent :]], 1)

    def extra_repr(self) -> str:
        """Return the size, for `print`."""
        return f"latent={self.latent}"


@register("module", "scaled")
class Scaled(nn.Module):
    """The inputs times a number.

    Example:
        >>> Scaled(0.5)(torch.ones(2))
        tensor([0.5000, 0.5000])
    """

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        """Return x times the number."""
        return x * self.by

    def extra_repr(self) -> str:
        """Return the number, for `print`."""
        return f"{self.by:g}"


def _check_share(what: str, share: float) -> None:
    if not 0 <= share < 1:
        raise VaekitError(f"{what} is {share}; it takes a share in [0, 1), 0 for none.")


M = TypeVar("M", bound=nn.Module)

Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d | Transposed
Affine = nn.Linear | Conv


def initialize(module: M, how: str) -> M:
    """Draw the weights of all dense, convolution and transposed convolution layers anew, in place.

    - "torch": everything stays as it is.
    - "glorot": uniform, Var(w) = 2 / (fan_in + fan_out).
    - "he": normal, Var(w) = 2 / fan_in, which preserves the variance through ReLU layers.
    - "orthogonal": the weight as a matrix `(size of its first dim, the rest)` has orthonormal rows,
      or columns where there are fewer of them.

    Except under "torch", biases become 0. Norms are left alone. Fans are the usual ones, with one
    exception: under "he" the fan_in of a transposed convolution is what one of its outputs sums on
    average, in_channels * kernel^2 / stride^2, and not what torch takes, out_channels * kernel^2.

    Args:
        module: the network, changed in place.
        how: "torch", "glorot", "he" or "orthogonal".

    Returns:
        The same module.

    Raises:
        VaekitError: if `how` is unknown.

    References:
        Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward networks.
        He et al. 2015, Delving deep into rectifiers.
        Saxe et al. 2014, Exact solutions to the nonlinear dynamics of learning.

    Example:
        >>> net = initialize(nn.Linear(200, 100), "he")
        >>> bool((net.weight.std() - 0.1).abs() < 0.005), bool(net.bias.any())
        (True, False)
    """
    draw = choose("initialization", how, _DRAWS)
    if draw is None:
        return module
    for layer in module.modules():
        if isinstance(layer, Affine):
            draw(layer)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            if level := getattr(layer, "level", None):  # of a sub-pixel convolution
                level()
    return module


_DRAWS: Mapping[str, Callable[[Affine], Tensor] | None] = {
    "torch": None,
    "glorot": lambda layer: nn.init.xavier_uniform_(layer.weight),
    "he": lambda layer: nn.init.normal_(layer.weight, std=sqrt(2 / _fan_in(layer))),
    "orthogonal": lambda layer: nn.init.orthogonal_(layer.weight),
}


def _fan_in(layer: Affine) -> float:
    if isinstance(layer, Transposed):
        reach = prod(layer.kernel_size) / prod(layer.stride)
        return layer.in_channels // layer.groups * reach
    return layer.weight[0].numel()


@torch.no_grad()
def start_at(net: M, value: Tensor) -> M:
    """Set the last bias so that the output is `value` plus what the last weights add to it.

    A dense output has one bias per element, as a sub-pixel one may; a convolution has one per
    channel, which becomes the mean of `value` over its plane. Call it after `initialize`, which
    sets the biases to 0.

    Args:
        net: a network with `out_shape` and a last affine map `output` that has a bias; changed in
            place.
        value: `out_shape`, finite.

    Returns:
        The same network.

    Raises:
        VaekitError: if the net has no such output, or `value` has another shape or is not finite.

    Example:
        >>> from vaekit.nn import MLP
        >>> net = start_at(MLP(4, (2, 2)), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> net.output.bias.tolist()
        [1.0, 2.0, 3.0, 4.0]
    """
    output = getattr(net, "output", None)
    bias, shape = getattr(output, "bias", None), getattr(net, "out_shape", None)
    if not isinstance(output, Affine) or bias is None or shape is None:
        raise VaekitError(
            "start_at needs a network with `out_shape` and an affine `output` that has a bias; "
            f"{type(net).__name__} lacks them."
        )
    same_shape("value", value.shape, shape)
    if not value.isfinite().all():
        raise VaekitError("start_at takes finite values; clamp means before taking logs or logits.")
    if bias.shape == value.shape:
        bias.copy_(value)
        return net
    planes = isinstance(output, Conv) and value.dim() > 1
    start = value.flatten(1).mean(1) if planes else value.flatten()
    if start.shape != bias.shape:
        raise VaekitError(f"out_shape {tuple(shape)} does not fit the {len(bias)} output biases.")
    bias.copy_(start)
    return net

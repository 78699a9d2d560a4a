"""How a network starts: the spread of its weights, and the value its output is centred on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod, sqrt
from typing import TypeVar

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError, choose

M = TypeVar("M", bound=nn.Module)

Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d | Transposed
Affine = nn.Linear | Conv


def initialise(module: M, how: str) -> M:
    """Draws the weights of all dense, convolution and transposed convolution layers anew, in place.

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
        >>> net = initialise(nn.Linear(200, 100), "he")
        >>> bool((net.weight.std() - 0.1).abs() < 0.005), bool(net.bias.any())
        (True, False)
    """
    draw = choose("initialisation", how, _DRAWS)
    if draw is None:
        return module
    for layer in module.modules():
        if isinstance(layer, Affine):
            draw(layer)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def _glorot(layer: Affine) -> None:
    nn.init.xavier_uniform_(layer.weight)


def _he(layer: Affine) -> None:
    nn.init.normal_(layer.weight, std=sqrt(2 / _fan_in(layer)))


def _orthogonal(layer: Affine) -> None:
    nn.init.orthogonal_(layer.weight)


_DRAWS: Mapping[str, Callable[[Affine], None] | None] = {
    "torch": None,
    "glorot": _glorot,
    "he": _he,
    "orthogonal": _orthogonal,
}


def _fan_in(layer: Affine) -> float:
    if isinstance(layer, Transposed):
        reach = prod(layer.kernel_size) / prod(layer.stride)
        return layer.in_channels // layer.groups * reach
    return layer.weight[0].numel()


@torch.no_grad()
def start_at(net: M, value: Tensor) -> M:
    """Sets the last bias so that the output is `value` plus what the last weights add to it.

    A dense output has one bias per element; a convolution has one per channel, which becomes the
    mean of `value` over its plane. Call it after `initialise`, which sets the biases to 0.

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
    if tuple(value.shape) != tuple(shape):
        raise VaekitError(
            f"start_at takes a value of the network's out_shape {tuple(shape)}; "
            f"got {tuple(value.shape)}."
        )
    if not value.isfinite().all():
        raise VaekitError("start_at takes finite values; clamp means before taking logs or logits.")
    planes = isinstance(output, Conv) and value.dim() > 1
    start = value.flatten(1).mean(1) if planes else value.flatten()
    if start.shape != bias.shape:
        raise VaekitError(f"out_shape {tuple(shape)} does not fit the {len(bias)} output biases.")
    bias.copy_(start)
    return net

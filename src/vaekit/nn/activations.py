"""Activations by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from vaekit.errors import VaekitError, choose

__all__ = ["activation", "is_activation"]

_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def activation(spec: str) -> Callable[[], nn.Module]:
    """The constructor of an activation: a new module at every call.

    Args:
        spec: "relu", "leaky_relu" (slope 0.01), "leaky_relu:0.2" (slope 0.2), "gelu", "silu"
            or "tanh".

    Raises:
        VaekitError: if the name is unknown, or what follows the colon is no slope.

    Example:
        >>> make = activation("leaky_relu:0.2")
        >>> make()
        LeakyReLU(negative_slope=0.2)
    """
    name, colon, slope = spec.partition(":")
    make = choose("activation", name, _ACTIVATIONS)
    if not colon:
        return make
    if name != "leaky_relu":
        raise VaekitError(f"activation '{name}' takes no number; got '{spec}', write '{name}'.")
    return partial(nn.LeakyReLU, _slope(spec, slope))


def is_activation(module: nn.Module) -> bool:
    """Whether `module` is one of the activations that `activation` makes.

    Example:
        >>> is_activation(nn.Tanh()), is_activation(nn.Linear(2, 2))
        (True, False)
    """
    return type(module) in _ACTIVATIONS.values()


def _slope(spec: str, text: str) -> float:
    try:
        slope = float(text)
    except ValueError:
        slope = math.nan
    if not math.isfinite(slope):
        raise VaekitError(
            f"activation '{spec}' needs a number after the colon, as in 'leaky_relu:0.2'."
        )
    return slope

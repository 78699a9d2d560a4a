"""Activations by name, and the hidden block of every network.

A block is an affine map, [norm], activation, [dropout]."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError, choose

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
    name, colon, slope = spec.replace("-", "_", 1).partition(":")
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

    Under a norm the affine map has no bias: the norm subtracts the mean, and adds its own.

    Args:
        activation: a name that `vaekit.nn.activation` knows.
        norm: "none" or "batch".
        dropout: the share of activations dropped while training, in [0, 1).

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

    def __post_init__(self) -> None:
        activation(self.activation)
        choose("norm", self.norm, _NORMS)
        _check_share("dropout", self.dropout)

    @property
    def bias(self) -> bool:
        """Whether the affine map of a block has a bias."""
        return self.norm == "none"

    def after(self, affine: nn.Module, width: int) -> list[nn.Module]:
        """The block that begins with `affine`, whose output has `width` features or channels."""
        make_norm = _NORMS[self.norm].get(type(affine))
        layers = [affine] if make_norm is None else [affine, make_norm(width)]
        layers.append(activation(self.activation)())
        return [*layers, nn.Dropout(self.dropout)] if self.dropout else layers

    def dense(self, widths: Sequence[int]) -> list[nn.Module]:
        """Dense blocks `widths[0] -> widths[1] -> ...`, none for a single width."""
        layers: list[nn.Module] = []
        for before, width in pairwise(widths):
            layers += self.after(nn.Linear(before, width, bias=self.bias), width)
        return layers


class LatentDropout(nn.Module):
    """Dropout of z in front of a decoder, and not of the labels that stand beside it.

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
        """The code with elements dropped.

        Args:
            code: `(N, latent)`, or wider where labels are joined.
        """
        z = self.drop(code[:, : self.latent])
        return torch.cat([z, code[:, self.latent :]], 1)

    def extra_repr(self) -> str:
        """The size, for `print`."""
        return f"latent={self.latent}"


def _check_share(what: str, share: float) -> None:
    if not 0 <= share < 1:
        raise VaekitError(f"{what} is {share}; it takes a share in [0, 1), 0 for none.")

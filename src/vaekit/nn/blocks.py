"""The hidden block of every network: an affine map, [norm], activation, [dropout]."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from vaekit.errors import VaekitError, choose
from vaekit.nn.activations import activation as find_activation

__all__ = ["Block"]

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
        find_activation(self.activation)
        choose("norm", self.norm, _NORMS)
        if not 0 <= self.dropout < 1:
            raise VaekitError(f"dropout is {self.dropout}; it takes a share in [0, 1), 0 for none.")

    @property
    def bias(self) -> bool:
        """Whether the affine map of a block has a bias."""
        return self.norm == "none"

    def after(self, affine: nn.Module, width: int) -> list[nn.Module]:
        """The block that begins with `affine`, whose output has `width` features or channels."""
        make_norm = _NORMS[self.norm].get(type(affine))
        layers = [affine] if make_norm is None else [affine, make_norm(width)]
        layers.append(find_activation(self.activation)())
        return [*layers, nn.Dropout(self.dropout)] if self.dropout else layers

    def dense(self, widths: Sequence[int]) -> list[nn.Module]:
        """Dense blocks `widths[0] -> widths[1] -> ...`, none for a single width."""
        layers: list[nn.Module] = []
        for before, width in pairwise(widths):
            layers += self.after(nn.Linear(before, width, bias=self.bias), width)
        return layers

"""The multilayer perceptron."""

from __future__ import annotations

from math import prod

from torch import nn

from vaekit.nn.blocks import Block
from vaekit.nn.network import Network, Sizes, flatten, sizes

__all__ = ["MLP"]


class MLP(Network):
    """Dense blocks, then an affine map: `(N, *in_shape) -> (N, *out_shape)`.

    Inputs and outputs of any shape are flattened and unflattened. `hidden=()` is an affine map.

    Args:
        in_shape: shape of one input, a size or a tuple.
        out_shape: shape of one result, a size or a tuple.
        hidden: the widths of the hidden layers.
        activation: a name that `vaekit.nn.activation` knows.
        norm: "none" or "batch" (before the activation).
        dropout: the share of hidden activations dropped while training, in [0, 1).

    Raises:
        VaekitError: if a size is below 1, a name is unknown or `dropout` is outside [0, 1).

    Example:
        >>> import torch
        >>> net = MLP((1, 28, 28), (2, 10), hidden=(256, 128), activation="gelu")
        >>> net(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 2, 10])
        >>> MLP(4, 3, hidden=()).output
        Linear(in_features=4, out_features=3, bias=True)
    """

    def __init__(
        self,
        in_shape: Sizes,
        out_shape: Sizes,
        hidden: Sizes = (512, 256),
        *,
        activation: str = "gelu",
        norm: str = "none",
        dropout: float = 0.0,
    ) -> None:
        source, target = sizes("in_shape", in_shape), sizes("out_shape", out_shape)
        widths = (prod(source), *sizes("hidden", hidden, least=0))
        body = flatten(source) + Block(activation, norm, dropout).dense(widths)
        super().__init__(source, target, body, nn.Linear(widths[-1], prod(target)))

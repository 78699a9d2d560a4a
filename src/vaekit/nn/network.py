"""The base of all networks, and the multilayer perceptron."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

from torch import Tensor, nn

from vaekit.errors import VaekitError
from vaekit.nn.blocks import Block
from vaekit.nn.numerics import at_precision, planes
from vaekit.registry import register

Sizes = int | Sequence[int]
Shape = tuple[int, ...]


@register("module", "network")
class Network(nn.Module):
    """A map `(N, *in_shape) -> (N, *out_shape)`: hidden layers, then one affine map.

    `forward(x) = output(body(x))`, unflattened to `out_shape` where `output` is dense and
    `out_shape` has several dimensions.

    Args:
        in_shape: shape of one input, without `N`.
        out_shape: shape of one result, without `N`.
        body: the hidden layers, in order; they take `(N, *in_shape)`.
        output: the last affine map, kept reachable so that its bias can be set.

    Example:
        >>> import torch
        >>> net = Network((4,), (2, 3), [nn.Linear(4, 5), nn.ReLU()], nn.Linear(5, 6))
        >>> net(torch.zeros(7, 4)).shape
        torch.Size([7, 2, 3])
    """

    def __init__(
        self, in_shape: Shape, out_shape: Shape, body: Iterable[nn.Module], output: nn.Module
    ) -> None:
        super().__init__()
        self.in_shape = in_shape
        self.out_shape = out_shape
        self.body = nn.Sequential(*body)
        self.output = output
        self._unflatten = isinstance(output, nn.Linear) and len(out_shape) > 1
        self._takes_planes = isinstance(next(iter(self.body), None), nn.Conv2d)
        self._gives_planes = isinstance(output, nn.ConvTranspose2d)

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output.

        Args:
            x: `(N, *in_shape)`.

        Raises:
            VaekitError: if `x` has another shape.
        """
        check_input(self, x)
        return at_precision(self._compute, x)

    def _compute(self, x: Tensor) -> Tensor:
        y: Tensor = self.output(self.body(planes(x) if self._takes_planes else x))
        if self._gives_planes:  # where densities meet x, both lie alike
            return y.contiguous()
        return y.unflatten(1, self.out_shape) if self._unflatten else y

    def extra_repr(self) -> str:
        """Return the shapes, for `print`."""
        return f"{self.in_shape} -> {self.out_shape}"


def check_input(net: nn.Module, x: Tensor) -> None:
    """Return an error where `x` is not `(N, *net.in_shape)`."""
    if x.shape[1:] != net.in_shape:
        wanted = ", ".join(map(str, net.in_shape))  # type: ignore[arg-type]
        raise VaekitError(f"{type(net).__name__} takes (N, {wanted}); got {tuple(x.shape)}.")


def sizes(what: str, value: Sizes, *, least: int = 1) -> Shape:
    """Return one size or several as a tuple.

    Args:
        what: the argument's name, for the error.
        value: a size or a sequence of sizes.
        least: how many sizes there must be.

    Raises:
        VaekitError: if there are fewer than `least`, or one is not a positive whole number.

    Example:
        >>> sizes("in_shape", 16), sizes("hidden", [], least=0)
        ((16,), ())
    """
    numbers = tuple(value) if isinstance(value, Sequence) else (value,)
    if len(numbers) < least:
        raise VaekitError(f"{what} is {value}; it takes at least {least} size, such as (32,).")
    if not all(isinstance(size, int) and size >= 1 for size in numbers):
        raise VaekitError(f"{what} is {value}; every size must be a whole number, at least 1.")
    return numbers


def flatten(shape: Shape) -> list[nn.Module]:
    """Return the layer that flattens `(N, *shape)`, or none where it is already flat.

    Example:
        >>> flatten((2, 3)), flatten((6,))
        ([Flatten(start_dim=1, end_dim=-1)], [])
    """
    return [nn.Flatten()] if len(shape) > 1 else []


@register("module", "mlp")
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
        self, in_shape: Sizes, out_shape: Sizes, hidden: Sizes = (512, 256), **options: Any
    ) -> None:
        source, target = sizes("in_shape", in_shape), sizes("out_shape", out_shape)
        widths = (prod(source), *sizes("hidden", hidden, least=0))
        body = flatten(source) + Block(**options).dense(widths)
        super().__init__(source, target, body, nn.Linear(widths[-1], prod(target)))


@register("module", "log-counts")
class LogCounts(nn.Module):
    """A network of log(1 + x): counts span decades, and an encoder wants numbers near 1.

    Lopez et al., "Deep generative modeling for single-cell transcriptomics", Nature Methods 2018.

    Args:
        net: a network with `in_shape`, which this one keeps; with `out_shape` too, if it has one.

    Raises:
        VaekitError: where `net` has no `in_shape`.

    Example:
        >>> import torch
        >>> from vaekit.nn import MLP
        >>> net = LogCounts(MLP(4, 2))
        >>> net.in_shape, net(torch.tensor([[0.0, 1.0, 50.0, 1e6]])).shape
        ((4,), torch.Size([1, 2]))
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        if not hasattr(net, "in_shape"):
            raise VaekitError(
                f"LogCounts takes a net with `in_shape`; {type(net).__name__} has none."
            )
        self.net = net
        self.in_shape = net.in_shape
        self.out_shape = getattr(net, "out_shape", None)

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output.

        Args:
            x: `(N, *in_shape)`, 0 or more.
        """
        y: Tensor = self.net(x.log1p())
        return y

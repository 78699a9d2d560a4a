"""The base of all networks, how they compute, and the multilayer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError, choose
from vaekit.nn.blocks import Block
from vaekit.registry import register

Sizes = int | Sequence[int]
Shape = tuple[int, ...]
PRECISIONS = ["fp32", "tf32", "bf16", "bf16!"]
_FORMAT, _LOWERED = [torch.channels_last], [False]


def memory_format() -> torch.memory_format:
    """Return the format in which convolutional networks compute."""
    return _FORMAT[0]


def use_format(format: torch.memory_format) -> torch.memory_format:  # noqa: A002
    """Set it for all networks of the process; return the one before.

    Weights, shapes and values are the same in either, but for rounding. A process begins with
    `torch.channels_last`, in which the kernels of convolutions compute (`benchmarks/bench.py w2 w3
    --switch channels-last` measures what it saves); `torch.contiguous_format` is the other one.

    Example:
        >>> planes(torch.zeros(2, 3, 4, 4)).stride()
        (48, 1, 12, 3)
        >>> before = use_format(torch.contiguous_format)
        >>> planes(torch.zeros(2, 3, 4, 4)).stride()
        (48, 16, 4, 1)
        >>> use_format(before)
        torch.contiguous_format
    """
    before, _FORMAT[0] = _FORMAT[0], format
    return before


def planes(x: Tensor) -> Tensor:
    """Return `x` `(N, C, H, W)` in that format: converted once, at a network's entry."""
    if memory_format() is not torch.channels_last:
        return x
    if x.shape[1] == 1:  # either format is the other: only the strides say which it is
        return x.contiguous().view(x.shape[0], *x.shape[2:], 1).permute(0, 3, 1, 2)
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # as vmap can do it too


@register("module", "planes")
class Planes(nn.Unflatten):
    """`(N, C * H * W) -> (N, C, H, W)`, in that format."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Return the planes."""
        return planes(super().forward(input))


def lowered() -> bool:
    """Return whether networks compute in bfloat16 now."""
    return _LOWERED[0]


def at_precision(compute: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return `compute(x)` in the numbers in which networks compute now, and back in those of x."""
    if not lowered():
        return compute(x)
    with torch.autocast(x.device.type, torch.bfloat16):
        return compute(x).to(x.dtype)


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Let networks compute in these numbers; weights, sums and densities stay float32.

    "fp32" is float32; "tf32" lets an NVIDIA GPU multiply matrices with mantissas of 10 bits (other
    devices ignore it); "bf16" does matrix products and convolutions in bfloat16, mantissas of 7
    bits, and turns a network's output back. It is faster where the processor has instructions for
    it (`avx512_bf16`, `amx_bf16`, a GPU), and slower elsewhere, where `vaekit.train` refuses it and
    takes "bf16!", which is the same.

    Raises:
        VaekitError: for another name.

    Example:
        >>> from vaekit.nn import MLP
        >>> net, x = MLP(4, 2, hidden=8), torch.ones(1, 4)
        >>> with precision("bf16"):
        ...     y = net(x)
        >>> y.dtype, torch.equal(y, net(x)), torch.allclose(y, net(x), atol=0.05)
        (torch.float32, False, True)
    """
    choose("precision", name, dict.fromkeys(PRECISIONS))
    before = _LOWERED[0], torch.get_float32_matmul_precision()
    try:
        _LOWERED[0] = name.startswith("bf16")
        if name == "tf32":
            torch.set_float32_matmul_precision("high")
        yield
    finally:
        _LOWERED[0] = before[0]
        torch.set_float32_matmul_precision(before[1])


@register("module", "network")
class Network(nn.Module):
    """A map `(N, *in_shape) -> (N, *out_shape)`: hidden layers, then one affine map.

    `forward(x) = output(body(x))`, unflattened to `out_shape` where `output` is dense and
    `out_shape` has several dimensions; with a `direct` map, that of `body[:at](x)` is added.

    Args:
        in_shape: shape of one input, without `N`.
        out_shape: shape of one result, without `N`.
        body: the hidden layers, in order; they take `(N, *in_shape)`.
        output: the last affine map, kept reachable so that its bias can be set.
        direct: a map to as many numbers as a result has, past the rest of the layers.
        at: the layer before which it starts.

    Example:
        >>> net = Network((4,), (2, 3), [nn.Linear(4, 5), nn.ReLU()], nn.Linear(5, 6))
        >>> net(torch.zeros(7, 4)).shape
        torch.Size([7, 2, 3])
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        body: Iterable[nn.Module],
        output: nn.Module,
        direct: nn.Module | None = None,
        at: int = 0,
    ) -> None:
        super().__init__()
        self.in_shape = in_shape
        self.out_shape = out_shape
        self.body = nn.Sequential(*body)
        self.output = output
        self.direct, self.at = direct, at
        self._unflatten = isinstance(output, nn.Linear) and len(out_shape) > 1
        self._takes_planes = isinstance(next(iter(self.body), None), nn.Conv2d)
        self._gives_planes = isinstance(output, nn.Conv2d | nn.ConvTranspose2d)

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
        x = planes(x) if self._takes_planes else x
        if self.direct is None:
            y: Tensor = self.output(self.body(x))
        else:
            x = self.body[: self.at](x)
            y = self.output(self.body[self.at :](x))
            y = (y + self.direct(x).view(y.shape)).contiguous()
        if self._gives_planes:  # where densities meet x, both lie alike
            return y.contiguous()
        return y.unflatten(1, self.out_shape) if self._unflatten else y

    def extra_repr(self) -> str:
        """Return the shapes, for `print`."""
        return f"{self.in_shape} -> {self.out_shape}"


def check_input(net: nn.Module, x: Tensor) -> None:
    """Raise an error where `x` is not `(N, *net.in_shape)`."""
    if x.shape[1:] != net.in_shape:
        wanted = ", ".join(map(str, net.in_shape))  # type: ignore[arg-type]
        raise VaekitError(f"{type(net).__name__} takes (N, {wanted}); got {tuple(x.shape)}.")


def joined_shape(shape: Shape, context: Shape) -> Shape:
    """Return the shape of one example after `vaekit.parts.join`.

    Example:
        >>> joined_shape((1, 28, 28), (10,)), joined_shape((16,), (10,))
        ((11, 28, 28), (26,))
    """
    if not context:
        return shape
    return (shape[0] + (prod(context) if len(shape) == 1 else context[0]), *shape[1:])


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
    if not all(isinstance(size, int) and 1 <= size < 1 << 31 for size in numbers):
        raise VaekitError(
            f"{what} is {value}; every size must be a whole number, at least 1, below 2**31."
        )
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
        end: "block", or "affine": the last hidden layer has no norm and no activation.
        direct: whether a linear map of the inputs, 0 at first, is added to the outputs.
        options: of the blocks, as of `Block`.

    Raises:
        VaekitError: if a size is below 1, a name is unknown or `dropout` is outside [0, 1).

    Example:
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
        end: str = "block",
        direct: bool = False,
        **options: Any,
    ) -> None:
        source, target = sizes("in_shape", in_shape), sizes("out_shape", out_shape)
        widths = (prod(source), *sizes("hidden", hidden, least=0))
        flat, hidden_layers = flatten(source), Block(**options).dense(widths, end)
        output = nn.Linear(widths[-1], prod(target))
        line = nn.Linear(widths[0], prod(target), bias=False) if direct else None
        if line is not None:
            nn.init.zeros_(line.weight)
        super().__init__(source, target, flat + hidden_layers, output, line, len(flat))


@register("module", "log-counts")
class LogCounts(nn.Module):
    """A network of log(1 + x): counts span decades, and an encoder wants numbers near 1.

    Lopez et al., "Deep generative modeling for single-cell transcriptomics", Nature Methods 2018.

    Args:
        net: a network with `in_shape`, which this one keeps; with `out_shape` too, if it has one.
        places: of the counts in a row `(D,)`, where others are beside them; by default all are.

    Raises:
        VaekitError: where `net` has no `in_shape`.

    Example:
        >>> from vaekit.nn import MLP
        >>> net = LogCounts(MLP(4, 2))
        >>> net.in_shape, net(torch.tensor([[0.0, 1.0, 50.0, 1e6]])).shape
        ((4,), torch.Size([1, 2]))
    """

    def __init__(self, net: nn.Module, places: tuple[int, ...] = ()) -> None:
        super().__init__()
        if not hasattr(net, "in_shape"):
            raise VaekitError(
                f"LogCounts takes a net with `in_shape`; {type(net).__name__} has none."
            )
        self.net = net
        self.in_shape = net.in_shape
        self.out_shape = getattr(net, "out_shape", None)
        self.places = tuple(places)

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output.

        Args:
            x: `(N, *in_shape)`, counts of 0 or more.
        """
        if not self.places:
            seen = x.log1p()
        else:
            seen = x.clone()
            seen[:, self.places] = x[:, self.places].log1p()
        y: Tensor = self.net(seen)
        return y


def image_shape(what: str, value: Sizes) -> Shape:
    """Return `(C, H, W)`, or an error."""
    shape = sizes(what, value)
    if len(shape) != 3:
        raise VaekitError(f"{what} is {value}; a convolution takes (C, H, W). Use MLP otherwise.")
    return shape


def one_each(what: str, value: Sizes, stages: int) -> Shape:
    """Return a number for each stage: those given, or the one for all.

    Example:
        >>> one_each("kernel", 5, 2), one_each("kernel", (4, 6, 4), 3)
        ((5, 5), (4, 6, 4))
    """
    numbers = tuple(value) if isinstance(value, Sequence) else (value,)
    if len(numbers) not in (1, stages):
        raise VaekitError(
            f"{what} is {value}; expected one number for all {stages} stages, or one for each."
        )
    return numbers * stages if len(numbers) == 1 else numbers

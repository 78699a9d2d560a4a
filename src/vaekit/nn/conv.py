"""Convolutional networks for images of any size.

Shapes: `N` batch, `C` channels, `H` and `W` height and width. Every stage has stride 2. Going down,
a length n becomes ceil(n / 2); going up, the same lengths are walked back, so 30 -> 15 -> 8 is
undone by 8 -> 15 -> 30. With a kernel of k that takes

    padding        = floor((k - 1 + n mod 2) / 2)    on both sides, in both directions
    output padding = (n + k) mod 2                   going up

where n is the larger length. A stage up is the adjoint of the stage down with the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

from torch import nn

from vaekit.errors import VaekitError
from vaekit.nn.blocks import Block
from vaekit.nn.network import Network, Shape, Sizes, flatten, sizes
from vaekit.nn.numerics import Planes
from vaekit.registry import register


@register("module", "conv-encoder")
class ConvEncoder(Network):
    """Strided convolutions, then dense layers: `(N, C, H, W) -> (N, *out_shape)`.

    `len(channels)` blocks of stride 2, each of which turns a length n into ceil(n / 2); then
    flatten, dense blocks of the widths `hidden`, and the affine `output`.

    Args:
        in_shape: `(C, H, W)`, any size from 1.
        out_shape: shape of one result, a size or a tuple.
        channels: the channels after each block.
        hidden: the widths of the dense layers before the output.
        kernel: side of the kernels, from 2, odd or even: one for all stages, or one for each.
        activation: a name that `vaekit.nn.activation` knows.
        norm: "none" or "batch" (before the activation).
        dropout: the share of hidden activations dropped while training, in [0, 1).

    Raises:
        VaekitError: if `in_shape` is no image, a size is below 1, `channels` is empty, a kernel
            is below 2, there are others than one or as many as stages, a name is unknown or
            `dropout` is outside [0, 1).

    Example:
        >>> import torch
        >>> net = ConvEncoder((1, 30, 20), 16, channels=(32, 64), hidden=(128,))
        >>> net(torch.rand(5, 1, 30, 20)).shape
        torch.Size([5, 16])
    """

    def __init__(
        self,
        in_shape: Sizes,
        out_shape: Sizes,
        channels: Sizes = (32, 64),
        hidden: Sizes = (),
        *,
        kernel: Sizes = 3,
        **options: Any,
    ) -> None:
        image, target = image_shape("in_shape", in_shape), sizes("out_shape", out_shape)
        planes = (image[0], *sizes("channels", channels))
        grids = _halvings(image[1:], len(planes) - 1)
        widths = (planes[-1] * prod(grids[-1]), *sizes("hidden", hidden, least=0))
        block = Block(**options)
        body: list[nn.Module] = []
        sides = one_each("kernel", kernel, len(planes) - 1)
        for (before, after), grid, side in zip(pairwise(planes), grids[:-1], sides, strict=True):
            body += block.after(_down(before, after, side, grid, block.bias), after)
        body += [nn.Flatten(), *block.dense(widths)]
        super().__init__(image, target, body, nn.Linear(widths[-1], prod(target)))


@register("module", "conv-decoder")
class ConvDecoder(Network):
    """Dense layers, then strided transposed convolutions: `(N, *in_shape) -> (N, C, H, W)`.

    The mirror of `ConvEncoder` with `channels` reversed: dense blocks of the widths `hidden`, one
    dense block to `channels[0]` planes, and `len(channels)` transposed convolutions that double the
    lengths back to exactly `H` and `W`; the last of them is `output`.

    Args:
        in_shape: shape of one input, a size or a tuple.
        out_shape: `(C, H, W)`, any size from 1.
        channels: the channels before each transposed convolution.
        hidden: the widths of the first dense layers.
        kernel: side of the kernels, from 2, odd or even: one for all stages, or one for each.
        activation: a name that `vaekit.nn.activation` knows.
        norm: "none" or "batch" (before the activation).
        dropout: the share of hidden activations dropped while training, in [0, 1).

    Raises:
        VaekitError: if `out_shape` is no image, a size is below 1, `channels` is empty, a kernel
            is below 2, there are others than one or as many as stages, a name is unknown or
            `dropout` is outside [0, 1).

    Example:
        >>> import torch
        >>> net = ConvDecoder(16, (3, 30, 20), channels=(64, 32), hidden=(128,))
        >>> net(torch.randn(5, 16)).shape
        torch.Size([5, 3, 30, 20])
    """

    def __init__(
        self,
        in_shape: Sizes,
        out_shape: Sizes,
        channels: Sizes = (64, 32),
        hidden: Sizes = (),
        *,
        kernel: Sizes = 3,
        **options: Any,
    ) -> None:
        source, image = sizes("in_shape", in_shape), image_shape("out_shape", out_shape)
        planes = sizes("channels", channels)
        smallest, *grids = reversed(_halvings(image[1:], len(planes)))
        first = (planes[0], *smallest)
        widths = (prod(source), *sizes("hidden", hidden, least=0), prod(first))
        block = Block(**options)
        body = [*flatten(source), *block.dense(widths), Planes(1, first)]
        *sides, last = one_each("kernel", kernel, len(planes))
        for (before, after), grid, side in zip(pairwise(planes), grids[:-1], sides, strict=True):
            body += block.after(_up(before, after, side, grid, block.bias), after)
        super().__init__(source, image, body, _up(planes[-1], image[0], last, grids[-1], True))


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


def _halvings(grid: Shape, stages: int) -> list[Shape]:
    grids = [grid]
    for _ in range(stages):
        grids.append(tuple((length + 1) // 2 for length in grids[-1]))
    return grids


def _padding(kernel: int, grid: Shape) -> tuple[int, int]:
    if kernel < 2:
        raise VaekitError(f"kernel is {kernel}; with stride 2 it must be at least 2, such as 3.")
    height, width = ((kernel - 1 + length % 2) // 2 for length in grid)
    return height, width


def _down(before: int, after: int, kernel: int, grid: Shape, bias: bool) -> nn.Conv2d:
    """Return `(N, before, *grid) -> (N, after, *ceil(grid / 2))`."""
    return nn.Conv2d(before, after, kernel, 2, _padding(kernel, grid), bias=bias)


def _up(before: int, after: int, kernel: int, grid: Shape, bias: bool) -> nn.ConvTranspose2d:
    """Return `(N, before, *ceil(grid / 2)) -> (N, after, *grid)`."""
    height, width = ((length + kernel) % 2 for length in grid)
    padding = _padding(kernel, grid)
    return nn.ConvTranspose2d(before, after, kernel, 2, padding, (height, width), bias=bias)

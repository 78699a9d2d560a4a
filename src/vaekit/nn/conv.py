"""Convolutional networks for images of any size, and from a gray image to a color one.

Shapes: `N` batch, `C` channels, `H` and `W` height and width. Every stage has stride 2. Going down,
a length n becomes ceil(n / 2); going up, the same lengths are walked back, so 30 -> 15 -> 8 is
undone by 8 -> 15 -> 30. With a kernel of k that takes

    padding        = floor((k - 1 + n mod 2) / 2)    on both sides, in both directions
    output padding = (n + k) mod 2                   going up

where n is the larger length. A stage up is the adjoint of the stage down with the same weights.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError
from vaekit.nn._network import Network, Planes, Shape, Sizes, flatten, image_shape, one_each, sizes
from vaekit.nn.blocks import Block
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
            conv = nn.Conv2d(before, after, side, 2, _padding(side, grid), bias=block.bias)
            body += block.after(conv, after)
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


def _up(before: int, after: int, kernel: int, grid: Shape, bias: bool) -> nn.ConvTranspose2d:
    """Return `(N, before, *ceil(grid / 2)) -> (N, after, *grid)`."""
    height, width = ((length + kernel) % 2 for length in grid)
    padding = _padding(kernel, grid)
    return nn.ConvTranspose2d(before, after, kernel, 2, padding, (height, width), bias=bias)


PLANES = 7  # of half the image's lengths, before the dense map: 88 million weights at 64 x 64


@register("module", "color-net")
class ColorNet(Network):
    """From gray to color, `(N, 1, H, W) -> (N, 3, H, W)`: the gray image plus what is learned.

    A convolution, then one of stride 2 for each further entry of `channels`; a transposed one for
    each back up, whose result joins what had that size on the way down, and a convolution of both
    (the U-net of Ronneberger et al., arXiv 1505.04597); the last convolution is `output`.

    With `dense`, in their place: a transposed convolution to `(channels[0], 2H, 2W)`, one of stride
    4 to 7 planes of half the image's lengths, dense blocks of the widths `hidden`, and a dense
    map to all values, which has 21/4 (HW)^2 weights without `hidden`.

    Args:
        shape: `(H, W)`, any lengths from 1.
        channels: of the convolutions, from the finest grid to the coarsest.
        hidden: the widths before the dense map.
        dense: whether to end in that.
        activation: a name that `vaekit.nn.activation` knows.
        norm: "none" or "batch" (before the activation).
        dropout: the share of hidden activations dropped while training, in [0, 1).

    Raises:
        VaekitError: if a size is below 1, `channels` is empty, `hidden` comes without `dense`, a
            name is unknown or `dropout` is outside [0, 1).

    Example:
        >>> ColorNet((30, 21), channels=(8, 16, 32))(torch.rand(5, 1, 30, 21)).shape
        torch.Size([5, 3, 30, 21])
        >>> net = ColorNet((8, 8), channels=(8,), dense=True)
        >>> net.output
        Linear(in_features=112, out_features=192, bias=True)
    """

    def __init__(
        self,
        shape: Sizes,
        channels: Sizes = (16, 32, 64, 128),
        hidden: Sizes = (),
        *,
        dense: bool = False,
        **options: Any,
    ) -> None:
        grid, planes = sizes("shape", shape, least=2), sizes("channels", channels)
        widths = sizes("hidden", hidden, least=0)
        if widths and not dense:
            raise VaekitError(f"hidden is {widths}; only a dense net has such layers: pass dense.")
        block = Block(**options)
        if dense:
            widths = (PLANES * prod((length + 1) // 2 for length in grid), *widths)
            up = nn.ConvTranspose2d(1, planes[0], 4, 2, 1, bias=block.bias)
            down = nn.Conv2d(planes[0], PLANES, 5, 4, 2, bias=block.bias)
            before = [*block.after(up, planes[0]), *block.after(down, PLANES), nn.Flatten()]
            body = [*before, *block.dense(widths)]
            output: nn.Module = nn.Linear(widths[-1], 3 * prod(grid))
        else:
            body, output = [_UNet(planes, block)], nn.Conv2d(planes[0], 3, 3, padding=1)
        super().__init__((1, *grid), (3, *grid), body, output)

    def forward(self, x: Tensor) -> Tensor:
        """Return the color image `(N, 3, H, W)` of a gray one `(N, 1, H, W)`."""
        return x + super().forward(x)


class _UNet(nn.Module):
    """`(N, 1, H, W) -> (N, channels[0], H, W)`: see `ColorNet`."""

    def __init__(self, channels: tuple[int, ...], block: Block) -> None:
        super().__init__()

        def conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
            layer = nn.Conv2d(before, after, 3, stride, 1, bias=block.bias)
            return nn.Sequential(*block.after(layer, after))

        steps = list(pairwise(channels))
        self.first = conv(1, channels[0])
        self.down = nn.ModuleList(conv(fine, coarse, 2) for fine, coarse in steps)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 4, 2, 1) for fine, coarse in reversed(steps)
        )
        self.joined = nn.ModuleList(conv(2 * fine, fine) for fine, _ in reversed(steps))

    def forward(self, x: Tensor) -> Tensor:
        seen = [self.first(x)]
        for down in self.down:
            seen.append(down(seen[-1]))
        h: Tensor = seen.pop()
        for up, joined in zip(self.up, self.joined, strict=True):
            fine = seen.pop()
            high, wide = fine.shape[2:]  # an odd length is one less than the doubled one
            h = joined(torch.cat([up(h)[:, :, :high, :wide], fine], 1))
        return h

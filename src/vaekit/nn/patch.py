"""Convolutional networks that compute on patches: a small grid, many channels, matrix products.

An image is cut into patches of r x r, each of which becomes C r^2 channels of one place; residual
blocks and 2 x 2 patches of patches follow, then dense layers. The way back ends in convolutions
whose channels become the pixels of a patch (sub-pixel convolutions), which start as bilinear
resizing: neither blocks, nor the checkerboard that strides of transposed convolutions leave.
Lengths that r does not divide get zeros at their end, which the way back cuts off. A dense map
from all pixels to the first hidden layer, and one from the last to all pixels, stand beside the
convolutions: they learn what images have in common at fixed places. Of sides above 64 they see
means over squares, and make what is resized: they would be most of the weights, and a step of such
a map moves its sums by the learning rate times the number of pixels.

References:
    Shi et al. 2016, Real-time single image and video super-resolution using an efficient sub-pixel
    convolutional neural network, arXiv 1609.05158.
    Aitken et al. 2017, Checkerboard artifact free sub-pixel convolution, arXiv 1707.02937.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.errors import within
from vaekit.nn._network import (
    Network,
    Planes,
    Shape,
    Sizes,
    flatten,
    image_shape,
    memory_format,
    sizes,
)
from vaekit.nn.blocks import Block
from vaekit.nn.residual import Residual
from vaekit.registry import register

LARGE, GRID = 28, 8  # the side from which patches are 4 x 4, and that of the last grid at most
WIDTH, WIDEST = 16, 128  # channels of the first stage, and at most
SEEN = 64  # the longest side that dense maps of all pixels see as it is


@register("module", "patches")
class Patches(nn.Module):
    """Space to depth: `(N, C, H, W) -> (N, C r^2, ceil(H / r), ceil(W / r))`.

    Args:
        side: r.

    Example:
        >>> Patches(4)(torch.zeros(2, 3, 13, 17)).shape
        torch.Size([2, 48, 4, 5])
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = within("side", side, 1, 64)

    def forward(self, x: Tensor) -> Tensor:
        """Return the patches, channel by channel as `nn.PixelUnshuffle` has them."""
        r, (high, wide) = self.side, x.shape[2:]
        if high % r or wide % r:
            x = F.pad(x, (0, -wide % r, 0, -high % r))
        n, c, rows, columns = x.shape[0], x.shape[1], -(-high // r), -(-wide // r)
        cut = x.reshape(n, c, rows, r, columns, r)
        if memory_format() is torch.channels_last:  # one copy does both
            return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, rows, columns, -1).permute(0, 3, 1, 2)
        return cut.permute(0, 1, 3, 5, 2, 4).reshape(n, -1, rows, columns)

    def extra_repr(self) -> str:
        """Return the side, for `print`."""
        return f"{self.side}"


@register("module", "sub-pixel")
class SubPixel(nn.Conv2d):
    """A convolution whose channels become pixels: `(N, B, h, w) -> (N, C, H, W)`.

    h = ceil(H / r), w = ceil(W / r); what is beyond H and W is cut off. It starts as resizing: see
    `level`.

    Args:
        before: B.
        shape: `(C, H, W)`.
        side: r.
        kernel: side of the convolution's kernel, odd; with 1 it starts with the nearest place.
        each: whether each pixel has a bias, and not each channel.

    Example:
        >>> up = SubPixel(8, (3, 13, 17), 4)
        >>> up(torch.randn(2, 8, 4, 5)).shape, up.bias.shape
        (torch.Size([2, 3, 13, 17]), torch.Size([3, 13, 17]))
    """

    def __init__(
        self, before: int, shape: Shape, side: int, kernel: int = 3, *, each: bool = True
    ) -> None:
        channels = shape[0] * within("side", side, 1, 64) ** 2
        super().__init__(before, channels, kernel, padding=kernel // 2, bias=False)
        self.shape, self.side = tuple(shape), side
        self.bias = nn.Parameter(torch.zeros(self.shape if each else (shape[0], 1, 1)))
        self.level()

    @torch.no_grad()
    def level(self) -> None:
        """Let it begin with what lies between places: bilinear upsampling of one map of them.

        Each pixel of a patch weighs the places around it by how near it is; with a kernel of 1 all
        have the same.
        """
        kernel, r = self.kernel_size[0], self.side
        weight = self.weight.view(self.shape[0], r, r, -1, kernel, kernel)
        one = weight[:, :1, :1].sum((-2, -1), keepdim=True)  # as wide as of a 1 x 1 kernel
        centers = (torch.arange(r) + 0.5) / r - 0.5
        places = torch.arange(kernel) - kernel // 2
        near = (1 - (centers[:, None] - places).abs()).clamp(min=0).to(weight)
        near /= near.sum(1, keepdim=True)
        tent = near[:, None, None, :, None] * near[:, None, None, :].unsqueeze(0)
        weight.copy_(one * tent)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Return the pixels."""
        y = F.conv2d(input, self.weight, None, padding=self.padding)
        n, (rows, columns), r = y.shape[0], y.shape[2:], self.side
        channels, high, wide = self.shape
        cut = y.reshape(n, channels, r, r, rows, columns)
        if memory_format() is torch.channels_last:
            cut = y.permute(0, 2, 3, 1).reshape(n, rows, columns, channels, r, r)
            whole = cut.permute(0, 1, 4, 2, 5, 3).reshape(n, rows * r, columns * r, channels)
            whole = whole[:, :high, :wide].permute(0, 3, 1, 2)
        else:
            whole = cut.permute(0, 1, 4, 2, 5, 3).reshape(n, channels, rows * r, columns * r)
            whole = whole[:, :, :high, :wide]
        return whole + self.bias  # type: ignore[operator]

    def extra_repr(self) -> str:
        """Return the shapes, for `print`."""
        return f"{self.in_channels} -> {self.shape}, {self.kernel_size}, side={self.side}"


def grids(image: Shape, patch: int, stages: int) -> list[Shape]:
    """Return the lengths of each stage's grid, of patches and of 2 x 2 patches of those.

    Example:
        >>> grids((28, 65), 4, 3)
        [(7, 17), (4, 9), (2, 5)]
    """
    found = [tuple(-(-length // patch) for length in image)]
    for _ in range(stages - 1):
        found.append(tuple(-(-length // 2) for length in found[-1]))
    return found


def by_size(image: Shape, patch: int | None = None) -> tuple[int, Shape]:
    """Return the side of the patches, and the channels of each stage, by what was measured.

    Most of the time goes into a grid of about 8 x 8, where few channels and dense layers after them
    gain more for it than many channels do: see benchmarks/results/nets.csv.

    Example:
        >>> by_size((28, 20)), by_size((64, 64)), by_size((16, 16)), by_size((13, 17), 1)
        ((4, (16,)), (4, (16, 32)), (2, (16,)), (1, (16, 32, 64)))
    """
    side = patch or (4 if max(image) >= LARGE else 2)
    longest, channels = -(-max(image) // within("patch", side, 1, 64)), [WIDTH]
    while longest > GRID:
        longest = -(-longest // 2)
        channels.append(min(2 * channels[-1], WIDEST))
    return side, tuple(channels)


def _blocks(width: int, count: int, how: dict[str, Any]) -> list[nn.Module]:
    return [Residual(width, **how) for _ in range(within("blocks", count, 0, 64))]


@register("module", "patch-encoder")
class PatchEncoder(Network):
    """Patches, stages of residual blocks, then dense: `(N, C, H, W) -> (N, *out_shape)`.

    A 3 x 3 convolution of the patches; in each of `len(channels)` stages `blocks` residual blocks,
    and before each but the first a dense map of 2 x 2 places; activation, flatten, dense blocks of
    the widths `hidden`, and the affine `output`. What `direct` makes of all pixels is added to the
    first dense map, and so is what `told` makes of a context, of which planes would be slow.

    Args:
        in_shape: `(C, H, W)`, any size from 1.
        out_shape: shape of one result, a size or a tuple.
        channels: of each stage.
        hidden: the widths of the dense layers before the output.
        patch: side of the patches.
        blocks: of each stage.
        direct: whether the dense map of all pixels is there.
        scale: what these are multiplied by for it.
        context: how many numbers are given besides: then it takes `(N, C * H * W + context)`.
        how: of the blocks, as `Residual` takes it.

    Raises:
        VaekitError: if `in_shape` is no image, a size is below 1 or a name is unknown.

    Example:
        >>> net = PatchEncoder((1, 30, 21), 16, channels=(16, 32), hidden=(64,))
        >>> net(torch.rand(5, 1, 30, 21)).shape
        torch.Size([5, 16])
        >>> PatchEncoder((1, 30, 21), 16, context=10).in_shape
        (640,)
    """

    def __init__(
        self,
        in_shape: Sizes,
        out_shape: Sizes,
        channels: Sizes = (16,),
        hidden: Sizes = (256,),
        *,
        patch: int = 4,
        blocks: int = 1,
        direct: bool = True,
        scale: float = 1.0,
        context: int = 0,
        **how: Any,
    ) -> None:
        image, target = image_shape("in_shape", in_shape), sizes("out_shape", out_shape)
        widths, block = sizes("channels", channels), _dense_block(how)
        small = grids(image[1:], within("patch", patch, 1, 64), len(widths))[-1]
        first = nn.Conv2d(image[0] * patch**2, widths[0], 3, padding=1)
        body: list[nn.Module] = [Patches(patch), first, *_blocks(widths[0], blocks, how)]
        for before, after in pairwise(widths):
            body += [Patches(2), nn.Conv2d(4 * before, after, 1), *_blocks(after, blocks, how)]
        dense = (widths[-1] * prod(small), *sizes("hidden", hidden, least=0))
        body += [*block.bend(), nn.Flatten(), *block.dense(dense)]
        given, width = within("context", context, 0, 1_000_000), (*dense[1:], prod(target))[0]
        takes = (prod(image) + given,) if given else image
        super().__init__(takes, target, body, nn.Linear(dense[-1], prod(target)))
        self.at = next(i for i, each in enumerate(body) if isinstance(each, nn.Flatten)) + 2
        self.direct: nn.Module | None = None
        self.told = nn.Linear(given, width, bias=False) if given else None
        self.image, self.scale = image, within("scale", scale, 1e-6, 1e6)
        if direct and hidden:
            by, coarse = _coarse(image)
            self.direct = nn.Linear(prod(coarse), width, bias=False)
            if by > 1:
                shrunk = nn.AvgPool2d(by, ceil_mode=True)
                self.direct = nn.Sequential(shrunk, nn.Flatten(), self.direct)

    def _compute(self, x: Tensor) -> Tensor:
        layers, added = [*self.body, self.output], 0.0
        if self.told is not None:
            x, context = x.split([prod(self.image), self.told.in_features], 1)
            x, added = x.unflatten(1, self.image), self.told(context)
        if self.direct is not None:
            seen = x if self.scale == 1 else x * self.scale
            seen = seen.flatten(1) if isinstance(self.direct, nn.Linear) else seen
            added = added + self.direct(seen)
        for place, layer in enumerate(layers, 1):
            x = layer(x) + added if place == self.at else layer(x)
        return x.unflatten(1, self.out_shape) if self._unflatten else x


@register("module", "patch-decoder")
class PatchDecoder(Network):
    """The mirror of `PatchEncoder` with `channels` reversed: `(N, *in_shape) -> (N, C, H, W)`.

    Dense blocks to `channels[0]` planes; stages of `blocks` residual blocks, between which a dense
    map makes 2 x 2 places of each; activation, and `output`, a 3 x 3 convolution to the pixels of
    the patches. Each pixel has a bias, and what `direct` makes of the last of `hidden`.

    Args:
        in_shape: shape of one input, a size or a tuple.
        out_shape: `(C, H, W)`, any size from 1.
        channels: of each stage.
        hidden: the widths of the first dense layers.
        patch, blocks, direct, how: as of `PatchEncoder`.

    Example:
        >>> net = PatchDecoder(16, (3, 30, 21), channels=(32, 16), hidden=(64,))
        >>> net(torch.randn(5, 16)).shape
        torch.Size([5, 3, 30, 21])
    """

    def __init__(
        self,
        in_shape: Sizes,
        out_shape: Sizes,
        channels: Sizes = (16,),
        hidden: Sizes = (256,),
        *,
        patch: int = 4,
        blocks: int = 1,
        direct: bool = True,
        **how: Any,
    ) -> None:
        source, image = sizes("in_shape", in_shape), image_shape("out_shape", out_shape)
        widths, block = sizes("channels", channels), _dense_block(how)
        places = grids(image[1:], within("patch", patch, 1, 64), len(widths))[::-1]
        first = (widths[0], *places[0])
        dense = (prod(source), *sizes("hidden", hidden, least=0), prod(first))
        body = [*flatten(source), *block.dense(dense, "affine"), Planes(1, first)]
        at = len(body) - 2
        body += _blocks(widths[0], blocks, how)
        for (before, after), grid in zip(pairwise(widths), places[1:], strict=True):
            up = SubPixel(before, (after, *grid), 2, 1, each=False)
            body += [up, *_blocks(after, blocks, how)]
        output = SubPixel(widths[-1], image, patch)
        line: nn.Module | None = None
        if direct and hidden:
            by, coarse = _coarse(image)
            line = nn.Linear(dense[-2], prod(coarse), bias=False)
            nn.init.zeros_(line.weight)
            if by > 1:
                grown = nn.Upsample(image[1:], mode="bilinear")
                line = nn.Sequential(line, nn.Unflatten(1, coarse), grown)
        super().__init__(source, image, [*body, *block.bend()], output, line, at)


def scale_of(image: Shape) -> float:
    """Return what the dense map of all pixels multiplies those of an image `(C, H, W)` by.

    A step of Adam moves their sum by the learning rate times their number: of more than 784 it is
    as of so many. On faces of 64 x 64 that was worth 800 to 1,800 nats.

    Example:
        >>> scale_of((1, 28, 28)), scale_of((3, 56, 56))
        (1.0, 0.08333333333333333)
    """
    return min(1.0, 784 / prod(_coarse(image)[1]))


def _coarse(image: Shape) -> tuple[int, Shape]:
    """Return the side of the squares whose means a dense map sees, and the image of these."""
    by = -(-max(image[1:]) // SEEN)
    return by, (image[0], *(-(-length // by) for length in image[1:]))


def _dense_block(how: dict[str, Any]) -> Block:
    names = ("activation", "dropout")
    return Block(**{name: value for name, value in how.items() if name in names})

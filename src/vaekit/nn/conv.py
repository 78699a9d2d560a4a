"""Convolutional networks for images of any size, and from a gray image to a color one.

Shapes: `N` batch, `C` channels, `H` and `W` height and width. A stage of stride s turns a length n
into ceil(n / s) going down; going up, the same lengths are walked back from the image's, so
30 -> 15 -> 8 is undone by 8 -> 15 -> 30. With a kernel of k and a padding of p on both sides

    down     m = floor((n + 2 p - k) / s) + 1
    up       n = (m - 1) s - 2 p + k + o,     the output padding o = (n + 2 p - k) mod s

and p is the least that gives m = ceil(n / s), where none is said. A stage up is the adjoint of the
stage down with the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError
from vaekit.nn._network import Network, Planes, Shape, Sizes, flatten, image_shape, one_each, sizes
from vaekit.nn.blocks import Block
from vaekit.registry import register


@register("module", "conv-encoder")
class ConvEncoder(Network):
    """Strided convolutions, then dense layers: `(N, C, H, W) -> (N, *out_shape)`.

    `len(channels)` blocks, each of which turns a length n into ceil(n / stride); then flatten,
    dense blocks of the widths `hidden`, and the affine `output`.

    Args:
        in_shape: `(C, H, W)`, any size from 1.
        out_shape: shape of one result, a size or a tuple.
        channels: the channels after each block.
        hidden: the widths of the dense layers before the output.
        kernel, stride: of the convolutions: one for all stages, or one for each.
        pads: zeros on each side, likewise; by default the least that give ceil(n / stride).
        map: whether the result is planes of the last block's grid, by a convolution of 1 x 1 in
            place of all that is dense.
        options: of the blocks, as of `Block`.

    Raises:
        VaekitError: if `in_shape` is no image, a size is below 1, `channels` is empty, a kernel
            does not fit, there are others than one or as many as stages, a name is unknown or
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
        stride: Sizes = 2,
        pads: Sizes | None = None,
        map: bool = False,  # noqa: A002
        **options: Any,
    ) -> None:
        image, target = image_shape("in_shape", in_shape), sizes("out_shape", out_shape)
        planes = (image[0], *sizes("channels", channels))
        stages = stages_of(image[1:], len(planes) - 1, kernel, stride, pads)
        widths = (planes[-1] * prod(stages[-1].small), *sizes("hidden", hidden, least=0))
        block = Block(**options)
        body: list[nn.Module] = []
        for (before, after), stage in zip(pairwise(planes), stages, strict=True):
            body += block.after(stage.down(before, after, block.bias), after)
        if map:
            super().__init__(image, target, body, nn.Conv2d(planes[-1], target[0], 1))
            return
        body += [nn.Flatten(), *block.dense(widths)]
        super().__init__(image, target, body, nn.Linear(widths[-1], prod(target)))


def map_shape(
    channels: int, image: Shape, count: int, kernel: Sizes, stride: Sizes, pads: Sizes | None
) -> Shape:
    """Return the shape of a map of so many channels after `count` blocks of a `ConvEncoder`.

    Example:
        >>> map_shape(8, (1, 28, 28), 2, 3, 2, None)
        (8, 7, 7)
    """
    return (
        channels,
        *stages_of(image_shape("in_shape", image)[1:], count, kernel, stride, pads)[-1].small,
    )


@register("module", "conv-decoder")
class ConvDecoder(Network):
    """Dense layers, then strided transposed convolutions: `(N, *in_shape) -> (N, C, H, W)`.

    The mirror of `ConvEncoder` with `channels` reversed: dense blocks of the widths `hidden`, one
    dense block to `channels[0]` planes, and `len(channels)` transposed convolutions that take the
    lengths back to exactly `H` and `W`; the last of them is `output`. With `refine` it is a block
    of `channels[-1]` planes, and a convolution of stride 1 after it is `output`.

    Args:
        in_shape: shape of one input, a size or a tuple.
        out_shape: `(C, H, W)`, any size from 1.
        channels: the channels before each transposed convolution.
        hidden: the widths of the first dense layers.
        kernel, stride: of the transposed ones: one for all stages, or one for each.
        pads: what is cut from each side, likewise; by default the least that give ceil(n / stride).
        projection: "block", or "affine": the dense map to planes has no norm and no activation.
        refine: the side of the last convolution, odd; 0 for none.
        map: whether the input is planes of the first grid, which a convolution of 3 x 3 takes in
            place of all that is dense.
        options: of the blocks, as of `Block`.

    Raises:
        VaekitError: if `out_shape` is no image, a size is below 1, `channels` is empty, a kernel
            does not fit, there are others than one or as many as stages, a name is unknown or
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
        stride: Sizes = 2,
        pads: Sizes | None = None,
        projection: str = "block",
        refine: int = 0,
        map: bool = False,  # noqa: A002
        **options: Any,
    ) -> None:
        source, image = sizes("in_shape", in_shape), image_shape("out_shape", out_shape)
        planes, block = sizes("channels", channels), Block(**options)
        each = [n[::-1] if isinstance(n, Sequence) else n for n in (kernel, stride, pads)]
        stages = stages_of(image[1:], len(planes), *each)[::-1]  # type: ignore[arg-type]
        first = (planes[0], *stages[0].small)
        widths = (prod(source), *sizes("hidden", hidden, least=0), prod(first))
        body = [*flatten(source), *block.dense(widths, projection), Planes(1, first)]
        if map:
            enter = nn.Conv2d(source[0], planes[0], 3, padding=1, bias=block.bias)
            body = block.after(enter, planes[0])
        for (before, after), stage in zip(pairwise(planes), stages[:-1], strict=True):
            body += block.after(stage.up(before, after, block.bias), after)
        last: nn.Module = stages[-1].up(planes[-1], image[0], True)
        if refine:
            if refine < 0 or refine % 2 == 0:
                raise VaekitError(f"got `refine={refine}`; expected an odd side such as 3, or 0.")
            up = stages[-1].up(planes[-1], planes[-1], block.bias)
            body += block.after(up, planes[-1])
            last = nn.Conv2d(planes[-1], image[0], refine, padding=refine // 2)
        super().__init__(source, image, body, last)


class _Stage(NamedTuple):
    """A stage down from lengths `large` to `small`, or up from these to those."""

    large: Shape
    small: Shape
    kernel: int
    stride: int
    padding: tuple[int, int]
    ends: tuple[int, int]  # the output padding on the way up

    def down(self, before: int, after: int, bias: bool) -> nn.Conv2d:
        return nn.Conv2d(before, after, self.kernel, self.stride, self.padding, bias=bias)

    def up(self, before: int, after: int, bias: bool) -> nn.ConvTranspose2d:
        how = (self.kernel, self.stride, self.padding, self.ends)
        return nn.ConvTranspose2d(before, after, *how, bias=bias)


def stages_of(
    grid: Shape, count: int, kernel: Sizes, stride: Sizes, pads: Sizes | None
) -> list[_Stage]:
    """Return the stages down from the lengths of an image.

    Example:
        >>> [stage.small for stage in stages_of((30, 21), 2, 3, 2, None)]
        [(15, 11), (8, 6)]
        >>> [stage.small for stage in stages_of((30, 30), 3, (4, 6, 4), (1, 3, 2), 0)]
        [(27, 27), (8, 8), (3, 3)]
    """
    sides = one_each("kernel", sizes("kernel", kernel), count)
    steps = one_each("stride", sizes("stride", stride), count)
    around = [None] * count if pads is None else one_each("pads", pads, count)
    stages = []
    for side, step, pad in zip(sides, steps, around, strict=True):
        lengths = [_length(length, side, step, pad) for length in grid]
        small, padding, ends = zip(*lengths, strict=True)
        stages.append(_Stage(grid, small, side, step, padding, ends))
        grid = small
    return stages


def _length(n: int, kernel: int, stride: int, pad: int | None) -> tuple[int, int, int]:
    """Return the length after a stage, its padding and the output padding of the way back."""
    if pad is None and kernel < stride:
        raise VaekitError(f"kernel is {kernel}; with stride {stride} it must be at least {stride}.")
    if pad is None and stride == 1 and kernel % 2 == 0:
        raise VaekitError(f"kernel is {kernel}; with stride 1 it must be odd, or `pads` be given.")
    if pad is None:
        pad = ((n - 1) // stride * stride + kernel - n + 1) // 2
    reach = n + 2 * pad - kernel
    if reach < 0 or pad < 0:
        raise VaekitError(
            f"a kernel of {kernel} with `pads={pad}` does not fit a length of {n}: take a smaller "
            "kernel, more padding or fewer stages."
        )
    return reach // stride + 1, pad, reach % stride


@register("module", "color-net")
class ColorNet(Network):
    """From gray to color, `(N, 1, H, W) -> (N, 3, H, W)`: the gray image plus what is learned.

    A convolution, then one of stride 2 for each further entry of `channels`; a transposed one for
    each back up, whose result joins what had that size on the way down, and a convolution of both
    (the U-net of Ronneberger et al., arXiv 1505.04597); the last convolution is `output`.

    With `dense`, in their place: a transposed convolution of 5 x 5 and stride 2 to `channels[0]`
    planes, a convolution of 5 x 5 to `channels[1]` planes of 2H - 1 by 2W - 1, and dense maps of
    the widths `hidden` and to all values, with no activation between them.

    Args:
        shape: `(H, W)`, any lengths from 1.
        channels: of the convolutions, from the finest grid to the coarsest; by default
            (16, 32, 64, 128), of a dense net (10, 5).
        hidden: the widths before the dense map.
        dense: whether to end in that.
        residual: whether the gray image is added to the output.
        gain: what the gray image is multiplied by where it enters.
        options: of the blocks, as of `Block`.

    Raises:
        VaekitError: if a size is below 1, `channels` is empty, `hidden` comes without `dense`, a
            name is unknown or `dropout` is outside [0, 1).

    Example:
        >>> ColorNet((30, 21), channels=(8, 16, 32))(torch.rand(5, 1, 30, 21)).shape
        torch.Size([5, 3, 30, 21])
        >>> net = ColorNet((30, 30), hidden=(4500,), dense=True)
        >>> net.body[-1], net.output.out_features
        (Linear(in_features=17405, out_features=4500, bias=True), 2700)
    """

    def __init__(
        self,
        shape: Sizes,
        channels: Sizes | None = None,
        hidden: Sizes = (),
        *,
        dense: bool = False,
        residual: bool = True,
        gain: float = 1.0,
        **options: Any,
    ) -> None:
        grid, least = sizes("shape", shape, least=2), 2 if dense else 1
        usual = (10, 5) if dense else (16, 32, 64, 128)
        planes = sizes("channels", usual if channels is None else channels, least=least)
        inner, block = sizes("hidden", hidden, least=0), Block(**options)
        if inner and not dense:
            raise VaekitError(f"hidden is {inner}; only a dense net has such layers: pass dense.")
        if dense:
            widths = (planes[1] * prod(2 * length - 1 for length in grid), *inner)
            up = nn.ConvTranspose2d(1, planes[0], 5, 2, bias=block.bias)
            down = nn.Conv2d(planes[0], planes[1], 5, bias=block.bias)
            body = [*block.after(up, planes[0]), *block.after(down, planes[1]), nn.Flatten()]
            body += [nn.Linear(*pair) for pair in pairwise(widths)]
            output: nn.Module = nn.Linear(widths[-1], 3 * prod(grid))
        else:
            body, output = [_UNet(planes, block)], nn.Conv2d(planes[0], 3, 3, padding=1)
        super().__init__((1, *grid), (3, *grid), body, output)
        self.residual, self.gain = residual, gain

    def forward(self, x: Tensor) -> Tensor:
        """Return the color image `(N, 3, H, W)` of a gray one `(N, 1, H, W)`."""
        y = super().forward(x if self.gain == 1 else self.gain * x)
        return x + y if self.residual else y


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

"""Networks from a gray image to a color one.

Shapes: `N` batch, `H` and `W` height and width.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError
from vaekit.nn.blocks import Block
from vaekit.nn.network import Network, Sizes, sizes
from vaekit.registry import register

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
            body, last = _dense(grid, planes[0], widths, block)
            output: nn.Module = nn.Linear(last, 3 * prod(grid))
        else:
            body, output = [_UNet(planes, block)], nn.Conv2d(planes[0], 3, 3, padding=1)
        super().__init__((1, *grid), (3, *grid), body, output)

    def forward(self, x: Tensor) -> Tensor:
        """Return the color image `(N, 3, H, W)` of a gray one `(N, 1, H, W)`."""
        return x + super().forward(x)


def _dense(
    grid: tuple[int, ...], width: int, hidden: tuple[int, ...], block: Block
) -> tuple[list[nn.Module], int]:
    """Return the layers before the dense map, and what they return."""
    half = [(length + 1) // 2 for length in grid]
    widths = (PLANES * prod(half), *hidden)
    up = nn.ConvTranspose2d(1, width, 4, 2, 1, bias=block.bias)
    down = nn.Conv2d(width, PLANES, 5, 4, 2, bias=block.bias)
    layers = [*block.after(up, width), *block.after(down, PLANES), nn.Flatten()]
    return [*layers, *block.dense(widths)], widths[-1]


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

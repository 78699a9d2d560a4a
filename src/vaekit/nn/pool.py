"""Convolutions with max-pooling, for images of any size.

Shapes: `N` batch, `C` channels, `H` and `W` height and width. A stage is a convolution of stride 1
with a kernel of k, then the greatest of each 2 x 2 pixels. A length n becomes

    padding "same"     ceil(n / 2)               n stays through the convolution
    padding "valid"    floor((n - k + 1) / 2)    what does not fit is dropped

The way back is a `ConvDecoder`, whose transposed convolutions of stride 2 walk ceil(n / 2) back
from the size of the image, whatever the encoder made of it: dense layers stand between them.

The classic case: grey images of 30 x 30, channels 1-10-5 with kernels of 5, and 5-10-3-1 with
kernels of 4, 6, 4. Down, "valid": 30 -> 26 -> 13 -> 9 -> 4, so 5 planes of 4 x 4. Up, with a
transposed convolution that makes (n - 1) s - 2 p + k + o of a length n: three halvings of 30 are
15, 8, 4, so that with stride s = 2 the same 5 planes of 4 x 4 become

    4 ->  8    k = 4, padding p = 1, output padding o = 0:   3 * 2 - 2 + 4     =  8
    8 -> 15    k = 6, p = 3, o = 1:                          7 * 2 - 6 + 6 + 1 = 15
    15 -> 30   k = 4, p = 1, o = 0:                         14 * 2 - 2 + 4     = 30

With "same" it would be 30 -> 15 -> 8, where two doublings are enough: a decoder of three fits
"valid" alone.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod

from torch import nn

from vaekit.errors import VaekitError, choose
from vaekit.nn.blocks import Block
from vaekit.nn.conv import Grid, image_shape, one_each
from vaekit.nn.network import Network, Sizes, sizes

_PADDINGS = {"same": True, "valid": False}


class PoolEncoder(Network):
    """Convolutions, each with a 2 x 2 max-pooling, then dense: `(N, C, H, W) -> (N, *out_shape)`.

    `len(channels)` stages of a block (a convolution of stride 1, the activation) and a pooling;
    then flatten, dense blocks of the widths `hidden`, and the affine `output`.

    Args:
        in_shape: `(C, H, W)`.
        out_shape: shape of one result, a size or a tuple.
        channels: the channels after each stage.
        hidden: the widths of the dense layers before the output.
        kernel: side of the kernels, from 1: one for all stages, or one for each.
        padding: "same": convolutions keep the size and poolings round up, for any size from 1.
            "valid": no zeros are added, and rows and columns without a partner are dropped.
        activation: a name that `vaekit.nn.activation` knows.
        norm: "none" or "batch" (before the activation).
        dropout: the share of hidden activations dropped while training, in [0, 1).

    Raises:
        VaekitError: if `in_shape` is no image, or too small for "valid", a size is below 1, there
            are others than one kernel or as many as stages, a name is unknown or `dropout` is
            outside [0, 1).

    Example:
        >>> import torch
        >>> net = PoolEncoder((1, 30, 30), 10, channels=(10, 5), kernel=5, padding="valid")
        >>> net(torch.rand(3, 1, 30, 30)).shape, net.output.in_features
        (torch.Size([3, 10]), 80)
    """

    def __init__(
        self,
        in_shape: Sizes,
        out_shape: Sizes,
        channels: Sizes = (32, 64),
        hidden: Sizes = (),
        *,
        kernel: Sizes = 3,
        padding: str = "same",
        activation: str = "gelu",
        norm: str = "none",
        dropout: float = 0.0,
    ) -> None:
        image, target = image_shape("in_shape", in_shape), sizes("out_shape", out_shape)
        planes = (image[0], *sizes("channels", channels))
        sides = one_each("kernel", sizes("kernel", kernel), len(planes) - 1)
        last = grids(image[1:], sides, padding)[-1][1]
        widths = (planes[-1] * prod(last), *sizes("hidden", hidden, least=0))
        block = Block(activation, norm, dropout)
        body: list[nn.Module] = []
        for (before, after), side in zip(pairwise(planes), sides, strict=True):
            conv = nn.Conv2d(before, after, side, bias=block.bias)
            zeros = _zeros(side) if padding == "same" else []
            pool = nn.MaxPool2d(2, ceil_mode=_PADDINGS[padding])
            body += [*zeros, *block.after(conv, after), pool]
        body += [nn.Flatten(), *block.dense(widths)]
        super().__init__(image, target, body, nn.Linear(widths[-1], prod(target)))


def _zeros(kernel: int) -> list[nn.Module]:
    """The zeros around an image that keep its size: an even kernel needs one more at the end."""
    before, after = (kernel - 1) // 2, kernel // 2
    return [nn.ZeroPad2d((before, after, before, after))] if kernel > 1 else []


def grids(grid: Grid, kernels: tuple[int, ...], padding: str) -> list[tuple[Grid, Grid]]:
    """Of each stage, the size after the convolution and that after the pooling.

    Raises:
        VaekitError: for an unknown padding, or a size of which a stage would leave nothing.

    Example:
        >>> grids((30, 20), (5, 5), "valid")
        [((26, 16), (13, 8)), ((9, 4), (4, 2))]
        >>> grids((30, 1), (5, 5), "same")
        [((30, 1), (15, 1)), ((15, 1), (8, 1))]
    """
    same = choose("padding", padding, _PADDINGS)
    found, now = [], grid
    for side in kernels:
        seen = now if same else tuple(length - side + 1 for length in now)
        now = tuple((length + same) // 2 for length in seen)
        if min(now) < 1:
            raise VaekitError(
                f"an image of {' x '.join(map(str, grid))} is too small for {len(kernels)} stages "
                f"of kernel {', '.join(map(str, kernels))} with padding valid: take fewer or "
                "smaller ones, or padding same."
            )
        found.append((seen, now))
    return found

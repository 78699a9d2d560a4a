"""Convolutions with max-pooling, for images of any size.

Shapes: `N` batch, `C` channels, `H` and `W` height and width. A stage is a convolution of stride 1
with a kernel of k, then the greatest of each 2 x 2 pixels. A length n becomes

    padding "same"     ceil(n / 2)               n stays through the convolution
    padding "valid"    floor((n - k + 1) / 2)    what does not fit is dropped

The way back is a `ConvDecoder`, whose transposed convolutions of stride 2 walk ceil(n / 2) back
from the size of the image, whatever the encoder made of it: dense layers stand between them.

The classic case: gray images of 30 x 30, channels 1-10-5 with kernels of 5, and 5-10-3-1 with
kernels of 4, 6, 4. Down, "valid": 30 -> 26 -> 13 -> 9 -> 4, so 5 planes of 4 x 4. Up, with a
transposed convolution that makes (n - 1) s - 2 p + k + o of a length n: three halvings of 30 are
15, 8, 4, so that with stride s = 2 the same 5 planes of 4 x 4 become

    4 ->  8    k = 4, padding p = 1, output padding o = 0:   3 * 2 - 2 + 4     =  8
    8 -> 15    k = 6, p = 3, o = 1:                          7 * 2 - 6 + 6 + 1 = 15
    15 -> 30   k = 4, p = 1, o = 0:                         14 * 2 - 2 + 4     = 30

With "same" it would be 30 -> 15 -> 8, where two doublings are enough: a decoder of three fits
"valid" alone.

Unpooling needs the place of each maximum. A code of those networks has two parts: z, what is seen,
`latent` numbers; and the place of every maximum in its 2 x 2 window, where it is seen: 0 1 / 2 3,
row by row, of each stage in turn. The decoder puts each value at its place, and zeros beside it.
Places are whole numbers and carry no gradient. Each of them is worth up to log 4 nats: that is
what a model with a prior over them would have to pay.

Zhao, Mathieu, Goroshin & LeCun, "Stacked what-where auto-encoders", arXiv 1506.02351.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaekit.errors import VaekitError, choose
from vaekit.nn._network import (
    Network,
    Shape,
    Sizes,
    at_precision,
    check_input,
    image_shape,
    one_each,
    sizes,
)
from vaekit.nn.blocks import Block
from vaekit.registry import register

_PADDINGS = {"same": True, "valid": False}


@register("module", "pool-encoder")
class PoolEncoder(Network):
    """Convolutions, each with a 2 x 2 max-pooling, then dense: `(N, C, H, W) -> (N, *out_shape)`.

    `len(channels)` stages of a block (a convolution, the activation) and a pooling; then flatten,
    dense blocks of the widths `hidden`, and the affine `output`.

    Args:
        in_shape: `(C, H, W)`.
        out_shape: shape of one result, a size or a tuple.
        channels: the channels after each stage.
        hidden: the widths of the dense layers before the output.
        kernel: side of the kernels, from 1: one for all stages, or one for each.
        padding: "same": convolutions keep the size and poolings round up, for any size from 1.
            "valid": no zeros are added, and rows and columns without a partner are dropped.
        stride: of the convolutions, likewise.
        pads: zeros on each side of the convolutions, likewise; by default as `padding` says.
        options: of the blocks, as of `Block`.

    Raises:
        VaekitError: if `in_shape` is no image, or too small for "valid", a size is below 1, there
            are others than one kernel or as many as stages, a name is unknown or `dropout` is
            outside [0, 1).

    Example:
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
        stride: Sizes = 1,
        pads: Sizes | None = None,
        **options: Any,
    ) -> None:
        image, target = image_shape("in_shape", in_shape), sizes("out_shape", out_shape)
        planes = (image[0], *sizes("channels", channels))
        count = len(planes) - 1
        sides = one_each("kernel", sizes("kernel", kernel), count)
        steps = one_each("stride", sizes("stride", stride), count)
        zeros = None if pads is None else one_each("pads", pads, count)
        last = _grids(image[1:], sides, padding, steps, zeros)[-1][1]
        widths = (planes[-1] * prod(last), *sizes("hidden", hidden, least=0))
        block = Block(**options)
        same = _PADDINGS[padding]
        body: list[nn.Module] = []
        each = zip(pairwise(planes), sides, steps, zeros or (0,) * count, strict=True)
        for (before, after), side, step, pad in each:
            conv = nn.Conv2d(before, after, side, step, pad, bias=block.bias)
            low, high = (side - 1) // 2, side // 2  # zeros that keep its size
            whole = side > 1 and same and zeros is None
            around = [nn.ZeroPad2d((low, high, low, high))] if whole else []
            pool = nn.MaxPool2d(2, ceil_mode=same)
            body += [*around, *block.after(conv, after), pool]
        body += [nn.Flatten(), *block.dense(widths)]
        super().__init__(image, target, body, nn.Linear(widths[-1], prod(target)))


def _grids(
    grid: Shape,
    kernels: tuple[int, ...],
    padding: str,
    strides: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
) -> list[tuple[Shape, Shape]]:
    """Return the size after the convolution and that after the pooling, of each stage.

    Raises:
        VaekitError: for an unknown padding, or a size of which a stage would leave nothing.

    Example:
        >>> _grids((30, 20), (5, 5), "valid")
        [((26, 16), (13, 8)), ((9, 4), (4, 2))]
        >>> _grids((30, 1), (5, 5), "same")
        [((30, 1), (15, 1)), ((15, 1), (8, 1))]
        >>> _grids((30, 30), (5, 5), "valid", (1, 2), (0, 1))
        [((26, 26), (13, 13)), ((6, 6), (3, 3))]
    """
    same = choose("padding", padding, _PADDINGS)
    stages, pooled = [], grid
    for at, side in enumerate(kernels):
        step = strides[at] if strides else 1
        zeros = 2 * pads[at] if pads else (side - 1) * same
        seen = tuple((length + zeros - side) // step + 1 for length in pooled)
        pooled = tuple((length + same) // 2 for length in seen)
        if min(pooled) < 1:
            raise VaekitError(
                f"an image of {' x '.join(map(str, grid))} is too small for {len(kernels)} stages "
                f"of kernel {', '.join(map(str, kernels))} with padding valid: take fewer or "
                "smaller ones, or padding same."
            )
        stages.append((seen, pooled))
    return stages


def places_of(
    image: Sizes, channels: Sizes, kernel: Sizes = 3, padding: str = "same"
) -> list[tuple[int, ...]]:
    """Return the shape of the places of each stage, for an image `(C, H, W)`.

    Example:
        >>> places_of((1, 30, 30), (10, 5), 5, "valid")
        [(10, 13, 13), (5, 4, 4)]
    """
    planes = sizes("channels", channels)
    sides = one_each("kernel", sizes("kernel", kernel), len(planes))
    stages = _grids(image_shape("image", image)[1:], sides, padding)
    return [(width, *pooled) for width, (_, pooled) in zip(planes, stages, strict=True)]


def unpool(h: Tensor, places: Tensor, grid: Shape) -> Tensor:
    """Return each value at its place in a window of 2 x 2, and zeros beside it.

    Args:
        h: `(N, C, h, w)`.
        places: of the same shape, 0 to 3; rounded.
        grid: H and W of the result: what lies beyond the windows is 0.

    Example:
        >>> unpool(torch.tensor([[[[5.0, 7.0]]]]), torch.tensor([[[[1.2, 1.9]]]]), (2, 3))
        tensor([[[[0., 5., 0.],
                  [0., 0., 7.]]]])
    """
    large, position = (part.repeat_interleave(2, 2).repeat_interleave(2, 3) for part in (h, places))
    rows, columns = (torch.arange(size, device=h.device) % 2 for size in large.shape[2:])
    here = 2 * rows[:, None] + columns
    put = torch.where(position.round() == here, large, torch.zeros_like(large))
    return F.pad(put, (0, grid[1] - put.shape[3], 0, grid[0] - put.shape[2]))


@register("module", "unpool-encoder")
class UnpoolEncoder(nn.Module):
    """A `PoolEncoder` that gives the places too: `(N, C, H, W) -> (N, latent + places)`.

    Args:
        in_shape: `(C, H, W)`.
        latent: the numbers of z.
        channels, hidden, options: as of `PoolEncoder`.

    Raises:
        VaekitError: as `PoolEncoder`.

    Example:
        >>> net = UnpoolEncoder((1, 30, 30), 10, (10, 5), kernel=5, padding="valid")
        >>> net(torch.rand(3, 1, 30, 30)).shape  # 10 + 10 * 13 * 13 + 5 * 4 * 4
        torch.Size([3, 1780])
    """

    def __init__(
        self, in_shape: Sizes, latent: int, channels: Sizes, hidden: Sizes = (), **options: Any
    ) -> None:
        super().__init__()
        self.net = PoolEncoder(in_shape, latent, channels, hidden, **options)
        stages = {name: options[name] for name in ("kernel", "padding") if name in options}
        shapes = places_of(in_shape, channels, **stages)
        self.in_shape = self.net.in_shape
        self.maxima = sum(map(prod, shapes))
        self.out_shape = (latent + self.maxima,)

    def forward(self, x: Tensor) -> Tensor:
        """Return z and the places, one after the other.

        Args:
            x: `(N, *in_shape)`.

        Raises:
            VaekitError: if `x` has another shape.
        """
        check_input(self, x)
        return at_precision(self._compute, x)

    def _compute(self, x: Tensor) -> Tensor:
        h, places = x, []
        for layer in self.net.body:
            if isinstance(layer, nn.MaxPool2d):
                width = h.shape[3]
                h, index = F.max_pool2d(h, 2, ceil_mode=layer.ceil_mode, return_indices=True)
                place = 2 * (index // width % 2) + index % width % 2
                places.append(place.flatten(1).to(h.dtype))
            else:
                h = layer(h)
        return torch.cat([self.net.output(h), *places], 1)


@register("module", "unpool-decoder")
class UnpoolDecoder(nn.Module):
    """The encoder's mirror: unpooling, then a transposed convolution of stride 1, for each stage.

    `(N, latent + places [+ given]) -> (N, *out_shape)`: a dense block to the planes that the
    encoder ended with; then back through the same sizes, to the same image.

    Args:
        in_shape: the size of one code, with what is given.
        out_shape: `(C, H, W)`.
        latent: the numbers of z.
        channels, hidden, kernel, padding: the encoder's, in its order.
        options: of its blocks, as of `PoolEncoder`.

    Raises:
        VaekitError: as `PoolEncoder`, for even kernels with padding "same", and for a code that is
            smaller than z and the places.

    Example:
        >>> net = UnpoolDecoder(1780, (1, 30, 30), 10, (10, 5), kernel=5, padding="valid")
        >>> net(torch.zeros(3, 1780)).shape
        torch.Size([3, 1, 30, 30])
    """

    def __init__(
        self,
        in_shape: Sizes,
        out_shape: Sizes,
        latent: int,
        channels: Sizes,
        hidden: Sizes = (),
        *,
        kernel: Sizes = 3,
        padding: str = "same",
        **options: Any,
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = sizes("in_shape", in_shape), image_shape("image", out_shape)
        block = Block(**options)
        shapes = places_of(out_shape, channels, kernel, padding)
        counts = [prod(shape) for shape in shapes]
        rest = self.in_shape[0] - latent - sum(counts)
        if rest < 0:
            raise VaekitError(
                f"in_shape is {in_shape}; expected at least {latent + sum(counts)}: "
                f"{latent} of z, and {sum(counts)} places."
            )
        self.shapes, self.split = shapes[::-1], [latent, *counts, rest]
        sides = one_each("kernel", kernel, len(counts))
        self.grids = [seen for seen, _ in _grids(self.out_shape[1:], sides, padding)][::-1]
        inner = sizes("hidden", hidden, least=0)[::-1]
        self.dense = nn.Sequential(*block.dense((latent + rest, *inner, prod(self.shapes[0]))))
        planes = [shape[0] for shape in self.shapes]
        self.ups = nn.ModuleList()
        for (before, after), side in zip(pairwise(planes), sides[:0:-1], strict=True):
            around = _padding(side, padding)
            up = nn.ConvTranspose2d(before, after, side, 1, around, bias=block.bias)
            self.ups.append(nn.Sequential(*block.after(up, after)))
        around = _padding(sides[0], padding)
        self.output = nn.ConvTranspose2d(planes[-1], self.out_shape[0], sides[0], 1, around)

    def forward(self, code: Tensor) -> Tensor:
        """Return the image of z, with its maxima where the places say.

        Args:
            code: `(N, *in_shape)`.

        Raises:
            VaekitError: if `code` has another shape.
        """
        check_input(self, code)
        return at_precision(self._compute, code)

    def _compute(self, code: Tensor) -> Tensor:
        z, *places, given = code.split(self.split, 1)
        h = self.dense(torch.cat([z, given], 1)).unflatten(1, self.shapes[0])
        stages = zip([*self.ups, self.output], places[::-1], self.shapes, self.grids, strict=True)
        for up, place, shape, grid in stages:
            h = up(unpool(h, place.unflatten(1, shape), grid))
        return h


def _padding(kernel: int, padding: str) -> int:
    if padding == "valid":
        return 0
    if kernel % 2 == 0:
        raise VaekitError(
            f"kernel is {kernel}; unpooling with padding same needs odd ones, such as 3 or 5."
        )
    return (kernel - 1) // 2

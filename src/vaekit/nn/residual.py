"""Residual convolutional networks with group norm, for images of any size.

A block keeps the shape: x + convolution(f(norm(convolution(f(norm(x)))))), with 3 x 3 kernels.
Each stage has so many of them, and a convolution of stride 2, or a transposed one on the way up,
whose lengths are those of `vaekit.nn.conv`.

References:
    He et al. 2016, Identity mappings in deep residual networks, arXiv 1603.05027.
    Wu and He 2018, Group normalization, arXiv 1803.08494.
"""

from __future__ import annotations

from math import gcd, prod
from typing import Any

from torch import Tensor, nn

from vaekit.errors import at_least, within
from vaekit.nn._network import Network, Planes, Sizes, flatten, image_shape, sizes
from vaekit.nn.blocks import Block
from vaekit.nn.conv import stages_of
from vaekit.registry import register


@register("module", "residual")
class Residual(nn.Module):
    """A residual block, `(N, C, H, W) -> (N, C, H, W)`: see this file.

    Args:
        channels: C.
        groups: of the norm, or the most that divide it and C / 4: a group has four channels at
            least, since one channel of one pixel is 0 less its mean; 0 for no norm.
        activation: f, as `vaekit.nn.activation` knows it.
        dropout: the share of activations dropped before the last convolution, while training.
        depth: how many convolutions it has.

    Example:
        >>> import torch
        >>> block = Residual(48, groups=8)
        >>> block(torch.zeros(2, 48, 5, 5)).shape, block.body[0].num_groups
        (torch.Size([2, 48, 5, 5]), 4)
    """

    def __init__(
        self,
        channels: int,
        *,
        groups: int = 8,
        activation: str = "gelu",
        dropout: float = 0.0,
        depth: int = 2,
    ) -> None:
        super().__init__()
        body: list[nn.Module] = []
        for left in range(within("depth", depth, 1, 64), 0, -1):
            block = Block(activation, dropout=dropout if left == 1 else 0.0)
            body += [*_normed(channels, groups, block), nn.Conv2d(channels, channels, 3, padding=1)]
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        """Return x and what is added to it."""
        y: Tensor = x + self.body(x)
        return y


def _normed(channels: int, groups: int, block: Block) -> list[nn.Module]:
    """Return a group norm, where there are groups, and the activation after it."""
    if at_least("groups", groups, 0) == 0:
        return block.bend()
    return [nn.GroupNorm(gcd(groups, max(1, channels // 4)), channels), *block.bend()]


@register("module", "residual-encoder")
class ResidualEncoder(Network):
    """A convolution, stages of residual blocks, then dense: `(N, C, H, W) -> (N, *out_shape)`.

    Each of `len(channels)` stages has `blocks` residual blocks and turns a length n into
    ceil(n / 2); then norm and activation, flatten, dense blocks of the widths `hidden`, and the
    affine `output`.

    Args:
        in_shape: `(C, H, W)`, any size from 1.
        out_shape: shape of one result, a size or a tuple.
        channels: within each stage.
        hidden: the widths of the dense layers before the output.
        blocks: of each stage.
        groups: of the norms.
        options: `activation` and `dropout`, as of `Block`.

    Raises:
        VaekitError: if `in_shape` is no image, a size is below 1 or a name is unknown.

    Example:
        >>> import torch
        >>> net = ResidualEncoder((1, 30, 20), 16, channels=(16, 32))
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
        blocks: int = 1,
        groups: int = 8,
        **options: Any,
    ) -> None:
        image, target = image_shape("in_shape", in_shape), sizes("out_shape", out_shape)
        planes, block = sizes("channels", channels), Block(**options)
        stages = stages_of(image[1:], len(planes), 3, 2, None)
        body: list[nn.Module] = [nn.Conv2d(image[0], planes[0], 3, padding=1)]
        for width, after, stage in zip(planes, (*planes[1:], planes[-1]), stages, strict=True):
            body += _stage(width, blocks, groups, options)
            body.append(stage.down(width, after, True))
        widths = (planes[-1] * prod(stages[-1].small), *sizes("hidden", hidden, least=0))
        body += [*_normed(planes[-1], groups, block), nn.Flatten(), *block.dense(widths)]
        super().__init__(image, target, body, nn.Linear(widths[-1], prod(target)))


@register("module", "residual-decoder")
class ResidualDecoder(Network):
    """The mirror of `ResidualEncoder` with `channels` reversed: `(N, *in_shape) -> (N, C, H, W)`.

    Dense blocks to `channels[0]` planes; stages of `blocks` residual blocks and a transposed
    convolution each, which take the lengths back to exactly `H` and `W`; norm, activation, and a
    last convolution, `output`.

    Args:
        in_shape: shape of one input, a size or a tuple.
        out_shape: `(C, H, W)`, any size from 1.
        channels: within each stage.
        hidden: the widths of the first dense layers.
        blocks, groups, options: as of `ResidualEncoder`.

    Example:
        >>> import torch
        >>> net = ResidualDecoder(16, (3, 30, 21), channels=(32, 16))
        >>> net(torch.randn(5, 16)).shape
        torch.Size([5, 3, 30, 21])
    """

    def __init__(
        self,
        in_shape: Sizes,
        out_shape: Sizes,
        channels: Sizes = (64, 32),
        hidden: Sizes = (),
        *,
        blocks: int = 1,
        groups: int = 8,
        **options: Any,
    ) -> None:
        source, image = sizes("in_shape", in_shape), image_shape("out_shape", out_shape)
        planes, block = sizes("channels", channels), Block(**options)
        stages = stages_of(image[1:], len(planes), 3, 2, None)[::-1]
        first = (planes[0], *stages[0].small)
        widths = (prod(source), *sizes("hidden", hidden, least=0), prod(first))
        body = [*flatten(source), *block.dense(widths, "affine"), Planes(1, first)]
        for width, after, stage in zip(planes, (*planes[1:], planes[-1]), stages, strict=True):
            body += _stage(width, blocks, groups, options)
            body.append(stage.up(width, after, True))
        body += _normed(planes[-1], groups, block)
        super().__init__(source, image, body, nn.Conv2d(planes[-1], image[0], 3, padding=1))


def _stage(width: int, blocks: int, groups: int, options: dict[str, Any]) -> list[nn.Module]:
    count = within("blocks", blocks, 1, 64)
    return [Residual(width, groups=groups, **options) for _ in range(count)]

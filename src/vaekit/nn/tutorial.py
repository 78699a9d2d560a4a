"""The convolutions of TensorFlow's tutorial, with its paddings, which no other net here has."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod

from torch import nn

from vaekit.errors import VaekitError
from vaekit.nn.blocks import Block
from vaekit.nn.nets import Nets, Shape
from vaekit.nn.network import Network, flatten
from vaekit.nn.numerics import Planes
from vaekit.registry import register


@register("net", "tf-tutorial", activation="relu", init="glorot", start="init")
@dataclass(frozen=True, kw_only=True)
class TutorialNets(Nets):
    """The nets of TensorFlow's tutorial on VAEs: no padding down, zeros at the end on the way up.

    Two convolutions make 28 to 13 and 6; a dense layer, two transposed convolutions that are
    cropped at the end, and one of stride 1 make 7 to 14 and 28.
    """

    def _encoder(self, in_shape: Shape, out_shape: Shape) -> nn.Module:
        grid = [(length - 3) // 4 for length in in_shape[1:]]
        if min(grid) < 1:
            raise VaekitError(f"the net tf-tutorial takes images from 7 x 7; got {in_shape}.")
        block, body = Block(**self.options), list[nn.Module]()
        for before, after in pairwise((in_shape[0], 32, 64)):
            body += block.after(nn.Conv2d(before, after, 3, 2, bias=block.bias), after)
        output = nn.Linear(64 * prod(grid), prod(out_shape))
        return Network(in_shape, out_shape, [*body, nn.Flatten()], output)

    def _decoder(self, in_shape: Shape, out_shape: Shape) -> nn.Module:
        block, image = Block(**self.options), out_shape[1:]
        small, half = ([-(-length // share) for length in image] for share in (4, 2))
        body = [*flatten(in_shape), *block.dense((prod(in_shape), 32 * prod(small)))]
        body.append(Planes(1, (32, *small)))
        for before, after, now, then in ((32, 64, small, half), (64, 32, half, image)):
            up = nn.ConvTranspose2d(before, after, 3, 2, bias=block.bias)
            height, width = (n - 2 * m - 1 for m, n in zip(now, then, strict=True))
            body += [*block.after(up, after), nn.ZeroPad2d((0, width, 0, height))]
        output = nn.ConvTranspose2d(32, out_shape[0], 3, padding=1)
        return Network(in_shape, out_shape, body, output)

"""The recipe of a colouriser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

import vaekit as vk
from vaekit.errors import VaekitError
from vaekit.options import Net, Pixels
from vaekit.recipes.base import Recipe, recipe

if TYPE_CHECKING:
    from vaekit.data import DataSpec


Dense = Annotated[
    bool,
    Field(
        description="In place of the small convolutional net: transposed conv, conv, then a dense "
        "map to all values. At 64 x 64 that has 88 million weights: 0.35 GB, 1.4 GB with gradients "
        "and Adam's moments, 1.1 GB a checkpoint; sixteen times as much at 128 x 128."
    ),
]
Luminance = Annotated[
    float, Field(ge=0, description="The weight of the luminance error beside that of the colours.")
]
Noise = Annotated[
    float,
    Field(ge=0, description="Standard deviation of the noise on the grey input, in grey levels."),
]


@recipe(net="conv", channels=(16, 32, 64, 128))
def colorizer(
    data: DataSpec,
    *,
    net: Net,
    pixels: Pixels,
    dense: Dense = False,
    luminance: Luminance = 1.0,
    noise: Noise = 1.0,
) -> Recipe:
    """A network from grey pictures, as a VAE makes them, to colour: `vaekit colorize` applies it.

    Trained by the Gaussian likelihood of the colours given their luminance 0.30 R + 0.59 G +
    0.11 B under noise (which is colour MSE), and the error of the luminance of what it makes.
    """
    _refuse(data, net, pixels, dense)
    shape, options = data.shape[1:], {"activation": net.activation, "norm": net.norm}
    made = vk.ColourNet(shape, net.channels, net.sizes, dense=dense, dropout=net.dropout, **options)
    vk.initialise(made, net.init)
    if pixels.start == "mean" and data.mean is not None:
        vk.start_at(made, data.mean - vk.luminance(data.mean))
    family = vk.Gaussian(data.shape, scale=pixels.scale)
    level = (data.values.high - data.values.low) / 255
    model = vk.Colorizer(vk.Conditional(made, family), noise=noise * level)
    return Recipe(model, vk.Colouring(luminance=luminance))


def _refuse(data: DataSpec, net: Net, pixels: Pixels, dense: bool) -> None:
    """What a colouriser cannot be made of."""
    if data.kind != "colour" or data.shape[:1] != (3,):
        raise VaekitError(
            f"colorizer learns from colour images; {data.name} has rows of shape {data.shape} "
            f"({data.kind}): take data in colour, and leave --grey and --binarise."
        )
    if data.given:
        raise VaekitError("colorizer is given grey pictures and no labels: leave --given.")
    if net.kind != "conv":
        raise VaekitError(f"colorizer is a conv net; got --net {net.kind}: leave it.")
    if net.sizes and not dense:
        raise VaekitError(
            f"got --hidden {' '.join(map(str, net.sizes))}; only colorizer --dense has such layers."
        )
    if pixels.likelihood not in (None, "gaussian") or pixels.mean != "identity":
        raise VaekitError(
            "colorizer has a Gaussian likelihood around the network's output; got likelihood "
            f"{pixels.likelihood}, mean {pixels.mean}: leave them."
        )
    if pixels.scale == "free":
        raise VaekitError(
            "colorizer has one scale for all pixels; got --scale free: take fitted, shared or a "
            "number."
        )

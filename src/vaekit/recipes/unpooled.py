"""The autoencoder whose decoder is told where each maximum stood."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import vaekit as vk
from vaekit.errors import VaekitError
from vaekit.options import Net, Pixels
from vaekit.recipes.base import Recipe, recipe
from vaekit.recipes.classic import Latent
from vaekit.recipes.parts import common, pixel_family, started

if TYPE_CHECKING:
    from vaekit.data import DataSpec


@recipe(net="pool")
def unpool_ae(data: DataSpec, *, net: Net, pixels: Pixels, latent: Latent = 16) -> Recipe:
    """An autoencoder with max-pooling whose decoder is told where each maximum stood: no VAE.

    The places reach the decoder beside the latent, so they are a part of the code, which is much
    larger than `latent`. Nothing says how places are distributed: there is no bound, and no
    samples. Zhao et al., "Stacked what-where auto-encoders", arXiv 1506.02351.
    """
    from vaekit.nn.blocks import Block
    from vaekit.nn.unpool import places_of

    _refuse(net)
    options, shape = common(data, net), data.shape
    stages: dict[str, Any] = {"kernel": net.kernel, "padding": net.padding}
    code = latent + sum(prod(one) for one in places_of(shape, net.channels, **stages))
    family, pixel = vk.Delta(code), pixel_family(data, pixels)
    encoder = vk.UnpoolEncoder(
        vk.joined_shape(shape, data.given), latent, net.channels, net.sizes, **stages, **options
    )
    decoder = vk.UnpoolDecoder(
        vk.joined_shape((code,), data.given),
        pixel.param_shape,
        latent,
        net.channels,
        net.sizes,
        **stages,
        block=Block(**options),
    )
    posterior = vk.Conditional(vk.initialise(encoder, net.init), family, in_shape=shape)
    likelihood = started(data, vk.initialise(decoder, net.init), pixel, code, pixels)
    return Recipe(vk.VAE(vk.NoPrior(code), posterior, likelihood), vk.Reconstruction())


def _refuse(net: Net) -> None:
    """What is no pooling, and a decoder that would not meet the encoder's sizes."""
    if net.kind != "pool":
        raise VaekitError(f"unpool_ae undoes max-pooling; got --net {net.kind}: take --net pool.")
    if net.decoder_channels or net.decoder_kernel:
        raise VaekitError(
            "unpool_ae mirrors its encoder, plane by plane: leave --decoder-channels and "
            "--decoder-kernel, or take the recipe ae with --net pool."
        )

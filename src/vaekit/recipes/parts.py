"""What recipes are made of: networks sized for the data, and the likelihood that was asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import vaekit as vk
from vaekit.errors import VaekitError
from vaekit.options import Net, Pixels

if TYPE_CHECKING:
    from torch import nn

    from vaekit.data import DataSpec
    from vaekit.models import VAE
    from vaekit.nn import Network
    from vaekit.parts.conditional import Conditional, Family


DEFAULTS = {
    "binary": "bernoulli",
    "grey": "gaussian",
    "colour": "gaussian",
    "table": "gaussian",
    "counts": "negative-binomial",
}
OVER_COUNTS = ("negative-binomial", "poisson")
OVER_ANY = ("gaussian", "laplace")
PIXEL_FLOOR = -6.0  # of a free log-scale: sigma 0.0025, half a grey level of 8 bits


def common(data: DataSpec, net: Net) -> dict[str, Any]:
    """What all kinds of network take."""
    if net.kind != "mlp" and len(data.shape) != 3:
        raise VaekitError(
            f"a {net.kind} net needs images; {data.name} has rows of shape {data.shape}: "
            "take --net mlp."
        )
    return {"activation": net.activation, "norm": net.norm, "dropout": net.dropout}


def _encoder(data: DataSpec, out: tuple[int, ...], net: Net) -> nn.Module:
    """A network from one x to `out`."""
    options, given = common(data, net), data.given
    made: nn.Module
    if net.kind != "mlp":
        planes = vk.joined_shape(data.shape, given)
        made = _convolutions(planes, out, net, options)
    else:
        shape = vk.joined_shape((math.prod(data.shape),), given) if given else data.shape
        made = vk.MLP(shape, out, net.sizes, **options)
    vk.initialise(made, net.init)
    return vk.LogCounts(made) if data.kind == "counts" else made


def _convolutions(
    planes: tuple[int, ...], out: tuple[int, ...], net: Net, options: dict[str, Any]
) -> nn.Module:
    """The encoder of images."""
    if net.kind == "conv":
        return vk.ConvEncoder(planes, out, net.channels, net.sizes, kernel=net.kernel, **options)
    return vk.PoolEncoder(
        planes, out, net.channels, net.sizes, kernel=net.kernel, padding=net.padding, **options
    )


def _decoder(data: DataSpec, latent: int, out: tuple[int, ...], net: Net) -> nn.Module:
    """A network from one z to `out`: the encoder's sizes in reverse."""
    options, hidden = common(data, net), net.sizes[::-1]
    code = vk.joined_shape((latent,), data.given)
    if net.kind != "mlp":
        channels = net.decoder_channels or net.channels[::-1]
        kernel = net.decoder_kernel or net.kernel[::-1]
        made: Network = vk.ConvDecoder(code, out, channels, hidden, kernel=kernel, **options)
    else:
        made = vk.MLP(code, out, hidden, **options)
    if net.latent_dropout:
        made.body.insert(0, vk.LatentDropout(latent, net.latent_dropout))
    return vk.initialise(made, net.init)


def _likelihood_name(data: DataSpec, pixels: Pixels) -> str:
    """The likelihood asked for, or that of the kind of data, where the two fit."""
    name: str = pixels.likelihood or DEFAULTS[data.kind]
    fits = name in OVER_ANY or (name in OVER_COUNTS) == (data.kind == "counts")
    if not fits:
        takes = "counts" if name in OVER_COUNTS else "values in [0, 1], not counts"
        raise VaekitError(
            f"the likelihood {name} takes {takes}; the data {data.name} are of kind {data.kind}: "
            f"take --likelihood {DEFAULTS[data.kind]}."
        )
    return name


def pixel_family(data: DataSpec, pixels: Pixels) -> Family:
    """The family of p(x|z)."""
    name = _likelihood_name(data, pixels)
    if name in OVER_ANY:
        kind = vk.Gaussian if name == "gaussian" else vk.Laplace
        return kind(data.shape, scale=pixels.scale, mean=pixels.mean, floor=PIXEL_FLOOR)
    kinds: dict[str, type[Family]] = {
        "bernoulli": vk.Bernoulli,
        "continuous-bernoulli": vk.ContinuousBernoulli,
        "categorical": vk.Categorical,
        "negative-binomial": vk.NegativeBinomial,
        "poisson": vk.Poisson,
    }
    return kinds[name](data.shape)


def posterior(data: DataSpec, family: Family, net: Net) -> Conditional:
    """q(z|x) of this family."""
    return vk.Conditional(_encoder(data, family.param_shape, net), family, in_shape=data.shape)


def likelihood(data: DataSpec, latent: int, net: Net, pixels: Pixels) -> Conditional:
    """p(x|z), its output started at the data's mean."""
    family = pixel_family(data, pixels)
    decoder = _decoder(data, latent, family.param_shape, net)
    return started(data, decoder, family, latent, pixels)


def started(
    data: DataSpec, decoder: nn.Module, family: Family, latent: int, pixels: Pixels
) -> Conditional:
    """p(x|z) of this network, whose output starts at the data's mean."""
    if pixels.start == "mean" and data.mean is not None:
        vk.start_at(decoder, family.start(data.mean))
    return vk.Conditional(decoder, family, in_shape=latent)


def standard_vae(data: DataSpec, family: Family, net: Net, pixels: Pixels) -> VAE:
    """A VAE with the prior N(0, I) and a posterior of `family`."""
    return vk.VAE(
        vk.StandardNormal(family.event_shape),
        posterior(data, family, net),
        likelihood(data, family.event_shape[0], net, pixels),
    )

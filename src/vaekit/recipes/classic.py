"""The classic recipes: the autoencoder, the VAE and what changes one idea of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

import vaekit as vk
from vaekit.errors import VaekitError
from vaekit.options import Net, Pixels
from vaekit.recipes.base import Recipe, recipe
from vaekit.recipes.parts import standard_vae

if TYPE_CHECKING:
    from vaekit.data import DataSpec


Latent = Annotated[int, Field(ge=1, description="The size of the latent.")]
Beta = Annotated[float, Field(ge=0, description="The KL weight.")]
Samples = Annotated[int, Field(ge=1, description="Monte-Carlo draws per image.")]
KL = Annotated[
    Literal["closed", "sampled"],
    Field(description="The KL in closed form, or log q - log p at the draw."),
]


@recipe
def ae(data: DataSpec, *, net: Net, pixels: Pixels, latent: Latent = 16) -> Recipe:
    """A plain autoencoder: one point per image, no prior to sample from and no bound.

    Hinton & Salakhutdinov, Science 313, 2006.
    """
    return Recipe(standard_vae(data, vk.Delta(latent), net, pixels), vk.Reconstruction())


@recipe
def vae(
    data: DataSpec,
    *,
    net: Net,
    pixels: Pixels,
    latent: Latent = 16,
    kl: KL = "closed",
    samples: Samples = 1,
) -> Recipe:
    """The variational autoencoder: a Gaussian posterior, trained by the ELBO.

    Kingma & Welling, "Auto-encoding variational Bayes", arXiv 1312.6114.
    """
    model = standard_vae(data, vk.Gaussian(latent), net, pixels)
    return Recipe(model, vk.ELBO(kl=kl, samples=samples))


@recipe
def beta_vae(
    data: DataSpec, *, net: Net, pixels: Pixels, latent: Latent = 10, beta: Beta = 4.0
) -> Recipe:
    """A VAE with a weight on the KL: fewer nats in the latent, each of them more telling.

    Higgins et al., "beta-VAE", ICLR 2017, eq. 4.
    """
    return Recipe(standard_vae(data, vk.Gaussian(latent), net, pixels), vk.ELBO(beta=beta))


@recipe(given="label")
def cvae(
    data: DataSpec, *, net: Net, pixels: Pixels, latent: Latent = 16, kl: KL = "closed"
) -> Recipe:
    """A VAE that is told the label: it can be asked for one, and the code holds what is left.

    Sohn, Lee & Yan, "Learning structured output representation", NeurIPS 2015, with the prior
    N(0, I) whatever the label (Kingma et al., arXiv 1406.5298, eq. 6).
    """
    if not data.given:
        raise VaekitError(
            "cvae is conditioned on labels; got --given none: leave it, or take the recipe vae."
        )
    return Recipe(standard_vae(data, vk.Gaussian(latent), net, pixels), vk.ELBO(kl=kl))


@recipe
def sigma_vae(data: DataSpec, *, net: Net, pixels: Pixels, latent: Latent = 16) -> Recipe:
    """A VAE whose Gaussian likelihood has the best shared sigma: no weight to tune.

    Rybkin, Daniilidis & Levine, "Simple and effective VAE training with calibrated decoders",
    arXiv 2006.13202, eq. 5.
    """
    if pixels.likelihood not in (None, "gaussian") or pixels.scale != "fitted":
        raise VaekitError(
            "sigma_vae is a Gaussian likelihood with a fitted scale; got "
            f"likelihood {pixels.likelihood}, scale {pixels.scale}: take the recipe vae for those."
        )
    pixels = pixels.model_copy(update={"likelihood": "gaussian"})
    return Recipe(standard_vae(data, vk.Gaussian(latent), net, pixels), vk.ELBO())


@recipe
def iwae(
    data: DataSpec, *, net: Net, pixels: Pixels, latent: Latent = 16, samples: Samples = 5
) -> Recipe:
    """A VAE trained by the importance-weighted bound: several draws per image, a tighter bound.

    Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", arXiv 1509.00519. A fitted
    scale is the optimum of the ELBO and not of this bound: here it is shared and learned instead.
    """
    if pixels.scale == "fitted":
        pixels = pixels.model_copy(update={"scale": "shared"})
    return Recipe(standard_vae(data, vk.Gaussian(latent), net, pixels), vk.IWAE(samples=samples))

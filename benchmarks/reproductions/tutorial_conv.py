"""The convolutional VAE of TensorFlow's tutorial, with its paddings and its initialisation."""

from torch import nn

import vaekit as vk
from vaekit.data import DataSpec
from vaekit.recipes import Net, Pixels, Recipe, recipe
from vaekit.runs.reproduce import Reproduction, measure_elbo


def encoder(latent: int) -> nn.Module:
    """Valid padding: 28 -> 13 -> 6."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 6 * 6, 2 * latent),
    )


def decoder(latent: int) -> nn.Module:
    """Same padding, which crops at the end: 7 -> 14 -> 28."""
    return nn.Sequential(
        nn.Linear(latent, 32 * 7 * 7),
        nn.ReLU(),
        nn.Unflatten(1, (32, 7, 7)),
        nn.ConvTranspose2d(32, 64, 3, stride=2, padding=0),
        nn.ZeroPad2d((0, -1, 0, -1)),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 3, stride=2, padding=0),
        nn.ZeroPad2d((0, -1, 0, -1)),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 3, stride=1, padding=1),
    )


@recipe
def tutorial_conv(data: DataSpec, *, net: Net, pixels: Pixels, latent: int = 2) -> Recipe:
    """The convolutional VAE of TensorFlow's tutorial."""
    into = vk.initialise(encoder(latent), "glorot")
    out = vk.initialise(decoder(latent), "glorot")
    model = vk.VAE(
        vk.StandardNormal(latent),
        vk.Conditional(into, vk.Gaussian(latent), in_shape=data.shape),
        vk.Conditional(out, vk.Bernoulli(data.shape), in_shape=latent),
    )
    return Recipe(model, vk.ELBO(kl="sampled"))


REPRODUCTION = Reproduction(
    name="tutorial-conv",
    title="conv VAE, 2 latents, thresholded MNIST",
    number="-ELBO, nats, test",
    reference=155.9,
    source="TensorFlow tutorial 'Convolutional Variational Autoencoder', output after 10 epochs",
    protocol="MNIST > 0.5, 60k/10k, Adam 1e-4 (eps 1e-7), batch 32, 10 epochs, sampled KL, "
    "last weights; 1 draw",
    recipe="tutorial_conv",
    options={
        "data": "mnist",
        "binarise": "threshold",
        "validation": 0,
        "epochs": 10,
        "batch_size": 32,
        "lr": 1e-4,
        "optimizer_options": ("eps=1e-7",),
    },
    measure=measure_elbo(1),
)

"""The convolutional VAE of TensorFlow's tutorial, with its paddings and its initialization."""

from vaekit.runs import Reproduction, measure_elbo

REPRODUCTION = Reproduction(
    name="tutorial-conv",
    title="conv VAE, 2 latents, thresholded MNIST",
    number="-ELBO, nats, test",
    reference=155.9,
    source="TensorFlow tutorial 'Convolutional Variational Autoencoder', output after 10 epochs",
    protocol="MNIST > 0.5, 60k/10k, Adam 1e-4 (eps 1e-7), batch 32, 10 epochs, sampled KL, "
    "last weights; 1 draw",
    recipe="vae",
    options={
        "data": "mnist",
        "latent": 2,
        "net": "tf-tutorial",
        "objective": "elbo:kl=sampled",
        "binarize": "threshold",
        "validation": 0,
        "epochs": 10,
        "batch_size": 32,
        "lr": 1e-4,
        "optimizer_options": ("eps=1e-7",),
    },
    measure=measure_elbo(1),
)

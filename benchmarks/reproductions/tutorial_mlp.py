"""The usual tutorial: an MLP with two hidden layers on gray MNIST under a Bernoulli."""

from vaekit.runs import Reproduction, measure_elbo

REPRODUCTION = Reproduction(
    name="tutorial-mlp",
    title="784-512-256-32 ReLU, gray MNIST",
    number="BCE + KL, nats, test (not a likelihood)",
    reference=100.3,
    source="a plain hand-written loop; nothing published",
    protocol="gray MNIST 60k/10k, Adam 1e-3, batch 128, 20 epochs, last weights; 1 draw",
    recipe="vae",
    options={
        "data": "mnist",
        "likelihood": "bernoulli",
        "latent": 32,
        "net": "mlp:hidden=512,256:activation=relu:start=init",
        "validation": 0,
        "epochs": 20,
    },
    measure=measure_elbo(1),
)

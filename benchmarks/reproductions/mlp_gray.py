"""The example of a VAE that comes with PyTorch: one hidden layer, gray MNIST under a Bernoulli."""

from collections.abc import Mapping
from typing import Any

from vaekit.runs import Reproduction, Run


def measure(run: Run) -> Mapping[str, Any]:
    """The loss on the test images, with one draw each as there; not a likelihood."""
    found = run.evaluate("bound:samples=1")
    train = run.evaluate("bound:samples=1", split="train")
    return {
        "ours": -found["elbo"],
        "standard_error": found["elbo_standard_error"],
        "training images (106.31)": f"{-train['elbo']:.2f}",
    }


REPRODUCTION = Reproduction(
    name="mlp-gray",
    title="784-400-20 ReLU, gray MNIST",
    number="BCE + KL, nats, test (not a likelihood)",
    reference=105.59,
    source="pytorch/examples, vae: output of a run, test loss after 10 epochs",
    protocol="gray MNIST 60k/10k, Adam 1e-3, batch 128, 10 epochs, last weights; 1 draw",
    recipe="vae",
    options={
        "data": "mnist",
        "likelihood": "bernoulli",
        "latent": 20,
        "net": "mlp:hidden=400:activation=relu:start=init",
        "validation": 0,
        "epochs": 10,
    },
    measure=measure,
)

"""A mean-field VAE with 128 latents on the fixed binarization, trained by RMSprop."""

from collections.abc import Mapping
from typing import Any

from vaekit.runs import Reproduction, Run


def measure(run: Run) -> Mapping[str, Any]:
    """The ELBO of the test images; log p(x) by 128 draws beside it."""
    found = run.evaluate("bound:samples=10")
    more = run.evaluate("bound:samples=1", "nll:samples=128")
    return {
        "ours": -found["elbo"],
        "standard_error": found["elbo_standard_error"],
        "-log p by 128 draws (97.10)": f"{more['nll']['mean']:.2f}",
    }


REPRODUCTION = Reproduction(
    name="mean-field",
    title="mean-field VAE, 128 latents, MLP 256-256, static MNIST",
    number="-ELBO, nats, test",
    reference=103.31,
    source="jaanli/variational-autoencoder, README: output of the mean-field run",
    protocol="static MNIST 50k/10k/10k, centered RMSprop 1e-3 on the summed loss, batch 128, "
    "65k steps, best validation bound; 10 draws",
    recipe="vae",
    options={
        "data": "binarized-mnist",
        "latent": 128,
        "net": "mlp:hidden=256,256:activation=relu:start=init",
        "posterior": "gaussian:scale=softplus",
        "objective": "elbo:kl=sampled",
        "epochs": 166,
        "optimizer": "rmsprop",
        # There the gradients are sums over 128 images: to the optimizer that is a smaller eps.
        "optimizer_options": ("centered=true", "eps=7.8125e-11"),
    },
    measure=measure,
)

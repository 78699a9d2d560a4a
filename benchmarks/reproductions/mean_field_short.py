"""The mean-field VAE again, by the run that its repository prints today."""

from collections.abc import Mapping
from typing import Any

from vaekit.runs import Reproduction, Run, open_run


def measure(run: Run) -> Mapping[str, Any]:
    """The ELBO of the test images; log p(x) by 1,000 draws, as there, of every tenth of them."""
    found = run.evaluate("bound:samples=10")
    more = run.evaluate("bound:samples=1", "nll:samples=1000", limit=1000)
    last = open_run(run.path, weights="last").evaluate("bound:samples=10")
    return {
        "ours": -found["elbo"],
        "standard_error": found["elbo_standard_error"],
        "-log p by 1,000 draws, 1,000 images (100.31)": f"{more['nll']['mean']:.2f}",
        "-ELBO of the last weights": f"{-last['elbo']:.2f}",
    }


REPRODUCTION = Reproduction(
    name="mean-field-short",
    title="mean-field VAE, 128 latents, a third of the steps",
    number="-ELBO, nats, test",
    reference=106.64,
    source="jaanli/variational-autoencoder, README: output of 30,000 steps, whose best validation "
    "bound of three was at step 20,000",
    protocol="static MNIST 50k/10k/10k, centered RMSprop 1e-3 on the summed loss, batch 128, "
    "19,941 steps, best validation bound; 10 draws",
    recipe="vae",
    options={
        "data": "binarized-mnist",
        "latent": 128,
        "net": "mlp:hidden=256,256:activation=relu:start=init",
        "posterior": "gaussian:scale=softplus",
        "objective": "elbo:kl=sampled",
        "epochs": 51,
        "optimizer": "rmsprop",
        "optimizer_options": ("centered=true", "eps=7.8125e-11"),
    },
    measure=measure,
)

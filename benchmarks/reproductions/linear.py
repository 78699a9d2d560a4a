"""A linear VAE is probabilistic PCA: its best ELBO is the log-likelihood, in closed form."""

from collections.abc import Mapping
from typing import Any

import torch

from vaekit.runs import Reproduction, Run
from vaekit.testing import LinearGaussian
from vaekit.torchutil import evaluating

LATENT = 8


def measure(run: Run) -> Mapping[str, Any]:
    """The ELBO of the training rows, with log q - log p at the draw: at the optimum exact."""
    x = run.dataset().train.x()
    oracle = LinearGaussian.fit(x.flatten(1).double(), LATENT)
    torch.manual_seed(0)
    model: Any = run.model
    with evaluating(model):
        elbo = model(x, samples=(100,)).log_weight.double().mean(0)
    decoder = model.likelihood.net
    learned = decoder(torch.eye(LATENT)) - decoder(torch.zeros(LATENT, LATENT))
    found = torch.linalg.qr(learned.detach().flatten(1).double().T).Q
    wanted = torch.linalg.qr(oracle.weight).Q
    cosines = torch.linalg.svdvals(found.T @ wanted).clamp(max=1)
    exact = -oracle.log_prob(x.flatten(1).double()).mean().item()
    return {
        "reference": exact,
        "ours": -elbo.mean().item(),
        "standard_error": 0.0,
        "largest angle to the principal space (degrees)": f"{cosines.acos().max().rad2deg():.2f}",
    }


REPRODUCTION = Reproduction(
    name="linear",
    title="linear VAE, 8 latents, on digits",
    number="-ELBO, nats, training rows",
    reference=None,
    source="Tipping & Bishop 1999; Lucas et al., arXiv 1911.02469: the closed form",
    protocol="digits, 1,497 training rows, linear nets, shared sigma, Adam 1e-2 cosine, "
    "3000 epochs of batch 256; 100 draws",
    recipe="vae",
    options={
        "data": "digits",
        "latent": LATENT,
        "net": "mlp:hidden=",
        "likelihood": ":scale=shared",
        "validation": 0,
        "batch_size": 256,
        "epochs": 3000,
        "lr": 1e-2,
        "lr_schedule": "cosine",
    },
    measure=measure,
    tolerance=0.01,
)

"""A small VAE on the fixed binarization of MNIST, as larger comparisons quote it."""

from vaekit.runs import Reproduction, measure_nll

REPRODUCTION = Reproduction(
    name="static-mlp",
    title="784-400-40 ReLU, static MNIST",
    number="-log p(x), nats, test, S = 200",
    reference=89.9,
    source="clementchadebec/benchmark_VAE, reproducibility table: 89.9 (theirs 89.78 +- 0.01)",
    protocol="static MNIST 50k/10k/10k, Adam 1e-4, x 10^-0.2 at epochs 200 and 350, batch 100, "
    "500 epochs, best validation bound; S = 200",
    recipe="vae",
    options={
        "data": "binarized-mnist",
        "latent": 40,
        "net": "mlp:hidden=400:activation=relu:start=init",
        "batch_size": 100,
        "lr": 1e-4,
        "lr_schedule": "step:0.6309573444801932:200,350",
        "epochs": 500,
    },
    measure=measure_nll(200),
)

"""log p(x) by importance sampling: the kit against pythae 0.1.2's `get_nll`.

The VAE 784-200-200-50 on binary rows, S = 5000, the same weights on both sides. Each has a
process of its own; rounds alternate; the ratio of each pair of neighboring rounds is taken. pythae
is measured with its default batch of 100 draws and with the one of `BATCHES` that is fastest here.
Before that, both take the same noise and must find the same log p(x).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pythae import models as peers
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import Tensor, nn

import vaekit as vk
from peers.results import PYTHAE
from peers.side import Side, alternate, ratios, spread
from vaekit.evaluate import nll

PIXELS, HIDDEN, LATENT, SAMPLES = 784, 200, 50, 5000
BATCHES = (500, 1000, 5000)


def network(inputs: int, outputs: int) -> nn.Sequential:
    """Two hidden layers of tanh."""
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN),
        nn.Tanh(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.Tanh(),
        nn.Linear(HIDDEN, outputs),
    )


class Encoder(BaseEncoder):
    """The encoder as pythae takes it: q(z|x) of the kit's model."""

    def __init__(self, posterior: nn.Module) -> None:
        super().__init__()
        self.posterior = posterior
        self.latent_dim = LATENT

    def forward(self, x: Tensor) -> Any:
        q = self.posterior(x)
        return ModelOutput(embedding=q.mean, log_covariance=2 * q.scale.log())


class Decoder(BaseDecoder):
    """The decoder as pythae takes it: probabilities."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> Any:
        return ModelOutput(reconstruction=self.net(z).sigmoid())


def models() -> tuple[vk.VAE, Any]:
    """The kit's model and pythae's, of the same networks."""
    encoder, decoder = network(PIXELS, 2 * LATENT), network(LATENT, PIXELS)
    ours = vk.VAE(
        vk.StandardNormal(LATENT),
        vk.Conditional(encoder, vk.Gaussian(LATENT), in_shape=PIXELS),
        vk.Conditional(decoder, vk.Bernoulli(PIXELS), in_shape=LATENT),
    )
    config = peers.VAEConfig(input_dim=(PIXELS,), latent_dim=LATENT, reconstruction_loss="bce")
    return ours.eval(), peers.VAE(config, Encoder(ours.posterior), Decoder(decoder)).eval()


def ours(model: vk.VAE, x: Tensor, samples: int = SAMPLES) -> float:
    """The mean of log p(x)."""
    return -nll(model, [(x, None)], samples=samples).mean


def theirs(model: Any, x: Tensor, batch: int, samples: int = SAMPLES, grad: bool = False) -> float:
    """The mean of log p(x); get_nll leaves it to its caller to switch gradients off."""
    with torch.set_grad_enabled(grad):
        return float(model.get_nll(x, n_samples=samples, batch_size=batch))


def difference(model: vk.VAE, peer: Any, x: Tensor) -> float:
    """The largest |log p(x)| between the two on the same noise.

    A generator gives the same numbers whatever the batch where that holds 16 k of them.
    """
    off = []
    for row in x.split(1):
        torch.manual_seed(0)
        one = ours(model, row, samples=4000)
        torch.manual_seed(0)
        off.append(abs(one - theirs(peer, row, batch=80, samples=4000)))
    return max(off)


class Contestant:
    """One of the two, as its user would have it."""

    def __init__(self, whose: str, images: int) -> None:
        self.whose = whose
        self.model, self.peer, self.x = everything(images)

    def run(self, batch: int = 0, images: int | None = None, grad: bool = False) -> float:
        """The mean of log p(x) of the first images."""
        x = self.x[:images]
        if self.whose == "ours":
            return ours(self.model, x)
        return theirs(self.peer, x, batch, grad=grad)


def everything(images: int) -> tuple[vk.VAE, Any, Tensor]:
    """Both models and the rows, the same in each process."""
    torch.manual_seed(0)
    model, peer = models()
    return model, peer, (torch.rand(images, PIXELS) < 0.2).float()


def measure(images: int, rounds: int, threads: int) -> dict[str, float]:
    """The medians over rounds; both are refused where they differ on the same noise."""
    model, peer, x = everything(4)
    off = difference(model, peer, x)
    if off > 1e-3:
        raise SystemExit(f"on the same noise the two differ by {off:.2g} nat")
    kit, other = (Side(Contestant, name, images, threads=threads) for name in ("ours", "theirs"))
    kit.seconds("run", 0, 4)
    taken = {batch: other.seconds("run", batch, 4) for batch in BATCHES}
    batch = min(taken, key=taken.__getitem__)
    calls: dict[str, Callable[[], float]] = {
        "plain": partial(other.seconds, "run", 100, None, True),
        "default": partial(other.seconds, "run", 100),
        "ours": kit.seconds,
        "fastest": partial(other.seconds, "run", batch),
    }
    times = alternate(calls, rounds)
    for side in (kit, other):
        side.end()
    names = {
        "plain": f"than {PYTHAE} get_nll as it is called",
        "default": "than get_nll under no_grad",
        "fastest": "than get_nll under no_grad with its fastest batch",
    }
    found: dict[str, float] = {}
    for name, words in names.items():
        measure = f"log p(x): times faster {words} (median of ratios)"
        found |= spread(measure, ratios(times[name], times["ours"]))
    return {**found, "log p(x): images per second": images / statistics.median(times["ours"])}

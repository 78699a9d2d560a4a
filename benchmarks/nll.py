"""log p(x) by importance sampling: the kit against pythae 0.1.2's `get_nll`.

The VAE 784-200-200-50 on binary rows, S = 5000, the same weights on both sides. Rounds alternate;
the ratio of each pair of neighbouring rounds is taken, and their median printed. pythae is measured
with its default batch of 100 draws and with the one of `--batches` that is fastest here. Before
that, both are given the same noise and must find the same log p(x).

    pip install --no-deps pythae==0.1.2 && pip install --no-deps imageio cloudpickle dill tqdm
    python benchmarks/nll.py [--images 20] [--rounds 5] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pythae import models as peers
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import Tensor, nn

import vaekit as vk
from vaekit.evaluate import nll

PIXELS, HIDDEN, LATENT, SAMPLES = 784, 200, 50, 5000


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


def theirs(model: Any, x: Tensor, batch: int, samples: int = SAMPLES) -> float:
    """The mean of log p(x); without gradients, which get_nll leaves to its caller."""
    with torch.no_grad():
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


def seconds(work: Callable[[], float]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[500, 1000, 5000])
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    model, peer = models()
    x = (torch.rand(asked.images, PIXELS) < 0.2).float()
    off = difference(model, peer, x[:4])
    if off > 1e-3:
        raise SystemExit(f"on the same noise the two differ by {off:.2g} nat")
    some = x[:4]
    batch = min(
        asked.batches, key=lambda b: min(seconds(lambda: theirs(peer, some, b)) for _ in "ab")
    )
    ours(model, some)
    times: dict[str, list[float]] = {"ours": [], "default": [], "fastest": []}
    for _ in range(asked.rounds):
        times["default"].append(seconds(lambda: theirs(peer, x, 100)))
        times["ours"].append(seconds(lambda: ours(model, x)))
        times["fastest"].append(seconds(lambda: theirs(peer, x, batch)))
    rate = {name: asked.images / statistics.median(each) for name, each in times.items()}
    found = {
        "system": f"{platform.machine()}, {asked.threads} threads, torch {torch.__version__}",
        "images": asked.images,
        "difference on the same noise (nats)": off,
        "images/s": rate["ours"],
        "images/s of pythae, batch 100 (default)": asked.images
        / statistics.median(times["default"]),
        f"images/s of pythae, batch {batch}": rate["fastest"],
        "times faster than its default": ratio(times, "default"),
        "times faster than its fastest": ratio(times, "fastest"),
    }
    print(json.dumps(found) if asked.json else "\n".join(f"{k}: {v}" for k, v in found.items()))


def ratio(times: dict[str, list[float]], name: str) -> float:
    """The median over rounds."""
    return float(np.median(np.array(times[name]) / np.array(times["ours"])))


if __name__ == "__main__":
    main()

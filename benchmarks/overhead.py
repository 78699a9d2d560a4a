"""What the kit's loop costs against a hand-written one: the same model, data, optimizer, noise.

An MLP VAE 784-512-256-32 on 28 x 28 bytes, Bernoulli, Adam 1e-3 (fused on both sides), the rows
picked from bytes in memory on both sides. Rounds alternate; the ratio of each pair of
neighboring rounds is taken, and their median printed.

    python benchmarks/overhead.py [--batch-size 128] [--steps 150] [--rounds 15] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

import vaekit
from vaekit.data import Batches, DataSpec, Split
from vaekit.recipes import build
from vaekit.training import fit, make_optimizer

LATENT = 32


def bytes_like_digits(rows: int) -> Split:
    """Rows of 784 bytes, about a fifth of them ink."""
    ink = torch.rand(rows, 784, generator=torch.Generator().manual_seed(0))
    return Split((255 * (ink - 0.8).clamp(min=0) * 5).to(torch.uint8))


def hand_written(split: Split, batch_size: int) -> tuple[nn.Module, Callable[[int], float]]:
    """The plain loop of a tutorial, without its data loader."""
    encoder = nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 2 * LATENT)
    )
    decoder = nn.Sequential(
        nn.Linear(LATENT, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 784)
    )
    model = nn.ModuleList([encoder, decoder])
    images = split.images
    assert isinstance(images, torch.Tensor)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def run(steps: int) -> float:
        total = torch.zeros(())
        order = torch.randperm(len(split))
        for index in order[: steps * batch_size].split(batch_size):
            x = images.index_select(0, index).float() / 255
            mu, log_variance = encoder(x).chunk(2, 1)
            z = mu + torch.exp(0.5 * log_variance) * torch.randn_like(mu)
            bce = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
            kl = -0.5 * (1 + log_variance - mu.pow(2) - log_variance.exp()).sum()
            loss = (bce + kl) / len(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return total.item() / steps

    return model, run


def of_the_kit(split: Split, batch_size: int) -> tuple[nn.Module, Callable[[int], float]]:
    """The same by the recipe `vae` and `fit`."""
    spec = DataSpec("bytes", (784,), "gray", rows=len(split))
    net = "mlp:hidden=512,256:activation=relu:start=init"
    made = build("vae", spec, latent=LATENT, net=net, likelihood="bernoulli")
    optimizer = make_optimizer("adam", made.model.parameters(), lr=1e-3)
    batches = Batches(split, batch_size)

    def run(steps: int) -> float:
        progress = fit(made.model, made.objective, batches, steps=steps, optimizer=optimizer)
        means = progress.means
        return -means["objective"]

    return made.model, run


def measure(batch_size: int, steps: int, rounds: int) -> dict[str, float]:
    """Median seconds per step of both, and the median ratio of neighboring rounds."""
    split = bytes_like_digits(max(20_000, steps * batch_size))
    (hand, run_hand), (kit, run_kit) = (
        hand_written(split, batch_size),
        of_the_kit(split, batch_size),
    )
    for ours, theirs in zip(kit.parameters(), hand.parameters(), strict=True):
        theirs.data.copy_(ours.data)
    losses = [run_hand(20), run_kit(20)]
    times: dict[str, list[float]] = {"hand": [], "kit": []}
    for number in range(rounds):
        pair = [("hand", run_hand), ("kit", run_kit)]
        for name, run in pair if number % 2 == 0 else pair[::-1]:
            began = time.perf_counter()
            run(steps)
            times[name].append((time.perf_counter() - began) / steps)
    ratios = [k / h for k, h in zip(times["kit"], times["hand"], strict=True)]
    return {
        "hand_ms": 1e3 * statistics.median(times["hand"]),
        "kit_ms": 1e3 * statistics.median(times["kit"]),
        "ratio": statistics.median(ratios),
        "ratio_low": statistics.quantiles(ratios, n=4)[0],
        "ratio_high": statistics.quantiles(ratios, n=4)[2],
        "first_loss_hand": losses[0],
        "first_loss_kit": losses[1],
    }


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    found = measure(options.batch_size, options.steps, options.rounds)
    about = {
        **vars(options),
        "vaekit": vaekit.__version__,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    print(json.dumps({**{k: round(v, 4) for k, v in found.items()}, **about}, indent=2))


if __name__ == "__main__":
    main()

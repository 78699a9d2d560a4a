"""How many models train in the time of one: seeds as one (`Together`) against one by itself.

The MLP VAE 784-512-256-32 on 28 x 28 bytes and a small one, 784-64-8, at batch 128, Adam. One model
alone and N as one take turns, on the processor or on a GPU, where `--capture` replays the steps of
both. The number printed is N times the seconds of a step alone over those of a step
of N: how much sooner the N models are there than one after the other.

    python benchmarks/seeds.py [--models 2 4 8] [--rounds 7]
    python benchmarks/seeds.py --device cuda --capture --steps 2000
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peers.results import Measured, append, path_of

from vaekit.data import Batches, Split
from vaekit.models import VAE
from vaekit.nn import MLP
from vaekit.objectives import ELBO, Objective
from vaekit.parts import Bernoulli, Conditional, Gaussian, StandardNormal
from vaekit.torchutil import keep_memory
from vaekit.training import Together, fit, make_optimizer

NETS = {"784-512-256-32": ((512, 256), 32), "784-64-8": ((64,), 8)}
BATCH = 128


def model_of(name: str, asked: argparse.Namespace) -> VAE:
    """Gray images of 28 x 28 under a Bernoulli."""
    hidden, latent = NETS[name]
    encoder = MLP(784, 2 * latent, hidden=hidden, activation="relu")
    decoder = MLP(latent, 784, hidden=hidden[::-1], activation="relu")
    posterior = Conditional(encoder, Gaussian(latent))
    return VAE(StandardNormal(latent), posterior, Conditional(decoder, Bernoulli(784))).to(
        asked.device
    )


def trains(name: str, models: int | None, asked: argparse.Namespace) -> Callable[[], float]:
    """An epoch of one model by itself (None), or of so many as one: the seconds of a step."""
    made = [model_of(name, asked) for _ in range(models or 1)]
    rows = Split(torch.randint(256, (BATCH * asked.steps, 784), dtype=torch.uint8))
    batches = [Batches(rows, BATCH, seed=seed, device=asked.device) for seed in range(len(made))]
    model: Any = made[0]
    objective: Objective = ELBO().to(asked.device)
    served = batches[0]
    if models is not None:
        model = Together(made, objective, batches)
        objective, served = model.objective, model.batches
    optimizer = make_optimizer("adam", model.parameters(), lr=1e-3)

    def epoch() -> float:
        began = time.perf_counter()
        told = {"steps": asked.steps, "captured": asked.capture}
        fit(model, objective, served, optimizer=optimizer, **told)
        return (time.perf_counter() - began) / asked.steps

    return epoch


def measure(asked: argparse.Namespace) -> dict[str, float]:
    """The gains, as medians over rounds of neighbors."""
    found = {}
    for name in NETS:
        alone = trains(name, None, asked)
        steps: list[float] = []
        several = {n: trains(name, n, asked) for n in asked.models}
        gains: dict[int, list[float]] = {n: [] for n in several}
        for number in range(asked.rounds + 1):
            for n, epoch in several.items():
                one, all_of_them = alone(), epoch()
                if number:  # the first round warms up
                    steps.append(one)
                    gains[n].append(n * one / all_of_them)
        found[f"{name}: a step of one alone, milliseconds"] = 1e3 * statistics.median(steps)
        for n, each in gains.items():
            found[f"{name}: {n} models as one, times sooner"] = statistics.median(each)
    return found


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--steps", type=int, default=50, help="of an epoch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--capture", action="store_true", help="replay steps as CUDA graphs")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, help="the file that the rows are added to")
    parser.add_argument("--no-record", action="store_true", help="add them to no file")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.set_flush_denormal(True)
    keep_memory()
    found = measure(asked)
    captured = "captured" if asked.capture else "eager"
    protocol = f"batch {BATCH}; {asked.device}; {captured}; {asked.threads} threads"
    if not asked.no_record:
        rows = [Measured("benchmarks/seeds.py", protocol, *row) for row in found.items()]
        append(rows, asked.results or path_of())
    print(json.dumps({"protocol": protocol, **found}, indent=1))


if __name__ == "__main__":
    main()

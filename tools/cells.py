"""Trains likelihoods of counts on single cells, with and without a library size.

python tools/cells.py             about ten minutes on one core

-log p(x) of the test rows by importance sampling (100 draws), in nats per cell: of the 400 genes of
mouse-bladder that are counted most, 2,100 cells, a tenth of them test rows. With a library size it
is -log p(x | total), so the two halves of the table do not compare. The paired difference to the
negative binomial of the same half, learning rate and seed says which is better. Writes
benchmarks/results/cells.csv.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import vaekit
from vaekit.data import load, pick

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "cells.csv"
GENES, SEEDS = 400, 2
RATES = {5e-3: 120, 1e-3: 60}  # epochs by the learning rate
HOW: dict[str, Any] = {"latent": 10, "net": "mlp:hidden=128", "ema": 0.99, "kind": "counts"}
HOW |= {"report": False, "threads": 1, "lr_schedule": "constant"}
LIKELIHOODS = ("negative-binomial", "zinb", "poisson")


def cells() -> np.ndarray:
    """Return the counts of the genes that are counted most."""
    import torch

    rows = load("mouse-bladder").splits.values()
    every = np.concatenate([pick(r.images, torch.arange(len(r))).numpy() for r in rows])
    most = np.argsort(-every.sum(0), kind="stable")[:GENES]
    return every[:, np.sort(most)].astype(np.int32)


def measured(x: np.ndarray, library: str, lr: float, seed: int) -> list[list[Any]]:
    """Return the lines of the likelihoods under these options."""
    found, lines = {}, list[list[Any]]()
    for name in LIKELIHOODS:
        with tempfile.TemporaryDirectory() as place:
            how = {**HOW, "likelihood": name, "library": library, "seed": seed}
            how |= {"lr": lr, "epochs": RATES[lr]}
            run = vaekit.train("vae", data=x, out=Path(place, "run"), **how)
            found[name] = run.score(samples=100)["nll"].to_numpy()
        apart = found[name] - found[LIKELIHOODS[0]]
        error = apart.std(ddof=1) / len(apart) ** 0.5
        numbers = (found[name].mean(), apart.mean(), error)
        lines.append([lr, library, seed, name, *(f"{number:.2f}" for number in numbers)])
        print(*lines[-1], file=sys.stderr, flush=True)
    return lines


def main() -> None:
    """Measure what is not in the file as yet."""
    known = list(csv.reader(RESULTS.open())) if RESULTS.exists() else []
    done, x = {tuple(row[:3]) for row in known[1:]}, cells()
    for lr, library, seed in product(RATES, ("none", "observed"), range(SEEDS)):
        if (str(lr), library, str(seed)) in done:
            continue
        lines = measured(x, library, lr, seed)
        with RESULTS.open("a", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            if not known:
                known = [["lr", "library", "seed", "likelihood", "value", "difference", "error"]]
                writer.writerow(known[0])
            writer.writerows(lines)


if __name__ == "__main__":
    main()

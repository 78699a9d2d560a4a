"""Trains a model on nine digits of MNIST for each of the ten, and asks how odd the tenth is to it.

python tools/odddigits.py            about a quarter of an hour on one core

AUROC over the 10,000 test images, of the scores of `vaekit score`, beside an isolation forest on
the 16 first principal components, and pyod's VAE where it is installed, which are fitted to the
same rows. Writes benchmarks/results/odd-digits.csv.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vaekit
from vaekit.data import load
from vaekit.evaluate import separation

ROWS, EPOCHS = 20_000, 10
RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "odd-digits.csv"


def scores_of(digit: int) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Yield the name of each method, its scores of all test images, and which are odd."""
    mnist: Any = load("mnist")
    x, y = mnist.train.images.numpy(), mnist.train.labels.numpy()
    rows = np.random.default_rng(digit).permutation(np.flatnonzero(y != digit))[:ROWS]
    test = mnist.test.images.numpy()
    odd = mnist.test.labels == digit
    with tempfile.TemporaryDirectory() as place:
        how: dict[str, Any] = {"epochs": EPOCHS, "report": False, "threads": 1, "seed": digit}
        how |= {"net": "mlp", "latent": 16, "likelihood": "gaussian"}
        how |= {"lr": 1e-3, "lr_schedule": "constant"}
        run = vaekit.train("vae", data=x[rows], out=Path(place, "run"), **how)
        found = run.score(test, samples=50)
    for name in ("nll", "bound", "error"):
        yield f"vaekit {name}", torch.tensor(found[name].to_numpy()), odd
    train, flat = (part.reshape(len(part), -1) / 255.0 for part in (x[rows], test))
    yield "isolation forest", torch.from_numpy(forest(train, flat)), odd
    try:
        from pyod.models.vae import VAE
    except ImportError:
        return
    peer = VAE(latent_dim=16, epoch_num=EPOCHS, batch_size=128, random_state=digit, verbose=0)
    peer.fit(train)
    yield "pyod VAE", torch.from_numpy(peer.decision_function(flat)), odd


def forest(train: np.ndarray, test: np.ndarray) -> Any:
    """Return the scores of an isolation forest on principal components."""
    from sklearn.decomposition import PCA
    from sklearn.ensemble import IsolationForest

    components = PCA(16, random_state=0).fit(train)
    trees = IsolationForest(random_state=0).fit(components.transform(train))
    return -trees.score_samples(components.transform(test))


def main() -> None:
    """Measure each digit that is not in the file as yet."""
    known = list(csv.reader(RESULTS.open())) if RESULTS.exists() else []
    done = {row[0] for row in known[1:]}
    for digit in range(10):
        if str(digit) in done:
            continue
        with RESULTS.open("a", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            if not known:
                known = [["digit", "method", "value", "error"]]
                writer.writerow(known[0])
            for method, scores, odd in scores_of(digit):
                found = separation(scores, odd)
                line = [digit, method, f"{found['auroc']:.4f}", f"{found['auroc_error']:.4f}"]
                writer.writerow(line)
                print(*line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""Trains nets on images alike, and writes their validation bounds by CPU seconds.

python tools/nets.py                       all of SETS with all of NETS, an hour on one core
python tools/nets.py mnist mlp patch       a set with these nets; new lines are appended

A line an epoch: -ELBO of the validation rows in nats per image (less is better), after so many CPU
seconds of the user's own on one thread, the passes over validation rows among them. Seed,
likelihood, batch (128) and latent (16) are the default ones, and no test row is looked at. What
others do on the same cores changes seconds by a third: compare lines of one session. Writes
benchmarks/results/nets.csv.
"""

from __future__ import annotations

import csv
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import vaekit
from vaekit.training import Callback

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "nets.csv"
HEAD = ["set", "net", "parameters", "epoch", "seconds", "value", "processor", "note"]
SETS: dict[str, dict[str, Any]] = {
    "mnist": {"data": "mnist", "limit": 10_000, "epochs": 12},
    "fashion-mnist": {"data": "fashion_mnist", "limit": 10_000, "epochs": 30},
    "omniglot": {"data": "omniglot", "size": 28, "limit": 10_000, "epochs": 8},
    "avatars": {"data": "avatars", "limit": 2_000, "epochs": 10},
    "lfw": {"data": "lfw/lfw_64.zip", "limit": 2_000, "epochs": 10, "augment": "none"},
}
NETS: tuple[str, ...] = (
    "mlp",
    "patch",
    "patch:activation=relu",
    "patch:hidden=512",
    "patch:groups=8",
)
NETS += ("patch:channels=16,32", "patch:channels=32,64", "conv", "residual")


def spent() -> float:
    """Return the CPU seconds of this process in its own code."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


class Curve(Callback):
    """Keeps the bound of each epoch, and the seconds until then."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.lines = 0.0, list[list[Any]]()

    def started(self, epochs: int, steps: int, first: int) -> None:
        """Begin to count."""
        self.begun = spent()

    def record(self, record: dict[str, Any]) -> None:
        """Keep a line."""
        seconds, bound = spent() - self.begun, -record["validation"]["elbo"]
        self.lines.append([record["epoch"], f"{seconds:.1f}", f"{bound:.2f}"])


def processor() -> str:
    """Return its widest instructions, as torch names them."""
    return torch.backends.cpu.get_cpu_capability()


def measured(name: str, net: str) -> list[list[Any]]:
    """Return the lines of a net on a set."""
    curve = Curve()
    how: dict[str, Any] = {"threads": 1, "report": False, "snapshots": 0}
    with tempfile.TemporaryDirectory() as place:
        out = Path(place, "run")
        run = vaekit.train("vae", net=net, out=out, callbacks=[curve], **how, **SETS[name])
        parameters = sum(weights.numel() for weights in run.model.parameters())
    return [[name, net, parameters, *line, processor(), ""] for line in curve.lines]


def main(asked: list[str]) -> None:
    """Measure what is asked for, or all; append it."""
    names, nets = ([asked[0]], asked[1:]) if asked else (list(SETS), NETS)
    new = not RESULTS.exists()
    for name in names:
        for net in nets:
            lines = measured(name, net)
            print(*lines[-1], flush=True)
            with RESULTS.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows([HEAD] * new + lines)
            new = False


if __name__ == "__main__":
    main(sys.argv[1:])

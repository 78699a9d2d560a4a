"""What the training options change, on four data sets: the numbers of docs/defaults.md.

Each row changes one thing; all are trained on the same rows for the same steps and judged by
validation rows, which no training sees (test rows are not touched). Bounds are those of the last
epoch, one draw, nats per image, each data set by its own likelihood.

    python benchmarks/bench.py defaults [--set faces=lfw_64.zip data_dir=FOLDER seeds=2]

Prints the table in Markdown; trainings that are under `out` already are read, not repeated.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vaekit

ROWS, VALIDATION = 16_000, 2_000
COMMON: dict[str, Any] = {
    "latent": 32,
    "net": "mlp:start=init",
    "batch_size": 256,
    "validation": VALIDATION,
    "snapshots": 0,
    "limit": ROWS + VALIDATION,
}
DATA: dict[str, dict[str, Any]] = {
    "MNIST": {"data": "mnist", "likelihood": "bernoulli"},
    "Fashion-MNIST": {"data": "fashion-mnist", "likelihood": "bernoulli"},
    "Omniglot": {"data": "omniglot-28", "likelihood": "bernoulli"},
    "LFW, gray, 32 x 32": {"size": 32, "gray": True, "likelihood": "gaussian:scale=fitted"},
}
MEAN = {"net": "mlp:start=mean"}
WARM = {"kl_warmup": "linear"}  # over this share of the epochs:
RISE = 0.3
RISING = {"lr": 3e-3, "lr_warmup": 100}
SHORT = {"optimizer_options": ("betas=0.9,0.99",)}  # the memory of squared gradients
CHANGES: dict[str, dict[str, Any]] = {
    "the tutorial's (Adam 1e-3)": {},
    "output bias at the pixels' mean": MEAN,
    "learning rate 3e-3": {"lr": 3e-3},
    "3e-3, falling from 40 %": {"lr": 3e-3, "lr_schedule": "flat-linear:0.4"},
    "KL warm-up over 30 %": WARM,
    "the bias, 3e-3": {**MEAN, "lr": 3e-3},
    "the bias, 3e-3, rising over 100 steps": {**MEAN, **RISING},
    "the bias, 3e-3, rising, beta2 0.99": {**MEAN, **RISING, **SHORT},
    "all of them": {
        **MEAN,
        **WARM,
        "lr": 3e-3,
        "lr_schedule": "flat-linear:0.4",
    },
    "all of them, rising, beta2 0.99": {
        **MEAN,
        **WARM,
        **RISING,
        **SHORT,
        "lr_schedule": "flat-linear:0.4",
    },
}


@dataclass(frozen=True)
class Settings:
    """What may be set; `faces` are pictures pPERSON_NUMBER.jpg, left out where there are none."""

    data_dir: str = ""
    faces: str = ""
    seeds: int = 2
    epochs: int = 10
    out: str = "runs/defaults"


def arguments(chosen: Settings, name: str, change: str, seed: int) -> dict[str, Any]:
    """Of `vaekit.train`."""
    values = {**COMMON, **DATA[name], **CHANGES[change], "seed": seed}
    values |= {"epochs": chosen.epochs, "data_dir": chosen.data_dir or None}
    if "size" in values:
        values |= {"data": chosen.faces, "group": r"p(\d+)_"}
    if "kl_warmup" in values:
        values["kl_warmup"] = f"linear:{RISE * chosen.epochs:g}"
    return values


def bound(values: dict[str, Any], folder: Path) -> float:
    """Of the validation rows after the last epoch of this training, done now or before."""
    record = folder / "metrics.jsonl"
    lines = record.read_text().splitlines() if record.exists() else []
    if len(lines) < values["epochs"]:
        shutil.rmtree(folder, ignore_errors=True)
        vaekit.train("vae", out=folder, report=False, **values)
        lines = record.read_text().splitlines()
    return float(json.loads(lines[-1])["validation"]["elbo"])


def bounds(chosen: Settings, name: str, change: str, threads: int) -> list[float]:
    """Seed by seed."""
    nats = []
    for seed in range(chosen.seeds):
        values = {**arguments(chosen, name, change, seed), "threads": threads}
        words = re.sub("[^a-z0-9]+", "-", f"{name} {change} {seed}".lower())
        nats.append(bound(values, Path(chosen.out) / words))
        print(words, f"{nats[-1]:.2f}", file=sys.stderr, flush=True)
    return nats


def tabulate(chosen: Settings, threads: int) -> None:
    """Trains, and prints a row for each change."""
    names = [name for name in DATA if chosen.faces or "size" not in DATA[name]]
    print(f"| what is changed | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for change in CHANGES:
        cells = []
        for name in names:
            nats = bounds(chosen, name, change, threads)
            spread = (max(nats) - min(nats)) / 2
            cells.append(f"{statistics.fmean(nats):.2f} ± {spread:.2f}")
        print(f"| {change} | {' | '.join(cells)} |", flush=True)

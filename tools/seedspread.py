"""Trains ten seeds of a few recipes, and writes what `vaekit compare` measures of each.

python tools/seedspread.py           about a quarter of an hour on one core

The first recipe of a kind of data says what two seeds of a run typically differ by
(`vaekit.report.typical`); the others are there to test that recipes are told apart.
"""

from __future__ import annotations

import csv
import math
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import vaekit
from vaekit.report import SEEDS_FILE, measure, measures, open_runs, ranking

SEEDS = 10
NUMBERS = ("elbo", "psnr", "ssim", "mse")
DIGITS = {"data": "digits", "net": "mlp:hidden=64", "epochs": 40}
BITS = {**DIGITS, "latent": 8, "likelihood": "bernoulli"}
SHAPES = {"data": "shapes", "net": "mlp:hidden=64", "epochs": 10}
AVATARS = {"data": "avatars", "size": 16, "limit": 1000, "net": "mlp:hidden=64", "epochs": 20}
TABLE = {"data": "table.csv", "net": "mlp:hidden=32", "epochs": 60}
COUNTS = {"data": "counts.npz", "kind": "counts", "net": "mlp:hidden=32", "epochs": 40}
RECIPES: tuple[dict[str, Any], ...] = (
    *({**DIGITS, "latent": latent} for latent in (8, 4, 2)),
    BITS,
    {**BITS, "net": "mlp:hidden=32", "epochs": 20},
    *({**SHAPES, "latent": latent} for latent in (8, 2)),
    *({**AVATARS, "latent": latent} for latent in (8, 2)),
    *({**TABLE, "latent": latent} for latent in (2, 1)),
    *({**COUNTS, "latent": latent} for latent in (2, 1)),
)


def make_tables(folder: Path) -> None:
    """Write 1,000 rows of six columns on a bent sheet, and 1,000 of thirty counts."""
    draws = np.random.RandomState(0)
    u, v = draws.uniform(-1, 1, (2, 1000))
    sheet = np.stack([u, v, u * v, np.sin(3 * u), np.cos(3 * v), u**2 - v], 1)
    rows = sheet + 0.1 * draws.normal(size=sheet.shape)
    np.savetxt(folder / "table.csv", rows, "%.4f", ",", header="a,b,c,d,e,f", comments="")
    rates = np.exp(1 + np.stack([u, v], 1) @ draws.normal(size=(2, 30)))
    np.savez(folder / "counts.npz", images=draws.poisson(rates).astype(np.float32))


def rows_of(options: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row of the table for each seed of a recipe."""
    data = folder / options["data"]
    given = {**options, "data": str(data) if data.exists() else options["data"]}
    paths = [folder / f"{len(list(folder.iterdir()))}-{seed}" for seed in range(SEEDS)]
    for seed, path in enumerate(paths):
        how: Any = {"lr": 1e-3, "lr_schedule": "constant", "seed": seed, **given}
        vaekit.train("vae", out=path, threads=1, report=False, **how)
    opened, shown = open_runs(paths), {k: v for k, v in options.items() if k != "data"}
    keys = {of.key: of for of in ranking(measures(opened), True)}
    for seed, run in enumerate(opened.runs):
        entry = measure(run, str(seed), limit=1000, seed=0, data_dir=None)
        found = {key: entry.value(keys[key]) if key in keys else None for key in NUMBERS}
        yield {
            "kind": run.spec.kind,
            "likelihood": type(run.px).__name__,
            "data": Path(options["data"]).stem,
            "values": math.prod(run.spec.shape),
            "recipe": " ".join(["vae", *(f"{name}={value}" for name, value in shown.items())]),
            "seed": seed,
            **{key: None if number is None else f"{number:.6g}" for key, number in found.items()},
        }


def main() -> None:
    """Write the table."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        make_tables(Path(name))
        rows: list[dict[str, Any]] = []
        for options in RECIPES:
            rows += rows_of(options, Path(name))
            print(*list(rows[-1].values())[:5], rows[-1]["elbo"], file=sys.stderr, flush=True)
    with SEEDS_FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()

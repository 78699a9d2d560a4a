"""Trains every recipe alike and shortly on MNIST, and writes docs/zoo.md of it.

python tools/zoo.py --train RUNS [RECIPE...]   trains what is missing; about two minutes a recipe
python tools/zoo.py                            writes the page from what is there

10,000 training rows, 8 epochs, three seeds, each recipe with its own defaults and nets for rows, on
one thread. -log p(x) by importance sampling with 100 draws and the bound are of 1,000 test rows;
the error of a mean is over seeds. The numbers go to benchmarks/results/zoo.csv, a row of samples of
seed 0 to docs/images/zoo.
"""

from __future__ import annotations

import csv
import sys
from contextlib import suppress
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import vaekit
from vaekit.errors import VaekitError
from vaekit.recipes import find_recipe, names
from vaekit.registry import text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "zoo.csv"
IMAGES = ROOT / "docs" / "images" / "zoo"
HEAD = ["recipe", "seed", "measure", "value"]
SEEDS, COUNT, ROWS = 3, 10, 1000
HOW: dict[str, Any] = {"data": "mnist", "limit": 10_000, "epochs": 8, "threads": 1}
HOW |= {"report": False, "snapshots": 0, "lr": 1e-3, "lr_schedule": "constant"}
OTHER = {"colorizer": "color images", "count_vae": "counts of cells"}  # what these are trained on
INTRO = """# The zoo

Every recipe of vaekit, what it is made of, and when to take it. A recipe is a choice of parts, and
any of them changes by an option: `vaekit train vae --prior vamp --posterior iaf` is none of these
and works. [All parts](parts.md).

The numbers are of a short training, the same for all, which shows that a recipe works and not what
it can do: 10,000 images of MNIST, 8 epochs, a rate of 1e-3, dense nets, 16 latents and a Gaussian
unless the recipe has others, three seeds; −ELBO and −log p(x) in nats per test image (less is
better), the error that of the mean.
Gray values have densities, so both may be below 0; a likelihood of levels has probabilities, and
compares with its like alone. Mean square errors are of reconstructions. Samples are means E[x|z]
of z from the prior fitted to the codes (`vaekit sample`; of autoencoders with `--prior fitted`, of
numbered codes a transformer), of `unpool_ae` reconstructions.
`python tools/zoo.py --train runs/zoo` measures them.
"""


def measured(name: str, seed: int, folder: Path) -> dict[str, float]:
    """Return the numbers of a recipe under a seed; it is trained where it has not been."""
    path = folder / f"{name}-{seed}"
    trained = (path / "model.safetensors").exists()
    usual = {"net": "mlp", "latent": 16, "likelihood": "gaussian"}
    parts = find_recipe(name).parts
    how: Any = HOW | {part: value for part, value in usual.items() if parts[part] is None}
    run = vaekit.load(path) if trained else vaekit.train(name, seed=seed, out=path, **how)
    record = run.evaluate(limit=ROWS)
    found = {"mse": record["mse"]}
    if record["elbo"] is not None:
        found["bound"] = -record["elbo"]
    with suppress(VaekitError):  # no prior, or no likelihood
        found["nll"] = run.evaluate("nll:samples=100", limit=ROWS)["nll"]["mean"]
    if seed == 0:
        draw(run, IMAGES / f"{name}.png")
    return found


def draw(run: Any, path: Path) -> None:
    """Write a row of samples; reconstructions of a model that has nothing to draw from."""
    import numpy as np
    from PIL import Image

    if "codes" in run.offers:
        run.fit_prior("codes-transformer")
    try:
        made = run.sample(COUNT, prior=None if run.draws else "fitted")
    except VaekitError:
        made = run.reconstruct(run.dataset().test.x(slice(COUNT)))
    rows = np.clip(np.asarray(made, float)[:COUNT, 0], 0, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    strip = np.concatenate([np.pad(row, 1, constant_values=1) for row in rows], 1)
    Image.fromarray((255 * strip).round().astype("uint8")).save(path, optimize=True)


def known() -> dict[tuple[str, str], dict[str, float]]:
    """The numbers that were measured, by recipe and seed."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    for row in csv.DictReader(lines):
        found.setdefault((row["recipe"], row["seed"]), {})[row["measure"]] = float(row["value"])
    return found


def train(folder: Path, wanted: list[str]) -> None:
    """Measure what is not in the file as yet."""
    for seed in range(SEEDS):
        for name in wanted or names():
            if name in OTHER or (name, str(seed)) in known():
                continue
            numbers = measured(name, seed, folder)
            new = not RESULTS.exists()
            with RESULTS.open("a", newline="") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerows([HEAD] * new)
                writer.writerows([name, seed, n, f"{value:.4f}"] for n, value in numbers.items())
            print(name, seed, numbers, file=sys.stderr, flush=True)


def cell(values: list[float], digits: int) -> str:
    """The mean over seeds, and its error."""
    if not values:
        return "–"
    error = f" ± {stdev(values) / len(values) ** 0.5:.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{error}".replace("-", "−")


def page() -> str:
    """The page, a part for each recipe."""
    numbers, lines = known(), [INTRO]
    for name in names():
        entry, mine = find_recipe(name), [v for (n, _), v in numbers.items() if n == name]
        told = {
            p: str(v) if p == "latent" else text(v, brief=p) for p, v in entry.parts.items() if v
        }
        parts = [f"{part} `{spec}`" for part, spec in told.items() if part in entry.options]
        lines += [f"## {name}", "", f"{entry.title} {entry.text}".strip(), ""]
        lines += [f"Take it {entry.use}"] if entry.use else []
        lines += [f"Its own: {', '.join(parts)}."] if parts else []
        if name in OTHER:
            lines += ["", f"It is of {OTHER[name]}, and not of MNIST.", ""]
            continue
        each = {n: [v[n] for v in mine if n in v] for n in ("bound", "nll", "mse")}
        said = [f"−ELBO {cell(each['bound'], 1)}"] * bool(each["bound"])
        said += [f"−log p(x) {cell(each['nll'], 1)}"] * bool(each["nll"])
        said += [f"mean square error {cell(each['mse'], 4)}"] * bool(each["mse"])
        lines += ["", "; ".join(said) + "." if said else "Not measured as yet.", ""]
        if (IMAGES / f"{name}.png").exists():
            lines += [f"![samples of {name}](images/zoo/{name}.png)", ""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(Path(sys.argv[2]), sys.argv[3:])
    (ROOT / "docs" / "zoo.md").write_text(page())

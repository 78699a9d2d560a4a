"""Trains the recipes of disentanglement on images with known factors, and writes a page of it.

python tools/disentangle.py --train RUNS [RECIPE...]   trains and measures what is missing
python tools/disentangle.py                            writes docs/disentangling.md

Five seeds each, with the nets and the ten latents of the large study (arXiv 1811.12359), on one
thread. What was trained or measured stays: the tool may be stopped and goes on where it was. The
numbers go to benchmarks/results/disentangling.csv, traversals of seed 0 to
docs/images/disentangling; the mean of a metric is over seeds, and so is its error.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from PIL import Image

import vaekit
from vaekit.cli.main import main as shell
from vaekit.recipes import find_recipe, names
from vaekit.registry import entries, text

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "disentangling.md"
RESULTS = ROOT / "benchmarks" / "results" / "disentangling.csv"
IMAGES = ROOT / "docs" / "images" / "disentangling"
HEAD = ["data", "recipe", "seed", "measure", "value"]
RECIPES = ("beta_vae", "beta_tc_vae", "factor_vae", "dip_vae", "info_vae")
METRICS = ("mig", "sap", "dci:trees=10", "modularity", "factor-vae-score", "beta-vae-score")
SEEDS, ROWS = 5, 5000
EPOCHS = {"shapes": 60, "avatars": 20, "dsprites-66k": 4}
HOW: dict[str, Any] = {"net": "conv-study", "latent": 10, "lr": 5e-4, "threads": 1}
HOW |= {"likelihood": "bernoulli", "report": False, "snapshots": 0}
NAMES = {  # of the columns, in their order
    "elbo": "-ELBO",
    "kl": "KL",
    "mig": "MIG",
    "sap": "SAP",
    "dci disentanglement": "DCI: disentangled",
    "dci completeness": "complete",
    "dci informativeness": "informative",
    "modularity": "modularity",
    "factor-vae-score score": "FactorVAE's score",
    "beta-vae-score score": "beta-VAE's score",
}
INTRO = f"""# What each dimension stands for

Recipes that price what dimensions share, on images whose factors are known: means over seeds and
their standard errors, {ROWS:,} test rows at most. All have the nets of the large study
(Locatello et al. 2019, arXiv 1811.12359), ten latents, its rate of 5e-4, a Bernoulli of each value
and the defaults of the recipe, and few steps beside its 300,000. -ELBO and KL are nats; the
scores are of test rows and the better the larger, all but modularity, which a code of one dimension
has too. What each score is, and how to ask for it of a run: [how to](howto/disentangle.md).

```
python tools/disentangle.py --train runs/disentangling
```
"""

Key = tuple[str, str, int]


def known() -> dict[Key, dict[str, float]]:
    """The numbers that were measured, by data, recipe and seed."""
    found: dict[Key, dict[str, float]] = {}
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    for row in csv.DictReader(lines):
        key = row["data"], row["recipe"], int(row["seed"])
        found.setdefault(key, {})[row["measure"]] = float(row["value"])
    return found


def numbers(record: dict[str, Any], metric: str) -> dict[str, float]:
    """The numbers of one metric's record, by its name and theirs; none of its settings."""
    own = {n: v for n, v in record[metric].items() if isinstance(v, float)}
    return {metric if n == metric or len(own) == 1 else f"{metric} {n}": v for n, v in own.items()}


def measured(data: str, recipe: str, seed: int, folder: Path) -> dict[str, float]:
    """The numbers of a run; it is trained, or resumed, where it has not been to its end."""
    path = folder / f"{data}-{recipe}-{seed}"
    how: dict[str, Any] = {"data": data, "epochs": EPOCHS[data], "seed": seed, "out": path}
    if (path / "checkpoints" / "last.safetensors").exists():
        run = vaekit.resume(path, report=False)
    else:
        run = vaekit.train(recipe, **how, **HOW)
    asked = [each for each in METRICS if each.split(":")[0] in entries("metric")]
    record = run.evaluate("reconstruction", *asked, limit=ROWS)
    found = {"elbo": record["elbo"], "kl": record["kl"], "mse": record["mse"]}
    for each in asked:
        found |= numbers(record, each.split(":")[0])
    return found


def draw(folder: Path) -> None:
    """Traverse the runs of seed 0 around a test row, where that was not done."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for data in EPOCHS:
        for recipe in RECIPES:
            run, picture = folder / f"{data}-{recipe}-0", IMAGES / f"{data}-{recipe}.png"
            if (run / "model.safetensors").exists() and not picture.exists():
                shell(["traverse", str(run), "--row", "0", "-o", str(picture)])
                Image.open(picture).convert("RGB").quantize(256).save(picture, optimize=True)


def train(folder: Path, wanted: list[str]) -> None:
    """Measure what is not in the file as yet, all recipes of one seed before the next."""
    for seed in range(SEEDS):
        for data in EPOCHS:
            for recipe in wanted or [name for name in RECIPES if name in names()]:
                if (data, recipe, seed) in known():
                    continue
                found = measured(data, recipe, seed, folder)
                new = not RESULTS.exists()
                with RESULTS.open("a", newline="") as stream:
                    writer = csv.writer(stream, lineterminator="\n")
                    writer.writerows([HEAD] * new)
                    writer.writerows([data, recipe, seed, n, f"{v:.4f}"] for n, v in found.items())
                print(data, recipe, seed, found, file=sys.stderr, flush=True)


def cell(values: list[float], digits: int) -> str:
    """The mean over seeds, and its error."""
    if not values:
        return "–"
    error = f" ± {stdev(values) / len(values) ** 0.5:.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{error}".replace("-", "−")


def page() -> str:
    """The page: a table of each data set, and the traversals of seed 0."""
    found, lines = known(), [INTRO]
    for data in EPOCHS:
        here = {r: [v for (d, n, _), v in found.items() if (d, n) == (data, r)] for r in RECIPES}
        here = {recipe: rows for recipe, rows in here.items() if rows}
        if not here:
            continue
        lines += [f"## {data}, {EPOCHS[data]} epochs", ""]
        lines += [f"| recipe | seeds | {' | '.join(NAMES.values())} |"]
        lines += [f"|---|{'---:|' * (len(NAMES) + 1)}"]
        for recipe, rows in here.items():
            cells = []
            for n in NAMES:
                sign, digits = -1 if n == "elbo" else 1, 1 if n in ("elbo", "kl") else 3
                cells.append(cell([sign * row[n] for row in rows if n in row], digits))
            lines.append(f"| `{recipe}` | {len(rows)} | {' | '.join(cells)} |")
        lines.append("")
        for recipe in here:
            spec = text(find_recipe(recipe).parts["objective"], brief="objective")
            lines += [
                f"`{recipe}`, objective `{spec}`, seed 0: a dimension a row, around a test row.",
                "",
            ]
            lines += [f"![traversals of {recipe}](images/disentangling/{data}-{recipe}.png)", ""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(Path(sys.argv[2]), sys.argv[3:])
        draw(Path(sys.argv[2]))
    PAGE.write_text(page())

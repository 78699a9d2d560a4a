"""What `vaekit train vae --data X` gives without another option, beside other choices.

    python benchmarks/defaults.py --train RUNS [--sets mnist faces] [--choices old new] [--seeds 3]
    python benchmarks/defaults.py --draw RUNS         rows of samples, old above new, to docs/images
    python benchmarks/defaults.py                     the table, in Markdown, of what was measured

Every choice is trained on the same rows; the numbers are of its validation rows, or with `--test`
of the test rows, once all is chosen. Samples are means E[x|z], z of p(z) ("prior") and of the prior
fitted to the codes ("fitted"); their Frechet and kernel distances are by 50 principal components of
the training rows, and where there are labels by the kit's classifier. Seconds are those of the
processor, all of its cores added. The choice "pythae" is its VAE with its defaults (rows are all
that it is told) and draws of its mixture sampler; it needs benchmarks/peers/requirements.txt, and
the run of "new" for the rows. A number is appended to benchmarks/results/defaults.csv, with the
processor, as it comes; what is there is not measured again.
"""

from __future__ import annotations

import argparse
import csv
import re
import resource
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer

import vaekit
from vaekit.errors import VaekitError
from vaekit.evaluate import measured
from vaekit.registry import find

RESULTS = Path(__file__).parent / "results" / "defaults.csv"
IMAGES = Path(__file__).parent.parent / "docs" / "images" / "defaults"
HEAD = ["set", "choice", "seed", "split", "measure", "value", "processor"]
SETS: dict[str, dict[str, Any]] = {
    "mnist": {"data": "mnist"},
    "fashion": {"data": "fashion-mnist"},
    "omniglot": {"data": "omniglot-28"},
    "faces": {"data": "lfw/lfw_64.zip"},
    "avatars": {"data": "avatars"},
    "emoji": {"data": "emoji-64"},
    "dsprites": {"data": "dsprites-66k"},
    "frey": {"data": "frey-faces"},
    "tumors": {"data": load_breast_cancer().data, "standardize": True},
    "cells": {"data": "mouse-bladder"},
}
LABELED = ("mnist", "fashion")
NO_GAUSSIAN = ("dsprites", "cells")  # bits and counts
OF_SAMPLES, DRAWS = ("frechet", "kid", "prdc"), 10_000
COUNT = 10
TABLES = ("tumors", "cells")
OLD = {
    "epochs": 20,
    "batch_size": 128,
    "lr": 1e-3,
    "lr_schedule": "constant",
    "lr_warmup": 0,
    "augment": "none",
}
CHOICES: dict[str, dict[str, Any]] = {
    "old": {**OLD, "net": "mlp", "latent": 16},  # the defaults of version 0.1.0
    "new": {},
    "quick": {"preset": "quick"},
    "ten minutes": {"minutes": 10},
    "expert": {
        "net": "conv:channels=32,64,128,256:kernel=4:norm=batch",
        "latent": 64,
        "likelihood": "gaussian:mean=sigmoid",
        "batch_size": 32,
        "augment": "none",
    },
    "pythae": {},
}


def processor() -> str:
    """Name the processor, and whether it has AVX-512."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*:\s*(.+)", text)
    return f"{name[1].strip() if name else 'unknown'}, {'AVX-512' if 'avx512f' in text else 'AVX2'}"


def spent() -> float:
    """Return the processor's seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def theirs(run: Any, seed: int, path: Path) -> tuple[torch.Tensor, float]:
    """Return draws of pythae's sampler for its VAE of the rows of a run, and its CPU seconds."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.samplers import GaussianMixtureSampler
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    if path.exists():
        kept = np.load(path)
        return torch.from_numpy(kept["x"]), float(kept["seconds"])
    train = run.dataset().train
    rows = torch.as_tensor(train.x(slice(None)), dtype=torch.float32)
    before = spent()
    with tempfile.TemporaryDirectory() as place:
        how = BaseTrainerConfig(output_dir=place, seed=seed, no_cuda=True)
        model = VAE(VAEConfig(input_dim=tuple(rows.shape[1:])))
        BaseTrainer(model, BaseDataset(rows, torch.ones(len(rows))), training_config=how).train()
    sampler = GaussianMixtureSampler(model)
    sampler.fit(rows)
    drawn, seconds = sampler.sample(DRAWS), spent() - before
    np.savez(path, x=drawn.numpy(), seconds=seconds)
    return drawn, seconds


def distances(subject: Any, labels: bool) -> dict[str, float]:
    """Measure samples by their features."""
    found: dict[str, float] = {}
    for features in ("pca", "classifier")[: 1 + labels]:
        metrics = {name: find("metric", name)(features=features) for name in OF_SAMPLES}
        record = measured(subject, metrics)
        where = f"({features}, {subject.prior} prior)"
        found |= {f"{name} {where}": record[name]["distance"] for name in OF_SAMPLES[:2]}
        found |= {f"{name} {where}": record["prdc"][name] for name in ("precision", "recall")}
    return found


def numbers(name: str, choice: str, seed: int, split: str, folder: Path) -> dict[str, float]:
    """Return the numbers of a choice on a set; it is trained where it has not been."""
    other = choice == "pythae"
    path = folder / f"{name}-{'new' if other else choice.replace(' ', '-')}-{seed}"
    found: dict[str, float] = {}
    if (path / "model.safetensors").exists():
        run = vaekit.load(path, data=SETS[name]["data"] if name == "tumors" else None)
    else:
        before = spent()
        how: Any = {**SETS[name], **CHOICES[choice], "seed": seed, "out": path, "report": False}
        if choice == "old" and name not in NO_GAUSSIAN:
            how["likelihood"] = "gaussian"
        run = vaekit.train("vae", **how, snapshots=0)
        found = {"seconds": spent() - before}
    if not other:
        record = run.evaluate("pca", split=split)
        found |= {"bound": record["elbo"], "mse": record["mse"], "mse of PCA": record["pca"]["mse"]}
        if record["pca"]["log_likelihood"] is not None:
            found["bound of PCA"] = record["pca"]["log_likelihood"]
    if name in TABLES:
        return found
    source = run.source()
    how = {"split": split, "source": source, "sha256": run.sha256}
    for prior in ("fitted",) if other else ("model", "fitted"):
        with suppress(VaekitError):  # a fitted prior that is no better
            subject = run.subject(run.prepared(source), prior=prior, **how)
            if other:
                drawn, found["seconds"] = theirs(run, seed, folder / f"{name}-pythae-{seed}.npz")
                order = torch.Generator().manual_seed(seed)  # its draws go by their component
                drawn = drawn[torch.randperm(len(drawn), generator=order)]
                subject = replace(subject, sample=lambda n, *_, drawn=drawn, **__: drawn[:n])
            found |= distances(subject, name in LABELED)
    return found


def draw(name: str, folder: Path) -> None:
    """Write a row of samples of the old and one of the new default, as `vaekit sample` has them."""
    from PIL import Image

    strips = []
    for choice in ("old", "new"):
        made = np.asarray(vaekit.load(folder / f"{name}-{choice}-0").sample(COUNT))
        tiles = np.pad(np.clip(made, 0, 1), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=1)
        strips.append(np.concatenate([*tiles.transpose(0, 2, 3, 1)], 1))
    wall = (255 * np.concatenate(strips)).round().astype("uint8")
    IMAGES.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(wall.squeeze(-1) if wall.shape[-1] == 1 else wall)
    image.save(IMAGES / f"{name}.png", optimize=True)


def known() -> dict[tuple[str, str, str, str], dict[str, float]]:
    """Return the numbers that were measured, by set, choice, seed and split."""
    found: dict[tuple[str, str, str, str], dict[str, float]] = {}
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    for row in csv.DictReader(lines):
        key = row["set"], row["choice"], row["seed"], row["split"]
        found.setdefault(key, {})[row["measure"]] = float(row["value"])
    return found


def train(args: argparse.Namespace) -> None:
    """Measure what is not in the file as yet."""
    split = "test" if args.test else "validation"
    for seed in range(args.seeds):
        for name in args.sets:
            for choice in args.choices:
                if (name, choice, str(seed), split) in known():
                    continue
                if choice == "pythae" and name in TABLES:
                    continue
                found = numbers(name, choice, seed, split, args.train)
                new, machine = not RESULTS.exists(), processor()
                with RESULTS.open("a", newline="") as stream:
                    writer = csv.writer(stream, lineterminator="\n")
                    writer.writerows([HEAD] * new)
                    key = (name, choice, seed, split)
                    writer.writerows([*key, n, f"{v:.5g}", machine] for n, v in found.items())
                print(name, choice, seed, found, file=sys.stderr, flush=True)


SHOWN = {  # measures in the table, and what they are called there
    "seconds": "seconds",
    "bound": "bound",
    "bound of PCA": "of PCA",
    "frechet (pca, model prior)": "Frechet, p(z)",
    "frechet (pca, fitted prior)": "Frechet, fitted",
    "frechet (classifier, fitted prior)": "by the classifier",
    "precision (pca, fitted prior)": "precision",
    "recall (pca, fitted prior)": "recall",
}


def table() -> str:
    """Return the table: a row for each set and choice, means over seeds and their errors."""
    rows = known()
    lines = ["| set | choice | " + " | ".join(SHOWN.values()) + " |"]
    lines += ["|---|---" + "|---:" * len(SHOWN) + "|"]
    keys = dict.fromkeys((each[0], each[1]) for each in rows if each[3] == "test")
    for key in sorted(keys, key=lambda key: [*SETS].index(key[0])):
        of = [found for each, found in rows.items() if (*each[:2], each[3]) == (*key, "test")]
        cells = []
        for name in SHOWN:
            values = [found[name] for found in of if name in found]
            error = f" ± {stdev(values) / len(values) ** 0.5:.2g}" if len(values) > 1 else ""
            large = bool(values) and abs(mean(values)) >= 1000
            cells.append(f"{mean(values):,.{'0f' if large else '4g'}}{error}" if values else "")
        lines.append(f"| {key[0]} | {key[1]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, or print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--draw", type=Path)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--choices", nargs="*", default=list(CHOICES), choices=list(CHOICES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", action="store_true")
    args = parser.parse_args()
    if args.train:
        train(args)
    elif args.draw:
        for name in args.sets:
            if name not in (*TABLES, "faces", "frey"):  # no photo of a person is published
                draw(name, args.draw)
    else:
        print(table())


if __name__ == "__main__":
    main()

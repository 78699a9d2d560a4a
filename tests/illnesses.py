"""Trainings of a second or so that have an illness, or none: what the warnings are judged by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import vaekit
from vaekit.data import load

WORDS = {  # of each illness, and what its warning says
    "collapse": "has collapsed",
    "too wide": "it is too wide",
    "too narrow": "it is too narrow",
    "overfitting": "the model overfits: on validation rows",
    "dead units": "of the hidden units are dead",
    "steps too large": "makes the model worse",
    "still rising": "ended while still rising",
    "fallen": "below its best epoch",
    "unlike": "are unlike its training rows",
}
BASE: dict[str, Any] = {
    "data": "digits", "latent": 4, "net": "mlp:hidden=32", "batch_size": 128, "epochs": 60,
    "lr": 3e-3, "lr_schedule": "cosine", "lr_warmup": 0, "threads": 1, "report": False,
    "snapshots": 0,
}  # fmt: skip
JUMP: dict[str, Any] = {"lr_schedule": "constant", "schedule": ("lr=step:3e-3:10:650",)}
BITS: dict[str, Any] = {"binarize": "threshold", "validation": 200}


def table(rows: int = 600, *, seed: int = 0, counts: bool = False) -> np.ndarray:
    """Rows of six columns that hang on two hidden numbers, with noise; or counts of these."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 2)) @ np.random.default_rng(99).normal(size=(2, 6))
    noisy = hidden + 0.3 * rng.normal(size=(rows, 6))
    return (rng.poisson(np.exp(0.5 * noisy)) if counts else noisy).astype(np.float32)


def images(*, like: bool = True, change: Any = None) -> dict[str, np.ndarray]:
    """Digits as arrays of training and test rows; the test rows changed, or of other classes."""
    digits = load("digits")
    x, y = digits.train.images.numpy(), digits.train.labels.numpy()  # type: ignore[union-attr]
    test = digits.test.images.numpy()
    if not like:
        x, test = x[y < 5], x[y >= 5]
    return {"train": x, "test": test if change is None else change(test)}


def blurred(x: np.ndarray) -> np.ndarray:
    """Images of which each is its own mean, with a tenth of its contrast."""
    mean = x.mean((2, 3), keepdims=True)
    return np.asarray(mean + 0.1 * (x - mean)).astype(np.uint8)


HEALTHY: list[dict[str, Any]] = [
    {},
    {"seed": 1, "net": "mlp:hidden=64,64"},
    {"seed": 2, "latent": 2, "net": "mlp:hidden=32:activation=tanh"},
    {"recipe": "beta_vae", "objective": ":beta=2"},
    {"recipe": "iwae", "objective": ":samples=3", "batch_size": 64, "lr": 1e-2, "epochs": 40},
    {"recipe": "ae", "latent": 6},
    {"recipe": "cvae", "latent": 3},
    {**BITS},
    {**BITS, "kl_warmup": "linear:10", "net": "mlp:hidden=32:norm=batch", "epochs": 80},
    {"likelihood": "laplace:scale=fitted", "net": "mlp:hidden=32:dropout=0.05"},
    {"data": table(), "latent": 2, "validation": 100},
    {"data": table(counts=True), "latent": 2, "validation": 100},
    {"data": table(counts=True), "latent": 2, "validation": 100, "kind": "counts"},
    {"patience": 10, "lr_schedule": "constant", "epochs": 300, "batch_size": 200},
]
CONSTANT: dict[str, Any] = {"lr_schedule": "constant"}
FEW: dict[str, Any] = {**CONSTANT, "limit": 150, "validation": 50, "net": "mlp:hidden=512",
                       "latent": 16, "batch_size": 25, "epochs": 80}  # fmt: skip
STEEP: dict[str, Any] = {**CONSTANT, "binarize": "dynamic", "net": "mlp:hidden=64", "latent": 8,
                         "batch_size": 64, "epochs": 5}  # fmt: skip
RELU: dict[str, Any] = {**CONSTANT, "lr": 0.03, "net": "mlp:hidden=256,128:activation=relu",
                        "latent": 2, "batch_size": 32, "epochs": 8}  # fmt: skip
SLOW: dict[str, Any] = {**CONSTANT, "lr": 1e-3, "epochs": 15}
SHORT: dict[str, Any] = {"epochs": 30}
ILL: list[tuple[str, dict[str, Any]]] = [
    ("collapse", {"recipe": "beta_vae", "objective": ":beta=200"}),
    ("collapse", {"recipe": "beta_vae", "objective": ":beta=64", "seed": 1, "latent": 2}),
    ("collapse", {"recipe": "beta_vae", "objective": ":beta=784", **BITS}),
    ("collapse", {"recipe": "beta_vae", "objective": ":beta=30", "data": table(), "latent": 2}),
    ("collapse, too wide", {"likelihood": "gaussian:scale=5"}),
    ("collapse, too wide", {"likelihood": "gaussian:scale=1"}),
    ("collapse, too wide", {"likelihood": "gaussian:scale=3", "seed": 1}),
    ("collapse, too wide", {"likelihood": "gaussian:scale=1", "net": "mlp:hidden=32:norm=batch"}),
    ("too wide", {"likelihood": "laplace:scale=1"}),
    ("too wide, still rising", {**SLOW, "epochs": 12, "latent": 8,
                                "net": "mlp:hidden=64:dropout=0.9"}),
    ("too narrow", {"likelihood": "gaussian:scale=0.01"}),
    ("too narrow", {"likelihood": "gaussian:scale=0.05", "seed": 1}),
    ("too narrow", {"likelihood": "laplace:scale=0.02"}),
    ("too narrow", {"data": table(), "latent": 1, "likelihood": "gaussian:scale=0.05"}),
    ("overfitting", {**FEW, **BITS, "validation": 50}),
    ("overfitting", FEW),
    ("overfitting", {**FEW, "likelihood": "laplace:scale=fitted"}),
    ("overfitting", {**FEW, "likelihood": "gaussian:scale=0.3", "epochs": 160}),
    ("overfitting", {**FEW, "data": table(90, counts=True), "kind": "counts",
                     "net": "mlp:hidden=512,512"}),
    ("overfitting, too narrow", {**FEW, "recipe": "ae"}),
    *(("dead units, collapse", {**RELU, "seed": seed}) for seed in (0, 1, 3)),
    ("dead units", {**RELU, "seed": 2}),
    ("dead units", {**RELU, "lr": 0.1, **BITS}),
    *(("steps too large, dead units", {**STEEP, "lr": lr, "seed": seed})
      for lr, seed in ((0.2, 0), (0.3, 1), (0.2, 2), (0.5, 3))),
    ("steps too large, dead units", {**CONSTANT, "lr": 1.0, **BITS, "epochs": 10}),
    ("still rising", SLOW),
    ("still rising", {**SLOW, "lr": 3e-4, "epochs": 20, "seed": 1}),
    ("still rising", {**SLOW, **BITS}),
    ("still rising", {**SLOW, "recipe": "ae"}),
    ("still rising", {**SLOW, "data": table(), "latent": 2}),
    ("fallen", JUMP),
    ("fallen", {**JUMP, **BITS, "seed": 1}),
    ("fallen", {**JUMP, "net": "mlp:hidden=64,64:activation=gelu", "recipe": "ae"}),
    ("fallen", {**JUMP, "latent": 8, "seed": 2}),
    ("fallen", {**JUMP, "likelihood": "laplace:scale=fitted", "seed": 3}),
    ("unlike", {"data": images(change=lambda x: x // 2), **SHORT}),
    ("unlike", {"data": images(change=lambda x: 255 - x), **SHORT}),
    ("unlike", {"data": images(like=False), "epochs": 100}),
    ("unlike", {"data": images(change=blurred), **SHORT}),
    ("unlike", {"data": {"train": table(), "test": table(seed=1) + np.float32(2.0)}, "latent": 2}),
]  # fmt: skip


class Notes(vaekit.Callback):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)


def said(path: Path, **options: Any) -> dict[str, str]:
    """Train, and return what was said, by the illness."""
    notes = Notes()
    how = {**BASE, **options}
    if isinstance(how["data"], str) and "binarize" not in how:
        how.setdefault("likelihood", "gaussian")
    run = vaekit.train(how.pop("recipe", "vae"), out=path, callbacks=[notes], **how)
    texts = [*run.folder.read_json("run")["notes"], *notes.notes]
    return {ill: text for ill, words in WORDS.items() for text in texts if words in text}


def counts() -> list[int]:
    """Of each illness: in how many runs it is said, where it is; and where it is not."""
    of = [labels.split(", ") for labels, _ in ILL]
    ill = [sum(name in labels for labels in of) for name in WORDS]
    others = [len(HEALTHY) + len(ILL) - number for number in ill]
    return [n for some, rest in zip(ill, others, strict=True) for n in (some, some, 0, rest)]

"""Codes E[z|x] of a data set, for use elsewhere: arrays and tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from vaekit.errors import VaekitError, choose
from vaekit.io import npz_bytes, write

if TYPE_CHECKING:
    from vaekit.runs import Run


BATCH = 500


@dataclass(frozen=True, eq=False)
class Embedding:
    """E[z|x] of the rows of a split, `(N, Z)`, and their labels `(N,)` where they have some."""

    means: np.ndarray
    labels: np.ndarray | None = None


def embedding_of(run: Run, split: str = "test", data_dir: str | None = None) -> Embedding:
    """The codes of a split's rows, in its order.

    Raises:
        VaekitError: for an unknown split, or data that are not found.
    """
    data = run.dataset(data_dir)
    rows = choose("split", split, data.splits)
    parts = torch.arange(len(rows)).split(BATCH)
    means = torch.cat([run.encode(*rows.batch(part)).flatten(1) for part in parts])
    return Embedding(means.numpy(), None if rows.labels is None else rows.labels.numpy())


def save_embedding(codes: Embedding, path: Path) -> Path:
    """Writes `codes` (and `labels`) to an .npz, or columns z0, z1, ... (and label) to a .csv.

    Raises:
        VaekitError: for another ending, or where it cannot be written.
    """
    if path.suffix not in (".npz", ".csv"):
        raise VaekitError(f"got the file {path}; expected one that ends in .npz or .csv.")
    return write(path, _npz(codes) if path.suffix == ".npz" else _csv(codes))


def _npz(codes: Embedding) -> bytes:
    labels = {} if codes.labels is None else {"labels": codes.labels}
    return npz_bytes(codes=codes.means, **labels)


def _csv(codes: Embedding) -> bytes:
    names = [f"z{dim}" for dim in range(codes.means.shape[1])]
    lines = [",".join([*names, *(["label"] if codes.labels is not None else [])])]
    for number, row in enumerate(codes.means.tolist()):
        label = [] if codes.labels is None else [str(codes.labels[number])]
        lines.append(",".join([*map(repr, row), *label]))
    return ("\n".join(lines) + "\n").encode()

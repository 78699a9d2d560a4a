"""MNIST and its kin from their four idx files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vaekit.data.dataset import Split
from vaekit.data.entry import Parts
from vaekit.data.idx import read_idx
from vaekit.errors import VaekitError

IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def read_idx_set(paths: Sequence[Path], class_names: tuple[str, ...]) -> Parts:
    """Training and test images `(1, H, W)` in their original order, from `IDX_FILES` in theirs.

    Raises:
        VaekitError: where the files cannot be read, or disagree.
    """
    train, test = (_split(paths[i], paths[i + 1], len(class_names)) for i in (0, 2))
    return {"train": train, "test": test, "class_names": class_names}


def _split(image_path: Path, label_path: Path, classes: int) -> Split:
    images, labels = read_idx(image_path, ndim=3), read_idx(label_path, ndim=1)
    if len(images) != len(labels):
        raise VaekitError(
            f"{image_path} has {len(images)} images but {label_path} has {len(labels)} labels; "
            f"the files do not belong together."
        )
    if len(labels) and int(labels.max()) >= classes:
        raise VaekitError(
            f"{label_path} has the label {int(labels.max())}; expected 0 to {classes - 1}."
        )
    return Split(images[:, None], labels.long())

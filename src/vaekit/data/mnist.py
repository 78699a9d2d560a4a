"""MNIST from its four idx files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vaekit.data.dataset import Dataset, Split
from vaekit.data.folders import not_found
from vaekit.data.idx import read_idx
from vaekit.errors import VaekitError

__all__ = ["load_idx_set", "load_mnist"]

TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def load_mnist(folders: Sequence[Path]) -> Dataset:
    """60,000 training and 10,000 test images `(1, 28, 28)`, 10 classes, in their original order.

    Raises:
        VaekitError: where the files are in none of the folders, or cannot be read.
    """
    note = "MNIST, LeCun, Bottou, Bengio, Haffner 1998; licence not stated"
    return load_idx_set("mnist", folders, note)


def load_idx_set(name: str, folders: Sequence[Path], note: str, classes: int = 10) -> Dataset:
    """A grey set in MNIST's four files, from `folder/name` or `folder`, gzipped or not.

    Raises:
        VaekitError: where the files are in none of the folders, cannot be read, or disagree.
    """
    places = [place for folder in folders for place in (folder / name, folder)]
    for place in places:
        found = [_file(place, stem) for stem in (*TRAIN, *TEST)]
        paths = [path for path in found if path is not None]
        if len(paths) == len(found):
            train, test = _split(paths[0], paths[1], classes), _split(paths[2], paths[3], classes)
            return Dataset(name, "grey", train, test, classes, source=str(place), note=note)
    stems = ", ".join(f"{stem}.gz" for stem in (*TRAIN, *TEST))
    raise not_found(f"the four files of '{name}' ({stems}; or without .gz)", places)


def _file(folder: Path, stem: str) -> Path | None:
    candidates = (folder / f"{stem}.gz", folder / stem)
    return next((path for path in candidates if path.is_file()), None)


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

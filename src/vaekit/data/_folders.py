"""Folders that hold no images: .npy files by name, a row in each, or the idx files of MNIST."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from vaekit.data._arrays import dataset_in, dense, named, opened
from vaekit.data._dataset import Dataset
from vaekit.data._idx import NAME, idx_arrays, is_idx
from vaekit.data._image_files import is_image
from vaekit.data._keys import role
from vaekit.data._layout import layout, natural
from vaekit.data._rows import check_memory, take
from vaekit.data._splits import joined, split_up, taken
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit._train_options import Data

MEND = "write it with numpy.save(path, image)"


def load_folder(folder: Path, options: Data) -> Dataset | None:
    """Return the data set in a folder without images; None where there are some, or nothing else.

    Raises:
        VaekitError: for damaged files, and arrays of several shapes.
    """
    files: list[Path] = []
    for inner, _, names in os.walk(folder):
        if any(map(is_image, names)):
            return None
        files += [Path(inner, name) for name in names if not name.startswith(".")]
    files = sorted(files, key=lambda file: natural(file.relative_to(folder).as_posix()))
    arrays = [file for file in files if file.suffix.lower() == ".npy"]
    if any(role(file.stem)[0].endswith("images") for file in arrays):
        read = {file.stem: _read(file) for file in arrays}
        return dataset_in(folder, named(folder, read, options), options)
    if arrays:
        return _rows(folder, arrays, options)
    found = [file for file in files if NAME.search(file.name) and is_idx(file)]
    images = [file for file in found if "label" not in file.name]
    chosen = [file for file in images if "train" in file.name] or images
    if len(chosen) > 1:
        raise VaekitError(f"{folder} holds {chosen[0].name}, {chosen[1].name}: name one of them.")
    return dataset_in(folder, idx_arrays(chosen[0], options), options) if chosen else None


def _read(file: Path) -> np.ndarray:
    with opened(file, ".npy", MEND):
        array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
        return array


def _rows(folder: Path, files: Sequence[Path], options: Data) -> Dataset:
    """Return the data set of files that hold a row each; their paths tell classes and splits."""
    arrays = [_read(file) for file in files]
    for file, array in zip(files, arrays, strict=True):
        if (array.shape, array.dtype) != (arrays[0].shape, arrays[0].dtype):
            raise VaekitError(
                f"{file} holds {array.dtype} {array.shape}, and {files[0].name} "
                f"{arrays[0].dtype} {arrays[0].shape}; expected a row in each, all alike."
            )
    check_memory(str(folder), sum(array.nbytes for array in arrays), "Take fewer files.")
    names = [file.relative_to(folder).as_posix() for file in files]
    found = layout(folder, names, options, taken(options))
    ((images,), facts) = dense(folder, [(np.stack(arrays), "the arrays")], options)
    parts, called = split_up(folder, found.rows, options), np.array(names, object)
    for name, part in parts.items():
        places = np.arange(len(part)) if part.ids is None else part.ids
        rows = take(images, torch.from_numpy(places))
        parts[name] = replace(part, images=rows, ids=called[places])
    left = [f"left out: {', '.join(found.left)}"] if found.left else []
    said = "; ".join(filter(None, (facts.pop("said"), *found.words, *left)))
    facts |= {"class_names": found.class_names, "factor_names": found.factor_names, "said": said}
    return joined(folder, facts.pop("kind"), parts, **facts)

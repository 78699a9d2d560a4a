"""New rows for a trained model: read, placed and scaled as those of its training were."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit._io import note
from vaekit._train_options import Data, NewData
from vaekit.data._catalog import sets
from vaekit.data._context import conditioned
from vaekit.data._dataset import Dataset
from vaekit.data._image_files import is_image
from vaekit.data._pixels import pixels_of
from vaekit.data._preparation import placed
from vaekit.data._sources import meant, read
from vaekit.data._splits import numbers_of, together
from vaekit.data._values import from_value, is_value
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.data._transforms import DataSpec

# Whose labels are columns.
TABLE = re.compile(r"[.]((csv|tsv|data|txt)([.]gz)?|parquet|feather|xls[xm]|h5ad)$")
# Of a training alone: how its rows were chosen.
CHOICE = dict.fromkeys(("validation", "test", "test_data", "limit", "cache"))


def read_new(
    data: Any,
    options: Data,
    takes: DataSpec,
    *,
    id: str | None = None,  # noqa: A002
    label: str | None = None,
    free: bool = False,
    missing: str | None = None,
    back: bool = False,
) -> Dataset:
    """Return new rows as a trained model takes them; all are in `test`, in their order.

    Sizes, gray and range are those of the training, statistics are the training's, and columns of a
    table are taken by their names, in any order. `ids` has where each row comes from: a file's
    name, the cell of the column `id`, the line of a table's file, a DataFrame's index, or a number
    from 0. Rows that come with splits are joined: training rows, validation rows, test rows.

    Args:
        data: a name or a path (one image file too), an array, a tensor, a DataFrame, an image of
            Pillow or several, or anything else that `vaekit.train` takes.
        options: of the training.
        takes: what the run knows of its data.
        id: the column of a table that names its rows.
        label: the column of a table that is a class; by default that of the training.
        missing: what becomes of gaps in a table; by default as in the training.
        free: labels may be of any classes, but where the run is conditioned on them.
        back: rows of a table are to be written back: `Split.cells` keeps them as they are read.

    Raises:
        VaekitError: for rows that are not such as the model takes, each with what is not.
    """
    free = free and not takes.labeled
    known = options.model_dump() | CHOICE | {"takes": takes, "id": id, "free": free, "back": back}
    known |= {} if label is None else {"label": label, "named": ("id", "label")}
    known |= {} if missing is None else {"missing": missing}
    several = isinstance(data, list | tuple) and not is_value(data)
    given = is_value(data) or (several and all(is_image(os.fspath(each)) for each in data))
    known |= {"data_dir": None} if given else {"data": meant(data, options.data_dir)}
    frame = hasattr(data, "columns") and not isinstance(data, Dataset)
    table = frame if given else TABLE.search(known["data"].lower())
    if not table:  # labels and groups of others are not columns
        known |= {"label": known["label"] if known["labels"] else None, "group": None}
    how = NewData(**known)
    source = from_value(_batch(data, how), how) if given else read(how)
    shape = tuple(source.train.images.shape[1:])
    if shape != takes.shape:
        raise VaekitError(f"{source.name} has rows of shape {shape}; this run takes {takes.shape}.")
    named = not given and how.data in sets(how.data_dir)  # which brings its own splits
    rows = together([*source.splits.values()]) if named else source.train
    if given and several and not is_value(data):
        rows = replace(rows, ids=_called([os.fspath(each) for each in data]))
    if rows.labels is not None and not free and int(rows.labels.max()) >= takes.classes:
        cells = [str(number) for number in rows.labels.tolist()]
        rows = replace(rows, labels=numbers_of(cells, takes) if takes.classes else None)
    rows = placed(
        "test", rows, how, replace(takes.values, binarize=False, dequantize=False, augment=())
    )
    if takes.labeled and rows.labels is None:
        raise VaekitError(
            f"{source.name} has no labels, on which this run is conditioned: name them, as the "
            "column of a table or folders of images."
        )
    if source.said:
        note(f"{source.name}: {source.said}.")
    classes = source.classes if free else takes.classes
    facts: Any = {"classes": classes, "covariates": takes.covariates, "library": takes.library}
    rows = conditioned(rows, replace(source, **facts), how)
    return replace(source, train=rows, test=rows, validation=None)


def _called(paths: Sequence[str]) -> np.ndarray:
    """Return the names of files, or their paths where names are the same."""
    names = [Path(path).name for path in paths]
    return np.array(names if len(set(names)) == len(names) else paths, object)


def _batch(data: Any, how: NewData) -> Any:
    """Return images and paths as pixels, and one row as a batch of one."""
    several = data if isinstance(data, list | tuple) else [data]
    files = [each for each in several if isinstance(each, str | os.PathLike)]
    if several and (len(files) == len(several) or all(map(_is_image, several))):
        pixels = [pixels_of(Path(each) if files else each, how) for each in several]
        shapes = sorted({each.shape for each in pixels})
        if len(shapes) > 1:
            raise VaekitError(f"the images have the shapes {shapes[0]} and {shapes[1]}; give one.")
        return np.stack(pixels)
    if isinstance(data, list) and not any(hasattr(each, "__array__") for each in data):
        data = _numbers(data)
    kind = getattr(getattr(data, "dtype", None), "kind", "")
    if len(how.takes.shape) == 3 and kind in "iu" and kind and 0 <= data.min() <= data.max() <= 255:
        data = data.astype(np.uint8)  # levels of another type
    return batch_of(data, how.takes.shape)


def batch_of(data: Any, shape: tuple[int, ...]) -> Any:
    """Return an array or a tensor of rows; one row alone, or without its channel, as a batch.

    Example:
        >>> [batch_of(np.zeros(s), (1, 4, 4)).shape for s in ((4, 4), (2, 4, 4), (2, 16))]
        [(1, 1, 4, 4), (2, 1, 4, 4), (2, 16)]
    """
    found = tuple(getattr(data, "shape", ()))
    flat = len(found) == 2 and found[1] == math.prod(shape)
    if len(shape) == 3 == len(found) and shape[0] == 1 and found[1:] == shape[1:]:
        return data[:, None]
    if len(shape) == 3 and len(found) == 2 and not flat:
        return data[None, None] if shape[0] == 1 else data[None]
    return data[None] if found in {shape, (*shape[1:], shape[0])} else data


def _numbers(data: Sequence[Any]) -> Any:
    """Return a list of numbers, or of lists of them, as an array; anything else as it is."""
    try:
        array = np.asarray(data)
    except ValueError:
        return data
    return array if array.dtype.kind in "iuf" and array.ndim else data


def _is_image(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "PIL"

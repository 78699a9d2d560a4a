"""A table of labels beside images: a row for each file, found by the names of the files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaekit.data._csv import read_text
from vaekit.data._splits import whole
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    import pandas

    from vaekit._train_options import Data


@dataclass
class Labels:
    """What a table tells of images.

    Attributes:
        cells: the class of each image, empty where it has none; or None.
        lacking: the places of images that have no row, or no class.
        factors: other columns of numbers, float32 `(N, F)`, 0 where an image has no row; or None.
        factor_names: of these columns.
        words: what is said.
    """

    cells: list[str] | None
    lacking: set[int]
    factors: Tensor | None = None
    factor_names: tuple[str, ...] = ()
    words: list[str] = field(default_factory=list)


def read_labels(path: Path, names: Sequence[str], options: Data, strict: bool) -> Labels | None:
    """Return what the table `options.labels` tells of the images of these names.

    Of new rows, which are not `strict`, the labels are None where they have no such table.

    Raises:
        VaekitError: for a table that cannot be found or read, that names none of the images or one
            of them twice, and where it does not tell which column is the class.
    """
    file = _found(path, str(options.labels))
    if file is None:
        if not strict:
            return None
        raise VaekitError(
            f"`labels={options.labels}` is neither in {path} nor here; give its path from there."
        )
    frame = _read(file, options)
    match = _matched(frame, names)
    if match is None:
        if not strict:
            return None
        raise VaekitError(
            f"{file}: no column holds the names of the images in {path}, as '{names[0]}'; it has "
            f"{', '.join(map(str, frame.columns[:8]))}."
        )
    column, rows = match
    label, numbers = _columns(file, frame, column, options)
    cells = None
    if label is not None:
        named = [whole(text.strip()) or text.strip() for text in frame[label]]
        cells = [named[row] if row >= 0 else "" for row in rows]
    lacking = {i for i, row in enumerate(rows) if row < 0 or (cells is not None and not cells[i])}
    spare = len(frame) - len({row for row in rows if row >= 0})
    words = [f"{spare} rows of {file.name} have no image"] if spare else []
    factors = None
    if numbers:
        values = np.stack([frame[name].astype(np.float32) for name in numbers], 1)
        factors = torch.from_numpy(np.where(rows[:, None] < 0, 0, values[rows]).astype(np.float32))
    return Labels(cells, lacking, factors, tuple(numbers), words)


def _found(path: Path, name: str) -> Path | None:
    folders = (path, path.parent, Path())
    return next((f / name for f in folders if (f / name).is_file()), None)


def _read(file: Path, options: Data) -> pandas.DataFrame:
    """Return the cells as text."""
    text = read_text(file, options)
    frame = text.frame(range(len(text.names))).set_axis(text.names, axis=1)
    return frame.drop_duplicates()


def _plain(text: str) -> str:
    return text.strip().replace("\\", "/").removeprefix("./")


def _bare(text: str) -> str:
    from vaekit.data._image_files import is_image

    return text.rpartition(".")[0] if is_image(text) else text


# How a cell may name a file: in full, without its ending, without its folder, without both.
FORMS: tuple[Callable[[str], str], ...] = (
    _plain,
    lambda text: _bare(_plain(text)),
    lambda text: _plain(text).rpartition("/")[2],
    lambda text: _bare(_plain(text).rpartition("/")[2]),
)


def _matched(frame: pandas.DataFrame, names: Sequence[str]) -> tuple[str, np.ndarray] | None:
    """Return the first column that names images, and the row of each image, -1 without.

    Raises:
        VaekitError: where two rows that differ name one image.
    """
    for form in FORMS:
        keys = [form(name) for name in names]
        if len(set(keys)) < len(keys):
            continue  # files of one name in several folders
        wanted = set(keys)
        for column in frame.columns:
            cells = [form(cell) for cell in frame[column]]
            hits = wanted.intersection(cells)
            if 2 * len(hits) < min(len(wanted), len(cells)) or not hits:
                continue
            place: dict[str, int] = {}
            for row, cell in enumerate(cells):
                if cell in wanted and place.setdefault(cell, row) != row:
                    raise VaekitError(f"the labels name '{cell}' in two rows; leave one.")
            return column, np.array([place.get(key, -1) for key in keys])
    return None


def _columns(
    file: Path, frame: pandas.DataFrame, column: str, options: Data
) -> tuple[str | None, list[str]]:
    """Return the column of classes, or None, and the other columns of numbers.

    Raises:
        VaekitError: for an unknown column, and where several may be the class.
    """
    others = [str(name) for name in frame.columns if name != column]
    numbers = [name for name in others if all(map(_is_number, frame[name]))]
    whole = [n for n in numbers if all(float(cell).is_integer() for cell in frame[n])]
    label = options.label
    if label is not None and label not in others:
        raise VaekitError(f"{file} has no column '{label}'; it has {', '.join(others[:8])}.")
    if label is None:
        texts = [name for name in others if name not in numbers]
        classes = texts + whole
        if len(others) > 1 and classes:
            raise VaekitError(
                f"{file} has the columns {', '.join(others[:8])}: name the class, as "
                f"`label={classes[0]}`; others that are numbers become factors."
            )
        label = classes[0] if classes else None
    elif label in numbers and label not in whole:
        raise VaekitError(
            f"{file}: '{label}' has numbers that are not whole, which are no classes; name another "
            "column as `label`."
        )
    return label, [name for name in numbers if name != label]


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False

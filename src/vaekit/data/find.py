"""Data sets by name or by path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vaekit.data.catalogue import SETS
from vaekit.data.dataset import Dataset
from vaekit.data.folders import not_found, search_folders
from vaekit.data.formats import FORMATS, load_folder
from vaekit.errors import unknown
from vaekit.options import Data, checked

__all__ = ["known", "load", "read"]


def known() -> tuple[str, ...]:
    """The names that `load` knows.

    Example:
        >>> known()[:3]
        ('digits', 'shapes', 'mnist')
    """
    return tuple(SETS)


def load(name: str | Path, data_dir: str | Path | None = None, **options: Any) -> Dataset:
    """A data set by its name, or from a path.

    Args:
        name: one of `known()`, or the path of a folder or .zip of images, of an .npz, .npy or
            .csv; a relative path is looked for from here, then in the folders.
        data_dir: the first folder to search; then come $VAEKIT_DATA and the user's cache.
        options: how it is read: fields of `vaekit.options.Data`, as `size=64`.

    Raises:
        VaekitError: for an unknown name, and for data that are not found or cannot be read.

    Example:
        >>> load("digits").classes
        10
    """
    folder = None if data_dir is None else str(data_dir)
    return read(checked(Data, {"data": str(name), "data_dir": folder, **options}))


def read(asked: Data) -> Dataset:
    """The data set that `asked` names, read as it says; `prepare` makes a training's rows of it.

    Raises:
        VaekitError: for an unknown name, and for data that are not found or cannot be read.
    """
    folders = search_folders(asked.data_dir)
    if asked.data in SETS:
        return SETS[asked.data](folders)
    path = Path(asked.data).expanduser()
    if path.suffix.lower() in FORMATS:
        return FORMATS[path.suffix.lower()](_locate(path, folders), asked)
    for place in (Path(), *folders) if asked.data else ():
        if (place / path).is_dir():
            return load_folder(place / path, asked)
    what = "data set (or path of a folder or .zip of images, .npz, .npy, .csv)"
    raise unknown(what, asked.data, known())


def _locate(path: Path, folders: tuple[Path, ...]) -> Path:
    places = (Path(), *folders)
    for place in places:
        if (place / path).is_file():
            return place / path
    raise not_found(f"the file '{path}'", [(place / path).absolute().parent for place in places])

"""Data sets by name or by path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vaekit.data.dataset import Dataset
from vaekit.data.digits import load_digits
from vaekit.data.folders import not_found, search_folders
from vaekit.data.mnist import load_mnist
from vaekit.data.npz import load_npz
from vaekit.data.shapes import load_shapes
from vaekit.errors import choose

__all__ = ["known", "load"]

# A new set is one entry: its name, and a function of the folders to search.
SETS: dict[str, Callable[[tuple[Path, ...]], Dataset]] = {
    "digits": load_digits,
    "shapes": load_shapes,
    "mnist": load_mnist,
}

# A new format is one entry: the end of the path, and a function of the path.
FORMATS: dict[str, Callable[[Path], Dataset]] = {".npz": load_npz}


def known() -> tuple[str, ...]:
    """The names that `load` knows.

    Example:
        >>> known()
        ('digits', 'shapes', 'mnist')
    """
    return tuple(SETS)


def load(name: str | Path, data_dir: str | Path | None = None) -> Dataset:
    """A data set by its name, or from the path of an .npz file.

    Args:
        name: one of `known()`, or a path that ends in .npz; a relative path is looked for from
            here, then in the folders.
        data_dir: the first folder to search; then come $VAEKIT_DATA and the user's cache.

    Raises:
        VaekitError: for an unknown name, and for data that are not found or cannot be read.

    Example:
        >>> load("digits").classes
        10
    """
    folders = search_folders(data_dir)
    path = Path(name).expanduser()
    if path.suffix.lower() in FORMATS:
        return FORMATS[path.suffix.lower()](_locate(path, folders))
    return choose("data set (or path of an .npz file)", str(name), SETS)(folders)


def _locate(path: Path, folders: tuple[Path, ...]) -> Path:
    places = (Path(), *folders)
    for place in places:
        if (place / path).is_file():
            return place / path
    raise not_found(f"the file '{path}'", [(place / path).absolute().parent for place in places])

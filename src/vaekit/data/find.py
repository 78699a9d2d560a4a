"""Data sets by name or by path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vaekit.data.arrays import load_npy, load_npz
from vaekit.data.dataset import Dataset
from vaekit.data.images import load_images
from vaekit.data.named import not_found, sets
from vaekit.data.own import refuse
from vaekit.data.pixels import shaped
from vaekit.data.tables import load_csv, load_parquet, text_columns
from vaekit.errors import VaekitError, unknown
from vaekit.io import search_folders
from vaekit.train_options import Data, checked

GIVEN = "given"  # in place of a name or a path
PATHS = "a folder or .zip of images, .npz, .npy, .csv, .parquet"


# A new format is one entry: the end of the path, and a function of the path and how to read it.
FORMATS: dict[str, Callable[..., Dataset]] = {
    ".npz": load_npz,
    ".npy": load_npy,
    ".csv": load_csv,
    ".tsv": load_csv,
    ".parquet": load_parquet,
}
# Formats whose readers can leave the rows in the file.
MAPPABLE = (".npz", ".npy")


def known(data_dir: str | Path | None = None) -> tuple[str, ...]:
    """Return the names that `load` knows.

    Example:
        >>> known()[:3]
        ('digits', 'shapes', 'avatars')
    """
    return tuple(sets(data_dir))


def load(name: str | Path, data_dir: str | Path | None = None, **options: Any) -> Dataset:
    """Return a data set by its name, or from a path.

    Args:
        name: one of `known()`, or the path of a folder or .zip of images, of an .npz, .npy or
            .csv; a relative path is looked for from here, then in the folders.
        data_dir: the first folder to search; then come $VAEKIT_DATA and the user's cache.
        options: how it is read: fields of `vaekit.train_options.Data`, as `size=64`.

    Raises:
        VaekitError: for an unknown name, and for data that are not found or cannot be read.

    Example:
        >>> load("digits").classes
        10
    """
    folder = None if data_dir is None else str(data_dir)
    return read(checked(Data, {"data": str(name), "data_dir": folder, **options}))


def read(asked: Data, *, mapped: bool = False) -> Dataset:
    """Return the data set that `asked` names; `prepare` makes a training's rows of it.

    With `mapped`, large arrays that are not compressed stay in their file: for a few rows.

    Raises:
        VaekitError: for an unknown name, and for data that are not found or cannot be read.
    """
    if asked.data == GIVEN:
        raise VaekitError(
            "the run was trained on data that were given in Python and are not stored: give them "
            "again, as vaekit.load(RUN, data=...)."
        )
    folders, entries = search_folders(asked.data_dir), sets(asked.data_dir)
    if asked.data in entries:
        reason = "a set known by name has its own"
        refuse(asked.data, asked, label=reason, group="its splits are set", test=reason)
        return shaped(entries[asked.data](folders, asked), asked)
    if asked.data.lower().replace("_", "-") in entries:  # no folder of such a name is meant
        raise unknown("data set", asked.data, entries)
    path = _expanded(asked.data)
    for folder in (Path(), *folders) if asked.data else ():
        if _exists(Path.is_dir, folder / path):
            return _images(folder / path, asked)
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix == ".zip":
        return _images(_locate(path, folders), asked)
    if suffix in FORMATS:
        more = {"mapped": True} if mapped and suffix in MAPPABLE else {}
        return shaped(FORMATS[suffix](_locate(path, folders), asked, **more), asked)
    if asked.data and _exists(Path.exists, path):
        raise VaekitError(f"{path} is of no format that is read; expected {PATHS}.")
    if len(path.parts) > 1 or path.is_absolute():
        raise not_found(f"the folder '{path}'", [(folder / path).parent for folder in folders])
    raise unknown(f"data set (or path of {PATHS})", asked.data, entries)


def _images(path: Path, asked: Data) -> Dataset:
    refuse(path, asked, label="folders name the classes of images")
    names = ("size", "crop", "gray", "group", "test", "limit", "split_seed", "cache")
    return load_images(path, **{name: getattr(asked, name) for name in names})


def labeled(asked: Data) -> Data:
    """Return the same; of a .csv without a label named, its one column of text is the label."""
    path = _expanded(asked.data)
    if (
        path.name.lower().removesuffix(".gz")[-4:] not in (".csv", ".tsv")
        or asked.label is not None
    ):
        return asked
    columns = text_columns(_locate(path, search_folders(asked.data_dir)))
    names = [name for name in columns if name != asked.group]
    return asked.model_copy(update={"label": names[0]}) if len(names) == 1 else asked


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError as error:  # of ~nobody
        raise VaekitError(f"cannot find {name}: {error}") from None


def _exists(is_such: Callable[[Path], bool], path: Path) -> bool:
    try:
        return is_such(path)
    except OSError as error:
        raise VaekitError(f"cannot read {path}: {error.strerror}.") from None


def _locate(path: Path, folders: tuple[Path, ...]) -> Path:
    searched = (Path(), *folders)
    for folder in searched:
        if _exists(Path.is_file, folder / path):
            return folder / path
    parents = [(folder / path).absolute().parent for folder in searched]
    raise not_found(f"the file '{path}'", parents)

"""Where data sets come from: a name in a catalog, a path or several, or a hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vaekit._io import nearest, note, search_folders
from vaekit._train_options import Data, NewData, checked
from vaekit.data._anndata import anndata
from vaekit.data._archives import TARS, joined_files
from vaekit.data._arrays import Named, dataset_in, npy_arrays, npz_arrays
from vaekit.data._catalog import not_found, sets
from vaekit.data._columns import Table
from vaekit.data._dataset import Dataset
from vaekit.data._folders import load_folder
from vaekit.data._formats import ARRAYS, CONVERT, FRAMES, frame_table
from vaekit.data._hub import START, read_hub
from vaekit.data._idx import idx_arrays, is_idx
from vaekit.data._image_files import ImageFiles, is_image
from vaekit.data._images import load_images
from vaekit.data._pixels import shaped
from vaekit.data._several import joined_arrays, joined_tables
from vaekit.data._splits import UNTESTED, refuse, taken
from vaekit.data._tables import dataset_of_table, text_table
from vaekit.data._values import from_value
from vaekit.errors import VaekitError, unknown

GIVEN = "given"  # in place of a name or a path
PATHS = "a folder or .zip of images, .npz, .npy, .csv, .xlsx, .parquet, .mat, .h5, .pt and others"

TEXTS = (".csv", ".tsv", ".data", ".txt")
# A new format is one entry: the end of the path, and a function of the path and how to read it,
# which gives a table or named arrays.
TABLES: dict[str, Callable[[Path, Data], Table]] = {
    **dict.fromkeys(TEXTS, text_table),
    **{suffix: partial(frame_table, suffix) for suffix in FRAMES},
}
NAMED: dict[str, Callable[..., Named]] = {
    ".npz": npz_arrays,
    ".npy": npy_arrays,
    ".h5ad": anndata,
    **ARRAYS,
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


def load(
    name: str | Path | Sequence[str | Path], data_dir: str | Path | None = None, **how: Any
) -> Dataset:
    """Return a data set by its name, or from a path.

    Args:
        name: one of `known()`, or the path of a folder or .zip of images, of an .npz, .npy, .csv
            or others, or several paths; a relative one is looked for from here, then in the
            folders.
        data_dir: the first folder to search; then come $VAEKIT_DATA and the user's cache.
        how: how it is read: fields of `vaekit._train_options.Data`, as `size=64`.

    Raises:
        VaekitError: for an unknown name, and for data that are not found or cannot be read.

    Example:
        >>> load("digits").classes
        10
    """
    folder = None if data_dir is None else str(data_dir)
    return read(checked(Data, {"data": meant(name, folder), "data_dir": folder, **how}))


def meant(data: Any, data_dir: Any = None) -> str:
    """Return names and paths as options take them: one called as a set, which is here, is a path.

    Several paths are absolute.
    """
    if isinstance(data, list | tuple):
        paths = [_expanded(os.fspath(each)).absolute() for each in data]
        return checked(Data, {"data": paths}).data
    name = str(data)
    parts = [part.strip() for part in name.split(",")]
    if len(parts) > 1 and not os.path.exists(name) and all(map(os.path.exists, parts)):
        return meant(parts)
    entry = sets(data_dir).get(name.lower().replace("_", "-"))
    if entry is None or not os.path.exists(name) or entry.find((Path(),)):
        return name
    note(f"{name} is the {'folder' if os.path.isdir(name) else 'file'} here, no set of that name.")
    return os.path.join(os.curdir, name)


def read(options: Data, *, mapped: bool = False) -> Dataset:
    """Return the data set that `options` names; `prepare` makes a training's rows of it.

    With `mapped`, large arrays that are not compressed stay in their file: for a few rows.

    Raises:
        VaekitError: for an unknown name, and for data that are not found or cannot be read.
    """
    if options.test_data is None:
        return _read(options, mapped)
    if options.test is not None:
        raise VaekitError("`test` and `test_data` exclude each other: leave one.")
    data = _read(options.model_copy(update={"test": 0.0}), mapped)
    takes = data.spec()
    if options.missing == "mean" and data.kind == "table":
        mean = (data.train.survey.sums / len(data.train)).float()
        takes = replace(takes, values=replace(takes.values, loc=mean))
    own = {"data": options.test_data, "test_data": None, "limit": None, "takes": takes}
    tests = _read(NewData(**options.model_dump() | data.chosen | own), mapped)
    if data.train.images.shape[1:] != tests.train.images.shape[1:]:
        shapes = [tuple(each.train.images.shape[1:]) for each in (tests, data)]
        raise VaekitError(f"{tests.source} has rows of shape {shapes[0]}; expected {shapes[1]}.")
    said = data.said.replace(UNTESTED, f"test rows of {tests.name}")
    return replace(data, test=tests.train, untested=False, said=said)


def _read(options: Data, mapped: bool) -> Dataset:
    if options.data == GIVEN:
        raise VaekitError(
            "the run was trained on data that were given in Python and are not stored: give them "
            "again, as vaekit.load(RUN, data=...)."
        )
    folders, entries = search_folders(options.data_dir), sets(options.data_dir)
    if options.data in entries:
        reason = "a set known by name has its own"
        own = dict.fromkeys(("label", "test_data", "test", "levels", "skip_damaged"), reason)
        refuse(options.data, options, **own, group="its splits are set")
        return shaped(entries[options.data](folders, options), options)
    if options.data.startswith(START):
        found = read_hub(options)
        if isinstance(found, dict):
            return from_value(found, options.model_copy(update={"data_dir": None}))
        return load_images(Path(options.data), options, found)
    if "://" in options.data:
        raise VaekitError(f"{options.data} is an address: download it, and name the file.")
    path = _expanded(options.data)
    here = options.data and _first(Path.exists, path, folders) is not None
    if not here and options.data.lower().replace("_", "-") in entries:
        raise unknown("data set", options.data, entries)
    parts = [part.strip() for part in options.data.split(",")]
    if not here and len(parts) > 1 and all(parts):
        return _of_several([_expanded(part) for part in parts], folders, options)
    return _of_path(path, folders, options, mapped)


def _of_several(paths: Sequence[Path], folders: Sequence[Path], options: Data) -> Dataset:
    """Return the data set of the rows of several paths, one after the other.

    Raises:
        VaekitError: where they are of several sorts, or do not fit each other.
    """
    found = [_first(Path.is_dir, path, folders) or _file(path, folders) for path in paths]
    sorts = {_sort(path) for path in found}
    if len(sorts) > 1 or sorts == {""}:
        kinds = ", ".join(path.name for path in found)
        raise VaekitError(f"{kinds} are not all tables, arrays or images; expected one sort.")
    first, name = found[0], "+".join(path.stem for path in found[:3])
    name += "+..." if len(found) > 3 else ""
    if sorts == {"images"}:
        files = joined_files(found, [ImageFiles(path) for path in found])
        data = load_images(Path(options.data), options, files)
    elif sorts == {"table"}:
        tables = [TABLES[_suffix(path)](path, options) for path in found]
        data = shaped(dataset_of_table(first, joined_tables(tables)), options)
    else:
        several = [_named(path, options) for path in found]
        data = shaped(dataset_in(first, joined_arrays(found, several), options), options)
    return replace(data, name=name, source=options.data)


def _sort(path: Path) -> str:
    """Return what a path holds: "table", "arrays" or "images"; nothing of others."""
    if path.is_dir() or _is_archive(path):
        return "images"
    if _suffix(path) in TABLES:
        return "table"
    return "arrays" if _suffix(path) in NAMED or is_idx(path) else ""


def _is_archive(path: Path) -> bool:
    return path.name.lower().endswith((".zip", *TARS))


def _named(path: Path, options: Data, mapped: bool = False) -> Named:
    """Return the arrays in a file."""
    suffix = _suffix(path)
    more = {"mapped": True} if mapped and suffix in MAPPABLE else {}
    return NAMED[suffix](path, options, **more) if suffix in NAMED else idx_arrays(path, options)


def _of_path(path: Path, folders: Sequence[Path], options: Data, mapped: bool) -> Dataset:
    """Return the data set at a path."""
    folder = _first(Path.is_dir, path, folders) if options.data else None
    suffix = _suffix(path)
    image = taken(options) is not None and is_image(path.name)
    other = None if folder is None else load_folder(folder, options)
    if other is not None:
        return shaped(other, options)
    if folder is not None or _is_archive(path) or image:
        return load_images(folder or _file(path, folders), options)
    if suffix in TABLES:
        table, keys = _file(path, folders), "it is for images and arrays: `label` names a column"
        refuse(table, options, images=keys, labels=keys)
        return shaped(dataset_of_table(table, TABLES[suffix](table, options)), options)
    file = _first(Path.is_file, path, folders) if options.data else None
    if suffix in NAMED or (file is not None and is_idx(file)):
        file = file or _file(path, folders)
        return shaped(dataset_in(file, _named(file, options, mapped), options), options)
    if suffix in CONVERT:
        raise VaekitError(f"{path} is of a format that is not read: {CONVERT[suffix]}.")
    if file is not None:
        raise VaekitError(f"{path} is of no format that is read; expected {PATHS}.")
    if nearest(path) or len(path.parts) > 1 or path.is_absolute():
        parents = [(folder / path).parent for folder in (Path(), *folders)]
        raise not_found(f"the {'file' if suffix else 'folder'} '{path}'", parents, path.name)
    known = sets(options.data_dir)
    raise unknown(f"data set (or path of {PATHS})", options.data, known)


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError as error:  # of ~nobody
        raise VaekitError(f"cannot find {name}: {error}") from None


def _first(is_such: Callable[[Path], bool], path: Path, folders: Sequence[Path]) -> Path | None:
    """Return this path from here, or below the first of these folders, where it is such."""
    try:
        return next((f / path for f in (Path(), *folders) if is_such(f / path)), None)
    except OSError as error:
        raise VaekitError(f"cannot read {error.filename}: {error.strerror}.") from None


def _file(path: Path, folders: Sequence[Path]) -> Path:
    file = _first(Path.is_file, path, folders)
    if file is None:
        parents = [(folder / path).absolute().parent for folder in (Path(), *folders)]
        raise not_found(f"the file '{path}'", parents, path.name)
    return file

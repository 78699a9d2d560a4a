"""Data sets known by name: the entries of catalogs, their files, and what reads or makes them.

The names of vaekit are in catalog.toml; the `catalog.toml` of a data folder adds others.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from vaekit._io import UnreachableError, checksum_of, fetch, nearest, search_folders
from vaekit._train_options import Data
from vaekit.data._avatars import load_avatars
from vaekit.data._dataset import Dataset
from vaekit.data._embedded import load_digits, load_shapes
from vaekit.data._named_sets import READERS, Parts
from vaekit.errors import VaekitError, choose

CATALOG = "catalog.toml"
MAKERS: dict[str, Callable[..., Dataset]] = {
    "digits": load_digits,
    "shapes": load_shapes,
    "avatars": load_avatars,
}


@dataclass(frozen=True)
class File:
    """A file of a known content.

    Attributes:
        path: under a folder of data sets, with slashes.
        checksum: its sha256, or "md5:" and its md5.
        urls: where it can be downloaded, the best first.
        plain: the sha256 of what a `.gz` holds; it may lie unzipped, without the ending.

    Raises:
        ValueError: for a path that leads out of that folder.
    """

    path: str
    checksum: str
    urls: tuple[str, ...] = ()
    plain: str | None = None

    def __post_init__(self) -> None:
        pure = PurePosixPath(self.path)
        if pure.is_absolute() or ".." in pure.parts:  # it is written there when it is downloaded
            raise ValueError(f"the path '{self.path}' must lie below the folder of the data")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    def at(self, folder: Path) -> Path | None:
        """Return where it lies in the folder, or None."""
        paths = (folder / self.name, folder / self.name.removesuffix(".gz"))
        return next((path for path in paths if path.is_file()), None)

    def check(self, path: Path) -> None:
        """Refuse a file at `path` that is not this one.

        Raises:
            VaekitError: for another checksum.
        """
        wanted = self.checksum if path.name == self.name else self.plain
        got = wanted and checksum_of(path, like=wanted)
        if got == wanted:
            return
        mend = "delete it, and it is downloaded again" if self.urls else "fetch it again"
        if path.suffix == ".npz":
            mend += f", or name its path as `data`, to train on it as it is: {path}"
        raise VaekitError(
            f"{path} is truncated or another file: its checksum is {got}, expected {wanted}; "
            f"{mend}."
        )


@dataclass(frozen=True)
class Form:
    """One of the forms in which a data set exists.

    Attributes:
        files: all of them are needed.
        read: from their paths, in this order, to the parts of the data set.
    """

    files: tuple[File, ...]
    read: Callable[[Sequence[Path]], Parts]


@dataclass(frozen=True)
class Entry:
    """A data set by name; called with the folders to search, it gives the `Dataset`.

    Attributes:
        name: as `data` takes it.
        kind, shape, classes: as in `Dataset` and `DataSpec`.
        rows: of the training and the test split.
        note: what it is and where it comes from.
        license: as its origin states it.
        forms: the first whose files are there is read; else the first that can be downloaded.
        make: gives a set without files; it is passed the folders.
        validation: rows that the set itself holds out.
        drawn: whether `make` is passed the options of reading too, and draws rows of their size.

    Raises:
        VaekitError: when called, where the files are not there and cannot be downloaded, or are
            not those expected.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    rows: tuple[int, int]
    classes: int
    note: str
    license: str
    forms: tuple[Form, ...] = ()
    make: Callable[..., Dataset] | None = None
    validation: int = 0
    drawn: bool = False

    def __call__(self, folders: Sequence[Path], asked: Data | None = None) -> Dataset:
        if self.make is not None:
            return self.make(folders, asked) if self.drawn else self.make(folders)
        form, paths = self.find(folders) or self._download(folders)
        for file, path in zip(form.files, paths, strict=True):
            file.check(path)
        try:
            parts = form.read(paths)
        except VaekitError:
            raise
        except Exception as error:  # readers raise whatever files of another kind make of them
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise VaekitError(
                f"{paths[0]} cannot be read as '{self.name}' ({why}): mend `read` in its catalog."
            ) from error
        return Dataset(
            self.name,
            self.kind,
            classes=self.classes,
            source=str(paths[0] if len(paths) == 1 else paths[0].parent),
            note=f"{self.note}; license {self.license}",
            **parts,
        )

    def find(self, folders: Sequence[Path]) -> tuple[Form, list[Path]] | None:
        """Return the first form whose files all lie in one folder, and their paths; or None."""
        for form in self.forms:
            for folder in self._below(form, folders):
                paths = [path for path in (file.at(folder) for file in form.files) if path]
                if len(paths) == len(form.files):
                    return form, paths
        return None

    @property
    def public(self) -> Form | None:
        """The first form that can be downloaded."""
        return next((f for f in self.forms if all(file.urls for file in f.files)), None)

    def _below(self, form: Form, folders: Sequence[Path]) -> list[Path]:
        parent = PurePosixPath(form.files[0].path).parent
        return list(dict.fromkeys(p for f in folders for p in (f / parent, f / self.name, f)))

    def _download(self, folders: Sequence[Path]) -> tuple[Form, list[Path]]:
        form = self.public
        if form is None:
            raise VaekitError(f"{self._missing(folders)} It cannot be downloaded: {self.note}.")
        try:
            return form, [fetch(f.urls, folders[-1] / f.path, f.checksum) for f in form.files]
        except UnreachableError as error:
            raise VaekitError(f"{error} Nor is it at hand: {self._missing(folders)}") from error

    def _missing(self, folders: Sequence[Path]) -> VaekitError:
        choices = [", ".join(file.name for file in form.files) for form in self.forms]
        unzipped = any(file.plain for form in self.forms for file in form.files)
        files = " or ".join(choices) + ("; or without .gz" if unzipped else "")
        searched = [folder for form in self.forms for folder in self._below(form, folders)]
        return not_found(f"the files of '{self.name}' ({files})", searched)


def not_found(what: str, folders: Sequence[Path], name: str = "") -> VaekitError:
    """Return the error for data that are in none of `folders`: where it looked, and the mend.

    The mend is what has nearly that `name` in one of the folders, where one has.
    """
    if near := next(filter(None, (nearest(folder / name) for folder in folders if name)), None):
        return VaekitError(f"did not find {what}; did you mean {near}?")
    looked = ", ".join(dict.fromkeys(str(folder.absolute()) for folder in folders))
    return VaekitError(
        f"did not find {what}; looked in: {looked}. "
        f"Name the folder that has it as `data_dir`, or in VAEKIT_DATA."
    )


def _read_catalog(path: Path) -> dict[str, Entry]:
    """Return the sets of a catalog, by name.

    Raises:
        VaekitError: for a file that is no TOML, or tables that are not as docs/data.md says.
    """
    try:
        catalog = {}
        for name, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
            facts: dict[str, Any] = {"classes": 0, "license": "not stated", "forms": (), **table}
            train, test = facts["rows"]
            facts |= {"rows": (train, test), "shape": tuple(facts["shape"])}
            facts["forms"] = tuple(_form(**form) for form in facts["forms"])
            facts["make"] = MAKERS[facts["make"]] if "make" in facts else None
            catalog[name] = Entry(name, **facts)
        return catalog
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise VaekitError(
            f"{path} is no catalog of data sets: {' '.join(str(error).split())}. Mend it; expected "
            "a table for each set, as docs/data.md shows."
        ) from error


def _form(
    *,
    files: Sequence[Mapping[str, str]],
    read: str = "path",
    urls: Sequence[str] = (),
    **options: Any,
) -> Form:
    reader = choose("reader", read, READERS)
    names = [PurePosixPath(file["path"]).name for file in files]
    addresses = [tuple(start + name for start in urls) for name in names]
    return Form(
        tuple(File(**file, urls=each) for file, each in zip(files, addresses, strict=True)),
        partial(reader, **options) if options else reader,
    )


# A set of your own is one more entry, here or in the catalog of a data folder.
SETS: dict[str, Entry] = _read_catalog(Path(__file__).with_name(CATALOG))


def sets(data_dir: str | Path | None = None) -> dict[str, Entry]:
    """Return the data sets known by name: vaekit's, and those of the catalogs in data folders.

    Args:
        data_dir: the first folder with a `catalog.toml`; then $VAEKIT_DATA and the user's cache.

    Raises:
        VaekitError: for a catalog that cannot be read, or has a set of a name that is taken.

    Example:
        >>> list(sets())[:3]
        ['digits', 'shapes', 'avatars']
    """
    entries = dict(SETS)
    # One folder may be named in two ways.
    for folder in {each.resolve(): each for each in search_folders(data_dir)}.values():
        path = folder / CATALOG
        for name, entry in _read_catalog(path).items() if path.is_file() else ():
            if name in entries:
                raise VaekitError(f"{path}: there is a set '{name}' already; name it otherwise.")
            entries[name] = entry
    return entries

"""A data set known by name: what it is, the files it may come from, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vaekit.data.dataset import Dataset
from vaekit.errors import VaekitError
from vaekit.io import UnreachableError, checksum_of, fetch

# What `Dataset` takes beside name, kind, classes, source and note.
Parts = dict[str, Any]


@dataclass(frozen=True)
class File:
    """A file of a known content.

    Attributes:
        path: under a folder of data sets, with slashes.
        checksum: its sha256, or "md5:" and its md5.
        urls: where it can be downloaded, the best first.
        plain: the sha256 of what a `.gz` holds; it may lie unzipped, without the ending.
    """

    path: str
    checksum: str
    urls: tuple[str, ...] = ()
    plain: str | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    def at(self, place: Path) -> Path | None:
        """Where it lies in the folder `place`, or None."""
        paths = (place / self.name, place / self.name.removesuffix(".gz"))
        return next((path for path in paths if path.is_file()), None)

    def check(self, path: Path) -> None:
        """Refuses a file at `path` that is not this one.

        Raises:
            VaekitError: for another checksum.
        """
        wanted = self.checksum if path.name == self.name else self.plain
        if wanted is None:
            return
        got = checksum_of(path, like=wanted)
        if got == wanted:
            return
        mend = "delete it, and it is downloaded again" if self.urls else "fetch it again"
        if path.suffix == ".npz":
            mend += f", or name its path as data, to train on it as it is: {path}"
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
        forms: the first whose files are found is read; else the first that can be downloaded.
        make: gives a set without files; it is passed the folders.
        validation: rows that the set itself holds out.

    Raises:
        VaekitError: when called, where the files are not found and cannot be downloaded, or are
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
    make: Callable[[Sequence[Path]], Dataset] | None = None
    validation: int = 0

    def __call__(self, folders: Sequence[Path]) -> Dataset:
        if self.make is not None:
            return self.make(folders)
        form, paths = self.find(folders) or self._download(folders)
        for file, path in zip(form.files, paths, strict=True):
            file.check(path)
        return Dataset(
            self.name,
            self.kind,
            classes=self.classes,
            source=str(paths[0] if len(paths) == 1 else paths[0].parent),
            note=f"{self.note}; license {self.license}",
            **form.read(paths),
        )

    def find(self, folders: Sequence[Path]) -> tuple[Form, list[Path]] | None:
        """The first form whose files all lie in one place, and their paths; or None."""
        for form in self.forms:
            for place in self._places(form, folders):
                paths = [path for path in (file.at(place) for file in form.files) if path]
                if len(paths) == len(form.files):
                    return form, paths
        return None

    @property
    def public(self) -> Form | None:
        """The first form that can be downloaded."""
        return next((f for f in self.forms if all(file.urls for file in f.files)), None)

    def _places(self, form: Form, folders: Sequence[Path]) -> list[Path]:
        own = PurePosixPath(form.files[0].path).parent
        every = [place for f in folders for place in (f / own, f / self.name, f)]
        return list(dict.fromkeys(every))

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
        unzipped = any(file.name.endswith("ubyte.gz") for f in self.forms for file in f.files)
        files = " or ".join(choices) + ("; or without .gz" if unzipped else "")
        places = [place for form in self.forms for place in self._places(form, folders)]
        return not_found(f"the files of '{self.name}' ({files})", places)


def not_found(what: str, places: Sequence[Path]) -> VaekitError:
    """The error for data that are in none of `places`: where it looked, and the mend."""
    looked = ", ".join(str(place) for place in dict.fromkeys(places))
    return VaekitError(
        f"did not find {what}; looked in: {looked}. "
        f"Name the folder that has it as data_dir, or in VAEKIT_DATA."
    )

"""Your own data from image files, in a folder or a .zip, and what their paths tell."""

from __future__ import annotations

import os
import stat
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaekit._io import in_words
from vaekit.data._dataset import Dataset
from vaekit.data._image_cache import read_pixels
from vaekit.data._layout import counted, layout, natural
from vaekit.data._pixels import pixel_limit
from vaekit.data._rows import Rows, chunks, take
from vaekit.data._splits import (
    check_rows,
    joined,
    limited,
    refuse,
    split_up,
    taken,
)
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit._train_options import Data
    from vaekit.data._transforms import DataSpec

JPEG = ("jpg", "jpeg", "jpe", "jfif")
PLANES = ("ppm", "pgm", "pbm", "pnm")
SUFFIXES = frozenset(("png", *JPEG, "bmp", "gif", "webp", "tif", "tiff", *PLANES))
DECODED = {"avif": "avif"} | dict.fromkeys(("jp2", "j2k", "jpx"), "jpg_2000")  # if Pillow can
TEXTS = frozenset(
    ("", "txt", "md", "rst", "csv", "tsv", "json", "jsonl", "xml", "yaml", "yml", "html", "pdf")
    + ("ini", "db", "log", "py", "ipynb", "sh", "toml", "cfg")
)
OWN = b"tEXtSoftware\0vaekit"  # at the start of a PNG that vaekit drew
HEAD = 128  # bytes of a file that tell so
LOOKED = 10_000  # PNG files: of more, none is opened to tell whose it is
COMPRESSIONS = frozenset(
    (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
)


def load_images(path: Path, options: Data) -> Dataset:
    """Return the images in a folder and its subfolders, or in a .zip, which is never unpacked.

    Files that end in one of `SUFFIXES` are read, hidden ones not, in natural order (9 before 10).
    They are turned as their EXIF record says, and laid over white where they are transparent; of an
    animation or a stack the first image counts. If all are gray, or `options.gray`, they have one
    channel, else three; the kind is "binary" if every value is 0 or 255. Runs of vaekit and images
    that it drew are left out.

    Folders that all images share are passed. Then folders train, test and val (or training,
    testing, validation and the like) are the splits, the next folder is the class, if there are two
    at least. `options.labels` and `options.label_from` name classes in their place. What is guessed
    and what is left out is in `said`.

    Under `options.limit` the rows are chosen by their names, and no other file is opened: what is
    said of all images is then said of these.

    Raises:
        VaekitError: for a path that cannot be read or be read in two ways, no or fewer than 10 images, damaged files (how
            many, and the first), sizes that differ without `size`, more than 8 bits per value,
            more pixels than Pillow's limit, a `group` that does not match, and a full disk.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from vaekit.data import load
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i in range(20):
        ...         Image.fromarray(np.full((8, 8), i, np.uint8)).save(f"{folder}/{i}.png")
        ...     mine = load(folder)
        >>> mine.kind, mine.train, mine.test.images[:, 0, 0, 0]
        ('gray', Split(18 rows, (1, 8, 8), torch.uint8), tensor([18,  1], dtype=torch.uint8))
    """
    _check(path, options)
    limit, seed, shuffled = options.limit, options.split_seed, False
    takes = taken(options)
    with closing(ImageFiles(path)) as files:
        if takes is None:
            check_rows(path, len(files.members), "images")
        names = [each.name for each in files.members]
        found = layout(path, names, options, takes)
        parts = split_up(path, found.rows, options)
        if limit is not None and limit < len(parts["train"]):
            parts["train"], shuffled = limited(parts["train"], limit, seed), True
        places = {
            name: torch.arange(len(part)) if part.ids is None else torch.from_numpy(part.ids)
            for name, part in parts.items()
        }
        wanted = torch.cat(list(places.values())).unique()
        files.members = [files.members[place] for place in wanted.tolist()]
        images, kind, seen = read_pixels(files, options)
        left = found.left + files.left
        words = found.words + ([f"left out: {', '.join(left)}"] if left else []) + seen
        if files.tables and not found.class_names and takes is None and not options.labels:
            words.append(f"`labels={files.tables[0]}` would read labels")
    if takes is not None:
        images, kind = _as_trained(path, images, takes), takes.kind
    called = np.array(names, object)
    for name, part in parts.items():
        pixels = take(images, torch.searchsorted(wanted, places[name]))
        parts[name] = replace(part, images=pixels, ids=called[places[name].numpy()])
    facts = {"class_names": found.class_names, "factor_names": found.factor_names}
    return joined(path, kind, parts, **facts, shuffled=shuffled, said="; ".join(words))


def _check(path: Path, options: Data) -> None:
    """Refuse options of tables, and those that exclude each other."""
    table = "it is for tables, and this is images"
    refuse(path, options, columns=table, drop=table, date=table)
    if options.label and not options.labels:
        refuse(path, options, label="folders name the classes of images, or `labels=FILE` a table")
    if options.labels and options.label_from:
        raise VaekitError("`labels` and `label_from` exclude each other: leave one.")


def _as_trained(path: Path, images: Tensor | Rows, takes: DataSpec) -> Tensor | Rows:
    """Return the pixels with the channels, and of the size, that a trained model takes."""
    size, shape = (tuple(each[-2:]) for each in (images.shape, takes.shape))
    if len(takes.shape) != 3 or size != shape:
        seen, wanted = f"{size[1]} x {size[0]}", " x ".join(map(str, takes.shape[:0:-1]))
        raise VaekitError(
            f"{path} has images of {seen}; this run takes rows of {wanted}: bring them to that."
        )
    if images.shape[1] == takes.shape[0]:
        return images
    if takes.shape[0] == 1:
        raise VaekitError(f"{path} has images in color; this run takes gray ones: turn them gray.")
    return torch.cat([part.expand(-1, 3, -1, -1) for part in chunks(images)])


@dataclass(frozen=True)
class Member:
    """An image file.

    Attributes:
        name: its path from the folder, with slashes.
        size: its bytes.
        stamp: tells its content from another: when it was changed, or a checksum.
        entry: in a .zip, where it is there.
    """

    name: str
    size: int
    stamp: int
    entry: zipfile.ZipInfo | None = None


class ImageFiles:
    """The images in a folder and its subfolders, or in a .zip, in natural order; to be closed.

    Hidden files are left out, links are followed. `open` may be called from several threads.

    Raises:
        VaekitError: where it cannot be read, or has no images.
    """

    def __init__(self, path: Path) -> None:
        alone = path.is_file() and is_image(path.name)
        self.path = path.parent if alone else path
        try:
            self.archive = None if alone or path.is_dir() else zipfile.ZipFile(path)
        except Exception as error:  # zipfile raises whatever damaged bytes make of its reader
            raise VaekitError(
                f"{path} is not a readable .zip ({error}): it is truncated or corrupt; fetch or "
                "write it again."
            ) from error
        self.others, self.tables = Counter[str](), list[str]()
        self.runs, self.empty, self.own = list[str](), list[str](), list[str]()
        archive = self.archive
        members = self._in_folder(path) if archive is None else self._in_archive(path, archive)
        if alone:
            facts = path.stat()
            members = iter([Member(path.name, facts.st_size, facts.st_mtime_ns)])
        self.members = sorted(members, key=lambda member: natural(member.name))
        if not self.members:
            looked = f".{', .'.join(sorted(SUFFIXES))}"
            left = f"; left out: {', '.join(self.left)}" if self.left else ""
            raise VaekitError(f"{path} has no images; looked for {looked}{left}.")
        if not alone:
            self._leave_own()

    def _note_folders(self, names: Collection[str]) -> None:
        """Note the runs, and the empty folders, of an archive."""
        inside: dict[str, set[str]] = {}
        for name in names:
            parts = name.rstrip("/").split("/")
            for depth in range(len(parts)):
                inside.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
        self.runs += [each for each, held in inside.items() if each and is_run(held, held)]
        self.empty += [
            n.rstrip("/") for n in names if n.endswith("/") and n.rstrip("/") not in inside
        ]

    def _wanted(self, name: str) -> bool:
        """Return whether a file is an image; others are counted by their ending."""
        parts = name.split("/")
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            return False
        wanted = is_image(parts[-1])
        if not wanted:
            self.others[parts[-1].rpartition(".")[2].lower() if "." in parts[-1] else ""] += 1
            if name.lower().endswith((".csv", ".tsv")):
                self.tables.append(name)
        return wanted

    def _leave_own(self) -> None:
        """Leave out images that vaekit drew, by the first bytes of each, where others are there."""
        drawn = [each for each in self.members if each.name.lower().endswith(".png")]
        if len(drawn) > LOOKED:
            return
        self.own = [each.name for each in drawn if self._is_own(each)]
        if self.own and len(self.own) < len(self.members):
            own = set(self.own)
            self.members = [each for each in self.members if each.name not in own]
        else:
            self.own = []

    def _is_own(self, member: Member) -> bool:
        try:
            with self.open(member) as stream:
                return OWN in stream.read(HEAD)
        except Exception:  # a damaged one is told where it is decoded
            return False

    @property
    def left(self) -> list[str]:
        """What is left out, in words; not what is text, as a license or a list."""
        others = {e: n for e, n in sorted(self.others.items()) if e not in TEXTS}
        words = [f"{n} .{ending}" for ending, n in others.items()]
        for names, what in (
            (self.own, "image that vaekit drew"),
            (self.runs, "folder of a run"),
            (self.empty, "empty folder"),
        ):
            if names:
                more = ", ..." if len(names) > 1 else ""
                words.append(f"{counted(len(names), what)} ({min(names, key=natural)}{more})")
        return words

    def _in_folder(self, path: Path) -> Iterator[Member]:
        def fail(error: OSError) -> None:
            raise error

        seen = set()
        try:
            for folder, below, names in os.walk(path, onerror=fail, followlinks=True):
                facts = os.stat(folder)
                new = (facts.st_dev, facts.st_ino) not in seen  # and no link to a folder above
                seen.add((facts.st_dev, facts.st_ino))
                inner = Path(folder).relative_to(path).as_posix()
                if inner != "." and is_run(names, below):
                    self.runs.append(inner)
                    below[:] = []
                    continue
                if not below and not names:
                    self.empty.append(inner)
                below[:] = [name for name in below if new and not name.startswith(".")]
                within = [f"{inner}/{name}".removeprefix("./") for name in names if new]
                for name in filter(self._wanted, within):
                    facts = os.stat(os.path.join(path, name))  # a Path for each costs as much again
                    if not stat.S_ISREG(facts.st_mode):
                        raise VaekitError(
                            f"{path / name} is not a plain file; remove or rename it."
                        )
                    yield Member(name, facts.st_size, facts.st_mtime_ns)
        except OSError as error:
            raise VaekitError(
                f"cannot read {error.filename or path}: {error.strerror}. Make it readable, "
                "or remove it."
            ) from error

    def _in_archive(self, path: Path, archive: zipfile.ZipFile) -> Iterator[Member]:
        entries = {each.filename.replace("\\", "/"): each for each in archive.infolist()}
        self._note_folders(entries)
        for name, entry in entries.items():
            inside = any(name.startswith(f"{run}/") for run in self.runs)
            if entry.is_dir() or inside or not self._wanted(name):
                continue
            what = f"{path}: '{entry.filename}'"
            if entry.flag_bits & 1:
                raise VaekitError(f"{what} is encrypted; unzip it and name the folder.")
            if entry.compress_type not in COMPRESSIONS:
                raise VaekitError(
                    f"{what} is compressed in a way that Python cannot read (method "
                    f"{entry.compress_type}); unzip it and name the folder."
                )
            if entry.file_size > 4 * pixel_limit():  # bytes: at most four channels
                raise VaekitError(
                    f"{what} would unpack to {in_words(entry.file_size)}, more than any image that is "
                    "read; remove it."
                )
            yield Member(name, entry.file_size, entry.CRC, entry)

    def open(self, member: Member) -> IO[bytes]:
        """Open one of the files."""
        if self.archive is None or member.entry is None:
            return (self.path / member.name).open("rb")
        return self.archive.open(member.entry)

    def close(self) -> None:
        """Close the archive, if it is one."""
        if self.archive is not None:
            self.archive.close()


def is_image(name: str) -> bool:
    """Return whether a file of this name is an image that is read: by its ending.

    Example:
        >>> [is_image(name) for name in ("a.PNG", "a.jfif", "a.txt")]
        [True, True, False]
    """
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    return ending in SUFFIXES or (ending in DECODED and _decodes(DECODED[ending]))


def is_own(path: Path) -> bool:
    """Return whether a file is an image that vaekit drew."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return OWN in stream.read(HEAD)


@cache
def _decodes(feature: str) -> bool:
    from PIL import features

    return bool(features.check(feature))


def is_run(names: Collection[str], folders: Collection[str]) -> bool:
    """Return whether a folder that holds these is one of vaekit's runs."""
    return "config.json" in names and ("run.json" in names or "checkpoints" in folders)

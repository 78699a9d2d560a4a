"""Your own data from image files, in a folder or a .zip, and what their paths tell."""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaekit._io import in_words
from vaekit.data._dataset import Dataset, Split
from vaekit.data._image_cache import read_pixels
from vaekit.data._pixels import pixel_limit
from vaekit.data._rows import Rows, chunks, take
from vaekit.data._splits import (
    check_rows,
    joined,
    keyed,
    limited,
    numbers_of,
    refuse,
    split_up,
    taken,
)
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit._train_options import Data
    from vaekit.data._transforms import DataSpec

SUFFIXES = frozenset(("png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm"))
COMPRESSIONS = frozenset(
    (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
)
SPLITS = {"train": "train", "test": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "validation"
)


def load_images(path: Path, options: Data) -> Dataset:
    """Return the images in a folder and its subfolders, or in a .zip, which is never unpacked.

    Files that end in png, jpg, jpeg, bmp, gif, webp, tif, tiff, ppm or pgm are read, hidden ones
    not, in natural order (9 before 10). They are turned as their EXIF record says, and laid over
    white where they are transparent; of an animation the first image counts. If all are gray, or
    `options.gray`, they have one channel, else three; the kind is "binary" if every value is 0 or
    255.

    Folders that all images share are left out. Then folders train, test and val (or valid,
    validation) are the splits, if they hold all images and train is there; the next folder is the
    class, if all images lie in one and there are two at least.

    Under `options.limit` the rows are chosen by their names, and no other file is opened: what is
    said of all images is then said of these.

    Raises:
        VaekitError: for a path that cannot be read, no or fewer than 10 images, damaged files (how
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
    refuse(path, options, label="folders name the classes of images")
    limit, seed, shuffled = options.limit, options.split_seed, False
    takes = taken(options)
    with closing(ImageFiles(path)) as files:
        if takes is None:
            check_rows(path, len(files.members), "images")
        names = [each.name for each in files.members]
        rows, class_names = _layout(path, names, options.group, takes)
        parts = split_up(path, rows, options)
        if limit is not None and limit < len(parts["train"]):
            parts["train"], shuffled = limited(parts["train"], limit, seed), True
        places = {
            name: torch.arange(len(part)) if part.ids is None else torch.from_numpy(part.ids)
            for name, part in parts.items()
        }
        wanted = torch.cat(list(places.values())).unique()
        files.members = [files.members[place] for place in wanted.tolist()]
        images, kind = read_pixels(files, options)
    if takes is not None:
        images, kind = _as_trained(path, images, takes), takes.kind
    called = np.array(names, object)
    for name, part in parts.items():
        pixels = take(images, torch.searchsorted(wanted, places[name]))
        parts[name] = replace(part, images=pixels, ids=called[places[name].numpy()])
    return joined(path, kind, parts, class_names=class_names, shuffled=shuffled)


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
        alone = path.is_file() and _is_image(path.name)
        self.path = path.parent if alone else path
        try:
            self.archive = None if alone or path.is_dir() else zipfile.ZipFile(path)
        except Exception as error:  # zipfile raises whatever damaged bytes make of its reader
            raise VaekitError(
                f"{path} is not a readable .zip ({error}): it is truncated or corrupt; fetch or "
                "write it again."
            ) from error
        members = _in_folder(path) if self.archive is None else _in_archive(path, self.archive)
        if alone:
            facts = path.stat()
            members = iter([Member(path.name, facts.st_size, facts.st_mtime_ns)])
        self.members = sorted(members, key=lambda member: natural(member.name))
        if not self.members:
            looked = f".{', .'.join(sorted(SUFFIXES))}"
            raise VaekitError(f"{path} has no images; looked for {looked}.")

    def open(self, member: Member) -> IO[bytes]:
        """Open one of the files."""
        if self.archive is None or member.entry is None:
            return (self.path / member.name).open("rb")
        return self.archive.open(member.entry)

    def close(self) -> None:
        """Close the archive, if it is one."""
        if self.archive is not None:
            self.archive.close()


def natural(name: str) -> tuple[list[str | int], str]:
    """Return a key that sorts names by the numbers in them.

    Example:
        >>> sorted(["a10.png", "a9.png", "A1.png"], key=natural)
        ['A1.png', 'a9.png', 'a10.png']
    """
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def _is_image(name: str) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and "." in parts[-1] and parts[-1].rsplit(".", 1)[1].lower() in SUFFIXES


def _in_folder(path: Path) -> Iterator[Member]:
    def fail(error: OSError) -> None:
        raise error

    seen = set()
    try:
        for folder, below, names in os.walk(path, onerror=fail, followlinks=True):
            facts = os.stat(folder)
            new = (facts.st_dev, facts.st_ino) not in seen  # and no link to a folder above
            seen.add((facts.st_dev, facts.st_ino))
            below[:] = [name for name in below if new and not name.startswith(".")]
            inner = Path(folder).relative_to(path).as_posix()
            within = [f"{inner}/{name}".removeprefix("./") for name in names if new]
            for name in filter(_is_image, within):
                facts = os.stat(os.path.join(path, name))  # a Path for each costs as much again
                if not stat.S_ISREG(facts.st_mode):
                    raise VaekitError(f"{path / name} is not a plain file; remove or rename it.")
                yield Member(name, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise VaekitError(
            f"cannot read {error.filename or path}: {error.strerror}. Make it readable, "
            "or remove it."
        ) from error


def _in_archive(path: Path, archive: zipfile.ZipFile) -> Iterator[Member]:
    for entry in archive.infolist():
        name = entry.filename.replace("\\", "/")
        if entry.is_dir() or not _is_image(name):
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


def _layout(
    path: Path, names: Sequence[str], group: str | None, takes: DataSpec | None = None
) -> tuple[Split | dict[str, Split], tuple[str, ...]]:
    """Return what the relative paths tell: the splits, with labels and groups, and the classes.

    The rows have no pixels as yet; their ids are their places in the list.
    """
    parts = [name.split("/") for name in names]
    known = () if takes is None else takes.class_names
    while len({p[0] for p in parts}) == 1 and all(len(p) > 1 for p in parts):
        if parts[0][0] in known:
            break
        parts = [p[1:] for p in parts]
    splits = [SPLITS.get(p[0].lower(), "") if len(p) > 1 else "" for p in parts]
    split = "train" in splits and "" not in splits
    if split:
        parts = [p[1:] for p in parts]
    folders = [p[0] if len(p) > 1 else "" for p in parts]
    class_names = tuple(sorted(set(folders), key=natural))
    if len(class_names) < 2 or "" in class_names:
        class_names = ()
    number = {name: i for i, name in enumerate(class_names)}
    labels = torch.tensor([number[folder] for folder in folders]) if class_names else None
    if takes is not None:  # a folder of one class may come, too
        class_names = takes.class_names if set(folders) <= set(takes.class_names) else ()
        labels, group = numbers_of(folders, takes) if class_names else None, None
    rows = Split(
        torch.empty(len(names), 0, dtype=torch.uint8),
        labels,
        groups=None if group is None else keyed(_keys(path, names, folders, group)),
    )
    if not split:
        return rows, class_names
    named = np.array(splits)
    masks = {name: torch.from_numpy(named == name) for name in dict.fromkeys(splits)}
    return {name: rows.take(mask) for name, mask in masks.items()}, class_names


def _keys(path: Path, names: Sequence[str], folders: Sequence[str], group: str) -> list[str]:
    option = f"`group={group!r}`"
    if group == "folder":
        if "" in folders:
            name = names[folders.index("")]
            raise VaekitError(f"{option}: '{name}' in {path} lies in no subfolder.")
        return list(folders)
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise VaekitError(f"{option} is no regular expression: {error}.") from None
    if not pattern.groups:
        raise VaekitError(f"{option} has no group in brackets; expected one, as in 'p([0-9]+)_'.")
    keys = []
    for name in names:
        match = pattern.search(name)
        if match is None or match[1] is None:
            raise VaekitError(f"{option} does not match '{name}' in {path}.")
        keys.append(match[1])
    return keys

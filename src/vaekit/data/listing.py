"""The image files in a folder or a .zip, in natural order."""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vaekit.errors import VaekitError
from vaekit.io import in_words

SUFFIXES = frozenset(("png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm"))
CHANNELS = 4
COMPRESSIONS = frozenset(
    (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
)


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


def natural(name: str) -> tuple[list[str | int], str]:
    """A key that sorts names by the numbers in them.

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


def pixel_limit() -> float:
    """The most pixels an image may have: Pillow's own limit, against decompression bombs."""
    from PIL import Image

    return Image.MAX_IMAGE_PIXELS or float("inf")


def listing(path: Path) -> Images:
    """The images in a folder and its subfolders, or in a .zip; to be closed.

    Raises:
        VaekitError: where it cannot be read, or has no images.
    """
    images: Images = Folder(path) if path.is_dir() else Archive(path)
    if not images.members:
        images.close()
        raise VaekitError(f"{path} has no images; looked for .{', .'.join(sorted(SUFFIXES))}.")
    return images


class Folder:
    """Image files below a folder; hidden ones are left out, links are followed.

    `open` may be called from several threads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            found = [_member(path, name) for name in _walk(path) if _is_image(name)]
        except OSError as error:
            raise VaekitError(
                f"cannot read {error.filename or path}: {error.strerror}. Make it readable, "
                "or remove it."
            ) from error
        self.members = sorted(found, key=lambda member: natural(member.name))

    def open(self, member: Member) -> IO[bytes]:
        """One of the files."""
        return (self.path / member.name).open("rb")

    def close(self) -> None:
        """Nothing is open."""


def _walk(path: Path) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for folder, below, names in os.walk(path, onerror=fail, followlinks=True):
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in seen:  # a link to a folder above
            below.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        below[:] = [name for name in below if not name.startswith(".")]
        inner = Path(folder).relative_to(path).as_posix()
        yield from (f"{inner}/{name}".removeprefix("./") for name in names)


def _member(path: Path, name: str) -> Member:
    facts = os.stat(os.path.join(path, name))  # a Path for each of many costs as much again
    if not stat.S_ISREG(facts.st_mode):
        raise VaekitError(f"{path / name} is not a plain file; remove or rename it.")
    return Member(name, facts.st_size, facts.st_mtime_ns)


class Archive:
    """Image files in a .zip, read in memory and never extracted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise VaekitError(f"there is no file {path}.") from None
        except Exception as error:  # zipfile raises whatever damaged bytes make of its reader
            raise VaekitError(
                f"{path} is not a readable .zip ({error}): it is truncated or corrupt; fetch or "
                "write it again."
            ) from error
        entries = [(e.filename.replace("\\", "/"), e) for e in self._file.infolist()]
        found = [(name, e) for name, e in entries if not e.is_dir() and _is_image(name)]
        found.sort(key=lambda pair: natural(pair[0]))
        self.members = [Member(name, e.file_size, e.CRC, e) for name, e in found]
        try:
            for _, entry in found:
                _check_entry(path, entry)
        except VaekitError:
            self.close()
            raise

    def open(self, member: Member) -> IO[bytes]:
        """One of the files."""
        assert member.entry is not None
        return self._file.open(member.entry)

    def close(self) -> None:
        """Closes the archive."""
        self._file.close()


Images = Folder | Archive


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    if entry.flag_bits & 1:
        raise VaekitError(f"{path}: '{entry.filename}' is encrypted; unzip it and name the folder.")
    if entry.compress_type not in COMPRESSIONS:
        raise VaekitError(
            f"{path}: '{entry.filename}' is compressed in a way that Python cannot read (method "
            f"{entry.compress_type}); unzip it and name the folder."
        )
    if entry.file_size > CHANNELS * pixel_limit():
        raise VaekitError(
            f"{path}: '{entry.filename}' would unpack to {in_words(entry.file_size)}, more than "
            f"any image that is read; remove it."
        )

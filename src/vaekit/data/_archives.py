"""What is read as a .zip of images is: a .tar, several folders at once, the rows of a hub."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import IO, Any

from vaekit._io import in_words
from vaekit.errors import VaekitError

TARS = (".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
ROOM, TIMES = 2 << 30, 20  # bytes that a .tar may unpack to, or so many times its own


class Archive:
    """Entries, as zipfile gives them, each of which a function opens.

    Attributes:
        rooted: whether the first folder of each name is a path that was given.
    """

    def __init__(self, close: Callable[[], None] = lambda: None, rooted: bool = False) -> None:
        self.entries: dict[str, zipfile.ZipInfo] = {}
        self.opens: dict[str, Callable[[], IO[bytes]]] = {}
        self.close, self.rooted = close, rooted

    def add(self, name: str, size: int, stamp: int, opens: Callable[[], IO[bytes]]) -> None:
        """Add a file."""
        entry = zipfile.ZipInfo(name)
        entry.file_size, entry.CRC = size, stamp
        self.entries[entry.filename], self.opens[entry.filename] = entry, opens

    def infolist(self) -> list[zipfile.ZipInfo]:
        """Return the entries."""
        return list(self.entries.values())

    def open(self, entry: zipfile.ZipInfo) -> IO[bytes]:
        """Open a file; from several threads at once."""
        return self.opens[entry.filename]()


def read_archive(path: Path) -> Archive | zipfile.ZipFile:
    """Return the files in a .zip or a .tar; what is compressed as a whole is unpacked once.

    Raises:
        VaekitError: for a damaged one, and one that unpacks to far more than its size.
    """
    tar = path.name.lower().endswith(TARS)
    try:
        return _tar(path) if tar else zipfile.ZipFile(path)
    except VaekitError:
        raise
    except Exception as error:  # the libraries raise whatever damaged bytes make of their readers
        raise VaekitError(
            f"{path} is not a readable {'.tar' if tar else '.zip'} ({error}): it is truncated or "
            "corrupt; fetch or write it again."
        ) from error


def _tar(path: Path) -> Archive:
    lock = Lock()
    stream: IO[bytes] = path.open("rb")
    archive = Archive(lambda: stream.close())

    def add(member: tarfile.TarInfo, start: int) -> None:
        def opens() -> IO[bytes]:
            with lock:
                stream.seek(start)
                return io.BytesIO(stream.read(member.size))

        stamp = zlib.crc32(repr((member.mtime, member.size, start)).encode())
        archive.add(member.name.removeprefix("./"), member.size, stamp, opens)

    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if member.isreg():
                    add(member, member.offset_data)
    except tarfile.ReadError:  # it is compressed, or no .tar
        stream.close()
        stream = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            _unpack(path, stream, add)
        except BaseException:
            stream.close()
            raise
    return archive


def _unpack(path: Path, stream: IO[bytes], add: Callable[[tarfile.TarInfo, int], None]) -> None:
    """Write the files of a .tar that is compressed as a whole, one after the other."""
    most = max(ROOM, TIMES * path.stat().st_size)
    with tarfile.open(path, "r|*") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            if file is None:
                continue
            if stream.tell() + member.size > most:
                raise VaekitError(
                    f"{path} would unpack to more than {in_words(most)}; unpack it, and name the "
                    "folder."
                )
            add(member, stream.tell())
            shutil.copyfileobj(file, stream)


def joined_files(paths: Sequence[Path], files: Iterable[Any]) -> Archive:
    """Return the images of several `ImageFiles` as those of one archive, below their paths."""
    names = Counter(path.name for path in paths)
    several = list(files)

    def close() -> None:
        for each in several:
            each.close()

    archive = Archive(close, rooted=True)
    for path, each in zip(paths, several, strict=True):
        root = path.name if names[path.name] == 1 else path.as_posix().strip("/").replace("/", "-")
        for member in each.members:
            opens = lambda each=each, member=member: each.open(member)  # noqa: E731
            archive.add(f"{root}/{member.name}", member.size, member.stamp, opens)
    return archive

"""The image files of a folder or a .zip: which are read, and which are left out."""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from vaekit._io import in_words
from vaekit.data._archives import Archive, read_archive
from vaekit.data._layout import counted, natural
from vaekit.data._pixels import pages_of, pixel_limit
from vaekit.errors import VaekitError

JPEG = ("jpg", "jpeg", "jpe", "jfif")
PLANES = ("ppm", "pgm", "pbm", "pnm")
SUFFIXES = frozenset(("png", *JPEG, "bmp", "gif", "webp", "tif", "tiff", *PLANES))
DECODED = {"avif": "avif"} | dict.fromkeys(("jp2", "j2k", "jpx"), "jpg_2000")  # if Pillow can
HEIF = ("heic", "heif", "hif")  # by an extra
TEXTS = frozenset(  # of which nobody expects that they are read
    ("", "txt", "md", "rst", "csv", "tsv", "json", "jsonl", "xml", "yaml", "yml", "html", "pdf",
     "ini", "db", "log", "py", "ipynb", "sh", "toml", "cfg")
)  # fmt: skip
OWN = b"tEXtSoftware\0vaekit"  # at the start of a PNG that vaekit drew
HEAD = 128  # bytes of a file that tell so
MAYBE_OWN = re.compile(
    r"(^|/)[^/0-9]*[.]png$", re.IGNORECASE
)  # numbered ones are not opened for it
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
        page: of a stack or an animation, from 0.
        file: its path, where `name` has the page, too.
    """

    name: str
    size: int
    stamp: int
    entry: zipfile.ZipInfo | None = None
    page: int = 0
    file: str = ""


class ImageFiles:
    """The images in a folder and its subfolders, or in an archive, in natural order; to be closed.

    Hidden files are left out. Links are followed, but for dead ones and those to a folder above.
    `open` may be called from several threads. With `pages`, each page of a stack or an animation is
    one of its own, as 'stack.tif#1'.

    Raises:
        VaekitError: where it cannot be read, or has no images.
    """

    def __init__(self, path: Path, archive: Archive | None = None, *, pages: bool = False) -> None:
        alone = path.is_file() and is_image(path.name)
        self.path = path.parent if alone else path
        packed = archive is None and not alone and not path.is_dir()
        self.archive: Archive | zipfile.ZipFile | None = read_archive(path) if packed else archive
        self.others, self.tables = Counter[str](), list[str]()
        self.dead, self.upward = list[str](), list[str]()
        self.runs, self.empty, self.own = list[str](), list[str](), list[str]()
        files = self.archive
        members = self._in_folder(path) if files is None else self._in_archive(path, files)
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
        if pages:
            self._spread_pages()

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
        drawn = [each for each in self.members if MAYBE_OWN.search(each.name)]
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
        needs = dict.fromkeys(HEIF, " (pip install pillow-heif reads them)")
        words = [f"{n} .{ending}{needs.get(ending, '')}" for ending, n in others.items()]
        for names, what in (
            (self.own, "image that vaekit drew"),
            (self.runs, "run folder"),
            (self.empty, "empty folder"),
            (self.dead, "dead link"),
            (self.upward, "upward link"),
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
                if not below and not names and inner != ".":
                    self.empty.append(inner)
                shown = [name for name in below if new and not name.startswith(".")]
                below[:] = [name for name in shown if not self._leads_up(path, inner, name)]
                within = [f"{inner}/{name}".removeprefix("./") for name in names if new]
                alive = (name for name in within if not self._is_dead(path, name))
                for name in filter(self._wanted, alive):
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

    def _leads_up(self, path: Path, folder: str, name: str) -> bool:
        """Return, and note, whether this is a link to a folder that holds it or the data."""
        link = path / folder / name
        if not link.is_symlink():
            return False
        target = link.resolve()
        found = any(place.resolve().is_relative_to(target) for place in (path, link.parent))
        if found:
            self.upward.append(f"{folder}/{name}".removeprefix("./"))
        return found

    def _is_dead(self, path: Path, name: str) -> bool:
        """Return, and note, whether this is a link to nothing, or to itself."""
        link = os.path.join(path, name)
        dead = os.path.islink(link) and not os.path.exists(link)
        if dead and not os.path.basename(name).startswith("."):
            self.dead.append(name)
        return dead

    def _in_archive(self, path: Path, archive: zipfile.ZipFile | Archive) -> Iterator[Member]:
        entries = [(each.filename.replace("\\", "/"), each) for each in archive.infolist()]
        self._note_folders([name for name, _ in entries])
        for name, entry in entries:
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
                    f"{what} would unpack to {in_words(entry.file_size)}, more than any image that "
                    "is read; remove it."
                )
            yield Member(name, entry.file_size, entry.CRC, entry)

    def _spread_pages(self) -> None:
        """Make each page of a stack or an animation a member, as 'stack.tif#1'."""
        members = list[Member]()
        for member in self.members:
            pages = pages_of(self, member)
            names = [f"{member.name}#{page + 1}" for page in range(pages)]
            several = [
                replace(member, name=name, page=i, file=member.name) for i, name in enumerate(names)
            ]
            members += several if pages > 1 else [member]
        self.members = members

    def open(self, member: Member) -> IO[bytes]:
        """Open one of the files."""
        if self.archive is None or member.entry is None:
            return (self.path / (member.file or member.name)).open("rb")
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
    if ending in HEIF:
        return find_spec("pillow_heif") is not None
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

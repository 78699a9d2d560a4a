"""The pixels of a set of image files, decoded by several threads, and remembered in the cache.

A remembered set is two files: KEY.pixels, its bytes, and KEY.json, which is written last and says
what the first holds. Both are written under another name and renamed, so that a reader sees whole
files only. A file that is removed while a process reads from it stays for that process.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit._io import FULL, STALE, cache_folder, in_words, locked, note, replacing, sweep
from vaekit._torchutil import in_blocks
from vaekit.data._layout import counted
from vaekit.data._pixels import Opened, SeveralSizesError, open_image, usual_size
from vaekit.data._readings import reading
from vaekit.data._rows import MappedRows, Rows, available, check_file, check_memory, every
from vaekit.data._splits import taken
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit._train_options import Data
    from vaekit.data._image_files import ImageFiles

FORMAT = 3  # counts up when the same files are to give other pixels
WORTH = 1_000  # images: more than these are remembered unasked
ROOM = 20 * 10**9  # bytes of all sets together
BLOCK = 1 << 24  # bytes: of what a thread decodes before it hands over
MOST = 256  # images: the same
ZEROS = bytes(1 << 20)
NAMED = 20  # damaged files, at most, that are listed
Pixels = np.ndarray[Any, Any]
# Pixels, and what is known of them, as JSON: `kind`, `said`, `damaged` (rows that hold nothing),
# and the facts of their `Reading`.
Facts = dict[str, Any]
Filled = tuple[Pixels, Facts]


def read_pixels(files: ImageFiles, options: Data) -> tuple[Tensor | Rows, Facts]:
    """Return the pixels of all images, `(N, C, H, W)`, uint8 or float32, and what is known of them.

    Images of several sizes are brought to a usual one; it is `size` in the facts. Each file is
    opened once. More than `WORTH` images are remembered in the user's cache once they
    are decoded. They are read from there row by row where `options.cache` is true, or where memory
    would not hold them twice.

    Raises:
        VaekitError: for images that cannot be read or do not fit the options, and for a cache that
            cannot be written where it has to be.
    """
    from PIL import Image

    Image.init()  # before threads do
    with warnings.catch_warnings():
        # Pillow warns of what is refused here, or does not matter to pixels.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return _remembered(files, options) or _Decoding(files, options).read()
        except SeveralSizesError:
            if taken(options) is not None:
                raise
            size = usual_size(files)
            options = options.model_copy(update={"size": size})
            rows, facts = _remembered(files, options) or _Decoding(files, options).read()
    said = f"images of several sizes are brought to {size} x {size} (`size` says otherwise)"
    return rows, {**facts, "size": size, "said": [said, *facts["said"]]}


def _remembered(files: ImageFiles, options: Data) -> tuple[Tensor | Rows, Facts] | None:
    """Return what an earlier reading has left in the cache, if it has."""
    count, target = len(files.members), _pixel_file(files, options)
    filled = None if options.cache is False else _recall(target, count)
    if filled is None:
        return None
    array, facts = filled
    if not options.cache and _fits(array.nbytes):
        return torch.from_numpy(array), facts
    note(f"{count} images ({in_words(array.nbytes)}) are read from {target}.")
    return MappedRows(array), facts


class _Decoding:
    """All images of a set, decoded in order by several threads; the first one tells their size."""

    def __init__(self, files: ImageFiles, options: Data) -> None:
        self.files, self.options, self.count = files, options, len(files.members)
        self.opened = list[Opened]()  # up to the first that is sound
        for member in files.members:
            self.opened.append(open_image(files, member, options))
            if not self.opened[-1].corrupt:
                break
        self.first = self.opened[-1]
        first, takes = self.first.pixels, taken(options)
        given = options.levels is not None or (takes is not None and takes.levels is not None)
        eight = first.dtype == np.uint8
        self.dtype = np.dtype(np.int32) if eight and given else first.dtype
        self.size = self.count * first.size * self.dtype.itemsize
        self.most = self.size // len(first) * (3 if eight and not options.gray else 1)

    def read(self) -> tuple[Tensor | Rows, Facts]:
        """Return all pixels and what is known of them; by way of the cache if it is worth it."""
        cache, most, remembered = self.options.cache, self.most, None
        target = _pixel_file(self.files, self.options)
        if cache is None and self.options.size is None:
            size = sum(each.size for each in self.files.members)
            check_file(self.files.path, self.size, self.options, size)
        large = cache or not _fits(most)
        worth = large or (self.count > WORTH and self.size <= ROOM)
        if cache is not False and worth and not self.first.corrupt:
            if large:
                note(f"{self.count} images ({in_words(self.size)}) are decoded once to {target}.")
            remembered = _store(target, most, self.fill, must=bool(cache) or not _fits(self.size))
        if remembered is None:
            self.check_room(self.size)
            # Pages that nobody touches are no memory.
            buffer = np.empty(most if _fits(most) else self.size, np.uint8)
            array, facts = self.fill(buffer, self.check_room)
            return torch.from_numpy(array), facts
        array, facts = remembered
        if large:
            return MappedRows(array), facts
        note(
            f"{self.count} images ({in_words(array.nbytes)}) are remembered in {target.parent}; "
            "`vaekit data --clean` empties it."
        )
        return torch.from_numpy(array), facts

    def check_room(self, size: int) -> None:
        """Refuse so many bytes of pixels where memory does not hold them."""
        check_memory(
            f"{self.count} images of {self.files.path}, copied once to be split,",
            2 * size,
            "Leave `cache` on: they are then read from a file; or take a smaller `size`."
            if taken(self.options) is None
            else "Give fewer of them at a time.",
        )

    def fill(self, buffer: Pixels, check: Callable[[int], None] = lambda size: None) -> Filled:
        """Return all images in order, in the first bytes of `buffer`, and what is known of them.

        They are gray if all are, else in color. Where the first image in color makes them three
        times as many bytes, `check` is called first.

        Raises:
            VaekitError: at the end, if some could not be read.
        """

        def view(shape: tuple[int, ...]) -> Pixels:
            items = buffer[: self.count * math.prod(shape) * self.dtype.itemsize].view(self.dtype)
            return items.reshape(self.count, *shape)

        images, wrong = view(self.first.pixels.shape), dict[int, Opened]()
        pages, blank, cut = Counter[str](), list[str](), 0
        for row, image in enumerate(self):
            pages.update({image.name: image.pages - 1} if image.pages > 1 else {})
            blank += [image.name] if image.blank else []
            cut += image.cut
            wrong |= {row: image} if image.corrupt else {}
            if row in wrong or (wrong and not self.options.skip_damaged):
                continue
            if len(image.pixels) > images.shape[1]:
                check(3 * images.nbytes)
                gray, images = images, view(image.pixels.shape)
                for earlier in reversed(range(row)):  # from the end: they lie in the same bytes
                    images[earlier] = gray[earlier].copy()
            images[row] = image.pixels
        said = [self.left_out(wrong)] if wrong else []
        for row in wrong:
            images[row] = self.first.pixels[: images.shape[1]]
        if self.options.pages == "first":
            said += _further(pages)
        elif pages and not self.options.group:
            said.append("pages of one file may lie in several splits (`group='(.*)#'` does not)")
        said += _said(blank, cut)
        images, facts = self.levels(images)
        return images, {**facts, "said": [*said, *facts["said"]], "damaged": list(wrong)}

    def left_out(self, wrong: dict[int, Opened]) -> str:
        """Return which files are left out, or refuse them."""
        names = [f"'{image.name}' ({image.corrupt})" for image in wrong.values()]
        listed = ", ".join(names[:NAMED]) + f" and {len(names) - NAMED} more" * (len(names) > NAMED)
        if self.options.skip_damaged and len(wrong) < self.count:
            return f"left out: {counted(len(names), 'damaged file')}: {listed}"
        other = ", or leave them out by `skip_damaged`" if taken(self.options) is None else ""
        raise VaekitError(
            f"{self.files.path}: {len(wrong)} of {self.count} images cannot be read: {listed}; "
            f"remove or replace them{other}."
        )

    def levels(self, images: Pixels) -> Filled:
        """Return pixels as they are stored: more than 8 bits, or given levels, as float32."""
        if self.dtype == np.uint8:
            binary = every(torch.from_numpy(images), lambda part: (part == 0) | (part == 255))
            kind = "binary" if binary else "gray" if images.shape[1] == 1 else "color"
            return images, {"kind": kind, "said": []}
        what, options = str(self.files.path), self.options
        how = reading(what, [images], taken(options), options.kind, options.ends)
        stored = how(images) if how.bytes or how.top else images.view(np.float32)
        if stored.dtype != np.uint8:  # in the same bytes
            for row in range(self.count):
                stored[row] = how(images[row].copy())
        images = stored
        return images, {"kind": how.kind, "said": [how.said] * bool(how.said), **how.facts}

    def __iter__(self) -> Iterator[Opened]:
        """Yield every image in order."""
        yield from self.opened
        members, size = self.files.members[len(self.opened) :], 3 * self.first.pixels[0].nbytes
        like = None if self.first.corrupt else self.first

        def work(rows: range) -> list[Opened]:
            return [open_image(self.files, members[row], self.options, like) for row in rows]

        block = max(1, min(MOST, BLOCK // size)) if size else 1
        for part in in_blocks(work, len(members), block):
            yield from part


def _further(pages: Counter[str]) -> list[str]:
    """Return what is said of pages that are not read."""
    if not pages:
        return []
    files = f"{counted(len(pages), 'file')} ({next(iter(pages))})"
    left = f"left out: {pages.total()} further pages or frames of {files}"
    return [f"{left}, the first is read (`pages=all` reads all)"]


def _said(blank: list[str], cut: int) -> Iterator[str]:
    """Yield what is not in the pixels: what is white on transparent, and colors of 16 bits."""
    if blank:
        images = f"{counted(len(blank), 'image')} ({blank[0]})"
        yield f"{images} of one flat color once laid over white: `background=black` shows them"
    if cut:
        yield f"{counted(cut, 'image')} with colors of 16 bits, of which 8 are read"


def _fits(size: int) -> bool:
    """Return whether memory holds so many bytes twice."""
    free = available()
    return free is None or 2 * size <= free


# the cache --------------------------------------------------------------------------------------


def _folder() -> Path:
    return cache_folder() / "decoded"


def _pixel_file(files: ImageFiles, how: Data) -> Path:
    """Return where these images are remembered: named after all that changes pixels."""
    names = ("size", "fit", "crop", "gray", "background", "levels", "skip_damaged", "pages", "kind")
    takes = taken(how)
    options = [FORMAT, *(getattr(how, name) for name in names), takes and takes.levels]
    members = [[member.name, member.size, member.stamp] for member in files.members]
    text = json.dumps([str(files.path.resolve()), options, members])
    return _folder() / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.pixels"


def _recall(target: Path, rows: int) -> Filled | None:
    """Return what is remembered there, mapped and copied on writing, as `fill` does; or None."""
    record = target.with_suffix(".json")
    try:
        facts = json.loads(record.read_text())
        shape = tuple(map(int, facts.pop("shape")))
        dtype = np.dtype({"uint8": np.uint8, "float32": np.float32}[facts.pop("dtype")])
        facts["said"], facts["damaged"] = map(list, (facts["said"], facts["damaged"]))
        facts |= {n: tuple(facts[n]) for n in ("levels", "own") if facts.get(n)}
        if shape[0] != rows or target.stat().st_size != math.prod(shape) * dtype.itemsize:
            return None
        array: Pixels = np.memmap(target, dtype, "c", shape=shape)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    with suppress(OSError):
        os.utime(record)  # when it was used last
    return array, facts


def _store(
    target: Path, most: int, fill: Callable[[Pixels], Filled], *, must: bool
) -> Filled | None:
    """Remember what `fill` puts into a buffer of `most` bytes, and return what `_recall` does.

    Where it cannot be written nothing is left; it is None then, and a note, or an error if `must`.
    """
    record = target.with_suffix(".json")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent, STALE)
        with suppress(VaekitError, OSError), locked(_folder().with_suffix(".lock")) as alone:
            _remove(ROOM - most if alone else math.inf)
        record.unlink(missing_ok=True)
        with replacing(target) as temporary:
            _reserve(temporary, most)
            mapped = np.memmap(temporary, np.uint8, "r+")
            images, facts = fill(mapped)
            shape, dtype, size = images.shape, str(images.dtype), images.nbytes
            if not np.shares_memory(images, mapped):
                mapped[:size] = images.reshape(-1).view(np.uint8)
            del images, mapped  # a system may refuse to cut or rename what is mapped
            os.truncate(temporary, size)
        with replacing(record) as temporary:
            temporary.write_text(json.dumps({**facts, "shape": shape, "dtype": dtype}))
        return _recall(target, shape[0])
    except OSError as error:
        why = f"cannot write {target} ({error.strerror or error})"
        if error.errno in FULL:
            why = f"there is no room for {in_words(most)} of decoded images in {target.parent}"
        if must:
            raise VaekitError(
                f"{why}. Name another folder in XDG_CACHE_HOME, take a smaller `size`, or "
                "`cache=False`."
            ) from error
        note(f"{why}: they are decoded again the next time.")
        return None


def _reserve(path: Path, size: int) -> None:
    """Take the disk space at once: a mapped file that finds no room would kill the process."""
    with path.open("wb") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, size)
        except (AttributeError, OSError) as error:
            if getattr(error, "errno", None) in FULL:
                raise
            for start in range(0, size, len(ZEROS)):  # where the system knows no such call
                stream.write(ZEROS[: size - start])


def _remove(most: float) -> tuple[int, int]:
    """Remove the sets that were used longest ago until the rest have at most so many bytes.

    Returns:
        How many sets were removed, and their bytes.
    """
    paths: dict[str, list[Path]] = {}
    for path in sorted(_folder().glob("[!.]*")):  # the record of a set first
        paths.setdefault(path.stem, []).append(path)
    sets = []
    for files in paths.values():
        with suppress(FileNotFoundError):  # removed by another process meanwhile
            facts = [path.stat() for path in files]
            sets.append((max(f.st_mtime for f in facts), sum(f.st_size for f in facts), files))
    total, freed, removed = sum(size for _, size, _ in sets), 0, 0
    for _, size, files in sorted(sets):
        if total - freed > most:
            for path in files:
                path.unlink(missing_ok=True)
            freed, removed = freed + size, removed + 1
    return removed, freed


def clean_cache() -> tuple[Path, int, int]:
    """Remove all decoded images from the cache; return its folder, how many sets and their bytes.

    Raises:
        VaekitError: for a file that cannot be removed.
    """
    sweep(_folder(), STALE)
    try:
        return _folder(), *_remove(-1)
    except OSError as error:
        raise VaekitError(
            f"cannot remove {error.filename}: {error.strerror}. Remove it."
        ) from error

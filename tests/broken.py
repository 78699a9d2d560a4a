"""Files that are broken in one way each, for tests of what is refused.

Each maker takes the folder it writes into; `image_files(3, spoil=...)` and its like return makers.
"""

from __future__ import annotations

import gzip
import importlib
import io
import json
import resource
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Make = Callable[[Path], object]


def noise(*shape: int) -> np.ndarray:
    """Gray levels, the same each time; the first two are 0 and 255."""
    levels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    levels.flat[:2] = 0, 255
    return levels


def png(width: int = 6, height: int = 6, kind: str = "u1") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(height, width).astype(kind)).save(stream, "PNG")
    return stream.getvalue()


def giant_png(side: int = 50_000) -> bytes:
    """A header of side x side pixels, and next to none behind it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def image_files(many: int = 12, **others: bytes) -> Make:
    """A folder `p` of 0.png, 1.png, ...; `others`, as i3=..., have other bytes."""

    def make(here: Path) -> None:
        (here / "p").mkdir()
        for i in range(many):
            (here / "p" / f"{i}.png").write_bytes(others.get(f"i{i}", png()))

    return make


def zipped(many: int = 12, claimed: int | None = None, **others: bytes) -> Make:
    """The same in p.zip; the first file may claim to unpack to another size."""

    def make(here: Path) -> None:
        with zipfile.ZipFile(here / "p.zip", "w") as file:
            for i in range(many):
                file.writestr(f"{i}.png", others.get(f"i{i}", png()))
            if claimed is not None:
                file.filelist[0].file_size = claimed

    return make


def npz(arrays: Mapping[str, Any] | None = None, **more: Any) -> Make:
    """x.npz of these arrays."""
    return lambda here: np.savez(here / "x.npz", **(arrays or {}), **more)


def npy(array: np.ndarray) -> Make:
    """x.npy."""
    return lambda here: np.save(here / "x.npy", array, allow_pickle=True)


def images(many: int = 30, **more: Any) -> Make:
    """x.npz of gray 6 x 6 images."""
    return npz(images=noise(many, 6, 6), **more)


def giant_npy(*shape: int) -> bytes:
    """An array of this shape by its header, with a few bytes behind it."""
    stream = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + bytes(64)


def npz_of(content: bytes, claimed: int | None = None) -> Make:
    """x.npz whose member images.npy has these bytes, and may claim to unpack to more."""

    def make(here: Path) -> None:
        with zipfile.ZipFile(here / "x.npz", "w") as file:
            file.writestr("images.npy", content)
            if claimed is not None:
                file.filelist[0].file_size = claimed

    return make


def holding(array: np.ndarray, value: float) -> np.ndarray:
    array = array.astype(np.float32)
    array.flat[3] = value
    return array


def file(name: str, content: bytes | str = b"") -> Make:
    """A file of this content, with the folders above it."""

    def make(here: Path) -> None:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def folder(name: str) -> Make:
    return lambda here: (here / name).mkdir(parents=True)


def link(name: str, target: str) -> Make:
    return lambda here: (here / name).symlink_to(target)


def both(*makers: Make) -> Make:
    """One after the other."""

    def make(here: Path) -> None:
        for one in makers:
            one(here)

    return make


def cut(name: str, keep: float = 0.5, make: Make | None = None) -> Make:
    """A file of which only the first part is there, once `make` has made it."""

    def shorten(here: Path) -> None:
        if make is not None:
            make(here)
        content = (here / name).read_bytes()
        (here / name).write_bytes(content[: int(keep * len(content))])

    return shorten


def csv(*lines: str, rows: int = 20, row: str = "1,2.5,x") -> Make:
    """x.csv: these lines, then many good ones."""
    return file("x.csv", "\n".join([*lines, *[row] * rows]) + "\n")


def idx(*shape: int) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(99)


def mnist(name: str, content: bytes) -> Make:
    """A folder d with the four files of MNIST, of which one is `content`."""
    from vaekit.data import SETS

    names = [file.name for file in SETS["mnist"].forms[0].files]

    def make(here: Path) -> None:
        (here / "d" / "mnist").mkdir(parents=True)
        for known in names:
            (here / "d" / "mnist" / known).write_bytes(gzip.compress(idx(2, 28, 28)))
        (here / "d" / "mnist" / names[0]).unlink()
        (here / "d" / "mnist" / name).write_bytes(content)

    return make


def edited(name: str, **keys: Any) -> Make:
    """A JSON file of the run with other values; a key with __ goes down, as parts__latent."""
    return lambda here: _edit(here / "run" / name, keys)


def copied(to: str, name: str, **keys: Any) -> Make:
    """The run once more, in the folder `to`, with a JSON file edited."""

    def make(here: Path) -> None:
        shutil.copytree(here / "run", here / to)
        _edit(here / to / name, keys)

    return make


def _edit(path: Path, keys: Mapping[str, Any]) -> None:
    record = json.loads(path.read_text())
    for key, value in keys.items():
        *down, last = key.split("__")
        inner = record
        for step in down:
            inner = inner[step]
        inner.pop(last) if value is ... else inner.update({last: value})
    path.write_text(json.dumps(record))


def removed(*names: str) -> Make:
    """Without these files of the run."""

    def make(here: Path) -> None:
        for name in names:
            (here / "run" / name).unlink()

    return make


def full_disk(limit: int = 100) -> Make:
    """No file can grow beyond this many bytes; the test lifts the limit."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def fill(here: Path) -> None:
        importlib.import_module("matplotlib.font_manager")  # which writes its list of fonts once
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))

    return fill

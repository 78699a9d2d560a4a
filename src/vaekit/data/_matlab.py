"""Variables in a .mat of MATLAB 5 to 7: damaged ones, at which scipy ends the process, are refused.

A file is a header of 128 bytes and elements, each a type, a size and its bytes. A variable is an
element of elements: its class, its sizes, its name, and its values by columns.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

MATRIX, COMPRESSED, SPARSE, COMPLEX, LOGICAL = 14, 15, 5, 0x800, 0x200
# Types of elements, and classes of arrays.
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CLASSES = dict(enumerate(("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"), 6))
ROOM, TIMES = 2 << 30, 20  # bytes that a variable may unpack to, or so many times the file's


def read_matlab(path: Path) -> dict[str, Any] | None:
    """Return arrays and sparse matrices of numbers by their names; None of version 7.3.

    Raises:
        ValueError: for damaged bytes, and others that numpy, zlib and struct raise.
    """
    with path.open("rb") as stream:
        head = stream.read(128)
        order = {b"IM": "<", b"MI": ">"}.get(head[126:128], "")
        version = struct.unpack(f"{order}H", head[124:126])[0] if order else 0
        if version == 0x200:
            return None
        if version != 0x100:
            raise ValueError("it is none of MATLAB 5 to 7.3")
        content, most = memoryview(stream.read()), max(ROOM, TIMES * path.stat().st_size)
    found = {}
    for kind, part in _elements(content, order):
        if kind == COMPRESSED:
            unpacked = zlib.decompressobj().decompress(part, most)
            ((kind, part),) = _elements(memoryview(unpacked), order)
        if kind == MATRIX and (named := _variable(part, order)) is not None:
            found[named[0]] = named[1]
    return found


def _elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and the bytes of each element; small ones lie in their own header."""
    place = 0
    while place + 8 <= len(content):
        kind, size = struct.unpack(f"{order}II", content[place : place + 8])
        start, end = place + 8, place + 8 + size + (0 if kind == COMPRESSED else -size % 8)
        if kind >> 16:
            kind, size, start, end = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        if start + size > len(content):
            raise ValueError("it ends within a variable")
        yield kind, content[start : start + size]
        place = end


def _variable(content: memoryview, order: str) -> tuple[str, Any] | None:
    """Return the name and the array of a variable; None of text, cells and complex numbers."""
    (_, flags), (_, sizes), (_, name), *parts = _elements(content, order)
    word = int(np.frombuffer(flags, f"{order}u4")[0])
    shape = tuple(np.frombuffer(sizes, f"{order}i4").tolist())
    kind, named = word & 0xFF, bytes(name).decode("latin-1")
    if not named or word & COMPLEX or kind not in (SPARSE, *CLASSES):
        return None
    values = [np.frombuffer(part, order + TYPES[each]) for each, part in parts]
    if kind == SPARSE:
        from scipy.sparse import csc_array

        rows, starts, data = values[:3]
        return named, csc_array((data.astype(float), rows, starts), shape=shape)
    array = values[0].astype(bool if word & LOGICAL else CLASSES[kind])
    return named, array.reshape(shape, order="F")

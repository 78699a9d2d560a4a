"""Files of data, whole and damaged, each made from a seed: what tools/fuzz.py reads."""

from __future__ import annotations

import csv
import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NUMBERS = (0, 1, -1, 2, 3, 9, 255, 256, 10**4, 10**8, 2**31, 2**40, 2**53 + 1, 2**63 - 1, -(2**63))
TYPES = ("u1", "i1", "<i8", ">i4", "u8", "f2", "f4", ">f8", "?", "U3", "S2", "c8", "M8[s]", "O")
WORDS: tuple[str, ...] = (
    "",
    "nan",
    "inf",
    "-",
    "NA",
    "1e400",
    "-1e-400",
    "9" * 400,
    "9" * 5000,
    "x" + "1" * 5000,
)
WORDS += ("1,5", "1.2.3", "50%", "1e3", "0x1f", "1_000", '"', "'", "#", "\0", "é", "\u202e", "年")
WORDS += ("true", "2024-02-30", "99999-01-01", " ", ";", "|", "\t", "a" * 3000, "{}", "1" * 5000)
WORDS += ("9007199254740993", "0.1", "-0", "1", "id", "name", "../x", "../../etc", "x/y", ".")
KEYS = ("images", "labels", "test_images", "test_labels", "val_images", "groups", "factors", "X")
SPARSE = ("data", "indices", "indptr", "shape", "format")


def number(draw: random.Random) -> int:
    """A number that is hard on readers, or a usual one."""
    return draw.choice(NUMBERS) if draw.random() < 0.5 else draw.randrange(300)


def array_bytes(array: np.ndarray, draw: random.Random) -> bytes:
    """An array as .npy, whose header may say what is not so."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    content = stream.getvalue()
    if draw.random() > 0.1:
        return content
    size = struct.unpack("<H", content[8:10])[0]
    shape = tuple(number(draw) for _ in range(draw.randrange(5)))
    head: dict[str, Any] = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    name = draw.choice([*head, "other"])
    head[name] = draw.choice(
        (shape, None, draw.choice(TYPES), {}, [["a", "<f4"]], "x", True, 10**30)
    )
    if draw.random() < 0.2:
        del head[draw.choice(list(head))]
    text = draw.choice((repr(head), repr(head), "(" * 3000, "{" * 300, "", "\xff" * 50)).encode(
        "latin-1"
    )
    version = draw.choice((b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\x09\0"))
    length = struct.pack(
        "<H" if version == b"\1\0" else "<I", draw.choice((len(text), len(text), 0, 9))
    )
    return content[:6] + version + length + text + content[10 + size :]


def an_array(draw: random.Random, shape: Sequence[int]) -> np.ndarray:
    """An array of any type, its values usual or hard."""
    random_ = np.random.default_rng(draw.randrange(1 << 32))
    values: Any = random_.integers(0, draw.choice((2, 5, 256)), shape)
    kind = np.dtype(draw.choice((*TYPES[:9], *["u1"] * 30, *TYPES)))
    if kind.kind == "f" and draw.random() < 0.5:
        values = random_.normal(size=shape)
    with np.errstate(all="ignore"):
        values = values.astype(kind)
        for _ in range(draw.choice((0, 0, 1, 3))):
            place = tuple(draw.randrange(max(n, 1)) for n in values.shape)
            if values.size and kind.kind in "iu":
                values[place] = np.array(number(draw)).astype(kind)
            elif values.size and kind.kind == "f":
                values[place] = draw.choice((np.nan, np.inf, -np.inf, 1e300, -1, 2, 1e-310))
    return values


def a_shape(draw: random.Random, rows: int) -> tuple[int, ...]:
    """The shape of rows, usual or not."""
    usual = ((rows, 8, 8), (rows, 5), (rows, 3, 6, 6), (rows, 6, 6, 3), (rows, 1, 4, 9))
    odd = ((), (rows,), (rows, 0), (0, 8, 8), (rows, 2, 2, 2, 2), (rows, 2000, 1), (rows, 1, 1))
    return draw.choice((*usual * 8, *odd, (draw.randrange(30), draw.randrange(9))))


def zipped(parts: Sequence[tuple[str, bytes]], draw: random.Random) -> bytes:
    """A .zip, whose entries may be compressed in any way and named anyhow."""
    stream = io.BytesIO()
    how = draw.choice((0, 8, 8, 8, 12, 14))
    with zipfile.ZipFile(stream, "w", how) as archive:
        for name, content in parts:
            if draw.random() < 0.02:
                strange = (
                    "/" * 300,
                    "a/" * 9000 + name,
                    f"{name}/",
                    f"\\{name}",
                    "1" * 5000 + name,
                )
                name = draw.choice((*WORDS, *strange))
            archive.writestr(zipfile.ZipInfo(name[:60000] or "e"), content, compress_type=how)
    data = bytearray(stream.getvalue())
    if draw.random() < 0.15:  # a field of the directory, or of the head of an entry
        mark, size = draw.choice(((b"PK\1\2", 46), (b"PK\3\4", 30), (b"PK\5\6", 22)))
        places = [i for i in range(len(data) - size) if data.startswith(mark, i)]
        if places:
            place = draw.choice(places) + draw.randrange(4, size - 3)
            value = draw.choice((0, 1, 255, 2**16, 2**31, 2**32 - 1))
            data[place : place + 4] = struct.pack("<I", value)
    return bytes(data)


def npz(draw: random.Random) -> bytes:
    """Arrays by keys; a sparse table."""
    rows = draw.choice((12, 20, 40))
    if draw.random() < 0.3:
        width = draw.choice((*(4, 9, 300) * 3, 2**20, 2**26, 2**31, 2**40))
        places = [0, *sorted(draw.randrange(25) for _ in range(rows - 1)), 24]
        parts: dict[str, Any] = {
            "data": an_array(draw, (24,)) if draw.random() < 0.3 else np.arange(24),
            "indices": np.array([draw.randrange(min(width, 2**31 - 1)) for _ in range(24)]),
            "indptr": np.array(places),
            "shape": np.array([rows, width]),
            "format": np.array(draw.choice((*(b"csr",) * 9, b"csc"))),
        }
        name = draw.choice(SPARSE)
        if draw.random() < 0.35:
            parts[name] = an_array(draw, draw.choice((parts[name].shape, (2,), (24,), ())))
    else:
        usual = a_shape(draw, rows)
        parts = {"images": an_array(draw, usual)}
        for key in draw.sample(KEYS, draw.randrange(4)):
            shape = usual if key.endswith(("images", "X")) else (rows,)
            parts[key] = an_array(
                draw, draw.choice((shape, shape, shape, (rows, 1), (rows, 3), (3,)))
            )
    return zipped([(f"{key}.npy", array_bytes(part, draw)) for key, part in parts.items()], draw)


def npy(draw: random.Random) -> bytes:
    """One array."""
    return array_bytes(an_array(draw, a_shape(draw, draw.choice((12, 20, 40)))), draw)


def text(draw: random.Random) -> bytes:
    """A table of text: cells, names, separators and lines of any kind."""
    columns = draw.choice((1, 2, 4, 4, 4, 4, 4, 4, 60, 3000))
    rows = draw.choice((12, 40)) if columns < 1000 else 11
    table = [
        [f"{draw.gauss(0, 9):.{draw.randrange(5)}f}" for _ in range(columns)] for _ in range(rows)
    ]
    if draw.random() < 0.8:
        table.insert(0, [f"c{i}" for i in range(columns)])
    if columns > 1 and draw.random() < 0.6:
        for row in table[1:]:
            row[-1] = draw.choice("xyz")
    for _ in range(draw.choice((0, 1, 1, 2, 9))):
        row = draw.choice(table)
        row[draw.randrange(len(row))] = draw.choice(WORDS)
    if draw.random() < 0.1:
        cut = draw.choice(table)
        cut[draw.randrange(len(cut)) :] = []
    if draw.random() < 0.05:
        table.insert(
            draw.randrange(len(table)), draw.choice(([], ["#" * 50], ["sep=;"], ["a"] * 99))
        )
    stream = io.StringIO()
    how: Any = draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_MINIMAL))
    end = draw.choice(("\n", "\r\n", "\r", "\n\n"))
    writer = csv.writer(stream, delimiter=draw.choice(",,,;\t| "), quoting=how, lineterminator=end)
    writer.writerows(table)
    content = stream.getvalue().encode(
        draw.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16")), "replace"
    )
    return gzip.compress(content, mtime=0) if draw.random() < 0.1 else content


def picture(draw: random.Random, form: str, size: tuple[int, int]) -> bytes:
    """An image in a mode and with the options of its format."""
    modes = {"PNG": ("L", "RGB", "RGBA", "P", "1", "LA", "I;16"), "JPEG": ("L", "RGB", "CMYK")}
    modes["TIFF"] = ("L", "RGB", "RGBA", "P", "1", "I;16", "I", "F", "CMYK", "LAB")
    pixels = np.random.default_rng(draw.randrange(9999)).integers(0, 256, (*size, 4), np.uint8)
    image = Image.fromarray(pixels).convert("RGB")
    mode = draw.choice(modes[form])
    image = (
        image.convert("L").convert(mode)
        if mode in ("I;16", "I", "F", "LA")
        else image.convert(mode)
    )
    stream, more = io.BytesIO(), dict[str, Any]()
    if form == "TIFF":
        more = {
            "compression": draw.choice((None, None, "tiff_lzw", "tiff_adobe_deflate", "packbits"))
        }
        more |= {"save_all": True, "append_images": [image] * draw.randrange(3)}
    if form == "JPEG":
        more = {"progressive": draw.random() < 0.5}
    try:
        image.save(stream, form, **more)
    except (OSError, ValueError, KeyError):  # of a mode without that compression
        stream = io.BytesIO()
        image.convert("L").save(stream, form)
    return stream.getvalue()


def patched(content: bytes, form: str, draw: random.Random) -> bytes:
    """An image whose head says what is not so; checksums are right."""
    data = bytearray(content)
    value = draw.choice((0, 1, 2, 9, 255, 2**15, 65535, 2**20, 2**31 - 1, 2**32 - 1))
    if form == "PNG":
        place = draw.choice((16, 20))
        data[place : place + 4] = struct.pack(">I", value)
        if draw.random() < 0.4:
            data[24 + draw.randrange(5)] = draw.randrange(256)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif form == "JPEG":
        place = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        if place > 0:
            data[place + draw.randrange(2, 9)] = value & 255
            data[place + 5 : place + 7] = struct.pack(">H", value & 65535)
    else:
        first = struct.unpack("<I", data[4:8])[0]
        count = struct.unpack("<H", data[first : first + 2])[0] if first + 2 <= len(data) else 0
        if count:
            tag = first + 2 + 12 * draw.randrange(count)
            place = tag + draw.choice((0, 2, 4, 8))
            data[place : place + 4] = struct.pack("<I", value)
    return bytes(data)


def pictures(draw: random.Random, form: str) -> list[tuple[str, bytes]]:
    """Images by their names, one or some of them damaged in its head or its bytes."""
    end = {"PNG": "png", "JPEG": "jpg", "TIFF": "tif"}[form]
    size = draw.choice(((8, 8), (8, 8), (5, 9), (1, 1), (700, 1)))
    state = draw.randrange(1 << 30)
    parts = []
    for i in range(12):
        same = random.Random(state if draw.random() < 0.97 else i)
        parts.append((f"{'ab'[i % 2]}/{i}.{end}", picture(same, form, size)))
    for _ in range(draw.choice((0, 0, 1, 2))):
        i = draw.randrange(len(parts))
        name, content = parts[i]
        damage = patched if draw.random() < 0.6 else lambda c, _, d: broken(c, d)
        parts[i] = name, damage(content, form, draw)
    return parts


def archive(draw: random.Random) -> bytes:
    """A .zip of images."""
    return zipped(pictures(draw, draw.choice(("PNG", "JPEG", "TIFF"))), draw)


def idx(draw: random.Random) -> bytes:
    """The format of MNIST's files: a magic number, sizes, bytes; perhaps in a .gz."""
    sizes = list(draw.choice(((20, 5, 5), (40, 8, 8), (20,), (12, 3, 4, 4), (0, 5, 5))))
    code = draw.choice((8, 8, 8, 8, 8, 9, 11, 12, 13, 14, 0, 255))
    wide = {11: 2, 12: 4, 13: 4, 14: 8}.get(code, 1)
    content = np.random.default_rng(draw.randrange(9999)).bytes(
        int(np.prod(sizes)) * draw.choice((wide, wide, wide, wide, 4))
    )
    if draw.random() < 0.2:
        sizes[draw.randrange(len(sizes))] = abs(number(draw)) % 2**32
    dims = draw.choice((*[len(sizes)] * 5, draw.randrange(256)))
    head = struct.pack(f">HBB{len(sizes)}I", draw.choice((0, 0, 0, 0, 0, 7)), code, dims, *sizes)
    return gzip.compress(head + content, mtime=0) if draw.random() < 0.3 else head + content


def h5ad(draw: random.Random) -> bytes:
    """A table of cells as AnnData writes it, in HDF5."""
    try:
        import h5py  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return b"\x89HDF\r\n\x1a\n" + draw.randbytes(500)
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        rows = draw.choice((12, 30))
        if draw.random() < 0.5:
            file["X"] = draw.choice((an_array(draw, (rows, 6)), np.zeros((rows, 6)))).astype("f4")
        else:
            group = file.create_group("X")
            group["data"], group["indices"] = np.ones(24, "f4"), np.arange(24) % 6
            group["indptr"] = np.linspace(0, 24, rows + 1).astype(int)
            group.attrs["shape"] = [rows, draw.choice((6, 6, 6, 6, 6, 2**20, 2**40, -1))]
            group.attrs["encoding-type"] = draw.choice((*["csr_matrix"] * 6, "csc_matrix", "x"))
        var, obs = file.create_group("var"), file.create_group("obs")
        for group in (var, obs):
            if draw.random() < 0.9:
                group.attrs["_index"] = "_index"
        var["_index"] = [f"gene{i}" for i in range(draw.choice((*[6] * 8, 2)))]
        obs["_index"] = [f"cell{i}" for i in range(rows)]
        obs["kind"] = [draw.choice("ab") for _ in range(draw.choice((rows, rows, 3)))]
    return stream.getvalue()


def broken(content: bytes, draw: random.Random) -> bytes:
    """Bytes that fell over, were cut off, put in or doubled."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        place = (
            draw.randrange(len(data) + 1)
            if draw.random() < 0.7
            else draw.randrange(min(len(data), 128) + 1)
        )
        match draw.choice(("flip", "flip", "set", "cut", "put", "drop", "double")):
            case "flip" if place < len(data):
                data[place] ^= 1 << draw.randrange(8)
            case "set":
                data[place : place + 4] = struct.pack(
                    "<I", draw.choice((0, 1, 255, 2**31, 2**32 - 1))
                )
            case "cut":
                del data[place:]
            case "put":
                data[place:place] = draw.randbytes(draw.choice((1, 4, 300)))
            case "drop":
                del data[place : place + draw.choice((1, 4, 300))]
            case "double":
                data[place:place] = data[place : place + 200]
    return bytes(data)


OPTIONS: dict[str, tuple[str, ...]] = {
    "csv": (
        *("--label c3",) * 6,
        *("--label=-1", "--group c0", "--missing mean", "--missing drop", "--drop c0"),
    ),
    "npz": ("--kind counts", "--kind table", "--kind gray", "--size 9", "--gray"),
    "zip": ("--size 8", "--gray", "--crop 2", "--label-from ([ab])", "--group folder"),
}
OPTIONS |= dict.fromkeys(("png", "jpg", "tif"), OPTIONS["zip"]) | {"npy": OPTIONS["npz"]}
KINDS: dict[str, tuple[str, Callable[[random.Random], Any]]] = {
    "npz": ("x.npz", npz),
    "npy": ("x.npy", npy),
    "csv": ("x.csv", text),
    "png": ("x", lambda draw: pictures(draw, "PNG")),
    "jpg": ("x", lambda draw: pictures(draw, "JPEG")),
    "tif": ("x", lambda draw: pictures(draw, "TIFF")),
    "zip": ("x.zip", archive),
    "idx": ("x-idx3-ubyte", idx),
    "h5ad": ("x.h5ad", h5ad),
}


def kind_of(seed: int) -> str:
    """The kind of a case."""
    return [*KINDS][seed % len(KINDS)]


def make(seed: int, place: Path) -> tuple[str, str]:
    """Make the file of a case in an empty folder; return its kind and the command for it."""
    draw = random.Random(f"fuzz {seed}")
    kind = kind_of(seed)
    name, maker = KINDS[kind]
    made = maker(draw)
    if isinstance(made, bytes):
        made = broken(made, draw) if draw.random() < 0.3 else made
        name += ".gz" * (made[:2] == b"\x1f\x8b" and kind in ("csv", "idx"))
        (place / name).write_bytes(made)
    else:
        for inner, content in made:
            (place / name / inner).parent.mkdir(parents=True, exist_ok=True)
            (place / name / inner).write_bytes(content)
    option = draw.choice(OPTIONS.get(kind, ("",))) if draw.random() < 0.4 else ""
    return kind, f"data {place / name} {option}"

"""Files of all kinds that people have: each is made here, and read as what it was made of."""

# ruff: noqa: E501
from __future__ import annotations

import gzip
import importlib.util
import re
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.io
import scipy.sparse
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import dump_svmlight_file

import vaekit
from vaekit._train_options import Data
from vaekit.cli.main import main
from vaekit.data import Dataset, SparseRows, from_value, load
from vaekit.errors import VaekitError

QUICK: dict[str, Any] = {"epochs": 1, "latent": 2, "net": "mlp:hidden=8", "report": False}

N = 40
RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (N, 6, 5), dtype=np.uint8)
GRAY[:, 0, 0] = np.arange(N) + 2  # tells the rows apart
COLOR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], 3)
TABLE = np.round(RNG.normal(5, 2, (N, 4)), 3)
TABLE[:, 0] = np.arange(N)
COUNTS = RNG.poisson(0.7, (N, 9))
COUNTS[:, 0] = np.arange(N)
Y = np.arange(N) % 3
NAMES = np.array(["ant", "bee", "cow"])[Y]
SPLITS = {"train": 36, "test": 4}


def at(array: np.ndarray) -> np.ndarray:
    """Rows as a data set holds them: channels first."""
    if array.ndim == 3:
        return array[:, None]
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


@dataclass(frozen=True)
class Kind:
    """A kind of file: what writes it, and what is right."""

    write: Callable[[Path], Any]
    rows: np.ndarray
    kind: str
    labels: Any = None
    said: str = ""
    asked: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=lambda: SPLITS)
    needs: str = "numpy"
    columns: tuple[str, ...] = ()


def h5(path: Path, arrays: dict[str, Any]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            text = array.dtype.kind == "U"
            file[key] = array.astype("S") if text else array


def mat73(path: Path, arrays: dict[str, Any]) -> None:
    """As MATLAB 7.3 writes: HDF5 behind a header of 512 bytes, with the dims turned around."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for key, array in arrays.items():
            file[key] = np.asarray(array).T
    head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    with path.open("r+b") as stream:
        stream.write(head)


def tensors(arrays: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in arrays.items()}


# How arrays by name are written, by the end of the path; and what that needs.
CONTAINERS: dict[str, tuple[Callable[[Path, dict[str, Any]], Any], str]] = {
    ".npz": (lambda path, arrays: np.savez(path, **arrays), "numpy"),
    ".mat": (lambda path, arrays: scipy.io.savemat(path, arrays), "scipy"),
    "7.3.mat": (mat73, "h5py"),
    ".h5": (h5, "h5py"),
    ".hdf5": (h5, "h5py"),
    ".pt": (lambda path, arrays: torch.save(tensors(arrays), path), "torch"),
    ".pth": (lambda path, arrays: torch.save(tensors(arrays), path), "torch"),
    ".safetensors": (lambda path, arrays: save_file(tensors(arrays), path), "safetensors"),
}
UNIT = (GRAY / 255).astype(np.float32)
BITS = (COUNTS > 0).astype(np.uint8)
# Arrays, the rows and the kind that they are, labels, and what is asked.
ARRAYS: dict[str, tuple[dict[str, Any], np.ndarray, str, Any, dict[str, Any]]] = {
    "gray": ({"images": GRAY}, GRAY, "gray", None, {}),
    "gray with labels": ({"images": GRAY, "labels": Y}, GRAY, "gray", Y, {}),
    "channels last": ({"x": COLOR, "y": Y[:, None]}, COLOR, "color", Y, {}),
    "channels first": ({"x": at(COLOR)}, COLOR, "color", None, {}),
    "floats": ({"images": UNIT}, GRAY, "gray", None, {}),
    "doubles": ({"images": UNIT.astype(float)}, GRAY, "gray", None, {}),
    "a table": ({"X": TABLE, "y": Y}, TABLE, "table", Y, {}),
    "counts": ({"X": COUNTS}, COUNTS, "counts", None, {}),
    "keys of its own": (
        {"faces": GRAY, "who": Y, "age": Y + 20}, GRAY, "gray", Y, {"images": "faces", "labels": "who"}),
    "one key": ({"faces": GRAY}, GRAY, "gray", None, {}),
    "a shape": ({"x": GRAY.reshape(N, 30)}, GRAY, "gray", None, {"shape": "6,5"}),
    "a shape of doubles": ({"x": GRAY.reshape(N, 30) * 1.0}, GRAY, "gray", None, {"shape": "6,5"}),
}  # fmt: skip


def write_in(suffix: str, arrays: dict[str, Any], folder: Path) -> Path:
    CONTAINERS[suffix][0](folder / f"mine{suffix}", arrays)
    return folder / f"mine{suffix}"


KINDS: dict[str, Kind] = {
    f"{suffix}, {name}": Kind(
        partial(write_in, suffix, arrays), rows, kind, labels, asked=asked, needs=needs)
    for suffix, (_, needs) in CONTAINERS.items()
    for name, (arrays, rows, kind, labels, asked) in ARRAYS.items()
}  # fmt: skip


def file(name: str, content: Callable[[Path], Any]) -> Callable[[Path], Path]:
    """Return what writes one file."""

    def write(folder: Path) -> Path:
        (folder / name).parent.mkdir(exist_ok=True)
        content(folder / name)
        return folder / name

    return write


def idx(array: np.ndarray) -> bytes:
    code = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}[array.dtype.str[1:]]
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return (
        bytes((0, 0, code, array.ndim))
        + sizes
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


def mnist(folder: Path, *, zipped: bool = False, test: bool = True, inside: str = "") -> Path:
    at, end = folder / inside, ".gz" if zipped else ""
    at.mkdir(parents=True, exist_ok=True)
    pack: Callable[[bytes], bytes] = gzip.compress if zipped else bytes
    for name, part in {"train": slice(30), "t10k": slice(30, None)}.items():
        if test or name == "train":
            (at / f"{name}-images-idx3-ubyte{end}").write_bytes(pack(idx(GRAY[part])))
            (at / f"{name}-labels-idx1-ubyte{end}").write_bytes(pack(idx(Y[part].astype(np.uint8))))
    return folder if inside else at / f"train-images-idx3-ubyte{end}"


def npys(folder: Path, *, classes: bool, flat: bool = False) -> Path:
    for i, image in enumerate(GRAY):
        at = folder / "mine" / NAMES[i] if classes else folder / "mine"
        at.mkdir(parents=True, exist_ok=True)
        np.save(at / f"{i}.npy", TABLE[i] if flat else image)
    return folder / "mine"


def several_npys(folder: Path) -> Path:
    for name, array in {"x_train": GRAY[:30], "y_train": Y[:30], "x_test": GRAY[30:],
                        "y_test": Y[30:]}.items():  # fmt: skip
        np.save(folder / f"{name}.npy", array)
    return folder


def frame(**more: Any) -> pandas.DataFrame:
    return pandas.DataFrame(TABLE, columns=list("abcd")).assign(**more)


def pixels(name: str = "pixel{}", label: bool = True) -> pandas.DataFrame:
    table = pandas.DataFrame(GRAY.reshape(N, 30), columns=[name.format(i) for i in range(30)])
    if label:
        table.insert(0, "label", Y)
    return table


def cells(folder: Path, *, form: str = "csr", key: str = "X", floats: bool = False) -> Path:
    """As AnnData writes it: X, obs with a column of categories, var."""
    import h5py

    path, matrix = folder / "cells.h5ad", COUNTS / 2 if floats else COUNTS
    with h5py.File(path, "w") as stored:
        if key != "X":
            stored["X"] = np.log1p(COUNTS).astype(np.float32)
        if form == "dense":
            stored[key] = matrix.astype(np.float32)
        else:
            sparse = getattr(scipy.sparse, f"{form}_matrix")(matrix.astype(np.float32))
            group = stored.create_group(key)
            group.attrs.update({"encoding-type": f"{form}_matrix", "shape": sparse.shape})
            for part in ("data", "indices", "indptr"):
                group[part] = getattr(sparse, part)
        obs, var = stored.create_group("obs"), stored.create_group("var")
        obs.attrs.update({"_index": "_index", "column-order": ["sort", "depth"]})
        obs["_index"] = [f"cell{i}".encode() for i in range(N)]
        obs["depth"] = COUNTS.sum(1)
        sort = obs.create_group("sort")
        sort["categories"], sort["codes"] = [b"ant", b"bee", b"cow"], Y.astype(np.int8)
        var.attrs["_index"] = "gene"
        var["gene"] = [f"g{i}".encode() for i in range(9)]
    return path


def tenx(folder: Path) -> Path:
    h5(folder / "filtered.h5", {
        f"matrix/{part}": getattr(scipy.sparse.csc_matrix(COUNTS.T), part)
        for part in ("data", "indices", "indptr")
    } | {"matrix/shape": np.array(COUNTS.T.shape), "matrix/barcodes": np.array(["AC"] * N)})  # fmt: skip
    return folder / "filtered.h5"


def market(folder: Path, *, cells: bool = False, dense: bool = False, end: str = "") -> Path:
    matrix = COUNTS.T if cells else COUNTS
    scipy.io.mmwrite(folder / "matrix.mtx", matrix if dense else scipy.sparse.coo_matrix(matrix))
    if cells:
        (folder / "barcodes.tsv").write_text("AC\n" * N)
    if end:
        (folder / "matrix.mtx.gz").write_bytes(gzip.compress((folder / "matrix.mtx").read_bytes()))
    return folder / f"matrix.mtx{end}"


def svm(name: str, rows: np.ndarray, labels: np.ndarray) -> Callable[[Path], Path]:
    return file(
        name, lambda path: dump_svmlight_file(rows * 1.0, labels, str(path), zero_based=True)
    )


GENES = tuple(f"g{i}" for i in range(9))
PAIR = (torch.from_numpy(GRAY), torch.from_numpy(Y))
OWN = {"train": 30, "test": 10}
ABCD = tuple("abcd")
SORT = {"label": "sort"}
KINDS |= {
    "idx of any name": Kind(file("my.digits", lambda p: p.write_bytes(idx(GRAY))), GRAY, "gray"),
    "idx, zipped": Kind(file("d.gz", lambda p: p.write_bytes(gzip.compress(idx(GRAY)))), GRAY, "gray"),
    "idx of int32": Kind(file("d.idx", lambda p: p.write_bytes(idx(COUNTS.astype("i4")))), COUNTS, "counts"),
    "idx of int16": Kind(file("d.idx", lambda p: p.write_bytes(idx(COUNTS.astype("i2")))), COUNTS, "counts"),
    "idx of floats": Kind(file("d.idx", lambda p: p.write_bytes(idx(UNIT))), GRAY, "gray"),
    "idx of doubles": Kind(file("d.idx", lambda p: p.write_bytes(idx(TABLE))), TABLE, "table"),
    "MNIST": Kind(mnist, GRAY, "gray", Y, "read with train-labels-idx1-ubyte, t10k-images-idx3", splits=OWN),
    "MNIST, zipped": Kind(partial(mnist, zipped=True), GRAY, "gray", Y, splits=OWN),
    "MNIST in a folder": Kind(partial(mnist, inside="MNIST/raw"), GRAY, "gray", Y, splits=OWN),
    "MNIST without test rows": Kind(
        partial(mnist, test=False), GRAY[:30], "gray", Y[:30], splits={"train": 27, "test": 3}),
    "a folder of .npy": Kind(partial(npys, classes=False), GRAY, "gray"),
    "a folder of .npy with classes": Kind(partial(npys, classes=True), GRAY, "gray", NAMES),
    "a folder of .npy that are rows": Kind(partial(npys, classes=False, flat=True), TABLE, "table"),
    "a folder of .npy by name": Kind(several_npys, GRAY, "gray", Y, splits=OWN),
    ".npy": Kind(file("x.npy", lambda p: np.save(p, GRAY)), GRAY, "gray"),
    ".npy by columns": Kind(file("x.npy", lambda p: np.save(p, np.asfortranarray(COLOR))), COLOR, "color"),
    ".npy of a table": Kind(file("x.npy", lambda p: np.save(p, TABLE)), TABLE, "table"),
    ".npy with a shape": Kind(
        file("x.npy", lambda p: np.save(p, GRAY.reshape(N, 30).astype(int))), GRAY, "gray", asked={"shape": "6x5"}),
    ".npz, compressed": Kind(file("x.npz", lambda p: np.savez_compressed(p, GRAY)), GRAY, "gray"),
    ".npz, sparse": Kind(file("x.npz", lambda p: scipy.sparse.save_npz(p, scipy.sparse.csr_array(COUNTS))), COUNTS, "counts"),
    ".npz of MedMNIST": Kind(
        file("x.npz", lambda p: np.savez(p, train_images=GRAY[:20], train_labels=Y[:20, None], val_images=GRAY[20:30],
                                         val_labels=Y[20:30, None], test_images=GRAY[30:], test_labels=Y[30:, None])),
        GRAY, "gray", Y, splits={"train": 20, "validation": 10, "test": 10}),
    ".mat, rows last": Kind(
        file("x.mat", lambda p: scipy.io.savemat(p, {"X": np.moveaxis(COLOR, 0, 3), "y": Y[:, None]})), COLOR, "color", Y,
        "the last dim counts the rows"),
    ".mat, gray rows last": Kind(
        file("x.mat", lambda p: scipy.io.savemat(p, {"X": np.moveaxis(GRAY, 0, 2), "y": Y})), GRAY, "gray", Y, "the last dim"),
    ".mat, sparse": Kind(file("x.mat", lambda p: scipy.io.savemat(p, {"X": scipy.sparse.csc_matrix(COUNTS * 1.0)})), COUNTS, "counts"),
    ".h5 in groups": Kind(
        file("x.h5", lambda p: h5(p, {"train/images": GRAY[:30], "train/labels": Y[:30], "test/images": GRAY[30:],
                                      "test/labels": Y[30:]})), GRAY, "gray", Y, splits=OWN, needs="h5py"),
    ".h5 with labels of text": Kind(file("x.h5", lambda p: h5(p, {"x": GRAY, "y": NAMES})), GRAY, "gray", NAMES, needs="h5py"),
    ".h5 of 10x Genomics": Kind(tenx, COUNTS, "counts", said="rows are cells", needs="h5py"),
    ".h5ad": Kind(cells, COUNTS, "counts", NAMES, asked=SORT, needs="h5py", columns=GENES),
    ".h5ad without a label": Kind(cells, COUNTS, "counts", said="obs has sort, depth (`label=sort`)", needs="h5py", columns=GENES),
    ".h5ad of csc": Kind(partial(cells, form="csc"), COUNTS, "counts", NAMES, asked=SORT, needs="h5py", columns=GENES),
    ".h5ad, dense": Kind(
        partial(cells, form="dense"), COUNTS, "counts", NAMES, asked=SORT | {"kind": "counts"}, needs="h5py", columns=GENES),
    ".h5ad, a layer": Kind(
        partial(cells, key="layers/counts"), COUNTS, "counts", NAMES, asked=SORT | {"images": "layers/counts"}, needs="h5py",
        columns=GENES),
    ".h5ad that are no counts": Kind(partial(cells, floats=True), COUNTS / 2, "table", NAMES, asked=SORT, needs="h5py", columns=GENES),
    ".pt, a tensor": Kind(file("x.pt", lambda p: torch.save(PAIR[0], p)), GRAY, "gray"),
    ".pt, a pair": Kind(file("x.pt", lambda p: torch.save(PAIR, p)), GRAY, "gray", Y),
    ".pt of bfloat16": Kind(file("x.pt", lambda p: torch.save({"x": torch.from_numpy(COUNTS).bfloat16()}, p)), COUNTS, "table"),
    ".mtx": Kind(market, COUNTS, "counts", said="rows are its rows"),
    ".mtx.gz": Kind(partial(market, end=".gz"), COUNTS, "counts"),
    ".mtx, dense": Kind(partial(market, dense=True), COUNTS, "counts"),
    ".mtx of 10x Genomics": Kind(partial(market, cells=True), COUNTS, "counts", said="the cells of barcodes.tsv"),
    ".libsvm": Kind(svm("x.libsvm", COUNTS, Y), COUNTS, "counts", Y),
    ".svm with classes -1 and 1": Kind(svm("x.svm", COUNTS, Y % 2 * 2 - 1), COUNTS, "counts", (Y % 2 * 2 - 1).astype(str)),
    ".svmlight of floats": Kind(svm("x.svmlight", TABLE, Y), TABLE, "table", Y),
    ".libsvm of targets": Kind(svm("x.libsvm", TABLE, Y / 2), TABLE, "table", said="left out: the first numbers"),
    ".libsvm with a shape": Kind(svm("x.libsvm", GRAY.reshape(N, 30), Y), GRAY, "gray", Y, asked={"shape": "6,5"}),
    ".csv": Kind(file("x.csv", lambda p: frame().to_csv(p, index=False)), TABLE, "table", columns=ABCD),
    ".csv.gz": Kind(file("x.csv.gz", lambda p: frame().to_csv(p, index=False)), TABLE, "table", columns=ABCD),
    ".tsv": Kind(file("x.tsv", lambda p: frame().to_csv(p, index=False, sep="\t")), TABLE, "table", columns=ABCD),
    ".data": Kind(file("x.data", lambda p: frame().to_csv(p, index=False, header=False)), TABLE, "table", columns=tuple("1234")),
    ".txt": Kind(file("x.txt", lambda p: np.savetxt(p, TABLE, "%g")), TABLE, "table", columns=tuple("1234")),
    ".csv with a class": Kind(
        file("x.csv", lambda p: frame(sort=NAMES).to_csv(p, index=False)), TABLE, "table", NAMES, asked=SORT, columns=ABCD),
    ".csv of pixels": Kind(
        file("x.csv", lambda p: pixels().to_csv(p, index=False)), GRAY, "gray", Y.astype(str), "'label' is the class", {"shape": "6,5"}),
    ".csv of pixels alone": Kind(file("x.csv", lambda p: pixels(label=False).to_csv(p, index=False)), GRAY, "gray", asked={"shape": (6, 5)}),
    ".csv of pixels without names": Kind(
        file("x.csv", lambda p: pixels().to_csv(p, index=False, header=False)), GRAY, "gray", Y.astype(str), asked={"shape": "6,5", "label": "1"}),
    ".csv of pixels, numbered": Kind(
        file("x.csv", lambda p: pixels("{}").to_csv(p, index=False)), GRAY, "gray", Y.astype(str), asked={"shape": "1,6,5"}),
    ".xlsx": Kind(file("x.xlsx", lambda p: frame().to_excel(p, index=False)), TABLE, "table", needs="openpyxl", columns=ABCD),
    ".xlsx with a class": Kind(
        file("x.xlsx", lambda p: frame(sort=NAMES).to_excel(p, index=False)), TABLE, "table", NAMES, asked=SORT, needs="openpyxl", columns=ABCD),
    ".xlsx with an index": Kind(
        file("x.xlsx", lambda p: frame().to_excel(p)), TABLE, "table", said="names the rows", needs="openpyxl", columns=ABCD),
    ".parquet": Kind(file("x.parquet", lambda p: frame().to_parquet(p)), TABLE, "table", needs="pyarrow", columns=ABCD),
    ".parquet with a class": Kind(
        file("x.parquet", lambda p: frame(sort=NAMES).to_parquet(p)), TABLE, "table", NAMES, asked=SORT, needs="pyarrow", columns=ABCD),
    ".feather": Kind(file("x.feather", lambda p: frame().to_feather(p)), TABLE, "table", needs="pyarrow", columns=ABCD),
}  # fmt: skip


def units(data: Dataset) -> tuple[np.ndarray, list[str] | None]:
    """All rows as their file has them, in the order of their first values; and their classes."""
    parts = list(data.splits.values())
    every = [part.images.pick(torch.arange(len(part))) if isinstance(part.images, SparseRows)
             else part.images for part in parts]  # fmt: skip
    rows = torch.cat([part.values.units(x) for part, x in zip(parts, every, strict=True)]).double()
    if data.train.images.dtype == torch.float32 and rows.ndim == 4:
        rows = rows * 255
    order = rows.flatten(1)[:, 0].argsort(stable=True)
    if parts[0].labels is None:
        return rows[order].numpy(), None
    labels = torch.cat([part.labels for part in parts])[order].tolist()  # type: ignore[misc]
    names = data.class_names or [str(i) for i in range(data.classes)]
    return rows[order].numpy(), [names[label] for label in labels]


@pytest.mark.parametrize("name", KINDS)
def test_it_is_read_as_what_it_was_made_of(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    if importlib.util.find_spec(kind.needs) is None:
        pytest.skip(f"needs {kind.needs}")
    mine = load(kind.write(tmp_path), **kind.asked)
    assert (mine.kind, mine.rows, mine.column_names) == (kind.kind, kind.splits, kind.columns)
    rows, labels = units(mine)
    wanted = at(kind.rows)
    order = np.argsort(wanted.reshape(len(wanted), -1)[:, 0], kind="stable")
    assert np.allclose(rows, wanted[order], atol=1e-4)
    assert labels == (None if kind.labels is None else [str(kind.labels[i]) for i in order])
    assert kind.said in mine.said


def test_there_are_many_kinds() -> None:
    assert len(KINDS) >= 120


def damaged(name: str, write: Callable[[Path], Path], keep: int) -> Callable[[Path], Path]:
    """Return what writes the first bytes of a file alone."""

    def cut(folder: Path) -> Path:
        path = write(folder)
        path.write_bytes(path.read_bytes()[:keep])
        return path

    return cut


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("sprung"),))


def sheets(path: Path) -> None:
    with pandas.ExcelWriter(path) as book:
        for name in ("one", "two"):
            frame().to_excel(book, sheet_name=name, index=False)


def unequal(folder: Path) -> Path:
    npys(folder, classes=False)
    np.save(folder / "mine" / "39.npy", np.zeros((2, 2), np.uint8))
    return folder / "mine"


def some(name: str) -> Callable[[Path], Path]:
    return file(name, lambda path: path.write_bytes(b"some bytes"))


GIVEN = {"images": GRAY, "labels": Y}
# What writes the file, what is asked, what is said in one line, and what that needs.
REFUSED: dict[str, tuple[Callable[[Path], Any], dict[str, Any], str, str]] = {
    "pickle": (some("x.pkl"), {}, "is never read; in Python save it as .npz", "numpy"),
    "joblib": (some("x.joblib"), {}, "a pickle runs code", "numpy"),
    "old Excel": (some("x.xls"), {}, "save the table as .xlsx or .csv.", "numpy"),
    "DICOM": (some("x.dcm"), {}, "pydicom.dcmread(path).pixel_array.", "numpy"),
    "NIfTI": (some("x.nii.gz"), {}, "nibabel.load(path).get_fdata().", "numpy"),
    "sound": (some("x.wav"), {}, "sound is read as spectrograms", "numpy"),
    "video": (some("x.mp4"), {}, "ffmpeg -i FILE %d.png.", "numpy"),
    "TFRecord": (some("x.tfrecord"), {}, "read it with TensorFlow", "numpy"),
    "JSON": (some("x.json"), {}, "save the table as .csv", "numpy"),
    "R": (some("x.rds"), {}, "write.csv.", "numpy"),
    "RAR": (some("x.rar"), {}, "unpack it, and name the folder.", "numpy"),
    "no format": (some("x.xyz"), {}, "is of no format that is read; expected a folder", "numpy"),
    "an address": (
        lambda _: "https://example.org/x.csv", {}, "is an address: download it, and name", "numpy"),
    "another key": (
        partial(write_in, ".npz", GIVEN), {"images": "image"}, "did you mean 'images'? Known: images, l", "numpy"),
    "another key of labels": (
        partial(write_in, ".mat", GIVEN), {"labels": "y"}, "unknown array of .*'y'", "scipy"),
    "keys that tell nothing": (
        partial(write_in, ".mat", {"a": GRAY, "b": Y}), {}, "it has: a, b; name them, as `images=a`, and `labels`.", "scipy"),
    "a key of a table": (
        file("x.csv", lambda p: frame().to_csv(p)), {"labels": "a"}, "`label` names a column", "numpy"),
    "a column of arrays": (
        partial(write_in, ".mat", GIVEN), {"label": "y"}, "are arrays: `labels=KEY`.", "scipy"),
    "another shape": (
        partial(write_in, ".npz", {"x": GRAY.reshape(N, 30)}), {"shape": "5,5"}, "asks for 5 x 5 = 25 values; .* has 30.", "numpy"),
    "no shape": (some("x.csv"), {"shape": "30"}, "expected HEIGHT,WIDTH, as 28,28", "numpy"),
    "a class without a name": (
        file("x.csv", lambda p: pixels().to_csv(p, index=False, header=False)), {"shape": "6,5"},
        "has 31 columns, one more than .* name the class, as `label=1`, or what to `drop`.", "numpy"),
    "a table without a shape": (
        file("x.csv", lambda p: frame().to_csv(p)), {"size": 8}, "`size` is for images", "numpy"),
    "a damaged .mat": (damaged("x.mat", partial(write_in, ".mat", GIVEN), 300), {}, "is not a readable .mat file", "scipy"),
    "a damaged .h5": (damaged("x.h5", partial(write_in, ".h5", GIVEN), 600), {}, "is not a readable .h5 file", "h5py"),
    "a damaged .pt": (damaged("x.pt", partial(write_in, ".pt", GIVEN), 300), {}, "is not a readable .pt file", "torch"),
    "a damaged .safetensors": (
        damaged("x.safetensors", partial(write_in, ".safetensors", GIVEN), 100), {}, "is truncated or holds no", "torch"),
    "a damaged .h5ad": (damaged("x.h5ad", cells, 900), {}, "is not a readable .h5ad file", "h5py"),
    "a damaged .mtx": (some("x.mtx"), {}, "is not a readable .mtx file", "scipy"),
    "a damaged .libsvm": (some("x.libsvm"), {}, "is not a readable .libsvm file", "sklearn"),
    "a damaged idx": (damaged("d.idx", file("d.idx", lambda p: p.write_bytes(idx(GRAY))), 900), {}, "should hold 40 x 6 x 5", "numpy"),
    "a damaged idx, zipped": (
        damaged("d.gz", file("d.gz", lambda p: p.write_bytes(gzip.compress(idx(GRAY)))), 600), {}, "truncated or corrupt", "numpy"),
    "a damaged .xlsx": (some("x.xlsx"), {}, "cannot be read as .xlsx", "openpyxl"),
    "a damaged .parquet": (some("x.parquet"), {}, "cannot be read as .parquet", "pyarrow"),
    "an empty .xlsx": (file("x.xlsx", lambda p: frame()[:0].to_excel(p)), {}, "has no rows", "openpyxl"),
    "two sheets": (file("x.xlsx", sheets), {}, "has the sheets one, two: save one of them alone.", "openpyxl"),
    "labels of idx": (
        lambda folder: mnist(folder).with_name("train-labels-idx1-ubyte"), {}, "name the file of the images", "numpy"),
    "a folder of unequal .npy": (unequal, {}, "39.npy holds uint8 (2, 2), and 0.npy uint8 (6, 5)", "numpy"),
    "a column that obs lacks": (cells, {"label": "sorts"}, "did you mean 'sort'? Known: sort, depth", "h5py"),
    "a layer that is not there": (cells, {"images": "layers/raw"}, "Known: X.", "h5py"),
    "objects in a .pt": (file("x.pt", lambda p: torch.save({"x": Trap()}, p)), {}, "torch.save({'images': x", "torch"),
    "weights in a .pt": (
        file("x.pt", lambda p: torch.save(torch.nn.Linear(2, 2).state_dict(), p)), {}, "it has: weight, bias; name", "torch"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, asked, message, needs = REFUSED[name]
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"needs {needs}")
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path)
    expected = re.escape(message).replace(r"\.\*", ".*")
    with pytest.raises(VaekitError, match=expected) as caught:
        load(path, **asked)
    assert "\n" not in str(caught.value)
    assert not Path("sprung").exists()


def sparse_mat(folder: Path) -> Path:
    scipy.io.savemat(folder / "x.mat", {"X": scipy.sparse.csc_matrix(COUNTS * 1.0), "y": Y})
    return folder / "x.mat"


BYTES = {
    ".mat": sparse_mat,
    ".h5": tenx,
    ".h5ad": cells,
    "idx": file("x.idx", lambda path: path.write_bytes(idx(COUNTS.astype("i4")))),
}


@pytest.mark.parametrize("name", BYTES)
def test_any_damaged_byte_is_read_or_one_line(name: str, tmp_path: Path) -> None:
    if "h5" in name:
        pytest.importorskip("h5py")
    path = BYTES[name](tmp_path)
    content, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for place in np.concatenate([rng.integers(0, 300, 60), rng.integers(0, len(content), 60)]):
        spoilt = bytearray(content)
        spoilt[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        try:
            load(path)
        except VaekitError as error:
            refused += "\n" not in str(error)
    assert 0 < refused < 120


def test_variables_of_matlab_are_those_that_scipy_reads(tmp_path: Path) -> None:
    every = {
        "a": TABLE,
        "b": GRAY,
        "c": COUNTS > 1,
        "d": np.float32([[3]]),
        "e": COUNTS.astype("i2"),
    }
    others = {"text": "some", "cell": np.array([TABLE, "x"], object), "complex": TABLE + 1j}
    for packed in (False, True):
        scipy.io.savemat(tmp_path / "x.mat", every | others, do_compression=packed)
        with pytest.raises(VaekitError, match="it has: a, b, c, d, e; name them, as `images=a`"):
            load(tmp_path / "x.mat")
        for key in ("a", "b", "e"):
            mine = load(tmp_path / "x.mat", images=key)
            wanted = at(scipy.io.loadmat(tmp_path / "x.mat")[key])
            order = np.argsort(wanted.reshape(N, -1)[:, 0], kind="stable")
            assert np.allclose(units(mine)[0], wanted[order])


def test_genes_are_taken_by_their_names(tmp_path: Path) -> None:
    import h5py

    run = vaekit.train("vae", data=cells(tmp_path), out=tmp_path / "run", **QUICK)
    codes = run.encode(cells(tmp_path))
    order = [3, 1, 4, 0, 5, 2, 6, 8, 7]
    with h5py.File(tmp_path / "cells.h5ad", "r+") as stored:
        matrix = scipy.sparse.csr_matrix(COUNTS[:, order].astype(np.float32))
        for part in ("data", "indices", "indptr"):
            stored["X"][part][:] = getattr(matrix, part)
        stored["var/gene"][:] = [f"g{i}" for i in order]
    assert torch.equal(run.encode(tmp_path / "cells.h5ad"), codes)
    assert run.read(tmp_path / "cells.h5ad").ids.tolist()[:2] == ["cell0", "cell1"]
    with h5py.File(tmp_path / "cells.h5ad", "r+") as stored:
        stored["var/gene"][2] = "other"
    with pytest.raises(VaekitError, match="lacks the genes g4, which this run takes"):
        run.encode(tmp_path / "cells.h5ad")


def test_new_rows_of_a_run_have_its_shape(tmp_path: Path) -> None:
    pixels().to_csv(tmp_path / "x.csv", index=False)
    run = vaekit.train("cvae", data=tmp_path / "x.csv", shape="6,5", out=tmp_path / "run", **QUICK)
    assert (run.spec.shape, run.spec.classes) == ((1, 6, 5), 3)
    read = run.read(tmp_path / "x.csv")
    assert torch.equal(read.images[:, 0], torch.from_numpy(GRAY))
    assert read.labels.tolist() == Y.tolist()
    flat, table = GRAY.reshape(N, 30), pixels(label=False)
    context = read.context.float()
    codes = run.encode(tmp_path / "x.csv")
    for rows in (flat, flat.astype(int), table, GRAY):
        given = from_value(rows, Data(shape="6,5"))
        assert (given.kind, given.train.images.shape[1:]) == ("gray", (1, 6, 5))
    pixels(label=False).to_csv(tmp_path / "bare.csv", index=False)
    with pytest.raises(VaekitError, match="has no labels, on which this run is conditioned"):
        run.encode(tmp_path / "bare.csv", context)
    assert codes.shape == (N, 2)


def test_columns_that_may_be_pixels_are_named(tmp_path: Path) -> None:
    levels = pandas.DataFrame(RNG.integers(0, 256, (20, 784)))
    for table, sides in ((pixels(), ""), (levels, "28,28")):
        table.to_csv(tmp_path / "x.csv", index=False)
        said = load(tmp_path / "x.csv").said
        assert (f"pixels (`shape='{sides}'`" in said) if sides else "pixels" not in said
    square = pixels(label=False).iloc[:, :25]
    assert "pixels (`shape='5,5'` reads them as images)" in from_value(square).said


def everything(folder: Path) -> None:
    """The files that docs/data.md names."""
    for name in ("photos", "ants", "bees"):
        (folder / name).mkdir()
        for i, image in enumerate(GRAY):
            Image.fromarray(image).save(folder / name / f"{i}.png")
    for name in ("scans", "stacks", "icons", "crawl"):
        (folder / name).mkdir()
    for i, image in enumerate(GRAY):
        first, *rest = (Image.fromarray(image) for _ in range(3))
        Image.fromarray(image.astype(np.uint16) * 16).save(folder / "scans" / f"{i}.png")
        first.save(folder / "stacks" / f"{i}.tif", save_all=True, append_images=rest)
        Image.fromarray(np.dstack([image] * 4)).save(folder / "icons" / f"{i}.png")
        first.save(folder / "crawl" / f"{i}.jpg")
    (folder / "crawl" / "3.jpg").write_bytes(b"no image")
    labels = pandas.DataFrame({"file": [f"{i}.png" for i in range(N)], "sort": NAMES})
    labels.to_csv(folder / "photos" / "labels.csv", index=False)
    with tarfile.open(folder / "photos.tar.gz", "w:gz") as tar:
        tar.add(folder / "photos", arcname="photos")
    for suffix, arrays in ((".npz", GIVEN), (".h5", GIVEN), (".pt", {"images": GRAY})):
        write_in(suffix, arrays, folder)
    write_in(".mat", {"faces": GRAY, "who": Y, "age": Y + 20}, folder)
    npys(folder, classes=False).rename(folder / "slices")
    mnist(folder)
    for name in ("wine", "monday", "tuesday", "train", "test"):
        frame().to_csv(folder / f"{name}.csv", index=False)
    frame(**{"class": NAMES}).replace({"b": {TABLE[3, 1]: "NA"}}).to_csv(folder / "survey.csv")
    frame(sex=["f", "m"] * (N // 2), since=["2024-01-31"] * N).to_csv(folder / "census.csv")
    square = pandas.DataFrame(RNG.integers(0, 256, (N, 784))).assign(label=Y)
    square.to_csv(folder / "pixels.csv", index=False)
    frame().to_excel(folder / "wine.xlsx", index=False)
    cells(folder)
    dump_svmlight_file(TABLE, Y, str(folder / "mine.libsvm"), zero_based=True)


ROWS = re.findall(
    r"^\| (.+) \| `vaekit (train .+)` \|$",
    (Path(__file__).resolve().parent.parent / "docs" / "data.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    everything(folder)
    return folder


@pytest.mark.parametrize("command", [command for _, command in ROWS if "hf:" not in command])
def test_what_the_page_says_to_type_trains(
    command: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    few = ["--epochs", "1", "--net", "mlp:hidden=8", "--no-report", "--quiet"]
    main([*command.split(), *few, "--out", str(tmp_path / "run")])
    assert (tmp_path / "run" / "run.json").is_file()


def test_the_page_has_many_kinds() -> None:
    assert len(ROWS) >= 15

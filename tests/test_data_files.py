"""Arrays and tables by path: numbers against numpy's own readers, every refusal by its line."""

from __future__ import annotations

import gzip
import os
import re
import struct
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.sparse
import torch

from vaekit._train_options import Data
from vaekit.data import SparseRows, Split, canonical, load, prepare
from vaekit.errors import VaekitError


def fails(message: str) -> Any:
    return pytest.raises(VaekitError, match=re.escape(message))


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def dense(split: Split) -> np.ndarray:
    return split.x().numpy()


# arrays -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "kind", "shape"),
    [
        (noise(20, 8, 6), "gray", (1, 8, 6)),
        (noise(20, 8, 6, 1), "gray", (1, 8, 6)),
        (noise(20, 1, 8, 6), "gray", (1, 8, 6)),
        (noise(20, 8, 6, 3), "color", (3, 8, 6)),
        (noise(20, 3, 8, 6), "color", (3, 8, 6)),
        (noise(20, 3, 8, 3), "color", (3, 8, 3)),
        (noise(20, 5), "table", (5,)),
        (noise(20, 8, 6) // 128 * np.uint8(255), "binary", (1, 8, 6)),
        (noise(20, 8, 6) // 128, "binary", (1, 8, 6)),
        (noise(20, 8, 6) > 127, "binary", (1, 8, 6)),
        ((noise(20, 8, 6) > 127).astype(np.float64), "binary", (1, 8, 6)),
        (noise(20, 5) > 127, "binary", (5,)),
        (np.zeros((20, 8, 6), np.uint8), "gray", (1, 8, 6)),
        (noise(20, 8, 6) // 128 * np.uint8(7), "gray", (1, 8, 6)),
        (noise(20, 8, 6) / 255, "gray", (1, 8, 6)),
        (noise(20, 5) - 100.5, "table", (5,)),
    ],
)
def test_npz_kinds(tmp_path: Path, images: np.ndarray, kind: str, shape: tuple[int, ...]) -> None:
    mine = load(save(tmp_path, images=images))
    assert (mine.kind, mine.train.images.shape[1:]) == (kind, shape)
    assert (len(mine.train), len(mine.test)) == (18, 2)
    assert mine.train.images.dtype == (
        torch.float32 if images.dtype.kind == "f" and kind != "binary" else torch.uint8
    )
    assert mine.train.images.is_contiguous()
    if kind == "binary":
        assert mine.train.images.unique().tolist() == [0, 255]


def test_npz_values_and_labels_stay_together(tmp_path: Path) -> None:
    images = noise(50, 4, 6, 3)
    path = save(
        tmp_path, images=images, labels=np.arange(50), factors=np.arange(100).reshape(50, 2)
    )
    mine = load(path)
    for split in (mine.train, mine.test):
        assert np.array_equal(split.images.numpy(), images[split.labels].transpose(0, 3, 1, 2))
        assert torch.equal(split.factors[:, 1], 2 * split.labels + 1)
    assert (len(mine.test), mine.classes, mine.name) == (5, 50, "mine")
    assert mine.source == str(path)
    assert load(path).test.labels.tolist() == mine.test.labels.tolist()


def test_npz_floats_and_binary_values(tmp_path: Path) -> None:
    levels = noise(20, 2, 2) / 255
    mine = load(save(tmp_path, images=levels, labels=np.arange(20)))
    assert np.array_equal(mine.train.images[:, 0], levels[mine.train.labels].astype(np.float32))
    bits = noise(20, 2, 2) > 127
    mine = load(save(tmp_path, images=bits, labels=np.arange(20)))
    assert np.array_equal(canonical(mine.train.images)[:, 0], bits[mine.train.labels])


def test_npz_with_its_own_test_split(tmp_path: Path) -> None:
    train, test = noise(12, 4, 4), noise(3, 4, 4)
    path = save(
        tmp_path,
        images=train,
        labels=np.arange(12) % 3,
        test_images=test,
        test_labels=np.array([4, 0, 1]),
    )
    mine = load(path)
    assert np.array_equal(mine.train.images[:, 0], train)
    assert np.array_equal(mine.test.images[:, 0], test)
    assert (mine.test.labels.tolist(), mine.class_names) == ([3, 0, 1], ("0", "1", "2", "4"))


def test_npz_is_binary_only_if_both_splits_are(tmp_path: Path) -> None:
    bits = noise(12, 4, 4) // 128 * np.uint8(255)
    mine = load(save(tmp_path, images=bits, test_images=noise(12, 4, 4)))
    assert mine.kind == "gray"
    assert np.array_equal(mine.train.images[:, 0], bits)


def spoilt(value: float) -> np.ndarray:
    array = noise(20, 4, 4) / 255
    array[3, 1, 2] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"a": noise(20, 4, 4), "y": np.arange(20)},
            "has no array 'images'; it has: a, y; name them, as `images=a`, and",
        ),
        ({"images": np.array([[1], "a"] * 20, dtype=object)}, "'images' holds Python objects"),
        ({"images": noise(20)}, "has shape (20,); expected (N, H, W)"),
        ({"images": noise(20, 4, 4, 4)}, "has shape (20, 4, 4, 4); expected"),
        ({"images": noise(20, 4, 4, 4, 1)}, "has shape (20, 4, 4, 4, 1); expected"),
        ({"images": noise(20, 4, 0)}, "is empty: shape (20, 4, 0);"),
        ({"images": np.full((20, 4), "a")}, "has type <U1; expected integers"),
        ({"images": spoilt(np.nan)}, "has 1 values that are NaN or infinite"),
        ({"images": spoilt(np.inf)}, "has 1 values that are NaN or infinite"),
        ({"images": spoilt(1e300)}, "has 1 values that are NaN or infinite"),
        (
            {"images": noise(20, 4, 4) * 1.0},
            "to 255; expected 0 to 1, or -1 to 1. Scale them",
        ),
        ({"images": noise(4, 4, 4)}, "has 4 rows; expected 5 at least."),
        (
            {"images": noise(20, 4, 4), "labels": np.arange(19)},
            "'labels' has type int64 and shape (19,); expected one integer or text per image: (20",
        ),
        ({"images": noise(20, 4, 4), "labels": np.ones(20) / 2}, "'labels' has type float64"),
        ({"images": noise(20, 4, 4), "factors": np.ones(20)}, "one row per image: (20, F)."),
        (
            {"images": noise(20, 4, 4), "labels": np.arange(20), "test_images": noise(9, 4, 4)},
            "it needs both 'labels' and 'test_labels', or neither.",
        ),
        (
            {"images": noise(20, 4, 4), "test_images": noise(20, 4, 5)},
            "training rows are (1, 4, 4) torch.uint8, other rows (1, 4, 5) torch.uint8",
        ),
        (
            {"images": noise(20, 4), "test_images": noise(20, 4) / 255},
            "torch.uint8, other rows (4,) torch.float32",
        ),
    ],
)
def test_npz_refuses(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    with fails(message):
        load(save(tmp_path, **arrays))


def test_npz_that_is_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    with fails(f"did not find the file '{path}'; looked in"):
        load(path)
    content = save(tmp_path, images=noise(20, 40, 40)).read_bytes()
    garbled = content[:200] + bytes(255 - byte for byte in content[200:900]) + content[900:]
    for corrupt in (b"", b"hello", content[:5000], garbled):
        path.write_bytes(corrupt)
        with fails(f"{path} is not a readable .npz file"):
            load(path)
    with path.open("wb") as file:
        np.save(file, noise(20, 4))
    with fails("holds one bare array, not an .npz archive"):
        load(path)


@pytest.mark.parametrize(("test", "held"), [(None, 2), (0.5, 10), (3, 3)])
def test_the_test_split_has_the_size_asked_for(tmp_path: Path, test: Any, held: int) -> None:
    assert len(load(save(tmp_path, images=noise(20, 4, 4)), test=test).test) == held


@pytest.mark.parametrize("groups", [np.arange(40) // 5 * 7, np.array(list("abcdefgh") * 5)])
def test_groups_stay_in_one_split(tmp_path: Path, groups: np.ndarray) -> None:
    mine = load(save(tmp_path, images=noise(40, 4), labels=np.arange(40), groups=groups), test=6)
    seen = [set(groups[part.labels]) for part in (mine.train, mine.test)]
    assert (len(mine.test), len(seen[1]), seen[0] & seen[1]) == (10, 2, set())


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint16", ">i4", "uint32"])
def test_whole_numbers_in_a_table_are_counts(tmp_path: Path, dtype: str) -> None:
    counts = noise(20, 5) // 2
    mine = load(save(tmp_path, images=counts.astype(dtype), labels=np.arange(20)))
    assert (mine.kind, mine.train.images.dtype) == ("counts", torch.float32)
    for part in mine.splits.values():
        assert np.array_equal(dense(part), counts[part.labels])


def test_images_from_minus_one_are_mapped_in_all_splits(tmp_path: Path) -> None:
    levels = np.linspace(-1, 1, 20 * 4).reshape(20, 2, 2)
    path = save(tmp_path, images=levels, test_images=levels[4:8])
    mine = load(path)
    assert np.allclose(mine.train.images[:, 0], (levels + 1) / 2, atol=1e-7)
    assert np.allclose(mine.test.images[:, 0], (levels[4:8] + 1) / 2, atol=1e-7)
    assert mine.said == "values from -1 to 1 mapped by (x + 1) / 2"
    assert not load(save(tmp_path, images=np.abs(levels))).said
    table = load(save(tmp_path, images=levels.reshape(20, 4)))
    assert table.train.images.min() < 0


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f8"])
def test_other_floats(tmp_path: Path, dtype: str) -> None:
    levels = (noise(20, 3, 3) / 255).astype(dtype)
    mine = load(save(tmp_path, images=levels, labels=np.arange(20)))
    assert np.array_equal(mine.train.images[:, 0], levels[mine.train.labels].astype(np.float32))


def test_npy_is_the_images_of_an_npz(tmp_path: Path) -> None:
    images = noise(20, 6, 5, 3)
    np.save(tmp_path / "mine.npy", images)
    bare, packed = load(tmp_path / "mine.npy"), load(save(tmp_path, images=images))
    assert (bare.name, bare.kind, bare.source) == ("mine", "color", str(tmp_path / "mine.npy"))
    assert torch.equal(bare.train.images, packed.train.images)
    assert torch.equal(bare.test.images, packed.test.images)


@pytest.mark.parametrize("labeled", [True, False])
def test_a_csr_matrix_stays_sparse(tmp_path: Path, labeled: bool) -> None:
    counts = scipy.sparse.random(30, 50, 0.1, "csr", random_state=0)
    counts.data = np.ceil(counts.data * 9)
    path = tmp_path / "cells.npz"
    scipy.sparse.save_npz(path, counts)
    if labeled:
        with np.load(path) as file:
            np.savez(path, **file, labels=np.arange(30) % 3, groups=np.arange(30) // 2)
    mine = load(path, test=6)
    assert (mine.kind, mine.classes) == ("counts", 3 if labeled else 0)
    found = []
    for part in mine.splits.values():
        assert isinstance(part.images, SparseRows)
        found.append(dense(part))
    order = np.random.RandomState(0).permutation(30)
    if not labeled:
        assert np.array_equal(found[1], counts.toarray()[order[:6]])
    together = np.concatenate(found)
    assert np.array_equal(np.sort(together, 0), np.sort(counts.toarray(), 0))


def test_other_sparse_matrices_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cells.npz"
    matrix = scipy.sparse.eye(20, format="csc")
    scipy.sparse.save_npz(path, matrix)
    with fails("holds a sparse 'csc' matrix; expected csr: matrix.tocsr()."):
        load(path)
    scipy.sparse.save_npz(path, matrix.tocsr() * 0.5)
    with fails("has the value 0.5; counts are whole numbers"):
        load(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": np.arange(60).reshape(20, 3) - 3},
            "goes from -3 to 56; counts go from 0",
        ),
        ({"images": np.full((20, 3), 1 << 25)}, "to 3.35544e+07; counts go from 0 to 16,777,216."),
        (
            {"images": noise(20, 3), "groups": np.arange(19)},
            "'groups' has type int64 and shape (19,)",
        ),
        ({"images": noise(20, 3), "groups": np.ones(20)}, "'groups' has type float64"),
        ({"images": noise(20, 3), "factors": np.full((20, 1), np.nan)}, "'factors' has 20 values"),
        ({"images": np.zeros((0, 3, 3), np.uint8)}, "'images' is empty: shape (0, 3, 3);"),
        ({"images": noise(1, 3, 3)}, "has 1 rows; expected 5 at least."),
        ({"images": np.array(5)}, "has shape (); expected (N, H, W)"),
        ({"images": np.zeros((20, 3), "c8")}, "has type complex64; expected integers"),
        ({"images": np.zeros((20, 3), "M8[s]")}, "has type datetime64[s]; expected integers"),
        ({"images": np.zeros(20, [("a", int)])}, "has shape (20,); expected"),
    ],
)
def test_arrays_that_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with fails(message) as caught:
        load(save(tmp_path, **arrays))
    assert "\n" not in str(caught.value)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    trap = np.array([Trap()] * 20, dtype=object)
    np.save(tmp_path / "mine.npy", trap, allow_pickle=True)
    with fails("holds Python objects; expected numbers of one type and shape."):
        load(tmp_path / "mine.npy")
    with fails("'images' holds Python objects"):
        load(save(tmp_path, images=trap))
    (tmp_path / "mine.npy").write_bytes(trap.dumps())  # a bare pickle
    with fails("is not a readable .npy file"):
        load(tmp_path / "mine.npy")
    assert not (tmp_path / "sprung").exists()


def test_options_of_other_formats(tmp_path: Path) -> None:
    with fails("`label` does not suit"):
        load(save(tmp_path, images=noise(20, 3)), label="x")
    with fails("its key 'groups' holds them"):
        load(tmp_path / "mine.npz", group="x")
    np.save(tmp_path / "mine.npy", noise(20, 3))
    with fails("an .npy has none; take an .npz"):
        load(tmp_path / "mine.npy", group="x")


def test_an_archive_that_is_called_npy(tmp_path: Path) -> None:
    save(tmp_path, images=noise(20, 3)).rename(tmp_path / "mine.npy")
    with fails("is an .npz archive; name it so."):
        load(tmp_path / "mine.npy")


def header(shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("shape", [(20, 1 << 45), (1 << 40, 1 << 40), (20, 9), (-1, 4)])
def test_headers_that_declare_more_than_there_is(tmp_path: Path, shape: tuple[int, ...]) -> None:
    content = header(shape) + bytes(100)
    (tmp_path / "mine.npy").write_bytes(content)
    with fails(str(tmp_path / "mine.npy")):
        load(tmp_path / "mine.npy")
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as file:
        file.writestr("images.npy", content)
    with fails(str(tmp_path / "mine.npz")):
        load(tmp_path / "mine.npz")


def test_a_bomb_is_seen_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "mine.npz", images=np.zeros((20, 1000, 1000), np.uint8))
    assert (tmp_path / "mine.npz").stat().st_size < 30_000
    monkeypatch.setattr("vaekit.data._rows.available", lambda: 10_000_000)

    def never(*_: Any) -> None:
        raise AssertionError("unpacked")

    monkeypatch.setattr("vaekit.data._arrays._array", never)
    with fails("would take 19.1 MiB; 9.5 MiB are free. Take fewer rows, or uint8."):
        load(tmp_path / "mine.npz")


@pytest.mark.parametrize("name", ["mine.npz", "mine.npy"])
def test_any_damaged_byte_is_read_or_refused(tmp_path: Path, name: str) -> None:
    path = save(tmp_path, images=noise(20, 3, 3), labels=np.arange(20))
    np.save(tmp_path / "mine.npy", noise(20, 3, 3))
    path = tmp_path / name
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    head = rng.integers(0, 150, 200)
    places = np.concatenate([head, rng.integers(0, len(content), 200)])
    read = refused = 0
    for place, bit in zip(places, rng.integers(0, 8, 400), strict=True):
        spoilt = bytearray(content)
        spoilt[place] ^= 1 << bit
        path.write_bytes(spoilt)
        try:
            load(path)
            read += 1
        except VaekitError as error:
            refused += "\n" not in str(error)
    assert (read + refused, refused > 100) == (400, True)


def test_arrays_by_path_are_shaped(tmp_path: Path) -> None:
    path = save(tmp_path, images=noise(20, 8, 8, 3))
    mine = load(path, size=4, gray=True)
    assert (mine.kind, mine.train.images.shape[1:]) == ("gray", (1, 4, 4))


# sparse counts ----------------------------------------------------------------------------------


def csr(**changes: Any) -> dict[str, np.ndarray]:
    made = {
        "data": np.array([5, 7, 2], np.uint16),
        "indices": np.array([2, 0, 1], np.uint16),
        "indptr": np.array([0, 1, 1, *[3] * 10], np.int32),
        "shape": np.array([12, 4]),
    }
    return {**made, **{key: np.array(value) for key, value in changes.items()}}


def sparse(folder: Path, **parts: Any) -> np.ndarray:
    """The rows of a sparse table in a file, in their order there."""
    mine = load(save(folder, labels=np.arange(len(parts["indptr"]) - 1), **parts))
    found = [torch.cat([part.x() for part in mine.splits.values()])]
    assert all(isinstance(part.images, SparseRows) for part in mine.splits.values())
    order = torch.cat([part.labels for part in mine.splits.values()]).argsort()
    return found[0][order].numpy()


def test_sparse_rows_are_scipys(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dense = rng.poisson(0.3, (40, 17))
    dense[7] = 0
    matrix = scipy.sparse.csr_matrix(dense)
    named = {key: getattr(matrix, key) for key in ("data", "indices", "indptr")}
    for kind in (np.int64, np.uint8, np.float32, np.float64):
        parts = {**named, "data": matrix.data.astype(kind), "shape": np.array(matrix.shape)}
        rows = sparse(tmp_path, **parts)
        assert rows.shape == (40, 17)
        assert np.array_equal(rows, dense)
    mine = load(save(tmp_path, **parts)).train.images
    index = torch.tensor([9, 7, 9])
    some = mine.take(index).pick(torch.arange(3))
    assert np.array_equal(some, mine.pick(torch.arange(36))[index])


def test_sparse_rows_in_any_order_within_a_row(tmp_path: Path) -> None:
    rows = sparse(tmp_path, **csr(indices=[2, 1, 0]))
    assert rows[:3].tolist() == [[0, 0, 5, 0], [0, 0, 0, 0], [2, 7, 0, 0]]


def test_a_column_twice_in_a_row_is_added(tmp_path: Path) -> None:
    assert sparse(tmp_path, **csr(indices=[2, 1, 1]))[2].tolist() == [0, 9, 0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data": [5, -7, 2]},
            "npz: 'data' goes from -7 to 5; counts go from 0 to 16,777,216.",
        ),
        ({"data": [5, 1 << 25, 2]}, "counts go from 0 to 16,777,216."),
        ({"data": [5, 1.5, 2]}, "mine.npz: 'data' has the value 1.5; counts are whole numbers."),
        ({"data": [5, np.nan, 2]}, "mine.npz: 'data' goes from nan to nan; counts go from 0"),
        ({"data": [5, np.inf, 2]}, "mine.npz: 'data' goes from 2 to inf; counts go from 0 to"),
        ({"data": ["a", "b", "c"]}, "mine.npz: 'data' has type <U1; expected counts."),
        ({"data": [5, 7]}, "is no sparse table: indices and data should have the same size; write"),
        ({"indices": [2.0, 0.0, 1.0]}, "mine.npz: 'indices' has type float64 and shape (3,)"),
        ({"indices": [2, 0, 4]}, "mine.npz is no sparse table: indices must be < 4; write it"),
        ({"indices": [2, -1, 1]}, "mine.npz is no sparse table: indices must be >= 0; write it"),
        ({"indptr": [0, 1, 1]}, "index pointer size 3 should be 13"),
        ({"indptr": [0, 2, 1, *[3] * 10]}, "indptr must be a non-decreasing sequence"),
        ({"indptr": [1, 1, 1, *[3] * 10]}, "index pointer should start with 0"),
        ({"indptr": [0, 1, 1, *[4] * 10]}, "Last value of index pointer should be less"),
        ({"indptr": np.zeros(0, np.int32)}, "index pointer size 0 should be 13"),
        ({"shape": [12]}, "mine.npz: 'shape' is [12]; expected rows and columns."),
        ({"shape": np.zeros(0, np.int64)}, "mine.npz: 'shape' is []; expected rows and columns."),
        ({"shape": [12, 0]}, "mine.npz: 'shape' is [12, 0]; expected rows and columns."),
    ],
)
def test_sparse_rows_refuse(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with fails(message):
        load(save(tmp_path, **csr(**changes)))


def test_sparse_rows_need_all_arrays(tmp_path: Path) -> None:
    parts = csr()
    del parts["indptr"]
    path = save(tmp_path, labels=np.arange(12), **parts)
    with fails("has no array 'images'; it has: labels, data, indices, shape; name"):
        load(path)


def test_sparse_rows_without_a_count(tmp_path: Path) -> None:
    empty = csr(data=np.zeros(0, np.int64), indices=np.zeros(0, np.int64), indptr=[0] * 13)
    assert sparse(tmp_path, **empty).shape == (12, 4)
    assert not sparse(tmp_path, **empty).any()


# tables -----------------------------------------------------------------------------------------


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "mine.csv"
    path.write_bytes(text.encode(encoding))
    return path


def lines(*rows: str, again: int = 1) -> str:
    return "\n".join(rows * again) + "\n"


TABLE = np.random.default_rng(0).normal(50, 30, (40, 3)).astype(np.float32)


def text(delimiter: str = ",", header: str = "") -> str:
    rows = [delimiter.join(map(repr, row)) for row in TABLE.tolist()]
    return "\n".join([header, *rows] if header else rows) + "\n"


def rows(path: Path, **options: Any) -> np.ndarray:
    """All rows, sorted."""
    mine = load(path, **options)
    found = np.concatenate([part.images.numpy() for part in mine.splits.values()])
    return found[np.lexsort(found.T)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["", "a,b c,d"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_numbers_and_names(tmp_path: Path, delimiter: str, header: str, encoding: str) -> None:
    path = write(tmp_path, text(delimiter, header.replace(",", delimiter)), encoding)
    mine = load(path)
    assert (mine.kind, mine.name, mine.classes) == ("table", "mine", 0)
    assert mine.column_names == (tuple(header.split(",")) if header else ("1", "2", "3"))
    assert (len(mine.train), len(mine.test)) == (36, 4)
    assert np.array_equal(rows(path), TABLE[np.lexsort(TABLE.T)])


def test_numbers_are_numpys(tmp_path: Path) -> None:
    cells = [" 1", "2e3 ", "-.5", "+7.", '"8,5"'.replace(",", "."), "1E-3", "0x1"[:1], "16777217"]
    path = write(tmp_path, lines(*[f"{cell},{i}" for i, cell in enumerate(cells * 2)]))
    expected = np.loadtxt(path, delimiter=",", quotechar='"').astype(np.float32)
    assert np.array_equal(rows(path), expected[np.lexsort(expected.T)])


def test_line_ends_empty_lines_and_quotes(tmp_path: Path) -> None:
    path = write(tmp_path, 'a,"b,\nc"\r\n' + '\r\n1,"2"\r\n\r\n' * 10)
    mine = load(path)
    assert mine.column_names == ("a", "b,\nc")
    assert mine.train.images.tolist() == [[1, 2]] * 9


def test_one_column(tmp_path: Path) -> None:
    assert sorted(rows(write(tmp_path, lines("x", *map(str, range(12)))))[:, 0]) == list(range(12))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["b", "a b", " c"] * 4, ("a b", "b", "c")),
        (["class 10", "class 9", "x"] * 4, ("class 9", "class 10", "x")),
        (["10", "9", "-1"] * 4, ("-1", "9", "10")),
        (["2.0", "1", "1e1"] * 4, ("1", "2", "10")),
    ],
)
@pytest.mark.parametrize("label", ["sort", "2"])
def test_labels_are_classes_in_order(
    tmp_path: Path, labels: list[str], names: tuple[str, ...], label: str
) -> None:
    body = [f"{i},{name},{2 * i}" for i, name in enumerate(labels)]
    mine = load(write(tmp_path, lines("x,sort,y", *body)), label=label)
    assert (mine.class_names, mine.classes, mine.column_names) == (names, 3, ("x", "y"))
    for part in mine.splits.values():
        for (x, y), found in zip(part.images.tolist(), part.labels, strict=True):
            name = labels[int(x)].strip()
            wanted = name if name in names else str(int(float(name)))
            assert (mine.class_names[found], y) == (wanted, 2 * x)


def test_a_text_label_without_a_header_is_found_by_its_number(tmp_path: Path) -> None:
    mine = load(write(tmp_path, lines("5.1,3.5,setosa", "4,3,virginica", again=6)), label="3")
    assert (len(mine.train) + len(mine.test), mine.class_names) == (12, ("setosa", "virginica"))
    assert mine.column_names == ("1", "2")


def test_numbers_as_names_of_other_columns(tmp_path: Path) -> None:
    mine = load(write(tmp_path, lines("0,1,digit", *["5,6,7"] * 10)), label="digit")
    assert (mine.column_names, mine.class_names) == (("0", "1"), ("7",))
    assert mine.train.images.tolist() == [[5, 6]] * 9


def test_groups_stay_together_and_are_no_feature(tmp_path: Path) -> None:
    body = [f"{i},{'pqrst'[i % 5]},{i % 2}" for i in range(40)]
    path = write(tmp_path, lines("x,person,side", *body))
    mine = load(path, group="person", label="side", test=9)
    assert mine.column_names == ("x",)
    people = [{int(x) % 5 for x in part.images[:, 0]} for part in (mine.train, mine.test)]
    assert (len(people[1]), people[0] & people[1], len(mine.test)) == (2, set(), 16)
    assert torch.equal(mine.train.images[:, 0].long() % 5, mine.train.groups)
    assert torch.equal(mine.train.images[:, 0].long() % 2, mine.train.labels)


@pytest.mark.parametrize(("test", "held"), [(None, 4), (0.25, 10), (7, 7)])
def test_what_is_held_out(tmp_path: Path, test: float | None, held: int) -> None:
    assert len(load(write(tmp_path, text()), test=test).test) == held


def test_a_csv_is_standardised_and_comes_back(tmp_path: Path) -> None:
    path = write(tmp_path, text(header="a,b,c"))
    mine = load(path)
    made = prepare(mine, Data(data=str(path)))
    x = made.train.x()
    assert torch.allclose(x.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(x.std(0, correction=0), torch.ones(3), atol=1e-5)
    for part in made.splits.values():
        assert torch.allclose(part.values.inverse(part.x()), part.images, rtol=1e-5, atol=1e-4)
    raw = prepare(mine, Data(data=str(path), standardize=False))
    assert torch.equal(raw.train.x(), raw.train.images)


@pytest.mark.parametrize(
    ("content", "asked", "message"),
    [
        ("", {}, "has no rows."),
        ("\n\n", {}, "has no rows."),
        ("a,b\n", {}, "has no rows."),
        (lines("a,b", "1,2"), {}, "has 1 rows; expected 5 at least."),
        (lines("a,b", *["1,2"] * 5, "1,2,3"), {}, "has 3 cells in line 7; expected 2 as before."),
        (lines("a,b", *["1,2"] * 5, "", "1"), {}, "has 1 cells in line 8; expected 2 as before."),
        (lines("a,b", *["1,2"] * 30, "1,,3"), {}, "has 3 cells in line 32; expected 2 as before."),
        (lines("a,b", "1,2", "1,"), {}, "column 'b' is empty in line 3. Fill the cell, or remove"),
        (lines("a,b", "1,2", "nan,2"), {}, "column 'a' has 'nan', a gap, in line 3."),
        (lines("1,2", "1,-inf"), {}, "column '2' has '-inf', which is not finite, in line 2."),
        (
            lines("a,b", "1,1e39"),
            {},
            "has '1e39', which is too large for float32, in line 2. Scale",
        ),
        (
            lines("x,species", "1,setosa"),
            {},
            "column 'species' has 'setosa', which is no number, in line 2. If it is a category: "
            "`kinds='species=category'`; a label or a group: `label='species'`, "
            "`group='species'`; else leave it out: `drop='species'`.",
        ),
        (lines("a,b", "1,1_000"), {}, "has '1_000', which is no number, in line 2."),
        (lines("a;b", "1;2,5,1"), {}, "has '2,5,1', which is no number, in line 2."),
        (lines("a,b", *["1,2"] * 12), {"label": "c"}, "unknown column of"),
        (lines("a,b", *["1,2"] * 12), {"label": "3"}, "'3'. Known: a, b."),
        (lines("a,b", *["1,2"] * 12), {"label": "bb"}, "'bb'; did you mean 'b'? Known: a, b."),
        (lines("a,b", *["1,2"] * 12, "1,"), {"label": "b"}, "column 'b' is empty in line 14."),
        (lines("a,b", "1,2", "1,2.5"), {"label": "b"}, "has '2.5', which is no class, in line 3."),
        (lines("a,b", "1,2", "1,inf"), {"label": "b"}, "has 'inf', which is no class, in line 3."),
        (lines("a,b", "1,p", "1, "), {"group": "b"}, "column 'b' is empty in line 3."),
        (lines("a", *["1"] * 12), {"label": "a"}, "has no column but those of labels and groups"),
        (lines("a,b", *["1,2"] * 12), {"test": 12}, "leaves none"),
    ],
)
def test_tables_that_are_refused(
    tmp_path: Path, content: str, asked: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, content)
    with fails(message) as caught:
        load(path, **asked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("again", [1, 100_000])
def test_the_line_is_the_files(tmp_path: Path, again: int) -> None:
    body = ['"1",2', "", "1,2"] * again
    path = write(tmp_path, lines('"a\nc",b', *body, "1,x", *["1,2"] * 9))
    with fails(f"has 'x', which is no number, in line {3 + len(body)}."):
        load(path)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b\n")
    path.write_bytes(b"\x89PNG\0\xff\n" * 12)
    with fails(f"{path} is no text; save it as CSV in UTF-8."):
        load(path)
    path.write_text("a" * 200_000 + "\n")
    with fails("has no rows"):  # but a header of 200,000 letters
        load(path)
    path.write_bytes(os.urandom(4000))
    with fails(str(path)):
        load(path)


def test_blank_lines_before_the_header_are_skipped(tmp_path: Path) -> None:
    mine = load(write(tmp_path, lines("", " ", "a,b", *["1,2"] * 20)))
    assert mine.column_names == ("a", "b")


def test_tables_by_other_endings(tmp_path: Path) -> None:
    body = text("\t", "a\tb\tc")
    (tmp_path / "mine.tsv").write_text(body)
    (tmp_path / "mine.csv.gz").write_bytes(gzip.compress(text().encode()))
    sorted_table = TABLE[np.lexsort(TABLE.T)]
    assert np.array_equal(rows(tmp_path / "mine.tsv"), sorted_table)
    assert np.array_equal(rows(tmp_path / "mine.csv.gz"), sorted_table)
    (tmp_path / "mine.csv.gz").write_bytes(text().encode())
    with fails("mine.csv.gz cannot be read as .csv: Not a gzipped file"):
        load(tmp_path / "mine.csv.gz")


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [("x.parquet", "pyarrow", "parquet"), ("x.xlsx", "openpyxl", "tables"),
     ("x.h5", "h5py", "hdf5"), ("x.h5ad", "h5py", "hdf5")],
)  # fmt: skip
def test_a_library_that_is_not_installed_is_named(
    name: str, library: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, library, None)
    with fails(f"reading {Path(name).suffix} needs {library}: pip install 'vaekit[{extra}]'."):
        load(tmp_path / name)


def test_parquet_is_read_as_a_dataframe_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.parquet"
    path.write_bytes(b"PAR1")
    frame = pandas.DataFrame(TABLE, columns=["a", "b", "c"]).assign(sort=["x", "y"] * 20)
    monkeypatch.setattr("pandas.read_parquet", lambda _: frame)
    monkeypatch.setitem(sys.modules, "pyarrow", types.ModuleType("pyarrow"))
    assert np.array_equal(rows(path, label="sort"), TABLE[np.lexsort(TABLE.T)])
    mine = load(path, label="sort")
    assert (mine.name, mine.column_names, mine.class_names) == ("mine", ("a", "b", "c"), ("x", "y"))
    with fails("column 'sort' has 'x', which is no number, in row 0."):
        load(path, kind="table")
    assert load(path).kind == "mixed"


@pytest.mark.parametrize("cell", ["0x1", "1,2,3", "maybe", "\0", "1\0002", "1e", "1j"])
def test_cells_that_pandas_may_read_and_are_no_numbers(tmp_path: Path, cell: str) -> None:
    with fails("which is no number, in line 3."):
        load(write(tmp_path, lines("a;b", "1;2", f"1;{cell}", *["1;2"] * 12)))
    with fails("which is no number, in line 2."):
        load(write(tmp_path, lines("a;b", *[f"1;{cell}"] * 12)))

"""Arrays by path, beyond what test_data.py has: counts, groups, sparse tables, and new sizes."""

from __future__ import annotations

import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from PIL import Image

from vaekit import data
from vaekit.data import Dataset, Split, memory, npz
from vaekit.data.npz import load_npy, load_npz
from vaekit.data.rows import SparseRows
from vaekit.data.shaping import shaped
from vaekit.errors import VaekitError
from vaekit.options import Data


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


# arrays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("test", "held"), [(None, 2), (0.5, 10), (3, 3)])
def test_the_test_split_has_the_size_asked_for(tmp_path: Path, test: Any, held: int) -> None:
    assert len(load_npz(save(tmp_path, images=noise(20, 4, 4)), Data(test=test)).test) == held


@pytest.mark.parametrize("groups", [np.arange(40) // 5 * 7, np.array(list("abcdefgh") * 5)])
def test_groups_stay_in_one_split(tmp_path: Path, groups: np.ndarray) -> None:
    mine = load_npz(
        save(tmp_path, images=noise(40, 4), labels=np.arange(40), groups=groups), Data(test=6)
    )
    seen = [set(groups[part.labels]) for part in (mine.train, mine.test)]
    assert (len(mine.test), len(seen[1]), seen[0] & seen[1]) == (10, 2, set())


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint16", ">i4", "uint32"])
def test_whole_numbers_in_a_table_are_counts(tmp_path: Path, dtype: str) -> None:
    counts = noise(20, 5) // 2
    mine = load_npz(save(tmp_path, images=counts.astype(dtype), labels=np.arange(20)))
    assert (mine.kind, mine.train.images.dtype) == ("counts", torch.float32)
    for part in mine.splits.values():
        assert np.array_equal(dense(part), counts[part.labels])


def test_images_from_minus_one_are_mapped_in_all_splits(tmp_path: Path) -> None:
    levels = np.linspace(-1, 1, 20 * 4).reshape(20, 2, 2)
    path = save(tmp_path, images=levels, test_images=np.abs(levels[:4]))
    mine = load_npz(path)
    assert np.allclose(mine.train.images[:, 0], (levels + 1) / 2, atol=1e-7)
    assert np.allclose(mine.test.images[:, 0], (np.abs(levels[:4]) + 1) / 2, atol=1e-7)
    assert mine.note == f"{path}; values from -1 to 1 mapped by (x + 1) / 2"
    assert load_npz(save(tmp_path, images=np.abs(levels))).note == str(path)
    table = load_npz(save(tmp_path, images=levels.reshape(20, 4)))
    assert table.train.images.min() < 0


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f8"])
def test_other_floats(tmp_path: Path, dtype: str) -> None:
    levels = (noise(20, 3, 3) / 255).astype(dtype)
    mine = load_npz(save(tmp_path, images=levels, labels=np.arange(20)))
    assert np.array_equal(mine.train.images[:, 0], levels[mine.train.labels].astype(np.float32))


def test_npy_is_the_images_of_an_npz(tmp_path: Path) -> None:
    images = noise(20, 6, 5, 3)
    np.save(tmp_path / "mine.npy", images)
    bare, packed = data.load(tmp_path / "mine.npy"), load_npz(save(tmp_path, images=images))
    assert (bare.name, bare.kind, bare.source) == ("mine", "colour", str(tmp_path / "mine.npy"))
    assert torch.equal(bare.train.images, packed.train.images)
    assert torch.equal(bare.test.images, packed.test.images)


@pytest.mark.parametrize("labelled", [True, False])
def test_a_csr_matrix_stays_sparse(tmp_path: Path, labelled: bool) -> None:
    counts = scipy.sparse.random(30, 50, 0.1, "csr", random_state=0)
    counts.data = np.ceil(counts.data * 9)
    path = tmp_path / "cells.npz"
    scipy.sparse.save_npz(path, counts)
    if labelled:
        with np.load(path) as file:
            np.savez(path, **file, labels=np.arange(30) % 3, groups=np.arange(30) // 2)
    mine = load_npz(path, Data(test=6))
    assert (mine.kind, mine.classes) == ("counts", 3 if labelled else 0)
    found = []
    for part in mine.splits.values():
        assert isinstance(part.images, SparseRows)
        found.append(dense(part))
    order = np.random.RandomState(0).permutation(30)
    if not labelled:
        assert np.array_equal(found[1], counts.toarray()[order[:6]])
    together = np.concatenate(found)
    assert np.array_equal(np.sort(together, 0), np.sort(counts.toarray(), 0))


def test_other_sparse_matrices_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cells.npz"
    matrix = scipy.sparse.eye(20, format="csc")
    scipy.sparse.save_npz(path, matrix)
    with fails("holds a sparse 'csc' matrix; expected csr: matrix.tocsr()."):
        load_npz(path)
    scipy.sparse.save_npz(path, matrix.tocsr() * 0.5)
    with fails("has the value 0.5; counts are whole numbers"):
        load_npz(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": np.arange(60).reshape(20, 3) - 3},
            "has whole numbers from -3 to 56; counts go",
        ),
        ({"images": np.full((20, 3), 1 << 25)}, "to 33554432; counts go from 0 to 16,777,216."),
        (
            {"images": noise(20, 3), "groups": np.arange(19)},
            "'groups' has type int64 and shape (19,)",
        ),
        ({"images": noise(20, 3), "groups": np.ones(20)}, "'groups' has type float64"),
        ({"images": noise(20, 3), "factors": np.full((20, 1), np.nan)}, "'factors' has 20 values"),
        (
            {"images": noise(20, 3, 3) / 100},
            "has floats from 0 to 2.55; expected 0 to 1, or -1 to 1",
        ),
        ({"images": np.zeros((0, 3, 3), np.uint8)}, "'images' is empty: shape (0, 3, 3);"),
        ({"images": noise(1, 3, 3)}, "has 1 rows; expected 10 at least."),
        ({"images": np.array(5)}, "has shape (); expected (N, H, W)"),
        ({"images": np.zeros((20, 3), "c8")}, "has type complex64; expected uint8"),
        ({"images": np.zeros((20, 3), "M8[s]")}, "has type datetime64[s]; expected uint8"),
        ({"images": np.zeros(20, [("a", int)])}, "has shape (20,); expected"),
    ],
)
def test_arrays_that_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with fails(message) as caught:
        load_npz(save(tmp_path, **arrays))
    assert "\n" not in str(caught.value)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    trap = np.array([Trap()] * 20, dtype=object)
    np.save(tmp_path / "mine.npy", trap, allow_pickle=True)
    with fails("holds Python objects; expected numbers of one type and shape."):
        load_npy(tmp_path / "mine.npy")
    with fails("'images' holds Python objects"):
        load_npz(save(tmp_path, images=trap))
    (tmp_path / "mine.npy").write_bytes(trap.dumps())  # a bare pickle
    with fails("is not a readable .npy file"):
        load_npy(tmp_path / "mine.npy")
    assert not (tmp_path / "sprung").exists()


def test_options_of_other_formats(tmp_path: Path) -> None:
    with fails("--label does not suit"):
        load_npz(save(tmp_path, images=noise(20, 3)), Data(label="x"))
    with fails("its key 'groups' holds them"):
        load_npz(tmp_path / "mine.npz", Data(group="x"))
    np.save(tmp_path / "mine.npy", noise(20, 3))
    with fails("an .npy has none; take an .npz"):
        load_npy(tmp_path / "mine.npy", Data(group="x"))


def test_named_sets_have_their_own_labels_and_splits() -> None:
    with fails("--label does not suit digits: a set known by name has its own."):
        data.load("digits", label="x")
    with fails("--group does not suit digits: its splits are set."):
        data.load("digits", group="x")


def test_an_archive_that_is_called_npy(tmp_path: Path) -> None:
    save(tmp_path, images=noise(20, 3)).rename(tmp_path / "mine.npy")
    with fails("is an .npz archive; name it so."):
        load_npy(tmp_path / "mine.npy")


def header(shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("shape", [(20, 1 << 45), (1 << 40, 1 << 40), (20, 9), (-1, 4)])
def test_headers_that_declare_more_than_there_is(tmp_path: Path, shape: tuple[int, ...]) -> None:
    content = header(shape) + bytes(100)
    (tmp_path / "mine.npy").write_bytes(content)
    with fails(str(tmp_path / "mine.npy")):
        load_npy(tmp_path / "mine.npy")
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as file:
        file.writestr("images.npy", content)
    with fails(str(tmp_path / "mine.npz")):
        load_npz(tmp_path / "mine.npz")


def test_a_bomb_is_seen_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "mine.npz", images=np.zeros((20, 1000, 1000), np.uint8))
    assert (tmp_path / "mine.npz").stat().st_size < 30_000
    monkeypatch.setattr(memory, "available", lambda: 10_000_000)

    def never(*_: Any) -> None:
        raise AssertionError("unpacked")

    monkeypatch.setattr(npz, "_array", never)
    with fails("would take 19.1 MiB; 9.5 MiB are free. Take fewer rows, or uint8."):
        load_npz(tmp_path / "mine.npz")


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
            data.load(path)
            read += 1
        except VaekitError as error:
            refused += "\n" not in str(error)
    assert (read + refused, refused > 100) == (400, True)


# new sizes ------------------------------------------------------------------------------------


def made(images: np.ndarray, kind: str, **options: Any) -> Dataset:
    rows = Split(torch.from_numpy(images), torch.arange(len(images)))
    return shaped(Dataset("mine", kind, rows, rows, len(images)), Data(**options))


def test_without_options_nothing_is_touched() -> None:
    shapes = data.load("shapes")
    assert shaped(shapes, Data()) is shapes


@pytest.mark.parametrize("channels", [1, 3])
def test_eight_bits_are_scaled_as_pillow_scales(channels: int) -> None:
    images = noise(5, channels, 12, 18)
    found = made(images, "colour", size=4).train.images.numpy()
    for image, small in zip(images, found, strict=True):
        for plane, wanted in zip(image, small, strict=True):
            # 18 x 12 becomes 6 x 4, of which the middle 4 columns stay.
            whole = Image.fromarray(plane).resize((6, 4), Image.Resampling.LANCZOS)
            assert np.array_equal(np.asarray(whole)[:, 1:5], wanted)


def test_floats_are_scaled_as_eight_bits_are_but_for_rounding() -> None:
    images = noise(5, 3, 12, 18)
    whole = made(images, "colour", size=4).train.images.numpy()
    exact = made((images / 255).astype(np.float32), "colour", size=4).train.images.numpy()
    assert exact.dtype == np.float32
    assert np.abs(exact * 255 - whole).max() <= 1.0
    assert (exact.min() >= 0, exact.max() <= 1) == (True, True)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("size", [3, 8, 20])
def test_a_constant_image_stays_constant(dtype: str, size: int) -> None:
    level = np.array(51 if dtype == "uint8" else 0.2, dtype)
    found = made(np.full((3, 1, 8, 11), level, dtype), "grey", size=size).train
    assert found.images.shape == (3, 1, size, size)
    assert np.allclose(found.x(), 0.2, atol=1e-6)


def test_crop_comes_first_and_is_exact() -> None:
    images = noise(5, 3, 9, 12)
    mine = made(images, "colour", crop=4)
    assert np.array_equal(mine.train.images, images[:, :, 2:6, 4:8])
    assert mine.train.labels.tolist() == list(range(5))
    both = made(images, "colour", crop=4, size=2).train.images
    assert torch.equal(both, made(images[:, :, 2:6, 4:8].copy(), "colour", size=2).train.images)


def test_grey_is_the_luma_of_both_types() -> None:
    images = noise(5, 3, 4, 4)
    luma = np.einsum("nchw,c->nhw", images / 255, [0.299, 0.587, 0.114])
    mine = made(images, "colour", grey=True)
    assert (mine.kind, mine.train.images.shape) == ("grey", (5, 1, 4, 4))
    assert np.abs(mine.train.x()[:, 0].numpy() - luma).max() <= 0.6 / 255
    floats = made((images / 255).astype(np.float32), "colour", grey=True).train.images
    assert np.allclose(floats[:, 0], luma, atol=1e-6)


def test_binary_is_binary_until_it_is_scaled() -> None:
    bits = noise(5, 1, 8, 8) // 128 * np.uint8(255)
    assert made(bits, "binary", crop=4).kind == "binary"
    assert made(bits, "binary", size=8).kind == "binary"
    assert made(bits, "binary", size=4).kind == "grey"
    assert made(bits, "binary", grey=True).kind == "binary"
    colour = np.repeat(bits, 3, axis=1)
    colour[:, 0] = 0
    assert made(colour, "binary", grey=True).kind == "grey"


def test_every_split_is_shaped_and_named_sets_are() -> None:
    rows = Split(torch.from_numpy(noise(10, 1, 8, 8)))
    mine = shaped(Dataset("mine", "grey", rows, rows, validation=rows), Data(size=4))
    assert {tuple(p.images.shape[1:]) for p in mine.splits.values()} == {(1, 4, 4)}
    assert data.load("digits", size=16).train.images.shape == (1497, 1, 16, 16)


def test_arrays_by_path_are_shaped(tmp_path: Path) -> None:
    path = save(tmp_path, images=noise(20, 8, 8, 3))
    mine = data.load(path, size=4, grey=True)
    assert (mine.kind, mine.train.images.shape[1:]) == ("grey", (1, 4, 4))


def test_what_cannot_be_shaped(tmp_path: Path) -> None:
    path = save(tmp_path, images=noise(20, 8))
    with fails("--size is for images; mine holds rows of shape (8,) (table): leave it."):
        data.load(path, size=4)
    with fails("--grey is for images"):
        data.load(path, grey=True)
    with fails("--crop 9 is more than the images of digits have (8 x 8); take less."):
        data.load("digits", crop=9)

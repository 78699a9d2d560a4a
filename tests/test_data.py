"""Data sets, splits and batches: against scikit-learn, numpy, and files written by hand."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import re
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vaekit import data
from vaekit.data import Batches, Dataset, DataSpec, Split, canonical, fingerprint, partition
from vaekit.data.catalogue import SETS
from vaekit.data.entry import Entry, File, Form
from vaekit.data.idx import read_idx
from vaekit.data.mnist import read_idx_set
from vaekit.data.npz import load_npz
from vaekit.data.shapes import FACTOR_NAMES, FACTOR_SIZES, SHAPE_NAMES, draw_shapes
from vaekit.data.splits import hold_out
from vaekit.errors import VaekitError

MNIST_FILES = {
    "train-images-idx3-ubyte": 3,
    "train-labels-idx1-ubyte": 1,
    "t10k-images-idx3-ubyte": 3,
    "t10k-labels-idx1-ubyte": 1,
}


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data but what the test puts into the folders it names, and MNIST a small fake."""
    monkeypatch.setitem(SETS, "mnist", fake_mnist())
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def untouched() -> Iterator[None]:
    """The global generators must be where they were."""
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    yield
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def table(rows: int, width: int = 2) -> Split:
    """Row i holds i, and its label is i."""
    values = torch.arange(rows, dtype=torch.float32)[:, None].expand(rows, width)
    return Split(values.clone(), torch.arange(rows))


def served(batches: Batches, number: int = 0, start: int = 0) -> list[list[int]]:
    return [batch.x[:, 0].long().tolist() for batch in batches.epoch(number, start)]


def fails(message: str) -> Any:
    return pytest.raises(VaekitError, match=re.escape(message))


# canonical ------------------------------------------------------------------------------------


def test_canonical_equals_division_to_the_last_bit() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    wanted = np.arange(256, dtype=np.float32) / np.float32(255)
    assert canonical(levels).numpy().tobytes() == wanted.tobytes()
    assert torch.equal(canonical(levels), levels.float() / 255)
    assert canonical(levels)[[0, 255]].tolist() == [0.0, 1.0]


def test_canonical_is_float32_whatever_the_default() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert canonical(torch.zeros(2, dtype=torch.uint8)).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_canonical_leaves_floats_alone() -> None:
    counts = torch.tensor([0.0, 3.0, 300.0])
    assert torch.equal(canonical(counts), counts)


# spec -----------------------------------------------------------------------------------------


def test_spec_mean_and_first_batch() -> None:
    images = torch.randint(0, 256, (300, 1, 4, 4), dtype=torch.uint8)
    split = Split(images, torch.arange(300) % 7)
    spec = Dataset("s", "grey", split, split, classes=7).spec()
    wanted = images.numpy().astype(np.float64).mean(0) / 255
    np.testing.assert_allclose(spec.mean.numpy(), wanted, rtol=1e-6)
    assert spec.mean.dtype == torch.float32
    assert torch.equal(spec.first, images[:256].float() / 255)
    assert (spec.shape, spec.rows, spec.classes, spec.kind) == ((1, 4, 4), 300, 7, "grey")


def test_spec_of_a_part_describes_the_part() -> None:
    whole = Dataset("t", "table", table(100), table(10))
    spec = whole.spec(whole.train.take(torch.tensor([2, 4])))
    assert spec.rows == 2
    assert spec.mean.tolist() == [3.0, 3.0]
    assert spec.first[:, 0].tolist() == [2.0, 4.0]


def test_spec_first_batch_shares_no_memory_with_the_data() -> None:
    whole = Dataset("t", "table", table(20), table(10))
    whole.spec().first.fill_(-1.0)
    assert whole.train.images[3].tolist() == [3.0, 3.0]


def test_spec_survives_json() -> None:
    spec = DataSpec("digits", (1, 8, 8), "grey", rows=1497, classes=10, mean=torch.zeros(1, 8, 8))
    back = DataSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert (back.name, back.shape, back.kind) == (spec.name, spec.shape, spec.kind)
    assert (back.rows, back.classes, back.mean, back.first) == (1497, 10, None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": None}, "missing: shape; unknown: none."),
        ({"color": 3}, "missing: none; unknown: color."),
        ({"rows": "many"}, "'rows' must be an integer; got 'many'."),
        ({"shape": "abc"}, "'shape' must be a list of integers; got 'abc'."),
        ({"shape": [1, 2.5]}, "'shape' must be a list of integers; got [1, 2.5]."),
        ({"kind": "gray"}, "unknown kind of data 'gray'; did you mean 'grey'?"),
    ],
)
def test_spec_refuses_a_bad_record(change: dict[str, Any], message: str) -> None:
    record = {**DataSpec("d", (3,), "table", rows=9).to_json(), **change}
    record = {key: value for key, value in record.items() if value is not None}
    with fails(message):
        DataSpec.from_json(record)


# splits ---------------------------------------------------------------------------------------


def test_take_keeps_rows_together() -> None:
    rows = Split(torch.rand(6, 2), torch.arange(6), torch.arange(12).view(6, 2))
    part = rows.take(torch.tensor([4, 1]))
    assert torch.equal(part.images, rows.images[[4, 1]])
    assert part.labels.tolist() == [4, 1]
    assert part.factors.tolist() == [[8, 9], [2, 3]]
    assert (len(rows), len(part)) == (6, 2)


@pytest.mark.parametrize(
    ("images", "labels", "factors", "message"),
    [
        (torch.zeros(3, 2, dtype=torch.int32), None, None, "uint8 or float32"),
        (torch.zeros(3), None, None, "got torch.float32, (3,)."),
        (torch.zeros(3, 2), torch.zeros(3), None, "int64; got torch.float32: labels.long()."),
        (torch.zeros(3, 2), torch.arange(4), None, "3 images but 4 labels."),
        (torch.zeros(3, 2), None, torch.zeros(2, 5), "3 images but 2 factors."),
    ],
)
def test_split_refuses(
    images: Tensor, labels: Tensor | None, factors: Tensor | None, message: str
) -> None:
    with fails(message):
        Split(images, labels, factors)


@pytest.mark.parametrize(
    ("kind", "train", "test", "message"),
    [
        ("tables", table(3), table(3), "unknown kind of data 'tables'; did you mean 'table'?"),
        ("table", table(3), table(0), "3 training and 0 test rows"),
        ("table", table(3), table(3, width=4), "training rows are (2,)"),
        ("binary", table(3), table(3), "is binary; its images must be uint8, 0 or 255 only."),
        (
            "binary",
            Split(torch.full((3, 2), 255, dtype=torch.uint8)),
            Split(torch.full((3, 2), 1, dtype=torch.uint8)),
            "is binary; its images must be uint8, 0 or 255 only.",
        ),
        (
            "counts",
            Split(torch.ones(3, 2, dtype=torch.uint8)),
            Split(torch.ones(3, 2, dtype=torch.uint8)),
            "holds counts; store them as float32",
        ),
    ],
)
def test_dataset_refuses(kind: str, train: Split, test: Split, message: str) -> None:
    with fails(message):
        Dataset("d", kind, train, test)


def test_hold_out_is_numpys_frozen_permutation(untouched: None) -> None:
    train, test = hold_out(table(20), 4)
    order = np.random.RandomState(0).permutation(20)
    assert test.labels.tolist() == order[:4].tolist()
    assert train.labels.tolist() == order[4:].tolist()


@pytest.mark.parametrize(
    ("validation", "limit", "sizes"),
    [
        (0.0, None, (100, 0)),
        (0.1, None, (90, 10)),
        (0.001, None, (99, 1)),
        (1, None, (99, 1)),
        (25, None, (75, 25)),
        (0.5, 20, (10, 10)),
        (0, 7, (7, 0)),
        (0, 1000, (100, 0)),
    ],
)
def test_partition_sizes(
    validation: float, limit: int | None, sizes: tuple[int, int], untouched: None
) -> None:
    train, held = partition(table(100), validation, limit, seed=3)
    rows = [] if held is None else held.labels.tolist()
    assert (held is None) == (sizes[1] == 0)
    assert (len(train), len(rows)) == sizes
    assert len({*train.labels.tolist(), *rows}) == sum(sizes)
    assert torch.equal(train.images[:, 0].long(), train.labels)


def test_partition_depends_on_the_seed_alone() -> None:
    def labels(seed: int) -> list[int]:
        return partition(table(50), 0.2, None, seed)[0].labels.tolist()

    first = labels(0)
    torch.manual_seed(99)
    assert labels(0) == first
    assert labels(1) != first
    assert first != sorted(first)


def test_partition_limit_is_a_prefix_of_the_shuffle() -> None:
    whole, _ = partition(table(50), 0, None, seed=5)
    some, _ = partition(table(50), 0, 12, seed=5)
    assert some.labels.tolist() == whole.labels.tolist()[:12]


def test_partition_copies() -> None:
    rows = table(10)
    partition(rows, 0, None, seed=0)[0].images.fill_(-1.0)
    assert rows.images[3, 0] == 3.0


@pytest.mark.parametrize(
    ("validation", "limit", "message"),
    [
        (-0.1, None, "validation must be a fraction from 0 to below 1 or a whole number"),
        (float("nan"), None, "got nan."),
        (float("inf"), None, "got inf."),
        (1.5, None, "got 1.5."),
        (100, None, "validation = 100 takes 100 of 100 training rows and leaves none"),
        (0.999, None, "takes 100 of 100 training rows"),
        (10, 10, "takes 10 of 10 training rows"),
        (0, 0, "limit must be at least 1 row, or None for all; got 0."),
        (0, -3, "got -3."),
    ],
)
def test_partition_refuses(validation: float, limit: int | None, message: str) -> None:
    with fails(message):
        partition(table(100), validation, limit, seed=0)


def test_fingerprint_sees_every_byte_the_shape_and_the_type() -> None:
    def of(train: Tensor, test: Tensor) -> str:
        return fingerprint(Dataset("f", "table", Split(train), Split(test)))

    base = torch.zeros(6, 4)
    touched = base.clone()
    touched[5, 3] = 1e-30
    bytes_alike = torch.zeros(6, 16, dtype=torch.uint8)
    prints = [
        of(base, base),
        of(touched, base),
        of(base, touched),
        of(base[:5], base),
        of(base.view(12, 2), base.view(12, 2)),
        of(bytes_alike, bytes_alike),
    ]
    assert len(set(prints)) == len(prints)
    assert of(base.clone(), base.clone()) == prints[0]
    assert of(base.t().contiguous().t(), base) == prints[0]
    assert re.fullmatch("[0-9a-f]{64}", prints[0])


# digits ---------------------------------------------------------------------------------------


def test_digits_are_scikit_learns(untouched: None) -> None:
    from sklearn.datasets import load_digits

    ours, theirs = data.load("digits"), load_digits()
    assert (len(ours.train), len(ours.test), ours.classes, ours.kind) == (1497, 300, 10, "grey")
    images = torch.cat([ours.test.images, ours.train.images])[:, 0].numpy()
    labels = torch.cat([ours.test.labels, ours.train.labels]).numpy()
    order = np.random.RandomState(0).permutation(1797)
    assert np.array_equal(labels, theirs.target[order])
    assert np.array_equal(images, np.round(theirs.images[order] * 255 / 16).astype(np.uint8))
    assert images.max() == 255
    assert (np.round(images * 16.0 / 255) == theirs.images[order]).all()


def test_the_fixed_splits_are_pinned() -> None:
    assert fingerprint(data.load("digits"))[:16] == "a35802194f75a226"
    assert fingerprint(data.load("shapes"))[:16] == "4b6ab683485b9051"


# shapes ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grid() -> Tensor:
    """The images as booleans, (shape, size, orientation, x, y, row, column)."""
    return (draw_shapes().images[:, 0] == 255).view(*FACTOR_SIZES, 32, 32)


def centre(grid: Tensor, dim: int) -> Tensor:
    mass = grid.double().sum(-2 if dim == -1 else -1)
    return (mass * (torch.arange(32) + 0.5)).sum(-1) / mass.sum(-1)


def test_shapes_is_a_full_grid_of_distinct_binary_images(untouched: None) -> None:
    shapes = data.load("shapes")
    images = torch.cat([shapes.train.images, shapes.test.images])
    factors = torch.cat([shapes.train.factors, shapes.test.factors])
    assert images.shape == (3840, 1, 32, 32)
    assert images.unique().tolist() == [0, 255]
    assert len(images.flatten(1).unique(dim=0)) == 3840
    every = set(itertools.product(*map(range, FACTOR_SIZES)))
    assert set(map(tuple, factors.tolist())) == every
    assert torch.equal(shapes.train.labels, shapes.train.factors[:, 0])
    assert (len(shapes.test), shapes.kind, shapes.classes) == (384, "binary", 3)
    assert (len(FACTOR_NAMES), len(SHAPE_NAMES)) == (5, 3)


def test_shapes_split_keeps_image_and_factors_together(grid: Tensor) -> None:
    test = data.load("shapes").test
    assert torch.equal(test.images[:, 0] == 255, grid[tuple(test.factors.T)])


def test_shapes_never_touch_the_border(grid: Tensor) -> None:
    edges = (grid[..., 0], grid[..., -1], grid[..., 0, :], grid[..., -1, :])
    assert not any(edge.any() for edge in edges)


def test_shapes_positions_move_the_centre_of_mass(grid: Tensor) -> None:
    x, y = centre(grid, -1), centre(grid, -2)
    torch.testing.assert_close(x.diff(dim=3), torch.full_like(x.diff(dim=3), 2.0))
    torch.testing.assert_close(y.diff(dim=4), torch.full_like(y.diff(dim=4), 2.0))
    assert x.diff(dim=4).abs().max() < 1e-12
    assert y.diff(dim=3).abs().max() < 1e-12


def test_shapes_size_grows_the_area_as_the_formulas_say(grid: Tensor) -> None:
    area = grid.sum((-2, -1)).double()
    assert (area.diff(dim=1) > 0).all()
    radius = torch.tensor([4.0, 5.3, 6.6, 7.9], dtype=torch.float64)
    per_square = torch.tensor([2.0, np.pi / 2, 3 * np.sqrt(3) / 4], dtype=torch.float64)
    wanted = per_square[:, None] * radius**2
    torch.testing.assert_close(area.mean((2, 3, 4)), wanted, rtol=0.08, atol=0.0)


def test_shapes_orientation_turns_the_ellipse(grid: Tensor) -> None:
    sprites = grid[1, 3, :, 0, 0].double()
    offset = torch.arange(32) + 0.5 - 9
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    xx, yy, xy = ((sprites * part).sum((-2, -1)) for part in (x * x, y * y, x * y))
    degrees = torch.rad2deg(torch.atan2(2 * xy, xx - yy) / 2) % 180
    torch.testing.assert_close(degrees, torch.arange(5).double() * 36, atol=4.0, rtol=0.0)


# idx and MNIST --------------------------------------------------------------------------------


def idx(array: np.ndarray, *, zipped: bool = True) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    return gzip.compress(content, mtime=0) if zipped else content


def mnist_arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    arrays = {}
    for name, ndim in MNIST_FILES.items():
        rows = 30 if name.startswith("train") else 12
        shape = (rows, 28, 28) if ndim == 3 else (rows,)
        arrays[name] = generator.integers(0, 256 if ndim == 3 else 10, shape)
    return arrays


def write_mnist(folder: Path, *, zipped: bool = True) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in mnist_arrays().items():
        path = folder / (f"{name}.gz" if zipped else name)
        path.write_bytes(idx(array, zipped=zipped))
    return mnist_arrays()


def fake_mnist() -> Entry:
    """The files that `write_mnist` writes, with their checksums."""

    def sha256(array: np.ndarray, zipped: bool) -> str:
        return hashlib.sha256(idx(array, zipped=zipped)).hexdigest()

    files = tuple(
        File(f"mnist/{name}.gz", sha256(array, True), plain=sha256(array, False))
        for name, array in mnist_arrays().items()
    )
    form = Form(files, partial(read_idx_set, class_names=tuple("0123456789")))
    return Entry("mnist", "grey", (1, 28, 28), (30, 12), 10, "a fake", "none", (form,))


@pytest.mark.parametrize("below", ["mnist", "."])
@pytest.mark.parametrize("zipped", [True, False])
def test_mnist_from_files_written_by_hand(nowhere: Path, below: str, zipped: bool) -> None:
    arrays = write_mnist(nowhere / "sets" / below, zipped=zipped)
    mnist = data.load("mnist", nowhere / "sets")
    assert mnist.train.images.shape == (30, 1, 28, 28)
    assert np.array_equal(mnist.train.images[:, 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(mnist.train.labels, arrays["train-labels-idx1-ubyte"])
    assert np.array_equal(mnist.test.images[:, 0], arrays["t10k-images-idx3-ubyte"])
    assert np.array_equal(mnist.test.labels, arrays["t10k-labels-idx1-ubyte"])
    assert (mnist.kind, mnist.classes) == ("grey", 10)
    assert Path(mnist.source) == nowhere / "sets" / below


def test_idx_is_not_square_by_chance(tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(idx(array))
    assert read_idx(tmp_path / "a", ndim=3).tolist() == array.tolist()


def bad_idx() -> dict[str, tuple[bytes, str]]:
    plain, zipped = idx(np.ones((4, 5, 6)), zipped=False), idx(np.ones((4, 5, 6)))
    garbled = zipped[:10] + b"\xff" * 20 + zipped[30:]
    wrong_sum = zipped[:-8] + b"\0" * 8
    return {
        "html": (b"<html>not found</html>", "is not an idx file: it starts with b'<htm'"),
        "empty": (b"", "is not an idx file: it starts with b''"),
        "type": (plain[:2] + b"\x0d" + plain[3:], "holds idx type 0x0d; expected 0x08"),
        "dims": (idx(np.ones(4)), "has 1 dimensions; expected 3."),
        "header": (plain[:9], "ends within its header (9 bytes)"),
        "short": (plain[:-1], "should hold 4 x 5 x 6 = 120 bytes; it holds 119."),
        "long": (plain + b"\0", "it holds 121."),
        "cut gzip": (zipped[:-12], "it is truncated or corrupt"),
        "garbled gzip": (garbled, "it is truncated or corrupt"),
        "checksum": (wrong_sum, "it is truncated or corrupt"),
        "gzip header": (zipped[:5], "it is truncated or corrupt"),
    }


@pytest.mark.parametrize("case", bad_idx())
def test_idx_refuses(tmp_path: Path, case: str) -> None:
    content, message = bad_idx()[case]
    path = tmp_path / "images"
    path.write_bytes(content)
    with fails(message) as caught:
        read_idx(path, ndim=3)
    assert str(path) in str(caught.value)


def test_idx_that_is_missing_or_a_folder(tmp_path: Path) -> None:
    with fails(f"there is no file {tmp_path / 'none'}."):
        read_idx(tmp_path / "none", ndim=3)
    with fails(f"cannot read {tmp_path}"):
        read_idx(tmp_path, ndim=3)


def test_mnist_files_that_disagree(nowhere: Path) -> None:
    write_mnist(nowhere / "mnist")
    labels = nowhere / "mnist" / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(idx(np.zeros(29)))
    paths = [nowhere / "mnist" / f"{name}.gz" for name in MNIST_FILES]
    with fails("has 30 images but"):
        read_idx_set(paths, tuple("0123456789"))
    labels.write_bytes(idx(np.full(30, 11)))
    with fails("has the label 11; expected 0 to 9."):
        read_idx_set(paths, tuple("0123456789"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_with_another_checksum_is_refused(nowhere: Path, zipped: bool) -> None:
    write_mnist(nowhere / "mnist", zipped=zipped)
    path = nowhere / "mnist" / ("t10k-images-idx3-ubyte" + (".gz" if zipped else ""))
    content = path.read_bytes()
    for other in (content[:-1], content + b"\0", content[:-1] + b"\1", b""):
        path.write_bytes(other)
        with fails(f"{path} is truncated or another file: its checksum is") as caught:
            data.load("mnist", nowhere)
        assert hashlib.sha256(other).hexdigest() in str(caught.value)
        assert hashlib.sha256(content).hexdigest() in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.data("mnist")
def test_real_mnist() -> None:
    folder = Path(os.environ.get("VAEKIT_DATA", ""), "mnist")
    if not (folder / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip("MNIST is not under VAEKIT_DATA")
    mnist = data.load("mnist")
    images = mnist.train.images.numpy()
    assert images.shape == (60000, 1, 28, 28)
    assert images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert images.std() / 255 == pytest.approx(0.3081, abs=5e-5)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist.train.labels.bincount().tolist() == counts
    assert mnist.test.images.shape == (10000, 1, 28, 28)
    assert mnist.test.labels.bincount().tolist() == [
        *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    ]
    assert mnist.spec().mean.mean().item() == pytest.approx(0.1307, abs=5e-5)
    fast = sum(len(batch.x) for batch in Batches(mnist.train, 128).epoch(0))
    assert fast == 60000


# npz ------------------------------------------------------------------------------------------


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    return path


def noise(*shape: int) -> np.ndarray:
    """uint8 with all levels."""
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("images", "kind", "shape"),
    [
        (noise(20, 8, 6), "grey", (1, 8, 6)),
        (noise(20, 8, 6, 1), "grey", (1, 8, 6)),
        (noise(20, 1, 8, 6), "grey", (1, 8, 6)),
        (noise(20, 8, 6, 3), "colour", (3, 8, 6)),
        (noise(20, 3, 8, 6), "colour", (3, 8, 6)),
        (noise(20, 3, 8, 3), "colour", (3, 8, 3)),
        (noise(20, 5), "table", (5,)),
        (noise(20, 8, 6) // 128 * np.uint8(255), "binary", (1, 8, 6)),
        (noise(20, 8, 6) // 128, "binary", (1, 8, 6)),
        (noise(20, 8, 6) > 127, "binary", (1, 8, 6)),
        ((noise(20, 8, 6) > 127).astype(np.float64), "binary", (1, 8, 6)),
        (noise(20, 5) > 127, "binary", (5,)),
        (np.zeros((20, 8, 6), np.uint8), "grey", (1, 8, 6)),
        (noise(20, 8, 6) // 128 * np.uint8(7), "grey", (1, 8, 6)),
        (noise(20, 8, 6) / 255, "grey", (1, 8, 6)),
        (noise(20, 5) - 100.5, "table", (5,)),
    ],
)
def test_npz_kinds(tmp_path: Path, images: np.ndarray, kind: str, shape: tuple[int, ...]) -> None:
    mine = load_npz(save(tmp_path, images=images))
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
    mine = load_npz(path)
    for split in (mine.train, mine.test):
        assert np.array_equal(split.images.numpy(), images[split.labels].transpose(0, 3, 1, 2))
        assert torch.equal(split.factors[:, 1], 2 * split.labels + 1)
    assert (len(mine.test), mine.classes, mine.name) == (5, 50, "mine")
    assert mine.source == str(path)
    assert load_npz(path).test.labels.tolist() == mine.test.labels.tolist()


def test_npz_floats_and_binary_values(tmp_path: Path) -> None:
    levels = noise(20, 2, 2) / 255
    mine = load_npz(save(tmp_path, images=levels, labels=np.arange(20)))
    assert np.array_equal(mine.train.images[:, 0], levels[mine.train.labels].astype(np.float32))
    bits = noise(20, 2, 2) > 127
    mine = load_npz(save(tmp_path, images=bits, labels=np.arange(20)))
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
    mine = load_npz(path)
    assert np.array_equal(mine.train.images[:, 0], train)
    assert np.array_equal(mine.test.images[:, 0], test)
    assert (mine.test.labels.tolist(), mine.classes) == ([4, 0, 1], 5)


def test_npz_is_binary_only_if_both_splits_are(tmp_path: Path) -> None:
    bits = noise(12, 4, 4) // 128 * np.uint8(255)
    mine = load_npz(save(tmp_path, images=bits, test_images=noise(12, 4, 4)))
    assert mine.kind == "grey"
    assert np.array_equal(mine.train.images[:, 0], bits)


def spoilt(value: float) -> np.ndarray:
    array = noise(20, 4, 4) / 255
    array[3, 1, 2] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": noise(20, 4, 4), "y": np.arange(20)}, "has no array 'images'; it has: x, y."),
        ({"images": np.array([[1], "a"] * 20, dtype=object)}, "'images' holds Python objects"),
        ({"images": noise(20)}, "has shape (20,); expected (N, H, W)"),
        ({"images": noise(20, 4, 4, 2)}, "has shape (20, 4, 4, 2); expected"),
        ({"images": noise(20, 4, 4, 4, 1)}, "has shape (20, 4, 4, 4, 1); expected"),
        ({"images": noise(20, 4, 0)}, "is empty: shape (20, 4, 0);"),
        ({"images": noise(20, 4, 4).astype(np.int64)}, "has type int64; expected uint8"),
        ({"images": np.full((20, 4), "a")}, "has type <U1; expected uint8"),
        ({"images": spoilt(np.nan)}, "has 1 values that are NaN or infinite"),
        ({"images": spoilt(np.inf)}, "has 1 values that are NaN or infinite"),
        ({"images": spoilt(1e300)}, "has 1 values that are NaN or infinite"),
        ({"images": spoilt(-1.5)}, "has floats from -1.5 to 1; expected 0 to 1, or -1 to 1. Scale"),
        (
            {"images": noise(20, 4, 4) * 1.0},
            "to 255; expected 0 to 1, or -1 to 1. Scale them",
        ),
        ({"images": noise(9, 4, 4)}, "has 9 rows; expected 10 at least."),
        (
            {"images": noise(20, 4, 4), "labels": np.arange(19)},
            "'labels' has type int64 and shape (19,); expected one integer per image: (20,).",
        ),
        ({"images": noise(20, 4, 4), "labels": np.ones(20)}, "'labels' has type float64"),
        ({"images": noise(20, 4, 4), "labels": np.arange(20) - 1}, "has the value -1"),
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
        load_npz(save(tmp_path, **arrays))


def test_npz_that_is_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    with fails(f"there is no file {path}."):
        load_npz(path)
    content = save(tmp_path, images=noise(20, 40, 40)).read_bytes()
    garbled = content[:200] + bytes(255 - byte for byte in content[200:900]) + content[900:]
    for corrupt in (b"", b"hello", content[:5000], garbled):
        path.write_bytes(corrupt)
        with fails(f"{path} is not a readable .npz file"):
            load_npz(path)
    with path.open("wb") as file:
        np.save(file, noise(20, 4))
    with fails("holds one bare array, not an .npz archive"):
        load_npz(path)


# load -----------------------------------------------------------------------------------------


def test_known_names_load(nowhere: Path) -> None:
    write_mnist(nowhere / "mnist")
    assert data.known()[:3] == ("digits", "shapes", "mnist")
    assert [data.load(name, nowhere).name for name in data.known()[:3]] == list(data.known()[:3])


def test_folders_are_searched_in_order(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("given", "env", "cache/vaekit"):
        write_mnist(nowhere / folder / "mnist")
    monkeypatch.setenv("VAEKIT_DATA", str(nowhere / "env"))
    assert Path(data.load("mnist", "given").source) == Path("given/mnist")
    assert Path(data.load("mnist").source) == nowhere / "env" / "mnist"
    monkeypatch.setenv("VAEKIT_DATA", "")
    assert Path(data.load("mnist").source) == nowhere / "cache" / "vaekit" / "mnist"


def test_npz_is_found_from_here_and_in_the_folders(nowhere: Path) -> None:
    (nowhere / "sets").mkdir()
    save(nowhere / "sets", images=noise(20, 4, 4))
    assert data.load("sets/mine.npz").name == "mine"
    assert data.load("mine.npz", "sets").name == "mine"
    assert data.load(nowhere / "sets" / "mine.npz").name == "mine"


def test_what_is_not_found_says_where_and_how(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAEKIT_DATA", str(nowhere / "env"))
    with pytest.raises(VaekitError) as caught:
        data.load("mnist", nowhere / "given")
    message = str(caught.value)
    cache = nowhere / "cache" / "vaekit"
    places = [
        str(p / s) for p in (nowhere / "given", nowhere / "env", cache) for s in ("mnist", "")
    ]
    assert ", ".join(place.rstrip("/") for place in places) in message
    assert all(f"{name}.gz" in message for name in MNIST_FILES)
    assert "--data-dir DIR or in VAEKIT_DATA" in message
    with fails("did not find the file 'none.npz'; looked in: "):
        data.load("none.npz")


def test_an_incomplete_folder_does_not_count(nowhere: Path) -> None:
    write_mnist(nowhere / "a" / "mnist")
    (nowhere / "a" / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with fails("did not find the files of 'mnist'"):
        data.load("mnist", nowhere / "a")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", "'mnits'; did you mean 'mnist'? Known: digits, shapes, mnist, "),
        ("MNIST", "'MNIST'; did you mean 'mnist'?"),
        ("faces.dat", "unknown data set (or path of a folder or .zip"),
        ("", ".csv) ''. Known: digits"),
    ],
)
def test_unknown_names(nowhere: Path, name: str, message: str) -> None:
    with fails(message):
        data.load(name)


# batches --------------------------------------------------------------------------------------


def test_every_row_once_per_epoch_and_epochs_differ(untouched: None) -> None:
    batches = Batches(table(300), 128, seed=1)
    epochs = [served(batches, number) for number in range(3)]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == [128, 128, 44]
        assert sorted(itertools.chain(*epoch)) == list(range(300))
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert (len(batches), batches.rows) == (3, 300)


def test_the_order_depends_on_seed_and_number_alone() -> None:
    first = served(Batches(table(100), 16, seed=4), 7)
    torch.manual_seed(1)
    used = Batches(table(100), 16, seed=4)
    served(used, 0)
    assert served(used, 7) == first
    assert served(Batches(table(100), 16, seed=5), 7) != first
    assert served(Batches(table(100), 16, seed=7), 4) != first


def test_the_order_is_pinned() -> None:
    assert served(Batches(table(8), 8, seed=0)) == [[4, 1, 2, 7, 5, 6, 3, 0]]


@pytest.mark.parametrize("start", [0, 1, 3, 4])
def test_start_equals_skipping(start: int) -> None:
    batches = Batches(table(50), 16, seed=2)
    assert served(batches, 3, start) == served(batches, 3)[start:]


@pytest.mark.parametrize("start", [-1, 5])
def test_start_outside_the_epoch(start: int) -> None:
    with fails(f"an epoch has 4 batches; cannot start at {start}."):
        Batches(table(50), 16).epoch(0, start)


def test_without_shuffle_the_order_is_the_splits() -> None:
    assert served(Batches(table(10), 4, shuffle=False), 5) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_x_is_canonical_to_the_last_bit_and_given_stays_with_its_row() -> None:
    images = torch.from_numpy(noise(70, 1, 5, 5))
    numbers = torch.arange(70.0)[:, None]
    batches = Batches(Split(images), 32, given=numbers)
    for x, given in batches.epoch(0):
        assert x.dtype == torch.float32
        assert torch.equal(x, images[given[:, 0].long()].float() / 255)
    assert next(Batches(Split(images), 32).epoch(0)).given is None


def test_batches_are_copies() -> None:
    rows = table(10)
    next(Batches(rows, 10, shuffle=False).epoch(0)).x.fill_(-1.0)
    assert rows.images[3, 0] == 3.0


@pytest.mark.parametrize(
    ("rows", "size", "world", "sizes"),
    [
        (129, 64, 1, [64, 64]),
        (130, 64, 1, [64, 64, 2]),
        (128, 64, 1, [64, 64]),
        (5, 64, 1, [5]),
        (1, 64, 1, [1]),
        (3, 1, 1, [1, 1, 1]),
        (131, 64, 2, [32, 32]),
        (133, 64, 2, [32, 32, 2]),
        (129, 64, 2, [32, 32]),
        (7, 64, 2, [3]),
        (6, 2, 2, [1, 1, 1]),
    ],
)
def test_the_last_batch(rows: int, size: int, world: int, sizes: list[int]) -> None:
    for rank in range(world):
        batches = Batches(table(rows), size, rank=rank, world=world)
        assert [len(batch) for batch in served(batches)] == sizes
        assert len(batches) == len(sizes)
        assert batches.rows == sum(sizes) * world


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_together_see_what_one_process_sees(world: int) -> None:
    alone = served(Batches(table(102), 16, seed=3), 2)
    ranks = [served(Batches(table(102), 16, seed=3, rank=r, world=world), 2) for r in range(world)]
    for step, batch in enumerate(alone[:6]):
        shares = [rank[step] for rank in ranks]
        assert [len(share) for share in shares] == [16 // world] * world
        assert [row for rows in zip(*shares, strict=True) for row in rows] == batch


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1; got 0."),
        ({"batch_size": 9, "world": 2}, "batch_size 9 cannot be shared equally by 2 processes"),
        ({"batch_size": 8, "rank": 2, "world": 2}, "got rank 2 of 2."),
        ({"batch_size": 8, "world": 0}, "got rank 0 of 0."),
        (
            {"batch_size": 8, "given": torch.zeros(9, 2)},
            "given has shape (9, 2); expected 10 rows.",
        ),
        ({"batch_size": 16, "world": 16}, "10 rows cannot be shared by 16 processes."),
    ],
)
def test_batches_refuse(options: dict[str, Any], message: str) -> None:
    with fails(message):
        Batches(table(10), **options)


def test_batches_refuse_an_empty_split() -> None:
    with fails("0 rows cannot be shared by 1 processes."):
        Batches(table(0), 4)

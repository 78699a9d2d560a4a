"""The sets known by name: the real files by numpy alone, the originals from files made here."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import os
import re
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vaekit import data
from vaekit._train_options import Data
from vaekit.data import (
    SETS,
    Batches,
    Dataset,
    Entry,
    File,
    Form,
    MappedRows,
    SparseRows,
    Split,
    card,
    fingerprint,
    pick,
    prepare,
)
from vaekit.errors import VaekitError

FOLDER = Path(os.environ.get("VAEKIT_DATA", ""))


def fails(message: str) -> Any:
    return pytest.raises(VaekitError, match=re.escape(message))


def arrays(path: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / path) as file:
        return dict(file)


def shuffled(rows: int) -> np.ndarray:
    """The order of every fixed hold-out, test rows first."""
    return np.random.RandomState(0).permutation(rows)


def whole(images: Any) -> np.ndarray:
    return pick(images, torch.arange(len(images))).numpy()


def as_listed(found: Dataset) -> Dataset:
    """The set, if it is what the catalog says of it."""
    entry = SETS[found.name]
    assert found.kind == entry.kind
    assert found.classes == entry.classes
    assert (len(found.train), len(found.test)) == entry.rows
    assert len(found.validation or ()) == entry.validation
    assert {part.images.shape[1:] for part in found.splits.values()} == {entry.shape}
    assert found.note == f"{entry.note}; license {entry.license}"
    assert Path(found.source).exists()
    return found


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


# digits -----------------------------------------------------------------------------------------


def test_digits_are_scikit_learns(untouched: None) -> None:
    from sklearn.datasets import load_digits

    ours, theirs = data.load("digits"), load_digits()
    assert (len(ours.train), len(ours.test), ours.classes, ours.kind) == (1497, 300, 10, "gray")
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


# shapes -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grid() -> Tensor:
    """The images as booleans, (shape, size, orientation, x, y, row, column)."""
    shapes = data.load("shapes").splits.values()
    made = torch.zeros(3, 4, 5, 8, 8, 32, 32, dtype=torch.bool)
    for part in shapes:
        made[tuple(part.factors.T)] = part.images[:, 0] == 255
    return made


def center(grid: Tensor, dim: int) -> Tensor:
    mass = grid.double().sum(-2 if dim == -1 else -1)
    return (mass * (torch.arange(32) + 0.5)).sum(-1) / mass.sum(-1)


def test_shapes_is_a_full_grid_of_distinct_binary_images(untouched: None) -> None:
    shapes = data.load("shapes")
    images = torch.cat([shapes.train.images, shapes.test.images])
    factors = torch.cat([shapes.train.factors, shapes.test.factors])
    assert images.shape == (3840, 1, 32, 32)
    assert images.unique().tolist() == [0, 255]
    assert len(images.flatten(1).unique(dim=0)) == 3840
    every = set(itertools.product(*map(range, (3, 4, 5, 8, 8))))
    assert set(map(tuple, factors.tolist())) == every
    listed = np.indices((3, 4, 5, 8, 8)).reshape(5, -1).T[shuffled(3840)]
    assert np.array_equal(torch.cat([shapes.test.factors, shapes.train.factors]), listed)
    assert torch.equal(shapes.train.labels, shapes.train.factors[:, 0])
    assert (len(shapes.test), shapes.kind, shapes.classes) == (384, "binary", 3)
    assert (len(shapes.factor_names), len(shapes.class_names)) == (5, 3)


def test_shapes_never_touch_the_border(grid: Tensor) -> None:
    edges = (grid[..., 0], grid[..., -1], grid[..., 0, :], grid[..., -1, :])
    assert not any(edge.any() for edge in edges)


def test_shapes_positions_move_the_center_of_mass(grid: Tensor) -> None:
    x, y = center(grid, -1), center(grid, -2)
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


# idx and MNIST ----------------------------------------------------------------------------------


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
    form = Form(files, REAL_MNIST.read)
    return Entry("mnist", "gray", (1, 28, 28), (30, 12), 10, "a fake", "none", (form,))


REAL_MNIST = SETS["mnist"].forms[0]


def read_first(folder: Path, content: bytes | None) -> Tensor:
    """The training images of a folder whose first file holds this."""
    paths = [folder / name for name in MNIST_FILES]
    for path, array in zip(paths, (0, np.zeros(2), np.zeros((1, 3, 4)), np.zeros(1)), strict=True):
        path.write_bytes(idx(np.asarray(array)))
    paths[0].unlink() if content is None else paths[0].write_bytes(content)
    return REAL_MNIST.read(paths)["train"].images[:, 0]


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
    assert (mnist.kind, mnist.classes) == ("gray", 10)
    assert Path(mnist.source) == nowhere / "sets" / below


def test_idx_is_not_square_by_chance(tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4)
    assert read_first(tmp_path, idx(array)).tolist() == array.tolist()


def bad_idx() -> dict[str, tuple[bytes, str]]:
    plain, zipped = idx(np.ones((4, 5, 6)), zipped=False), idx(np.ones((4, 5, 6)))
    garbled = zipped[:10] + b"\xff" * 20 + zipped[30:]
    wrong_sum = zipped[:-8] + b"\0" * 8
    return {
        "html": (
            b"<html>not found</html>",
            "is no idx file of 3 dimensions: its 22 bytes start with b'<htm'; "
            r"expected b'\x00\x00\x08\x03'. Fetch it again.",
        ),
        "empty": (b"", "is no idx file of 3 dimensions: its 0 bytes start with b''; expected"),
        "type": (plain[:2] + b"\x0d" + plain[3:], r"start with b'\x00\x00\r\x03'; expected"),
        "dims": (idx(np.ones(4)), r"start with b'\x00\x00\x08\x01'; expected b'\x00\x00\x08\x03'"),
        "header": (plain[:9], "its 9 bytes start with"),
        "short": (plain[:-1], "should hold 4 x 5 x 6 = 120 bytes; it holds 119."),
        "long": (plain + b"\0", "it holds 121."),
        "cut gzip": (zipped[:-12], "it is missing, truncated or corrupt"),
        "garbled gzip": (garbled, "it is missing, truncated or corrupt"),
        "checksum": (wrong_sum, "it is missing, truncated or corrupt"),
        "gzip header": (zipped[:5], "it is missing, truncated or corrupt"),
    }


@pytest.mark.parametrize("case", bad_idx())
def test_idx_refuses(tmp_path: Path, case: str) -> None:
    content, message = bad_idx()[case]
    with fails(message) as caught:
        read_first(tmp_path, content)
    assert str(tmp_path / "train-images-idx3-ubyte") in str(caught.value)


def test_idx_that_is_missing_or_a_folder(tmp_path: Path) -> None:
    with fails(f"cannot read {tmp_path / 'train-images-idx3-ubyte'} ([Errno 2] No such file"):
        read_first(tmp_path, None)
    with fails(f"cannot read {tmp_path}"):
        REAL_MNIST.read([tmp_path] * 4)


def test_mnist_files_that_disagree(nowhere: Path) -> None:
    write_mnist(nowhere / "mnist")
    labels = nowhere / "mnist" / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(idx(np.zeros(29)))
    paths = [nowhere / "mnist" / f"{name}.gz" for name in MNIST_FILES]
    with fails("30 images but 29 labels."):
        REAL_MNIST.read(paths)
    labels.write_bytes(idx(np.full(30, 11)))
    with fails("has the label 11; expected 0 to 9."):
        REAL_MNIST.read(paths)


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


# load -------------------------------------------------------------------------------------------


def test_known_names_load(nowhere: Path) -> None:
    write_mnist(nowhere / "mnist")
    assert data.known()[:3] == ("digits", "shapes", "avatars")
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
    np.savez(nowhere / "sets" / "mine.npz", images=np.zeros((20, 4, 4), np.uint8))
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
    assert "as `data_dir`, or in VAEKIT_DATA" in message
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
        ("mnits", "'mnits'; did you mean 'mnist'? Known: digits, shapes, avatars, "),
        ("MNIST", "'MNIST'; did you mean 'mnist'?"),
        ("faces.dat", "unknown data set (or path of a folder or .zip"),
        ("", " and others) ''. Known: digits"),
    ],
)
def test_unknown_names(nowhere: Path, name: str, message: str) -> None:
    with fails(message):
        data.load(name)


def test_a_path_that_is_misspelt_gets_the_one_beside_it(nowhere: Path) -> None:
    (nowhere / "photos").mkdir()
    packed = nowhere / "env" / "lfw" / "faces_64.zip"
    packed.parent.mkdir(parents=True)
    packed.touch()
    for name, what, meant in (
        ("phtos", "folder", "photos"),
        (f"{nowhere}/photo", "folder", f"{nowhere}/photos"),
        ("lfw/faces_46.zip", "file", packed),
    ):
        with fails(f"did not find the {what} '{name}'; did you mean {meant}?"):
            data.load(name, nowhere / "env")


def test_named_sets_have_their_own_labels_and_splits() -> None:
    with fails("`label` does not suit digits: a set known by name has its own."):
        data.load("digits", label="x")
    with fails("`group` does not suit digits: its splits are set."):
        data.load("digits", group="x")


# the table --------------------------------------------------------------------------------------


def test_names_checksums_and_addresses_are_well_formed() -> None:
    assert set(SETS) >= {
        *("fashion-mnist", "binarized-mnist", "omniglot-28", "frey-faces", "dsprites-66k"),
        *("cifar10-5k", "emoji-64", "mouse-bladder", "omniglot", "dsprites", "cifar10"),
    }
    for name, entry in SETS.items():
        assert entry.name == name
        assert bool(entry.forms) != bool(entry.make)
        for file in (file for form in entry.forms for file in form.files):
            sums = [file.checksum, *([file.plain] if file.plain else [])]
            assert all(re.fullmatch("[0-9a-f]{64}|md5:[0-9a-f]{32}", total) for total in sums)
            assert all(url.startswith("http") and url.endswith(file.name) for url in file.urls)
            assert not Path(file.path).is_absolute()


def test_what_is_public_can_be_downloaded() -> None:
    public = {name for name, entry in SETS.items() if entry.public}
    assert public == {
        *("mnist", "fashion-mnist", "binarized-mnist", "omniglot", "omniglot-28"),
        *("dsprites", "cifar10"),
    }


def test_built_in_sets_are_what_the_table_says() -> None:
    for name in ("digits", "shapes", "avatars"):
        found, entry = data.load(name), SETS[name]
        assert (len(found.train), len(found.test)) == entry.rows
        assert tuple(found.train.images.shape[1:]) == entry.shape
        assert (found.kind, found.classes) == (entry.kind, entry.classes)
        assert len(found.class_names) == found.classes


# where files are looked for ---------------------------------------------------------------------


def entry_of(*forms: tuple[str, ...]) -> Entry:
    """Its rows hold the number of the form, from files whose content is their own path."""

    def form(number: int, paths: tuple[str, ...]) -> Form:
        def read(found: Sequence[Path]) -> dict[str, Any]:
            assert [path.name for path in found] == [Path(path).name for path in paths]
            rows = Split(torch.full((3, 2), float(number)))
            return {"train": rows, "test": rows}

        files = (File(path, hashlib.sha256(path.encode()).hexdigest()) for path in paths)
        return Form(tuple(files), read)

    made = tuple(form(number, paths) for number, paths in enumerate(forms))
    return Entry("my-set", "table", (2,), (3, 3), 0, "from nowhere", "none", made)


def put(folder: Path, path: str, content: str | None = None) -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(path if content is None else content)
    return file


@pytest.mark.parametrize("below", ["own/", "my-set/", ""])
def test_files_lie_under_their_path_the_name_or_directly(tmp_path: Path, below: str) -> None:
    entry = entry_of(("own/a", "own/b"))
    for name in ("a", "b"):
        put(tmp_path / "second", f"{below}{name}", f"own/{name}")
    found = entry((tmp_path / "first", tmp_path / "second"))
    assert Path(found.source) == tmp_path / "second" / below
    assert found.note == "from nowhere; license none"


def test_the_first_form_that_is_whole_wins(tmp_path: Path) -> None:
    entry = entry_of(("own/a", "own/b"), ("own/c",))
    put(tmp_path, "own/c")
    put(tmp_path, "own/a")
    found = entry((tmp_path,))
    assert found.train.images[0, 0] == 1
    assert Path(found.source) == tmp_path / "own/c"
    put(tmp_path, "own/b")
    assert entry((tmp_path,)).train.images[0, 0] == 0


def test_a_missing_set_says_what_where_and_how(tmp_path: Path) -> None:
    with pytest.raises(VaekitError) as caught:
        entry_of(("own/a", "own/b"), ("own/c",))((tmp_path / "x", tmp_path / "y"))
    message = str(caught.value)
    assert "did not find the files of 'my-set' (a, b or c); looked in: " in message
    every = [str(tmp_path / f / s) for f in ("x", "y") for s in ("own", "my-set")]
    assert all(place in message for place in every)
    assert "as `data_dir`, or in VAEKIT_DATA. It cannot be downloaded: from nowhere." in message
    assert "\n" not in message


def test_another_file_of_that_name_is_refused(tmp_path: Path) -> None:
    entry = entry_of(("own/rows.npz",))
    path = put(tmp_path, "own/rows.npz", "truncat")
    with fails(f"{path} is truncated or another file: its checksum is ") as caught:
        entry((tmp_path,))
    assert f"to train on it as it is: {path}." in str(caught.value)
    assert hashlib.sha256(b"truncat").hexdigest() in str(caught.value)


# a catalog of one's own -------------------------------------------------------------------------


LAB = """
[lab-faces]
kind = "gray"
shape = [1, 6, 6]
rows = [16, 4]
note = "Faces of the lab"
license = "CC0"
[[lab-faces.forms]]
test = 4
size = 6
files = [{ path = "faces/faces.npz", checksum = "SUM" }]

[lab-digits]
kind = "gray"
shape = [1, 28, 28]
rows = [30, 12]
classes = 10
note = "Digits of the lab"
[[lab-digits.forms]]
read = "idx"
class_names = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
urls = ["https://lab.example/data/"]
files = [
  { path = "mnist/train-images-idx3-ubyte", checksum = "SUM0" },
  { path = "mnist/train-labels-idx1-ubyte", checksum = "SUM1" },
  { path = "mnist/t10k-images-idx3-ubyte", checksum = "SUM2" },
  { path = "mnist/t10k-labels-idx1-ubyte", checksum = "SUM3" },
]
"""


def write_lab(folder: Path, text: str = LAB) -> Path:
    arrays = write_mnist(folder / "mnist", zipped=False)
    (folder / "faces").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (20, 9, 9)).astype(np.uint8)
    np.savez(folder / "faces" / "faces.npz", images=images)
    for i, array in enumerate(arrays.values()):
        digest = hashlib.sha256(idx(array, zipped=False)).hexdigest()
        text = text.replace(f"SUM{i}", digest)
    digest = hashlib.sha256((folder / "faces" / "faces.npz").read_bytes()).hexdigest()
    (folder / "catalog.toml").write_text(text.replace("SUM", digest))
    return folder


def test_a_catalog_in_a_data_folder_adds_sets(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = write_lab(nowhere / "lab")
    assert data.known() == tuple(SETS)
    assert data.known(lab) == (*SETS, "lab-faces", "lab-digits")
    assert data.sets(lab)["lab-digits"].forms[0].files[0].urls == (
        "https://lab.example/data/train-images-idx3-ubyte",
    )
    monkeypatch.setenv("VAEKIT_DATA", str(lab))
    assert data.known(lab / ".." / "lab") == data.known()  # one folder, named in two ways
    faces, digits = data.load("lab-faces"), data.load("lab-digits")
    by_path = data.load(lab / "faces" / "faces.npz", test=4, size=6)
    for name in ("train", "test"):
        assert torch.equal(faces.splits[name].x(), by_path.splits[name].x())
    assert (faces.name, faces.kind) == ("lab-faces", "gray")
    assert faces.note == "Faces of the lab; license CC0"
    assert np.array_equal(digits.test.labels, mnist_arrays()["t10k-labels-idx1-ubyte"])
    assert digits.note == "Digits of the lab; license not stated"
    assert data.load("lab-faces", size=3).train.images.shape == (16, 1, 3, 3)
    with fails("unknown data set 'lab_faces'; did you mean 'lab-faces'?"):
        data.load("lab_faces")
    (lab / "faces" / "faces.npz").write_bytes(b"another")
    with fails("faces.npz is truncated or another file"):
        data.load("lab-faces")


def test_files_that_their_reader_does_not_suit_are_refused_in_a_line(nowhere: Path) -> None:
    lab = write_lab(nowhere / "lab", LAB.replace("test = 4\nsize = 6", 'read = "counts"'))
    with fails("faces.npz cannot be read as 'lab-faces' (") as caught:
        data.load("lab-faces", lab)
    assert "\n" not in str(caught.value)


def test_the_catalog_on_the_page_is_one(nowhere: Path) -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "data.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (nowhere / "catalog.toml").write_text(text)
    (file,) = data.sets(nowhere)["lab-faces"].forms[0].files
    assert file.urls == ("https://lab.example/data/faces.zip",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[lab-faces]", "[lab-faces", "is no catalog of data sets: "),
        ('kind = "gray"\n', "", "missing 1 required positional argument: 'kind'. Mend it"),
        ("rows = [16, 4]", "rows = [16]", "not enough values to unpack"),
        ("license =", "licence =", "unexpected keyword argument 'licence'"),
        ('read = "idx"', 'read = "idz"', "unknown reader 'idz'; did you mean 'idx'?"),
        ("faces/faces", "../faces", "the path '../faces.npz' must lie below the folder"),
        ("faces/faces", "/faces", "the path '/faces.npz' must lie below the folder"),
        (', checksum = "SUM"', "", "missing 1 required positional argument: 'checksum'"),
        ("lab-digits", "digits", "there is a set 'digits' already; name it otherwise."),
    ],
)
def test_catalogs_that_are_refused(nowhere: Path, old: str, new: str, message: str) -> None:
    lab = write_lab(nowhere / "lab", LAB.replace(old, new))
    with fails(message) as caught:
        data.load("lab-faces", lab)
    assert "\n" not in str(caught.value)
    assert str(lab / "catalog.toml") in str(caught.value)


# the real files ---------------------------------------------------------------------------------


@pytest.mark.data("fashion_mnist")
def test_fashion_mnist() -> None:
    found = as_listed(data.load("fashion-mnist"))
    raw = gzip.decompress((FOLDER / "fashion_mnist/train-images-idx3-ubyte.gz").read_bytes())
    wanted = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    assert np.array_equal(found.train.images, wanted)
    assert found.train.labels.bincount().tolist() == [6000] * 10
    assert found.test.labels.bincount().tolist() == [1000] * 10
    assert found.test.labels[:5].tolist() == [9, 2, 1, 1, 6]
    assert (found.class_names[0], found.class_names[9]) == ("T-shirt/top", "Ankle boot")


@pytest.mark.data("mnist")
def test_mnist_has_class_names() -> None:
    assert as_listed(data.load("mnist")).class_names == tuple("0123456789")


@pytest.mark.data("binarized_mnist")
def test_binarized_mnist() -> None:
    found = as_listed(data.load("binarized-mnist"))
    assert list(found.splits) == ["train", "validation", "test"]
    for name, part in zip(("train", "valid", "test"), found.splits.values(), strict=True):
        packed = arrays("binarized_mnist/binarized_mnist.npz")[name]
        assert np.array_equal(np.packbits(whole(part.images).reshape(-1, 784) > 0, 1), packed)
    means = [whole(part.images).mean() / 255 for part in found.splits.values()]
    assert np.round(means, 4).tolist() == [0.1306, 0.1311, 0.1325]
    ready = prepare(found, Data(data="binarized-mnist"))
    assert [len(part) for part in ready.splits.values()] == [50000, 10000, 10000]


@pytest.mark.data("binarized_mnist")
def test_the_text_files_of_binarized_mnist_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written out again, they have the checksums of the originals, and give the same rows."""
    for name in ("train", "valid", "test"):
        packed = arrays("binarized_mnist/binarized_mnist.npz")[name]
        text = np.full((len(packed), 2 * 784), ord(" "), np.uint8)
        text[:, ::2] = np.unpackbits(packed, axis=1, count=784) + ord("0")
        text[:, -1] = ord("\n")
        (tmp_path / f"binarized_mnist_{name}.amat").write_bytes(text.tobytes())
    packed_set = data.load("binarized-mnist")
    monkeypatch.delenv("VAEKIT_DATA")
    from_text = data.load("binarized-mnist", tmp_path)
    assert Path(from_text.source) == tmp_path
    assert fingerprint(from_text) == fingerprint(packed_set)


@pytest.mark.data("omniglot")
def test_omniglot() -> None:
    small, large = (as_listed(data.load(name)) for name in ("omniglot-28", "omniglot"))
    made = arrays("omniglot/omniglot_28.npz")
    n = int(made["n_background"])
    for name, part in (("train", slice(n)), ("test", slice(n, None))):
        for found in (small, large):
            split = found.splits[name]
            assert np.array_equal(split.labels, made["alphabet"][part])
            assert np.array_equal(split.factors[:, 1], made["character"][part])
            assert np.array_equal(split.factors[:, 2], made["drawer"][part])
            assert torch.equal(split.factors[:, 0], split.labels)
        assert np.array_equal(small.splits[name].images[:, 0], made["images"][part])
        bits = arrays("omniglot/omniglot_105_bits.npz")["images"][part]
        flat = whole(large.splits[name].images).reshape(-1, 105 * 105)
        assert np.array_equal(np.packbits(flat > 0, 1), bits)
    assert small.factor_names == ("alphabet", "character", "drawer")
    assert small.class_names == large.class_names == tuple(made["alphabet_names"].tolist())
    assert (len(small.train.labels.unique()), len(small.test.labels.unique())) == (30, 20)


@pytest.mark.data("omniglot")
def test_area_averaging_makes_the_small_images(tmp_path: Path) -> None:
    part = slice(19000, 21000)
    large = arrays("omniglot/omniglot_105_bits.npz")["images"][part]
    bits = np.unpackbits(large, axis=1, count=105 * 105).reshape(-1, 105, 105)
    wanted = arrays("omniglot/omniglot_28.npz")["images"][part]
    paths = [tmp_path / f"images_{name}.zip" for name in ("background", "evaluation")]
    for path, drawn in zip(paths, (bits, bits[:1]), strict=True):
        with zipfile.ZipFile(path, "w") as archive:
            for i, ink in enumerate(drawn, start=1):
                paper = ((1 - ink) * 255).astype(np.uint8)
                archive.writestr(f"{path.stem}/Z/character01/{i:04}_01.png", png(paper, "L"))
    small = SETS["omniglot-28"].forms[1].read(paths)["train"].images
    assert np.array_equal(small[:, 0], wanted)


@pytest.mark.data("frey_faces")
def test_frey_faces() -> None:
    found = as_listed(data.load("frey-faces"))
    images = arrays("frey_faces/freyfaces.npz")["images"]
    order = shuffled(1965)
    assert np.array_equal(found.test.images[:, 0], images[order[:200]])
    assert np.array_equal(found.train.images[:, 0], images[order[200:]])
    assert (images.min(), images.max()) == (8, 238)
    ready = prepare(found, Data(data="frey-faces", validation=200))
    assert [len(part) for part in ready.splits.values()] == [1565, 200, 200]


@pytest.mark.data("dsprites")
def test_dsprites_66k() -> None:
    found = as_listed(data.load("dsprites-66k"))
    made = arrays("dsprites/dsprites_66k.npz")
    new = ~np.isin(made["random_index"], made["grid_index"])
    assert new.sum() == 18754
    packed = np.concatenate([made["grid_images"], made["random_images"][new]])
    factors = np.concatenate([made["grid_factors"], made["random_factors"][new]])
    order = shuffled(64834)
    for part, index in ((found.test, order[:6483]), (found.train, order[6483:])):
        bits = np.packbits(whole(part.images).reshape(-1, 4096) > 0, 1)
        assert np.array_equal(bits, packed[index])
        assert np.array_equal(part.factors, factors[index])
        assert np.array_equal(part.labels, factors[index, 0])
    assert found.class_names == ("square", "ellipse", "heart")
    assert found.factor_names[1:] == ("scale", "orientation", "position x", "position y")
    every = np.concatenate([found.train.factors, found.test.factors])
    assert len(np.unique(every, axis=0)) == 64834


@pytest.mark.data("cifar10_subset")
def test_cifar10_5k() -> None:
    found = as_listed(data.load("cifar10-5k"))
    made = arrays("cifar10_subset/cifar10_5000.npz")
    for name in ("train", "test"):
        split = found.splits[name]
        assert np.array_equal(whole(split.images).transpose(0, 2, 3, 1), made[name])
        assert np.array_equal(split.labels, made[f"{name}_labels"])
    assert (found.class_names[0], found.class_names[9]) == ("airplane", "truck")


@pytest.mark.data("noto_emoji")
def test_emoji_64() -> None:
    found = as_listed(data.load("emoji-64"))
    images = arrays("noto_emoji/noto_emoji_64.npz")["images"].transpose(0, 3, 1, 2)
    order = shuffled(1445)
    assert np.array_equal(found.test.images, images[order[:144]])
    assert np.array_equal(found.train.images, images[order[144:]])


@pytest.mark.data("mouse_bladder")
def test_mouse_bladder() -> None:
    found = as_listed(data.load("mouse-bladder"))
    z = arrays("mouse_bladder/mouse_bladder_counts.npz")
    x = np.zeros(z["shape"], np.uint16)
    x[np.repeat(np.arange(len(x)), np.diff(z["indptr"])), z["indices"]] = z["data"]
    order = shuffled(2100)
    for part, index in ((found.test, order[:210]), (found.train, order[210:])):
        assert isinstance(part.images, SparseRows)
        assert np.array_equal(whole(part.images), x[index])
        assert np.array_equal(part.labels, z["labels"][index])
    ready = prepare(found, Data(data="mouse-bladder"))
    assert isinstance(ready.train.images, SparseRows)
    made = card(found)
    assert made["range"] == [0, 303]
    assert made["density"] == pytest.approx(len(z["data"]) / x.size)
    assert made["mean"] == pytest.approx(z["data"].sum() / x.size)
    both = np.add(made["class_counts"]["train"], made["class_counts"]["test"])
    assert both.tolist() == np.bincount(z["labels"]).tolist()


# the originals, from files made here ------------------------------------------------------------


def test_amat_files(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (3, 4, 784))
    paths = [tmp_path / f"{name}.amat" for name in ("train", "valid", "test")]
    for path, rows in zip(paths, bits, strict=True):
        np.savetxt(path, rows, fmt="%d")
    parts = SETS["binarized-mnist"].forms[1].read(paths)
    for name, rows in zip(("train", "validation", "test"), bits, strict=True):
        assert np.array_equal(parts[name].images.reshape(4, 784), rows * 255)


def png(image: np.ndarray, mode: str) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).convert(mode).save(stream, "PNG")
    return stream.getvalue()


def write_omniglot(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Two archives: characters 1, 2 and 4 of Zulu and Alpha, and 5 of Beta, by two drawers each.

    Their entries are in no order; ink is black on white, in 1 bit and in 8 bits.
    """
    ink = np.random.default_rng(0).random((8, 105, 105)) < 0.1
    names = [
        ("background", "Zulu/character01/0001_01.png"),
        ("background", "Zulu/character01/0001_02.png"),
        ("background", "Zulu/character02/0002_01.png"),
        ("background", "Zulu/character02/0002_02.png"),
        ("background", "Alpha/character01/0004_01.png"),
        ("background", "Alpha/character01/0004_02.png"),
        ("evaluation", "Beta/character01/0005_01.png"),
        ("evaluation", "Beta/character01/0005_02.png"),
    ]
    paths = [folder / f"images_{part}.zip" for part in ("background", "evaluation")]
    for path in paths:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{path.stem}/", "")
            archive.writestr(f"__MACOSX/{path.stem}/._0001_01.png", b"not an image")
            for number in reversed(range(8)):
                part, name = names[number]
                if path.stem.endswith(part):
                    paper = (~ink[number] * 255).astype(np.uint8)
                    content = png(paper, "1" if number % 2 else "L")
                    archive.writestr(f"{path.stem}/{name}", content)
    return paths, ink


def test_omniglot_archives(tmp_path: Path) -> None:
    paths, ink = write_omniglot(tmp_path)
    parts = SETS["omniglot"].forms[1].read(paths)
    train, test = parts["train"], parts["test"]
    assert np.array_equal(train.images[:, 0], ink[:6] * 255)
    assert np.array_equal(test.images[:, 0], ink[6:] * 255)
    assert train.factors.tolist() == [
        *([0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [1, 3, 0], [1, 3, 1])
    ]
    assert test.factors.tolist() == [[2, 4, 0], [2, 4, 1]]
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 0, 0, 0, 1, 1], [2, 2])
    assert parts["class_names"] == ("Zulu", "Alpha", "Beta")


def test_small_omniglot_from_the_archives(tmp_path: Path) -> None:
    paths, ink = write_omniglot(tmp_path)
    small = SETS["omniglot-28"].forms[1].read(paths)["train"].images
    assert small.shape == (6, 1, 28, 28)
    # 105 = 28 * 3.75: every pixel split into 4 x 4, then means over 15 x 15
    fine = ink[:6].repeat(4, 1).repeat(4, 2).reshape(6, 28, 15, 28, 15).mean((2, 4))
    assert np.array_equal(small[:, 0], np.rint(fine * 255))


def write_sprites(folder: Path, rows: int) -> tuple[Path, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (rows, 64, 64)).astype(np.uint8)
    classes = np.concatenate([np.zeros((rows, 1), np.int64), rng.integers(0, 3, (rows, 5))], 1)
    path = folder / "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
    metadata = np.array({"pickled": "never read"}, dtype=object)
    np.savez_compressed(
        path, metadata=metadata, imgs=images, latents_classes=classes, latents_values=classes * 0.5
    )
    return path, images, classes


def test_original_sprites(tmp_path: Path) -> None:
    path, images, classes = write_sprites(tmp_path, 50)
    parts = SETS["dsprites"].forms[0].read([path])
    order = shuffled(50)
    for part, index in ((parts["test"], order[:5]), (parts["train"], order[5:])):
        assert isinstance(part.images, MappedRows)
        assert np.array_equal(whole(part.images)[:, 0], images[index] * 255)
        assert np.array_equal(part.factors, classes[index, 1:])
        assert np.array_equal(part.labels, classes[index, 1])
    assert parts["train"].images.array is parts["test"].images.array
    found = Dataset("dsprites", "binary", classes=3, **parts)
    ready = prepare(found, Data(data="dsprites"))
    assert [len(part) for part in ready.splits.values()] == [41, 4, 5]
    assert ready.train.images.array is parts["train"].images.array
    assert ready.train.x(torch.tensor([0])).unique().tolist() == [0, 1]


def test_sprites_that_memory_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "load", full)
    with fails("dsprites needs 3.1 GB of memory, which is not free; take dsprites-66k."):
        SETS["dsprites"].forms[0].read([tmp_path / "x.npz"])


def write_cifar(path: Path, *, without: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Six batches of four; the archive's own order is not theirs."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, (6, 4)).astype(np.uint8)
    images = rng.integers(0, 256, (6, 4, 3, 32, 32)).astype(np.uint8)
    names = [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"]
    content = {
        name: b"".join(bytes([label]) + image.tobytes() for label, image in zip(*pair, strict=True))
        for name, *pair in zip(names, labels, images, strict=True)
    }
    content["batches.meta.txt"] = "\n".join(f"class{n}" for n in range(10)).encode() + b"\n\n"
    content["readme.html"] = b"<html>"
    with tarfile.open(path, "w:gz") as archive:
        for name in sorted(content, reverse=True):
            if name != without:
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                member.size = len(content[name])
                archive.addfile(member, io.BytesIO(content[name]))
    return labels, images


def test_cifar10_archive(tmp_path: Path) -> None:
    labels, images = write_cifar(tmp_path / "a.tar.gz")
    parts = SETS["cifar10"].forms[0].read([tmp_path / "a.tar.gz"])
    assert np.array_equal(parts["train"].images, images[:5].reshape(20, 3, 32, 32))
    assert np.array_equal(parts["test"].images, images[5])
    assert np.array_equal(parts["train"].labels, labels[:5].ravel())
    assert np.array_equal(parts["test"].labels, labels[5])
    assert parts["class_names"] == tuple(f"class{n}" for n in range(10))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_an_archive_of_another_kind(tmp_path: Path) -> None:
    write_cifar(tmp_path / "a.tar.gz", without="data_batch_3.bin")
    with fails("a.tar.gz has no data_batch_3.bin; expected the archive of the binary version."):
        SETS["cifar10"].forms[0].read([tmp_path / "a.tar.gz"])


# the card ---------------------------------------------------------------------------------------


def test_card_counts_by_hand() -> None:
    train = Split(
        torch.tensor([[0, 255], [255, 255], [0, 0]], dtype=torch.uint8),
        torch.tensor([0, 2, 2]),
        torch.tensor([[0, 5], [1, 5], [2, 6]]),
    )
    test = Split(
        torch.tensor([[0, 51]], dtype=torch.uint8), torch.tensor([1]), torch.tensor([[3, 5]])
    )
    names = {"class_names": ("a", "b", "c"), "factor_names": ("f", "g")}
    made = card(Dataset("mine", "table", train, test, 3, "here", "a note", **names))
    digest = hashlib.sha256()
    for rows, shape in ((train, "(3, 2)"), (test, "(1, 2)")):
        digest.update(f"{shape} uint8".encode())
        digest.update(rows.images.numpy().tobytes())
    of_test = hashlib.sha256(b"(1, 2) uint8" + bytes([0, 51])).hexdigest()
    assert made == {
        "test_sha256": of_test,
        "name": "mine",
        "kind": "table",
        "shape": [2],
        "stored": "uint8",
        "rows": {"train": 3, "test": 1},
        "classes": 3,
        "class_names": ["a", "b", "c"],
        "class_counts": {"train": [1, 0, 2], "test": [0, 1, 0]},
        "factors": {"f": 4, "g": 2},
        "columns": [],
        "range": [0.0, 255.0],
        "mean": (3 * 255 + 51) / 8,
        "density": 0.5,
        "source": "here",
        "note": "a note",
        "said": "",
        "sha256": digest.hexdigest(),
    }


def test_card_without_labels_or_factors() -> None:
    rows = Split(torch.rand(4, 3))
    made = card(Dataset("mine", "table", rows, rows))
    assert (made["class_counts"], made["factors"], made["class_names"]) == ({}, {}, [])
    assert made["mean"] == pytest.approx(rows.images.double().mean().item())


# the page ---------------------------------------------------------------------------------------


def test_the_page_says_what_the_table_says() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "data.md").read_text()
    rows = {
        cells[0].strip("` "): [cell.strip() for cell in cells[2:]]
        for cells in (line.strip("|").split("|") for line in page.splitlines())
        if len(cells) == 8
    }
    for name, entry in SETS.items():
        shape = " × ".join(map(str, entry.shape))
        train, test = (f"{many:,}" for many in entry.rows)
        classes = str(entry.classes) if entry.classes else "–"
        assert rows[name] == [entry.kind, shape, train, test, classes, entry.license]
        for file in (file for form in entry.forms for file in form.files):
            assert file.name in page
            assert all(url.removesuffix(file.name) in page for url in file.urls)

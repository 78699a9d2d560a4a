"""The sets known by name: the real files by numpy alone, the originals from files made here."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vaekit import data
from vaekit.data import Dataset, Split, fingerprint, prepare
from vaekit.data.binarized import read_amat
from vaekit.data.card import card
from vaekit.data.catalogue import SETS
from vaekit.data.entry import Entry, File, Form
from vaekit.data.omniglot import area_average, read_archives, read_small_archives
from vaekit.data.rows import MappedRows, SparseRows, chunks
from vaekit.data.small import read_cifar10
from vaekit.data.sparse import sparse_rows
from vaekit.data.sprites import read_sprites
from vaekit.errors import VaekitError
from vaekit.options import Data

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
    return np.concatenate([part.numpy() for part in chunks(images)])


def as_listed(found: Dataset) -> Dataset:
    """The set, if it is what the catalogue says of it."""
    entry = SETS[found.name]
    assert found.kind == entry.kind
    assert found.classes == entry.classes
    assert (len(found.train), len(found.test)) == entry.rows
    assert len(found.validation or ()) == entry.validation
    assert {part.images.shape[1:] for part in found.splits.values()} == {entry.shape}
    assert found.note == f"{entry.note}; licence {entry.licence}"
    assert Path(found.source).exists()
    return found


# the table ------------------------------------------------------------------------------------


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
    for name in ("digits", "shapes"):
        found, entry = data.load(name), SETS[name]
        assert (len(found.train), len(found.test)) == entry.rows
        assert tuple(found.train.images.shape[1:]) == entry.shape
        assert (found.kind, found.classes) == (entry.kind, entry.classes)
        assert len(found.class_names) == found.classes


# where files are looked for -------------------------------------------------------------------


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
    assert found.note == "from nowhere; licence none"


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
    assert "--data-dir DIR or in VAEKIT_DATA. It cannot be downloaded: from nowhere." in message
    assert "\n" not in message


def test_another_file_of_that_name_is_refused(tmp_path: Path) -> None:
    entry = entry_of(("own/rows.npz",))
    path = put(tmp_path, "own/rows.npz", "truncat")
    with fails(f"{path} is truncated or another file: its checksum is ") as caught:
        entry((tmp_path,))
    assert f"train on it as it is: --data {path}." in str(caught.value)
    assert hashlib.sha256(b"truncat").hexdigest() in str(caught.value)


# the real files -------------------------------------------------------------------------------


@pytest.mark.data("fashion_mnist")
def test_fashion_mnist() -> None:
    found = as_listed(data.load("fashion-mnist"))
    import gzip

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
def test_area_averaging_makes_the_small_images() -> None:
    part = slice(19000, 21000)
    large = arrays("omniglot/omniglot_105_bits.npz")["images"][part]
    bits = np.unpackbits(large, axis=1, count=105 * 105).reshape(-1, 105, 105)
    wanted = arrays("omniglot/omniglot_28.npz")["images"][part]
    assert np.array_equal(area_average(bits * np.uint8(255)), wanted)


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


# the originals, from files made here ----------------------------------------------------------


def test_amat_files(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (3, 4, 784))
    paths = [tmp_path / f"{name}.amat" for name in ("train", "valid", "test")]
    for path, rows in zip(paths, bits, strict=True):
        np.savetxt(path, rows, fmt="%d")
    parts = read_amat(paths)
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
    parts = read_archives(paths)
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
    small = read_small_archives(paths)["train"].images
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
    parts = read_sprites([path])
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
    with fails("dsprites needs 3.1 GB of memory, which is not free; take --data dsprites-66k."):
        read_sprites([tmp_path / "x.npz"])


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
    parts = read_cifar10([tmp_path / "a.tar.gz"])
    assert np.array_equal(parts["train"].images, images[:5].reshape(20, 3, 32, 32))
    assert np.array_equal(parts["test"].images, images[5])
    assert np.array_equal(parts["train"].labels, labels[:5].ravel())
    assert np.array_equal(parts["test"].labels, labels[5])
    assert parts["class_names"] == tuple(f"class{n}" for n in range(10))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_an_archive_of_another_kind(tmp_path: Path) -> None:
    write_cifar(tmp_path / "a.tar.gz", without="data_batch_3.bin")
    with fails("a.tar.gz has no data_batch_3.bin; expected the archive of the binary version."):
        read_cifar10([tmp_path / "a.tar.gz"])


# sparse counts --------------------------------------------------------------------------------


def csr(**changes: Any) -> dict[str, np.ndarray]:
    made = {
        "data": np.array([5, 7, 2], np.uint16),
        "indices": np.array([2, 0, 1], np.uint16),
        "indptr": np.array([0, 1, 1, 3], np.int32),
        "shape": np.array([3, 4]),
    }
    return {**made, **{key: np.array(value) for key, value in changes.items()}}


def test_sparse_rows_are_scipys() -> None:
    from scipy import sparse

    rng = np.random.default_rng(0)
    dense = rng.poisson(0.3, (40, 17))
    dense[7] = 0
    matrix = sparse.csr_matrix(dense)
    named = {key: getattr(matrix, key) for key in ("data", "indices", "indptr")}
    for kind in (np.int64, np.uint8, np.float32, np.float64):
        rows = sparse_rows(
            {**named, "data": matrix.data.astype(kind), "shape": np.array(matrix.shape)}, "mine"
        )
        assert rows.shape == (40, 17)
        assert np.array_equal(rows.pick(torch.arange(40)), dense)
    some: Tensor = rows.take(torch.tensor([9, 7, 9])).pick(torch.arange(3))
    assert np.array_equal(some, dense[[9, 7, 9]])


def test_sparse_rows_in_any_order_within_a_row() -> None:
    rows = sparse_rows(csr(indices=[2, 1, 0]), "mine")
    assert rows.pick(torch.arange(3)).tolist() == [[0, 0, 5, 0], [0, 0, 0, 0], [2, 7, 0, 0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": [5, -7, 2]}, "mine: 'data' goes from -7 to 5; counts go from 0 to 16,777,216."),
        ({"data": [5, 1 << 25, 2]}, "counts go from 0 to 16,777,216."),
        ({"data": [5, 1.5, 2]}, "mine: 'data' has the value 1.5; counts are whole numbers."),
        ({"data": [5, np.nan, 2]}, "mine: 'data' has values that are NaN or infinite"),
        ({"data": [5, np.inf, 2]}, "mine: 'data' has values that are NaN or infinite"),
        ({"data": ["a", "b", "c"]}, "mine: 'data' has type <U1; expected counts."),
        ({"data": [5, 7]}, "mine: 'data' has shape (2,), 'indices' (3,)"),
        ({"indices": [2.0, 0.0, 1.0]}, "mine: 'indices' has type float64 and shape (3,)"),
        ({"indices": [2, 0, 4]}, "mine: 'indices' names column 4; expected 0 to 3."),
        ({"indices": [2, -1, 1]}, "mine: 'indices' names column -1; expected 0 to 3."),
        ({"indices": [2, 1, 1]}, "mine names a column twice in one row"),
        ({"indptr": [0, 1, 1]}, "in 3 + 1 = 4 entries; it has 3"),
        ({"indptr": [0, 2, 1, 3]}, "'indptr' must rise from 0 to 3"),
        ({"indptr": [1, 1, 1, 3]}, "'indptr' must rise from 0 to 3"),
        ({"indptr": [0, 1, 1, 4]}, "'indptr' must rise from 0 to 3"),
        ({"indptr": np.zeros(0, np.int32)}, "it has 0"),
        ({"shape": [3]}, "mine: 'shape' is [3]; expected rows and columns."),
        ({"shape": np.zeros(0, np.int64)}, "mine: 'shape' is []; expected rows and columns."),
        ({"shape": [3, 0]}, "mine: 'shape' is [3, 0]; expected rows and columns."),
    ],
)
def test_sparse_rows_refuse(changes: dict[str, Any], message: str) -> None:
    with fails(message):
        sparse_rows(csr(**changes), "mine")


def test_sparse_rows_need_all_arrays() -> None:
    parts = csr()
    del parts["indptr"]
    with fails("mine has no array 'indptr'; a sparse table needs data, indices, indptr, shape."):
        sparse_rows(parts, "mine")


def test_sparse_rows_without_a_count() -> None:
    empty = csr(data=np.zeros(0, np.int64), indices=np.zeros(0, np.int64), indptr=[0, 0, 0, 0])
    assert sparse_rows(empty, "mine").pick(torch.arange(3)).eq(0).all()


# the card -------------------------------------------------------------------------------------


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
    assert made == {
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
        "sha256": digest.hexdigest(),
    }


def test_card_without_labels_or_factors() -> None:
    rows = Split(torch.rand(4, 3))
    made = card(Dataset("mine", "table", rows, rows))
    assert (made["class_counts"], made["factors"], made["class_names"]) == ({}, {}, [])
    assert made["mean"] == pytest.approx(rows.images.double().mean().item())


# the page -------------------------------------------------------------------------------------


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
        assert rows[name] == [entry.kind, shape, train, test, classes, entry.licence]
        for file in (file for form in entry.forms for file in form.files):
            assert file.name in page
            assert all(url.removesuffix(file.name) in page for url in file.urls)

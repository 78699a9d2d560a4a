"""Arrays of all sorts are read as a person means them; guesses are said, the rest is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

import vaekit
from vaekit._train_options import Data
from vaekit.cli.main import main
from vaekit.data import card, from_value, label_of, load, prepare
from vaekit.errors import VaekitError

RNG = np.random.default_rng(0)
UNIT = np.linspace(0, 1, 40 * 16).reshape(40, 4, 4)
LEVELS = RNG.integers(0, 256, (40, 4, 4), dtype=np.uint8)
BITS = RNG.integers(0, 2, (40, 5))
FEW = RNG.poisson(2, (40, 5)).astype(np.uint8)
SMALL: dict[str, Any] = {"epochs": 1, "latent": 2, "net": "mlp:hidden=8", "report": False}


def hair(value: float) -> np.ndarray:
    array = UNIT.copy()
    array.flat[0 if value < 0 else -1] = value
    return array


# Array, option `kind`, then the kind, the range, the mean in the file's units, and what is said.
VALUES: dict[str, tuple[np.ndarray, str | None, str, tuple[float, float], float, str]] = {
    "unit": (UNIT, None, "gray", (0, 1), 0.5, ""),
    "other byte order": (UNIT.astype(">f8"), None, "gray", (0, 1), 0.5, ""),
    "by columns": (np.asfortranarray(UNIT), None, "gray", (0, 1), 0.5, ""),
    "a hair below": (hair(-1e-6), None, "gray", (0, 1), 0.5, "from -1e-06 to 1 are clipped"),
    "a hair above": (hair(1 + 1e-6), None, "gray", (0, 1), 0.5, "to 1.000001 are clipped"),
    "a level outside": (hair(-0.0039), None, "gray", (0, 1), 0.5, "clipped to [0, 1]"),
    "overshoot": (UNIT * 1.08 - 0.04, None, "gray", (-0.04, 1.04), 0.5, "their own range"),
    "a little below": (UNIT * 1.2 - 0.2, None, "gray", (-0.2, 1), 0.4, "their own range"),
    "standardized": ((UNIT - 0.45) / 0.22, None, "gray", (-2.0454545, 2.5), 0.2272727, "their own"),
    "decibels": (UNIT * 80 - 80, None, "gray", (-80, 0), -40, "values from -80 to 0 keep"),
    "sixteenths": (UNIT * 16, None, "gray", (0, 16), 8, "their own range"),
    "-1 to 1": (2 * UNIT - 1, None, "gray", (-1, 1), 0, "mapped by (x + 1) / 2"),
    "half floats": ((2 * UNIT - 1).astype("f2"), None, "gray", (-1, 1), 0, "mapped by"),
    "a hair below -1": (2.001 * UNIT - 1.001, None, "gray", (-1, 1), 0, "clipped to [-1, 1]"),
    "levels as floats": (UNIT * 255, "gray", "gray", (0, 255), 127.5, "their own range"),
    "bits as gray": (BITS[:, :4, None] > 0, "gray", "gray", (0, 255), -1, ""),
    "few levels": (FEW, None, "table", (0, FEW.max()), FEW.mean(), "`kind=counts` takes counts"),
    "counts of uint8": (FEW, "counts", "counts", (0, FEW.max()), FEW.mean(), ""),
    "counts of floats": (FEW * 1.0, "counts", "counts", (0, FEW.max()), FEW.mean(), ""),
    "numbers of uint8": (FEW, "table", "table", (0, FEW.max()), FEW.mean(), ""),
    "integers below 0": (FEW - 3.0, "table", "table", (-3, FEW.max() - 3.0), FEW.mean() - 3, ""),
    "bits of integers": (BITS, None, "binary", (0, 255), 255 * BITS.mean(), ""),
    "bits of floats": (BITS * 1.0, None, "binary", (0, 255), 255 * BITS.mean(), ""),
    "bits that are counts": (BITS, "counts", "counts", (0, 1), BITS.mean(), ""),
    "bits that are numbers": (BITS, "table", "table", (0, 1), BITS.mean(), ""),
    "large": (UNIT.reshape(40, 16) * 1e6, None, "table", (0, 1e6), 5e5, "`standardize` scales"),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_are_read_as_they_are_meant(name: str, tmp_path: Path) -> None:
    array, asked, kind, ends, mean, said = VALUES[name]
    np.save(tmp_path / "x.npy", array)
    mine = load(tmp_path / "x.npy", kind=asked)
    facts = card(mine)
    assert (mine.kind, mine.rows) == (kind, {"train": 36, "test": 4})
    assert facts["range"] == pytest.approx(ends, rel=1e-6, abs=1e-6)
    assert mean < 0 <= ends[0] or facts["mean"] == pytest.approx(mean, rel=1e-6, abs=6e-4)
    assert (said in mine.said) if said else not mine.said
    given = card(from_value(array, Data(kind=asked)))  # type: ignore[arg-type]
    assert [given[n] for n in ("sha256", "said")] == [facts[n] for n in ("sha256", "said")]


@pytest.mark.parametrize(
    ("labels", "places", "names"),
    [
        ([0, 1, 2], [0, 1, 2], ()),
        ([1, 2, 10], [0, 1, 2], ("1", "2", "10")),
        ([5000, 1000], [1, 0], ("1000", "5000")),
        ([1, -1], [1, 0], ("-1", "1")),
        ([2**53, 2**53 + 1], [0, 1], ("9007199254740992", "9007199254740993")),
        (np.array([2**63 + 1, 5], np.uint64), [1, 0], ("5", "9223372036854775809")),
        ([[0], [1]], [0, 1], ()),
        ([[0, 0, 1], [1, 0, 0], [0, 1, 0]], [2, 0, 1], ()),
        ([1.0, 0.0], [1, 0], ()),
        ([True, False], [1, 0], ()),
        (["b", "a10", "a9"], [2, 1, 0], ("a9", "a10", "b")),
        ([b"yes", b"no"], [1, 0], ("no", "yes")),
    ],
)
def test_labels_are_names(
    labels: Any, places: list[int], names: tuple[str, ...], tmp_path: Path
) -> None:
    cells = np.asarray(labels)[np.arange(40) % len(labels)]
    wanted = torch.tensor(places)[torch.arange(40) % len(labels)].tolist()
    np.savez(tmp_path / "x.npz", images=LEVELS, labels=cells, test_images=LEVELS, test_labels=cells)
    mine = load(tmp_path / "x.npz")
    assert mine.train.labels is not None
    assert mine.test.labels is not None
    assert mine.train.labels.tolist() == mine.test.labels.tolist() == wanted
    assert (mine.classes, mine.class_names) == (len(places), names)


def test_a_label_that_does_not_exist_is_no_place() -> None:
    spec = from_value((LEVELS, np.arange(40) % 3 + 1)).spec()
    named = ["1", "2", "3"]
    conditional = prepare(from_value((LEVELS, np.arange(40) % 3 + 1)), Data(context="label")).spec()
    assert spec.class_names == ("1", "2", "3")
    assert label_of(3, conditional, named) == 2
    with pytest.raises(VaekitError, match=r"got the label 0; the labels of array are 1, 2, 3\."):
        label_of(0, conditional, named)


X, Y = LEVELS, np.arange(40) % 3
# The arrays of a file, its rows, its classes, and what is said.
KEYS: dict[str, tuple[dict[str, Any], dict[str, int], int, str]] = {
    "medmnist": (
        {"train_images": X, "val_images": X[:8], "test_images": X[:9], "train_labels": Y[:, None],
         "val_labels": Y[:8, None], "test_labels": Y[:9, None]},
        {"train": 40, "validation": 8, "test": 9}, 3, ""),
    "keras": ({"x_train": X, "y_train": Y, "x_test": X[:9], "y_test": Y[:9]},
              {"train": 40, "test": 9}, 3, ""),
    "arr_0": ({"arr_0": X}, {"train": 36, "test": 4}, 0, "images are 'arr_0'"),
    "X, y": ({"X": X, "y": Y}, {"train": 36, "test": 4}, 3, "images are 'X', labels are 'y'"),
    "sklearn": ({"data": X, "target": Y}, {"train": 36, "test": 4}, 3,
                "images are 'data', labels are 'target'"),
    "upper case": ({"Images": X}, {"train": 36, "test": 4}, 0, "images are 'Images'"),
    "validation": ({"images": X, "labels": Y, "validation_images": X[:8],
                    "validation_labels": Y[:8]},
                   {"train": 36, "validation": 8, "test": 4}, 3, ""),
    "unused": ({"images": X, "ids": Y, "x": X, "val_labels": Y}, {"train": 36, "test": 4}, 0,
               "left out: ids, x, val_labels"),
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_keys_of_others(name: str, tmp_path: Path) -> None:
    arrays, rows, classes, said = KEYS[name]
    np.savez(tmp_path / "x.npz", **arrays)
    mine = load(tmp_path / "x.npz")
    assert (mine.rows, mine.classes, mine.said) == (rows, classes, said)
    if "test" in rows and rows["train"] == 40:
        assert np.array_equal(mine.train.images[:, 0], X)


@pytest.mark.parametrize(
    ("arrays", "kind", "message"),
    [
        ({"images": 2 * UNIT - 1, "test_images": UNIT}, None, "from -1 to 1 and other .* 0 to 1"),
        ({"images": UNIT, "test_images": 2 * UNIT - 1}, None, "from 0 to 1 and other .* -1 to 1"),
        ({"images": UNIT * 80 - 80, "test_images": UNIT}, None, "from -80 to 0 and other rows"),
        ({"images": UNIT * 80 - 80, "test_images": LEVELS}, None, "one range"),
        ({"images": UNIT * 9 - 4, "test_images": UNIT * 90 - 40}, None, "from -40 to 50"),
        ({"images": UNIT * 255}, None, "`levels='0,255'` divides.* `kind=gray` keeps this range"),
        ({"images": FEW - 3.0}, "counts", "from -3 to .*counts go from 0"),
        ({"images": FEW + 0.5}, "counts", "counts are whole numbers"),
        ({"images": FEW}, "binary", "is not 0 and 1 only"),
        ({"images": FEW}, "gray", "`kind=gray` does not suit .*: table, counts or binary"),
        ({"images": LEVELS}, "color", "`kind=color` does not suit .*: gray or binary"),
        ({"images": LEVELS}, "counts", "`kind=counts` does not suit"),
        ({"images": LEVELS, "labels": Y / 2}, None, "expected one integer or text per image"),
        ({"images": LEVELS, "labels": Y, "val_images": LEVELS}, None, "both 'labels' and 'val_lab"),
        (
            {"images": LEVELS, "labels": Y, "test_images": LEVELS[:2], "test_labels": ["a", "b"]},
            None,
            "are text and numbers; give all alike",
        ),
    ],
)
def test_what_is_refused(
    arrays: dict[str, Any], kind: str | None, message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(VaekitError, match=message) as caught:
        load(tmp_path / "x.npz", kind=kind)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("top", [1, 2])
def test_sparse_bits_are_binary_and_stay_sparse(top: int, tmp_path: Path) -> None:
    matrix = scipy.sparse.csr_array(BITS * top)
    scipy.sparse.save_npz(tmp_path / "x.npz", matrix)
    mine = load(tmp_path / "x.npz")
    assert mine.kind == ("binary" if top == 1 else "counts")
    assert float(prepare(mine, Data()).train.x().max()) == top
    assert load(tmp_path / "x.npz", kind="counts").kind == "counts"


def test_a_csv_of_bits_is_binary(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "x.csv", BITS, "%d", ",", header="a,b,c,d,e", comments="")
    mine = load(tmp_path / "x.csv")
    assert (mine.kind, mine.column_names) == ("binary", tuple("abcde"))
    assert load(tmp_path / "x.csv", kind="table").kind == "table"


def test_values_of_their_own_range_through_a_model(tmp_path: Path) -> None:
    decibels = (UNIT * 80 - 80).astype(np.float32)
    run = vaekit.train("vae", data=decibels, out=tmp_path / "run", **SMALL)
    assert run.spec.own == (-80, 0)
    assert run.parts["likelihood"]["name"] == "gaussian"  # type: ignore[index]
    assert np.allclose(run.read(decibels).x()[:, 0], decibels, atol=1e-4)
    again = vaekit.load(tmp_path / "run")
    codes = again.encode(torch.from_numpy(decibels[:, None]))
    assert torch.allclose(again.encode(decibels), codes, atol=1e-4)
    assert again.encode(decibels - 30).shape == (40, 2)  # a little outside
    for wrong in (decibels * 9, LEVELS, torch.from_numpy(decibels[:, None]) * 9):
        with pytest.raises(VaekitError, match=r"-80"):
            again.encode(wrong)


def test_new_rows_a_hair_outside_are_clipped(tmp_path: Path) -> None:
    run = vaekit.train("vae", data=UNIT, out=tmp_path / "run", **SMALL)
    assert torch.equal(run.encode(hair(-1e-6)), run.encode(UNIT))
    for wrong in (UNIT * 255, UNIT * 10 - 5):
        with pytest.raises(VaekitError, match=r"this run takes \[0, 1\]"):
            run.encode(wrong)


def test_labels_of_new_rows_go_by_their_names(tmp_path: Path) -> None:
    run = vaekit.train("cvae", data=(LEVELS, Y + 1), out=tmp_path / "run", **SMALL)
    assert run.read((LEVELS, np.full(40, 3))).labels.tolist() == [2] * 40
    with pytest.raises(VaekitError, match="the label '0' is none of this run's: 1, 2, 3"):
        run.read((LEVELS, Y))


def test_rows_of_a_binary_run_are_bits(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).random((60, 5)) < 0.4
    run = vaekit.train("vae", data=bits.astype(int), out=tmp_path / "run", **SMALL)
    codes = run.encode(bits)
    assert torch.equal(run.encode(bits.astype("f4")), codes)
    for bad in (bits / 2, bits * 3):
        with pytest.raises(VaekitError, match="other values than 0 and 1"):
            run.encode(bad)


def test_samples_of_what_was_mapped_come_back_in_its_range(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((60, 6, 6)).astype("f4") * 2 - 1
    np.save(tmp_path / "x.npy", x)
    vaekit.train("vae", data=tmp_path / "x.npy", out=tmp_path / "run", **SMALL)
    main(["reconstruct", str(tmp_path / "run"), "-n", "6", "-o", str(tmp_path / "r.npz")])
    with np.load(tmp_path / "r.npz") as file:
        assert file["images"].min() < -0.9
        assert abs(file["reconstructions"].mean()) < 0.1


def test_one_hot_rows_given_in_python_are_labels() -> None:
    x, labels = np.zeros((30, 4, 4), np.uint8), np.arange(30) % 3
    x[:, 0, 0] = labels
    for y in (np.eye(3)[labels], np.eye(3, dtype=int)[labels]):
        mine = from_value((x, y))
        assert mine.classes == 3
        assert mine.train.labels is not None
        assert torch.equal(mine.train.labels, mine.train.images[:, 0, 0, 0].long())


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_floats_that_no_range_can_scale_are_refused(value: float) -> None:
    images = UNIT * 9
    images.flat[3] = value
    with pytest.raises(VaekitError, match="too large for float32 to scale"):
        from_value(images)

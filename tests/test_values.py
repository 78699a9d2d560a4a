"""Data that are given as values: arrays, tensors, DataFrames, Datasets, loaders, splits of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

import vaekit as vk
from vaekit._train_options import Data
from vaekit.data import Dataset, card, fingerprint, from_value, is_value, load, prepare
from vaekit.errors import VaekitError
from vaekit.training import Progress, fit, make_optimizer

RNG = np.random.default_rng(0)
LEVELS = RNG.integers(0, 256, (40, 3, 6, 6), dtype=np.uint8)
LABELS = np.arange(40) % 3


def alike(ours: Dataset, theirs: Dataset) -> None:
    """The same rows in the same splits, and the same of all that is known of them."""
    assert ours.splits.keys() == theirs.splits.keys()
    for name, part in ours.splits.items():
        other = theirs.splits[name]
        assert part.images.dtype == other.images.dtype
        assert torch.equal(part.x(), other.x())
        for beside in ("labels", "factors", "groups", "context"):
            one, two = getattr(part, beside), getattr(other, beside)
            assert (one is None) == (two is None)
            assert one is None or torch.equal(one, two)
    same = {**card(ours), "name": "", "source": "", "note": ""}
    assert same == {**card(theirs), "name": "", "source": "", "note": ""}
    one, two = ours.spec(), theirs.spec()
    assert one.to_json() | {"name": ""} == two.to_json() | {"name": ""}
    assert one.mean is not None
    assert two.mean is not None
    assert torch.equal(one.mean, two.mean)
    assert torch.equal(one.example(5), two.example(5))


ARRAYS = {
    "color": LEVELS,
    "channels last": LEVELS.transpose(0, 2, 3, 1),
    "gray": LEVELS[:, 0],
    "levels as integers": LEVELS.astype(int),
    "more than 8 bits": LEVELS.astype(int) * 16,
    "binary": LEVELS[:, 0] > 99,
    "unit floats": (LEVELS / 255.0),
    "floats from -1": (LEVELS / 127.5 - 1).astype(np.float32),
    "half floats": (LEVELS[:, 0] / 255).astype(np.float16),
    "counts": RNG.poisson(3, (40, 7)),
    "table": RNG.normal(size=(40, 7)),
    "levels in a table": LEVELS.reshape(40, -1),
    "backwards": LEVELS[::-1],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_what_its_file_is(name: str, tmp_path: Path) -> None:
    array = ARRAYS[name]
    np.savez(tmp_path / "array.npz", images=array, labels=LABELS)
    read = load(tmp_path / "array.npz")
    given = from_value((array, LABELS))
    assert (given.name, given.source, given.note[:5]) == ("array", "given", "given")
    alike(given, read)
    alike(from_value((torch.from_numpy(array.copy()), torch.from_numpy(LABELS))), read)
    options = Data(limit=30, context="label", validation=4)
    alike(prepare(given, options), prepare(read, options))
    assert given.said == read.said


def test_an_array_alone_a_tensor_and_the_names_of_what_is_given() -> None:
    assert from_value(LEVELS).name == "array"
    assert from_value(torch.from_numpy(LEVELS)).name == "tensor"
    assert from_value((torch.from_numpy(LEVELS), LABELS)).name == "tensor"
    assert from_value(TensorDataset(torch.from_numpy(LEVELS))).name == "dataset"
    assert from_value([LEVELS]).name == "loader"
    assert from_value((LEVELS, None)).classes == 0
    assert from_value({"train": LEVELS}).name == "splits"
    assert [is_value(x) for x in ("mnist", Path("x"), LEVELS, None)] == [False, False, True, True]


def test_an_array_is_not_copied_and_may_be_read_only() -> None:
    array = LEVELS.copy()
    array.flags.writeable = False
    given = from_value({"train": array, "test": array[:9]})
    assert isinstance(given.train.images, Tensor)
    assert given.train.images.data_ptr() == array.ctypes.data
    floats = np.ascontiguousarray(LEVELS / 255, np.float32)
    images = from_value({"train": floats, "test": floats}).train.images
    assert isinstance(images, Tensor)
    assert images.data_ptr() == floats.ctypes.data


def test_splits_that_are_there_are_taken_and_the_rest_is_held_out() -> None:
    parts = {"train": LEVELS[:20], "validation": LEVELS[20:32], "test": LEVELS[32:]}
    given = from_value({n: (x, LABELS[: len(x)]) for n, x in parts.items()})
    assert given.rows == {"train": 20, "validation": 12, "test": 8}
    assert given.validation is not None
    assert np.array_equal(given.validation.images, parts["validation"])
    assert len(prepare(given, Data()).train) == 20
    two = from_value({"train": LEVELS, "validation": LEVELS[:5]})
    assert two.rows == {"train": 36, "validation": 5, "test": 4}
    assert from_value(LEVELS, Data(test=0.5)).rows == {"train": 20, "test": 20}


def test_one_range_serves_all_splits() -> None:
    both = from_value({"train": LEVELS / 127.5 - 1, "test": LEVELS[:4] / 150.0 - 0.9})
    assert both.said.endswith("mapped by (x + 1) / 2")
    assert both.train.bounds == (0, 1)
    assert both.test.bounds[0] == pytest.approx(0.05)


def test_labels_of_text_and_columns_of_factors() -> None:
    names = np.array(["cat", "ant", "a10", "a9"])[np.arange(40) % 4]
    for y in (names, list(names), tuple(names), names.astype(object)):
        given = from_value((LEVELS, y))
        assert given.class_names == ("a9", "a10", "ant", "cat")
        assert given.classes == 4
    both = from_value({"train": (LEVELS, names), "test": (LEVELS[:2], ["cat", "dog"])})
    assert both.test.labels is not None
    assert [both.class_names[i] for i in both.test.labels] == ["cat", "dog"]
    factors = RNG.normal(size=(40, 3))
    split = from_value({"train": (LEVELS, factors), "test": (LEVELS, factors)}).train
    assert split.labels is None
    assert split.factors is not None
    assert np.allclose(split.factors, factors)
    assert from_value((LEVELS, LABELS[:, None])).classes == 3


class Items(TorchDataset[Any]):
    """A map-style Dataset of images and labels, as one writes it; `noise` makes each read new."""

    def __init__(self, noise: bool = False, text: bool = False) -> None:
        self.noise, self.text, self.reads = noise, text, 0

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> Any:
        self.reads += 1
        image = torch.from_numpy(LEVELS[i])
        if self.noise:
            image = (image + torch.randint(0, 3, image.shape)).clamp(max=255).to(torch.uint8)
        return image, ("even", "odd")[i % 2] if self.text else int(LABELS[i])


def test_a_dataset_of_items_is_the_array_of_its_items() -> None:
    items = Items()
    given = from_value(items)
    alike(given, from_value((LEVELS, LABELS)))
    assert isinstance(given.train.images, Tensor)
    assert items.reads == 40 + 2 * 32
    alike(from_value(TensorDataset(*map(torch.from_numpy, (LEVELS, LABELS)))), given)
    assert from_value(Items(text=True)).class_names == ("even", "odd")
    assert from_value({"train": Items(), "test": Items()}).rows == {"train": 40, "test": 40}


def test_a_dataset_that_does_not_fit_is_read_when_a_batch_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vaekit.data._values.available", lambda: 5000)
    given = from_value(Items())
    assert not isinstance(given.train.images, Tensor)
    monkeypatch.undo()
    alike(given, from_value((LEVELS, LABELS)))
    options = Data(dequantize=True, limit=30)
    for one, two in zip(
        *(prepare(d, options).splits.items() for d in (given, from_value((LEVELS, LABELS)))),
        strict=True,
    ):
        with torch.random.fork_rng():
            a = one[1].x()
        assert torch.equal(a, two[1].x())


def test_an_augmenting_dataset_stays_one_but_where_it_is_measured() -> None:
    given = from_value(Items(noise=True))
    x = given.train.x()
    assert not torch.equal(x, given.train.x())
    assert torch.allclose(x, given.train.x(), rtol=0, atol=2.01 / 255)
    assert fingerprint(given) == fingerprint(given)
    made = prepare(given, Data())
    assert made.validation is not None
    for still in (made.validation, made.test):
        assert torch.equal(still.x(), still.x())
    batches = made.batches(8, seed=0, device="cpu")
    first, again = (torch.cat([x for x, _ in batches.epoch(0)]) for _ in range(2))
    assert not torch.equal(first, again)
    assert torch.allclose(first, again, rtol=0, atol=2.01 / 255)
    with pytest.raises(VaekitError, match=r"^`size` does not suit data: do it in the Dataset"):
        from_value(Items(noise=True), Data(size=4))
    with pytest.raises(VaekitError, match=r"^`binarize=static` .* that change from read to read"):
        prepare(given, Data(binarize="static"))


def test_an_augmenting_dataset_is_not_read_again_to_be_measured() -> None:
    items = Items(noise=True)
    given = from_value(items)
    reads = items.reads
    made = prepare(given, Data())
    assert items.reads == reads + len(made.test) + 4
    spec = given.spec()
    assert spec.mean is not None
    assert torch.allclose(spec.mean, torch.from_numpy((LEVELS / 255).mean(0)).float(), atol=2 / 255)
    assert given.train.bounds == given.test.bounds
    assert items.reads == reads + 4 + 4 + 36 + 2 * 4  # four of each split, for its density


def frame(**columns: Any) -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(columns)


COLUMNS = {
    "a": RNG.normal(size=40),
    "b": RNG.integers(0, 5, 40),
    "who": [f"p{i % 7}" for i in range(40)],
    "sort": [("x10", "x9", "y")[i % 3] for i in range(40)],
}


def test_a_dataframe_is_what_its_csv_is(tmp_path: Path) -> None:
    given = frame(**COLUMNS)
    with (tmp_path / "dataframe.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(zip(*COLUMNS.values(), strict=True))
    asked = Data(label="sort", group="who")
    read = load(tmp_path / "dataframe.csv", label="sort", group="who")
    made = from_value(given, asked)
    assert made.name == "dataframe"
    alike(made, read)
    alike(prepare(made, asked), prepare(read, asked))
    assert made.column_names == ("a", "b")
    assert made.class_names == ("x9", "x10", "y")
    assert prepare(made, asked).train.values.loc is not None
    pair = from_value((given[["a", "b"]], given["sort"]))
    alike(pair, from_value(given.drop(columns="who"), Data(label="sort")))


def test_a_dataframe_with_columns_that_are_numbers_and_gaps() -> None:
    pandas = pytest.importorskip("pandas")
    wide = pandas.DataFrame(RNG.normal(size=(40, 3)))
    wide[2] = LABELS.astype(float)
    assert from_value(wide, Data(label="2")).class_names == ("0", "1", "2")
    nullable = frame(a=pandas.array([*range(39), None], dtype="Int64"), b=range(40))
    for given, option, message in (
        (
            nullable,
            {},
            "^data: column 'a' is empty in row 39. Fill the cell, or remove the row: `missing",
        ),
        (
            frame(a=["x"] * 40),
            {},
            "^data: column 'a' has 'x', .* in row 0. .*`group='a'`; else leave it out: `drop='a'`",
        ),
        (frame(a=[np.inf] * 40), {}, "column 'a' has inf, which is not finite, in row 0"),
        (frame(a=[1e39] * 40), {}, "column 'a' has 1e.39, which is too large .*Scale the column"),
        (frame(a=[1.0] * 40), {"label": "sort"}, "unknown column of data 'sort'"),
        (frame(a=[1.0] * 40), {"label": "a"}, "has no column but those of labels"),
        (frame(a=[1.0] * 40, y=[0.5] * 40), {"label": "y"}, "has '0.5'; a label is text or a"),
        (frame(a=[1.0] * 40, y=[None, *"x" * 39]), {"label": "y"}, "column 'y' is empty in row 0"),
        ({"train": wide, "test": wide[[0, 1]]}, {}, r'data\["test"\] has the columns 0, 1; exp'),
        (
            frame(a=pandas.date_range("2020", periods=40)),
            {"kind": "table"},
            "has 2020-01-01 00:00:00, a date, in row 0. Read it as days by `date='a'`",
        ),
    ):
        with pytest.raises(VaekitError, match=message):
            from_value(given, Data(**option))


def loader(**more: Any) -> DataLoader[Any]:
    rows = TensorDataset(torch.from_numpy(LEVELS), torch.from_numpy(LABELS))
    return DataLoader(rows, batch_size=16, **more)


def test_a_loader_is_streamed_and_its_statistics_are_those_of_its_rows() -> None:
    streamed = from_value(loader())
    whole = from_value(dict.fromkeys(("train", "test"), (LEVELS, LABELS)))
    assert (streamed.name, streamed.kind, streamed.classes) == ("loader", "color", 3)
    assert streamed.validation is None
    assert streamed.said == ("no test rows: a sample of the training rows stands for them")
    one, two = streamed.spec(), whole.spec()
    assert one.to_json() == two.to_json() | {"name": "loader"}
    assert one.mean is not None
    assert two.mean is not None
    assert torch.allclose(one.mean, two.mean, atol=1e-7)
    ours, theirs = card(streamed), card(whole)
    for name in ("kind", "shape", "rows", "classes", "class_counts", "range", "stored"):
        assert ours[name] == theirs[name], name
    assert streamed.train.labels is not None
    assert torch.equal(streamed.train.labels, torch.from_numpy(LABELS))
    batches = streamed.batches(128, seed=0, device="cpu")
    assert (batches.rows, batches.batch_size, len(batches)) == (40, 16, 3)
    served = [x for x, context in batches.epoch(0) if context is None]
    assert torch.equal(torch.cat(served), whole.train.x())


def test_the_fingerprint_of_a_loader_is_that_of_its_rows_in_any_order() -> None:
    first = fingerprint(from_value(loader()))
    assert fingerprint(from_value(loader(shuffle=True))) == first
    backwards = from_value([LEVELS[::-1][:7], LEVELS[::-1][7:]])
    assert fingerprint(backwards) == first
    other = LEVELS.copy()
    other[0, 0, 0, 0] ^= 1
    assert fingerprint(from_value([other])) != first
    assert fingerprint(from_value([LEVELS, LEVELS[:1]])) != first


@pytest.mark.parametrize(
    ("batch", "kind"),
    [
        (LEVELS / 127.5 - 1, "color"),
        ((LEVELS[:, 0] > 99) * 1.0, "binary"),
        ((LEVELS[:, 0] > 99) * 2.0 - 1, "binary"),
        ((LEVELS[:, 0] > 99) * np.uint8(255), "binary"),
        (RNG.poisson(3, (40, 7)), "counts"),
        (RNG.normal(size=(40, 7)), "table"),
    ],
)
def test_a_loader_is_read_as_an_array_of_its_rows_is(batch: np.ndarray, kind: str) -> None:
    streamed = from_value([batch[:15], batch[15:16], batch[16:]])
    whole = from_value({"train": batch, "test": batch})
    assert streamed.kind == whole.kind == kind
    one, two = streamed.spec().mean, whole.spec().mean
    assert one is not None
    assert two is not None
    assert torch.allclose(one, two, atol=1e-6)
    assert torch.equal(streamed.train.x(), whole.train.x())
    assert card(streamed)["range"] == card(whole)["range"]
    batches = streamed.batches(4, seed=0, device="cpu")
    assert (batches.rows, len(batches)) == (39, 2)  # a lone row is no batch
    served = torch.cat([x for x, _ in batches.epoch(0)])
    assert torch.equal(served, torch.cat([whole.train.x()[:15], whole.train.x()[16:]]))


def test_what_is_prepared_of_a_loader() -> None:
    rows = RNG.normal(3, 2, (40, 7))
    given = from_value({"train": [rows[:30], rows[30:]], "validation": [rows[:4], rows[4:9]]})
    assert given.rows == {"train": 40, "validation": 9, "test": 9}
    assert given.said == "no test rows: validation rows stand for them"
    whole = from_value({"train": rows, "test": rows[:9]})
    made = prepare(given, Data(standardize=True))
    same = prepare(whole, Data(standardize=True, validation=0))
    assert made.stream is given.stream
    for name in ("loc", "scale"):
        one, two = (getattr(d.train.values, name) for d in (made, same))
        assert torch.allclose(one, two, atol=1e-6)
    served = torch.cat([x for x, _ in made.batches(8, seed=0, device="cpu").epoch(0)])
    assert float(served.mean().abs()) < 1e-6
    assert torch.allclose(served.std(0, correction=0), torch.ones(7), atol=1e-5)
    images = prepare(from_value(loader()), Data(context="label", range="-1,1", dequantize=True))
    x, context = next(images.batches(8, seed=0, device="cpu").epoch(0))
    assert -1 <= float(x.min()) < 0 < float(x.max()) < 1
    assert context is not None
    assert torch.equal(context.argmax(1), torch.from_numpy(LABELS[:16]))
    assert len(x.unique()) > 256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 5}, "`limit` does not suit data that a loader serves: take fewer in the loader"),
        ({"validation": 0.1}, "`validation` does not suit data that a loader serves: give {"),
        ({"binarize": "static"}, "`binarize=static` does not suit .*: take dynamic"),
    ],
)
def test_rows_of_a_loader_are_neither_chosen_nor_kept(options: Any, message: str) -> None:
    with pytest.raises(VaekitError, match=message):
        prepare(from_value(loader()), Data(**options))


class Fading:
    """Batches that are fewer each time, or of another size."""

    def __init__(self, *epochs: list[Any]) -> None:
        self.epochs = iter(([], *epochs))

    def __iter__(self) -> Iterator[Any]:
        return iter(next(self.epochs))  # the first is looked at, and not run through


@pytest.mark.parametrize(
    ("later", "message"),
    [
        ([LEVELS], "data gave 1 batches; expected 2 as in its first pass"),
        ([LEVELS[:, :1]] * 2, r"batch 1 of data has rows of shape \(1, 6, 6\).*its first pass"),
    ],
)
def test_a_loader_that_changes_is_refused_and_no_loop_hangs(later: Any, message: str) -> None:
    given = from_value(Fading([LEVELS, LEVELS], later))
    with pytest.raises(VaekitError, match=message):
        list(given.batches(8, seed=0, device="cpu").epoch(0))


def trained(data: Dataset, steps: int, resume: Any = None, batch_size: int = 16) -> Progress:
    torch.manual_seed(1)
    made = vk.recipes.build("vae", data.spec(), latent=2)
    adam = make_optimizer("adam", made.model.parameters(), lr=1e-3)
    batches = data.batches(batch_size, seed=0, device="cpu")
    return fit(made.model, made.objective, batches, steps=steps, optimizer=adam, resume=resume)


def weights(progress: Progress) -> Tensor:
    return torch.cat([p.detach().flatten() for p in progress.model.parameters()])


def test_an_array_and_its_file_train_the_same_model(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", LEVELS)
    made = [prepare(d, Data()) for d in (from_value(LEVELS), load(tmp_path / "array.npy"))]
    one, two = (trained(data, 6) for data in made)
    assert one.means == two.means
    assert torch.equal(weights(one), weights(two))
    assert asdict(made[0].spec().values) == asdict(made[1].spec().values)


def test_a_loader_trains_and_resumes_at_the_end_of_an_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes: list[str] = []
    monkeypatch.setattr("vaekit.data._loaders.note", notes.append)
    data = prepare(from_value(loader(shuffle=True)), Data())
    straight = trained(data, 6)
    assert straight.rows == 40
    state = trained(data, 3).state()
    assert torch.equal(weights(trained(data, 6, resume=state)), weights(straight))
    assert not notes
    trained(data, 6, resume=trained(data, 4).state())
    assert "resuming is exact only from the end of an epoch" in notes[0]


def test_a_loader_in_order_trains_as_its_rows_do() -> None:
    """The same steps on the same batches: what differs is the rounding of the mean of all rows."""
    streamed = prepare(from_value([LEVELS[:16], LEVELS[16:32], LEVELS[32:]]), Data())
    whole = from_value(dict.fromkeys(("train", "test"), LEVELS))
    one = trained(streamed, 3)
    torch.manual_seed(1)
    made = vk.recipes.build("vae", whole.spec(), latent=2)
    adam = make_optimizer("adam", made.model.parameters(), lr=1e-3)
    batches = vk.Batches(whole.train, 16, shuffle=False)
    two = fit(made.model, made.objective, batches, steps=3, optimizer=adam)
    assert one.means["objective"] == pytest.approx(two.means["objective"], rel=1e-5)


def test_a_conditional_model_trains_on_the_labels_of_a_loader() -> None:
    data = prepare(from_value([(LEVELS[:20], LABELS[:20]), (LEVELS[20:], LABELS[20:])]),
                   Data(context="label"))  # fmt: skip
    made = vk.recipes.build("cvae", data.spec(), latent=2)
    adam = make_optimizer("adam", made.model.parameters(), lr=1e-3)
    done = fit(made.model, made.objective, data.batches(8), steps=4, optimizer=adam)
    assert (done.step, done.rows) == (4, 40)
    later = from_value(Fading([(LEVELS, LABELS)], [(LEVELS, LABELS + 1)]))
    with pytest.raises(VaekitError, match="gave a batch with 3; expected labels from 0 to 2"):
        list(prepare(later, Data(context="label")).batches(8).epoch(0))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(LEVELS)


class Endless(TorchDataset[Any]):
    def __getitem__(self, i: int) -> np.ndarray:
        return LEVELS[0]


def test_a_loader_of_an_iterable_dataset_needs_no_length() -> None:
    given = from_value(DataLoader(Stream(), batch_size=16))
    assert given.rows["train"] == 40
    assert torch.equal(given.train.x(), from_value([LEVELS]).train.x())


NOT_FINITE = np.where(np.arange(280).reshape(40, 7) == 9, np.nan, 1.0)
REFUSED: dict[str, tuple[Any, str]] = {
    "numbers": ([1, 2, 3], "data is a list of 3 numbers; expected a name, a path, an array"),
    "none": (None, "data is None; expected a name"),
    "number": (3, "data is an int; expected a name"),
    "three": ((LEVELS, LABELS, LABELS), "batch 1 of data has shape (40,); expected (N, H, W)"),
    "empty list": ([], "data is a list of 0 numbers; expected"),
    "lists": ([[1.0, 2.0]] * 20, "data is a list of 20 list; expected a name, a path, an array"),
    "records": ([{"x": 1}], "data is a list of 1 dict; expected"),
    "objects": (np.array([[1], "a"], object), "data holds Python objects; expected numbers"),
    "strings": (np.array([["a"] * 3] * 20), "data has type <U1; expected integers"),
    "complex": (np.ones((20, 3)) * 1j, "data has type complex128; expected integers"),
    "masked": (np.ma.masked_less(np.ones((20, 3)), 2), "data is a masked array; fill it"),
    "sparse": (torch.eye(20).to_sparse(), "data is a sparse tensor; give data.to_dense()"),
    "vector": (np.arange(20), "data has shape (20,); expected (N, H, W)"),
    "deep": (np.zeros((20, 3, 4, 4, 4)), "data has shape (20, 3, 4, 4, 4); expected (N, H, W)"),
    "channels": (np.zeros((20, 5, 4, 4)), "with at most 16 channels"),
    "empty": (np.zeros((0, 3)), "data is empty: shape (0, 3); expected rows"),
    "few": (LEVELS[:4], "data has 4 rows; expected 5 at least"),
    "gaps": (NOT_FINITE, "data has 1 values that are NaN or infinite"),
    "range": (LEVELS * 1.0, "data has floats from 0 to 255; expected 0 to 1, or -1 to 1"),
    "negative": (-np.ones((20, 3), int), "data goes from -1 to -1; counts go from 0"),
    "labels short": ((LEVELS, LABELS[:9]), "y of data has type int64 and shape (9,); expected one"),
    "labels float": ((LEVELS, LABELS / 2), "y of data has type float64 and shape (40,)"),
    "labels ragged": ((LEVELS, [[1, 2], [3]]), "y of data holds Python objects"),
    "labels twice": (((LEVELS, LABELS), LABELS), "data has its labels twice"),
    "labels of two sorts": ({"train": (LEVELS, LABELS), "test": (LEVELS, ["a"] * 40)}, "y is text"),
    "labels and factors": (
        {"train": (LEVELS, LABELS), "test": (LEVELS, np.ones((40, 2)))}, "y is text or factors in",
    ),
    "labels of some": ({"train": (LEVELS, LABELS), "test": LEVELS}, 'data["test"] has no labels'),
    "no train": ({"test": LEVELS}, "data is a dict with the keys test; expected train among them"),
    "other split": ({"train": LEVELS, "val": LEVELS}, "unknown split in data 'val'. Known: train"),
    "other shapes": ({"train": LEVELS, "test": LEVELS[:, :1]}, "they must be the same"),
    "generator": ((x for x in [LEVELS]), "data is a generator, which can be run through only once"),
    "iterable": (Stream(), "data is an IterableDataset, which gives items; expected batches"),
    "no length": (Endless(), "data is a Dataset without __len__; give it one"),
    "changing": ([LEVELS, LEVELS[:, :, :5]], "batch 1 of data has rows of shape (3, 5, 6), uint8; "
                 "expected (3, 6, 6), uint8 as in batch 0"),
    "changing types": ([LEVELS, LEVELS / 255], "batch 1 of data has rows of shape"),
    "labels now and then": ([(LEVELS, LABELS), LEVELS], "batches with labels and without"),
    "dict batches": (DataLoader([{"a": 1}] * 20), "batch 0 of data is a dict with the keys a"),
    "text in a loader": ([(LEVELS, ["a"] * 40)], "y of data has type <U1"),
    "test once": ({"train": LEVELS, "test": iter([LEVELS])}, 'data["test"] is a list_iterator'),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_data_is_refused_in_one_line(name: str) -> None:
    value, message = REFUSED[name]
    with pytest.raises(VaekitError) as caught:
        from_value(value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 320


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        (LEVELS, {"data_dir": "x"}, "`data_dir` does not suit data"),
        (LEVELS, {"label": "a"}, "`label` does not suit data: it is for DataFrames"),
        (RNG.normal(size=(20, 3)), {"size": 4}, "`size` is for images; array holds rows"),
        (loader(), {"test": 4}, "`test` does not suit data: a loader serves it"),
        (loader(), {"size": 4}, "`size` does not suit data: a loader serves it"),
        ({"train": LEVELS, "test": LEVELS}, {"test": 4}, "it brings its own test rows"),
    ],
)
def test_options_that_do_not_suit_a_value(value: Any, options: Any, message: str) -> None:
    with pytest.raises(VaekitError, match=message):
        from_value(value, Data(**options))


def test_images_that_are_given_are_brought_to_a_size() -> None:
    assert from_value(LEVELS, Data(size=4, gray=True)).train.images.shape[1:] == (1, 4, 4)


def test_a_large_array_with_steps_backwards_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaekit.data._arrays.LARGE", 100)
    colors = RNG.integers(0, 256, (40, 4, 4, 3)).astype(np.uint8)
    turned = from_value(colors[..., ::-1])
    straight = from_value(np.ascontiguousarray(colors[..., ::-1]))
    assert torch.equal(turned.train.x(), straight.train.x())

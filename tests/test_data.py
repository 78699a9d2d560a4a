"""Data sets, splits and batches, and what a training makes of them."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import sparse, stats
from torch import Tensor

from vaekit._train_options import Data
from vaekit.data import (
    SETS,
    Batches,
    Dataset,
    DataSpec,
    Entry,
    MappedRows,
    SparseRows,
    Split,
    Transform,
    canonical,
    fingerprint,
    load,
    partition,
    pick,
    prepare,
)
from vaekit.errors import VaekitError


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


def noise(*shape: int) -> np.ndarray:
    """uint8 with all levels."""
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


# canonical --------------------------------------------------------------------------------------


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


# spec -------------------------------------------------------------------------------------------


def test_spec_mean_and_example() -> None:
    images = torch.randint(0, 256, (300, 1, 4, 4), dtype=torch.uint8)
    split = Split(images, torch.arange(300) % 7)
    spec = Dataset("s", "gray", split, split, classes=7).spec()
    wanted = images.numpy().astype(np.float64).mean(0) / 255
    np.testing.assert_allclose(spec.mean.numpy(), wanted, rtol=1e-6)
    assert spec.mean.dtype == torch.float32
    same = (spec.example(256)[:, None] == images.float() / 255).flatten(2).all(2)
    assert (same.sum(1).tolist(), same.sum(0).max()) == ([1] * 256, 1)
    assert torch.equal(spec.example(256), spec.example(256))
    assert (spec.shape, spec.rows, spec.classes, spec.kind) == ((1, 4, 4), 300, 7, "gray")


def test_spec_of_a_part_describes_the_part() -> None:
    whole = Dataset("t", "table", table(100), table(10))
    spec = whole.spec(whole.train.take(torch.tensor([2, 4])))
    assert spec.rows == 2
    assert spec.mean.tolist() == [3.0, 3.0]
    assert sorted(spec.example(2)[:, 0].tolist()) == [2.0, 4.0]


def test_spec_example_shares_no_memory_with_the_data() -> None:
    whole = Dataset("t", "table", table(20), table(10))
    whole.spec().example(20).fill_(-1.0)
    assert whole.train.images[3].tolist() == [3.0, 3.0]


def test_spec_survives_json() -> None:
    spec = DataSpec("digits", (1, 8, 8), "gray", rows=1497, classes=10, mean=torch.zeros(1, 8, 8))
    back = DataSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert (back.name, back.shape, back.kind) == (spec.name, spec.shape, spec.kind)
    assert (back.rows, back.classes, back.mean, back.source) == (1497, 10, None, None)
    assert torch.equal(back.example(2), torch.zeros(2, 1, 8, 8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": None}, "a data record does not fit: it has no shape."),
        ({"color": 3}, "it has an unknown key color."),
        ({"rows": "many"}, "it holds 'many' for rows; expected a valid integer."),
        ({"shape": "abc"}, "it holds 'abc' for shape; expected a valid array."),
        ({"shape": [1, 2.5]}, "it holds 2.5 for shape.1; expected a valid integer."),
        ({"kind": "grey"}, "it has a fault: unknown kind of data 'grey'; did you mean 'gray'?"),
    ],
)
def test_spec_refuses_a_bad_record(change: dict[str, Any], message: str) -> None:
    record = {**DataSpec("d", (3,), "table", rows=9).to_json(), **change}
    record = {key: value for key, value in record.items() if value is not None}
    with fails(message):
        DataSpec.from_json(record)


# splits -----------------------------------------------------------------------------------------


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


def test_what_is_held_out_is_numpys_frozen_permutation(tmp_path: Path, untouched: None) -> None:
    np.savez(tmp_path / "a.npz", images=table(20).images, labels=np.arange(20))
    mine = load(tmp_path / "a.npz", test=4)
    train, test = mine.train, mine.test
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
        (-0.1, None, "got `validation=-0.1`; expected a fraction from 0 to below 1, or a whole"),
        (float("nan"), None, "got `validation=nan`;"),
        (float("inf"), None, "got `validation=inf`;"),
        (1.5, None, "got `validation=1.5`;"),
        (100, None, "`validation=100` takes 100 of 100 training rows and leaves none"),
        (0.999, None, "takes 100 of 100 training rows"),
        (10, 10, "takes 10 of 10 training rows"),
        (0, 0, "got `limit=0`; expected at least 1 row, or None for all."),
        (0, -3, "got `limit=-3`;"),
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


def gray(n: int = 200, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    return Split(torch.from_numpy(rng.integers(0, 256, (n, 1, 4, 4), dtype=np.uint8)))


def dataset(kind: str = "gray", source: str = "generated", n: int = 200) -> Dataset:
    return Dataset("mine", kind, gray(n), gray(50, seed=1), source=source)


def columns(n: int = 500) -> Dataset:
    rows = torch.randn(n, 3) * torch.tensor([1.0, 50.0, 0.0]) + torch.tensor([0.0, 7.0, 4.0])
    return Dataset("mine", "table", Split(rows), Split(rows[:50] + 1), column_names=("a", "b", "c"))


# binarizing -------------------------------------------------------------------------------------


def test_dynamic_binarisation_draws_training_pixels_anew_with_their_own_probability() -> None:
    made = prepare(dataset(), Data(binarize="dynamic", validation=0))
    batches = Batches(made.train, len(made.train), shuffle=False)
    draws = torch.stack([next(batches.epoch(e)).x for e in range(400)])
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    wanted = pick(made.train.images, torch.arange(len(made.train))).double() / 255
    z = (draws.double().mean(0) - wanted) / (wanted * (1 - wanted) / 400).sqrt().clamp_min(1e-9)
    inside = (wanted > 0.05) & (wanted < 0.95)
    assert stats.kstest(z[inside].numpy(), "norm").statistic < 0.03
    assert (draws[:, wanted == 1] == 1).all()
    assert (draws[:, wanted == 0] == 0).all()


def test_the_test_rows_are_drawn_once_whatever_the_split() -> None:
    made = [prepare(dataset(), Data(binarize="dynamic", split_seed=seed)) for seed in (0, 1)]
    assert torch.equal(made[0].test.x(), made[1].test.x())
    assert torch.equal(made[0].test.x(), made[0].test.x())
    assert made[0].kind == made[0].spec().kind == "binary"
    assert not torch.equal(made[0].train.x(), made[0].train.x())
    p = dataset().test.x()
    assert abs(float((made[0].test.x() - p).mean())) < 4 * float((p * (1 - p)).mean() / 800) ** 0.5


def test_draws_that_are_kept_are_those_that_numbers_were_measured_on() -> None:
    """Digits as they were drawn when the results in the docs were measured."""
    for how in ("static", "dynamic"):
        made = prepare(load("digits"), Data(binarize=how))
        digest = hashlib.sha256(made.test.x().numpy().tobytes()).hexdigest()
        assert digest.startswith("e953f931eb34")
    made = prepare(load("digits"), Data(dequantize=True))
    assert made.test.x().double().sum().item() == pytest.approx(5865.770350, abs=1e-4)


def test_static_binarisation_is_kept_and_threshold_is_a_comparison() -> None:
    static = [prepare(dataset(), Data(binarize="static", validation=0)) for _ in "ab"]
    assert torch.equal(static[0].train.x(), static[1].train.x())
    assert set(static[0].train.x().unique().tolist()) == {0.0, 1.0}
    made = prepare(dataset(), Data(binarize="threshold", validation=0))
    order = partition(dataset().train, 0, seed=0)[0]
    assert torch.equal(made.train.x(), (order.x() > 0.5).float())
    assert torch.equal(made.test.x(), (dataset().test.images.float() > 127.5).float())


def test_each_split_is_binarized_by_draws_of_its_own() -> None:
    """All rows are of one gray, so that equal draws would be equal splits."""
    gray = replace(dataset().test, images=torch.full_like(dataset().test.images, 128))
    data = replace(dataset(), train=gray, validation=gray, test=gray)
    one, again = (prepare(data, Data(binarize="static")) for _ in "ab")
    assert one.validation is not None
    splits = [one.train.x(), one.validation.x(), one.test.x()]
    assert torch.equal(splits[2], again.test.x())
    for first, second in itertools.combinations(splits, 2):
        assert first.shape == second.shape
        assert not torch.equal(first, second)


# dequantizing and ranges ------------------------------------------------------------------------


def test_dequantised_values_fill_their_level_evenly() -> None:
    made = prepare(dataset(), Data(dequantize=True, validation=0))
    levels = pick(made.train.images, torch.arange(len(made.train))).double()
    noise = made.train.x().double() * 256 - levels
    assert stats.kstest(noise.flatten().numpy(), "uniform").pvalue > 1e-3
    assert torch.equal(made.test.x(), made.test.x())
    test = made.test.x().double() * 256 - dataset().test.images.double()
    assert 0 <= float(test.min()) <= float(test.max()) <= 1
    assert made.spec().mean is not None
    assert torch.allclose(made.spec().mean, (levels.mean(0) + 0.5).float() / 256, atol=1e-6)


def test_a_uniform_density_of_dequantised_bytes_has_8_bits_on_every_range() -> None:
    for low, high in ((0.0, 1.0), (-1.0, 1.0)):
        values = Transform(low, high, dequantize=True)
        bits = -math.log2(1 / (high - low)) + values.bits
        assert bits == pytest.approx(8)


def test_a_range_moves_every_split_and_comes_back() -> None:
    made = prepare(dataset(), Data(range="-1,1"))
    assert made.train.x_bounds == (-1.0, 1.0)
    assert made.spec().mean is not None
    assert torch.allclose(made.spec().mean, made.train.x().mean(0), atol=1e-5)
    wanted = dataset().test.x()
    assert torch.allclose(made.test.x(), 2 * wanted - 1)
    assert torch.allclose(made.spec().values.inverse(made.test.x()), wanted, atol=1e-7)


# standardizing ----------------------------------------------------------------------------------


def test_a_csv_is_standardised_by_its_training_rows_and_comes_back() -> None:
    made = prepare(columns(), Data(validation=0.2))
    x = made.train.x()
    assert torch.allclose(x.mean(0), torch.zeros(3), atol=1e-4)
    assert torch.allclose(x.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-4)
    values = made.spec().values
    assert torch.allclose(
        values.inverse(made.test.x()), pick(made.test.images, torch.arange(50)), atol=1e-4
    )
    again = Transform.from_json(values.to_json())
    assert torch.equal(again(made.test.images[:5]), values(made.test.images[:5]))
    plain = prepare(columns(), Data(standardize=False, validation=0))
    assert plain.train.values.loc is None


# rows of a training -----------------------------------------------------------------------------


def test_groups_stay_together(tmp_path: Path) -> None:
    groups = torch.from_numpy(np.random.default_rng(0).integers(0, 40, 1000))
    np.savez(tmp_path / "a.npz", images=torch.arange(1000.0)[:, None].repeat(1, 2), groups=groups)
    mine = load(tmp_path / "a.npz", test=200)
    train, test = mine.train, mine.test
    assert 200 <= len(test) < 260
    assert len(train) + len(test) == 1000
    assert train.groups is not None
    assert test.groups is not None
    assert not set(train.groups.tolist()) & set(test.groups.tolist())
    kept, held = partition(train, 0.1, seed=3)
    assert held is not None
    assert kept.groups is not None
    assert held.groups is not None
    assert not set(kept.groups.tolist()) & set(held.groups.tolist())
    seen = torch.cat([part.images[:, 0] for part in (kept, held, test)])
    assert sorted(seen.tolist()) == list(range(1000))


def test_one_group_cannot_be_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.eye(20), groups=np.zeros(20, int))
    with fails("takes 20 of 20 training rows and leaves none"):
        load(tmp_path / "a.npz", test=2)


def test_a_set_with_validation_rows_of_its_own_keeps_them() -> None:
    own = Dataset("mine", "gray", gray(), gray(50, 1), validation=gray(30, 2))
    assert len(prepare(own, Data()).train) == 200
    made = prepare(own, Data())
    assert made.validation is not None
    assert torch.equal(made.validation.x(), gray(30, 2).x())
    chosen = prepare(own, Data(validation=20))
    assert [len(split) for split in chosen.splits.values()] == [180, 20, 50]
    assert fingerprint(own) != fingerprint(dataset())


# rows that are not a tensor ---------------------------------------------------------------------


def counts(n: int = 60, width: int = 400) -> tuple[SparseRows, np.ndarray]:
    matrix = sparse.random(n, width, density=0.05, format="csr", random_state=0)
    matrix.data = np.ceil(9 * matrix.data)
    parts = (matrix.data.astype(np.float32), matrix.indices, matrix.indptr)
    values, columns, starts = (torch.from_numpy(part) for part in parts)
    return SparseRows(values, columns.long(), starts.long(), width), matrix.toarray()


def test_sparse_rows_are_those_of_the_dense_table() -> None:
    rows, dense = counts()
    order = torch.randperm(60)
    assert np.array_equal(rows.pick(order).numpy(), dense[order.numpy()])
    taken = rows.take(order[:20])
    assert np.array_equal(taken.pick(torch.arange(20)).numpy(), dense[order[:20].numpy()])
    assert np.array_equal(Split(rows).x(), dense)
    both = (Split(part) for part in (rows, torch.from_numpy(dense).float()))
    assert len({fingerprint(Dataset("c", "counts", part, part)) for part in both}) == 1
    assert len(taken.values) == np.count_nonzero(dense[order[:20].numpy()])


def test_sparse_counts_stay_sparse_until_the_batch() -> None:
    rows, dense = counts()
    made = prepare(Dataset("c", "counts", Split(rows), Split(rows)), Data(validation=10))
    assert all(isinstance(split.images, SparseRows) for split in made.splits.values())
    batches = Batches(made.train, 16)
    seen = torch.cat([batch.x for batch in batches.epoch(0)])
    assert seen.shape == (50, 400)
    assert isinstance(batches._images, SparseRows)
    order = partition(Split(torch.from_numpy(dense).float()), 10)[0]
    assert seen.sum() == order.images.sum()
    assert torch.allclose(made.spec().mean, order.images.mean(0))  # type: ignore[arg-type]


def test_mapped_rows_give_the_batches_of_rows_in_memory() -> None:
    split = gray()
    assert isinstance(split.images, torch.Tensor)
    mapped = Split(MappedRows(split.images.numpy()))
    sets = [Dataset("mine", "gray", part, part) for part in (split, mapped)]
    assert fingerprint(sets[0]) == fingerprint(sets[1])
    made = [prepare(one, Data(validation=0.25, split_seed=4)) for one in sets]
    assert isinstance(made[1].train.images, MappedRows)
    a, b = (torch.cat([x for x, _ in Batches(one.train, 32).epoch(2)]) for one in made)
    assert torch.equal(a, b)
    assert torch.equal(made[0].spec().mean, made[1].spec().mean)  # type: ignore[arg-type]


# what does not suit -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "options", "message"),
    [
        (columns(), {"binarize": "static"}, "`binarize=static` is for images"),
        (columns(), {"range": "-1,1"}, "`range=-1,1` is for images"),
        (columns(), {"dequantize": True}, "`dequantize` is for gray and color images of 8 bits"),
        (dataset(), {"standardize": True}, "`standardize` is for tables"),
        (load("shapes"), {"dequantize": True}, "shapes holds binary data"),
        (dataset(), {"dequantize": True, "binarize": "static"}, "exclude each other"),
        (dataset(), {"range": "-1,1", "binarize": "static"}, "leave `range`, or `binarize`"),
        (dataset(), {"validation": 200}, "takes 200 of 200 training rows and leaves none"),
        (dataset(), {"validation": 1.5}, "a whole number of rows"),
    ],
)
def test_what_does_not_suit_the_data_is_refused(
    found: Dataset, options: dict[str, object], message: str
) -> None:
    with fails(message):
        prepare(found, Data(**options))


# new sizes --------------------------------------------------------------------------------------


def shaped(found: Dataset, **options: Any) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        entry = Entry("mine", "gray", (1,), (1, 1), 0, "", "", make=lambda _: found)
        patch.setitem(SETS, "mine", entry)
        return load("mine", **options)


def made(images: np.ndarray, kind: str, **options: Any) -> Dataset:
    rows = Split(torch.from_numpy(images), torch.arange(len(images)))
    return shaped(Dataset("mine", kind, rows, rows, len(images)), **options)


def test_without_options_nothing_is_touched() -> None:
    shapes = load("shapes")
    assert shaped(shapes) is shapes


@pytest.mark.parametrize("channels", [1, 3])
def test_eight_bits_are_scaled_as_pillow_scales(channels: int) -> None:
    images = noise(5, channels, 12, 18)
    found = made(images, "color", size=4).train.images.numpy()
    for image, small in zip(images, found, strict=True):
        for plane, wanted in zip(image, small, strict=True):
            # 18 x 12 becomes 6 x 4, of which the middle 4 columns stay.
            whole = Image.fromarray(plane).resize((6, 4), Image.Resampling.LANCZOS)
            assert np.array_equal(np.asarray(whole)[:, 1:5], wanted)


def test_floats_are_scaled_as_eight_bits_are_but_for_rounding() -> None:
    images = noise(5, 3, 12, 18)
    whole = made(images, "color", size=4).train.images.numpy()
    exact = made((images / 255).astype(np.float32), "color", size=4).train.images.numpy()
    assert exact.dtype == np.float32
    assert np.abs(exact * 255 - whole).max() <= 1.0
    assert (exact.min() >= 0, exact.max() <= 1) == (True, True)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("size", [3, 8, 20])
def test_a_constant_image_stays_constant(dtype: str, size: int) -> None:
    level = np.array(51 if dtype == "uint8" else 0.2, dtype)
    found = made(np.full((3, 1, 8, 11), level, dtype), "gray", size=size).train
    assert found.images.shape == (3, 1, size, size)
    assert np.allclose(found.x(), 0.2, atol=1e-6)


def test_crop_comes_first_and_is_exact() -> None:
    images = noise(5, 3, 9, 12)
    mine = made(images, "color", crop=4)
    assert np.array_equal(mine.train.images, images[:, :, 2:6, 4:8])
    assert mine.train.labels.tolist() == list(range(5))
    both = made(images, "color", crop=4, size=2).train.images
    assert torch.equal(both, made(images[:, :, 2:6, 4:8].copy(), "color", size=2).train.images)


def test_gray_is_the_luma_of_both_types() -> None:
    images = noise(5, 3, 4, 4)
    luma = np.einsum("nchw,c->nhw", images / 255, [0.299, 0.587, 0.114])
    mine = made(images, "color", gray=True)
    assert (mine.kind, mine.train.images.shape) == ("gray", (5, 1, 4, 4))
    assert np.abs(mine.train.x()[:, 0].numpy() - luma).max() <= 0.6 / 255
    floats = made((images / 255).astype(np.float32), "color", gray=True).train.images
    assert np.allclose(floats[:, 0], luma, atol=1e-6)


def test_binary_is_binary_until_it_is_scaled() -> None:
    bits = noise(5, 1, 8, 8) // 128 * np.uint8(255)
    assert made(bits, "binary", crop=4).kind == "binary"
    assert made(bits, "binary", size=8).kind == "binary"
    assert made(bits, "binary", size=4).kind == "gray"
    assert made(bits, "binary", gray=True).kind == "binary"
    color = np.repeat(bits, 3, axis=1)
    color[:, 0] = 0
    assert made(color, "binary", gray=True).kind == "gray"


def test_every_split_is_shaped_and_named_sets_are() -> None:
    rows = Split(torch.from_numpy(noise(10, 1, 8, 8)))
    mine = shaped(Dataset("mine", "gray", rows, rows, validation=rows), size=4)
    assert {tuple(p.images.shape[1:]) for p in mine.splits.values()} == {(1, 4, 4)}
    assert load("digits", size=16).train.images.shape == (1497, 1, 16, 16)


def test_what_cannot_be_shaped(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, images=noise(20, 8))
    with fails("`size` is for images; mine holds rows of shape (8,) (table): leave it."):
        load(path, size=4)
    with fails("`gray` is for images"):
        load(path, gray=True)
    with fails("`crop=9` is more than the images of digits have (8 x 8); take less."):
        load("digits", crop=9)


# batches ----------------------------------------------------------------------------------------


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


def test_x_is_canonical_to_the_last_bit_and_context_stays_with_its_row() -> None:
    images = torch.from_numpy(noise(70, 1, 5, 5))
    numbers = torch.arange(70.0)[:, None]
    batches = Batches(Split(images), 32, context=numbers)
    for x, context in batches.epoch(0):
        assert x.dtype == torch.float32
        assert torch.equal(x, images[context[:, 0].long()].float() / 255)
    assert next(Batches(Split(images), 32).epoch(0)).context is None


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
        ({"batch_size": 0}, "got `batch_size=0`; expected a whole number of at least 1."),
        ({"batch_size": 9, "world": 2}, "`batch_size=9` cannot be shared equally by 2 processes"),
        ({"batch_size": 8, "rank": 2, "world": 2}, "got rank 2 of 2."),
        ({"batch_size": 8, "world": 0}, "got rank 0 of 0."),
        (
            {"batch_size": 8, "context": torch.zeros(9, 2)},
            "context has shape (9, 2); expected 10 rows.",
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

"""What a training makes of a data set: splits, groups, binarisation, dequantisation, scales."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from scipy import sparse, stats

from vaekit import VaekitError
from vaekit.data import Batches, Dataset, Split, Values, fingerprint, load, partition, prepare
from vaekit.data.rows import MappedRows, SparseRows, chunks, pick
from vaekit.data.splits import hold_out
from vaekit.options import Data


def grey(n: int = 200, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    return Split(torch.from_numpy(rng.integers(0, 256, (n, 1, 4, 4), dtype=np.uint8)))


def dataset(kind: str = "grey", source: str = "generated", n: int = 200) -> Dataset:
    return Dataset("mine", kind, grey(n), grey(50, seed=1), source=source)


def table(n: int = 500) -> Dataset:
    rows = torch.randn(n, 3) * torch.tensor([1.0, 50.0, 0.0]) + torch.tensor([0.0, 7.0, 4.0])
    return Dataset("mine", "table", Split(rows), Split(rows[:50] + 1), source="mine.csv")


# binarisation ---------------------------------------------------------------------------------


def test_dynamic_binarisation_draws_training_pixels_anew_with_their_own_probability() -> None:
    made = prepare(dataset(), Data(binarise="dynamic", validation=0))
    batches = Batches(made.train, len(made.train), shuffle=False)
    draws = torch.stack([next(batches.epoch(e)).x for e in range(400)])
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    wanted = pick(made.train.images, torch.arange(len(made.train))).double() / 255
    z = (draws.double().mean(0) - wanted) / (wanted * (1 - wanted) / 400).sqrt().clamp_min(1e-9)
    inside = (wanted > 0.05) & (wanted < 0.95)
    assert stats.kstest(z[inside].numpy(), "norm").statistic < 0.03
    assert (draws[:, wanted == 1] == 1).all()
    assert (draws[:, wanted == 0] == 0).all()


def test_the_test_rows_are_drawn_once_whatever_the_seed() -> None:
    made = [prepare(dataset(), Data(binarise="dynamic"), seed=seed) for seed in (0, 1)]
    assert torch.equal(made[0].test.x(), made[1].test.x())
    assert torch.equal(made[0].test.x(), made[0].test.x())
    assert made[0].kind == made[0].spec().kind == "binary"
    assert not torch.equal(made[0].train.x(), made[0].train.x())
    p = dataset().test.x()
    assert abs(float((made[0].test.x() - p).mean())) < 4 * float((p * (1 - p)).mean() / 800) ** 0.5


def test_static_binarisation_is_kept_and_threshold_is_a_comparison() -> None:
    static = [prepare(dataset(), Data(binarise="static", validation=0), seed=0) for _ in "ab"]
    assert torch.equal(static[0].train.x(), static[1].train.x())
    assert set(static[0].train.x().unique().tolist()) == {0.0, 1.0}
    made = prepare(dataset(), Data(binarise="threshold", validation=0))
    order = partition(dataset().train, 0, seed=0)[0]
    assert torch.equal(made.train.x(), (order.x() > 0.5).float())
    assert torch.equal(made.test.x(), (dataset().test.images.float() > 127.5).float())


# dequantisation and ranges --------------------------------------------------------------------


def test_dequantised_values_fill_their_level_evenly() -> None:
    made = prepare(dataset(), Data(dequantise=True, validation=0))
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
        values = Values(low, high, dequantise=True)
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


# standardising --------------------------------------------------------------------------------


def test_a_csv_is_standardised_by_its_training_rows_and_comes_back() -> None:
    made = prepare(table(), Data(validation=0.2))
    x = made.train.x()
    assert torch.allclose(x.mean(0), torch.zeros(3), atol=1e-4)
    assert torch.allclose(x.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-4)
    values = made.spec().values
    assert torch.allclose(values.inverse(made.test.x()), table_like(made.test), atol=1e-4)
    again = Values.from_json(values.to_json())
    assert torch.equal(again(made.test.images[:5]), values(made.test.images[:5]))
    plain = prepare(table(), Data(standardise=False, validation=0))
    assert plain.train.values.loc is None


def table_like(split: Split) -> torch.Tensor:
    return pick(split.images, torch.arange(len(split)))


# splits ---------------------------------------------------------------------------------------


def test_groups_stay_together() -> None:
    groups = torch.from_numpy(np.random.default_rng(0).integers(0, 40, 1000))
    rows = Split(torch.arange(1000.0)[:, None].repeat(1, 2), groups=groups)
    train, test = hold_out(rows, 200)
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


def test_one_group_cannot_be_split() -> None:
    rows = Split(torch.rand(20, 2), groups=torch.zeros(20, dtype=torch.int64))
    with pytest.raises(VaekitError, match="takes 20 of 20 training rows and leaves none"):
        hold_out(rows, 2)


def test_a_set_with_validation_rows_of_its_own_keeps_them() -> None:
    own = Dataset("mine", "grey", grey(), grey(50, 1), validation=grey(30, 2))
    assert len(prepare(own, Data()).train) == 200
    made = prepare(own, Data())
    assert made.validation is not None
    assert torch.equal(made.validation.x(), grey(30, 2).x())
    chosen = prepare(own, Data(validation=20))
    assert [len(split) for split in chosen.splits.values()] == [180, 20, 50]
    assert fingerprint(own) != fingerprint(dataset())


# rows that are not a tensor -------------------------------------------------------------------


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
    assert np.array_equal(torch.cat(list(chunks(rows))).numpy(), dense)
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


@pytest.mark.parametrize(
    ("columns", "starts", "message"),
    [([0, 9], [0, 1, 2], "names column 9"), ([0, 1], [0, 2, 1], "do not fit each other")],
)
def test_broken_sparse_rows_are_refused(
    columns: list[int], starts: list[int], message: str
) -> None:
    with pytest.raises(VaekitError, match=message):
        SparseRows(torch.ones(2), torch.tensor(columns), torch.tensor(starts), 3)


def test_mapped_rows_give_the_batches_of_rows_in_memory() -> None:
    split = grey()
    assert isinstance(split.images, torch.Tensor)
    mapped = Split(MappedRows(split.images.numpy()))
    sets = [Dataset("mine", "grey", part, part) for part in (split, mapped)]
    assert fingerprint(sets[0]) == fingerprint(sets[1])
    made = [prepare(one, Data(validation=0.25), seed=4) for one in sets]
    assert isinstance(made[1].train.images, MappedRows)
    a, b = (torch.cat([x for x, _ in Batches(one.train, 32).epoch(2)]) for one in made)
    assert torch.equal(a, b)
    assert torch.equal(made[0].spec().mean, made[1].spec().mean)  # type: ignore[arg-type]


# refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (table(), {"binarise": "static"}, "--binarise static is for images"),
        (table(), {"range": "-1,1"}, "--range -1,1 is for images"),
        (table(), {"dequantise": True}, "--dequantise is for grey and colour images of 8 bits"),
        (dataset(), {"standardise": True}, "--standardise is for tables"),
        (load("shapes"), {"dequantise": True}, "shapes holds binary data"),
        (dataset(), {"dequantise": True, "binarise": "static"}, "exclude each other"),
        (dataset(), {"range": "-1,1", "binarise": "static"}, "leave --range, or --binarise"),
        (dataset(), {"validation": 200}, "takes 200 of 200 training rows and leaves none"),
        (dataset(), {"validation": 1.5}, "a whole number of rows"),
    ],
)
def test_what_does_not_suit_the_data_is_refused(
    data: Dataset, options: dict[str, object], message: str
) -> None:
    with pytest.raises(VaekitError, match=re.escape(message)):
        prepare(data, Data(**options))

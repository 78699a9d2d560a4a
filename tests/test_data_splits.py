"""Which rows are taken, held out and kept for test: by `split_seed` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vaekit
from vaekit._train_options import Data
from vaekit.data import Dataset, Split, Transform, from_value, generator, prepare, read


def table(path: Path, groups: bool = False) -> str:
    """100 rows; the first column numbers them."""
    rows = np.random.default_rng(1).normal(3, 2, (100, 3))
    rows[:, 0] = np.arange(100)
    lines = [
        ",".join(map(repr, [*row.tolist(), *([i // 7] * groups)])) for i, row in enumerate(rows)
    ]
    path.write_text("\n".join(["a,b,c" + ",g" * groups, *lines]) + "\n")
    return str(path)


def numbers(split: Split | None) -> list[int]:
    assert split is not None
    return split.images[:, 0].round().int().tolist()  # type: ignore[index]


def made(**options: Any) -> Dataset:
    asked = Data(**options)
    return prepare(read(asked), asked)


def test_the_split_of_seed_0_is_that_of_numpys_and_torchs_streams(tmp_path: Path) -> None:
    data = made(data=table(tmp_path / "a.csv"), limit=50)
    order = np.random.RandomState(0).permutation(100)  # frozen by numpy's policy
    assert numbers(data.test) == order[:10].tolist()
    kept = torch.randperm(90, generator=generator(0, "partition"))[:50].numpy()
    assert numbers(data.validation) == order[10:][kept[:5]].tolist()
    assert numbers(data.train) == order[10:][kept[5:]].tolist()


@pytest.mark.parametrize("groups", [False, True])
def test_another_split_seed_gives_other_rows_everywhere(tmp_path: Path, groups: bool) -> None:
    options = {"data": table(tmp_path / "a.csv", groups), "group": "g" if groups else None}
    first, again, other = (made(**options, limit=60, split_seed=seed) for seed in (0, 0, 1))
    for name, split in first.splits.items():
        assert numbers(split) == numbers(again.splits[name])
        assert set(numbers(split)) != set(numbers(other.splits[name]))


def test_a_set_by_name_keeps_its_test_rows() -> None:
    first, other = (made(data="digits", split_seed=seed) for seed in (0, 1))
    assert torch.equal(first.test.images, other.test.images)  # type: ignore[arg-type]
    assert not torch.equal(first.train.images, other.train.images)  # type: ignore[arg-type]


def test_stored_values_are_taken_and_not_fitted_anew(tmp_path: Path) -> None:
    asked = Data(data=table(tmp_path / "a.csv"))
    values = Transform(loc=torch.tensor([1.0, 2.0, 3.0]), scale=torch.tensor([2.0, 4.0, 8.0]))
    data = prepare(read(asked), asked, values=values)
    for split in data.splits.values():
        assert torch.equal(split.x(), (split.images - values.loc) / values.scale)  # type: ignore[operator]
    asked = Data(binarize="dynamic")
    earlier = prepare(read(asked), asked).train.values
    again = prepare(read(asked), asked, values=earlier)
    assert again.train.values.binarize
    assert not again.test.values.binarize


def test_rows_are_called_by_what_they_come_from(tmp_path: Path) -> None:
    data = made(data=table(tmp_path / "a.csv"))
    for split in data.splits.values():
        assert split.ids is not None
        assert split.ids.tolist() == [number + 2 for number in numbers(split)]  # lines of the file
    pandas = pytest.importorskip("pandas")
    rows = pandas.DataFrame({"a": range(40)}, index=[f"row {i}" for i in range(40)])
    for split in prepare(from_value(rows), Data(dequantize=False)).splits.values():
        stored = [f"row {number}" for number in numbers(split)]
        assert split.ids is not None
        assert split.ids.tolist() == stored
        assert split.take(torch.tensor([2, 0])).ids.tolist() == [stored[2], stored[0]]


QUICK = {"latent": 2, "net": "mlp:hidden=8", "epochs": 1, "report": False, "threads": 1}


def test_seeds_of_a_table_share_their_rows_and_one_scaling(tmp_path: Path) -> None:
    options: dict[str, Any] = {**QUICK, "data": table(tmp_path / "a.csv")}
    vaekit.train_seeds("vae", seeds=2, out=tmp_path / "s", limit=60, **options)
    runs = [vaekit.load(tmp_path / "s" / f"seed-{seed}") for seed in (0, 1)]
    other = vaekit.train("vae", out=tmp_path / "o", limit=60, split_seed=1, **options)
    first, second, third = (run.dataset() for run in (*runs, other))
    for name, split in first.splits.items():
        assert torch.equal(split.x(), second.splits[name].x())
        assert set(numbers(split)) != set(numbers(third.splits[name]))
    locs = [run.spec.values.loc for run in (*runs, other)]
    assert all(isinstance(loc, Tensor) for loc in locs)
    assert torch.equal(locs[0], locs[1])  # type: ignore[arg-type]
    assert not torch.equal(locs[0], locs[2])  # type: ignore[arg-type]
    weights = [next(run.model.parameters()) for run in runs]
    assert not torch.equal(*weights)


def test_a_run_opened_again_is_scaled_as_it_was_trained(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv")
    run = vaekit.train("vae", out=tmp_path / "r", data=path, **QUICK)
    before = run.dataset().test.x()
    stored = run.folder.read_json("config")
    stored["spec"]["values"]["loc"] = [0.0, 0.0, 0.0]
    run.folder.write_json("config", stored)
    after = vaekit.load(tmp_path / "r").dataset().test.x()
    values = run.spec.values
    torch.testing.assert_close(after, before + values.loc / values.scale)  # type: ignore[operator]

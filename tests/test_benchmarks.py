"""The benchmark's logic: the sides do the same work, and the table is that of the results."""

from __future__ import annotations

import collections
import csv
import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peers.kit import Kit
from peers.loops import HandWritten, Tutorial
from peers.results import COLUMNS, HEAD, LINES, Measured, append, read, table
from peers.side import Side, alternate, quartiles, ratios
from peers.task import TASKS, make_pictures, read_picture
from torch import nn

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", ["w1-128", "w2", "w3"])
def test_the_loops_have_our_loss_and_gradient(name: str, tmp_path: Path) -> None:
    """At the same weights and noise; pythae's side is held to it by each run."""
    task = replace(TASKS[name], batch=8, steps=1)
    if task.kind == "color":
        make_pictures(tmp_path, task.rows + 10)
        task = replace(task, pictures=tmp_path)
    ours, theirs = Kit(task, keep=False).check(), Tutorial(task).check()
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert ours[0] > 1


def test_both_sides_take_the_same_steps() -> None:
    """A round each, on the same rows: the losses of an epoch differ by noise and order alone."""
    task = replace(TASKS["w1-128"], batch=32, steps=20)
    sides = [Kit(task, keep=False), Tutorial(task), HandWritten(task)]
    before = sides[0].check()[0]
    found = [side.run() for side in sides]
    assert found == pytest.approx([found[0]] * 3, rel=0.03)
    assert found[0] < 0.95 * before


def test_a_tutorials_pixels_are_ours(tmp_path: Path) -> None:
    make_pictures(tmp_path, 1)
    picture = read_picture(tmp_path / "00000.jpg")
    assert picture.shape == (3, 64, 64)
    assert torch.equal(picture, (picture * 255).round() / 255)
    task = replace(TASKS["w1-128"], batch=4, steps=1)
    ((theirs, _),) = Tutorial(task).loader
    ours = next(iter(Kit(task, keep=False).batches.epoch(0))).x
    assert torch.equal(theirs.sort(0).values, ours.sort(0).values)


def test_the_operations_of_a_step() -> None:
    """Two per weight and row forward, four backward, but for the first layer's input."""
    task = replace(TASKS["w1-128"], batch=4, steps=1)
    kit = Kit(task, keep=False)
    weights = [m.weight.numel() for m in kit.model.modules() if isinstance(m, nn.Linear)]
    assert kit.flops() == 2 * task.batch * (3 * sum(weights) - weights[0])
    shapes = kit.products()
    assert kit.flops() == sum(2 * math.prod(shape) * often for shape, often in shapes.items())
    assert len(kit.quickest([*shapes], times=1)) == len(shapes)


def test_a_side_answers_and_tells_what_went_wrong() -> None:
    side = Side(collections.Counter, "aab", threads=1)
    assert side.ask("most_common", 1) == [("a", 2)]
    assert side.seconds("total") >= 0
    with pytest.raises(SystemExit, match="AttributeError"):
        side.ask("least_common")


def test_sides_take_turns() -> None:
    order: list[str] = []

    def call(name: str, value: float) -> float:
        order.append(name)
        return value

    times = alternate({"a": lambda: call("a", 4.0), "b": lambda: call("b", 2.0)}, 3)
    assert order == ["a", "b"] * 3
    assert ratios(times["a"], times["b"]) == [2.0] * 3
    assert quartiles([1.0, 9.0, 2.0, 4.0, 3.0]) == (2.0, 3.0, 4.0)
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)


def test_rows_are_read_as_they_were_added(tmp_path: Path) -> None:
    line = LINES[0]
    for value in (1.5, 1.71234):
        append([Measured(f"benchmarks/{line.benchmark}", "2 rounds", line.measure, value)],
               tmp_path / "a.csv")  # fmt: skip
    (tmp_path / "other.csv").write_text("name,seed\nx,0\n")
    rows = read(tmp_path)
    assert [tuple(row) for row in rows] == [COLUMNS] * 2
    assert [row["value"] for row in rows] == ["1.5", "1.712"]
    (shown,) = table(rows).removeprefix(HEAD).splitlines()
    cells = [cell.strip() for cell in shown.strip("|").split("|")]
    assert cells[:4] == [line.what, line.against, "1.712", line.target]
    assert cells[4].endswith("2 rounds")
    assert table([]) == HEAD


def test_the_table_and_the_chart_are_those_of_the_results() -> None:
    spec = importlib.util.spec_from_file_location("benchmarks", ROOT / "tools" / "benchmarks.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = tool.PAGE.read_text()
    assert tool.written(page) == page, "run python tools/benchmarks.py"
    assert tool.chart() == tool.CHART.read_text(), "run python tools/benchmarks.py"
    bars = tool.bars()
    assert len(bars) == tool.chart().count("<rect") - 5, "each, a ground and a legend of four"
    for bar in bars:
        low, high = bar.quartiles or (bar.value, bar.value)
        assert low <= bar.value <= high < tool.TICKS[-1] + 0.5, bar


def test_every_result_is_a_number() -> None:
    for path in (ROOT / "benchmarks" / "results").glob("*.csv"):
        with path.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            assert math.isfinite(float(row.get("value") or row["ours"])), (path, row)

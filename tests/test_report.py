"""The report: images to the last pixel, charts by their numbers, the page by a parser."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import vaekit
from vaekit import Run
from vaekit.errors import VaekitError
from vaekit.report import (
    BAND,
    GAP,
    Chart,
    Line,
    bars,
    columns_of,
    grid,
    kl_bars,
    labeled,
    limits,
    lines,
    on_axes,
    pairs,
    png_bytes,
    render,
    save_images,
    training_curves,
    write_run_report,
)

TEMPLATES = Path(vaekit.__file__).parent / "report" / "templates"
NASTY = """<b onclick="x('&amp;')">"x" & 'y'</b><script>alert(1)</script>"""


def fails(message: str) -> Any:
    return pytest.raises(VaekitError, match=re.escape(message))


def pixels(image: Image.Image) -> np.ndarray:
    """What a reader of the PNG file sees."""
    with Image.open(io.BytesIO(png_bytes(image))) as file:
        assert (file.format, file.mode) == ("PNG", "RGBA")
        return np.array(file)


def levels(images: Tensor) -> np.ndarray:
    """`(N, H, W, 3)`: round(255 x), by numpy."""
    values = np.round(images.numpy().astype(np.float64) * 255).astype(np.uint8)
    return np.broadcast_to(values, (len(values), 3, *values.shape[2:])).transpose(0, 2, 3, 1)


def assert_shows(sheet: np.ndarray, left: int, top: int, factor: int, image: np.ndarray) -> None:
    """One image, each of its pixels an opaque block of one color."""
    for (y, x), _ in np.ndenumerate(image[..., 0]):
        start_y, start_x = top + factor * y, left + factor * x
        block = sheet[start_y : start_y + factor, start_x : start_x + factor]
        assert block.shape == (factor, factor, 4)
        assert (block[..., :3] == image[y, x]).all()
        assert (block[..., 3] == 255).all()


# images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("count", "size", "columns", "width", "factor"),
    [(6, (8, 8), 3, 244, 10), (7, (5, 4), 4, 54, 3), (2, (4, 6), 2, 12, 1), (1, (3, 3), 1, 30, 10)],
)
def test_grid_to_the_last_pixel(
    channels: int, count: int, size: tuple[int, int], columns: int, width: int, factor: int
) -> None:
    images = torch.rand(count, channels, *size)
    sheet = pixels(grid(images, columns=columns, width=width))
    high, wide = factor * size[0] + GAP, factor * size[1] + GAP
    rows = math.ceil(count / columns)
    assert sheet.shape == (rows * high - GAP, columns * wide - GAP, 4)
    for number, image in enumerate(levels(images)):
        row, column = divmod(number, columns)
        assert_shows(sheet, column * wide, row * high, factor, image)
    assert (sheet[..., 3] > 0).sum() == count * factor**2 * size[0] * size[1]


@pytest.mark.parametrize(
    ("wide", "columns", "factor"),
    [(8, 8, 12), (28, 8, 3), (28, 10, 2), (32, 8, 3), (64, 8, 1), (218, 8, 1), (1, 1, 830)],
)
def test_the_factor_is_whole_and_the_sheet_as_wide_as_fits(
    wide: int, columns: int, factor: int
) -> None:
    sheet = grid(torch.rand(columns, 1, 1, wide), columns=columns)
    assert sheet.size == (columns * (factor * wide + GAP) - GAP, factor)
    assert factor == 1 or 0.65 * 830 < sheet.width <= 830


def test_without_columns_the_grid_is_about_square_and_never_has_empty_columns() -> None:
    for count, columns, rows in ((64, 8, 8), (18, 6, 3), (5, 5, 1), (1, 1, 1)):
        size = grid(torch.rand(count, 1, 2, 2), width=1).size
        assert size == (columns * (2 + GAP) - GAP, rows * (2 + GAP) - GAP)
    assert grid(torch.rand(3, 1, 2, 2), columns=10, width=1).width == 3 * (2 + GAP) - GAP


def test_no_grid_is_ragged_that_need_not_be() -> None:
    for count in range(1, 200):
        alone, pairs_ = columns_of(count), columns_of(count, several=True)
        assert 1 <= alone <= count
        assert alone**2 >= count, "never higher than wide"
        assert min(count, 5) <= pairs_ <= 12
        divisors = [n for n in range(1, count + 1) if count % n == 0]
        if any(count <= n * n <= 9 * count for n in divisors):
            assert count % alone == 0
        if any(5 <= n <= 12 for n in divisors):
            assert count % pairs_ == 0


def test_colors_stay_in_order() -> None:
    image = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1)
    assert pixels(grid(image, width=1)).tolist() == [[[255, 128, 0, 255]]]


def test_values_are_clamped_and_nan_is_mid_gray() -> None:
    values = torch.tensor([-0.5, 0.0, 1.0, 7.0, math.inf, -math.inf, math.nan]).view(1, 1, 1, 7)
    for kind in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        sheet = pixels(grid(values.to(kind), width=1))
        assert sheet[0, :, 0].tolist() == [0, 0, 255, 255, 255, 0, 128]


def test_every_level_survives() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    sheet = pixels(grid((every.float() / 255).view(1, 1, 16, 16), width=16))
    assert sheet[..., 0].flatten().tolist() == every.tolist()


def test_images_are_not_changed_and_may_need_gradients() -> None:
    images = (torch.rand(4, 1, 3, 3) * 3 - 1).requires_grad_()
    before = images.detach().clone()
    grid(images)
    assert torch.equal(images.detach(), before)


@pytest.mark.parametrize(
    "images",
    [
        torch.rand(5, 64),
        torch.rand(5, 8, 8),
        torch.rand(0, 1, 8, 8),
        torch.rand(5, 1, 8, 0),
        torch.zeros(5, 1, 8, 8, dtype=torch.uint8),
    ],
)
def test_grid_refuses(images: Tensor) -> None:
    with fails(f"(N, C, H, W) and N at least 1; got {images.dtype}, {tuple(images.shape)}"):
        grid(images)


def test_other_channels_are_drawn_in_color() -> None:
    x = torch.rand(3, 5, 8, 8)
    assert grid(x).tobytes() == grid(x[:, :3]).tobytes()
    assert grid(x[:, :2]).tobytes() == grid(x[:, (0, 1, 1)]).tobytes()


def test_grid_refuses_sizes() -> None:
    with fails("got `columns=0`; expected a whole number of at least 1."):
        grid(torch.rand(5, 1, 2, 2), columns=0)
    with fails("got `width=0`; expected a whole number of at least 1."):
        grid(torch.rand(5, 1, 2, 2), torch.rand(5, 1, 2, 2), width=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_pairs_stand_above_each_other(channels: int) -> None:
    originals, others = torch.rand(2, 7, channels, 4, 3).unbind()
    sheet = pixels(grid(originals, others, columns=3, width=24))
    factor, high, wide = 2, 8, 6 + GAP
    assert sheet.shape == (3 * (2 * high + GAP) + 2 * BAND, 3 * wide - GAP, 4)
    for number, (one, other) in enumerate(zip(levels(originals), levels(others), strict=True)):
        block, column = divmod(number, 3)
        top = block * (2 * high + GAP + BAND)
        assert_shows(sheet, column * wide, top, factor, one)
        assert_shows(sheet, column * wide, top + high + GAP, factor, other)
    assert (sheet[..., 3] > 0).sum() == 14 * high * 6


def test_pairs_refuses_shapes_that_differ() -> None:
    with fails("got images of the shapes (4, 1, 2, 2) and (3, 1, 2, 2) to put under each other"):
        grid(torch.rand(4, 1, 2, 2), torch.rand(3, 1, 2, 2))


# sheets ---------------------------------------------------------------------------------------


def found(sheet: Image.Image, images: Tensor, factor: int) -> list[tuple[int, int]]:
    """The left and top edge of each image in a sheet, by a search."""
    page, places = np.asarray(sheet.convert("RGB")), []
    for image in levels(images):
        block = image.repeat(factor, 0).repeat(factor, 1)
        high, wide = block.shape[:2]
        corners = np.argwhere((page[: -high + 1, : -wide + 1] == block[0, 0]).all(-1))
        (place,) = [
            (x, y) for y, x in corners if np.array_equal(page[y : y + high, x : x + wide], block)
        ]
        places.append(place)
    return places


def test_a_sheet_has_names_heads_and_columns_apart() -> None:
    images = torch.rand(2, 4, 1, 6, 6) * 0.5
    rows = [("first", images[0]), ("second", images[1])]
    plain, full = (labeled(rows, 4, heads=heads, over=over, together=2, apart=apart)
                   for heads, over, apart in (((), "", ()), ("0123", "words", (1, 3))))  # fmt: skip
    for sheet, top in ((plain, 8), (full, 8 + 2 * 18)):
        assert sheet.width <= 830
        high = (sheet.height - top - 8 - GAP) // 2
        places = found(sheet, images.flatten(0, 1), high // 6)
        assert [y for _, y in places] == 4 * [top] + 4 * [top + high + GAP]
        assert places[0][0] > 50, "names stand at the left"
        steps = np.diff([x for x, _ in places[:4]]) - high
        assert steps.tolist() == [GAP] * 3 if sheet is plain else [GAP + BAND, GAP, GAP + BAND]
    page = np.asarray(full.convert("L"))
    for x, _ in found(full, images[0], high // 6):
        assert (page[26:44, x : x + high] < 160).any(), "a head over each column"


def test_heads_that_would_touch_are_left_out() -> None:
    heads = [f"{n}.123456" for n in range(20)]
    sheet = np.asarray(labeled([("", torch.rand(20, 1, 28, 28))], 20, heads=heads).convert("L"))
    written = (sheet[8:26] < 200).any(0)
    gaps = np.diff(np.flatnonzero(written))
    assert 5 < (gaps > 5).sum() < 19
    assert written[:70].any()
    assert written[-40:].any(), "both ends are there"


def test_sheets_of_pairs_are_full_and_fit() -> None:
    for count, size in ((16, 28), (18, 32), (10, 48), (3, 64), (1, 8)):
        x = torch.rand(count, 3, size, size)
        sheet = pairs({"x": x, "E[x|z]": x})
        assert sheet.width <= 830
        assert sheet.height <= 1000
    with fails("got images of the shapes (3, 1, 2, 2) and (4, 1, 2, 2) to put under each other"):
        pairs({"a": torch.rand(4, 1, 2, 2), "b": torch.rand(3, 1, 2, 2)})
    with fails("got `columns=0`; expected a whole number of at least 1."):
        pairs({"a": torch.rand(4, 1, 2, 2)}, 0)


def test_a_plane_has_its_values_in_a_frame() -> None:
    images = torch.rand(3, 5, 1, 8, 8) * 0.5
    sheet = on_axes(images, [-2, -1, 0, 1, 2], [1.5, 0, -1.5])
    factor = (sheet.height - 8 - 18 - 2 * 18 - 8 - 2 * GAP) // 24
    places = found(sheet, images.flatten(0, 1), factor)
    assert len({x for x, _ in places}) == 5
    assert len({y for _, y in places}) == 3
    left, top, right = places[0][0], places[0][1], places[4][0] + 8 * factor
    page = np.asarray(sheet.convert("L")).astype(int)
    assert sheet.width <= 830
    assert (page[top - 3, left:right] < 250).all(), "a frame"
    for _, y in places[::5]:
        assert (page[y : y + 8 * factor, : left - 4] < 160).any(), "a value beside each row"
    for x, _ in places[:5]:
        assert (page[-8 - 2 * 18 : -8 - 18, x : x + 8 * factor] < 160).any(), "and under columns"


# files ----------------------------------------------------------------------------------------


def test_save_images_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "sheet.png"
    for value in (0.0, 1.0):
        save_images(torch.full((1, 1, 2, 2), value), path)
        with Image.open(path) as file:
            assert np.array(file)[0, 0].tolist() == [int(255 * value)] * 3 + [255]
    assert list(path.parent.iterdir()) == [path]


def write_one(path: Path) -> None:
    save_images(torch.rand(1, 1, 2, 2), path)


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.png"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with fails(f"cannot write {path}: No space left on device."):
        write_one(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    for name, message in (("file/x.png", "cannot make "), ("folder.png", "cannot write ")):
        with fails(message + str(tmp_path)):
            write_one(tmp_path / name)
    with fails("ends in .png or .npz"):
        write_one(Path("/"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]


# charts ---------------------------------------------------------------------------------------


def means(objective: float, kl: float | None = 20.0) -> dict[str, Any]:
    return {"objective": objective, "log_likelihood": objective + (kl or 0), "kl": kl}


def learning(epochs: int = 50, held_out: bool = True) -> list[dict[str, Any]]:
    """Far away at first, as the first epochs are."""
    records = []
    for epoch in range(1, epochs + 1):
        value = -100 - 50 / epoch - 90000 * math.exp(2 - 2 * epoch)
        validation = means(value - 3) | {"elbo": value - 3} if held_out else None
        records.append({"epoch": epoch, "train": means(value), "validation": validation})
    return records


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


class Drawing:
    """A chart as one sees it: its axes by their numbers, its lines and points in these."""

    def __init__(self, svg: str) -> None:
        self.svg = svg
        found = re.findall(r'<text[^>]*? x="(\S+)" y="(\S+)" text-anchor="(\w+)">([^<]*)<', svg)
        self.texts = [text for *_, text in found]
        up = [(float(y), number(t)) for _, y, anchor, t in found if anchor == "end"]
        across = [(float(x), number(t)) for x, _, anchor, t in found if anchor == "middle"]
        self.ticks = [value for _, value in across]
        self.up, self.across = self._scale(up, 4), self._scale(across, 0)

    @staticmethod
    def _scale(ticks: list[tuple[float, float]], below: float) -> Any:
        """From a place to a number, by the first and the last tick."""
        (a, x), (b, y) = ticks[0], ticks[-1]
        return lambda place: x + (place + below - a) / ((b - a) or 1) * (y - x)

    def points(self, kind: str) -> np.ndarray:
        """Of the line of a class, in numbers of the data."""
        (path,) = re.findall(rf'<path class="{kind}" d="([^"]*)"', self.svg)
        pairs = [pair.split() for piece in path.split("M")[1:] for pair in piece.split("L")]
        return np.array([[self.across(float(x)), self.up(float(y))] for x, y in pairs])


def drawings(records: list[dict[str, Any]]) -> list[Drawing]:
    return [Drawing(chart.svg) for chart in training_curves(records, "nats per image")]


def titles(records: list[dict[str, Any]]) -> list[str]:
    return [chart.title for chart in training_curves(records, "nats per image")]


def test_three_charts_each_with_its_lines() -> None:
    records = learning()[5:]
    assert titles(records) == ["objective", "log-likelihood", "KL"]
    names = ("objective", "log_likelihood", "kl")
    for name, drawing in zip(names, drawings(records), strict=True):
        for split, kind in (("train", "line"), ("validation", "line accent")):
            expected = [(record["epoch"], record[split][name]) for record in records]
            np.testing.assert_allclose(drawing.points(kind), expected, rtol=2e-3, atol=0.06)


def test_the_ends_of_lines_and_the_words_tell_the_last_numbers() -> None:
    charts = training_curves(learning(), "nats per row")
    assert {"train −101.0", "validation −104.0"} <= set(Drawing(charts[0].svg).texts)
    words = "KL by epoch, at the end: train 20.00, validation 20.00 nats per row"
    assert charts[2].words == words
    assert f'role="img" aria-label="{words}"' in charts[2].svg


@pytest.mark.parametrize(
    ("value", "words"),
    [(-103.239, "−103.2"), (2.5, "2.50"), (-12345.6, "−12,346"), (2e6, "2e+06"), (0.0, "0.00")],
)
def test_numbers_have_the_digits_that_they_need(value: float, words: str) -> None:
    records = [{"epoch": 1, "train": {"objective": value}, "validation": None}]
    assert f"train {words}" in drawings(records)[0].texts


def test_the_first_epochs_do_not_flatten_the_rest() -> None:
    drawing = drawings(learning())[0]
    values = drawing.points("line")
    assert values[:, 1].min() > -300  # the first one is at -90,150
    assert len(values) >= 45
    late = [record["train"]["objective"] for record in learning()][-40:]
    np.testing.assert_allclose(values[-40:, 1], late, atol=0.1)
    assert np.ptp(values[-40:, 1]) > 0.05 * np.ptp(values[:, 1])


def test_lines_are_cut_off_where_they_leave_the_chart() -> None:
    line = Line([(0, 5.0), (1, -5.0), (2, 5.0), (3, 5.0), (4, 50.0)])
    drawing = Drawing(lines("x", "", [line], y=(0, 10)).svg)
    expected = [(0, 5), (0.5, 0), (1.5, 0), (2, 5), (3, 5), (3 + 5 / 45, 10)]
    np.testing.assert_allclose(drawing.points("line"), expected, atol=0.05)
    assert drawing.svg.count("M", drawing.svg.index('class="line"')) == 2


def test_labels_of_lines_that_end_together_stand_apart() -> None:
    ends = [Line([(0, 0.0), (1, value)], f"run {value}") for value in (1.0, 1.001, 1.002, -1.0)]
    svg = lines("x", "", ends).svg
    found = re.findall(r'class="strong" x="\S+" y="(\S+)" text-anchor="start">(run \S+)', svg)
    places = sorted(float(y) for y, _ in found)
    assert min(np.diff(places)) >= 15
    assert max(places) <= 230
    assert [name for _, name in sorted(found, key=lambda pair: float(pair[0]))] == [
        "run 1.002", "run 1.001", "run 1.0", "run -1.0",
    ]  # fmt: skip


def test_without_validation_there_is_one_line() -> None:
    for drawing in drawings(learning(held_out=False)):
        assert drawing.svg.count('class="line') == 1
        assert "accent" not in drawing.svg


def test_a_single_epoch_is_a_point_one_can_see() -> None:
    found = drawings(learning(1))
    assert len(found) == 3
    for drawing in found:
        assert drawing.ticks.count(1) == 1
        circles = re.findall(r'<circle class="dot[^"]*" r="2.5" cx="(\S+)" cy="(\S+)"', drawing.svg)
        assert len(circles) == 2
        for x, y in circles:
            assert 0 < float(x) < 400
            assert 10 <= float(y) <= 200


def test_epochs_are_whole_numbers() -> None:
    for count, ticks in ((2, [1, 2]), (3, [1, 2, 3]), (60, [20, 40, 60])):
        assert drawings(learning(count))[0].ticks == ticks


def test_the_epoch_whose_weights_are_kept_is_marked() -> None:
    records = [record | {"step": 10 * record["epoch"]} for record in learning(60)[50:]]
    chart = training_curves(records, "nats", step=570)[0]
    drawing = Drawing(chart.svg)
    (mark,) = re.findall(r'<circle class="dot accent" r="5" cx="(\S+)" cy="(\S+)"', chart.svg)
    expected = 57, records[6]["validation"]["objective"]
    assert drawing.across(float(mark[0])) == pytest.approx(expected[0], abs=0.02)
    assert drawing.up(float(mark[1])) == pytest.approx(expected[1], rel=1e-2)
    assert 'r="5"' not in training_curves(records, "nats", step=None)[0].svg


def test_a_missing_kl_leaves_its_chart_out() -> None:
    records = [{"epoch": e, "train": means(-5.0, None), "validation": None} for e in range(4)]
    assert titles(records) == ["objective", "log-likelihood"]
    for record in records:
        record["train"].pop("kl")
    assert titles(records) == ["objective", "log-likelihood"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, None])
def test_what_is_not_finite_is_left_out(bad: float | None) -> None:
    records = learning(60)[50:]
    records[2]["train"]["objective"] = bad
    records[9]["validation"] = {"objective": bad, "log_likelihood": -1.0, "kl": bad}
    found = drawings(records)
    assert len(found[0].points("line")) == len(found[0].points("line accent")) == 9
    assert len(found[2].points("line accent")) == 9
    for drawing in found:
        assert "nan" not in drawing.svg
        assert "inf" not in drawing.svg
    nothing = [{"epoch": 1, "train": dict.fromkeys(("objective", "kl"), bad), "validation": None}]
    assert training_curves(nothing, "nats") == []


def test_no_records_draw_nothing() -> None:
    assert training_curves([], "nats") == []


@pytest.mark.parametrize(
    "values", [[0.0] * 9, [1e-7, 2e-7], [-1e99, 1e99], [-1e7, -1e7 + 1], [5.0], [0.0] * 9 + [9.0]]
)
def test_odd_ranges_still_make_a_chart(values: list[float]) -> None:
    low, high = limits(values)
    assert low < min(values) <= max(values) < high
    assert high - low >= 0.0999
    records = [
        {"epoch": epoch, "train": means(value), "validation": None}
        for epoch, value in enumerate(values, 1)
    ]
    assert len(training_curves(records, "nats")) == 3


def test_limits_drop_what_lies_far_from_the_rest() -> None:
    usual = [-100.0 - i / 10 for i in range(40)]
    for far in (-1e6, 1e6):
        low, high = limits([*usual, far])
        assert low < min(usual)
        assert max(usual) < high
        assert high - low < 20


def kl_of(kl: list[float], variance: list[float]) -> Chart | None:
    return kl_bars({"kl_per_dim": kl, "variance": variance})


def bars_of(chart: Chart) -> list[tuple[str, float, float, float]]:
    """Class, left edge, width and height of each bar, in units."""
    form = r'<rect class="bar ?(\w*)" x="(\S+)" y="\S+" width="(\S+)" height="(\S+)"'
    return [(kind, *map(float, rest)) for kind, *rest in re.findall(form, chart.svg)]  # type: ignore[misc]


def test_bars_are_sorted_and_as_high_as_their_kl() -> None:
    kl = [0.0, 2.0, 0.005, 4.0, 0.0099, 1.0]
    chart = kl_of(kl, kl)
    assert chart is not None
    assert chart.words == chart.title == "3 of 6 dimensions active, 7.01 nats in total"
    found = bars_of(chart)
    unit = found[0][3] / 4
    assert [height / unit for *_, height in found] == pytest.approx(
        [4, 2, 1, 0.0099, 0.005, 0], abs=0.01
    )
    assert [kind for kind, *_ in found] == ["", "", "", "idle", "idle", "idle"]
    names = re.findall(r'<text x="\S+" y="\S+" text-anchor="middle">(\d)<', chart.svg)
    assert names == ["3", "1", "5", "4", "2", "0"]


@pytest.mark.parametrize("dims", [1, 2, 16, 24, 25, 100, 500])
def test_bars_of_any_number_stay_on_the_paper(dims: int) -> None:
    kl = torch.rand(dims).tolist()
    chart = kl_of(kl, kl)
    assert chart is not None
    found = bars_of(chart)
    unit = found[0][3] / max(kl)
    assert [height / unit for *_, height in found] == pytest.approx(
        sorted(kl, reverse=True), abs=0.01
    )
    assert found[0][1] >= 46
    assert found[-1][1] + found[-1][2] <= 393
    assert len(re.findall(r'anchor="middle">', chart.svg)) == (dims if dims <= 24 else 0)


def test_bars_of_odd_values() -> None:
    chart = kl_of([math.nan, 1.0, -0.5, math.inf], [1.0, 1.0, 0.0, 1.0])
    assert chart is not None
    assert chart.words == "1 of 2 dimensions active, 0.50 nats in total"
    assert [height > 0 for *_, height in bars_of(chart)] == [True, False]
    flat = kl_of([1e-5] * 8, [0.0] * 8)
    assert flat is not None
    assert max(height for *_, height in bars_of(flat)) < 1  # a collapsed code looks collapsed
    assert kl_of([], []) is None
    assert kl_of([math.nan] * 3, [0.0] * 3) is None


def test_names_of_bars_are_escaped() -> None:
    svg = bars("t", "", [1.0], [NASTY], words=NASTY).svg
    assert "<b" not in svg
    assert "<script" not in svg


def test_charts_take_the_colors_of_the_page_alone() -> None:
    """By classes that the style sheet has, in light, dark and on paper."""
    charts = [*training_curves(learning(), "nats"), kl_of([1.0, 0.0], [1.0, 0.0])]
    style = (TEMPLATES / "style.css").read_text()
    for chart in charts:
        assert chart is not None
        assert not re.search(r"#[0-9a-fA-F]{3}|rgb|fill=|stroke=", chart.svg)
        for names in re.findall(r'class="([^"]*)"', chart.svg):
            for name in names.split():
                assert f".{name}" in style


# the page -------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & {*self.open}:
            self.text += data

    def all(self, tag: str) -> list[Mapping[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    options: dict[str, Any] = {"net": "mlp:hidden=16", "epochs": 3, "limit": 300, "threads": 1}
    folder = tmp_path_factory.mktemp("report")
    return vaekit.train("vae", data="digits", latent=4, out=folder / "r", report=False, **options)


@pytest.fixture(scope="module")
def html(run: Run) -> str:
    return write_run_report(run).read_text(encoding="utf-8")


def test_the_report_is_complete_in_itself(html: str) -> None:
    found = Page(html)
    assert not re.search(r"https?:|@import|(src|href)=[\"']?//|xmlns|<!ENTITY", html)
    assert {tag for tag, _ in found.tags}.isdisjoint({"link", "iframe", "object", "base"})
    for address in re.findall(r"url\(([^)]*)\)", html):
        assert address.startswith(("data:image/", "${"))
    for script in found.all("script"):
        assert set(script) <= {"type"}
    for image in found.all("img"):
        assert image["alt"]
        assert (image["src"] or "").startswith("data:image/png;base64,")
    for tag in ("svg", "i"):
        assert all(one["aria-label"] for one in found.all(tag) if one.get("role") == "img")


def test_what_the_page_refers_to_is_there_once(html: str) -> None:
    ids = re.findall(r'\bid="([^"]*)"', html)
    references = re.findall(r'href="#([^")]*)', html)
    assert len(ids) == len(set(ids))
    assert references == ids


def test_its_rows_stand_in_their_order(html: str) -> None:
    ids = ["reconstructions", "likely", "samples", "walk", "dimensions", "codes", "training",
           "uses", "numbers", "network", "next", "protocol"]  # fmt: skip
    assert re.findall(r'<section class="row" id="(\w+)">', html) == ids


def test_the_report_says_what_its_images_show(html: str) -> None:
    text = Page(html).text
    for phrase in (
        "Reconstructions show the mean E[x|z] at z = E[z|x], not a draw",
        "Samples: z is drawn from the prior, the image shows E[x|z]",
        "ELBO = log-likelihood − KL",
        "the variance of E[z|x] over the data is above 0.01",
        "mean square error",
        "closest of 270 training images",
    ):
        assert phrase in text
    assert "There is no" not in text
    assert "There are no" not in text


def test_the_sentences_are_what_the_run_has(run: Run, html: str) -> None:
    text = Page(html).text
    bound = run.evaluate(limit=1000)
    records = run.folder.records()
    best = max(records, key=lambda record: record["validation"]["objective"])
    expected = f"{bound['elbo']:,.{2 if abs(bound['elbo']) < 100 else 1}f}".replace("-", "−")
    assert f"Its bound of log p(x) is {expected} ±" in text
    assert f"in epoch {best['epoch']} of 3." in text
    rows = run.dataset().test
    x = rows.x()
    error = (run.reconstruct(x) - x).square().mean()
    share = 1 - error / (x - x.mean(0)).square().mean()
    assert f"mean square error of {error:.4f} ±" in text
    explained = f"{share:.0%}".replace("-", "−")
    assert f"It explains {explained} of their variance, over {len(x)} rows." in text


def test_samples_stand_beside_the_nearest_training_images(run: Run) -> None:
    from vaekit.report import nearest

    train = run.dataset().train
    some = torch.tensor([3, 200, 77])
    found, searched = nearest(train.x(some) + 0.01 * torch.rand(3, 1, 8, 8), train)
    assert searched == len(train)
    assert torch.equal(found, train.x(some))


def test_what_the_script_looks_up_is_the_model_s(run: Run, html: str) -> None:
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', html)
    known = json.loads(text)
    codes = run.encode(run.dataset().test.x()).flatten(1)
    assert known["dims"] == ["PC 1", "PC 2", "t-SNE 1", "t-SNE 2", "z0", "z1", "z2", "z3"]
    found = np.array(known["z"], float)
    np.testing.assert_allclose(found[:, 4:], codes, atol=0.0051)
    spread = np.linalg.eigvalsh(np.cov(codes.numpy().T))[::-1]
    np.testing.assert_allclose(found[:, :2].var(0, ddof=1), spread[:2], rtol=0.02)
    assert ((found[:, :2] ** 2).sum(1) <= codes.double().square().sum(1).numpy() + 0.1).all()
    assert np.isfinite(found[:, 2:4]).all(), "there are fewer rows than t-SNE takes"
    labels = run.dataset().test.labels
    assert labels is not None
    assert [known["names"][k] for k in known["class"]] == [str(y) for y in labels.tolist()]


def test_text_of_a_stranger_is_escaped(tmp_path: Path) -> None:
    rows = "\n".join(f"{a},{a * a % 7},x" for a in range(40))
    name = "<b onclick=1>&amp;.csv"
    (tmp_path / name).write_text(f'"<script>alert(1)</script>","{{{{ 7 * 7 }}}}",kind\n{rows}\n')
    made = vaekit.train(
        "vae", data=str(tmp_path / name), label="kind", latent=1, epochs=1, net="mlp:hidden=4",
        out=tmp_path / "r", threads=1, test=8,
    )  # fmt: skip
    page = made.folder.report.read_text()
    found = Page(page)
    assert not [tag for tag, attributes in found.tags if "onclick" in attributes]
    assert "alert(1)</script>" not in page
    assert "<script>alert(1)</script>" in found.text
    assert "{{ 7 * 7 }}" in found.text
    assert "<b onclick=1>&amp;" in found.text


def test_text_that_utf8_cannot_hold_is_written_as_in_python(run: Run) -> None:
    page = render("page.html.j2", title="run \udce9 done", kicker="")
    assert rb"run \udce9 done" in page


def test_a_report_without_a_finite_number_is_written(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "r")
    bad = {"objective": math.nan, "log_likelihood": math.nan, "kl": math.inf}
    record = {**run.folder.records()[0], "train": bad, "validation": bad, "latent": None}
    (tmp_path / "r" / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    broken = vaekit.load(tmp_path / "r")
    with torch.no_grad():
        for parameter in broken.model.parameters():
            parameter.fill_(math.nan)
    text = Page(write_run_report(broken).read_text()).text
    assert "There are no curves: no epoch left a finite number." in text
    assert "There are no bars" in text


def test_a_report_that_cannot_be_written_leaves_the_old_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run.path, tmp_path / "r")
    (tmp_path / "r" / "report.html").write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with fails("No space left on device."):
        write_run_report(vaekit.load(tmp_path / "r"))
    assert (tmp_path / "r" / "report.html").read_bytes() == b"old"


def test_the_page_reads_in_the_dark_on_a_phone_and_on_paper(html: str) -> None:
    for rule in ("prefers-color-scheme: dark", "@media print", "@media (max-width", "pixelated"):
        assert rule in html
    metas = Page(html).all("meta")
    assert {"charset": "utf-8"} in metas
    assert any(meta.get("name") == "viewport" for meta in metas)


def test_the_same_run_gives_the_same_bytes(run: Run, html: str) -> None:
    assert write_run_report(run).read_text(encoding="utf-8") == html


def test_to_write_a_report_imports_no_matplotlib(run: Run) -> None:
    code = (
        "import sys, vaekit\nfrom vaekit.report import write_run_report\n"
        f"write_run_report(vaekit.load({str(run.path)!r}))\n"
        "print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_error_of_a_small_mean_square_error_has_the_digits_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small: dict[str, Any] = {"latent": 2, "net": "mlp:hidden=8", "limit": 200, "report": False}
    run = vaekit.train("vae", data="digits", epochs=1, out=tmp_path / "r", **small)
    monkeypatch.setattr("vaekit.report._blocks.average", lambda *_: (0.0032, 0.00001))
    text = vaekit.report.write_run_report(run).read_text()
    assert re.search("0.003200 (<[^>]*>)?± 0.000010", text)


@pytest.mark.parametrize(
    ("epochs", "sentence"),
    [(3, "It trained for 3 epochs."), (12, "At the end it hardly got better.")],
)
def test_a_few_epochs_are_no_verdict(epochs: int, sentence: str, tmp_path: Path) -> None:
    """An objective that falls after its first epoch, as in a training that has just begun."""
    small: dict[str, Any] = {"latent": 2, "net": "mlp:hidden=8", "limit": 200, "report": False}
    run = vaekit.train("vae", data="digits", epochs=epochs, out=tmp_path / "r", **small)
    records = run.folder.records()
    for number, record in enumerate(records):
        record["validation"]["objective"] = -100.0 - number
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (run.path / "metrics.jsonl").write_text(lines)
    text = vaekit.report.write_run_report(run).read_text()
    assert sentence in text
    assert f"in epoch 1 of {epochs}" in text
    assert ("hardly got better" in text) == (epochs == 12)

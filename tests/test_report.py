"""The report: pictures to the last pixel, charts by their numbers, the page by a parser."""

from __future__ import annotations

import base64
import io
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.report import (
    Report,
    Section,
    grid,
    kl_bars,
    page,
    pairs,
    png_bytes,
    save_png,
    training_curves,
    write_report,
)
from vaekit.report.charts import SMALL, WIDE, limits
from vaekit.report.images import BAND, GAP
from vaekit.report.svg import Axis, label, ticks

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
    """One image, each of its pixels an opaque block of one colour."""
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
    [(6, (8, 8), 3, 240, 10), (7, (5, 4), 4, 50, 3), (2, (4, 6), 2, 12, 1), (1, (3, 3), 1, 30, 10)],
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
    [(8, 8, 10), (28, 8, 3), (28, 10, 2), (32, 8, 2), (64, 8, 1), (218, 8, 1), (1, 1, 640)],
)
def test_the_factor_is_whole_and_the_sheet_about_as_wide_as_asked(
    wide: int, columns: int, factor: int
) -> None:
    sheet = grid(torch.rand(columns, 1, 1, wide), columns=columns)
    assert sheet.size == (columns * (factor * wide + GAP) - GAP, factor)
    assert factor == 1 or 0.75 * 640 < sheet.width < 1.25 * 640 + columns * GAP


def test_without_columns_the_grid_is_about_square_and_never_has_empty_columns() -> None:
    for count, columns, rows in ((64, 8, 8), (5, 3, 2), (1, 1, 1)):
        size = grid(torch.rand(count, 1, 2, 2), width=1).size
        assert size == (columns * (2 + GAP) - GAP, rows * (2 + GAP) - GAP)
    assert grid(torch.rand(3, 1, 2, 2), columns=10, width=1).width == 3 * (2 + GAP) - GAP


def test_colours_stay_in_order() -> None:
    image = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1)
    assert pixels(grid(image, width=1)).tolist() == [[[255, 128, 0, 255]]]


def test_values_are_clamped_and_nan_is_mid_grey() -> None:
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
        torch.rand(5, 2, 8, 8),
        torch.rand(0, 1, 8, 8),
        torch.rand(5, 1, 8, 0),
        torch.zeros(5, 1, 8, 8, dtype=torch.uint8),
    ],
)
def test_grid_refuses(images: Tensor) -> None:
    with fails(f"with 1 or 3 channels and N at least 1; got {images.dtype}, {tuple(images.shape)}"):
        grid(images)


def test_grid_refuses_sizes() -> None:
    with fails("columns must be at least 1; got 0."):
        grid(torch.rand(5, 1, 2, 2), columns=0)
    with fails("width must be at least 1; got 0."):
        pairs(torch.rand(5, 1, 2, 2), torch.rand(5, 1, 2, 2), width=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_pairs_stand_above_each_other(channels: int) -> None:
    originals, others = torch.rand(2, 7, channels, 4, 3).unbind()
    sheet = pixels(pairs(originals, others, columns=3, width=20))
    factor, high, wide = 2, 8, 6 + GAP
    assert sheet.shape == (3 * (2 * high + GAP) + 2 * BAND, 3 * wide - GAP, 4)
    for number, (one, other) in enumerate(zip(levels(originals), levels(others), strict=True)):
        block, column = divmod(number, 3)
        top = block * (2 * high + GAP + BAND)
        assert_shows(sheet, column * wide, top, factor, one)
        assert_shows(sheet, column * wide, top + high + GAP, factor, other)
    assert (sheet[..., 3] > 0).sum() == 14 * high * 6


def test_pairs_refuses_shapes_that_differ() -> None:
    with fails("originals (4, 1, 2, 2) and reconstructions (3, 1, 2, 2) must have the same shape"):
        pairs(torch.rand(4, 1, 2, 2), torch.rand(3, 1, 2, 2))


# files ----------------------------------------------------------------------------------------


def test_save_png_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "sheet.png"
    for value in (0.0, 1.0):
        save_png(grid(torch.full((1, 1, 2, 2), value), width=2), path)
        with Image.open(path) as file:
            assert np.array(file)[0, 0].tolist() == [int(255 * value)] * 3 + [255]
    assert list(path.parent.iterdir()) == [path]


def writers(path: Path) -> Iterator[Any]:
    yield lambda: save_png(grid(torch.rand(1, 1, 2, 2)), path)
    yield lambda: write_report(Report("New", "."), path)


@pytest.mark.parametrize("number", [0, 1])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "old"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with fails(f"cannot write {path}: No space left on device."):
        list(writers(path))[number]()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [0, 1])
def test_places_that_cannot_be_written(tmp_path: Path, number: int) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name, message in (("file/x", "cannot make "), ("folder", "cannot write ")):
        with fails(message + str(tmp_path)):
            list(writers(tmp_path / name))[number]()
    with fails("names no file."):
        list(writers(Path("/")))[number]()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


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


def drawings(chart: bytes) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(b"<div>" + chart + b"</div>"))


def words(panel: ElementTree.Element, class_: str) -> list[str]:
    return [t.text or "" for t in panel.iter("text") if t.get("class") == class_]


def path_of(panel: ElementTree.Element, split: str) -> np.ndarray:
    (line,) = (p for p in panel.iter("polyline") if p.get("class") == split)
    return np.array([pair.split(",") for pair in (line.get("points") or "").split()], float)


def test_three_panels_each_with_its_lines() -> None:
    records = learning()
    panels = drawings(training_curves(records))
    assert [words(p, "title") for p in panels] == [["objective"], ["log-likelihood"], ["KL"]]
    for panel in panels:
        assert words(panel, "unit") == ["nats per image", "epoch"]
        for split in ("train", "validation"):
            path = path_of(panel, split)
            assert len(path) == 50
            assert (np.diff(path[:, 0]) > 0).all()
            assert path[0, 0] >= SMALL.left
            assert path[-1, 0] <= SMALL.right
    train, validation = path_of(panels[0], "train"), path_of(panels[0], "validation")
    assert (validation[1:, 1] > train[1:, 1]).all()  # lower values lie further down
    assert words(panels[0], "train") == ["train −101.0"]
    assert words(panels[0], "validation") == ["validation −104.0"]
    assert panels[2].get("aria-label") == (
        "KL over the epochs, at the end: train 20.00, validation 20.00 nats per image"
    )


def test_the_places_of_points_and_ticks_agree() -> None:
    records = [{"epoch": e, "train": means(-10.0 * e, None), "validation": None} for e in (1, 2, 3)]
    panel, _ = drawings(training_curves(records))
    path = path_of(panel, "train")
    rules = [float(r.get("y1") or 0) for r in panel.iter("line") if r.get("class") == "rule"]
    found = dict(zip(words(panel, "tick"), rules, strict=False))
    assert [found["−10"], found["−20"], found["−30"]] == pytest.approx(path[:, 1], abs=0.06)
    assert words(panel, "tick")[-3:] == ["1", "2", "3"]
    (dot,) = panel.iter("circle")
    assert [float(dot.get(k) or 0) for k in ("cx", "cy")] == pytest.approx(path[-1], abs=0.06)


def test_the_first_epochs_do_not_flatten_the_rest() -> None:
    panel = drawings(training_curves(learning()))[0]
    path = path_of(panel, "train")
    inside = (path[:, 1] >= SMALL.top) & (path[:, 1] <= SMALL.bottom)
    assert not inside[0]
    assert inside[-40:].all()
    late = path[-40:, 1]
    assert late.max() - late.min() > 0.1 * (SMALL.bottom - SMALL.top)
    _, clip = panel.iter("svg")
    corner = (SMALL.left, SMALL.top, SMALL.right - SMALL.left, SMALL.bottom - SMALL.top)
    assert tuple(float(clip.get(k) or 0) for k in ("x", "y", "width", "height")) == corner


def test_without_validation_there_is_one_line() -> None:
    for panel in drawings(training_curves(learning(held_out=False))):
        assert [p.get("class") for p in panel.iter("polyline")] == ["train"]


def test_a_single_epoch_is_a_point_one_can_see() -> None:
    panels = drawings(training_curves(learning(1)))
    assert len(panels) == 3
    for panel in panels:
        dots = list(panel.iter("circle"))
        assert [d.get("class") for d in dots] == ["train", "validation"]
        for dot in dots:
            assert SMALL.left < float(dot.get("cx") or 0) < SMALL.right
            assert SMALL.top < float(dot.get("cy") or 0) < SMALL.bottom


def test_a_missing_kl_leaves_its_panel_out() -> None:
    records = [{"epoch": e, "train": means(-5.0, None), "validation": None} for e in range(4)]
    panels = drawings(training_curves(records, unit="nats per row"))
    assert [words(p, "title") for p in panels] == [["objective"], ["log-likelihood"]]
    assert words(panels[0], "unit")[0] == "nats per row"
    for record in records:
        record["train"].pop("kl")
    assert drawings(training_curves(records))[1].tag == "svg"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, None])
def test_what_is_not_finite_is_left_out(bad: float | None) -> None:
    records = learning(6)
    records[2]["train"]["objective"] = bad
    records[5]["validation"] = {"objective": bad, "log_likelihood": -1.0, "kl": bad}
    panels = drawings(training_curves(records))
    assert len(path_of(panels[0], "train")) == 5
    assert len(path_of(panels[0], "validation")) == 5
    assert len(path_of(panels[2], "validation")) == 5
    chart = training_curves(records)
    assert b"nan" not in chart
    assert b"inf" not in chart
    nothing = [{"epoch": 1, "train": dict.fromkeys(("objective", "kl"), bad), "validation": None}]
    assert training_curves(nothing) == b""


def test_no_records_draw_nothing() -> None:
    assert training_curves([]) == b""


@pytest.mark.parametrize(
    "values", [[0.0] * 9, [1e-7, 2e-7], [-1e99, 1e99], [-1e7, -1e7 + 1], [5.0], [0.0] * 9 + [9.0]]
)
def test_odd_ranges_still_make_an_axis(values: list[float]) -> None:
    low, high = limits(values)
    assert low < min(values) <= max(values) < high
    assert high - low >= 0.0999
    assert 2 <= len(Axis(low, high, 0, 100).labels(most=5)) <= 6


def test_limits_drop_what_lies_far_from_the_rest() -> None:
    usual = [-100.0 - i / 10 for i in range(40)]
    for far in (-1e6, 1e6):
        low, high = limits([*usual, far])
        assert low < min(usual)
        assert max(usual) < high
        assert high - low < 20


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 10, False, [0, 2, 4, 6, 8, 10]),
        (-0.11, 0.31, False, [-0.1, 0, 0.1, 0.2, 0.3]),
        (0.5, 1.5, True, [1]),
        (1, 60, True, [20, 40, 60]),
        (1, 3, True, [1, 2, 3]),
        (-103.1, -101.9, False, [-103, -102.5, -102]),
    ],
)
def test_ticks(low: float, high: float, whole: bool, expected: list[float]) -> None:
    assert ticks(low, high, whole=whole) == pytest.approx(expected)


def test_labels_have_the_digits_that_they_need() -> None:
    assert [label(x, 0.5) for x in (-1.0, 0.0, 0.5)] == ["−1.0", "0.0", "0.5"]
    assert [label(x, 20) for x in (-120, 0)] == ["−120", "0"]
    assert label(2e-6, 1e-6) == "2e−06"


def bars_of(chart: bytes) -> list[ElementTree.Element]:
    (panel,) = drawings(chart)
    return list(panel.iter("rect"))


def numbers(bars: Sequence[ElementTree.Element], key: str) -> np.ndarray:
    return np.array([float(bar.get(key) or 0) for bar in bars])


def test_bars_are_sorted_and_as_high_as_their_kl() -> None:
    kl = torch.tensor([0.0, 2.0, 0.005, 4.0, 0.0099, 1.0])
    chart = kl_bars(kl)
    bars = bars_of(chart)
    heights = numbers(bars, "height")
    assert heights == pytest.approx(
        heights[0] / 4 * np.array([4, 2, 1, 0.0099, 0.005, 0]), abs=0.02
    )
    assert numbers(bars, "y") + heights == pytest.approx(np.full(6, WIDE.bottom), abs=0.02)
    assert [bar.get("class") for bar in bars] == ["active"] * 3 + ["idle"] * 3
    (panel,) = drawings(chart)
    assert panel.get("aria-label") == "3 of 6 dimensions active, 7.01 nats in total"
    assert [t.text for t in panel.iter("title")][:2] == [
        "latent dimension 3: 4.00 nats",
        "latent dimension 1: 2.00 nats",
    ]
    assert words(panel, "tick")[-6:] == ["3", "1", "5", "4", "2", "0"]


@pytest.mark.parametrize("dims", [1, 2, 16, 17, 100, 500])
def test_bars_of_any_number_stay_on_the_paper(dims: int) -> None:
    bars = bars_of(kl_bars(torch.rand(dims)))
    assert len(bars) == dims
    left, wide = numbers(bars, "x"), numbers(bars, "width")
    assert (wide > 0.5).all()
    assert left.min() >= WIDE.left
    assert (left + wide).max() <= WIDE.width
    assert numbers(bars, "y").min() >= WIDE.top


def test_bars_of_odd_values() -> None:
    chart = kl_bars(torch.tensor([[math.nan, 1.0], [-0.5, math.inf]]))
    assert b"1 of 2 dimensions active, 0.50 nats in total" in chart
    assert numbers(bars_of(chart), "height")[1] == 0
    assert (numbers(bars_of(kl_bars(torch.zeros(8))), "height") == 0).all()
    tiny = numbers(bars_of(kl_bars(torch.full((8,), 1e-5))), "height")
    assert tiny.max() < 1  # a collapsed code looks collapsed
    for nothing in (torch.zeros(0), torch.full((3,), math.nan)):
        with fails(f"got a kl of shape {tuple(nothing.shape)} without one finite number."):
            kl_bars(nothing)


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
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[Mapping[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def picture(attributes: Mapping[str, str | None]) -> np.ndarray:
    kind, _, code = (attributes["src"] or "").partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(code, validate=True))) as file:
        assert file.size == (int(attributes["width"] or 0), int(attributes["height"] or 0))
        return np.array(file)


def full_report(**changes: Any) -> Report:
    images = torch.rand(10, 1, 8, 8)
    parts: dict[str, Any] = {
        "title": "A run",
        "lead": "It went well.",
        "facts": [("test ELBO", "−103.2 nats")],
        "originals": images,
        "reconstructions": images / 2,
        "samples": torch.rand(16, 1, 8, 8),
        "kl": torch.rand(6),
        "records": learning(5),
        "notes": ["Grey values under a Bernoulli are not a likelihood.", "Few rows."],
        "pixel_facts": [("mean square error", "0.01")],
    }
    return Report(**(parts | changes))


def written(report: Report, folder: Path) -> Page:
    path = write_report(report, folder / "report.html")
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_the_report_is_complete_in_itself(tmp_path: Path) -> None:
    report = full_report()
    html = write_report(report, tmp_path / "report.html").read_text(encoding="utf-8")
    found = Page(html)
    assert not re.search(r"https?:|url\(|@import|(src|href)=[\"']?//", html)
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    originals, samples = found.all("img")
    for image in (originals, samples):
        assert image["alt"]
        assert image["class"] == "pixels"
    assert report.originals is not None
    assert report.reconstructions is not None
    assert report.samples is not None
    expected = pairs(report.originals, report.reconstructions)
    assert np.array_equal(picture(originals), np.array(expected))
    assert np.array_equal(picture(samples), np.array(grid(report.samples)))
    assert [bool(svg["aria-label"]) for svg in found.all("svg") if "role" in svg] == [True] * 4
    assert [bool(group["aria-label"]) for group in found.all("div")] == [True] * 2


def test_the_report_says_what_its_pictures_show(tmp_path: Path) -> None:
    text = written(full_report(), tmp_path).text
    for phrase in (
        "Reconstructions show the mean E[x|z] at z = E[z|x], not a draw",
        "Samples: z is drawn from the prior, the picture shows E[x|z]",
        "ELBO = log-likelihood − KL",
        "above 0.01 nats counts as active",
        "−103.2 nats",
        "mean square error",
        "Grey values under a Bernoulli are not a likelihood.",
    ):
        assert phrase in text
    assert "There is no" not in text
    assert "There are no" not in text


def test_every_text_is_escaped(tmp_path: Path) -> None:
    rows = [(NASTY, NASTY)]
    report = full_report(
        title=NASTY, lead=NASTY, facts=rows, notes=[NASTY], pixel_facts=rows, kl=None
    )
    found = written(report, tmp_path)
    assert not found.all("b")
    assert not found.all("script")
    assert found.text.count(NASTY) == 1 + 1 + 1 + 2 + 1 + 2
    section = Section(NASTY, NASTY, png_bytes(grid(torch.rand(1, 1, 2, 2))), alt=NASTY)
    found = Page(page("t", "l", [section]))
    assert not found.all("b")
    assert found.all("img")[0]["alt"] == NASTY
    found = Page(page("t", "l", [Section("s", figure=b"<svg></svg>", kind="svg", alt=NASTY)]))
    assert found.all("div")[0]["aria-label"] == NASTY


def test_text_that_utf8_cannot_hold_is_replaced(tmp_path: Path) -> None:
    assert "run ? done" in written(Report("run \udce9 done", "."), tmp_path).text


def test_what_has_no_data_is_left_out_with_a_reason(tmp_path: Path) -> None:
    found = written(Report("A run", "Nothing."), tmp_path)
    assert not found.all("img")
    assert not found.all("svg")
    assert found.text.count("There is no picture: the data are not images") == 2
    assert "There are no curves: no epoch was recorded." in found.text
    assert "There are no bars: this model has no KL per latent dimension." in found.text


def test_tables_have_no_pictures_but_curves(tmp_path: Path) -> None:
    rows = torch.rand(10, 64)
    changes = {"originals": rows, "reconstructions": rows, "samples": torch.rand(0, 64)}
    found = written(full_report(**changes), tmp_path)
    assert not found.all("img")
    assert "There is no picture: rows of shape (64,) are not images." in found.text
    assert "There is no picture: not one image was kept for the report." in found.text
    assert "nats per row" in found.text
    assert "nats per image" not in found.text
    assert "mean square error" in found.text


def test_numbers_that_are_not_finite_do_not_fail(tmp_path: Path) -> None:
    bad = {"objective": math.nan, "log_likelihood": math.nan, "kl": math.inf}
    records = [{"epoch": 1, "train": bad, "validation": bad}]
    changes = {"records": records, "kl": torch.full((4,), math.nan)}
    found = written(full_report(samples=torch.full((4, 1, 8, 8), math.nan), **changes), tmp_path)
    assert "There are no curves: no epoch left a finite number." in found.text
    assert "There are no bars" in found.text
    assert (picture(found.all("img")[1])[0, 0] == [128, 128, 128, 255]).all()


def test_wide_pictures_are_shrunk_smoothly() -> None:
    wide = png_bytes(grid(torch.rand(4, 1, 2, 300), columns=4))
    assert "class" not in Page(page("t", "l", [Section("s", figure=wide)])).all("img")[0]


def test_the_page_knows_its_kinds_of_figures() -> None:
    with fails("unknown kind of figure 'gif'"):
        page("t", "l", [Section("s", figure=b"", kind="gif")])


def test_the_page_reads_in_the_dark_on_a_phone_and_on_paper() -> None:
    html = page("t", "l", [])
    for rule in ("prefers-color-scheme: dark", "@media print", "@media (max-width", "pixelated"):
        assert rule in html
    metas = Page(html).all("meta")
    assert {"charset": "utf-8"} in metas
    assert any(meta.get("name") == "viewport" for meta in metas)


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    report = full_report()
    first = write_report(report, tmp_path / "a.html").read_bytes()
    assert write_report(report, tmp_path / "b.html").read_bytes() == first

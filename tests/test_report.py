"""The report: pictures to the last pixel, charts by their numbers, the page by a parser."""

from __future__ import annotations

import base64
import io
import math
import os
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.report import (
    BAND,
    COLORS,
    GAP,
    Report,
    Section,
    curve_figures,
    grid,
    kl_bars,
    kl_figure,
    limits,
    page,
    png_bytes,
    save_images,
    training_curves,
    write_report,
)

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
    with fails("got `columns=0`; expected a whole number of at least 1."):
        grid(torch.rand(5, 1, 2, 2), columns=0)
    with fails("got `width=0`; expected a whole number of at least 1."):
        grid(torch.rand(5, 1, 2, 2), torch.rand(5, 1, 2, 2), width=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_pairs_stand_above_each_other(channels: int) -> None:
    originals, others = torch.rand(2, 7, channels, 4, 3).unbind()
    sheet = pixels(grid(originals, others, columns=3, width=20))
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


# files ----------------------------------------------------------------------------------------


def test_save_images_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "sheet.png"
    for value in (0.0, 1.0):
        save_images(torch.full((1, 1, 2, 2), value), path)
        with Image.open(path) as file:
            assert np.array(file)[0, 0].tolist() == [int(255 * value)] * 3 + [255]
    assert list(path.parent.iterdir()) == [path]


def writers(path: Path) -> Iterator[Any]:
    yield lambda: save_images(torch.rand(1, 1, 2, 2), path)
    yield lambda: write_report(Report("New", "."), path)


@pytest.mark.parametrize("number", [0, 1])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "old.png"
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
    (tmp_path / "folder.png").mkdir()
    for name, message in (("file/x.png", "cannot make "), ("folder.png", "cannot write ")):
        with fails(message + str(tmp_path)):
            list(writers(tmp_path / name))[number]()
    with fails("names no file." if number else "ends in .png or .npz"):
        list(writers(Path("/")))[number]()
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


def panels(records: list[dict[str, Any]]) -> list[Axes]:
    return [figure.axes[0] for figure in curve_figures(records, "nats per image")]


def titles(records: list[dict[str, Any]]) -> list[str]:
    legends = [figure.legends[0] for figure in curve_figures(records, "nats per image")]
    return [legend.get_title().get_text() for legend in legends]


def points(panel: Axes) -> dict[str, np.ndarray]:
    """Of each line, by its color: "train" or "validation"."""
    names = {color: name for name, color in COLORS.items()}
    return {names[str(line.get_color())]: line.get_xydata() for line in panel.lines}


def test_three_panels_each_with_its_lines() -> None:
    records = learning()
    assert titles(records) == ["objective", "log-likelihood", "KL"]
    names = ("objective", "log_likelihood", "kl")
    for name, panel in zip(names, panels(records), strict=True):
        assert panel.get_title("left") == "nats per image"
        assert panel.get_xlabel() == "epoch"
        for split in ("train", "validation"):
            expected = [(record["epoch"], record[split][name]) for record in records]
            assert points(panel)[split].tolist() == [list(pair) for pair in expected]


def test_the_legend_and_the_words_tell_the_last_numbers() -> None:
    figures = list(curve_figures(learning(), "nats per row"))
    texts = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert texts == ["train −101.0", "validation −104.0"]
    words = "KL over the epochs, at the end: train 20.00, validation 20.00 nats per row"
    assert figures[2].get_label() == words
    assert f'aria-label="{words}"'.encode() in training_curves(learning(), unit="nats per row")


@pytest.mark.parametrize(
    ("number", "words"),
    [(-103.239, "−103.2"), (2.5, "2.50"), (-12345.6, "−12,346"), (2e6, "2e+06"), (0.0, "0.00")],
)
def test_numbers_have_the_digits_that_they_need(number: float, words: str) -> None:
    records = [{"epoch": 1, "train": {"objective": number}, "validation": None}]
    assert panels(records)[0].lines[0].get_label() == f"train {words}"


def test_the_first_epochs_do_not_flatten_the_rest() -> None:
    panel = panels(learning())[0]
    low, high = panel.get_ylim()
    values = points(panel)["train"][:, 1]
    assert values[0] < low
    assert ((values[-40:] > low) & (values[-40:] < high)).all()
    assert values[-40:].max() - values[-40:].min() > 0.1 * (high - low)
    assert panel.lines[0].get_clip_on()


def test_without_validation_there_is_one_line() -> None:
    for panel in panels(learning(held_out=False)):
        assert list(points(panel)) == ["train"]


def test_a_single_epoch_is_a_point_one_can_see() -> None:
    found = panels(learning(1))
    assert len(found) == 3
    for panel in found:
        (low, high), (left, right) = panel.get_ylim(), panel.get_xlim()
        assert [x for x in panel.get_xticks() if left <= x <= right] == [1]
        assert list(points(panel)) == ["train", "validation"]
        for line in panel.lines:
            ((x, y),) = np.asarray(line.get_xydata())
            assert left < x < right
            assert low < y < high
            assert line.get_marker() == "o"


def test_epochs_are_whole_numbers() -> None:
    for count, ticks in ((2, [1, 2]), (3, [1, 2, 3]), (60, [0, 20, 40, 60])):
        panel = panels(learning(count))[0]
        left, right = panel.get_xlim()
        assert [x for x in panel.get_xticks() if left <= x <= right] == ticks


def test_a_missing_kl_leaves_its_panel_out() -> None:
    records = [{"epoch": e, "train": means(-5.0, None), "validation": None} for e in range(4)]
    assert titles(records) == ["objective", "log-likelihood"]
    for record in records:
        record["train"].pop("kl")
    assert titles(records) == ["objective", "log-likelihood"]
    assert training_curves(records).count(b"<svg") == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, None])
def test_what_is_not_finite_is_left_out(bad: float | None) -> None:
    records = learning(6)
    records[2]["train"]["objective"] = bad
    records[5]["validation"] = {"objective": bad, "log_likelihood": -1.0, "kl": bad}
    found = [points(panel) for panel in panels(records)]
    assert found[0]["train"][:, 0].tolist() == [1, 2, 4, 5, 6]
    assert found[0]["validation"][:, 0].tolist() == [1, 2, 3, 4, 5]
    assert found[2]["validation"][:, 0].tolist() == [1, 2, 3, 4, 5]
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
def test_odd_ranges_still_make_a_chart(values: list[float]) -> None:
    low, high = limits(values)
    assert low < min(values) <= max(values) < high
    assert high - low >= 0.0999
    records = [
        {"epoch": epoch, "train": means(value), "validation": None}
        for epoch, value in enumerate(values, 1)
    ]
    assert training_curves(records).count(b"<svg") == 3


def test_limits_drop_what_lies_far_from_the_rest() -> None:
    usual = [-100.0 - i / 10 for i in range(40)]
    for far in (-1e6, 1e6):
        low, high = limits([*usual, far])
        assert low < min(usual)
        assert max(usual) < high
        assert high - low < 20


def bars_of(axes: Axes) -> list[Rectangle]:
    return [bar for bar in axes.patches if isinstance(bar, Rectangle)]


def test_bars_are_sorted_and_as_high_as_their_kl() -> None:
    figure = kl_figure(torch.tensor([0.0, 2.0, 0.005, 4.0, 0.0099, 1.0]))
    assert figure.get_label() == "3 of 6 dimensions active, 7.01 nats in total"
    assert figure.get_suptitle() == figure.get_label()
    (axes,) = figure.axes
    heights = [bar.get_height() for bar in bars_of(axes)]
    assert heights == pytest.approx([4, 2, 1, 0.0099, 0.005, 0])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["3", "1", "5", "4", "2", "0"]
    centers = [bar.get_x() + bar.get_width() / 2 for bar in bars_of(axes)]
    assert centers == pytest.approx(range(6))
    colors = [matplotlib.colors.to_hex(bar.get_facecolor()) for bar in bars_of(axes)]
    assert colors == [COLORS["train"]] * 3 + [COLORS["idle"]] * 3


@pytest.mark.parametrize("dims", [1, 2, 16, 17, 100, 101, 500])
def test_bars_of_any_number_stay_on_the_paper(dims: int) -> None:
    kl = torch.rand(dims)
    (axes,) = kl_figure(kl).axes
    bars = bars_of(axes)
    assert [bar.get_height() for bar in bars] == sorted(kl.tolist(), reverse=True)
    left, right = axes.get_xlim()
    ends = np.array([bar.get_x() + max(bar.get_width(), 0) for bar in bars])
    assert left < ends.min() <= ends.max() <= right
    assert np.diff(ends) == pytest.approx(np.ones(dims - 1))
    low, high = axes.get_ylim()
    assert low == 0
    assert kl.max() < high
    assert len(axes.get_xticklabels()) == (dims if dims <= 16 else 0)
    assert kl_bars(kl).count(b"<svg") == 1


def test_bars_of_odd_values() -> None:
    chart = kl_bars(torch.tensor([[math.nan, 1.0], [-0.5, math.inf]]))
    assert b"1 of 2 dimensions active, 0.50 nats in total" in chart
    (axes,) = kl_figure(torch.tensor([-0.5, 1.0])).axes
    assert [bar.get_height() for bar in bars_of(axes)] == [1, 0]
    assert b"0 of 8 dimensions active, 0.00 nats in total" in kl_bars(torch.zeros(8))
    (axes,) = kl_figure(torch.full((8,), 1e-5)).axes
    assert axes.get_ylim()[1] > 0.1  # a collapsed code looks collapsed
    for nothing in (torch.zeros(0), torch.full((3,), math.nan)):
        with fails(f"got a kl of shape {tuple(nothing.shape)} without one finite number."):
            kl_bars(nothing)


def test_charts_leave_the_settings_of_matplotlib_and_do_not_follow_them() -> None:
    expected = kl_bars(torch.ones(3))
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        assert kl_bars(torch.ones(3)) == expected
        assert dict(matplotlib.rcParams) == before


def test_charts_take_the_colors_of_the_page_and_keep_text_as_text() -> None:
    chart = (training_curves(learning()) + kl_bars(torch.tensor([1.0, 0.0]))).decode()
    for name, color in COLORS.items():
        assert chart.count(color) == chart.count(f"var(--{name}, {color})") > 0
    colors = set(re.findall(r"(?:fill|stroke): *([^;\"]+)", chart))
    assert colors == {"none", *(f"var(--{name}, {color})" for name, color in COLORS.items())}
    for words in ("objective", "train −101.0", "nats per image", "epoch", "largest KL first"):
        assert words in Page(chart).text


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
        "notes": ["Gray values under a Bernoulli are not a likelihood.", "Few rows."],
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
    assert not re.search(r"https?:|url\((?!#)|@import|(src|href)=[\"']?//|xmlns|<!ENTITY", html)
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    originals, samples = found.all("img")
    for image in (originals, samples):
        assert image["alt"]
        assert image["class"] == "pixels"
    assert report.originals is not None
    assert report.reconstructions is not None
    assert report.samples is not None
    expected = grid(report.originals, report.reconstructions)
    assert np.array_equal(picture(originals), np.array(expected))
    assert np.array_equal(picture(samples), np.array(grid(report.samples)))
    assert [bool(svg["aria-label"]) for svg in found.all("svg") if "role" in svg] == [True] * 4
    assert [bool(group["aria-label"]) for group in found.all("div")] == [True] * 2


def test_what_the_charts_refer_to_is_there_once(tmp_path: Path) -> None:
    html = write_report(full_report(), tmp_path / "report.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]*)"', html)
    references = re.findall(r'(?:url\(|href=")#([^")]*)', html)
    assert len(ids) == len(set(ids))
    assert set(references) == set(ids)


def test_the_report_says_what_its_pictures_show(tmp_path: Path) -> None:
    text = written(full_report(), tmp_path).text
    for phrase in (
        "Reconstructions show the mean E[x|z] at z = E[z|x], not a draw",
        "Samples: z is drawn from the prior, the picture shows E[x|z]",
        "ELBO = log-likelihood − KL",
        "above 0.01 nats counts as active",
        "−103.2 nats",
        "mean square error",
        "Gray values under a Bernoulli are not a likelihood.",
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

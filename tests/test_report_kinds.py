"""The reports of each kind of data: images, tables, counts, factors, groups, a code unused."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
from dataclasses import replace
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import r2_score
from torch import Tensor

import vaekit
from vaekit.data import Split, spread
from vaekit.errors import VaekitError
from vaekit.evaluate import correlated
from vaekit.report import (
    COLUMNS,
    Chart,
    Codes,
    Table,
    against,
    by_factor,
    cloud,
    correlations,
    explained,
    kl_bars,
    minis,
    plane,
    row_maps,
    scaled,
    strips,
    views,
    write_run_report,
)

SMALL: dict[str, Any] = {"net": "mlp:hidden=16", "threads": 1}
NASTY = "<b>&'x'</b>"


def fails(message: str) -> Any:
    return pytest.raises(VaekitError, match=re.escape(message))


class Page(HTMLParser):
    """The text of a page, and what those who cannot see it hear."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.open = "", ""
        self.alts: list[str] = []
        self.pictures: list[bytes] = []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open = tag
        found = dict(attrs)
        if tag == "img":
            self.pictures.append(base64.b64decode((found["src"] or "").partition(",")[2]))
        self.alts += [text for text in (found.get("alt"), found.get("aria-label")) if text]

    def handle_data(self, data: str) -> None:
        if self.open not in ("style", "script"):
            self.text += f" {data}"

    def fact(self, name: str) -> str:
        """What stands beside a name, in a table or among the facts, as text."""
        row = rf'<th scope="row">{re.escape(name)}</th><td class="n">(.*?)</td>'
        found = re.search(rf"{row}|<dt>{re.escape(name)}</dt><dd>(.*?)</dd>", self.html)
        assert found, name
        return unescape(re.sub("<[^>]*>", "", found[1] or found[2]))


def trained(path: Path, recipe: str = "vae", **options: Any) -> Page:
    run = vaekit.train(recipe, out=path / "run", **{**SMALL, **options})
    page = Page(run.path / "report.html")
    assert not re.search(r"https?:|@import|(src|href)=[\"']?//|xmlns", page.html)
    ids = re.findall(r'\bid="([^"]*)"', page.html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^")]*)', page.html)) == set(ids)
    assert len(page.html) < 2e6
    return page


# which rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "wanted"), [(1, 1), (5, 9), (13180, 1000), (1001, 1000)])
def test_rows_are_spread_over_all(rows: int, wanted: int) -> None:
    found = spread(rows, wanted).tolist()
    assert found == [int(np.floor(i * rows / min(rows, wanted))) for i in range(min(rows, wanted))]
    assert len(set(found)) == len(found)
    assert rows - found[-1] <= np.ceil(rows / len(found))


def test_sorted_test_rows_are_seen_from_first_to_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 300 test rows, the first 100 black and the others white, 30 are shown and measured."""
    run = vaekit.train("vae", data="digits", epochs=1, report=False, out=tmp_path / "r", **SMALL)
    white = torch.full((300, 1, 8, 8), 255, dtype=torch.uint8)
    white[:100] = 0
    data = replace(run.dataset(), test=Split(white))
    monkeypatch.setattr(vaekit.Run, "prepared", lambda *_: data)
    monkeypatch.setattr("vaekit.report._run_report.ROWS", 30)
    page = Page(write_run_report(run))
    assert page.fact("measured on").startswith("30 of the 300 test images, 10 draws of z each")
    error = float(page.fact("mean square error").split()[0])
    assert error == pytest.approx(run.evaluate()["mse"], rel=0.01)
    assert error == pytest.approx(run.evaluate(limit=30)["mse"], rel=0.01)
    shown = [np.asarray(Image.open(io.BytesIO(one))).mean() for one in page.pictures]
    assert {*shown[:5]} <= {0.0, 255.0}  # originals, in blocks of five
    assert {*shown[10:15]} <= {0.0, 255.0}
    assert {*shown[:5], *shown[10:15]} == {0.0, 255.0}


# what the code uses ---------------------------------------------------------------------------


def test_a_kl_that_is_the_same_for_all_x_is_not_active() -> None:
    chart = kl_bars({"kl_per_dim": [3.5, 0.02, 1.0], "variance": [0.001, 0.5, 0.0101]})
    assert chart is not None
    assert chart.words == "2 of 3 dimensions active, 4.52 nats in total"
    assert re.findall(r'<rect class="bar( \w+)?"', chart.svg) == [" idle", "", ""]
    none = kl_bars({"kl_per_dim": [3.5, 0.02, 1.0], "variance": [0.0] * 3})
    assert none is not None
    assert "0 of 3 dimensions active" in none.svg


def test_a_code_that_is_not_used_is_said_at_once(tmp_path: Path) -> None:
    options = {"data": "digits", "latent": 3, "epochs": 2, "objective": ":beta=1000"}
    page = trained(tmp_path, "beta_vae", **options)
    assert "Posterior collapse: no latent dimension follows x" in page.text
    assert "None is active: the posterior has collapsed" in page.text
    assert any(alt.startswith("0 of 3 dimensions active") for alt in page.alts)


def test_a_code_that_is_used_is_not_called_unused(tmp_path: Path) -> None:
    page = trained(
        tmp_path, data="digits", latent=2, epochs=25, batch_size=64, net="mlp:hidden=16:init=he"
    )
    assert "collapse" not in page.text
    assert any(alt.startswith("2 of 2 dimensions active") for alt in page.alts)
    assert "codes of 300 test rows in the colors of 10 classes" in " ".join(page.alts)
    assert "E[z|x] of test images, a point each." in page.text
    assert "those in which it varies most" not in page.text  # there are but two
    assert page.fact("images") == "1,347 to train, 150 for validation, 300 for test"
    assert page.fact("values").startswith("0 to 255 as stored")
    assert page.fact("test KL").endswith(" nats per image")
    assert "its log may be above 0" in page.text  # a density


# codes ----------------------------------------------------------------------------------------


def places(svg: str) -> list[np.ndarray]:
    """Of each cloud, where its points are, in units."""
    paths = re.findall(r'<path class="points[^"]*"[^>]* d="([^"]*)"', svg)
    return [np.array([[float(n) for n in p.split("h")[0].split()] for p in path.split("M")[1:]])
            for path in paths]  # fmt: skip


def test_classes_have_their_own_clouds_and_names() -> None:
    means, labels = torch.randn(60, 4) * torch.tensor([1.0, 9.0, 0.1, 5.0]), torch.arange(60) % 3
    codes = Codes(means, labels, ("cat", "dog", NASTY))
    svg, square = plane(codes, "codes")
    assert {"z1 →", "z3 ↑"} <= set(re.findall(r">([^<>]+)</text>", svg))
    found = places(svg)
    for label, points in enumerate(found):
        x, y = (means[labels == label][:, [1, 3]] - square.middle[[1, 3]]).double().T * square.unit
        np.testing.assert_allclose(points, np.stack([240 + x, 240 - y], 1), atol=0.051)
    assert svg.count('class="points on"') == 1
    small = minis(codes)
    assert [name for name, _ in small] == ["cat", "dog", NASTY]
    for (_, one), points in zip(small, found, strict=True):
        assert "<b>" not in one
        np.testing.assert_allclose(places(one)[0], points)


def test_nearly_all_codes_lie_on_the_plane() -> None:
    for shift, prior in ((0.0, True), (50.0, False)):
        means = torch.randn(1000, 2) + shift
        (points,) = places(plane(Codes(means, prior=prior), "codes")[0])
        inside = ((points >= 0) & (points <= 480)).all(1)
        assert inside.mean() > 0.97
        assert np.ptp(points[inside]) > 300


def test_too_many_classes_and_none_have_one_color() -> None:
    for labels in (None, torch.arange(60), torch.zeros(60, dtype=torch.int64)):
        codes = Codes(torch.randn(60, 2), labels)
        (points,) = places(plane(codes, "codes")[0])
        assert len(points) == 60
        assert len(codes.groups) == 1


def test_each_factor_has_a_chart() -> None:
    factors = torch.stack([torch.arange(30) % 3, torch.arange(30)], 1)
    codes = Codes(torch.randn(30, 5), factors=factors, factor_names=("shape", NASTY))
    charts = list(by_factor(codes))
    assert [(chart.title, chart.unit) for chart in charts] == [
        ("shape", "0 to 2"),
        (NASTY, "0 to 29"),
    ]
    for chart in charts:
        assert "<b>" not in chart.svg
        assert sum(map(len, places(chart.svg))) == 30
    filled = [len(points) for points in places(charts[0].svg) if len(points)]
    assert filled == [10, 10, 10]


def test_views_turn_codes_and_keep_neighbors_together() -> None:
    """Two clouds far apart in one of six dimensions; t-SNE is of 500 rows, null elsewhere."""
    means = torch.randn(600, 6) + 20.0 * (torch.arange(600) % 2)[:, None] * (torch.arange(6) == 3)
    found = views(Codes(means, prior=True))
    assert found.names[:4] == ("PC 1", "PC 2", "t-SNE 1", "t-SNE 2")
    axis = found.means[:, 0]  # z3, but for its sign: it is turned and not moved
    assert np.corrcoef(axis.abs(), means[:, 3].abs())[0, 1] > 0.99
    near = found.means[:, 2:4]
    there = near.isfinite().all(1)
    assert there.sum() == 500
    half = near[there], (torch.arange(600) % 2)[there]
    closest = (torch.cdist(half[0], half[0]) + torch.eye(500) * 1e9).argmin(1)
    assert (half[1][closest] == half[1]).double().mean() > 0.99
    data, known = cloud(found, "codes")
    assert [row[2] is None for row in known["z"]] == (~there).tolist()
    assert "NaN" not in json.dumps(known)
    assert "nan" not in data["svg"]


def test_ellipses_have_one_sigma_and_circles_the_priors() -> None:
    means, scales = torch.randn(30, 2), torch.rand(30, 2) + 0.1
    svg, square = plane(Codes(means, scales=scales, prior=True), "codes")
    unit = square.unit
    form = r'<ellipse class="ellipse" cx="(\S+)" cy="(\S+)" rx="(\S+)" ry="(\S+)"'
    found = np.array([list(map(float, one)) for one in re.findall(form, svg)])
    centers = torch.stack([240 + unit * means[:, 0], 240 - unit * means[:, 1]], 1)
    np.testing.assert_allclose(found, torch.cat([centers, unit * scales], 1), atol=0.051)
    radii = re.findall(r'<circle class="grid prior"[^>]* r="(\S+)"', svg)
    np.testing.assert_allclose([float(r) for r in radii], [unit, 2 * unit], atol=0.051)


def test_one_dimension_is_a_line_for_each_class() -> None:
    means, labels = torch.randn(60, 1), torch.arange(60) % 3
    svg = strips(Codes(means, labels, ("a", "b", NASTY), prior=True), "codes")
    assert "<b>" not in svg
    found = places(svg)
    heights = [points[:, 1].mean() for points in found]
    assert np.diff(heights) == pytest.approx([34, 34], abs=2)
    for label, points in enumerate(found):
        z = means[labels == label, 0].numpy()
        assert np.corrcoef(points[:, 0], z)[0, 1] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["$\\foo$", "_hidden", "{{ 1 }}", "日本", NASTY])
def test_names_are_shown_as_they_are(name: str) -> None:
    rows = torch.rand(9, 2)
    table = Table(rows, rows, rows, columns=(name, "other"))
    for chart in (*row_maps(table), *correlations(table), explained(table)):
        assert escape(name) in chart.svg


def test_codes_refuse() -> None:
    with fails("got codes of shape (5, 0); expected (N, 1+)."):
        Codes(torch.zeros(5, 0))
    with fails("5 codes but 4 labels."):
        Codes(torch.zeros(5, 2), torch.zeros(4, dtype=torch.int64))


# rows that are no images ----------------------------------------------------------------------


def table(counts: bool, columns: int = 5, rows: int = 40) -> Table:
    if counts:
        rates = torch.rand(columns) * 5
        x, y, z = (torch.poisson(rates.expand(rows, -1)) for _ in range(3))
    else:
        x = torch.randn(rows, columns) * torch.arange(1.0, columns + 1) + 7
        y, z = x + torch.randn_like(x), x.flip(1)
    return Table(x, y, z, counts=counts)


def pixels(chart: Chart) -> np.ndarray:
    """A map, RGBA."""
    (code,) = re.findall(r'href="data:image/png;base64,([^"]*)"', chart.svg)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(code))))


def test_maps_show_columns_in_units_of_their_spread() -> None:
    made = table(counts=False)
    x, y = made.rows.double().numpy(), made.reconstructions.double().numpy()
    charts = row_maps(made, 12)
    for got, chart, part in zip(scaled(made), charts, (x, y), strict=True):
        expected = (part - x.mean(0)) / x.std(0) / 2.5
        assert np.allclose(got, expected)
        image = pixels(chart)
        assert image.shape == (12, 5, 4)
        opacity = np.round(255 * np.abs(expected[:12]).clip(max=1))
        np.testing.assert_allclose(image[..., 3], opacity, atol=1)
        warm = image[..., 0] > image[..., 2]
        assert np.array_equal(warm[opacity > 2], (expected[:12] > 0)[opacity > 2])


def test_maps_of_counts_show_the_logarithm_of_the_columns_that_vary_most() -> None:
    rates = torch.rand(100) * 9
    x = torch.poisson(rates.expand(50, -1))
    made = Table(x, x + 0.5, x, counts=True)
    spreads = np.log1p(x.numpy()).var(0)
    expected = np.argsort(-spreads)[:COLUMNS]
    assert np.allclose(np.sort(spreads[made.shown]), np.sort(spreads[expected]))
    above, under = scaled(made)
    most = np.log1p(x.numpy())[:, made.shown].max()
    assert np.allclose(above, np.log1p(x.numpy())[:, made.shown] / most)
    assert np.allclose(under, np.log1p(x.numpy() + 0.5)[:, made.shown] / most)
    assert made.names == [str(i) for i in made.shown]


def test_bars_are_the_explained_variance_of_each_column() -> None:
    made = table(counts=False)
    heights = re.findall(r'<rect class="bar"[^>]* height="(\S+)"', explained(made).svg)
    expected = r2_score(made.rows, made.reconstructions, multioutput="raw_values")
    unit = 186 / 1.02
    found = [float(height) / unit for height in heights]
    assert found == pytest.approx(np.maximum(expected, 0), abs=0.01)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("counts", [False, True])
def test_numbers_that_are_not_finite_do_not_fail(value: float, counts: bool) -> None:
    bad, good = torch.full((6, 3), value), torch.ones(6, 3)
    for made in (Table(good, bad, bad, counts=counts), Table(bad, bad, good, counts=counts)):
        charts = [*row_maps(made), explained(made), *correlations(made)]
        charts.append(against("t", made.rows.mean(0), bad.mean(0), "draws", log=counts))
        assert not any(re.search(r'[" ](nan|inf|-inf)[" ]', chart.svg) for chart in charts)
    svg, _ = plane(Codes(bad, torch.arange(6) % 2), "codes")
    assert "nan" not in svg
    assert len(list(by_factor(Codes(good, factors=bad)))) == 3


def test_a_constant_column_is_nan_in_no_chart() -> None:
    flat = torch.ones(10, 3)
    for counts in (False, True):
        made = Table(flat, flat, flat, counts=counts)
        charts = (*row_maps(made), explained(made), *correlations(made))
        assert not any("nan" in chart.svg for chart in charts)


def test_draws_are_compared_by_their_correlations() -> None:
    made = table(counts=False)
    assert made.draws is not None
    for chart, rows in zip(correlations(made), (made.rows, made.draws), strict=True):
        expected = np.corrcoef(rows.numpy().T)
        assert np.allclose(correlated(rows), expected, atol=1e-6)
        opacity = np.round(255 * np.abs(expected).clip(max=1))
        np.testing.assert_allclose(pixels(chart)[..., 3], opacity, atol=1)


@pytest.mark.parametrize("log", [False, True])
def test_counts_are_compared_by_a_point_for_each_column(log: bool) -> None:
    x, y = torch.rand(40) * 5, torch.rand(40) * 5
    x[0] = 0.0
    chart = against("mean of each column", x, y, "draws", log=log)
    (points,) = places(chart.svg)
    scale = np.log10 if log else np.asarray
    a, b = (scale(part.double().numpy().clip(min=1e-3 if log else 0)) for part in (x, y))
    for place, values in zip(points.T, (a, b), strict=True):
        slope, start = np.polyfit(values, place, 1)
        np.testing.assert_allclose(place, slope * values + start, atol=0.1)
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    ends = re.findall(r'<path class="line idle" d="M(\S+) (\S+)L(\S+) (\S+)"', chart.svg)[0]
    slope, start = np.polyfit(a, points[:, 0], 1)
    expected = [slope * low + start, slope * high + start]
    np.testing.assert_allclose([float(ends[0]), float(ends[2])], expected, atol=0.2)


def test_tables_refuse_shapes_that_do_not_fit() -> None:
    with fails("expected (N, D) twice and (M, D)"):
        Table(torch.zeros(5, 3), torch.zeros(4, 3), torch.zeros(5, 3))
    with fails("expected (N, D) twice and (M, D)"):
        Table(torch.zeros(5, 3), torch.zeros(5, 3), torch.zeros(5, 2))


def write_csv(path: Path, x: Tensor) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["weight", NASTY, "an uncommonly long name", "kind"])
        writer.writerows([*row, "ab"[i % 2]] for i, row in enumerate(x.tolist()))


def test_the_report_of_a_table_speaks_of_rows(tmp_path: Path) -> None:
    write_csv(tmp_path / "mine.csv", torch.randn(200, 3))
    options = {"data": str(tmp_path / "mine.csv"), "label": "kind", "latent": 2, "epochs": 2}
    page = trained(tmp_path, **options)
    assert "image" not in page.text
    assert "There is no picture" not in page.text
    assert NASTY not in page.html
    for words in ("weight", NASTY, "an uncommonly…", "in all 3 columns", "x is a row of the data"):
        assert words in page.text
    assert page.fact("rows") == "162 to train, 18 for validation, 20 for test"
    assert page.fact("data") == "mine: table, 3 columns"
    assert page.fact("values").startswith("the model sees each column less its training mean")
    assert page.fact("measured on").startswith("all 20 test rows")
    assert re.fullmatch(r"−?[\d.]+ ± [\d.]+", page.fact("an uncommonly long name"))
    correlated = "correlation of 3 columns"
    assert {f"test rows: {correlated}", f"draws of the model: {correlated}"} <= {*page.alts}
    assert any(alt.startswith("R² of 3 columns") for alt in page.alts)


def test_the_report_of_counts_speaks_of_rows(tmp_path: Path) -> None:
    x = torch.poisson(torch.rand(40) * 3 + torch.zeros(120, 40)).numpy().astype(np.int32)
    np.savez(tmp_path / "cells.npz", images=x)
    page = trained(tmp_path, data=str(tmp_path / "cells.npz"), latent=2, epochs=2)
    assert "image" not in page.text
    assert "in the 24 of 40 columns that vary most" in page.text
    assert "part of zeros of each column: test rows, and draws of the model" in page.alts
    assert re.fullmatch(r"[\d.]+ ± [\d.]+", page.fact("sum of a row"))
    assert page.fact("test ELBO").endswith("nats per row")
    assert "sigma it implies" not in page.html
    assert "density" not in page.text


# what a model has not ------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["ae", "unpool_ae"])
def test_nothing_is_said_of_samples_where_there_is_no_prior(tmp_path: Path, recipe: str) -> None:
    options = {"net": "mlp:hidden=16"} if recipe == "ae" else {"net": ":channels=4:hidden=8"}
    page = trained(tmp_path, recipe, data="digits", limit=200, latent=2, epochs=1, **options)
    assert 'id="samples"' not in page.html
    assert "This model has no bound and no prior" in page.text
    for word in ("Samples", "ELBO", "beta=", "Circles", "drawn from the prior"):
        assert word not in page.text


def test_a_point_with_a_prior_has_samples_and_a_warning(tmp_path: Path) -> None:
    options = {"prior": "standard-normal", "data": "digits", "limit": 200, "epochs": 1}
    page = trained(tmp_path, "ae", **options)
    assert 'id="samples"' in page.html
    assert "its samples show what that costs" in page.text


def test_the_report_of_a_table_without_a_prior_has_no_draws(tmp_path: Path) -> None:
    write_csv(tmp_path / "mine.csv", torch.randn(100, 3))
    page = trained(tmp_path, "ae", data=str(tmp_path / "mine.csv"), label="kind", epochs=1)
    assert "in all 3 columns" in page.text
    assert "Samples" not in page.text


# splits ---------------------------------------------------------------------------------------


def test_groups_that_are_kept_apart_are_counted(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    for person in range(20):
        for number in range(3):
            image = Image.new("L", (8, 8), 10 * person + number)
            image.save(tmp_path / "faces" / f"p{person}_{number}.png")
    options = {"data": str(tmp_path / "faces"), "group": r"p(\d+)_", "epochs": 1, "latent": 1}
    page = trained(tmp_path, **options)
    found = re.fullmatch(
        r"by p\(\\d\+\)_: (\d+) in train, (\d+) in validation, (\d+) in test; none of them in two "
        r"splits",
        page.fact("groups"),
    )
    assert found
    assert sum(map(int, found.groups())) == 20

"""The reports of each kind of data: images, tables, counts, factors, groups, a code unused."""

from __future__ import annotations

import base64
import csv
import io
import math
import re
from dataclasses import replace
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import r2_score
from torch import Tensor

import vaekit
from vaekit.data import Split, spread
from vaekit.errors import VaekitError
from vaekit.report import (
    BAND,
    COLORS,
    COLUMNS,
    GAP,
    Codes,
    Table,
    code_charts,
    code_figures,
    draws_figure,
    kl_bars,
    kl_figure,
    maps_figure,
    means_figure,
    of_run,
    table_charts,
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
    monkeypatch.setattr(of_run, "ROWS", 30)
    page = Page(of_run.write_run_report(run))
    assert page.fact("measured on").startswith("30 of the 300 test images, 10 draws of z each")
    error = float(page.fact("mean square error").split()[0])
    assert error == pytest.approx(run.evaluate()["mse"], rel=0.01)
    assert error == pytest.approx(run.evaluate(limit=30)["mse"], rel=0.01)
    with Image.open(io.BytesIO(page.pictures[0])) as sheet:
        levels = np.asarray(sheet)[:: 80 + GAP + 80 + BAND, :: 80 + GAP, 0]
    assert levels.tolist() == [[0] * 8, [255] * 8, [255] * 8]


# what the code uses ---------------------------------------------------------------------------


def test_a_kl_that_is_the_same_for_all_x_is_not_active() -> None:
    kl, variance = torch.tensor([3.5, 0.02, 1.0]), torch.tensor([0.001, 0.5, 0.0101])
    figure = kl_figure(kl, variance)
    assert figure.get_label() == "2 of 3 dimensions active, 4.52 nats in total"
    (axes,) = figure.axes
    assert axes.get_ylabel() == "nats"
    colors = [matplotlib.colors.to_hex(bar.get_facecolor()) for bar in axes.patches]
    assert colors == [COLORS["idle"], COLORS["train"], COLORS["train"]]
    assert b"0 of 3 dimensions active" in kl_bars(kl, torch.zeros(3))
    with fails("got a kl of shape (3,) and variances of (2,)"):
        kl_bars(kl, torch.zeros(2))


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
    assert "E[z|x] of test images, a point each, in the dimensions 0 and 1." in page.text
    assert page.fact("images") == "1,347 to train, 150 for validation, 300 for test"
    assert page.fact("values").startswith("0 to 255 as stored")
    assert page.fact("test KL").endswith(" nats per image")
    assert "its log may be above 0" in page.text  # a density


# codes ----------------------------------------------------------------------------------------


def cloud(axes: Axes) -> dict[str, np.ndarray]:
    return {str(line.get_label()): np.asarray(line.get_xydata()) for line in axes.lines}


def test_classes_have_their_own_colors_and_names() -> None:
    means, labels = torch.randn(60, 4) * torch.tensor([1.0, 9.0, 0.1, 5.0]), torch.arange(60) % 3
    codes = Codes(means, labels, ("cat", "dog", "a name that is far too long to be read"))
    (figure,) = code_figures(codes)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("dimension 1", "dimension 3")
    found = cloud(axes)
    assert list(found) == ["cat", "dog", "a name that is fa…"]
    for label, points in enumerate(found.values()):
        assert np.allclose(points, means[labels == label][:, [1, 3]].numpy())
    assert len({line.get_color() for line in axes.lines}) == 3
    assert [t.get_text() for t in figure.legends[0].get_texts()] == list(found)


def test_too_many_classes_and_none_have_one_color() -> None:
    for labels in (None, torch.arange(60), torch.zeros(60, dtype=torch.int64)):
        (figure,) = code_figures(Codes(torch.randn(60, 2), labels))
        assert not figure.legends
        assert len(figure.axes[0].lines) == 1
        assert len(figure.axes[0].lines[0].get_xdata()) == 60


def test_each_factor_has_a_panel() -> None:
    factors = torch.stack([torch.arange(30) % 3, torch.arange(30)], 1)
    codes = Codes(torch.randn(30, 5), factors=factors, factor_names=("shape", NASTY))
    figures = list(code_figures(codes))
    assert [f.axes[0].get_title("left") for f in figures] == ["shape", NASTY]
    for place, figure in enumerate(figures):
        colors = figure.axes[0].collections[0].get_array()
        assert colors is not None
        assert np.array_equal(np.asarray(colors), factors[:, place].numpy())
    html = code_charts(codes).decode()
    assert html.count("<svg") == 2
    assert "<b>" not in html


@pytest.mark.parametrize("name", ["$\\foo$", "_hidden", "a$b$c", "日本", NASTY])
def test_names_are_shown_as_they_are(name: str) -> None:
    """Neither a formula to matplotlib, nor left out of its legends; and no warning of letters."""
    codes = Codes(torch.randn(9, 2), torch.arange(9) % 2, (name, "other"))
    rows = torch.rand(9, 2)
    charts = [code_charts(codes), *table_charts(Table(rows, rows, rows, columns=(name, "other")))]
    for chart in charts[:2]:
        assert escape(name, quote=False) in chart.decode().replace(" _", "_")


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


def shown(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(a.images[0].get_array()) for a in figure.axes if a.images]


def test_maps_show_columns_in_units_of_their_spread() -> None:
    made = table(counts=False)
    found = shown(maps_figure(made, 12))
    x, y = made.rows.double().numpy(), made.reconstructions.double().numpy()
    for got, part in zip(found, (x, y), strict=True):
        assert np.allclose(got, ((part - x.mean(0)) / x.std(0))[:12])


def test_maps_of_counts_show_the_logarithm_of_the_columns_that_vary_most() -> None:
    rates = torch.rand(100) * 9
    x = torch.poisson(rates.expand(50, -1))
    made = Table(x, x + 0.5, x, counts=True)
    spreads = np.log1p(x.numpy()).var(0)
    expected = np.argsort(-spreads)[:COLUMNS]
    assert np.allclose(np.sort(spreads[made.shown]), np.sort(spreads[expected]))
    above, under = shown(maps_figure(made, 20))
    assert np.allclose(above, np.log1p(x.numpy())[:20, made.shown])
    assert np.allclose(under, np.log1p(x.numpy() + 0.5)[:20, made.shown])
    names = [text.get_text() for text in maps_figure(made, 20).axes[0].get_xticklabels()]
    assert names == [str(i) for i in made.shown]


def test_bars_are_the_explained_variance_of_each_column() -> None:
    made = table(counts=False)
    (axes,) = means_figure(made).axes
    expected = r2_score(made.rows, made.reconstructions, multioutput="raw_values")
    assert [bar.get_height() for bar in axes.patches] == pytest.approx(np.maximum(expected, 0))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("counts", [False, True])
def test_numbers_that_are_not_finite_do_not_fail(value: float, counts: bool) -> None:
    bad, good = torch.full((6, 3), value), torch.ones(6, 3)
    for table_ in (Table(good, bad, bad, counts=counts), Table(bad, bad, good, counts=counts)):
        assert [part.count(b"<svg") for part in table_charts(table_)] == [2, 1]
    assert code_charts(Codes(bad, torch.arange(6) % 2)).count(b"<svg") == 1
    assert code_charts(Codes(good, factors=bad)).count(b"<svg") == 3


def test_a_constant_column_is_nan_in_no_chart() -> None:
    flat = torch.ones(10, 3)
    for counts in (False, True):
        html = b"".join(table_charts(Table(flat, flat, flat, counts=counts)))
        assert b"nan" not in html.replace(b"scan", b"")


def test_draws_are_compared_by_their_correlations() -> None:
    made = table(counts=False)
    assert made.draws is not None
    data, draws = shown(draws_figure(made, made.draws))
    assert np.allclose(data, np.corrcoef(made.rows.numpy().T), atol=1e-6)
    assert np.allclose(draws, np.corrcoef(made.draws.numpy().T), atol=1e-6)


def test_counts_are_compared_by_means_and_zeros() -> None:
    made = table(counts=True)
    assert made.draws is not None
    x, y, z = (part.numpy() for part in (made.rows, made.reconstructions, made.draws))
    (means,) = means_figure(made).axes
    assert np.allclose(means.lines[1].get_xydata(), np.stack([x.mean(0), y.mean(0)], 1))
    means, zeros = draws_figure(made, made.draws).axes
    assert np.allclose(means.lines[1].get_xydata(), np.stack([x.mean(0), z.mean(0)], 1))
    expected = np.stack([(x == 0).mean(0), (z == 0).mean(0)], 1)
    assert np.allclose(zeros.lines[1].get_xydata(), expected)
    for axes in (means, zeros):  # what is equal lies on the line
        line = np.asarray(axes.lines[0].get_xydata())
        assert np.array_equal(line[:, 0], line[:, 1])


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
    assert "<b>" not in page.html
    for words in ("weight", NASTY, "an uncommonly…", "in all 3 columns", "x is a row of the data"):
        assert words in page.text
    assert page.fact("rows") == "162 to train, 18 for validation, 20 for test"
    assert page.fact("data") == "mine: table, 3 columns"
    assert page.fact("values").startswith("the model sees each column less its training mean")
    assert page.fact("measured on").startswith("all 20 test rows")
    assert page.fact("an uncommonly long name").startswith("data ")
    assert {"correlations of 3 columns: data and draws of the model"} <= set(page.alts)
    assert any(alt.startswith("R² of 3 columns") for alt in page.alts)


def test_the_report_of_counts_speaks_of_rows(tmp_path: Path) -> None:
    x = torch.poisson(torch.rand(40) * 3 + torch.zeros(120, 40)).numpy().astype(np.int32)
    np.savez(tmp_path / "cells.npz", images=x)
    page = trained(tmp_path, data=str(tmp_path / "cells.npz"), latent=2, epochs=2)
    assert "image" not in page.text
    assert "in the 24 of 40 columns that vary most" in page.text
    assert "mean and part of zeros of each column: data and draws of the model" in page.alts
    assert page.fact("sum of a row").startswith("data ")
    assert page.fact("test ELBO").endswith("nats per row")
    assert "sigma it implies" not in page.html
    assert "density" not in page.text


# what a model has not ------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["ae", "unpool_ae"])
def test_nothing_is_said_of_samples_where_there_is_no_prior(tmp_path: Path, recipe: str) -> None:
    options = {"net": "mlp:hidden=16"} if recipe == "ae" else {"net": ":channels=4:hidden=8"}
    page = trained(tmp_path, recipe, data="digits", limit=200, latent=2, epochs=1, **options)
    assert len(page.pictures) == 1
    assert "This model has no bound and no prior" in page.text
    for word in ("Samples", "ELBO", "beta=", "Circles", "drawn from the prior"):
        assert word not in page.text


def test_a_point_with_a_prior_has_samples_and_a_warning(tmp_path: Path) -> None:
    options = {"prior": "standard-normal", "data": "digits", "limit": 200, "epochs": 1}
    page = trained(tmp_path, "ae", **options)
    assert len(page.pictures) == 2
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

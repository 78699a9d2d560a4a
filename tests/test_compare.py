"""Several runs on one page: its numbers by hand, its words, its images, its refusals."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

import vaekit
from vaekit.cli.main import main
from vaekit.data import spread
from vaekit.evaluate import Column, Metric
from vaekit.registry import register
from vaekit.report import (
    COLORS,
    GAP,
    Comparison,
    Entry,
    Measure,
    RunSet,
    Setting,
    axis,
    compare,
    curves_figure,
    differences,
    flat,
    in_words,
    labeled,
    lead,
    limits,
    look,
    measure,
    notes,
    number_text,
    open_runs,
    panels,
    plain_names,
    sentences,
    short_names,
    spread_chart,
    that_matter,
    tradeoff,
    typical_of,
)

SMALL: dict[str, Any] = {
    "net": "mlp:hidden=16",
    "limit": 300,
    "epochs": 2,
    "threads": 1,
    "report": False,
}


def trained(out: Path, recipe: str = "vae", **options: Any) -> str:
    return str(vaekit.train(recipe, out=out, **{**SMALL, **options}).path)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    trained(folder / "narrow", latent=2)
    trained(folder / "wide", latent=5, net="mlp:hidden=16:norm=batch")
    trained(folder / "auto", "ae", latent=2)
    trained(folder / "gray", latent=2, likelihood="bernoulli")
    trained(folder / "beta", "beta_vae", latent=2, objective=":beta=0.5")
    trained(folder / "beta4", "beta_vae", latent=2, objective=":beta=4")
    return folder


@pytest.fixture(scope="module")
def two(here: Path) -> Comparison:
    paths = [here / "narrow", here / "wide"]
    return compare(paths, out=here / "two" / "page.html", limit=50, files=here / "two")


class Reader(HTMLParser):
    """The text of a page, its cells, and its images."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text, self.images, self.charts, self.tags = "", 0, 0, set[str]()
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
        self.images += tag == "img"
        self.charts += tag == "svg"
        for name, value in attributes:
            if name in ("src", "href"):
                assert (value or "").startswith(("data:image/png;base64,", "#"))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.lasttag in ("th", "td", "span") and self.rows and data.strip():
            self.rows[-1][-1] += data


def by_hand(path: Path, rows: int, split: str = "test") -> dict[str, np.ndarray]:
    """Each row's terms with closed-form KL, by numpy and torch's own distributions."""
    run = vaekit.load(path)
    held = run.dataset().splits[split]
    x = held.x(torch.arange(rows) * len(held) // rows)
    model = run.model
    with torch.no_grad():
        q = model.posterior(x)
        torch.manual_seed(0)
        z = q.loc + q.scale * torch.randn(10, *q.loc.shape)
        px = model.likelihood(z)
        scale = model.likelihood.family.scale.log_scale.exp()
        ll = torch.distributions.Normal(px.mean, scale).log_prob(x).sum((2, 3, 4)).mean(0)
        prior = torch.distributions.Normal(0.0, 1.0)
        posterior = torch.distributions.Normal(q.loc, q.scale)
        kl = torch.distributions.kl_divergence(posterior, prior).sum(1)
        made = model.likelihood(q.loc).mean
    error = (made - x).square().flatten(1).mean(1).double().numpy()
    found = {"log_likelihood": ll.double().numpy(), "kl": kl.double().numpy()}
    return {**found, "psnr": -10 * np.log10(error), "codes": q.loc.double().numpy()}


# numbers --------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_the_model_by_hand(here: Path, two: Comparison) -> None:
    for name, row in zip(("narrow", "wide"), two.runs, strict=True):
        hand = by_hand(here / name, 50)
        run = vaekit.load(here / name)
        assert row["kl"] == pytest.approx(hand["kl"].mean(), rel=1e-5)
        assert row["kl_standard_error"] == pytest.approx(hand["kl"].std(ddof=1) / 50**0.5, rel=1e-4)
        assert row["log_likelihood"] == pytest.approx(hand["log_likelihood"].mean(), rel=1e-5)
        assert row["elbo"] == pytest.approx(row["log_likelihood"] - row["kl"])
        assert row["psnr"] == pytest.approx(hand["psnr"].mean(), rel=1e-5)
        assert row["active_units"] == (hand["codes"].var(0) > 0.01).sum()
        train = by_hand(here / name, 50, "train")
        gap = (train["log_likelihood"] - train["kl"]).mean() - row["elbo"]
        assert row["train_test_gap"] == pytest.approx(gap, abs=1e-4)
        assert row["parameters"] == sum(p.numel() for p in run.model.parameters())
        records = run.folder.records()
        speeds = [record["images_per_second"] for record in records]
        assert row["images_per_second"] == pytest.approx(sum(speeds) / 2)
        assert row["gradient_norm"] == records[-1]["gradient_norm"]
        assert row["step"] == run.step
        batch = run.dataset().train.x(spread(len(run.dataset().train), 128))
        noise = vaekit.evaluate.gradient_noise(run.model, run.objective, batch)
        assert row["metrics"]["gradient-noise"]["variance"] == pytest.approx(noise.variance)
        assert row["ratio"] == pytest.approx(noise.ratio)


def test_rows_that_are_drawn_anew_give_the_same_numbers_again(tmp_path: Path) -> None:
    run = vaekit.load(trained(tmp_path / "bits", latent=2, binarize="dynamic"))
    one, two = (measure(run, "x", limit=20, seed=3, data_dir=None) for _ in range(2))
    assert one.records == two.records
    assert one.gap == two.gap


def test_the_numbers_are_those_of_evaluate(here: Path, two: Comparison) -> None:
    found = vaekit.load(here / "narrow").evaluate("reconstruction", limit=50)
    for name in ("log_likelihood", "elbo", "kl", "elbo_standard_error", "mse"):
        assert two.runs[0][name] == pytest.approx(found[name], rel=1e-6)
    for name in ("psnr", "ssim"):
        assert two.runs[0][name] == pytest.approx(found["reconstruction"][name], rel=1e-6)


def test_a_difference_is_that_of_paired_rows_and_names_no_winner(
    here: Path, two: Comparison
) -> None:
    one, other = (by_hand(here / name, 50)["psnr"] for name in ("narrow", "wide"))
    apart = np.abs((one - other).mean())
    error = (one - other).std(ddof=1) / 50**0.5
    (sentence,) = (words for words in two.words if words.startswith("The PSNR"))
    assert sentence.startswith(f"The PSNR differs by {apart:.2f} ± {error:.2f} over 50 rows: ")
    bounds = sorted(((row["elbo"], row["name"]) for row in two.runs), reverse=True)
    (sentence,) = (words for words in two.words if words.startswith("The bound"))
    (best, first), (worst, second) = ((f"{v:.2f}".replace("-", "−"), name) for v, name in bounds)
    assert f": {best} nats per image for {first}, {worst} for {second}; two seeds" in sentence
    known, of = typical_of(vaekit.load(here / "narrow"))
    assert sentence.endswith(f"typically differ by {known['elbo']:.2g}.")
    assert not any(re.search("(high|low)(er|est) for", words) for words in two.words)
    assert two.notes[0] == "± is one standard error over 50 rows; differences are paired by row."
    assert any("--seeds 3" in note for note in two.notes)
    assert any(f"10 seeds of {of['recipe']} on digits (gray data)" in note for note in two.notes)
    best_cells = re.findall('<td class="best"', two.path.read_text())
    assert not best_cells


def test_the_gap_of_training_and_test_rows_has_the_error_of_both(
    here: Path, two: Comparison
) -> None:
    """The root of the sum of squares: the rows are others."""
    for name, row in zip(("narrow", "wide"), two.runs, strict=True):
        parts = [by_hand(here / name, 50, split) for split in ("train", "test")]
        errors = [(p["log_likelihood"] - p["kl"]).std(ddof=1) / 50**0.5 for p in parts]
        assert row["train_test_gap_standard_error"] == pytest.approx(np.hypot(*errors), rel=1e-4)
        assert row["standard_error_over"] == "50 rows"


class Peak(Metric):
    """The brightest value of a reconstruction."""

    columns = (Column("peak", "brightest pixel", "levels", decimals=3, better=1),)

    def update(self, trace: Any) -> None:
        """Keeps it for each row."""
        self.keep(peak=trace.reconstruction.flatten(1).amax(1).double())

    def compute(self) -> dict[str, Any]:
        """Its mean."""
        return {"peak": torch.cat(self.rows["peak"]).mean().item()}


PEAK = Measure("peak", "peak", Peak.columns[0])


def alone(name: str, elbo: list[float]) -> Setting:
    return Setting(name, [entry(name, elbo)])


def entry(name: str, elbo: list[float]) -> Entry:
    made = object.__new__(Entry)  # without a run
    values = torch.tensor(elbo, dtype=torch.float64)
    metric = Peak()
    metric.keep(peak=values)
    records = {"peak": metric.compute()}
    run = SimpleNamespace(spec=SimpleNamespace(unit="nats per image", kind="gray"))
    made.__dict__.update(name=name, metrics={"peak": metric}, records=records, run=run)
    return made


def test_a_difference_of_one_seed_each_is_known_over_rows_and_never_clear() -> None:
    base = [0.0, 10.0, 20.0, 30.0]
    near = [value + apart for value, apart in zip(base, (2.0, 1.0, 2.0, 1.0), strict=True)]
    found = lead([alone("a", base), alone("b", near)], PEAK)
    assert found is not None
    assert (found.best.name, found.other.name, found.by) == ("b", "a", 1.5)
    assert found.rows == pytest.approx(np.std([2, 1, 2, 1], ddof=1) / 2)
    assert np.isnan(found.error)
    assert not found.clear
    three = lead([alone("a", base), alone("b", near), alone("c", [-50.0] * 4)], PEAK)
    assert three is not None
    assert (three.best.name, three.other.name) == ("b", "c"), "the ends"


# names and words ------------------------------------------------------------------------------


def test_two_numbers_are_named_in_place_of_bounds_that_do_not_compare() -> None:
    columns = [Column(name, name, "levels", better=1) for name in ("crest", "peak")]
    made = entry("a", [1.0, 2.0])
    made.__dict__.update(records={"peak": {"crest": 3.0, "peak": 1.5}})
    opened: Any = SimpleNamespace(comparable=False, scaled=False, kinds=lambda say: "two kinds")
    numbers = [Measure(column.name, "peak", column) for column in columns]
    first = next(notes(opened, [Setting("a", [made])], numbers))
    assert first.endswith("are not comparable, so no run is ranked by them: two kinds. Judge by "
                          "crest and peak instead.")  # fmt: skip


def test_what_differs_is_said_and_names_the_runs(two: Comparison) -> None:
    assert two.words[0] == (
        "They differ in net.norm: none against batch; latent: 2 against 5; all else is equal."
    )
    assert [row["name"] for row in two.runs] == ["norm=none latent=2", "norm=batch latent=5"]
    assert two.differences == {"net.norm": ["none", "batch"], "latent": [2, 5]}


def test_options_of_place_do_not_differ(here: Path) -> None:
    one, two = (flat(vaekit.load(here / name).config, "gray") for name in ("narrow", "wide"))
    assert not {"device", "threads", "data_dir", "cache"} & {*one, *two}
    assert set(differences([one, two])) == {"latent", "net.norm"}


def test_recipes_name_runs_and_what_one_alone_has_does_not() -> None:
    found = {"recipe": ["vae", "ae"], "objective.kl": ["closed", None]}
    assert short_names(found, [Path("a"), Path("b")]) == ["vae", "ae"]
    assert in_words(found) == "They differ in recipe: vae against ae; all else is equal."
    assert short_names({"patience": ["none", 5]}, [Path("a"), Path("b")]) == [
        "patience=none",
        "patience=5",
    ]


def test_likelihoods_are_named_and_have_a_scale_only_where_they_have_one(here: Path) -> None:
    opened = open_runs([here / "narrow", here / "gray"])
    assert opened.options["likelihood"] == ["gaussian", "bernoulli"]
    assert opened.options["likelihood.scale"] == ["fitted", None]
    assert opened.names == ["likelihood=gaussian", "likelihood=bernoulli"]
    assert in_words(opened.options) == (
        "They differ in likelihood: gaussian against bernoulli; all else is equal."
    )
    found = {
        "likelihood": ["gaussian", "bernoulli", "gaussian"],
        "likelihood.scale": ["fitted", None, 1.0],
    }
    assert short_names(found, [Path("a"), Path("b"), Path("c")]) == [
        "likelihood=gaussian scale=fitted",
        "likelihood=bernoulli",
        "likelihood=gaussian scale=1",
    ]
    assert "likelihood.scale: fitted, 1; all" in in_words(found)


def test_speeds_that_hardly_differ_name_no_winner() -> None:
    def told(*speeds: float) -> str:
        runs = [entry(name, [0.0]) for name in "abc"[: len(speeds)]]
        for one, speed in zip(runs, speeds, strict=True):
            spec = SimpleNamespace(unit="nats per image")
            one.__dict__.update(
                epochs=[{"images_per_second": speed}], run=SimpleNamespace(spec=spec)
            )
        settings = [Setting(one.name, [one]) for one in runs]
        return " ".join(" ".join(parts) for parts in sentences(settings, [], True, ["net"]))

    assert told(1000, 1100, 1240) == (
        "All trained about equally fast, 1,000 to 1,240 images a second."
    )
    assert told(3000, 1000) == (
        "a trained fastest, 3,000 images a second; b took 3.00 times as long per image."
    )


def test_folders_name_runs_whose_options_do_not() -> None:
    paths = [Path("x/a"), Path("y/a"), Path("x/b")]
    assert short_names({"latent": [2, 2, 3]}, paths) == ["x/a", "y/a", "x/b"]
    assert short_names({"latent": [2, 2, 3]}, [Path("a"), Path("b"), Path("c")]) == ["a", "b", "c"]
    many = {name: [1, 2] for name in "abcd"}
    assert short_names(many, [Path("one"), Path("two")]) == ["one", "two"]


# the page -------------------------------------------------------------------------------------


def test_the_page_is_whole_and_says_all(here: Path, two: Comparison) -> None:
    html = two.path.read_text()
    page = Reader(html)
    assert "no prior to draw from" not in page.text
    assert page.images == 12 * 3 + 24 * 2, "test images and two rows of reconstructions; samples"
    assert page.charts == 5 + 6, "spreads and curves"
    assert not {"link", "iframe"} & page.tags
    for sentence in (*two.words, *two.notes):
        assert sentence in page.text
    assert "50 test images" in page.text
    for part in two.table.values():
        for row in part[1:]:
            assert row in page.rows
    assert two.ranked_by == "elbo"
    assert two.comparable


def test_the_images_are_in_the_folder(here: Path, two: Comparison) -> None:
    names = {"page.html", "curves.png", "reconstructions.png", "samples.png", "table.md"}
    assert {p.name for p in (here / "two").iterdir()} == names
    for name in ("curves", "reconstructions", "samples"):
        with Image.open(here / "two" / f"{name}.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        assert (pixels[:3] == 255).all(), "the edge is white"
        wide = image.width
        assert (wide in (829, 830)) if name == "curves" else 1000 < wide <= 2 * 830
    lines = (here / "two" / "table.md").read_text().splitlines()
    assert lines[0] == "|  | norm=none latent=2 | norm=batch latent=5 |"
    assert all(line.count("|") == 4 for line in lines)
    assert lines[2].startswith("| bound (ELBO) | −")


def test_sheets_to_the_pixel() -> None:
    first, second = torch.rand(2, 3, 1, 4, 4).unbind()
    sheet = np.asarray(labeled([("one", first), ("two", second)], times=2))
    side = (sheet.shape[0] - 2 * 16 - 24) // 2
    factor = side // 4
    width = 3 * (side + GAP) - GAP
    left = sheet.shape[1] - 16 - width
    assert 2 * 600 < sheet.shape[1] <= 2 * 830
    for number, images in enumerate((first, second)):
        top = 16 + number * (side + 24)
        for place, image in enumerate(images):
            x = left + place * (side + GAP)
            block = sheet[top : top + side, x : x + side, 0]
            expected = np.round(image[0].numpy().astype(np.float64) * 255)
            assert np.array_equal(block, np.kron(expected, np.ones((factor, factor))))
    assert (sheet[:, :left] < 128).any(), "names are written"


def test_the_same_noise_makes_the_samples_of_one_latent_size(here: Path) -> None:
    paths = [here / name for name in ("narrow", "beta")]
    opened = open_runs(paths)
    draws = []
    for run in opened.runs:
        torch.manual_seed(0)
        draws.append(run.model.decode(torch.randn(12, 2)))
    for run, expected in zip(opened.runs, draws, strict=True):
        assert torch.allclose(run.sample(12, seed=0), expected, atol=1e-6)


def opened_and_measured(paths: list[Path]) -> tuple[RunSet, list[Setting]]:
    opened = open_runs(paths)
    named = zip(opened.runs, opened.names, strict=True)
    entries = [measure(run, name, limit=20, seed=0, data_dir=None) for run, name in named]
    return opened, [Setting(n, [entries[r] for r in rows]) for n, rows in opened.settings.items()]


def test_a_posterior_that_shrinks_to_nothing_has_a_logarithmic_axis(here: Path) -> None:
    opened, settings = opened_and_measured([here / "narrow", here / "wide"])
    first, second = (one.entries[0].epochs for one in settings)
    for record in (*first, *second):
        record["latent"]["active_units"] = 1
    for small, log in ((0.5, ""), (1e-4, "y"), (0.0, "")):
        for record in second:
            record["latent"]["posterior_scale"] = small
        shown = {panel.title: panel for panel in panels(opened, settings)}
        sigma = shown["posterior σ"]
        assert (sigma.log, shown["KL"].log) == (log, "")
        assert sigma.y[0] <= small < sigma.y[1]
        figure = curves_figure([sigma], {})
        assert figure is not None
        assert figure.axes[0].get_yscale() == ("log" if log else "linear")


def test_curves_are_those_of_the_records(here: Path) -> None:
    opened, settings = opened_and_measured([here / "narrow", here / "wide"])
    shown = {panel.title: panel for panel in panels(opened, settings)}
    assert list(shown) == [
        "objective", "log-likelihood", "KL", "posterior σ", "active units", "gradient norm"
    ]  # fmt: skip
    by_kind = {line.kind: line for line in shown["objective"].lines}
    low, high = shown["objective"].y
    for one, kind in zip(settings, ("", "accent"), strict=True):
        for split, name in (("validation", kind), ("train", f"{kind} thin dashed".strip())):
            expected = [(r["epoch"], r[split]["objective"]) for r in one.entries[0].epochs]
            assert np.allclose(by_kind[name].points, expected)
            bottom, top = limits([y for _, y in by_kind[name].points])
            assert low <= bottom
            assert top <= high
    for one, line in zip(settings, shown["posterior σ"].lines, strict=True):
        scales = [(r["epoch"], r["latent"]["posterior_scale"]) for r in one.entries[0].epochs]
        assert np.allclose(line.points, scales)
    first, second = opened.likelihoods
    apart = replace(opened, likelihoods=[first, second._replace(name="another")])
    titles = [panel.title for panel in panels(apart, settings)]
    assert "objective" not in titles
    assert "KL" in titles


def test_files_and_page_have_the_same_colors(here: Path) -> None:
    opened, settings = opened_and_measured([here / "beta4", here / "beta"])
    (panel,) = (panel for panel in panels(opened, settings) if panel.title == "KL")
    labels = [line.label for line in panel.lines if line.label]
    assert labels == ["beta=4", "beta=0.5"]
    assert [line.kind for line in panel.lines if line.label] == ["step3", "step1"]
    figure = curves_figure([panel], {"beta=4": "the larger", "beta=0.5": "the smaller"})
    assert figure is not None
    (axes,) = figure.axes
    colors = {line.get_label(): line.get_color() for line in axes.lines}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][:2] == ["the larger", "the smaller"]
    assert axes.get_legend() is None
    css = (Path(vaekit.__file__).parent / "report/templates/style.css").read_text()
    assert f"--step3: {COLORS['step3']}" in css
    assert colors["the larger"] == COLORS["step3"]
    assert colors["the smaller"] == COLORS["step1"]
    assert 'class="line step3"' in panel.chart().svg


def test_counts_are_drawn_whole() -> None:
    assert axis([[0, 38, 64, 64, 64, 64, 63, 62], [16] * 8])[0][0] <= 0
    low, high = axis([[16] * 8])[0]
    assert low <= 0
    assert high >= 16
    assert axis([[-500.5, 38.5, 64.1, 64.2, 64.3, 64.4, 63.5, 62.5]])[0][0] > -500


def test_many_settings_share_the_axes_of_several_charts(here: Path) -> None:
    opened, settings = opened_and_measured([here / "narrow", here / "wide"])
    five = [Setting(name, settings[0].entries) for name in "abcde"]
    many = replace(opened, settings={name: [0] for name in "abcde"})
    shown = [panel for panel in panels(many, five) if panel.title == "KL"]
    assert [[line.label for line in panel.lines if line.label] for panel in shown] == [
        ["a", "b", "c"],
        ["d", "e"],
    ]
    assert shown[0].y == shown[1].y
    assert [line.kind for line in shown[1].lines if line.label] == ["", "accent"]


def test_files_show_panels_that_move_and_leave_no_hole(here: Path) -> None:
    opened, settings = opened_and_measured([here / "narrow", here / "wide"])
    for one in settings:
        for record in one.entries[0].epochs:
            record["latent"]["active_units"] = 2
    shown = that_matter(list(panels(opened, settings)))
    assert [panel.title for panel in shown] == [
        "objective", "log-likelihood", "KL", "posterior σ", "gradient norm"
    ]  # fmt: skip
    units = [replace_title(shown[0], title) for title in ("active units", "dead units")]
    assert "gradient norm" not in [panel.title for panel in that_matter([*shown, *units])]
    with look():
        figure = curves_figure(shown, {"A": "latent 2, no norm", "B": "latent 5, batch norm"})
        figure.savefig(io.BytesIO())
    rows = [axes.get_subplotspec() for axes in figure.axes]
    assert [(at.rowspan.start, at.colspan.start, at.colspan.stop) for at in rows if at] == [
        (0, 0, 2), (0, 2, 4), (0, 4, 6), (1, 0, 3), (1, 3, 6)
    ]  # fmt: skip
    (legend,) = figure.legends
    box, edge = legend.get_window_extent(), figure.bbox
    assert edge.x0 <= box.x0 < box.x1 <= edge.x1
    lowest: list[Any] = figure.axes[3:]
    assert all(box.y1 <= axes.get_tightbbox().y0 + 1 for axes in lowest)
    assert figure.get_size_inches()[0] * 108 <= 830


def replace_title(panel: Any, title: str) -> Any:
    return panel._replace(title=title)


def test_images_name_settings_in_words(here: Path) -> None:
    opened = open_runs([here / "narrow", here / "wide"])
    assert list(opened.plain.values()) == ["no norm, latent 2", "batch norm, latent 5"]
    kinds = ["gaussian", "gaussian", "bernoulli"]
    options = {"likelihood": kinds, "likelihood.scale": ["fitted", 1.0, None]}
    rows = {"a": 0, "b": 1, "c": 2}
    assert list(plain_names(options, rows).values()) == [
        "Gaussian, σ fitted", "Gaussian, σ 1", "Bernoulli"
    ]  # fmt: skip
    same = {"latent": [2, 2, 8]}
    assert plain_names(same, rows) == {name: name for name in rows}, "words must tell them apart"
    one = {"likelihood.scale": ["fitted", None]}
    assert plain_names(one, {"a": 0, "b": 1}) == {"a": "a", "b": "b"}, "each must have some"


def test_the_last_value_of_a_line_is_on_the_chart() -> None:
    rising = [0.5, 0.6, 0.6, 0.7, 0.7, 0.7, 0.8, 1.0, 2.0, 4.0]
    (_, high), _ = axis([rising], [rising[-1]])
    assert high > 4
    (low, _), _ = axis([[-100.5, -99.5, -98.5, -97.5, -9e6]], [-9e6])
    assert low > -1000, "unless it is far away"


# seeds ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("seeds")
    named = [(latent, seed) for latent in (2, 5) for seed in (0, 1, 2)]
    return [
        Path(trained(folder / f"{latent}-{seed}", latent=latent, seed=seed))
        for latent, seed in named
    ]


def test_seeds_of_a_setting_are_one_row_with_their_spread(
    seeds: list[Path], tmp_path: Path
) -> None:
    found = compare(seeds, out=tmp_path / "p.html", limit=50)
    values = np.array([row["psnr"] for row in found.runs]).reshape(2, 3)
    assert [one["name"] for one in found.settings] == ["latent=2", "latent=5"]
    assert [one["psnr"] for one in found.settings] == pytest.approx(values.mean(1))
    errors = values.std(1, ddof=1) / 3**0.5
    assert [one["psnr_standard_error"] for one in found.settings] == pytest.approx(errors)
    best, other = values[values.mean(1).argsort()[::-1]]
    apart, error = (best - other).mean(), np.hypot(*values.std(1, ddof=1)) / 3**0.5
    (sentence,) = (words for words in found.words if words.startswith("The PSNR"))
    assert f"the difference is {number_text(apart, error)} over 3 seeds (p = " in sentence
    assert " over 50 rows." in sentence
    assert [one["standard_error_over"] for one in found.settings] == ["3 seeds"] * 2
    assert {one["standard_error_over"] for one in found.runs} == {"50 rows"}
    assert found.notes[0].startswith("± of several seeds is one standard error over these")
    assert not any("--seeds" in note for note in found.notes)
    page = Reader(found.path.read_text())
    shown = number_text(values[0].mean(), errors[0])
    assert any(row[0] == "latent=2" and shown in row for row in page.rows)
    assert "6 runs, a line each" in page.text
    assert len(found.table["Runs"]) == 7


def test_seeds_that_differ_are_two_samples(seeds: list[Path]) -> None:
    opened, settings = opened_and_measured([*seeds[:3], *seeds[4:]])
    of = Measure("psnr", "reconstruction", Column("psnr", "PSNR", "dB", better=1))
    found = lead(settings, of)
    assert found is not None
    one, two = (np.array([e.value(of) for e in each.entries]) for each in (found.best, found.other))
    test = stats.ttest_ind(one, two, equal_var=len(one) == len(two))
    assert found.by == pytest.approx(one.mean() - two.mean())
    assert found.error == pytest.approx(found.by / test.statistic)
    assert found.p == pytest.approx(test.pvalue)
    rows = [torch.stack([e.row(of) for e in s.entries]).mean(0) for s in (found.best, found.other)]  # type: ignore[misc]
    apart = (rows[0] - rows[1]).numpy()
    assert found.rows == pytest.approx(apart.std(ddof=1) / 20**0.5)
    assert opened.seeded


def test_settings_may_have_unequal_numbers_of_seeds(seeds: list[Path], tmp_path: Path) -> None:
    found = compare(seeds[:-1], out=tmp_path / "p.html", limit=20)
    assert {len(row["runs"]) for row in found.settings} == {3, 2}
    some = compare(seeds[:4], out=tmp_path / "q.html", limit=20)
    assert any("One seed of an option names no winner" in note for note in some.notes)
    assert some.notes[0].startswith("± of several seeds is one standard error over these, of one")
    _, settings = opened_and_measured(seeds)
    gaps = [entry.gap[0] for entry in settings[0].entries]
    assert settings[0].gap is not None
    assert settings[0].gap[0] == pytest.approx(sum(gaps) / 3)
    assert "0, 1, 2" in Reader(found.path.read_text()).text


def test_runs_that_all_collapsed_have_learned_nothing(tmp_path: Path) -> None:
    """One that uses its codes is enough for no such word."""
    for name, beta in (("a", 784), ("b", 2000), ("c", 1)):
        how: dict[str, Any] = SMALL | {"objective": f":beta={beta}", "epochs": 30, "lr": 1e-2}
        vaekit.train("beta_vae", data="digits", latent=2, out=tmp_path / name, **how)
    ill = compare([tmp_path / "a", tmp_path / "b"], out=tmp_path / "p.html", limit=20)
    assert any(note.startswith("None of these runs has learned anything") for note in ill.notes)
    mixed = compare([tmp_path / "a", tmp_path / "c"], out=tmp_path / "q.html", limit=20)
    assert not any("has learned anything" in note for note in mixed.notes)


def test_the_spread_of_seeds_is_drawn(seeds: list[Path]) -> None:
    _, settings = opened_and_measured(seeds)
    of = Measure("psnr", "reconstruction", Column("psnr", "PSNR", "dB", better=1))
    style = {one.name: SimpleNamespace(kind="") for one in settings}
    chart = spread_chart(of, settings, style)  # type: ignore[arg-type]
    assert chart is not None
    assert chart.svg.count("<circle") == 6
    assert chart.svg.count('class="band"') == 2
    for one in settings:
        assert one.text(of) in chart.svg
        half = one.half_interval(of)
        assert half == pytest.approx(stats.t.ppf(0.975, 2) * (one.error(of) or 0))


def test_a_number_that_is_not_finite_is_left_out_of_the_chart() -> None:
    """As the PSNR of images that are reproduced exactly."""
    settings = [alone(name, [elbo]) for name, elbo in (("a", -1.0), ("b", -2.0), ("c", np.inf))]
    style = {one.name: SimpleNamespace(kind="") for one in settings}
    chart = spread_chart(PEAK, settings, style)  # type: ignore[arg-type]
    assert chart is not None
    assert chart.svg.count("<circle") == 2


def test_an_error_is_never_written_as_nothing() -> None:
    assert number_text(0.0004, 0.0002, 2) == "0.00040 ± 0.00020"
    assert number_text(-12.345, 0.25, 2) == "−12.35 ± 0.25"
    assert number_text(100.0, 3.0, 2) == "100.00 ± 3.00"
    assert number_text(1.0, 0.0, 2) == "1.00 ± 0.00", "exactly"
    assert number_text(1.0, float("nan"), 2) == "1.00"


def test_rate_and_distortion_of_beta(here: Path, tmp_path: Path) -> None:
    paths = [here / "beta4", here / "beta"]
    found = compare(paths, out=tmp_path / "p.html", limit=30, files=tmp_path / "p")
    assert (tmp_path / "p" / "rate-distortion.png").is_file()
    assert "Rate and distortion" in Reader(found.path.read_text()).text
    assert not any("a second" in words for words in found.words), "beta costs no time"
    assert "β = 0.5" in found.path.read_text()
    opened, settings = opened_and_measured(paths)
    for one, row in zip(settings, found.runs, strict=True):
        one.entries[0].records["bound"] |= {n: row[n] for n in ("kl", "log_likelihood")}
    trade = tradeoff(opened, settings)
    assert trade is not None
    rows = sorted(found.runs, key=lambda row: row["name"])  # beta=0.5 before beta=4
    expected = [(row["kl"], -row["log_likelihood"]) for row in rows]
    assert np.allclose(trade.lines[""], expected)
    assert trade.betas == {"": [0.5, 4]}
    assert trade.total == pytest.approx(-max(row["elbo"] for row in rows))
    (left, right), _ = trade.ends
    assert left >= -0.05 * right, "no rate is below 0"


def test_samples_come_from_the_prior_that_is_named(here: Path, tmp_path: Path) -> None:
    paths, how = [here / "narrow", here / "beta"], {"out": tmp_path / "p.html", "limit": 20}
    drawn, pages, plain = {}, {}, opened_and_measured(paths)[0].plain
    for prior in ("model", "fitted"):
        found = compare(paths, prior=prior, files=tmp_path, **how)  # type: ignore[arg-type]
        drawn[prior], pages[prior] = (tmp_path / "samples.png").read_bytes(), found.path.read_text()
        runs = [vaekit.load(path) for path in paths]
        rows = zip(found.table["Bound and latent"][1:], runs, strict=True)
        named = [(plain.get(n, n), run.sample(24, prior=prior)) for (n, *_), run in rows]
        assert drawn[prior] == vaekit.report.png_bytes(labeled(named, times=2))
    assert drawn["model"] != drawn["fitted"]
    assert "draws z of p(z), all from one seed" in pages["model"]
    with pytest.raises(vaekit.VaekitError, match="unknown prior 'p'"):
        compare(paths, prior="p", **how)  # type: ignore[arg-type]


def test_a_table_has_no_images(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(90, 3))
    text = "a,b,c\n" + "\n".join(",".join(f"{v:.3f}" for v in row) for row in rows)
    (tmp_path / "t.csv").write_text(text)
    options = {"data": str(tmp_path / "t.csv"), "limit": None, "net": "mlp:hidden=4"}
    paths = [trained(tmp_path / str(size), latent=size, **options) for size in (1, 2)]
    found = compare(paths, out=tmp_path / "p.html", files=tmp_path / "p")
    page = Reader(found.path.read_text())
    assert (page.images, page.charts) == (0, 3 + 6)
    assert {p.name for p in (tmp_path / "p").iterdir()} == {"curves.png", "table.md"}
    assert found.runs[0]["psnr"] is None
    assert any(sentence.startswith("The mean square error differs") for sentence in found.words)
    assert "rows a second" in found.path.read_text()


# likelihoods ----------------------------------------------------------------------------------


def test_bounds_of_different_likelihoods_are_not_ranked(here: Path, tmp_path: Path) -> None:
    found = compare([here / "narrow", here / "gray"], out=tmp_path / "p.html")
    shown = " ".join((*found.words, *found.notes))
    text = Reader((tmp_path / "p.html").read_text()).text
    for where in (shown, text):
        assert "bounds of different likelihoods are not comparable" in where
        assert "The bound (ELBO)" not in where
        assert "The PSNR differs" in where
        assert "Judge by PSNR, SSIM and mean square error instead" in where


def test_one_loss_that_is_no_likelihood_is_ranked_and_marked(here: Path, tmp_path: Path) -> None:
    other = trained(tmp_path / "other", latent=2, likelihood="bernoulli", lr=0.01)
    found = compare([here / "gray", other], out=tmp_path / "p.html", limit=20)
    assert found.ranked_by == "elbo"
    assert any("not a likelihood of these data" in note for note in found.notes)


def test_scales_of_one_kind_compare_and_others_do_not(here: Path, tmp_path: Path) -> None:
    shared = trained(tmp_path / "shared", latent=2, likelihood=":scale=shared")
    fixed = trained(tmp_path / "fixed", latent=2, likelihood=":scale=0.5")
    assert open_runs([here / "narrow", shared]).comparable
    other = trained(tmp_path / "other", latent=2, likelihood=":scale=0.1")
    assert not open_runs([here / "narrow", fixed]).comparable
    assert not open_runs([other, fixed]).comparable
    assert not open_runs([here / "narrow", here / "gray"]).comparable


def test_an_autoencoder_has_a_dash_and_is_judged_by_psnr(here: Path, tmp_path: Path) -> None:
    found = compare([here / "narrow", here / "auto"], out=tmp_path / "p.html", limit=20)
    assert found.ranked_by == "psnr"
    head, *rows = found.table["Bound and latent"]
    assert rows[1][1 + head[1:].index("bound (ELBO)")] == "–"
    assert found.runs[1]["elbo"] is None
    assert any("There is no bound (ELBO) of ae. Judge by PSNR" in note for note in found.notes)
    assert "There is no prior to draw from in ae." in Reader(found.path.read_text()).text


def test_rank_orders_the_table(here: Path, tmp_path: Path) -> None:
    paths = [here / name for name in ("narrow", "auto", "wide")]
    found = compare(paths, out=tmp_path / "p.html", limit=20, rank="psnr")
    values = [row["psnr"] for row in found.runs]
    assert values == sorted(values, reverse=True)
    assert [row[0] for row in found.table["Runs"][1:]] == [row["name"] for row in found.runs]


def test_a_metric_that_is_registered_stands_on_the_page(here: Path, tmp_path: Path) -> None:
    register("metric", "peak")(Peak)
    paths = [here / name for name in ("narrow", "wide")]
    found = compare(paths, out=tmp_path / "p.html", limit=20, rank="peak")
    values = [row["peak"] for row in found.runs]
    assert values == sorted(values, reverse=True)
    assert found.table["Further metrics"][0] == ["", "brightest pixel, levels"]
    (sentence,) = (words for words in found.words if words.startswith("The brightest pixel"))
    assert f": {values[0]:.3f} levels for {found.runs[0]['name']}, {values[1]:.3f}" in sentence
    text = Reader(found.path.read_text()).text
    for words in (sentence, "brightest pixel, levels", "The brightest value of a reconstruction."):
        assert words in text


def test_recipes_of_every_kind_compare(here: Path, tmp_path: Path) -> None:
    more = [trained(tmp_path / name, name, latent=2) for name in ("iwae", "cvae")]
    paths = [here / "narrow", here / "beta4", *more, here / "auto"]
    found = compare(paths, out=tmp_path / "p.html", limit=20)
    assert not found.comparable, "a bound given the label is none of x alone"
    assert any("Gaussian given the label of cvae" in note for note in found.notes)
    assert [row["elbo"] is None for row in found.runs] == [False] * 4 + [True]
    assert compare([here / "narrow", more[0]], out=tmp_path / "q.html", limit=20).comparable


# refusals -------------------------------------------------------------------------------------


def test_runs_of_different_data_are_refused(here: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images)
    other = trained(tmp_path / "other", latent=2, data=str(tmp_path / "x.npz"), limit=None)
    binary = trained(tmp_path / "binary", latent=2, binarize="threshold")
    shifted = trained(tmp_path / "shifted", latent=2, range="-1,1")
    for path, why in ((other, "the data digits and x"), (binary, "kind"), (shifted, "prepare")):
        with pytest.raises(vaekit.VaekitError, match=f"comparing runs of different data.*{why}"):
            compare([here / "narrow", path], out=tmp_path / "p.html")
    assert not (tmp_path / "p.html").exists()


def test_fewer_rows_to_train_on_are_no_other_data(here: Path, tmp_path: Path) -> None:
    few = trained(tmp_path / "few", latent=2, limit=100, seed=3)
    found = compare([here / "narrow", few], out=tmp_path / "p.html", limit=20)
    assert found.words[0].startswith("They differ in limit: 300 against 100; seed: 0 against 3")
    assert any("another seed" in note for note in found.notes), "one of each is no several"


def test_the_same_rows_of_another_content_are_refused(here: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(here / "wide", tmp_path / "copy")
    known = json.loads((tmp_path / "copy" / "run.json").read_text())
    known["data"]["sha256"] = "0" * 64  # of all rows: those of a training may differ
    page, runs = tmp_path / "p.html", [here / "narrow", tmp_path / "copy"]
    (tmp_path / "copy" / "run.json").write_text(json.dumps(known))
    assert len(compare(runs, out=page, limit=20).runs) == 2
    known["data"]["card"]["test_sha256"] = "0" * 64
    (tmp_path / "copy" / "run.json").write_text(json.dumps(known))
    with pytest.raises(vaekit.VaekitError, match=r"different data.*the sha256 of the test rows"):
        compare(runs, out=page)
    del known["data"]["card"]["test_sha256"]  # as earlier versions wrote it
    (tmp_path / "copy" / "run.json").write_text(json.dumps(known))
    with pytest.raises(vaekit.VaekitError, match=r"different data.*the sha256 "):
        compare(runs, out=page)


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (["narrow"], {}, "got 1 run to compare; expected at least two"),
        ([], {}, "got 0 runs to compare"),
        (["narrow", "two/../narrow"], {}, "twice; expected different runs"),
        (["narrow", "nowhere"], {}, "is no run folder"),
        (["narrow", "wide"], {"rank": "psrn"}, "did you mean 'psnr'"),
        (["narrow", "gray"], {"rank": "elbo"}, "bounds of different likelihoods"),
        (["narrow", "auto"], {"rank": "elbo"}, "fewer than two of these runs have a bound (ELBO)"),
        (["narrow", "wide"], {"limit": 0}, "expected a whole number of at least 1"),
        (["narrow", "wide"], {"out": "page.png"}, "ends in .html"),
    ],
)
def test_refusals(
    here: Path, two: Comparison, paths: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(vaekit.VaekitError, match=re.escape(message)):
        compare([here / name for name in paths], **{"out": here / "no.html", **options})
    assert not (here / "no.html").exists()


# languages ------------------------------------------------------------------------------------


def test_the_chinese_page_has_the_numbers_of_the_english_one(
    here: Path, two: Comparison, tmp_path: Path
) -> None:
    paths = [here / "narrow", here / "wide"]
    found = compare(paths, out=tmp_path / "zh.html", limit=50, lang="zh")
    english, chinese = (path.read_text() for path in (two.path, found.path))
    assert '<html lang="zh-CN">' in chinese
    numbers = [
        sorted(re.findall(r"\d[\d,]*\.\d+", Reader(page).text)) for page in (english, chinese)
    ]
    assert numbers[0] == numbers[1]
    assert found.runs == two.runs
    titles = [text for page in (english, chinese) for text in re.findall("<h2>(.*?)</h2>", page)]
    half = len(titles) // 2
    assert not any(re.search("[a-z]{3}", title) for title in titles[half:]), "all are translated"
    assert not re.search("[\u4e00-\u9fff]", english)
    assert "Project-Id-Version" not in chinese
    with pytest.raises(vaekit.VaekitError, match="unknown language 'fr'"):
        compare(paths, out=tmp_path / "fr.html", lang="fr")


# the command ----------------------------------------------------------------------------------


def test_the_command_prints_one_json_object(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(here / "narrow"), str(here / "wide"), "--json", "--limit", "20"]
    main([*words, "-o", str(tmp_path / "p.html"), "--title", "A & B"])
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == str(tmp_path / "p.html")
    assert [row["latent_dimensions"] for row in found["runs"]] == [2, 5]
    assert "<h1>A &amp; B</h1>" in (tmp_path / "p.html").read_text()
    main([*words[:3], "-o", str(tmp_path / "p.html"), "--limit", "20"])
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == f"page     {tmp_path / 'p.html'}"
    assert "bound (ELBO)" in shown


def test_it_is_one_of_the_kits_names() -> None:
    assert vaekit.compare is compare
    assert vaekit.report.compare is compare


def test_a_png_holds_its_labels(here: Path, two: Comparison) -> None:
    """The names are to the left of the images, dark on white."""
    content = (here / "two" / "reconstructions.png").read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image.convert("L"))
    left = pixels[:, :150]
    assert (left < 100).any()
    assert (left > 250).mean() > 0.7

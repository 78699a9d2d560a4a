"""Films, scatters of codes with their posteriors, and two posteriors on a latent line."""

from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.patches import Circle, Ellipse
from PIL import Image, ImageSequence
from scipy import integrate
from scipy.stats import laplace, norm

import vaekit
from vaekit import Run
from vaekit.cli.main import main
from vaekit.report import (
    Codes,
    Pair,
    class_figure,
    film_epochs,
    look,
    overlap_figure,
    pair_of,
    plane_figure,
    posterior,
    posteriors,
    read_frame,
    save_film,
    training_curves,
    training_frames,
)
from vaekit.runs import RunFolder

SMALL: dict[str, Any] = {
    "net": "mlp:hidden=16",
    "epochs": 3,
    "limit": 300,
    "report": False,
    "lr": 1e-2,
    "threads": 1,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vaekit.train("vae", latent=2, out=tmp_path_factory.mktemp("figures") / "r", **SMALL)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vaekit.train("vae", latent=1, out=tmp_path_factory.mktemp("figures") / "l", **SMALL)


@pytest.fixture(scope="module")
def point(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vaekit.train("ae", latent=1, out=tmp_path_factory.mktemp("figures") / "p", **SMALL)


@pytest.fixture(scope="module")
def color(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of odd sizes, with three test rows and no labels."""
    folder = tmp_path_factory.mktemp("figures")
    images = np.random.default_rng(0).integers(0, 256, (40, 30, 21, 3), dtype=np.uint8)
    images[:, :5] = np.random.default_rng(1).integers(240, 256, (40, 5, 21, 3))  # nearly white
    np.savez(folder / "x.npz", images=images)
    options = SMALL | {"data": folder / "x.npz", "test": 3, "limit": None}
    return vaekit.train("vae", latent=1, out=folder / "r", **options)


def call(*words: object) -> None:
    main([str(word) for word in words])


def moving(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """Frames and their times, as a viewer shows them."""
    with Image.open(path) as film:
        found = [
            (np.asarray(frame.convert("RGB")), round(film.info["duration"]))
            for frame in ImageSequence.Iterator(film)
        ]
    return [image for image, _ in found], [time for _, time in found]


def local_palettes(content: bytes) -> int:
    """How many images of a GIF bring a palette of their own, by the blocks of GIF89a."""
    assert content[:6] == b"GIF89a"
    at = 13 + 3 * 2 ** ((content[10] & 7) + 1)
    assert content[10] & 0x80, "there is no global palette"
    found = 0
    while content[at] != 0x3B:
        if content[at] == 0x2C:
            packed = content[at + 9]
            found += packed >> 7
            at += 10 + (3 * 2 ** ((packed & 7) + 1) if packed >> 7 else 0) + 1
        else:
            at += 2
        while content[at]:
            at += content[at] + 1
        at += 1
    return found


@pytest.mark.parametrize("what", ["reconstructions", "samples"])
@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_a_film_shows_the_snapshots_to_the_last_gray_level(
    run: Run, what: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"film.{suffix}"
    call("animate", run.path, "--what", what, "-o", path, "--fps", 10)
    frames, times = moving(path)
    assert len(frames) == 4
    assert times == [1500, 100, 100, 1500]
    assert len({frame.shape for frame in frames}) == 1
    row = 1 if what == "reconstructions" else 0  # under the originals
    start, factor = (31 + 8, 8) if row else (31, 9)
    start_left = frames[0].shape[1] - 8 - 8 * row - 8 * (8 * factor + 2) + 2
    for epoch, frame in enumerate(frames):
        kept = read_frame(run.path / "snapshots" / f"{epoch:06d}.npz", what)
        for place in range(8):
            top, left = start + row * (8 * factor + 2), start_left + place * (8 * factor + 2)
            tile = frame[top : top + 8 * factor, left : left + 8 * factor]
            assert np.array_equal(tile[4::factor, 4::factor, 1], kept[place, 0])
            assert np.array_equal(tile[..., 0], tile[..., 2])
    captions = [frame[:31].tobytes() for frame in frames]
    assert len(set(captions)) == 4


def test_a_gif_has_one_palette_and_its_paper_stays_white(
    run: Run, color: Run, tmp_path: Path
) -> None:
    for one in (run, color):
        path = tmp_path / "film.gif"
        call("animate", one.path, "-o", path, "--overwrite")
        assert local_palettes(path.read_bytes()) == 0
        frames, _ = moving(path)
        assert all((frame[:3] == 255).all() and (frame[:, :8] == 255).all() for frame in frames)
    made = training_frames(color.folder)
    assert len(made) == len(frames) == 4
    errors = [np.abs(np.asarray(a).astype(int) - b) for a, b in zip(made, frames, strict=True)]
    assert 0 < max(error.mean() for error in errors) < 12
    unmoved = np.s_[31:150, 8:]  # the originals do not change from frame to frame
    assert all(np.array_equal(frame[unmoved], frames[0][unmoved]) for frame in frames)


def test_a_film_of_color_in_webp_is_exact(color: Run, tmp_path: Path) -> None:
    call("animate", color.path, "--what", "samples", "-o", tmp_path / "film.webp")
    frames, _ = moving(tmp_path / "film.webp")
    for made, seen in zip(training_frames(color.folder, "samples"), frames, strict=True):
        assert np.array_equal(np.asarray(made), seen)


def test_one_frame_is_a_film_and_the_words_fit_the_paper(run: Run, tmp_path: Path) -> None:
    (tmp_path / "snapshots").mkdir()
    for name in ("originals", "010000"):
        images = np.zeros((8, 1, 8, 8), np.uint8)
        np.savez(tmp_path / "snapshots" / name, originals=images, samples=images)
    shutil.copy(run.path / "config.json", tmp_path)
    record = {"epoch": 10000, "step": 10000, "train": {"objective": -1.0}}
    record["validation"] = {"objective": -1234567.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    (frame,) = training_frames(RunFolder(tmp_path), "samples")
    ink = np.argwhere(np.asarray(frame)[:31] < 200)
    assert ink[:, 1].min() >= 8
    assert ink[:, 1].max() < frame.width - 7
    middle = np.asarray(frame)[:31].min(0)
    gaps = np.diff(np.flatnonzero(middle < 200))
    assert gaps.max() > 40, "the two texts touch"
    with Image.open(save_film(RunFolder(tmp_path), tmp_path / "f.gif", "samples")) as film:
        assert film.size == frame.size


def test_posteriors_are_those_of_the_model(run: Run, point: Run) -> None:
    x = run.dataset().test.x(slice(7))
    means, scales = posteriors(run, x)
    (q,) = posterior(run, x)
    assert scales is not None
    assert torch.allclose(means, q.mean)
    assert torch.allclose(scales, q.log_scale.exp())  # type: ignore[attr-defined]
    assert posteriors(point, x)[1] is None


def test_the_overlap_of_another_posterior_has_its_densities(tmp_path: Path) -> None:
    bumps = vaekit.train("vae", latent=1, posterior="laplace", out=tmp_path / "r", **SMALL)
    x = bumps.dataset().test.x(slice(2))
    (q,), pair = posterior(bumps, x), pair_of(bumps, x)
    one, two = (laplace(m, s) for m, s in zip(q.loc[:, 0], q.scale[:, 0], strict=True))  # type: ignore[attr-defined]
    assert pair.scales == pytest.approx([float(one.std()), float(two.std())], rel=1e-5)
    z = np.linspace(*pair.ends, 4001)
    assert np.allclose(pair.density(z, 1), two.pdf(z), atol=1e-5)
    lower = np.minimum(one.pdf(z), two.pdf(z))
    assert pair.overlap == pytest.approx(np.trapezoid(lower, z), abs=5e-3)


def test_a_model_without_a_prior_has_no_film_of_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = SMALL | {"net": ":channels=4:hidden=8", "epochs": 1, "data": "digits"}
    vaekit.train("unpool_ae", latent=2, out=tmp_path / "u", **options)
    with pytest.raises(SystemExit):
        call("animate", tmp_path / "u", "--what", "samples", "-o", tmp_path / "x.gif")
    assert "u has no prior to draw from: take --what reconstructions" in capsys.readouterr().err
    call("animate", tmp_path / "u", "-o", tmp_path / "x.gif")
    assert len(moving(tmp_path / "x.gif")[0]) == 2


def test_ellipses_have_one_sigma_and_circles_the_priors(run: Run) -> None:
    rows = run.dataset().test.take(torch.arange(30))
    means, scales = posteriors(run, rows.x())
    with look():
        figure = class_figure(Codes(means, rows.labels, scales=scales, prior=True))
        figure.savefig(io.BytesIO())
    (axes,) = figure.axes
    circles = [patch for patch in axes.patches if isinstance(patch, Circle)]
    assert [circle.radius for circle in circles] == [1, 2]
    ellipses = [patch for patch in axes.patches if type(patch) is Ellipse]
    found = sorted((*patch.center, patch.width, patch.height) for patch in ellipses)
    assert scales is not None
    expected = sorted(map(tuple, torch.cat([means, 2 * scales], 1).tolist()))
    assert np.allclose(found, expected, atol=1e-6)
    box = axes.get_window_extent()
    assert math.isclose(box.width / np.ptp(axes.get_xlim()), box.height / np.ptp(axes.get_ylim()),
                        rel_tol=1e-3)  # fmt: skip
    for x, y, wide, high in found:
        assert axes.get_xlim()[0] <= x - wide / 2 <= x + wide / 2 <= axes.get_xlim()[1]
        assert axes.get_ylim()[0] <= y - high / 2 <= y + high / 2 <= axes.get_ylim()[1]


def test_the_words_over_a_scatter_touch_neither_legend_nor_edge() -> None:
    labels = torch.arange(200) % 10
    codes = Codes(torch.randn(200, 2), labels, scales=torch.ones(200, 2), prior=True)
    with look():
        figure = class_figure(codes, title=codes.words)
        figure.savefig(io.BytesIO())
        title = figure.axes[0]._left_title.get_window_extent()  # type: ignore[attr-defined]
        legend = figure.axes[0].get_legend().get_window_extent()  # type: ignore[union-attr]
    assert "Ellipses" in codes.words
    assert "Circles" in codes.words
    assert 0 < title.x0 < title.x1 < legend.x0 - 5
    assert legend.x1 <= figure.bbox.x1
    assert title.y1 <= figure.bbox.y1


def test_of_many_rows_a_handful_of_each_class_has_an_ellipse() -> None:
    labels = torch.arange(200) % 5
    codes = Codes(torch.randn(200, 4), labels, scales=torch.full((200, 4), 0.1))
    figure = class_figure(codes)
    assert len(figure.axes[0].patches) == 4 * 5
    bad = Codes(torch.full((9, 2), torch.nan), labels[:9], scales=torch.ones(9, 2))
    assert not class_figure(bad).axes[0].patches


def test_one_dimension_is_a_line_for_each_class() -> None:
    means, labels = torch.randn(60, 1), torch.arange(60) % 3
    figure = class_figure(Codes(means, labels, ("a", "b", "c"), prior=True))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c"]
    clouds = [one.get_xydata() for one in axes.lines if one.get_marker() == "."]
    assert len(clouds) == 3
    for place, cloud in enumerate(clouds):
        assert np.allclose(np.asarray(cloud)[:, 0], means[labels == place, 0])
        assert (np.round(np.asarray(cloud)[:, 1]) == -place).all()


@pytest.mark.parametrize("m", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("s", [1.0, 0.3, 1e-4])
def test_the_overlap_is_the_integral_of_the_lower_density(m: float, s: float) -> None:
    pair = Pair((0.2, m), (0.5, s))
    one, two = norm(0.2, 0.5), norm(m, s)
    inside = [m + k * s for k in (-8, -4, 0, 4, 8)]
    expected, _ = integrate.quad(lambda z: min(one.pdf(z), two.pdf(z)), -4, 11, points=inside,
                                 limit=500)  # fmt: skip
    assert pair.overlap == pytest.approx(expected, abs=2e-5)
    if s == 0.5:
        assert pair.overlap == pytest.approx(2 * norm.cdf(-abs(m - 0.2) / 1), abs=1e-5)
    crossing = pair.crossing
    if crossing is None:
        assert pair.between == pytest.approx((0.2 + m) / 2)
    else:
        assert pair.between == crossing
        assert min(0.2, m) < crossing < max(0.2, m)
        assert one.pdf(crossing) == pytest.approx(two.pdf(crossing), rel=1e-6)


def test_densities_that_do_not_meet_have_a_middle_and_no_crossing() -> None:
    assert Pair((0.0, 2.0), (1.0, 1.0)).crossing == pytest.approx(1)
    # log N(z; 0, 1) = log N(z; 3, 2) at the root of 3 z^2 + 6 z - 9 - 8 log 2 above 0
    root = (-6 + math.sqrt(36 + 12 * (9 + 8 * math.log(2)))) / 6
    assert Pair((0.0, 3.0), (1.0, 2.0)).crossing == pytest.approx(root)
    for means, scales in (((0.0, 2.0), (1e-3, 0.1)), ((0.0, 0.1), (1.0, 3.0))):
        pair = Pair(means, scales)
        assert pair.crossing is None
        assert pair.between == pytest.approx(sum(means) / 2)


def test_equal_scales_share_the_mass_of_the_closed_form() -> None:
    assert Pair((0.0, 2.0), (0.5, 0.5)).overlap == pytest.approx(2 * norm.cdf(-2), abs=1e-5)
    assert Pair((1.0, 1.0), (0.5, 0.5)).overlap == pytest.approx(1, abs=1e-5)


def test_an_overlap_decodes_the_point_between(line: Run) -> None:
    x = line.dataset().test.x(torch.tensor([4, 9]))
    pair = pair_of(line, x)
    (q,) = posterior(line, x)
    assert pair.means == pytest.approx(q.mean[:, 0].tolist(), abs=1e-6)
    with look():
        figure = overlap_figure(line, x, ("test row 4", "test row 9"))
        figure.savefig(io.BytesIO())
    shown = [np.asarray(axes.images[0].get_array())[..., 0] for axes in figure.axes[:3]]
    middle = line.decode(torch.tensor([[pair.between]]))[0, 0]
    for got, expected in zip(shown, (x[0, 0], middle, x[1, 0]), strict=True):
        assert np.allclose(got, expected.clamp(0, 1), atol=1e-6)
    curves, strip = figure.axes[3:]
    for curve, mean, scale in zip(curves.lines[:2], pair.means, pair.scales, strict=True):
        z, heights = np.asarray(curve.get_xydata()).T
        assert np.allclose(heights, norm(mean, scale).pdf(z), atol=1e-4)
        assert z[heights.argmax()] == pytest.approx(mean, abs=scale / 20)
    assert strip.get_xlim() == pytest.approx(pair.ends)
    for image in strip.images:
        left, right, *_ = image.get_extent()
        code = torch.tensor([[(left + right) / 2]], dtype=torch.float32)
        made = line.decode(code)[0, 0].clamp(0, 1)
        assert np.allclose(np.asarray(image.get_array())[..., 0], made, atol=1e-5)


def test_a_prior_that_would_be_flat_is_enlarged(line: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = Pair((-0.3, 0.4), (0.05, 0.1))
    monkeypatch.setattr("vaekit.report._figures.pair_of", lambda run, x, context: narrow)
    curves = overlap_figure(line, line.dataset().test.x(slice(2)), ("a", "b")).axes[3]
    prior = curves.lines[2]
    times = int(str(prior.get_label()).partition("× ")[2])
    z, heights = np.asarray(prior.get_xydata()).T
    assert np.allclose(heights, times * norm.pdf(z))
    inside = heights[(z > narrow.ends[0]) & (z < narrow.ends[1])]
    assert inside.max() > 0.4 * curves.get_ylim()[1]


def test_the_plane_has_codes_and_decoded_images_on_the_same_axes(run: Run, tmp_path: Path) -> None:
    rows = run.dataset().test.take(torch.arange(60))
    means, scales = posteriors(run, rows)
    with look():
        figure = plane_figure(run, Codes(means, rows.labels, scales=scales, prior=True))
        figure.savefig(io.BytesIO())
    left, right = figure.axes
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylim() == right.get_ylim()
    one, two = left.get_window_extent(), right.get_window_extent()
    assert one.width == pytest.approx(two.width, rel=0.01)
    sheet = np.asarray(right.images[0].get_array())
    side = sheet.shape[0] // 8
    edges = np.linspace(*right.get_xlim(), side + 1)
    at = torch.tensor((edges[1:] + edges[:-1]) / 2, dtype=torch.float32)
    for row, column in ((0, 0), (side - 1, 0), (2, side - 1)):
        made = run.decode(torch.stack([at[column], at[side - 1 - row]])[None])[0, 0].clamp(0, 1)
        tile = sheet[8 * row : 8 * row + 8, 8 * column : 8 * column + 8, 0]
        assert np.allclose(tile, made, atol=1e-4)
    call("scatter", run.path, "--plane", "-o", tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width in (829, 830)


def test_a_film_of_chosen_epochs(run: Run, tmp_path: Path) -> None:
    for words, count in (("0,3", 2), ("log", 4), ("2", 1)):
        path = tmp_path / "film.webp"
        call("animate", run.path, "--epochs", words, "-o", path, "--overwrite")
        assert len(moving(tmp_path / "film.webp")[0]) == count
    kept = [*range(0, 201, 2)]
    assert film_epochs(kept) == kept
    assert film_epochs(kept, "log") == [0, 2, 4, 8, 12, 20, 34, 54, 88, 144, 200]


def test_spikes_are_drawn_at_one_height(line: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    spikes = Pair((-1.0, 2.0), (1e-6, 0.3))
    monkeypatch.setattr("vaekit.report._figures.pair_of", lambda run, x, context: spikes)
    figure = overlap_figure(line, line.dataset().test.x(slice(2)), ("a", "b"))
    curves = figure.axes[3]
    assert "scaled to 1" in curves.get_ylabel()
    assert len(curves.lines) == 4  # with the prior's, and the one between
    for curve in curves.lines[:2]:
        assert np.asarray(curve.get_ydata()).max() == pytest.approx(1, abs=1e-4)


def test_the_commands_write_what_a_viewer_opens(
    run: Run, line: Run, color: Run, point: Run, tmp_path: Path
) -> None:
    for number, one in enumerate((run, line, color, point)):
        path = tmp_path / f"{number}.png"
        call("scatter", one.path, "-o", path)
        with Image.open(path) as picture:
            assert 600 < min(picture.size) <= max(picture.size) <= 830
            assert np.asarray(picture.convert("L")).std() > 3
    for number, one in enumerate((line, color)):
        call("overlap", one.path, "--rows", 2, 0, "-o", tmp_path / f"o{number}.png")
        with Image.open(tmp_path / f"o{number}.png") as picture:
            assert picture.width in (829, 830)
            assert np.asarray(picture.convert("L")).std() > 20
    call("scatter", run.path, "-n", 20, "-o", tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text().count("<svg") == 1


def test_walks_and_pairs_do_with_one_dimension_odd_sizes_and_few_rows(
    color: Run, tmp_path: Path
) -> None:
    for words, wide, high in (
        (("interpolate", "-n", 1, "--steps", 3, "-o", "i.png"), 5 * 21, 30),
        (("reconstruct", "-n", 50, "-o", "r.png"), 3 * 21, 2 * 30),
    ):
        path = tmp_path / str(words[-1])
        call(words[0], color.path, *words[1:-1], path)
        with Image.open(path) as picture:
            assert picture.width / picture.height == pytest.approx(wide / high, rel=0.15)


def test_a_traversal_of_one_dimension_is_one_row_with_its_label_beside_it(
    color: Run, tmp_path: Path
) -> None:
    call("traverse", color.path, "--steps", 4, "-o", tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz") as arrays:
        assert arrays["images"].shape == (4, 3, 30, 21)
    call("traverse", color.path, "--steps", 4, "-o", tmp_path / "t.png")
    with Image.open(tmp_path / "t.png") as picture:
        images = 4 * 21 / 30 * (picture.height - 34)
        assert 1.1 * images < picture.width < 2 * images


def test_the_posteriors_scale_has_a_panel_where_it_was_recorded(run: Run) -> None:
    records = run.folder.records()
    *_, last = training_curves(records, "nats")
    assert last.title == "posterior σ"
    end = records[-1]["latent"]["posterior_scale"]
    assert last.words == f"posterior σ by epoch, at the end: σ {end:.2f} root mean square of σ(x)"
    old = [{**record, "latent": {"kl_per_dim": [1.0]}} for record in records]
    assert len(training_curves(old, "nats")) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["animate", "run", "--what", "sample"], "did you mean 'samples'"),
        (["animate", "run", "-o", "x.mp4"], "x.mp4; expected one that ends in .gif or .webp"),
        (["animate", "run", "--fps", "0"], "got --fps 0; expected more than 0"),
        (["animate", "run", "--fps", "nan"], "got --fps nan"),
        (["animate", "point", "--what", "samples"], "take --what reconstructions"),
        (["animate", "run", "--epochs", "0,9"], "there is no snapshot of epoch 9, but of 0, 1, 2"),
        (["animate", "run", "--epochs", "lin"], 'got --epochs lin; expected "log", or numbers'),
        (["scatter", "line", "--plane"], "shows a latent of 2 dimensions; this one has 1"),
        (["scatter", "run", "--label", "1"], "not conditioned on labels"),
        (["scatter", "run", "-n", "0"], "got -n 0; expected at least 1"),
        (["scatter", "run", "-o", "x.jpg"], "x.jpg; expected one that ends in .png or .svg"),
        (["overlap", "run"], "this one has 2: train with --latent 1"),
        (["overlap", "point"], "is a point, without a width"),
        (["overlap", "line", "--rows", "0", "300"], "no test row 300; there are 0 to 299"),
        (["overlap", "line", "--rows", "1"], "--rows"),
        (["overlap", "line", "--rows", "1", "2", "3"], "3"),
        (["overlap", "line", "-o", "x.pdf"], "x.pdf; expected one that ends in .png or .svg"),
    ],
)
def test_misuse_is_one_line_and_writes_nothing(
    words: list[str],
    message: str,
    run: Run,
    line: Run,
    point: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = {"run": run.path, "line": line.path, "point": point.path}[words[1]]
    with pytest.raises(SystemExit) as caught:
        call(words[0], path, *words[2:])
    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_runs_without_snapshots_say_how_to_have_some(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.path, tmp_path / "old")
    shutil.rmtree(tmp_path / "old" / "snapshots")
    np.savez(tmp_path / "t.npz", images=np.random.default_rng(0).normal(size=(40, 5)))
    options = SMALL | {"data": tmp_path / "t.npz", "limit": None, "epochs": 1}
    vaekit.train("vae", latent=1, out=tmp_path / "table", **options)
    for words, message in (
        (("animate", tmp_path / "old"), "train with --snapshots 1"),
        (("animate", tmp_path / "table"), "rows that are no images: there is no film"),
        (("overlap", tmp_path / "table"), "rows that are no images: there is no overlap"),
    ):
        with pytest.raises(SystemExit):
            call(*words, "-o", tmp_path / ("x.gif" if words[0] == "animate" else "x.png"))
        shown = capsys.readouterr().err
        assert message in shown
        assert len(shown.splitlines()) == 1
    call("scatter", tmp_path / "table", "-o", tmp_path / "x.png")

"""The oddest rows of a run's own data, and sheets of scores."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors

import vaekit
from vaekit import report
from vaekit.cli.main import main
from vaekit.data import load
from vaekit.errors import VaekitError
from vaekit.runs import score_rows

SMALL: dict[str, Any] = {"latent": 6, "net": "mlp:hidden=64", "report": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> vaekit.Run:
    """A run on digits, of which five are noise, and five others have wrong labels."""
    digits, draw = load("digits").train, np.random.default_rng(0)
    assert digits.labels is not None
    x, y = digits.x(slice(600)).numpy(), digits.labels[:600].numpy().copy()
    x = (255 * x).astype(np.uint8)
    x[:5] = draw.integers(0, 256, (5, 1, 8, 8))
    y[10:15] = (y[10:15] + 5) % 10
    path = tmp_path_factory.mktemp("outliers") / "run"
    np.savez(path.with_name("x.npz"), images=x, labels=y)
    data = str(path.with_name("x.npz"))
    how: dict[str, Any] = {"test": 0, "validation": 0, "epochs": 40, "out": path}
    return vaekit.train("vae", data=data, **how, **SMALL)


def places(run: vaekit.Run) -> dict[int, int]:
    """Where each row of the file is among the training rows."""
    ids = run.dataset().train.ids
    assert ids is not None
    return {int(row): place for place, row in enumerate(ids)}


def test_damaged_rows_and_wrong_labels_are_found(run: vaekit.Run) -> None:
    noise = run.outliers(5)
    assert sorted(noise["row"]) == [0, 1, 2, 3, 4]
    assert (noise["bound"].diff().dropna() <= 0).all()
    wrong = run.outliers(12, by="label")
    assert len({10, 11, 12, 13, 14} & {*wrong["row"]}) >= 4
    assert (wrong["other_labels"] >= 0.9).all()


def test_they_are_the_first_rows_of_all_scores(run: vaekit.Run) -> None:
    every = run.score(split="train", samples=0).sort_values("error", ascending=False)
    found = run.outliers(7, by="error")
    assert found["row"].tolist() == every["row"].tolist()[:7]
    assert np.allclose(found["error"], every["error"][:7])


def test_suspicions_are_those_of_neighbors_by_scikit_learn(run: vaekit.Run) -> None:
    train = run.dataset().train
    assert train.labels is not None
    codes, labels = run.encode(*train.batch()).numpy(), train.labels.numpy()
    found = run.outliers(30, by="nll", samples=2)
    rows = found["row"].map(places(run)).to_numpy()
    near = NearestNeighbors(n_neighbors=11).fit(codes).kneighbors(codes[rows])[1]
    for row, others, (_, line) in zip(rows, near, found.iterrows(), strict=True):
        other = labels[[n for n in others if n != row]]
        assert len(other) == 10
        assert line["other_labels"] == pytest.approx((other != labels[row]).mean())
        assert np.bincount(other)[int(line["neighbors_label"])] == np.bincount(other).max()


def test_the_command_writes_the_table_and_the_sheet(run: vaekit.Run, tmp_path: Path) -> None:
    words = ["outliers", str(run.path), "-k", "8"]
    main([*words, "-o", str(tmp_path / "o.csv")])
    table = pandas.read_csv(tmp_path / "o.csv")
    assert list(table) == [
        *("row", "bound", "bound_percentile", "error", "error_percentile", "label"),
        *("other_labels", "neighbors_label"),
    ]
    assert len(table) == 8
    main([*words, "--by", "label", "-o", str(tmp_path / "o.png")])
    with Image.open(tmp_path / "o.png") as sheet:
        assert sheet.width == 828


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"k": 0}, "got `k=0`"),
        ({"k": 601}, "got `k=601`; the split train has 600 rows"),
        ({"by": "loss"}, "unknown score 'loss'"),
        ({"split": "tran"}, "unknown split 'tran'"),
    ],
)
def test_misuse_is_one_line(run: vaekit.Run, how: dict[str, Any], message: str) -> None:
    with pytest.raises(VaekitError, match=message):
        run.outliers(**how)


def test_without_labels_or_a_bound_there_is_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(0).normal(size=(80, 3))
    how: dict[str, Any] = {"latent": 1, "epochs": 1, "report": False}
    run = vaekit.train("vae", data=x, kind="table", out=tmp_path / "t", **how)
    assert "other_labels" not in run.outliers(3)
    with pytest.raises(VaekitError, match="`by=label` needs labels"):
        run.outliers(3, by="label")
    with pytest.raises(SystemExit):
        main(["outliers", str(run.path), "-o", str(tmp_path / "o.png")])
    assert "o.png is an image, and rows of a table are none" in capsys.readouterr().err
    plain = vaekit.train("ae", data="digits", limit=80, out=tmp_path / "a", **how)
    assert plain.outliers(3)["error"].is_monotonic_decreasing
    with pytest.raises(VaekitError, match=r"has no `by=bound`; it has error"):
        plain.outliers(3, by="bound")
    told = vaekit.train("cvae", data="digits", limit=80, out=tmp_path / "c", **how)
    assert "other_labels" not in told.outliers(3)


# sheets -----------------------------------------------------------------------------------------


def test_a_sheet_has_the_strangest_and_the_most_typical_images(
    run: vaekit.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[Any] = []
    whole = report.cards

    def spy(groups: Any, **how: Any) -> Any:
        drawn.extend(groups)
        return whole(groups, **how)

    monkeypatch.setattr("vaekit.report._strange.cards", spy)
    words = ["score", str(run.path), "--split", "train", "--samples", "0"]
    main([*words, "-o", str(tmp_path / "s.png")])
    scores = run.score(split="train", samples=0).sort_values("bound")
    strange, typical = drawn
    rows = [words[0] for words in strange.words]
    assert rows == [str(row) for row in scores["row"][::-1][:12]]
    assert [words[0] for words in typical.words] == [str(row) for row in scores["row"][:12]]
    x = run.dataset().train.x(torch.tensor([places(run)[int(row)] for row in rows]))
    assert torch.equal(strange.images[:, 0], x)
    assert torch.allclose(strange.images[:, 1], run.reconstruct(x), atol=1e-5)
    assert strange.words[0][1].endswith("%")
    with Image.open(tmp_path / "s.png") as sheet:
        assert np.asarray(sheet).std() > 10


def test_cards_stand_where_they_belong() -> None:
    images = torch.linspace(0, 0.9, 8).view(8, 1, 1, 1, 1).expand(8, 1, 1, 4, 4)
    sheet = np.asarray(report.cards([report.Cards("t", images, [["a" * 900]] * 8)], columns=4))
    cell = (830 - 16 - 30) // 4
    top, shade = 8 + 18 + 4, lambda number: round(255 * float(images[number, 0, 0, 0, 0]))
    for number in range(8):
        left = 8 + number % 4 * (cell + 10)
        down = top + number // 4 * (49 * 4 + 4 + 15 + 10)
        assert (sheet[down : down + 196, left : left + 196] == shade(number)).all()
        assert (sheet[:, left + 196 : left + cell + 10] == 255).mean() > 0.95  # no word leaves it


def test_of_a_table_a_figure_shows_how_scores_are_spread(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(400, 3))
    how: dict[str, Any] = {"latent": 1, "epochs": 3, "report": False}
    run = vaekit.train("vae", data=x, kind="table", out=tmp_path / "t", **how)
    np.save(tmp_path / "new.npy", np.concatenate([x[:30], x[:3] + 50]))
    scored = score_rows(run, tmp_path / "new.npy", samples=2, threshold=0.9)
    axes = report.score_figure(scored).axes[0]
    shown: list[Any] = list(axes.patches)
    usual, new = (patch.get_data() for patch in shown[::2])
    assert usual.values.sum() == pytest.approx(1)
    assert new.values.sum() == pytest.approx(1)
    assert new.values[-1] == pytest.approx(3 / 33)
    assert scored.cut is not None
    first = scored.scores.values["nll"]
    assert scored.strange is not None
    assert torch.equal(scored.strange, first > scored.cut)


def test_the_report_shows_the_strangest_and_the_likeliest_test_rows(run: vaekit.Run) -> None:
    data, index = run.dataset(), torch.arange(0, 600, 10)
    elbo = torch.randn(60, generator=torch.Generator().manual_seed(0)).double() * 9
    elbo[7] = torch.nan
    found = report.likely(run, data, elbo, index, str)
    assert found is not None
    assert found["chart"].svg.count("<rect") == report.bins(-elbo)[0].size - 1
    order = elbo.nan_to_num(-torch.inf).argsort()
    assert int(order[0]) == 7
    (_, x), (_, _), (_, numbers) = found["rows"]
    shown = torch.cat([order[:5], order[-5:].flip(0)])
    said = [float(cell.content.replace("−", "-")) for cell in numbers]
    assert np.isinf(said[0])
    assert np.allclose(said[1:], -elbo[shown[1:]], atol=0.06)
    for cell, image in zip(x, data.test.x(index[shown]), strict=True):
        stream = io.BytesIO(base64.b64decode(cell.content.partition(",")[2]))
        with Image.open(stream) as opened:
            assert np.array_equal(np.asarray(opened.convert("L")), (255 * image[0]).round())
    assert report.likely(run, data, torch.full((60,), torch.nan), index, str) is None

"""Memory and passes: what is decoded at a time, views of large data, one look at all values."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vaekit as vk
from vaekit._train_options import Data
from vaekit.data import (
    Batches,
    Dataset,
    DataSpec,
    MappedRows,
    Split,
    TakenRows,
    Transform,
    card,
    fingerprint,
    prepare,
    read,
)
from vaekit.evaluate import Rows, Subject, chosen, measure, measured, reconstructions
from vaekit.models import Colorizer, Model, rows_at_once
from vaekit.report import Codes, fixed_rows, posteriors
from vaekit.runs import Config, RunFolder, make_job

IMAGE = (3, 64, 64)
BYTES = 2**23


def vae(shape: tuple[int, ...] = IMAGE, latent: int = 2) -> vk.VAE:
    torch.manual_seed(0)
    return vk.VAE(
        vk.StandardNormal(latent),
        vk.Conditional(vk.MLP(shape, 2 * latent, hidden=()), vk.Gaussian(latent)),
        vk.Conditional(vk.MLP(latent, shape, hidden=()), vk.Gaussian(shape, scale=0.1)),
    )


def colorizer() -> Colorizer:
    net = vk.ColorNet(IMAGE[1:], channels=(2,))
    return Colorizer(vk.Conditional(net, vk.Gaussian(IMAGE, scale=0.1)))


@contextmanager
def watched(model: Any) -> Iterator[list[int]]:
    """The bytes of what each pass of the decoder gives."""
    found: list[int] = []

    def note(module: object, given: object, px: Any) -> None:
        found.append(px.loc.numel() * px.loc.element_size())

    handle = model.likelihood.register_forward_hook(note)
    try:
        yield found
    finally:
        handle.remove()


def subject(model: Model, rows: int, shape: tuple[int, ...] = IMAGE) -> Subject:
    torch.manual_seed(1)
    images = torch.randint(256, (rows, *shape), dtype=torch.uint8)
    spec = DataSpec("t", shape, "color" if shape[0] == 3 else "gray", rows=rows)
    return Subject(model, spec, Rows(Split(images)))


def test_all_metrics_decode_eight_mebibytes_at_a_time() -> None:
    model = vae()
    assert rows_at_once(model) == BYTES // (4 * math.prod(IMAGE)) == 170
    whole = subject(model, 400)
    asked = ("bound:samples=20", "latent", "reconstruction", "aggregate:samples=3", "nll:samples=9")
    metrics = {n: m for n, (m, _) in chosen(whole, "evaluate", asked).items()}
    assert set(metrics) >= {"bound", "latent", "reconstruction", "aggregate", "nll"}
    for name, metric in metrics.items():
        with watched(model) as passes:
            measured(whole, {name: metric})
        assert passes, name
        assert max(passes) <= BYTES, name
    with watched(colors := colorizer()) as passes:
        measured(whole := subject(colors, 400), {"c": chosen(whole, "evaluate")["color"][0]})
    assert max(passes) <= BYTES


def test_what_a_caller_gives_in_one_piece_is_decoded_in_several() -> None:
    model, x = vae(), torch.rand(400, *IMAGE)
    for work in (
        lambda: measure(model, [(x, None)], samples=2),
        lambda: reconstructions(model, [(x, None)]),
        lambda: model.reconstruct(x),
        lambda: model.decode(torch.randn(400, 2)),
        lambda: model.sample(400),
        lambda: model.sample(400, mean=True),
    ):
        with watched(model) as passes:
            work()
        assert 3 <= len(passes) <= 25
        assert max(passes) <= BYTES
    model_ = colorizer()
    with watched(model_) as passes:
        model_.colorize(x[:, :1])
    assert len(passes) == 3
    assert max(passes) <= BYTES


def test_pieces_are_what_the_whole_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = vae((1, 8, 8)), torch.rand(50, 1, 8, 8)
    whole = (*model.encode(x), model.reconstruct(x), model.decode(x[:, 0, 0, :2]))
    monkeypatch.setattr("vaekit.models.base.CACHE", 2**10 * 7)
    assert rows_at_once(model) == 7
    pieces = (*model.encode(x), model.reconstruct(x), model.decode(x[:, 0, 0, :2]))
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other)


def test_small_rows_are_drawn_for_as_before() -> None:
    """A thousand decodings at a time: what was published of 28 x 28 pixels stays as it is."""
    model = vae((1, 28, 28))
    sizes: list[int] = []
    whole = subject(model, 300, (1, 28, 28))
    whole.rows.on_rows = lambda what, done, rows: sizes.append(done)
    measured(whole, {"bound": chosen(whole, "evaluate", ["bound:samples=10"])["bound"][0]})
    assert sizes == [100, 200, 300]


def test_kept_numbers_lie_side_by_side() -> None:
    whole = subject(vae((1, 4, 4)), 250, (1, 4, 4))
    metric = chosen(whole, "evaluate")["bound"][0]
    measured(whole, {"bound": metric})
    parts = [part for rows in metric.rows.values() for part in rows]
    assert len(parts) > 8
    assert len({part.untyped_storage().data_ptr() for part in parts}) == 1
    assert len(metric.row("elbo")) == 250  # type: ignore[arg-type]


def dataset(rows: int = 120) -> Dataset:
    torch.manual_seed(2)
    images = torch.randint(256, (rows, 1, 6, 6), dtype=torch.uint8)
    whole = Split(images, torch.arange(rows) % 3)
    index = torch.randperm(rows)
    return Dataset("t", "gray", whole.take(index[20:]), whole.take(index[:20]), classes=3)


def test_a_large_split_is_a_view_with_the_values_of_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = dataset()
    monkeypatch.setattr("vaekit.data._rows.LARGE", 0)
    views = dataset()
    assert isinstance(copied.train.images, Tensor)
    assert isinstance(views.train.images, TakenRows)
    assert isinstance(views.test.images, TakenRows)
    assert views.train.images.rows.data_ptr() == views.test.images.rows.data_ptr()
    assert card(views) == card(copied)
    assert torch.equal(views.spec().mean, copied.spec().mean)  # type: ignore[arg-type]
    asked = Data(limit=60, validation=0.1, context="label")
    made = prepare(views, asked)
    monkeypatch.undo()
    plain = prepare(copied, asked)
    assert made.splits.keys() == plain.splits.keys()
    for name, split in plain.splits.items():
        assert torch.equal(made.splits[name].x(), split.x()), name
        assert torch.equal(made.splits[name].example(5), split.example(5)), name
    batches = [Batches(one.train, 16, seed=3).epoch(1) for one in (made, plain)]
    for ours, theirs in zip(*batches, strict=True):
        assert torch.equal(ours.x, theirs.x)
        assert torch.equal(ours.context, theirs.context)  # type: ignore[arg-type]


def test_few_rows_of_a_view_are_a_copy() -> None:
    """So that --limit lets go of the rest."""
    view = TakenRows(torch.rand(50, 4), torch.arange(40))
    assert isinstance(view.take(torch.arange(5)), Tensor)


def test_a_split_of_many_rows_is_a_view_and_few_of_them_are_a_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = torch.rand(160, 4)  # 2,560 bytes
    found: Any = sys.modules["vaekit.data._rows"]
    assert isinstance(found.take(rows, torch.arange(16)), Tensor)
    monkeypatch.setattr("vaekit.data._rows.LARGE", 2000)
    for count, view in ((10, False), (11, True), (150, True)):
        taken = found.take(rows, torch.arange(count))
        assert isinstance(taken, TakenRows) == view
        assert torch.equal(taken.pick(torch.arange(count)) if view else taken, rows[:count])


def test_a_card_takes_one_look_at_each_split(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    chunks = sys.modules["vaekit.data._dataset"].chunks

    def counted(rows: Any) -> Iterator[Tensor]:
        seen.append(len(rows))
        return chunks(rows)

    made = dataset()
    monkeypatch.setattr("vaekit.data._dataset.chunks", counted)
    found = card(made)
    assert seen == [100, 20]
    assert made.train.bounds == (0.0, 255.0)
    made.spec()
    assert seen == [100, 20]
    every = torch.cat([split.x() for split in made.splits.values()]) * 255
    assert found["mean"] == pytest.approx(every.double().mean().item())
    assert found["density"] == pytest.approx((every > 0).double().mean().item())
    assert found["sha256"] == fingerprint(made)


@pytest.mark.parametrize("pieces", [1, 50])
def test_a_survey_is_that_of_float64_over_all_rows(
    pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaekit.data._rows.CHUNK", 12 * pieces)
    values = torch.randn(73, 12) * 1000
    survey = Split(values).survey
    assert (survey.low, survey.high) == (values.min(), values.max())
    torch.testing.assert_close(survey.sums, values.double().sum(0))
    assert survey.filled == 73 * 12
    values[3, 4] = math.nan
    holed, kept = Split(values).survey, values[~values.isnan()]
    assert (holed.low, holed.high, holed.gaps) == (kept.min(), kept.max(), 1)
    torch.testing.assert_close(holed.sums, values.double().nansum(0))


def test_deviations_of_a_large_table_come_of_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaekit.data._rows.CHUNK", 30)
    rows = torch.randn(90, 3) * torch.tensor([1.0, 100.0, 0.0]) + torch.tensor([0.0, 1e4, 7.0])
    table = Dataset("t", "table", Split(rows), Split(rows))
    values = prepare(table, Data(standardize=True, validation=0)).train.values
    torch.testing.assert_close(values.loc, rows.double().mean(0).float())
    expected = rows.double().std(0, correction=0).float()
    torch.testing.assert_close(values.scale, torch.where(expected > 0, expected, 1.0))


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_large_rows_stay_in_the_file_of_a_run_that_is_opened(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("_rows", "_arrays"):
        monkeypatch.setattr(f"vaekit.data.{module}.LARGE", 10)
    path = tmp_path / f"mine{suffix}"
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
    if suffix == ".npy":
        np.save(path, images)
    else:
        np.savez(path, labels=np.arange(60) % 4, images=images)
    asked = Data(data=str(path))
    mapped, whole = read(asked, mapped=True), read(asked)
    assert isinstance(mapped.test.images, MappedRows)
    assert isinstance(mapped.train.images, MappedRows)
    assert not isinstance(whole.train.images, MappedRows)
    assert {**card(mapped)} == {**card(whole)}
    if suffix == ".npz":
        np.savez_compressed(path, images=images)
        packed = read(asked, mapped=True)
        assert not isinstance(packed.train.images, MappedRows)
        assert torch.equal(packed.train.x(), whole.train.x())


@pytest.mark.parametrize(
    ("values", "kind"),
    [((0, 255), "binary"), ((0, 1), "binary"), ((0, 1, 255), "gray"), ((0, 2), "gray"),
     ((0,), "gray"), ((255,), "gray")],
)  # fmt: skip
def test_the_kind_of_images_of_eight_bits(
    values: tuple[int, ...], kind: str, tmp_path: Path
) -> None:
    images = np.resize(np.array(values, np.uint8), (30, 5, 5))
    np.savez(tmp_path / "mine.npz", images=images)
    made = read(Data(data=str(tmp_path / "mine.npz")))
    assert made.kind == kind
    top = 255 if kind == "binary" else max(values)
    assert made.train.bounds[1] == top


def test_codes_of_dequantized_rows_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = vk.train(
        "vae", data="digits", latent=2, epochs=1, limit=100, net="mlp:hidden=8", dequantize=True,
        likelihood="gaussian", out=tmp_path / "run", report=False,
    )  # fmt: skip
    rows = Split(
        torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8), values=Transform(dequantize=True)
    )
    whole = posteriors(run, fixed_rows(rows))
    monkeypatch.setattr("vaekit.models.base.CACHE", 2**10 * 7)
    for one, other in zip(posteriors(run, rows), whole, strict=True):
        torch.testing.assert_close(one, other)
    assert Codes(whole[0]).dimensions


def test_a_command_builds_the_options_of_its_recipe_alone() -> None:
    code = (
        "import sys\nfrom vaekit.cli.main import main\nfrom vaekit.cli._train import sweep, train\n"
        "for words in (['train', 'iwae', '--help'], ['recipes']):\n"
        "    main(words)\n"
        "print(sorted(n for n in train if n[0] != '-'), [n for n in sweep if n[0] != '-'],"
        " file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "['iwae'] []"


def test_codes_that_are_drawn_are_of_the_same_noise_in_all_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model: Any = vae()
    shapes = {"in_shape": IMAGE}
    net = vk.MLP(IMAGE, vk.parts.Laplace(2).param_shape)
    monkeypatch.setattr(type(model), "offers", model.offers - {vk.Offer.MEAN})
    model.posterior = vk.Conditional(net, vk.parts.Laplace(2), **shapes)
    monkeypatch.setattr("vaekit.models.base.rows_at_once", lambda *_: 4)
    (codes,) = model.encode(torch.ones(8, *IMAGE))
    torch.testing.assert_close(codes, codes[:1].expand(8, -1))
    assert torch.equal(codes, model.encode(torch.ones(8, *IMAGE))[0])
    masked = model.encode(torch.ones(8, *IMAGE), None, mask=torch.ones(1, *IMAGE))  # one for all
    torch.testing.assert_close(masked[0], codes)


@pytest.mark.parametrize("rows", [31, 5, 6, 1])
def test_no_row_that_is_held_out_is_dropped(
    rows: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("vaekit.runs._job.rows_at_once", lambda *_: 5)
    seen = []
    monkeypatch.setattr("vaekit.runs._job.Batches", lambda split, size, **_: seen.append(size))
    x = np.random.RandomState(0).rand(rows + 40, 3).astype(np.float32)
    config = Config.flat("vae", data="given", net="mlp:hidden=4", latent=2)
    value = {"train": x[rows:], "validation": x[:rows], "test": x[:9]}
    job = make_job(config, RunFolder(tmp_path / "r"), value=value)
    job.measured(job.data.validation)
    assert rows == 1 or rows % seen[-1] != 1

"""What a training leaves to look at: the images, the epochs, and that it does not change it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vaekit
from vaekit import VaekitError
from vaekit._torchutil import load_state
from vaekit.data import spread
from vaekit.report import Snapshots, frame_epochs, read_frame
from vaekit.runs import RunFolder

SMALL: dict[str, Any] = {
    "data": "digits",
    "latent": 3,
    "net": "mlp:hidden=16",
    "limit": 300,
    "batch_size": 64,
    "report": False,
    "threads": 1,
    "checkpoint_seconds": 0,
}


def train(path: Path, recipe: str = "vae", **options: Any) -> vaekit.Run:
    return vaekit.train(
        recipe,
        out=path,
        **{**SMALL, "likelihood": "gaussian", "lr_schedule": "constant", **options},
    )


def frames(path: Path) -> dict[int, bytes]:
    folder = path / "snapshots"
    return {epoch: (folder / f"{epoch:06d}.npz").read_bytes() for epoch in frame_epochs(folder)}


def of(path: Path, epoch: int, what: str) -> np.ndarray:
    return read_frame(path / "snapshots" / f"{epoch:06d}.npz", what)


def levels(images: torch.Tensor) -> np.ndarray:
    return np.rint(255 * images.numpy().astype(np.float64).clip(0, 1))


@pytest.mark.parametrize(
    "more", [{}, {"net": "mlp:hidden=16:dropout=0.2:norm=batch", "binarize": "dynamic"}]
)
def test_a_training_is_the_same_bit_for_bit_with_and_without(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    runs = [train(tmp_path / str(n), epochs=3, snapshots=n, **more) for n in (0, 1)]
    kept = [load_state(run.folder.last)["progress"] for run in runs]
    for name in kept[0]["model"]:
        assert torch.equal(kept[0]["model"][name], kept[1]["model"][name])
    assert torch.equal(kept[0]["random"]["cpu"], kept[1]["random"]["cpu"])
    for one, two in zip(*(run.folder.records() for run in runs), strict=True):
        timed = dict.fromkeys(("seconds", "images_per_second"))
        assert one | timed == two | timed
    assert not (runs[0].path / "snapshots").exists()
    assert not (runs[0].path / "latest.png").exists()


def test_the_frames_hold_what_the_model_makes_of_the_same_images_and_draws(tmp_path: Path) -> None:
    run = train(tmp_path / "r", epochs=2, seed=5)
    assert frame_epochs(run.path / "snapshots") == [0, 1, 2]
    test, last = run.dataset().test, vaekit.load(run.path, weights="last")
    x = test.x(spread(len(test), 8))
    assert np.array_equal(read_frame(run.path / "snapshots/originals.npz", "originals"), levels(x))
    close = {"atol": 1.01, "rtol": 0}
    assert np.allclose(of(run.path, 2, "reconstructions"), levels(last.reconstruct(x)), **close)
    torch.manual_seed(5)
    z = torch.randn(16, 3)
    assert np.allclose(of(run.path, 2, "samples"), levels(last.decode(z)), **close)
    for what, shape in (("reconstructions", (8, 1, 8, 8)), ("samples", (16, 1, 8, 8))):
        made = [of(run.path, epoch, what).astype(int) for epoch in (0, 1, 2)]
        assert made[0].shape == shape
        assert np.abs(made[0] - made[1]).mean() > 1
        assert np.abs(made[1] - made[2]).mean() > 0.3


def test_epoch_0_is_the_untrained_model(tmp_path: Path) -> None:
    run = train(tmp_path / "r", epochs=1, seed=2)
    torch.manual_seed(2)
    config, data = run.config, run.dataset()
    made = vaekit.recipes.assemble("vae", config.parts, data.spec())
    test = data.test
    untrained = made.model.reconstruct(test.x(spread(len(test), 8)))
    assert np.allclose(of(run.path, 0, "reconstructions"), levels(untrained), atol=1.01, rtol=0)


def test_the_latest_image_has_originals_over_reconstructions(tmp_path: Path) -> None:
    run = train(tmp_path / "r", epochs=2)
    with Image.open(run.path / "latest.png") as image:
        seen = np.asarray(image.convert("RGBA"))
    for top, name, what in ((0, "originals", "originals"), (98, "000002", "reconstructions")):
        images = read_frame(run.path / "snapshots" / f"{name}.npz", what)
        for place in range(8):
            tile = seen[top : top + 96, 98 * place : 98 * place + 96, 0]
            assert np.array_equal(tile[5::12, 5::12], images[place, 0])


def test_every_nth_epoch_the_first_and_the_last_are_kept(tmp_path: Path) -> None:
    run = train(tmp_path / "r", epochs=7, snapshots=3)
    assert frame_epochs(run.path / "snapshots") == [0, 3, 6, 7]
    vaekit.resume(run.path, epochs=10, report=False)
    assert frame_epochs(run.path / "snapshots") == [0, 3, 6, 9, 10]
    whole = train(tmp_path / "whole", epochs=10, snapshots=3)
    assert frames(run.path) == frames(whole.path)


def test_resuming_drops_the_frames_after_the_checkpoint_and_makes_them_again(
    tmp_path: Path,
) -> None:
    whole = train(tmp_path / "whole", epochs=4)
    cut = train(tmp_path / "cut", epochs=2)
    folder = cut.path / "snapshots"
    first = (folder / "000001.npz").stat().st_mtime_ns
    (folder / "000003.npz").write_bytes(b"of a training that was killed")
    (folder / "000009.npz").write_bytes(b"and never will be")
    (folder / ".000005.npz.0123abcd.tmp").write_bytes(b"half")
    vaekit.resume(cut.path, epochs=4, report=False)
    assert frames(cut.path) == frames(whole.path)
    assert (folder / "000001.npz").stat().st_mtime_ns == first
    assert {p.name for p in folder.iterdir()} == {
        *(f"{epoch:06d}.npz" for epoch in range(5)),
        "originals.npz",
    }


def test_a_run_that_left_no_checkpoint_begins_its_frames_anew(tmp_path: Path) -> None:
    run = train(tmp_path / "r", epochs=2)
    expected = frames(run.path)
    run.folder.last.unlink()
    (run.path / "snapshots" / "000007.npz").write_bytes(b"")
    vaekit.resume(run.path, report=False)
    assert frames(run.path) == expected


def test_a_run_of_an_earlier_version_goes_on_and_has_frames_from_there(tmp_path: Path) -> None:
    run = train(tmp_path / "r", epochs=2, snapshots=0)
    path = run.path / "config.json"
    config = json.loads(path.read_text())
    del config["training"]["snapshots"]
    path.write_text(json.dumps(config))
    vaekit.resume(run.path, epochs=4, report=False)
    assert frame_epochs(run.path / "snapshots") == [3, 4]
    assert (run.path / "snapshots" / "originals.npz").is_file()


def test_long_trainings_keep_every_second_then_fourth_frame_and_the_early_ones(
    tmp_path: Path,
) -> None:
    run = train(tmp_path / "r", epochs=1, snapshots=0)
    (tmp_path / "film").mkdir()
    x = run.dataset().test.x(slice(8))
    film = Snapshots(RunFolder(tmp_path / "film"), x, every=1, seed=0, shown=lambda x: x)
    assert film.most == 200
    film.most = 5
    film.begin(run.model, None)
    seen = {}
    for epoch in range(1, 25):
        film.finish(run.model, epoch)
        seen[epoch] = frame_epochs(film.path)
    assert seen[4] == [0, 1, 2, 3, 4]
    assert seen[5] == [0, 1, 2, 3, 4, 5]
    assert seen[7] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert seen[12] == [0, 1, 2, 3, 4, 5, 8, 12]
    assert seen[23] == [0, 1, 2, 3, 5, 8, 13, 16, 21, 23]
    assert seen[24] == [0, 1, 2, 3, 5, 8, 13, 16, 21, 24]
    large = Snapshots(
        RunFolder(tmp_path), torch.zeros(8, 3, 512, 512), every=1, seed=0, shown=lambda x: x
    )
    assert large.most == 20


def test_autoencoders_have_no_draws_and_tables_no_frames(tmp_path: Path) -> None:
    run = train(tmp_path / "ae", "ae", epochs=1)
    with np.load(run.path / "snapshots" / "000001.npz") as arrays:
        assert arrays.files == ["reconstructions"]
    drawn = train(tmp_path / "drawn", "ae", prior="standard-normal", epochs=1)
    assert of(drawn.path, 1, "samples").shape == (16, 1, 8, 8)
    np.savez(tmp_path / "t.npz", images=np.random.default_rng(0).normal(size=(40, 5)))
    table = train(tmp_path / "table", data=tmp_path / "t.npz", epochs=1, limit=None)
    assert not (table.path / "snapshots").exists()


@pytest.mark.parametrize("shape", [(30, 31, 3), (28, 20)])
def test_color_and_odd_sizes_on_another_range_have_frames(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, *shape), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images)
    run = train(tmp_path / "r", data=tmp_path / "x.npz", epochs=1, limit=None, range="-1,1", test=4)
    originals = read_frame(run.path / "snapshots" / "originals.npz", "originals")
    assert originals.shape == (4, *(shape[2:] or (1,)), *shape[:2])
    rows = images if len(shape) == 2 else images.transpose(0, 3, 1, 2)
    rows = rows.reshape(30, *originals.shape[1:])
    assert all(any(np.array_equal(one, row) for row in rows) for one in originals)


@pytest.mark.parametrize(
    "content", [b"", b"PK\3\4", b"no archive", "pickle", "float", "another", "flat"]
)
def test_a_broken_frame_is_one_line_and_never_unpickled(tmp_path: Path, content: Any) -> None:
    arrays: dict[str, dict[str, Any]] = {
        "pickle": {"samples": np.array([{}], dtype=object)},
        "float": {"samples": np.zeros((2, 1, 3, 3))},
        "another": {"reconstructions": np.zeros((2, 1, 3, 3), np.uint8)},
        "flat": {"samples": np.zeros((2, 9), np.uint8)},
    }
    path = tmp_path / "000001.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **arrays[content])
    with pytest.raises(VaekitError, match=r"000001.npz is broken: .*Delete it, or restore it"):
        read_frame(path, "samples")

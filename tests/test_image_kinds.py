"""Images that are not 8-bit RGB of one size: depths, channels, stacks, transparency, sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vaekit
from vaekit._train_options import Data
from vaekit.cli.main import main
from vaekit.data import Dataset, card, from_value, load, pick, prepare
from vaekit.errors import VaekitError
from vaekit.runs import RunFolder, make_job
from vaekit.training import Progress

RNG = np.random.default_rng(0)
SMALL: dict[str, Any] = {"epochs": 1, "latent": 2, "net": "mlp:hidden=8", "report": False}
N, SIDE = 12, 6
DEEP = RNG.integers(0, 4096, (N, SIDE, SIDE))
DEEP.flat[:2] = 0, 4095


def saved(folder: Path, images: np.ndarray, ending: str = "png", **how: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.{ending}", **how)
    return folder


def in_order(data: Dataset) -> torch.Tensor:
    """Return all rows in the order of their files, or as they were given."""
    ids = [id_ for part in data.splits.values() for id_ in part.ids]  # type: ignore[union-attr]
    every = [pick(part.images, torch.arange(len(part))) for part in data.splits.values()]
    rows = torch.cat(every)
    keys = [int(str(id_).partition(".")[0]) for id_ in ids]
    return rows[np.argsort(keys, kind="stable")]


# depths -----------------------------------------------------------------------------------------

FORMS: dict[str, Callable[[Path], Any]] = {
    "png": lambda to: saved(to, DEEP.astype(np.uint16)),
    "tiff": lambda to: saved(to, DEEP.astype(np.uint16), "tif"),
    "tiff of 32 bits": lambda to: saved(to, DEEP.astype(np.int32), "tif"),
    "uint16": lambda to: DEEP.astype(np.uint16),
    "int64": lambda to: DEEP,
    "big-endian": lambda to: DEEP.astype(">i4"),
}


@pytest.mark.parametrize("form", FORMS)
def test_more_than_8_bits_are_scaled_by_their_own_range(form: str, tmp_path: Path) -> None:
    given = FORMS[form](tmp_path / "x")
    read = load if isinstance(given, Path) else lambda x, **how: from_value(x, Data(**how))
    mine = read(given)
    assert "values from 0 to 4095 are scaled: 0 becomes 0, 4095 becomes 1" in mine.said
    assert mine.levels == (0, 4095)
    assert np.allclose(in_order(mine)[:, 0].double() * 4095, DEEP, atol=1e-3)
    assert card(mine)["range"] == [0, 4095]
    cut = read(given, levels="1000,3000")
    assert "1000 becomes 0, 3000 becomes 1, others are cut off" in cut.said
    expected = ((DEEP - 1000) / 2000).clip(0, 1)
    assert np.allclose(in_order(cut)[:, 0], expected, atol=1e-6)


def test_a_remembered_set_of_more_bits_is_the_same(tmp_path: Path, caplog: Any) -> None:
    path = saved(tmp_path / "x", DEEP.astype(np.uint16))
    plain = load(path, cache=False)
    for _ in range(2):
        kept = load(path, cache=True)
        assert card(kept)["sha256"] == card(plain)["sha256"]
        assert (kept.said, kept.levels, kept.kind) == (plain.said, plain.levels, plain.kind)


def test_integers_that_fit_into_8_bits_are_levels(tmp_path: Path) -> None:
    few = RNG.integers(0, 256, (N, SIDE, SIDE))
    for given in (few, few.astype(np.int32), few.astype(np.uint16)):
        mine = from_value(given)
        assert (mine.train.images.dtype, mine.levels, mine.said) == (torch.uint8, None, "")
        assert torch.equal(in_order(mine)[:, 0], torch.from_numpy(few.astype(np.uint8)))
    files = load(saved(tmp_path / "x", few.astype(np.uint16)))
    assert torch.equal(in_order(files)[:, 0], torch.from_numpy(few.astype(np.uint8)))
    bits = from_value(RNG.integers(0, 2, (N, SIDE, SIDE)))
    assert (bits.kind, bits.train.images.unique().tolist()) == ("binary", [0, 255])


def test_levels_of_8_bits_may_be_scaled_too(tmp_path: Path) -> None:
    few = RNG.integers(0, 256, (N, SIDE, SIDE)).astype(np.uint8)
    expected = ((few.astype(float) - 100) / 50).clip(0, 1)
    for mine in (
        from_value(few, Data(levels=(100, 150))),
        load(saved(tmp_path / "x", few), levels="100,150"),
        load(tmp_path / "x", levels="100,150", cache=True),
    ):
        assert np.allclose(in_order(mine)[:, 0], expected, atol=1e-6)
        assert mine.levels == (100, 150)


def test_floats_in_files_are_read_as_those_of_arrays(tmp_path: Path) -> None:
    unit = RNG.random((N, SIDE, SIDE)).astype(np.float32)
    for images, said in ((unit, ""), (unit * 90 - 40, "keep their own range"), (2 * unit - 1, "m")):
        files = load(saved(tmp_path / said, images, "tif"))
        mine = from_value(images)
        assert said in files.said
        assert (files.own, files.levels) == (mine.own, mine.levels)
        assert torch.allclose(in_order(files), in_order(mine), atol=1e-6)


def test_deep_images_go_through_a_model_in_their_units(tmp_path: Path) -> None:
    path = saved(tmp_path / "x", DEEP.astype(np.uint16), "tif")
    vaekit.train("vae", data=str(path), out=tmp_path / "run", **SMALL)
    run = vaekit.load(tmp_path / "run")
    assert run.spec.levels == (0, 4095)
    codes = run.encode(DEEP[:3])
    torch.testing.assert_close(run.encode(path / "0.tif"), codes[:1])
    assert torch.equal(run.encode(DEEP[:3].astype(np.float32)), codes)
    assert torch.equal(run.encode(torch.from_numpy(DEEP[:3, None] / 4095).float()), codes)
    over = DEEP[:3].copy()
    over[0, 0, 0] = 4800  # a little above: cut off
    assert torch.allclose(run.encode(over)[1:], codes[1:])
    for wrong in (DEEP * 9, DEEP - 9000):
        with pytest.raises(VaekitError, match="this run takes those from 0 to 4095"):
            run.encode(wrong)
    main(["reconstruct", str(tmp_path / "run"), "-n", "1", "-o", str(tmp_path / "r.npz")])
    with np.load(tmp_path / "r.npz") as file:
        test = load(path).test.ids.tolist()  # type: ignore[union-attr]
        assert np.allclose(file["images"][0, 0], DEEP[int(test[0].partition(".")[0])], atol=0.01)


def test_depths_do_not_mix(tmp_path: Path) -> None:
    path = saved(tmp_path / "x", DEEP.astype(np.uint16))
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(path / "3.png")
    with pytest.raises(VaekitError, match=r"several depths: .* int32, '3.png' uint8"):
        load(path)


def test_colors_of_16_bits_are_read_at_8(tmp_path: Path) -> None:
    import struct
    import zlib

    def png(value: int) -> bytes:
        def chunk(name: bytes, body: bytes) -> bytes:
            check = struct.pack(">I", zlib.crc32(name + body))
            return struct.pack(">I", len(body)) + name + body + check

        row = b"\0" + struct.pack(">H", value) * 3 * SIDE
        head = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0)
        body = zlib.compress(row * SIDE)
        return (
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
        )

    for i in range(N):
        (tmp_path / f"{i}.png").write_bytes(png(257 * 20 * i))
    mine = load(tmp_path)
    assert in_order(mine)[:, 0, 0, 0].tolist() == [20 * i for i in range(N)]
    assert "12 images with colors of 16 bits, of which 8 are read" in mine.said


# channels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [2, 4, 5, 16])
@pytest.mark.parametrize("last", [False, True])
def test_up_to_16_channels_train(channels: int, last: bool, tmp_path: Path) -> None:
    rows = RNG.integers(0, 256, (N, channels, 20, 18)).astype(np.uint8)
    mine = from_value(rows.transpose(0, 2, 3, 1) if last else rows)
    assert mine.kind == "color"
    assert np.array_equal(in_order(mine).numpy(), rows)
    if channels == 4:
        run = vaekit.train("vae", data=rows, out=tmp_path / "run", **{**SMALL, "report": True})
        assert run.sample(3).shape == (3, 4, 20, 18)
        main(["sample", str(tmp_path / "run"), "-n", "4", "-o", str(tmp_path / "s.png")])
        with Image.open(tmp_path / "s.png") as sheet:
            assert sheet.width > 18


@pytest.mark.parametrize("shape", [(N, 8, 8, 8), (N, 1, 8, 8, 8), (N, 17, 20, 20), (N,)])
def test_volumes_are_refused_by_name(shape: tuple[int, ...]) -> None:
    match = "of volumes, take slices" if len(shape) > 1 else r"expected \(N, H, W\)"
    with pytest.raises(VaekitError, match=match):
        from_value(np.zeros(shape, np.uint8))


# stacks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["tif", "gif", "webp"])
def test_pages_are_rows_where_they_are_asked_for(ending: str, tmp_path: Path) -> None:
    pages = np.repeat(np.arange(10, 250, 10, dtype=np.uint8), 64).reshape(2, 12, 8, 8)
    for name, stack in zip("ab", pages, strict=True):
        first, *rest = map(Image.fromarray, stack)
        how: dict[str, Any] = {"lossless": True} if ending == "webp" else {}
        first.save(tmp_path / f"{name}.{ending}", save_all=True, append_images=rest, **how)
    with pytest.raises(VaekitError, match="has 2 images; expected 5"):
        load(tmp_path)
    mine = load(tmp_path, pages="all", gray=True)
    rows: dict[str, int] = {}
    for part in mine.splits.values():
        rows |= zip(part.ids.tolist(), part.images[:, 0, 0, 0].tolist(), strict=True)  # type: ignore[union-attr]
    assert len(rows) == 24
    assert rows[f"a.{ending}#1"] == 10
    assert rows[f"b.{ending}#12"] == 240
    assert "pages of one file may lie in several splits" in mine.said
    apart = load(tmp_path, pages="all", gray=True, group="(.*)#", test=0.4)
    assert len({str(id_).partition("#")[0] for id_ in apart.test.ids}) == 1  # type: ignore[union-attr]


# transparency -----------------------------------------------------------------------------------


def test_what_is_transparent_lies_over_the_background(tmp_path: Path) -> None:
    icons = np.full((N, 8, 8, 4), 255, np.uint8)
    icons[:, :, :4, 3] = 0  # white on transparent
    path = saved(tmp_path / "x", icons)
    white = load(path)
    assert (
        "12 images (0.png) of one flat color once laid over white: `background=black`" in white.said
    )
    black = load(path, background="black")
    assert black.said == ""
    assert in_order(black)[0, 0, 0].tolist() == [0] * 4 + [255] * 4
    red = load(path, background="#FF0080")
    assert in_order(red)[0, :, 0, 0].tolist() == [255, 0, 128]
    with pytest.raises(VaekitError, match="expected white, black or #RRGGBB"):
        load(path, background="pink")


def test_a_run_lays_new_images_over_its_background(tmp_path: Path) -> None:
    icons = RNG.integers(0, 256, (N, 8, 8, 4)).astype(np.uint8)
    path = saved(tmp_path / "x", icons)
    run = vaekit.train("vae", data=str(path), out=tmp_path / "run", background="black", **SMALL)
    assert torch.equal(run.encode(path / "0.png"), run.encode(Image.open(path / "0.png")))
    dark = np.zeros((8, 8, 4), np.uint8)
    assert torch.equal(run.encode(Image.fromarray(dark)), run.encode(np.zeros((1, 3, 8, 8), "u1")))


# sizes ------------------------------------------------------------------------------------------


def test_width_and_height(tmp_path: Path) -> None:
    path = saved(tmp_path / "x", np.full((N, 20, 40), 9, np.uint8))
    assert load(path, size="12x8").train.images.shape[1:] == (1, 8, 12)
    given = np.zeros((N, 20, 40), np.uint8)
    assert from_value(given, Data(size="12x8")).train.images.shape[1:] == (1, 8, 12)
    run = vaekit.train("vae", data=str(path), out=tmp_path / "run", size="12x8", **SMALL)
    assert run.encode(path / "0.png").shape == (1, 2)
    assert vaekit.load(tmp_path / "run").evaluate(limit=3)["elbo"] < 1e9


def test_fit_crops_pads_or_stretches(tmp_path: Path) -> None:
    image = np.zeros((8, 24), np.uint8)
    image[:, 8:16] = 200  # the middle third
    path = saved(tmp_path / "x", np.repeat(image[None], N, 0))
    crop, pad, stretch = (
        in_order(load(path, size=24, fit=fit))[0, 0].float() for fit in ("crop", "pad", "stretch")
    )
    assert (crop[7:-7, 7:-7] == 200).all()  # all that is left, but for the kernel at the edges
    assert (pad[:6] == 255).all()
    assert (pad[18:] == 255).all()
    assert pad[9:15, 11].tolist() == [200] * 6
    assert (pad[9:15, :6] == 0).all()
    assert stretch[12].tolist() == image[0].tolist()
    assert (in_order(load(path, size=24, fit="pad", background="black"))[0, 0, :6] == 0).all()
    deep = load(
        saved(tmp_path / "d", np.repeat(image[None], N, 0).astype(np.uint16) * 20),
        size=24,
        fit="pad",
    )
    assert in_order(deep)[0, 0, 0, 0] == in_order(deep).max()  # white is the largest value


def test_images_of_several_sizes_get_a_usual_one_that_the_run_keeps(tmp_path: Path) -> None:
    for i in range(20):
        image = RNG.integers(0, 256, (70 + i, 90 - i), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    mine = load(tmp_path)
    assert mine.train.images.shape[1:] == (1, 64, 64)
    run = vaekit.train("vae", data=str(tmp_path), out=tmp_path.parent / "run", **SMALL)
    assert run.config.data.size == 64
    again = vaekit.load(tmp_path.parent / "run")
    assert again.encode(tmp_path / "3.png").shape == (1, 2)
    assert torch.equal(again.dataset().train.images, run.dataset().train.images)


# augmentation -----------------------------------------------------------------------------------

IMAGES = RNG.integers(0, 256, (40, 3, 10, 10)).astype(np.uint8)


def changed(augment: str, **how: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return training rows as they are, and as they are served under a seed."""
    data = prepare(from_value(IMAGES), Data(augment=augment, validation=0, **how))
    torch.manual_seed(0)
    return data.train.images, data.train.x()


def test_flips_are_the_image_or_its_mirror() -> None:
    rows, x = changed("flip")
    plain = (x == rows / 255).flatten(1).all(1)
    mirrored = (x == rows.flip(-1) / 255).flatten(1).all(1)
    assert (plain ^ mirrored).all()
    assert 8 < int(plain.sum()) < 28


def test_crops_are_moved_by_at_most_so_many_pixels() -> None:
    rows, x = changed("crop:2")
    padded = torch.nn.functional.pad(rows / 255, (2, 2, 2, 2), mode="replicate")
    found = set()
    for image, one in zip(padded, x, strict=True):
        places = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if torch.equal(image[:, down : down + 10, right : right + 10], one)
        ]
        assert len(places) == 1
        found |= set(places)
    assert len(found) > 12
    assert {0, 4} <= {down for down, _ in found}


def test_turns_are_those_of_a_known_image() -> None:
    row, column = np.mgrid[:33, :65]
    disk = (((row - 16) ** 2 + (column - 44) ** 2) < 9) * np.uint8(255)  # right of the center
    data = prepare(
        from_value(np.repeat(disk[None], 200, 0) // 2), Data(augment="rotate:30", validation=0)
    )
    torch.manual_seed(0)
    x = data.train.x()[:, 0]
    mass = x.sum((1, 2))
    down = (x.sum(2) * torch.arange(33.0)).sum(1) / mass - 16
    right = (x.sum(1) * torch.arange(65.0)).sum(1) / mass - 32
    radius, angle = torch.hypot(down, right), torch.rad2deg(torch.atan2(down, right))
    assert (radius - 12).abs().max() < 0.3  # a turn, in pixels, though the image is not square
    assert 25 < float(angle.max()) <= 30.5
    assert -30.5 <= float(angle.min()) < -25


def test_training_rows_alone_are_changed_and_a_run_forgets_it(tmp_path: Path) -> None:
    data = prepare(from_value(IMAGES), Data(augment="flip,crop:1,rotate:5"))
    assert data.validation is not None
    for part in (data.validation, data.test):
        assert torch.equal(part.x(), part.images / 255)
    run = vaekit.train("vae", data=IMAGES, augment="flip", out=tmp_path / "run", **SMALL)
    train = run.dataset().train
    assert torch.equal(train.x(), train.images / 255)
    assert run.config.data.augment == ("flip",)
    assert run.spec.values.augment == ()
    with pytest.raises(VaekitError, match="`levels` does not suit shapes"):
        load("shapes", levels="0,100")


def test_an_interrupted_training_with_changes_goes_on_to_the_same_end(tmp_path: Path) -> None:
    how: dict[str, Any] = {**SMALL, "data": "shapes", "augment": "flip,crop:2", "limit": 200}
    whole = vaekit.train("vae", out=tmp_path / "a", **{**how, "epochs": 3})
    with pytest.raises(KeyboardInterrupt):
        vaekit.train("vae", out=tmp_path / "b", callbacks=[Stop()], **{**how, "epochs": 3})
    again = vaekit.resume(tmp_path / "b")
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


MANY = RNG.integers(0, 256, (140, 3, 10, 10)).astype(np.uint8)  # they look the same mirrored
LIT = (MANY * np.linspace(0, 1, 10)).astype(np.uint8)  # from the right


@pytest.mark.parametrize(
    ("images", "how", "found"),
    [
        (MANY, {}, ("flip",)),
        (MANY, {"augment": "none"}, ("none",)),
        (MANY, {"augment": "crop:1"}, ("crop:1",)),
        (LIT, {}, ("none",)),
        (MANY[:, :1], {}, None),  # gray: letters and digits are
        (MANY[:50], {}, ("none",)),
        (MANY, {"limit": 60}, ("none",)),
        (MANY / np.float32(255), {}, ("none",)),
    ],
)
def test_few_color_images_are_flipped_where_mirror_images_look_the_same(
    images: np.ndarray, how: dict[str, Any], found: Any, tmp_path: Path
) -> None:
    run = vaekit.train("vae", data=images, out=tmp_path / "run", **SMALL, **how)
    assert run.config.data.augment == found
    config = run.config.data
    assert config.changes == (() if found == ("none",) else found or ())


def test_images_that_are_flipped_have_no_dense_map_unless_it_is_asked_for(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (120, 3, 16, 16)).astype(np.uint8)
    how: dict[str, Any] = {"data": images, "epochs": 1}
    for name, more, direct, given in (
        ("a", {}, False, {"flip"}),
        ("b", {"augment": "none"}, True, set()),
        ("c", {"net": "patch"}, True, {"flip"}),
        ("d", {"augment": "crop:2,flip"}, False, {"crop:2", "flip"}),
    ):
        run = vaekit.train("vae", out=tmp_path / name, report=name == "a", **how, **more)
        assert run.config.parts["net"]["direct"] is direct, name
        again = vaekit.resume(run.path, data=images, epochs=2, report=False).config
        assert again.parts["net"]["direct"] is direct
        assert again.data == run.config.data
        job = make_job(run.config, RunFolder(tmp_path / "none"), value=images)
        assert job.given()["augment"] == given  # which no advice repeats
    assert "changed at random (flip)" in (tmp_path / "a" / "report.html").read_text()


def test_what_was_trained_without_flips_goes_on_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of before has `augment: []`, or none of it, in its config.json."""
    run = vaekit.train("vae", data=MANY, augment="none", out=tmp_path / "run", **SMALL)
    path = run.path / "config.json"
    config = json.loads(path.read_text())
    for before in ([], None):
        path.write_text(json.dumps({**config, "data": {**config["data"], "augment": before}}))
        again = vaekit.resume(run.path, data=MANY)
        assert again.config.data.changes == ()
    path.write_text(json.dumps({**config, "data": {"data": "digits", "augment": []}}))
    main(["train", "vae", "--config", str(path), "--print-config"])
    assert "augment:\n- none\n" in capsys.readouterr().out  # as it was


class Stop(vaekit.Callback):
    def step(self, progress: Progress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"augment": "spin"}, "`augment=spin`; expected flip, crop:PIXELS or rotate:DEGREES; or"),
        ({"augment": "crop"}, "expected flip"),
        ({"data": "table"}, "`augment` is for images"),
        ({"data": "bits", "augment": "rotate:9"}, "binary images that are turned are not binary"),
    ],
)
def test_changes_that_are_refused(how: dict[str, Any], message: str) -> None:
    given = {"table": RNG.random((40, 3)), "bits": IMAGES[:, :1] > 99}.get(
        how.pop("data", ""), IMAGES
    )
    with pytest.raises(VaekitError, match=message):
        prepare(from_value(given), Data(**{"augment": "flip", **how}))

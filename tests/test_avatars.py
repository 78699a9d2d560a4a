"""The data set `avatars`: its art, its composition, its factors and its splits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vaekit import data
from vaekit.cli.main import main
from vaekit.data import AVATAR_FACTORS, draw_avatars, kept_for_test, random_avatars
from vaekit.errors import VaekitError

ART = Path(data.__file__).with_name("avatars.npz")
SIZES = (32, 48, 64)
NAMES = list(AVATAR_FACTORS)
COUNTS = [len(factor.values) for factor in AVATAR_FACTORS.values()]
# Which factor chooses the drawing of a layer, and the number of its first value with a drawing.
CHOICE = {"hair behind": ("hair style", 0), "hair": ("hair style", 0)}
CHOICE |= {name: (name, 0) for name in ("head", "eyes", "eyebrows", "nose", "mouth")}
CHOICE |= {name: (name, 1) for name in ("beard", "glasses", "earrings", "freckles", "flowers")}


def column(factors: np.ndarray, name: str) -> np.ndarray:
    return factors[..., NAMES.index(name)]


# an oracle: whole images in float64, layer upon layer, from the file itself ---------------------


def covers(size: int) -> dict[str, tuple[list[str], list[np.ndarray]]]:
    """By layer, from back to front: its inks, and their parts `(I, size, size)` of each drawing."""
    with np.load(ART) as stored:
        layers, inks, counts = (stored[key].tolist() for key in ("layers", "inks", "variants"))
        boxes, flat = stored[f"boxes_{size}"].tolist(), stored[f"weights_{size}"]
    made: dict[str, tuple[list[str], list[np.ndarray]]] = {}
    at = 0
    for layer, names, count in zip(layers, inks, counts, strict=True):
        made[layer] = (names.split(), [])
        for top, left, height, width in boxes[:count]:
            whole = np.zeros((len(names.split()), size, size))
            end = at + len(whole) * height * width
            piece = flat[at:end].reshape(len(whole), height, width)
            whole[:, top : top + height, left : left + width] = piece / 255
            made[layer][1].append(whole)
            at = end
        boxes = boxes[count:]
    assert at == len(flat)
    assert not boxes
    return made


HAIR = ["2b2529", "54372b", "83583c", "933d2a", "d9772f", "e9c46f", "b9bac2", "ee8fb0", "5a86cf"]
SKIN = ["fcdfcb", "f7cfb0", "efb892", "d9a074", "bf8457", "9f6744", "7d4f36"]
BACKGROUND = ["c3e3f7", "c9ecd2", "fddcc4", "dcd1f4", "fbf0b4", "f9cfd9"]


def rgb(code: str) -> np.ndarray:
    return np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)], float)


def inks(face: dict[str, int]) -> dict[str, np.ndarray]:
    line, hair, skin = rgb("2a1a1c"), rgb(HAIR[face["hair color"]]), rgb(SKIN[face["skin color"]])
    lips = 0.8 * (0.4 * skin + 0.6 * rgb("7d1526")) + 0.2 * line
    if face["beard"] and hair.sum() < 420:
        lips = rgb("fff3e6")
    shade, freckle = (hair + line) / 2, (skin + rgb("7a3b1e")) / 2
    made = {"line": line, "hair": hair, "skin": skin, "shade": shade, "brow": shade}
    made |= {"lips": lips, "freckle": freckle, "white": rgb("ffffff"), "frame": rgb("23263a")}
    return made | {"metal": rgb("e3b23c"), "petal": rgb("d8436e")}


def slow(factors: np.ndarray, size: int) -> np.ndarray:
    face = dict(zip(NAMES, factors.tolist(), strict=True))
    image = np.ones((size, size, 3)) * rgb(BACKGROUND[face["background"]])
    colors = inks(face)
    for layer, (names, drawings) in covers(size).items():
        name, first = CHOICE[layer]
        if face[name] >= first:
            parts = drawings[face[name] - first]
            laid = sum(part[..., None] * colors[n] for part, n in zip(parts, names, strict=True))
            image = (1 - parts.sum(0))[..., None] * image + laid
    return image.transpose(2, 0, 1)


@pytest.mark.parametrize("size", SIZES)
def test_faces_are_those_of_a_slow_composition_in_floats(size: int) -> None:
    factors = np.concatenate([random_avatars(20, seed=5), random_avatars(20, seed=5, test=True)])
    factors[:6, NAMES.index("beard")] = [1, 2, 1, 2, 1, 2]
    factors[:6, NAMES.index("hair color")] = [0, 1, 3, 5, 6, 8]
    drawn = draw_avatars(factors, size)
    wanted = np.stack([slow(face, size) for face in factors])
    # Mixed colors are rounded down to whole numbers, a lip's twice, and each layer rounds by 1/2.
    assert np.abs(drawn - wanted).max() < 3.5
    assert np.abs(drawn - wanted).mean() < 0.5


def test_each_layer_is_rounded_to_the_nearest() -> None:
    """What the three operations on uint16 give, of every total that can be."""
    total = np.arange(255 * 255 + 1, dtype=np.uint16)
    shifted = total + np.uint16(128)
    assert np.array_equal((shifted + (shifted >> 8)) >> 8, np.rint(np.arange(65026) / 255))


# exactness --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "digest"),
    [(32, "829b53f0251bf38e"), (48, "bbdb2e49ef24c8c9"), (64, "1ec5b3c32120819c")],
)
def test_faces_are_equal_to_the_bit_everywhere(size: int, digest: str) -> None:
    faces = draw_avatars(random_avatars(600, seed=1), size)
    assert hashlib.sha256(faces.tobytes()).hexdigest()[:16] == digest


def test_factors_are_equal_everywhere_and_more_faces_begin_with_the_same() -> None:
    assert random_avatars(3).tolist() == [
        [6, 1, 4, 3, 0, 18, 6, 1, 2, 2, 0, 0, 0, 0],
        [12, 1, 6, 3, 0, 9, 12, 2, 7, 1, 0, 0, 0, 0],
        [40, 5, 2, 0, 1, 12, 12, 4, 0, 0, 0, 0, 0, 0],
    ]
    for test in (False, True):
        many = random_avatars(3000, test=test)
        assert np.array_equal(many[:17], random_avatars(17, test=test))
        assert not np.array_equal(many, random_avatars(3000, seed=1, test=test))


def test_factors_come_by_their_odds_and_apart_from_each_other() -> None:
    factors = random_avatars(60_000, seed=3)
    for values, factor in zip(factors.T, AVATAR_FACTORS.values(), strict=True):
        odds = np.array(factor.odds or [1] * len(factor.values))
        share = np.bincount(values, minlength=len(odds)) / len(values)
        assert np.abs(share - odds / odds.sum()).max() < 0.011
    # What is kept for test takes a tenth of combinations, which ties them a little; no pair more.
    ties = np.corrcoef(factors.T) - np.eye(len(NAMES))
    assert np.abs(ties).max() < 0.02


# splits -----------------------------------------------------------------------------------------


def identities(factors: np.ndarray) -> set[tuple[int, ...]]:
    names = ("hair style", "hair color", "skin color", "head")
    return set(zip(*(column(factors, name).tolist() for name in names), strict=True))


def test_no_test_face_has_the_identity_of_a_training_face_of_any_seed() -> None:
    test = random_avatars(5000, test=True)
    for seed in (0, 1):
        assert not identities(random_avatars(40_000, seed=seed)) & identities(test)
    grid = np.indices(COUNTS[:4]).reshape(4, -1).T
    every = np.pad(grid, ((0, 0), (0, len(COUNTS) - 4)))
    others = np.array([0] * 4 + [1] * (len(COUNTS) - 4))
    assert kept_for_test(every).mean() == pytest.approx(0.1, abs=0.01)
    assert np.array_equal(kept_for_test(every), kept_for_test(every + others))


# one factor at a time ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_factor_changes_its_region_alone(name: str) -> None:
    size, place = 64, NAMES.index(name)
    base = np.zeros((1, len(NAMES)), np.int64)
    base[:, [NAMES.index("beard"), NAMES.index("freckles")]] = 1
    faces = base.repeat(COUNTS[place], 0)
    faces[:, place] = np.arange(COUNTS[place])
    drawn = draw_avatars(faces, size)
    changed = (drawn != drawn[:1]).any(1)
    assert changed[1:].any((1, 2)).all()
    region = np.zeros_like(changed)
    inked = {"hair color": {"hair", "shade", "brow", "lips"}}
    inked["skin color"] = {"skin", "freckle", "lips"}
    for layer, (inks_of, drawings) in covers(size).items():
        factor, first = CHOICE[layer]
        for value, parts in enumerate(drawings, first):
            touched = parts[[ink in inked.get(name, inks_of) for ink in inks_of]].any(0)
            if factor == name:
                region[value] |= touched
                region[1:] |= touched & (value == 0)
            elif name in inked and value == faces[0, NAMES.index(factor)]:
                region |= touched
    if name == "beard":  # a mouth on a dark beard is bright
        region |= covers(size)["mouth"][1][0].any(0)
    if name == "background":
        assert (changed[1:, 0] | (drawn[1:, :, 0] == drawn[:1, :, 0]).all(1)).all()
        assert not changed[:, 30:60, 30:40].any()
    else:
        assert not (changed & ~region).any()


def test_factors_that_are_none_are_refused() -> None:
    good = random_avatars(2)
    for wrong, words in (
        (good[:, :5], r"^got `factors` \(2, 5\) int64; expected whole numbers, a column for each"),
        (good / 2, "^got `factors` .* float64; expected whole numbers"),
        (good + 100, "^got `factors` with hair style 1.. to 1..; expected 0 to 47.$"),
        (good - 100, "^got `factors` with hair style -.. to -..; expected 0 to 47.$"),
    ):
        with pytest.raises(VaekitError, match=words):
            draw_avatars(wrong)
    for size in (50, -1):
        words = f"^got `size={size}`; avatars are drawn in the sizes 32, 48, 64: take one.$"
        with pytest.raises(VaekitError, match=words):
            draw_avatars(good, size)
    for n, seed in ((0, 0), (3, -1)):
        with pytest.raises(VaekitError, match=rf"^got `n={n}`, `seed={seed}`; expected one face"):
            random_avatars(n, seed=seed)


# the data set -----------------------------------------------------------------------------------


def test_the_data_set_holds_the_first_faces_of_seed_0() -> None:
    found = data.load("avatars", size=32)
    for part, test in ((found.train, False), (found.test, True)):
        factors = random_avatars(len(part), test=test)
        assert np.array_equal(part.factors, factors)
        assert np.array_equal(part.labels, column(factors, "hair color"))
        assert np.array_equal(part.images[:40], draw_avatars(factors[:40], 32))
    assert found.class_names == AVATAR_FACTORS["hair color"].values
    assert found.factor_names == tuple(AVATAR_FACTORS)
    assert (found.kind, found.classes, len(found.train), len(found.test)) == (
        "color",
        9,
        8000,
        1000,
    )


def test_a_size_is_drawn_or_scaled_and_colors_go_last() -> None:
    small = torch.from_numpy(draw_avatars(random_avatars(1000, test=True), 32))
    gray = data.load("avatars", size=32, gray=True).test.images
    assert gray.shape == (1000, 1, 32, 32)
    luma = torch.tensordot(small.float(), torch.tensor([0.299, 0.587, 0.114]), ([1], [0]))
    assert (gray[:, 0] - luma).abs().max() < 0.51
    scaled = data.load("avatars", size=32, crop=64).test.images  # of 64 pixels
    assert scaled.shape == small.shape
    assert 0 < (scaled.float() - small.float()).abs().mean() < 20


def test_a_limit_above_the_default_draws_more_faces() -> None:
    found = data.load("avatars", size=32, limit=8100)
    assert (len(found.train), len(found.test)) == (8100, 1000)
    with pytest.raises(VaekitError, match=r"avatars would take .*Lower `limit`"):
        data.load("avatars", limit=10**9)


def test_the_file_is_small() -> None:
    assert ART.stat().st_size <= 400_000


def test_the_card_credits_the_art(capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "avatars", "--size", "32", "--json"])
    card = json.loads(capsys.readouterr().out)
    assert all(word in card["note"] for word in ("Lisa Wischofsky", "DiceBear", "CC0 1.0"))
    assert card["factors"] == dict(zip(NAMES, COUNTS, strict=True))
    assert (card["shape"], card["likelihood"]) == ([3, 32, 32], "gaussian")

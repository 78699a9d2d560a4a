"""Interpolations, traversals, manifolds and embeddings: what is decoded, and where it goes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import laplace, norm

import vaekit
from vaekit import Run, VaekitError
from vaekit.cli.main import main
from vaekit.distributions import Laplace, codes, reals
from vaekit.parts import NoPrior, Prior
from vaekit.report import between, interpolate, manifold, traverse

SMALL = {"net": "mlp:hidden=16", "epochs": 3, "limit": 300, "report": False, "lr": 1e-2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("walks") / "r"
    return vaekit.train("vae", latent=2, out=path, **SMALL)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("walks") / "wide"
    return vaekit.train("vae", latent=12, out=path, **SMALL)


def call(*words: object) -> None:
    main([str(word) for word in words])


def test_the_spherical_walk_keeps_the_length_and_the_speed() -> None:
    """Between vectors of one length, against a rotation in their plane."""
    a, b = torch.nn.functional.normalize(torch.randn(2, 4, 6, dtype=torch.float64), dim=2) * 3
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    walk = between(a, b, steps=9, kind="spherical")
    for k in range(4):
        angle = np.arccos(float(a[k] @ b[k]) / 9)
        side = b[k] - (a[k] @ b[k]) / 9 * a[k]
        side = 3 * side / side.norm()
        for i, part in enumerate(t.tolist()):
            expected = np.cos(part * angle) * a[k] + np.sin(part * angle) * side
            torch.testing.assert_close(walk[k, i], expected)


def test_walks_meet_their_ends() -> None:
    a, b = torch.randn(2, 3, 5)
    a[1], b[2] = b[1], -a[2]
    straight, spherical = (between(a, b, steps=4, kind=kind) for kind in ("linear", "spherical"))
    for walk in (straight, spherical):
        torch.testing.assert_close(walk[:, 0], a)
        torch.testing.assert_close(walk[:, -1], b)
        assert walk.isfinite().all()
    torch.testing.assert_close(spherical[1], a[1].expand(4, -1))
    torch.testing.assert_close(straight[0, 1], a[0] + (b[0] - a[0]) / 3)
    assert between(torch.zeros(2, 3, 4), torch.ones(2, 3, 4), steps=5).shape == (2, 5, 3, 4)


def test_interpolations_begin_and_end_with_the_reconstructions(run: Run) -> None:
    x = run.dataset().test.x(slice(6))
    made = interpolate(run, x[:3], x[3:], steps=7, kind="spherical")
    torch.testing.assert_close(made[:, 0], run.reconstruct(x[:3]))
    torch.testing.assert_close(made[:, -1], run.reconstruct(x[3:]))


def test_a_traversal_changes_one_dimension_alone(wide: Run) -> None:
    z = torch.randn(12)
    values = torch.tensor([-2.0, 0.0, 1.5])
    made = traverse(wide, z, [7, 0], values)
    for row, dim in enumerate([7, 0]):
        for column, value in enumerate(values):
            code = z.clone()
            code[dim] = value
            torch.testing.assert_close(made[row, column], wide.decode(code[None])[0])
    with pytest.raises(VaekitError, match="no dimension 12; the latent has 0 to 11"):
        traverse(wide, z, [12], values)


def test_a_manifold_stands_at_quantiles_with_the_second_dimension_upwards(run: Run) -> None:
    made, (first, second) = manifold(run, 5)
    at = norm.ppf((np.arange(5) + 0.5) / 5)
    for i in range(5):
        for j in range(5):
            z = torch.tensor([[at[j], at[4 - i]]], dtype=torch.float32)
            torch.testing.assert_close(made[i, j], run.decode(z)[0])
    assert np.allclose(first, at, atol=1e-6)
    assert np.allclose(second, at[::-1], atol=1e-6)


class Tilted(Prior):
    """Laplace distributions of means 1 and -1 and scales 1 and 2."""

    space = reals(2)  # type: ignore[assignment]
    offers = Laplace.offers  # type: ignore[assignment]

    def forward(self, context: Any = None, posterior: Any = None) -> Laplace:
        return Laplace(torch.tensor([1.0, -1.0]), torch.tensor([1.0, 2.0]).log())


class Codes(Tilted):
    space = codes(2, 5)  # type: ignore[assignment]


def test_a_manifold_stands_at_the_quantiles_of_any_real_prior(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = vaekit.load(run.path), {}
    monkeypatch.setattr(Run, "decode", lambda self, z, context: seen.setdefault("z", z))
    at = (np.arange(4) + 0.5) / 4
    run.model.prior = Tilted()
    manifold(run, 4)
    z = seen.pop("z").reshape(4, 4, 2)
    assert np.allclose(z[0, :, 0], laplace(1, 1).ppf(at), atol=0.1)
    assert np.allclose(z[:, 0, 1], laplace(-1, 2).ppf(at)[::-1], atol=0.2)
    run.model.prior = NoPrior(2)
    manifold(run, 4)
    assert np.allclose(seen["z"].reshape(4, 4, 2)[0, :, 0], norm.ppf(at), atol=1e-6)
    run.model.prior = Codes()
    monkeypatch.setattr(Laplace, "space", codes(2, 5))
    with pytest.raises(VaekitError, match=r"a plane of real numbers; .* codes\(2; 5\)"):
        manifold(run, 4)


def test_the_commands_write_images_and_arrays(
    run: Run, wide: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("interpolate", run.path, "-n", 3, "--steps", 6, "-o", tmp_path / "i.png")
    call("traverse", wide.path, "--steps", 8, "--row", 4, "-o", tmp_path / "t.png")
    call("manifold", run.path, "--side", 4, "-o", tmp_path / "m.png")
    shapes = {}
    for name in "itm":
        with Image.open(tmp_path / f"{name}.png") as image:
            shapes[name] = image.size
            assert np.asarray(image)[..., 0].std() > 1
    ratios = {name: width / height for name, (width, height) in shapes.items()}
    assert ratios["i"] == pytest.approx(8 / 3, rel=0.1), "inputs stand at both ends"
    assert ratios["t"] > 8 / 10, "names stand beside the rows"
    assert ratios["m"] == pytest.approx(1, rel=0.05)
    assert all(600 < width <= 830 for width, _ in shapes.values())
    x = run.dataset().test.x(torch.randperm(300, generator=torch.Generator().manual_seed(0))[:6])
    with Image.open(tmp_path / "i.png") as image:
        pixels = np.asarray(image.convert("L"))
    high = 8 * ((shapes["i"][0] - 16 - 7 * 2 - 20) // 64)
    for row in range(3):
        top = 8 + 18 + row * (high + 2)
        for side, left in ((x[row], 8), (x[3 + row], shapes["i"][0] - 8 - high)):
            tile = pixels[top : top + high, left : left + high][:: high // 8, :: high // 8]
            assert np.abs(tile - 255.0 * side[0].numpy()).max() <= 1
    call("manifold", run.path, "--side", 4, "-o", tmp_path / "m.npz")
    assert np.allclose(np.load(tmp_path / "m.npz")["images"], manifold(run, 4)[0].flatten(0, 1))
    call("interpolate", run.path, "-n", 2, "--steps", 3, "--seed", 1, "-o", tmp_path / "i.npz")
    call("interpolate", run.path, "-n", 2, "--steps", 3, "--seed", 2, "-o", tmp_path / "j.npz")
    one, two = (np.load(tmp_path / f"{name}.npz")["images"] for name in "ij")
    assert one.shape == (6, 1, 8, 8)
    assert not np.allclose(one, two)
    assert "t.png" in capsys.readouterr().out


def test_a_traversal_takes_the_dimensions_that_vary(
    wide: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("traverse", wide.path, "-o", tmp_path / "t.png")
    shown = capsys.readouterr().out.splitlines()[0]
    dims = [int(word) for word in shown.split(":")[1].split()]
    variance = wide.encode(wide.dataset().test.x()).var(0)
    assert dims == variance.argsort(descending=True)[:10].tolist()
    call("traverse", wide.path, "--dims", 3, 1, "--steps", 2, "-o", tmp_path / "t.npz")
    expected = traverse(wide, torch.zeros(12), [3, 1], torch.tensor([-3.0, 3.0]))
    assert np.allclose(np.load(tmp_path / "t.npz")["images"], expected.flatten(0, 1))


def test_an_embedding_is_the_codes_with_their_labels(run: Run, tmp_path: Path) -> None:
    call("embed", run.path, "-o", tmp_path / "codes.npz")
    call("embed", run.path, "-o", tmp_path / "codes.csv", "--split", "validation")
    test = run.dataset().test
    found = np.load(tmp_path / "codes.npz")
    assert np.allclose(found["codes"], run.encode(test.x()), atol=1e-6)
    assert np.array_equal(found["labels"], test.labels)
    held = run.dataset().validation
    with (tmp_path / "codes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["z0", "z1", "label"]
    codes = np.array([[float(row["z0"]), float(row["z1"])] for row in rows])
    assert np.allclose(codes, run.encode(held.x()), atol=1e-6)
    assert [int(row["label"]) for row in rows] == held.labels.tolist()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["manifold", "wide"], "this one has 12: take `vaekit traverse`, or train with --latent 2"),
        (["manifold", "run", "--side", "0"], "got --side 0; expected at least 1"),
        (["interpolate", "run", "-n", "0"], "got -n 0"),
        (["interpolate", "run", "-n", "200"], "300 test rows make 150 pairs at most"),
        (["interpolate", "run", "--steps", "1"], "expected at least 2: both ends"),
        (["interpolate", "run", "--kind", "spherica"], "did you mean 'spherical'"),
        (["traverse", "run", "--dims", "2"], "no dimension 2; the latent has 0 to 1"),
        (["traverse", "run", "--row", "300"], "there is no test row 300; there are 0 to 299"),
        (["embed", "run", "-o", "codes.txt"], "ends in .npz or .csv"),
        (["embed", "run", "--split", "tst"], "did you mean 'test'"),
    ],
)
def test_misuse_is_one_line_and_writes_nothing(
    words: list[str],
    message: str,
    run: Run,
    wide: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = {"run": run.path, "wide": wide.path}[words[1]]
    with pytest.raises(SystemExit) as caught:
        call(words[0], path, *words[2:])
    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []

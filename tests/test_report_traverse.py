"""Codes set by hand, and what each dimension of a latent holds and does: by other ways to count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import vaekit
from vaekit import Run, VaekitError
from vaekit.cli.main import main
from vaekit.distributions import Gaussian
from vaekit.report import effect_table, effects, labeled, latent_of, settings, strongest, traverse
from vaekit.runs import fixed_at

SMALL = {"net": "mlp:hidden=16", "epochs": 30, "limit": 300, "report": False, "lr": 1e-2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vaekit.train("vae", latent=12, out=tmp_path_factory.mktemp("e") / "r", **SMALL)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vaekit.train("cvae", latent=3, out=tmp_path_factory.mktemp("e") / "c", **SMALL)


@pytest.fixture
def still(run: Run) -> Run:
    """Dimension 5 holds nothing, and dimension 7 does nothing."""
    found = vaekit.load(run.path)
    with torch.no_grad():
        out = found.model.posterior.net.output
        for row in (5, 5 + 12):
            out.weight[row], out.bias[row] = 0, 0
        found.model.likelihood.net.body[0].weight[:, 7] = 0
    return found


def call(*words: object) -> None:
    main([str(word) for word in words])


def images(path: Path) -> Tensor:
    with np.load(path) as arrays:
        return torch.from_numpy(arrays["images"])


def drawn(run: Run, n: int, seed: int, context: Tensor | None = None) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return run.vae.draw_prior(n, context)[0]


# Codes set by hand


def test_values_are_counted_in_deviations_of_the_prior() -> None:
    """Of a prior that is no N(0, 1), for all rows alike and for each row."""
    z = torch.randn(4, 2, 3, dtype=torch.float64)
    loc, scale = torch.randn(2, 3).double(), torch.rand(2, 3).double() + 0.1
    moved = fixed_at(z, {4: -1.5, 0: 2.0}, Gaussian(loc, scale.log(), event_dim=2))
    assert moved[:, 1, 1].tolist() == pytest.approx([float(loc[1, 1] - 1.5 * scale[1, 1])] * 4)
    assert moved[:, 0, 0].tolist() == pytest.approx([float(loc[0, 0] + 2 * scale[0, 0])] * 4)
    kept = torch.ones(2, 3, dtype=torch.bool)
    kept[1, 1] = kept[0, 0] = False
    assert torch.equal(moved[:, kept], z[:, kept])
    rows = torch.randn(4, 2, 3, dtype=torch.float64)
    each = fixed_at(z, {5: 3.0}, Gaussian(rows, scale.log().expand(4, 2, 3), event_dim=2))
    torch.testing.assert_close(each[:, 1, 2], rows[:, 1, 2] + 3 * scale[1, 2])


def test_samples_with_dimensions_set(run: Run, tmp_path: Path) -> None:
    """The same draws as without, but for two numbers of each."""
    out = tmp_path / "s.npz"
    call(
        "sample",
        run.path,
        "-n",
        5,
        "--seed",
        3,
        "--set",
        "3=+2",
        "--set",
        "0=-1",
        "--prior",
        "model",
        "-o",
        out,
        "--overwrite",
    )
    z = drawn(run, 5, 3)
    z[:, 3], z[:, 0] = 2.0, -1.0
    torch.testing.assert_close(images(out), run.decode(z))
    torch.testing.assert_close(
        run.sample(5, seed=3, fixed={3: 2, 0: -1}, prior="model"), run.decode(z)
    )
    assert (run.sample(5, seed=3, prior="model") - run.decode(z)).abs().amax((1, 2, 3)).min() > 1e-3
    call(
        "sample",
        run.path,
        "-n",
        5,
        "--seed",
        3,
        "--set",
        "3=2",
        "0=-1e0",
        "--prior",
        "model",
        "-o",
        out,
        "--overwrite",
    )
    torch.testing.assert_close(images(out), run.decode(z))


def test_samples_of_labels_with_dimensions_set(told: Run, tmp_path: Path) -> None:
    out = tmp_path / "s.npz"
    how = ("--set", "1=0.5", "--prior", "model", "-o", out, "--overwrite")
    call("sample", told.path, "-n", 20, *how)
    z = drawn(told, 2, 0, torch.eye(10)[:2])
    z[:, 1] = 0.5
    rows = [told.decode(z, torch.eye(10)[[label, label]]) for label in range(10)]
    torch.testing.assert_close(images(out), torch.cat(rows))
    call("sample", told.path, "-n", 2, "--label", 7, *how)
    torch.testing.assert_close(images(out), rows[7])


def test_a_traversal_around_an_edited_code(run: Run, told: Run, tmp_path: Path) -> None:
    out = tmp_path / "t.npz"
    ends = ("--dims", 2, "--steps", 2, "-o", out, "--overwrite")
    call("traverse", run.path, "--row", 4, "--set", "3=+2", *ends)
    z = run.encode(run.dataset().test.x(slice(4, 5))).repeat(2, 1)
    z[:, 3], z[:, 2] = 2.0, torch.tensor([-3.0, 3.0])
    torch.testing.assert_close(images(out), run.decode(z))
    call("traverse", told.path, "--label", 2, "--set", "0=-1", *ends)
    z = torch.tensor([[-1.0, 0.0, -3.0], [-1.0, 0.0, 3.0]])
    torch.testing.assert_close(images(out), told.decode(z, torch.eye(10)[[2, 2]]))


@pytest.mark.parametrize("command", ["sample", "traverse"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["12=1"], "there is no dimension 12; the latent has 0 to 11."),
        (["3=two"], "got --set 3=two; expected DIM=VALUE, as 3=+2 or 0=-1.5."),
        (["3=nan"], "got --set 3=nan; expected DIM=VALUE"),
        (["3"], "got --set 3; expected DIM=VALUE"),
        (["x=2"], "got --set x=2; expected DIM=VALUE"),
        (["3=1", "3=2"], "got --set 3=2; dimension 3 is set to 1 before."),
    ],
)
def test_what_cannot_be_set(
    command: str,
    words: list[str],
    message: str,
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    edits = [part for word in words for part in ("--set", word)]
    with pytest.raises(SystemExit) as caught:
        call(command, run.path, *edits, "-o", tmp_path / "x.png")
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dimension_below_none_is_refused() -> None:
    with pytest.raises(VaekitError, match="no dimension -1; the latent has 0 to 1"):
        fixed_at(torch.zeros(1, 2), settings(["-1=2"]), Gaussian(torch.zeros(2), torch.zeros(2)))


# What each dimension holds and does


def test_what_a_dimension_holds_is_its_closed_form(still: Run) -> None:
    """KL of Gaussians by the textbook's formula, over all test rows; variances by numpy."""
    data = still.dataset()
    latent = latent_of(still, data)
    with torch.no_grad():
        q = still.vae.posterior(data.test.x())
    mu, var = q.mean.double().numpy(), q.variance.double().numpy()
    kl = 0.5 * (mu**2 + var - 1 - np.log(var)).mean(0)
    assert latent.kl_per_dim == pytest.approx(kl.tolist(), abs=1e-6)
    assert latent.variance == pytest.approx(mu.var(0).tolist(), abs=1e-6)
    assert latent.kl_per_dim[5] == 0
    dead = [dim for dim in range(12) if mu[:, dim].var() <= 0.01]
    assert effect_table(latent, []).endswith(f"dead, of all: {' '.join(map(str, dead))}")
    assert 5 in dead
    assert len(dead) < 12
    assert strongest(latent) == np.argsort(-mu.var(0), kind="stable")[:10].tolist()
    assert sorted(strongest(latent, all_dims=True)) == list(range(12))
    assert strongest(latent, [7, 5]) == [7, 5]
    with pytest.raises(VaekitError, match="got `dims` and `all_dims`: take one of them"):
        strongest(latent, [7], all_dims=True)


def test_what_a_dimension_does_is_the_variance_of_its_row(still: Run) -> None:
    z = torch.randn(12)
    latent, values = latent_of(still, still.dataset()), torch.linspace(-3, 3, 6)
    found = effects(latent, [7, 2], traverse(still, z, [7, 2], values))
    codes = z.repeat(6, 1)
    codes[:, 2] = values
    by_hand = still.decode(codes).double().numpy().var(0).mean()
    assert found[0].output == 0
    assert found[1].output == pytest.approx(by_hand, rel=1e-6)
    assert by_hand > 1e-6


def test_the_table_says_what_was_measured(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("traverse", run.path, "--all", "-o", tmp_path / "t.npz")
    first, head, *rows, last, path = capsys.readouterr().out.splitlines()
    dims = [int(word) for word in first.split(":")[1].split()]
    assert sorted(dims) == list(range(12))
    assert head.split() == ["dim", "KL", "Var", "E[z|x]", "output", "variance"]
    made = images(tmp_path / "t.npz").unflatten(0, (12, 10)).double().numpy()
    kl = run.evaluate("bound:samples=1", "latent")["latent"]["kl_per_dim"]
    still = {int(word) for word in last.split(":")[1].split() if word != "none"}
    for place, (row, dim) in enumerate(zip(rows, dims, strict=True)):
        number, nats, variance, output, *word = row.split()
        assert int(number) == dim
        assert float(nats) == pytest.approx(kl[dim], abs=0.006)
        assert float(output) == pytest.approx(made[place].var(0).mean(), rel=6e-3)
        assert word == (["dead"] if dim in still else [])
        assert (float(variance) <= 0.01) == (dim in still)
    assert path.endswith("t.npz")


def test_a_point_has_no_kl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ae = vaekit.train("ae", latent=2, out=tmp_path / "ae", **SMALL)
    call("traverse", ae.path, "-o", tmp_path / "t.png")
    rows = capsys.readouterr().out.splitlines()[2:4]
    assert [row.split()[1] for row in rows] == ["-", "-"]


def test_the_image_has_a_label_beside_each_row(run: Run, tmp_path: Path) -> None:
    """Dark letters left of each band, white at its edge of 8; the images are the decoded ones."""
    call("traverse", run.path, "--dims", 3, 1, "--steps", 4, "-o", tmp_path / "t.png")
    with Image.open(tmp_path / "t.png") as image:
        pixels = np.asarray(image.convert("L")).astype(int)
    made = traverse(run, torch.zeros(12), [3, 1], torch.linspace(-3, 3, 4))
    side = (pixels.shape[0] - 8 - 18 - 8 - 12) // 2
    left = pixels.shape[1] - 8 - 4 * (side + 2) + 2
    assert pixels.shape[1] <= 830
    assert (pixels[8:26, left:] < 160).any(), "values stand above"
    for row in range(2):
        top = 8 + 18 + row * (side + 12)
        assert (pixels[top : top + side, :left] < 60).sum() > 100
        assert pixels[top : top + side, left - 8 : left].min() == 255
        for step in range(4):
            tile = pixels[top : top + side, left + step * (side + 2) :][:, :side]
            wanted = (made[row, step, 0].clamp(0, 1) * 255).numpy()
            assert np.abs(tile[:: side // 8, :: side // 8] - wanted).max() <= 1


def test_lines_of_a_name_are_kept() -> None:
    image = torch.rand(1, 1, 40, 40)
    one, two = (labeled([(name, image)], width=42) for name in ("a b", "a\nb"))
    assert one.width - two.width > 10

"""A colorizer through the loop, the report and the commands."""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vaekit as vk
from vaekit import Run, VaekitError
from vaekit.cli.main import main
from vaekit.report import pairs

PAGE = Path(__file__).resolve().parent.parent / "docs" / "color.md"
WEIGHTS = np.array([0.30, 0.59, 0.11])
SMALL: dict[str, Any] = {"net": ":channels=4,8", "batch_size": 16, "threads": 1}


def hue(path: Path, rows: int = 60) -> Path:
    """Images of one hue: their colors follow from their gray values."""
    rng = np.random.default_rng(0)
    value = rng.uniform(0.2, 1, (rows, 4, 4)).repeat(2, 1).repeat(2, 2)
    np.savez(path, images=(255 * value[..., None] * (1.0, 0.5, 0.2)).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A colorizer, and a VAE of the same images in gray."""
    home = tmp_path_factory.mktemp("color")
    data = hue(home / "hue.npz")
    vk.train("colorizer", data=data, out=home / "c", epochs=40, lr=3e-3, **SMALL)
    gray = {
        "gray": True,
        "net": "mlp:hidden=16",
        "latent": 2,
        "epochs": 2,
        "threads": 1,
        "report": False,
    }
    vk.train("vae", data=data, out=home / "g", **gray)
    return home


@pytest.fixture
def run(home: Path) -> Run:
    return vk.load(home / "c")


def test_it_resumes_bit_for_bit(home: Path, tmp_path: Path) -> None:
    options = {**SMALL, "data": home / "hue.npz", "report": False, "snapshots": 0, "ema": 0.9}
    whole = vk.train("colorizer", out=tmp_path / "a", epochs=4, **options)
    vk.train("colorizer", out=tmp_path / "b", epochs=1, **options)
    parts = vk.resume(tmp_path / "b", epochs=4, report=False)
    for one, other in zip(whole.model.state_dict().values(), parts.model.state_dict().values(),
                          strict=True):  # fmt: skip
        assert torch.equal(one, other)
    lines = [(tmp_path / n / "metrics.jsonl").read_text().splitlines() for n in "ab"]
    for one, other in zip(*lines, strict=True):
        assert json.loads(one)["validation"] == json.loads(other)["validation"]


def test_it_learns_a_hue(run: Run) -> None:
    """Where the color follows from the gray value; held-out images."""
    found = run.evaluate("color:noise=10", "reconstruction")["color"]
    data = run.dataset().test.x()
    gray = np.einsum("c,bchw->bhw", WEIGHTS, data.numpy())[:, None]
    error = np.square(data.numpy() - gray).mean()
    assert found["gray_psnr"] == pytest.approx(-10 * math.log10(error), abs=1e-4)
    assert found["gain"] > 15
    assert [one["levels"] for one in found["noise"]] == found["levels"] == [1.0, 10.0]
    assert found["noise"][1]["before"] == pytest.approx(20 * math.log10(25.5), abs=1.5)


def test_what_the_training_leaves(home: Path, run: Run) -> None:
    records = run.folder.records()
    assert records[-1]["latent"] is None
    assert records[-1]["weights"] == {"luminance": 1.0}
    validation = records[-1]["validation"]
    assert set(validation) == {"objective", "log_likelihood", "luminance"}
    parts = validation["log_likelihood"] - validation["luminance"]
    assert validation["objective"] == pytest.approx(parts, abs=1e-3)
    with np.load(home / "c/snapshots/000040.npz") as frame:
        assert set(frame) == {"reconstructions"}
    page = (home / "c/report.html").read_text()
    assert "PSNR against the true colors" in page
    assert "with noise of σ = 1 gray level<" in page
    assert "1 draw of the noise each" in page
    for word in ("ELBO", "Samples", "Codes", "latent"):
        assert word not in page


@pytest.mark.parametrize("reconstruct", [False, True])
def test_colors_for_images_of_a_run(home: Path, run: Run, tmp_path: Path, reconstruct: bool
                                       ) -> None:  # fmt: skip
    """As a grid of pairs, and as an array; the same as from Python."""
    words = ["colorize", str(home / "g"), "--colorizer", str(home / "c"), "-n", "5"]
    words += ["--reconstruct"] if reconstruct else []
    for name in ("x.png", "x.npz"):
        main([*words, "-o", str(tmp_path / name)])
    other = vk.load(home / "g")
    test = other.dataset().test
    rows = vk.data.spread(len(test), 5)
    gray = other.reconstruct(test.x(rows)) if reconstruct else other.sample(5)
    made = vk.colorize(run, gray)
    with np.load(tmp_path / "x.npz") as arrays:
        np.testing.assert_allclose(arrays["images"], made.numpy(), atol=1e-6)
    expected = run.model.colorize(gray.clamp(0, 1)).clamp(0, 1)
    torch.testing.assert_close(made, expected)
    image = np.asarray(Image.open(tmp_path / "x.png"))
    np.testing.assert_array_equal(
        image, np.asarray(pairs({"gray": gray.expand(-1, 3, -1, -1), "colored": made}))
    )


def test_colors_for_what_another_command_wrote(home: Path, run: Run, tmp_path: Path) -> None:
    """Edited images: a walk through the latent."""
    walk = tmp_path / "walk.npz"
    main(["traverse", str(home / "g"), "--steps", "4", "-o", str(walk)])
    made = tmp_path / "made.npz"
    main(["colorize", str(walk), "--colorizer", str(home / "c"), "-o", str(made)])
    with np.load(walk) as gray, np.load(made) as found:
        expected = vk.colorize(run, torch.from_numpy(gray["images"]))
        np.testing.assert_allclose(found["images"], expected, atol=1e-6)
        assert len(expected) == 8
        whole = (255 * gray["images"].clip(0, 1)).round().astype(np.uint8)
    np.savez(walk, images=whole)
    main(
        [
            "colorize",
            str(walk),
            "--colorizer",
            str(home / "c"),
            "-n",
            "3",
            "-o",
            str(few := tmp_path / "few.npz"),
        ]
    )
    with np.load(few) as found:
        assert len(found["images"]) == 3
        np.testing.assert_allclose(found["images"], expected[:3], atol=0.02)


def test_pixels_of_another_range_are_the_same_colors(home: Path, tmp_path: Path) -> None:
    options = {**SMALL, "data": home / "hue.npz", "range": "-1,1", "report": False}
    run = vk.train("colorizer", out=tmp_path / "r", epochs=40, lr=3e-3, **options)
    value = torch.rand(4, 1, 2, 2).add(0.3).div(1.3).repeat_interleave(4, 2).repeat_interleave(4, 3)
    true = value * torch.tensor([1.0, 0.5, 0.2]).view(3, 1, 1)
    made = vk.colorize(run, vk.luminance(true))
    assert (made - true).square().mean().sqrt() < 0.06
    found = run.evaluate()["color"]
    assert found["gain"] > 12
    assert found["noise"][0]["before"] == pytest.approx(20 * math.log10(255), abs=0.5)


REFUSED = [
    *[
        (f"{command} c", "c is a colorizer: it has no latent, and makes nothing from nothing")
        for command in ("sample", "sample --set 0=1", "interpolate -n 1", "traverse", "manifold",
                        "encode", "overlap", "scatter")
    ],
    *[
        (f"evaluate {metric} c", f"so there is no {metric} to measure")
        for metric in ("latent", "nll", "ais", "agreement")
    ],
    ("colorize c --colorizer c", "take `vaekit colorize RUN --colorizer c`"),
    ("colorize c --reconstruct --colorizer c", "it has no latent"),
    ("colorize g --colorizer g", "g is no colorizer but of the recipe vae"),
    ("colorize g --colorizer c -n 0", "got -n 0"),
    ("colorize g --colorizer c --columns 0", "got --columns 0"),
    ("colorize g --colorizer c --label 3", "this run is not conditioned on labels"),
    ("colorize g --colorizer c --label 3 --reconstruct", "--label is of samples"),
    ("colorize g --colorizer c -o x.jpg", ".png or .npz"),
    ("colorize hue.npz --colorizer c", "got images of shape (8, 8, 3) to color; expected gray"),
    ("colorize small.npz --colorizer c", "c colors images of 8 x 8; these are 6 x 6"),
    ("colorize nan.npz --colorizer c", "numbers that are not finite"),
    ("colorize words.npz --colorizer c", "words.npz holds images of type"),
    ("colorize broken.npz --colorizer c", "broken.npz holds no images to color"),
    ("colorize objects.npz --colorizer c", "objects.npz holds no images to color"),
    ("colorize none.npz --colorizer c", "there is no file none.npz"),
    ("colorize small.npz --colorizer c --reconstruct", "got --reconstruct, which is for a run"),
    ("evaluate color:noise=-1 c", "noise"),
    ("evaluate g color", "so there is no color to measure"),
    ("animate c --what samples", "c has no prior to draw from"),
    ("compare c g", ", and a comparison is of models with a latent"),
    ("train colorizer --data hue.npz --gray", "leave --gray"),
    ("train colorizer --data hue.npz --net :hidden=8", "dense"),
    ("train colorizer --data hue.npz --likelihood :scale=free", "takes a Gaussian of one scale"),
    ("train colorizer --data hue.npz --likelihood laplace", "takes a Gaussian of one scale"),
    ("train colorizer --data hue.npz --likelihood :mean=sigmoid", "leave mean=identity"),
    ("train colorizer --data hue.npz --model :noise=-1", "noise"),
    ("sweep colorizer --data hue.npz --grid lr=0.1,0.2", "colorizer has none"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "said"), REFUSED)
def test_a_mistake_is_one_line(
    command: str, said: str, home: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(home)
    np.savez("small.npz", images=np.zeros((3, 1, 6, 6), np.float32))
    np.savez("nan.npz", images=np.full((3, 1, 8, 8), np.nan, np.float32))
    np.savez("words.npz", images=np.full((3, 1, 8, 8), "x"))
    np.savez("objects.npz", images=np.array([{}]))
    Path("broken.npz").write_bytes(Path("small.npz").read_bytes()[:90])
    before = sorted(home.rglob("*"))
    name, *words = command.split()
    if words[-1] == "c" and name not in ("colorize", "compare"):
        words = ["c", *words[:-1]]
    with pytest.raises(SystemExit) as left:
        main([name, *words])
    err = capsys.readouterr().err
    assert left.value.code == 2
    assert err.count("\n") == 1
    assert said in err
    assert sorted(home.rglob("*")) == before


def test_python_callers_are_refused_alike(run: Run) -> None:
    for call in (lambda: run.sample(3), lambda: run.decode(torch.zeros(1, 2)),
                 lambda: run.encode(torch.zeros(1, 3, 8, 8))):  # fmt: skip
        with pytest.raises(VaekitError, match="is a colorizer"):
            call()
    with pytest.raises(VaekitError, match=r"got images of shape \(8, 8\)"):
        vk.colorize(run, torch.rand(3, 8, 8))


def test_its_numbers_are_printed_and_kept(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([], ["color:noise=10"], ["color:noise=10"]):
        main(["evaluate", str(home / "c"), *words])
    out = capsys.readouterr().out
    assert "elbo" not in out
    assert "10 draws of the noise, seed 0" in out
    assert out.count("decibels, luminance") == 5
    kept = json.loads((home / "c/evaluation.json").read_text())
    assert [one["color"]["levels"] for one in kept] == [[1.0], [1.0, 10.0]]
    main(["reconstruct", str(home / "c"), "-o", str(tmp_path / "r.png")])
    main(["animate", str(home / "c"), "-o", str(tmp_path / "f.gif")])
    main(["runs", str(home)])


def test_its_page_runs(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block, _ = re.findall(r"```\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for line in block.splitlines():
        words = shlex.split(line, comments=True)[1:]
        words = [{"faces.zip": str(home / "hue.npz"), "32": "8"}.get(word, word) for word in words]
        quick = ["--epochs", "1", "--no-report", "--quiet"] if words[0] == "train" else []
        main([*words, *quick])
    for name in ("colored", "test", "walk"):
        assert (tmp_path / f"{name}.png").is_file()

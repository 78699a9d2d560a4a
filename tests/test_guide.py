"""The pages of docs/guide run as they stand there, and show what they print."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaekit.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
GUIDE = ROOT / "docs" / "guide"
NOTEBOOK = GUIDE / "first-vae.ipynb"
PAGES = sorted(GUIDE.glob("*.md"))
IMAGES = sorted((GUIDE / "images").iterdir())
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")

# What makes the commands of a page small; the rest of each line runs as it stands there.
SMALLER = {
    r"^vaekit reproduce \S+": "vaekit train vae --data mnist --latent 2 --epochs 1",
    r"(--data|vaekit data) mnist\b": r"\1 small.npz",
    r"(--config examples/tutorials/(conv|deep|first|text)\S+)": r"\1 --data small.npz",
    r"--epochs \d+[\d,]*": "--epochs 1",
    r"\b(samples|steps|images)=\d+": r"\1=2",
    r"--seeds \d+": "--seeds 2",
    r"--validation \d{2,}": "--validation 20",
    r"--limit \d+": "--limit 50",
    r"--row \d+": "--row 0",
    r"--rows \d+ \d+": "--rows 0 1",
    r"channels=16,32,64,128": "channels=4,4,4,4",
    r"(--grid [^,\s]+,[^,\s]+)\S*": r"\1",  # two values of an option
    r"(tutorials/colorizer\.yaml)(?! --net)": r"\1 --net :hidden=8",  # 90 million weights
    r"--net :gain=1": "--net :gain=1:hidden=8",
    r"--prior fitted": "--prior model",  # 50 codes are too few to fit to
    r"(--config examples/tutorials/\S+)(?!.*--epochs)": r"\1 --epochs 1",
    r"(--config examples/tutorials/\S+)(?!.*--limit)": r"\1 --limit 50",
    r"(--data avatars)(?!.*--limit)": r"\1 --limit 50",
}


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def _commands(page: Path) -> list[str]:
    """The lines of ```sh blocks that start with vaekit; those that end in a backslash go on."""
    lines = "".join(_blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("vaekit ")]


def _smaller(line: str) -> str:
    for pattern, small in SMALLER.items():
        line = re.sub(pattern, small, line)
    trains = line.startswith("vaekit train ") and "--resume" not in line
    return line.replace(" --", " --threads 1 --", 1) if trains else line


def _programs(page: Path) -> Iterator[tuple[str, str | None]]:
    """Every ```python block, and the ```text that stands under it, if any."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    for (language, code), (under, shown) in zip(fences, [*fences[1:], ("", "")], strict=True):
        if language == "python":
            yield code, shown if under == "text" else None


def differences(shown: str, printed: str, units: float = 1.0) -> list[str]:
    """Where a text differs in its words, or a number by more than so many of its last digit."""
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (shown, printed)]
    if words[0] != words[1]:
        return [f"the page has {words[0]!r}", f"its code prints {words[1]!r}"]
    both = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return [f"{a}: {b}" for a, b in both if abs(float(a) - float(b)) > 1.001 * units * _unit(a)]


def _unit(number: str) -> float:
    """One in the last digit that is shown."""
    mantissa, _, exponent = number.partition("e")
    return float(10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2])))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, and its data: digits as large as MNIST's, signed too; colors."""
    from vaekit.data import load

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    digits, arrays = load("digits"), {}
    for start, rows, count in (("", digits.train, 200), ("test_", digits.test, 60)):
        large = torch.nn.functional.interpolate(rows.images[:count].float(), (28, 28))
        arrays[f"{start}images"] = large[:, 0].to(torch.uint8).numpy()
        arrays[f"{start}labels"] = rows.labels[:count].numpy()  # type: ignore[index]
    np.savez(tmp_path / "small.npz", **arrays)
    signed = arrays["images"].astype(np.float32) / 127.5 - 1
    np.save(tmp_path / "signed.npy", signed)
    np.save(tmp_path / "rows.npy", signed.reshape(len(signed), -1))
    _colors(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


def _colors(place: Path, count: int = 60) -> None:
    """Under the names that pages call them by: a file of arrays, and two of JPEGs."""
    import io
    import zipfile

    from PIL import Image

    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(each) for each in rng.integers(0, 256, (count, 4, 4, 3), np.uint8)]
    smooth = [each.resize((64, 64), Image.Resampling.BICUBIC) for each in coarse]
    np.savez(place / "noto_emoji_64.npz", images=np.stack([np.asarray(each) for each in smooth]))
    for name in ("lfw_64.zip", "anime_faces_64.zip"):
        with zipfile.ZipFile(place / name, "w") as file:
            for number, each in enumerate(smooth):
                stream = io.BytesIO()
                each.save(stream, "jpeg")
                file.writestr(f"p{number // 2:04}_{number % 2:04}.jpg", stream.getvalue())


@pytest.mark.parametrize("page", [p for p in PAGES if _blocks(p, "python")], ids=lambda p: p.stem)
@pytest.mark.slow
def test_its_python_prints_what_it_shows(
    page: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, object] = {}
    for code, shown in _programs(page):
        exec(code, names)
        printed = capsys.readouterr().out
        assert shown is None or differences(shown, printed) == [], printed


@pytest.mark.parametrize("page", [p for p in PAGES if _commands(p)], ids=lambda p: p.stem)
@pytest.mark.slow
def test_its_commands_run(page: Path, here: Path) -> None:
    for line in map(_smaller, _commands(page)):
        words = shlex.split(line, comments=True)[1:]
        if "# refused" in line:
            with pytest.raises(SystemExit, match="2"):
                main(words)
            continue
        main(words)
        for file in re.findall(r" (?:-o|--out)[ =](\S+)", line.partition("#")[0]):
            assert (here / file).exists(), line


def test_every_picture_is_shown_and_light() -> None:
    shown = {
        (page.parent / link).resolve()
        for page in PAGES
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text())
    }
    assert shown == set(IMAGES)
    assert [image.name for image in IMAGES if image.stat().st_size > 300_000] == []


@pytest.mark.slow
def test_the_notebook_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipykernel")
    pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    shown = nbformat.read(NOTEBOOK, as_version=4)
    fresh = _tool("notebook").executed(NOTEBOOK, tmp_path)
    assert NOTEBOOK.stat().st_size < 300_000
    for before, after in zip(_outputs(shown), _outputs(fresh), strict=True):
        # half a nat: it trains in float32, which rounds differently from machine to machine
        assert differences(before, after, units=5) == []


def _outputs(notebook: Any) -> list[str]:
    """What each cell shows in words; a picture by its type."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [o.text if o.output_type == "stream" else " ".join(sorted(o.data)) for o in outputs]


def _tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_a_page_that_rots_is_seen() -> None:
    assert differences("KL 2.00 of 3e-05", "KL 2.01  of\n4e-05\n") == []
    assert differences("KL 2.00", "KL 2.02") == ["2.00: 2.02"]
    assert differences("KL 2.00 nats", "KL 2.00 bits") != []
    assert differences("1 2", "1") != []


def test_commands_become_small() -> None:
    line = "vaekit train vae --data mnist --epochs 200 --batch-size 8192 --out runs/a"
    small = (
        "vaekit train vae --threads 1 --data small.npz --epochs 1 --batch-size 8192 --out runs/a"
    )
    assert _smaller(line) == small
    assert _smaller("vaekit reproduce tutorial-conv --seed 2 --out runs/a") == (
        "vaekit train vae --threads 1 --data small.npz --latent 2 --epochs 1 --seed 2 --out runs/a"
    )
    assert _smaller("vaekit evaluate runs/a nll:samples=5000 bound:samples=10") == (
        "vaekit evaluate runs/a nll:samples=2 bound:samples=2"
    )
    assert _smaller("vaekit train --config examples/tutorials/colorizer.yaml --out runs/a") == (
        "vaekit train --threads 1 --config examples/tutorials/colorizer.yaml --limit 50 "
        "--epochs 1 --net :hidden=8 --out runs/a"
    )
    assert _smaller("vaekit sweep vae --grid net.init=he,torch,glorot --out runs/a") == (
        "vaekit sweep vae --grid net.init=he,torch --out runs/a"
    )

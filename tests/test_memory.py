"""What does not fit into the memory is refused before it is taken, with what would fit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit import training
from vaekit.cli.main import main
from vaekit.runs import affordable

ROWS = np.random.default_rng(0).integers(0, 255, (64, 8, 8), np.uint8)
SMALL: Any = {"latent": 2, "epochs": 1, "threads": 1, "report": False, "net": "mlp:hidden=64"}
ALLOCATOR = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 3221225472 bytes."


def let(monkeypatch: pytest.MonkeyPatch, folder: Path, kibibytes: int) -> None:
    """Let the system say that so much memory is free."""
    (folder / "meminfo").write_text(f"MemAvailable: {kibibytes} kB\n")
    monkeypatch.setattr("vaekit.data._rows.MEMINFO", folder / "meminfo")


def test_a_step_that_does_not_fit_is_refused_and_the_largest_that_does_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    let(monkeypatch, tmp_path, 190)
    with pytest.raises(
        vk.VaekitError, match=r"a step of 52 rows would take about 236032 bytes"
    ) as error:
        vk.train("vae", data=ROWS, out=out, **SMALL)
    assert not out.exists()
    (most,) = re.findall(r"`batch_size=(\d+)` at most", str(error.value))
    assert 1 < int(most) < 52
    run = vk.train("vae", data=ROWS, out=out, batch_size=int(most), **SMALL)
    assert run.step == -(-52 // int(most))
    with pytest.raises(vk.VaekitError, match="a step of"):
        vk.train("vae", data=ROWS, out=tmp_path / "b", batch_size=int(most) + 1, **SMALL)


def test_the_estimate_follows_the_rows_and_the_draws() -> None:
    """In float32: the input of each layer, the noise and the outputs, by hand within a factor."""
    spec = vk.DataSpec("t", (100,), "binary", rows=64)

    def row(draws: int) -> int:
        made = vk.build("iwae", spec, net="mlp:hidden=50", objective=f"iwae:samples={draws}")
        return vk.runs.StepMemory.of(made).row

    layers = 4 * (50 + 50)  # the activation of each half, before and after gelu
    assert layers < row(1) < 8 * (layers + 4 * 100)
    assert row(1001) - row(1) == pytest.approx(1000 * (row(2) - row(1)), rel=0.01)


@pytest.mark.parametrize(
    "error", [RuntimeError(ALLOCATOR), torch.OutOfMemoryError("Tried to allocate 3.00 GiB.")]
)
def test_a_step_that_runs_out_all_the_same_says_what_it_asked_for(
    error: RuntimeError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(training, "fit", fail)
    with pytest.raises(
        vk.VaekitError, match=r"out of memory, at 3\.0+ GiB more: take `batch_size=8`"
    ):
        vk.train("vae", data=ROWS, out=tmp_path / "run", batch_size=16, **SMALL)


def test_no_command_takes_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", ROWS)
    run = vk.train("vae", data="rows.npy", out="run", **SMALL)
    let(monkeypatch, tmp_path, 1 << 20)
    capsys.readouterr()
    for words in (
        "sample run -n 100000000",
        "traverse run --steps 10000000",
        "manifold run --side 3000",
        "interpolate run --steps 10000000",
    ):
        with pytest.raises(SystemExit) as left:
            main(words.split())
        assert left.value.code == 2
        said = capsys.readouterr().err
        assert re.search(r"would take .* GiB; 1\.0 GiB are free", said), said
        assert said.count("\n") == 1
    with pytest.raises(vk.VaekitError, match="at most 2,033,601 at a time"):
        affordable(run, 10**8)
    with pytest.raises(vk.VaekitError, match=r"would take .* GiB; 1\.0 GiB are free"):
        run.evaluate("ais:steps=100000000", limit=16)
    for metric in ("bound", "aggregate", "nll"):
        with pytest.raises(vk.VaekitError, match=r"samples=10000000`; expected at most 1,000,000"):
            run.evaluate(f"{metric}:samples=10000000", limit=16)


def test_memory_that_runs_out_elsewhere_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = vk.train("vae", data=ROWS, out=tmp_path / "run", **SMALL)

    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError("Unable to allocate 26.8 GiB for an array")

    monkeypatch.setattr(run.model, "encode", fail)
    with pytest.raises(vk.VaekitError, match=r"memory ran out, at 26\.8 GiB more"):
        run.encode(torch.rand(2, 1, 8, 8))
    monkeypatch.setattr("vaekit.report.sample_images", fail)
    with pytest.raises(SystemExit) as left:
        main(["sample", str(tmp_path / "run"), "-o", str(tmp_path / "a.png")])
    assert left.value.code == 2
    said = "vaekit: memory ran out, at 26.8 GiB more: ask for less at a time.\n"
    assert capsys.readouterr().err.endswith(said)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs ulimit -v")
@pytest.mark.parametrize("command", ["train vae --data digits", "data digits", "data"])
def test_memory_that_libraries_do_not_have_is_a_line(command: str) -> None:
    """Without it they hang, end the process or are a page of Python, by how much there is."""
    words = f"ulimit -v 700000; exec {sys.executable} -m vaekit {command}"
    done = subprocess.run(words, shell=True, capture_output=True, text=True, timeout=60)
    said = "vaekit: torch takes 900.0 MiB of memory, and there is less: give it more.\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "at some more: ask for less at a time"),
        (ImportError("x.so: failed to map segment from shared object"), "as a library was loaded"),
    ],
)
def test_memory_that_runs_out_in_an_import_is_a_line(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Any) -> None:
        raise error

    monkeypatch.setattr(sys.modules["vaekit.cli.main"], "_run", fail)
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert capsys.readouterr().err.startswith(f"vaekit: memory ran out, {said}")


def test_more_threads_than_cores_are_not_taken(tmp_path: Path) -> None:
    from vaekit._torchutil import cores

    run = vk.train("vae", data=ROWS, out=tmp_path / "run", **SMALL | {"threads": 1000})
    written = run.folder.read_json("run")
    assert written["environment"]["threads"] == cores()
    assert f"got `threads=1000`; there are {cores()} cores" in written["notes"][0]


@pytest.mark.parametrize("fps", ["1e-9", "0.009", "50.1"])
def test_films_have_a_pace_that_a_gif_holds(
    fps: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vk.train("vae", data=ROWS, out=tmp_path / "run", **SMALL)
    with pytest.raises(SystemExit):
        main(["animate", str(tmp_path / "run"), "-o", str(tmp_path / "a.gif"), "--fps", fps])
    assert "from 0.01 to 50" in capsys.readouterr().err
    main(["animate", str(tmp_path / "run"), "-o", str(tmp_path / "a.gif"), "--fps", "0.01"])


def test_images_are_not_scaled_beyond_the_memory(tmp_path: Path) -> None:
    for size, words in ((100_000, "expected a side of 1 to 16384"), (16_384, "would take")):
        with pytest.raises(vk.VaekitError, match=words):
            vk.train("vae", data="digits", size=size, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()

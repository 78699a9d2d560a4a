"""What the caller has set in torch, and where it stands, changes no result of vaekit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit._borders import surroundings
from vaekit.cli.main import main

SMALL: Any = {"fast": "off"} | {  # by autograd
    "latent": 2,
    "epochs": 1,
    "threads": 1,
    "report": False,
    "net": "mlp:hidden=8",
}
ROWS = np.random.default_rng(0).integers(0, 255, (64, 8, 8), np.uint8)


@contextmanager
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def walk(folder: Path) -> list[Any]:
    """Train, load, encode, decode, sample, evaluate and save."""
    trained = vk.train("vae", data=ROWS, out=folder, **SMALL)
    run = vk.load(folder, data=ROWS)
    codes = run.encode(torch.full((3, 1, 8, 8), 0.5, dtype=torch.float32, device="cpu"))
    found = [codes, run.decode(codes), run.sample(3), run.reconstruct(ROWS[:3]), trained.sample(2)]
    measured = run.evaluate(limit=8)
    run.save(folder.with_suffix(".vaekit"))
    return [*found, measured["elbo"], len(run.layers()), run.latent_shapes, run.px.mean]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return walk(tmp_path_factory.mktemp("plain") / "run")


@pytest.mark.parametrize(
    "setting",
    [
        float64,
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.device("meta"),
        lambda: torch.autocast("cpu", torch.bfloat16),
    ],
    ids=["float64", "no_grad", "inference", "meta", "autocast"],
)
def test_settings_of_torch_change_nothing_and_stay(
    plain: list[Any], tmp_path: Path, setting: Callable[[], AbstractContextManager[Any]]
) -> None:
    def now() -> tuple[Any, ...]:
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        return *modes, torch.get_default_dtype(), torch.get_default_device()

    with setting():
        before = now()
        found = walk(tmp_path / "run")
        assert now() == before
    for got, expected in zip(found, plain, strict=True):
        if isinstance(got, torch.Tensor):
            assert (got.dtype, got.device.type) == (torch.float32, "cpu")
            assert torch.equal(got, expected)
        else:
            assert got == expected


def test_tensors_made_in_inference_mode_can_be_trained_on(tmp_path: Path) -> None:
    with torch.inference_mode():
        rows = torch.from_numpy(ROWS).unsqueeze(1) / 255
        run = vk.train("vae", data=rows, out=tmp_path / "run", **SMALL)
        assert run.encode(rows[:2]).shape == (2, 2)


def test_a_thread_that_leaves_first_changes_no_other(tmp_path: Path) -> None:
    """The default type is of the whole process: it comes back with the last one."""
    inside, leave, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        with surroundings():
            inside.set()
            leave.wait(10)
            seen.append(torch.get_default_dtype())

    with float64():
        thread = threading.Thread(target=other)
        with surroundings():
            thread.start()
            inside.wait(10)
        leave.set()
        thread.join()
        assert seen == [torch.float32]
        assert torch.get_default_dtype() == torch.float64


def test_a_run_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both were named by paths from the folder before: the run's, and its data's."""
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "20")
    np.save("rows.npy", ROWS)
    trained = vk.train("vae", data="rows.npy", out="run", **SMALL)
    loaded = vk.load("run")
    saved = vk.load(loaded.save("saved"))
    expected = loaded.evaluate(limit=8)
    monkeypatch.chdir("below")
    assert loaded.evaluate(limit=8)["elbo"] == expected["elbo"]
    assert trained.evaluate(limit=8)["elbo"] == expected["elbo"]
    assert torch.equal(saved.sample(2), loaded.sample(2))
    main(["runs", str(tmp_path)])
    loaded.save("again")
    assert (tmp_path / "below" / "again").is_dir()


def test_a_loop_of_coroutines_trains_and_encodes(plain: list[Any], tmp_path: Path) -> None:
    async def work() -> Any:
        run = vk.train("vae", data=ROWS, out=tmp_path / "a", **SMALL)
        x = torch.full((3, 1, 8, 8), 0.5)
        other = asyncio.to_thread(vk.train, "vae", data=ROWS, out=tmp_path / "b", **SMALL)
        codes = await asyncio.gather(*(asyncio.to_thread(run.encode, x) for _ in range(4)))
        return [*codes, (await other).encode(x)]

    assert all(torch.equal(codes, plain[0]) for codes in asyncio.run(work()))


@pytest.mark.parametrize("words", ["--help", "train --help", "parts", "data"])
def test_a_terminal_of_twenty_columns(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    main(words.split())
    assert capsys.readouterr().out.count("\n") > 10

"""The theory figures are those that tools/theory.py draws, and what they show is so."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from vaekit.testing import LinearGaussian

TOOLS = Path(__file__).resolve().parent.parent / "tools"
NAMES = ("bound", "kl", "mixture", "network", "reparameterization", "trace")


def _tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


@pytest.fixture(scope="module")
def theory() -> Any:
    return _tool("theory")


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_what_the_tool_draws(theory: Any, name: str) -> None:
    assert set(theory.FIGURES) == set(NAMES)
    file = theory.IMAGES / f"theory-{name}.svg"
    drawn = theory.FIGURES[name]().svg()
    shown = file.read_text()
    assert _words(drawn) == _words(shown), "run python tools/theory.py"
    places = [np.array(_numbers(text)) for text in (drawn, shown)]
    np.testing.assert_allclose(*places, atol=0.11, err_msg="run python tools/theory.py")


def _words(svg: str) -> str:
    return re.sub(r"-?\d+(?:\.\d+)?", "#", svg)


def _numbers(svg: str) -> list[float]:
    """All numbers: a curve may round otherwise on another machine."""
    return [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?", svg)]


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_has_text_two_themes_and_a_ground_of_its_own(theory: Any, name: str) -> None:
    svg = (theory.IMAGES / f"theory-{name}.svg").read_text()
    root = ElementTree.fromstring(svg)
    assert root.get("width") == "830"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}text"))) > 8
    assert "prefers-color-scheme:dark" in svg
    assert 'class="ground"' in svg
    kinds = set(" ".join(re.findall(r'class="([^"]+)"', svg)).split())
    assert {kind for kind in kinds if f".{kind}" not in svg} <= {"dot"}, "a class without a style"


def test_the_parts_of_the_mixture_sum_to_its_density(theory: Any) -> None:
    _, x, parts, whole = theory.mixture()
    assert whole.sum() * (x[1] - x[0]) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(parts.sum(0), whole, atol=0.02 * whole.max())


def test_the_bars_are_a_bound_and_its_gap(theory: Any) -> None:
    numbers = theory.stored()
    for rows in (numbers["both"], numbers["encoder"]):
        assert all(log_p > elbo for _, log_p, elbo in rows)
    both, alone = numbers["both"], numbers["encoder"]
    assert [log_p for _, log_p, _ in alone] == [both[-1][1]] * len(alone), "no q in log p(x)"
    elbos = [elbo for _, _, elbo in alone]
    assert elbos == sorted(elbos)


def test_quadrature_agrees_with_the_linear_oracle() -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 3, dtype=torch.float64)
    oracle = LinearGaussian.fit(x, latent=2)
    log_p, elbo = _tool("theory_measured").quadrature(oracle.vae(), x, ends=7.0)
    torch.testing.assert_close(log_p, oracle.log_prob(x))
    torch.testing.assert_close(elbo, log_p)  # q is the posterior


def test_training_measures_each_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = _tool("theory_measured").measured(epochs=(0, 1), rows=3, points=81)
    assert [epoch for epoch, _, _ in numbers["both"]] == [0, 1]
    assert numbers["both"][1][1] == pytest.approx(numbers["encoder"][0][1], abs=1e-3)
    assert numbers["both"][1][2] > numbers["both"][0][2]
    assert len(capsys.readouterr().out.splitlines()) == 6

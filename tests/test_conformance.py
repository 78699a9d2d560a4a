"""The page of what proves each part: every row has its test, and every formula its row."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from vaekit import distributions, registry
from vaekit.training import parse

ROOT = Path(__file__).resolve().parent.parent
METRICS = {  # how the row of a metric begins
    "aggregate": "mutual information",
    "agreement": "metric agreement, share",
    "ais": "metric ais, mean",
    "beta-vae-score": "metric beta-vae-score",
    "bound": "metric bound of a conv net",
    "codes": "metric codes, perplexity",
    "color": "metric color, psnr",
    "dci": "metric dci, disentanglement",
    "factor-vae-score": "metric factor-vae-score",
    "frechet": "metric frechet, distance",
    "gradient-noise": "gradient variance, closed KL",
    "kid": "metric kid, distance",
    "latent": "evaluate.latent: KL per dimension",
    "mig": "metric mig",
    "modularity": "metric modularity",
    "nll": "metric nll, mean",
    "pca": "metric pca, log-density",
    "prdc": "metric prdc, precision",
    "reconstruction": "SSIM",
    "sap": "metric sap, svm",
    "synthetic": "metric synthetic, marginals",
}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("conformance", ROOT / "tools/conformance.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_each_row_has_its_test_and_each_test_its_row(tool: ModuleType) -> None:
    rows, tests = tool.of_page(tool.PAGE.read_text()), tool.proving()
    assert len(rows) > 200
    assert {row.test for row in rows} == {*tests}
    assert all(row.error <= row.limit for row in rows)


def test_each_density_objective_metric_and_schedule_has_a_row(tool: ModuleType) -> None:
    parts = [row.part for row in tool.of_page(tool.PAGE.read_text())]
    known = {name: getattr(distributions, name) for name in distributions.__all__}
    base, point = distributions.Distribution, distributions.Delta
    wanted = [
        name
        for name, each in known.items()
        if inspect.isclass(each) and issubclass(each, base) and each not in (base, point)
    ]
    index = registry._index()
    objectives = {name: f"objective {name}" for name in index["objective"]}
    wanted += [*{**objectives, "coloring": "color objective"}.values()]
    wanted += [f"likelihood {name}, printed bound" for name in index["likelihood"]]
    wanted += [METRICS[name] for name in index["metric"]]
    wanted += [f"schedule {name}" for name in parse.__globals__["KINDS"]]
    assert len(wanted) > 30
    assert [name for name in wanted if not any(part.startswith(name) for part in parts)] == []


def test_rows_of_some_files_are_merged_with_the_others(tool: ModuleType) -> None:
    """Rows of the files that ran are new, those of gone tests go, the worst of two stays."""
    row, x, y = tool.Row, "test_x.py::", "test_y.py::"
    old = [
        row("one", "sums", 1e-16, 1e-9, f"{x}test_a"),
        row("renamed", "sums", 1e-16, 1e-9, f"{x}test_b"),
        row("of the same name", "sums", 2e-16, 1e-9, f"{y}test_a"),
        row("KL(q || p)", "sums", 3e-16, 1e-9, f"{y}test_c"),
        row("gone", "sums", 1e-16, 1e-9, f"{y}test_gone"),
    ]
    text = tool.HEAD + "".join(each.line() for each in old)
    assert tool.of_page(text) == old
    new = [row("one", "sums", error, 1e-9, f"{x}test_a") for error in (2e-12, 5e-12, 4e-12)]
    tests = {f"{x}test_a", f"{x}test_b", f"{y}test_a", f"{y}test_c"}
    assert tool.merged(tool.of_page(text), new, tests) == [new[1], *old[2:4]]

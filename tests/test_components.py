"""Principal components beside a model: their error, and the density of probabilistic PCA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves
from scipy.stats import multivariate_normal

import vaekit
from vaekit.evaluate import Components, chosen, measured
from vaekit.testing import LinearGaussian, seeded


def rows(n: int, size: int) -> torch.Tensor:
    with seeded():
        return torch.randn(n, 4).double() @ torch.randn(4, size).double() + torch.randn(n, size) / 3


@pytest.mark.parametrize(("n", "size"), [(200, 7), (40, 60)])  # of fewer rows than columns, too
def test_the_density_is_that_of_the_gaussian_that_it_says_it_is(
    n: int, size: int, proves: Proves
) -> None:
    x = rows(n, size)
    found = Components.fit(x, 3)
    values, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    rest = values[: size - 3].clip(0).mean()
    whole = (vectors[:, -3:] * (values[-3:] - rest)) @ vectors[:, -3:].T + rest * np.eye(size)
    exact = multivariate_normal(x.numpy().mean(0), whole).logpdf(x.numpy())
    proves("metric pca, log-density", "scipy's normal", found.log_prob(x), exact, limit=1e-9)
    apart = x.numpy() - x.numpy().mean(0)
    back = apart @ vectors[:, -3:] @ vectors[:, -3:].T + x.numpy().mean(0)
    proves("metric pca, rows again", "numpy's eigenvectors", found.reconstruct(x), back, limit=1e-9)


def test_it_is_the_linear_gaussian_model_of_most_likelihood() -> None:
    x = rows(300, 6)
    found = Components.fit(x, 2)
    exact = LinearGaussian.fit(x, latent=2).log_prob(x)
    torch.testing.assert_close(found.log_prob(x), exact, rtol=1e-10, atol=1e-10)


def test_a_table_has_its_error_and_density_in_the_units_of_the_file(
    tmp_path: Path, proves: Proves
) -> None:
    x = rows(400, 5).numpy() * [1, 10, 100, 0.1, 1] + 3
    np.savetxt(tmp_path / "t.csv", x, delimiter=",", header="a,b,c,d,e", comments="")
    run = vaekit.train(
        "vae", data=str(tmp_path / "t.csv"), latent=2, epochs=1, report=False, out=tmp_path / "run"
    )
    data = run.dataset()
    train, test, scale = data.train.x().double(), data.test.x().double(), run.spec.values.scale
    assert scale is not None
    assert scale.numpy() == pytest.approx(x.std(0), rel=0.1)
    log_p = LinearGaussian.fit(train, latent=2).log_prob(test).mean().item()
    record = run.evaluate("pca")["pca"]
    assert (record["components"], record["rows"]) == (2, len(train))
    assert record["log_likelihood"] == pytest.approx(log_p, abs=1e-5)
    units = run.subject(data, units=True)  # as `compare` has them
    record = measured(units, {"pca": chosen(units, "evaluate", ["pca"])["pca"][0]})["pca"]
    volume = scale.double().log().sum().item()
    assert record["log_likelihood"] == pytest.approx(log_p - volume, abs=1e-5)
    axes = np.linalg.eigh(np.cov(train.numpy().T))[1][:, -2:]
    apart = (test - train.mean(0)).numpy()
    left = np.square((apart - apart @ axes @ axes.T) * scale.numpy())
    proves("metric pca, mse", "numpy's eigenvectors", record["mse"], left.mean(), limit=1e-5)


def test_binary_rows_have_an_error_and_no_density(tmp_path: Path) -> None:
    how: dict[str, Any] = {"limit": 200, "latent": 3, "epochs": 1, "report": False}
    run = vaekit.train("vae", binarize="threshold", out=tmp_path / "run", **how)
    record = run.evaluate("pca")["pca"]
    assert record["log_likelihood"] is None
    assert 0 < record["mse"] < 0.25
    assert run.evaluate("pca:components=60")["pca"]["mse"] < record["mse"] / 4


def test_all_components_have_a_density_and_what_does_not_vary_has_none() -> None:
    x = rows(200, 4)
    found = Components.fit(x, 16)  # the usual latent of a table of four columns
    assert found.proper
    exact = multivariate_normal(x.numpy().mean(0), np.cov(x.numpy().T, bias=True)).logpdf(x.numpy())
    np.testing.assert_allclose(found.log_prob(x).numpy(), exact, rtol=1e-9)
    twice = torch.cat([x, x[:, :1]], 1).float()
    assert not Components.fit(twice, 16).proper
    assert not Components.fit(twice, 4).proper

"""The estimators keep scikit-learn's rules, and their numbers are those of the run."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import FactorAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from vaekit.sklearn import VAE, VAEOutlier

QUICK: dict[str, Any] = {"latent": 2, "net": "mlp:hidden=8", "epochs": 2, "samples": 3}
CHECKED = [VAE(**QUICK), VAEOutlier(**QUICK)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "check"),
    [each for one in CHECKED for each in estimator_checks_generator(one)],
    ids=lambda value: getattr(getattr(value, "func", None), "__name__", type(value).__name__),
)
@pytest.mark.filterwarnings("ignore")
def test_the_rules_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def rows(count: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    z = draw.normal(size=(count, 2))
    mix = np.array([[10.0, 5, 0, 1], [0, 5, 100, 1]])
    return z @ mix + draw.normal(size=(count, 4)) * [1, 1, 10, 0.3] + [3, 0, 500, 0]


@pytest.fixture(scope="module")
def fitted() -> VAE:
    model = VAE(latent=2, net="mlp:hidden=32", epochs=100, lr=3e-3, samples=200, random_state=0)
    return model.fit(rows(1500, 0))


def test_densities_are_of_the_units_of_the_data(fitted: VAE) -> None:
    train, test = rows(1500, 0), rows(400, 1)
    best = FactorAnalysis(2).fit(train).score(test)  # of the family that the data are of
    assert best - 0.5 < fitted.score(test) < best + 0.1
    other = clone(fitted).set_params(standardize=False, options={"kind": "table"})
    scaled = StandardScaler().fit(train)
    other.fit(scaled.transform(train))
    volume = np.log(scaled.scale_).sum()
    assert abs(other.score(scaled.transform(test)) - volume - fitted.score(test)) < 0.5


def test_codes_go_back_to_rows_and_draws_are_rows(fitted: VAE) -> None:
    test = rows(400, 1)
    codes = fitted.transform(test)
    assert codes.shape == (400, 2)
    again = fitted.inverse_transform(codes)
    assert 1 - ((again - test) ** 2).mean(0) @ (1 / test.var(0)) / 4 > 0.9
    drawn = fitted.sample(2000)
    assert np.allclose(drawn.mean(0), test.mean(0), atol=0.3 * test.std(0))
    assert np.allclose(np.corrcoef(drawn.T), np.corrcoef(test.T), atol=0.2)


def test_a_row_has_its_score_whatever_stands_beside_it(fitted: VAE) -> None:
    test = rows(20, 2)
    whole = fitted.score_samples(test)
    assert np.array_equal(whole[5:6], fitted.score_samples(test[5:6]))
    assert np.allclose(fitted.transform(test)[5:6], fitted.transform(test[5:6]), atol=1e-12)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.score_samples(test), whole)
    assert np.array_equal(again.sample(5), fitted.sample(5))


def test_in_a_pipeline_a_grid_and_a_frame() -> None:
    train = rows(300, 0)
    classes = (train[:, 0] > 3).astype(int)
    model = VAE(latent=2, net="mlp:hidden=16", epochs=80, lr=3e-3, samples=5, random_state=0)
    steps = make_pipeline(StandardScaler(), model, LogisticRegression())
    assert cross_val_score(steps, train, classes, cv=3).mean() > 0.8
    search = GridSearchCV(model, {"latent": [1, 2]}, cv=2).fit(train)
    assert search.best_params_["latent"] in (1, 2)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    frame = pandas.DataFrame(train, columns=list("abcd"))
    codes = clone(model).set_output(transform="pandas").fit(frame).transform(frame)
    assert list(codes) == ["vae0", "vae1"]


def test_outliers_are_found() -> None:
    train, test = rows(600, 0), rows(200, 1)
    test[150:, 0] = 60 - test[150:, 0]
    found = VAEOutlier(latent=2, net="mlp:hidden=32", epochs=30, samples=20, random_state=0)
    found.fit(train)
    assert abs((found.predict(train) < 0).mean() - 0.1) < 0.01
    assert roc_auc_score(np.arange(200) >= 150, -found.score_samples(test)) > 0.9
    assert ((found.decision_function(test) < 0) == (found.predict(test) < 0)).all()
    for share in (0, 0.6):
        with pytest.raises(ValueError, match="contamination"):
            clone(found).set_params(contamination=share).fit(train)


def test_it_is_seeded_and_leaves_the_state_of_torch() -> None:
    train = rows(60, 0)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, other = (VAE(**QUICK, random_state=7).fit(train).transform(train) for _ in range(2))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, VAE(**QUICK, random_state=8).fit(train).transform(train))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_mixed_frame_has_codes_densities_and_samples_of_its_own_form() -> None:
    draw = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {"s": draw.choice(["x", "y", "z"], 300), "g": draw.lognormal(size=300)}
    )
    frame["n"] = draw.normal(size=300) + (frame["s"] == "x") * 10
    how: dict[str, Any] = {"latent": 2, "net": "mlp:hidden=16", "epochs": 30, "random_state": 0}
    model = VAE(**how).fit(frame)
    assert model.transform(frame).shape == (300, 2)
    assert [*model.feature_names_in_] == ["s", "g", "n"]
    made = model.sample(50)
    assert (made.dtypes == frame.dtypes).all()
    assert {*made["s"]} == {"x", "y", "z"}
    assert model.inverse_transform(model.transform(frame[:3])).columns.tolist() == ["s", "g", "n"]
    bent = VAE(**how, options={"kinds": {"g": "log"}}).fit(frame)
    wide = frame.assign(n=frame["n"] * 100)
    apart = VAE(**how).fit(wide).score(wide) - model.score(frame)
    assert abs(apart + np.log(100)) < 1e-3  # of the units of the data
    assert bent.score(frame) > model.score(frame) + 0.3  # which a logarithm of its own suits
    assert np.allclose(pickle.loads(pickle.dumps(model)).score_samples(frame[:5]),
                       model.score_samples(frame[:5]))  # fmt: skip
    odd = frame.iloc[[0]].assign(n=100.0)
    found = VAEOutlier(**how).fit(frame)
    assert found.predict(pandas.concat([frame[:3], odd]))[-1] == -1

"""Distances of drawn rows from real ones: each against its definition, and what it must not do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves
from numpy.typing import NDArray
from scipy import linalg
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

import vaekit
from vaekit.errors import VaekitError
from vaekit.metrics import frechet, kid, prdc

Rows = NDArray[np.float64]


def rows(n: int, seed: int, size: int = 4, spread: float = 1.0, at: float = 0.0) -> Rows:
    """Return rows whose columns hang together."""
    draw = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(size, size))
    return at + spread * draw.normal(size=(n, size)) @ mix


def by_scipy(a: Rows, b: Rows) -> float:
    """The formula as it is printed, by the matrix root of scipy, which may be complex."""
    root = linalg.sqrtm(np.cov(a.T) @ np.cov(b.T))
    apart = a.mean(0) - b.mean(0)
    return float(apart @ apart + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * np.real(root)))


def by_definition(drawn: Rows, real: Rows, k: int) -> dict[str, float]:
    """Precision, recall, density and coverage by sklearn's neighbors, ball by ball."""
    balls = {}
    for name, some in (("real", real), ("drawn", drawn)):
        found, _ = NearestNeighbors(n_neighbors=k).fit(some).kneighbors()  # a row is not its own
        balls[name] = found[:, -1]
    apart = cdist(drawn, real)
    inside, held = apart <= balls["real"], apart <= balls["drawn"][:, None]
    return {
        "precision": float(inside.any(1).mean()),
        "recall": float(held.any(0).mean()),
        "density": float(inside.sum(1).mean() / k),
        "coverage": float(inside.any(0).mean()),
    }


def test_the_frechet_distance_is_its_formula(proves: Proves) -> None:
    for n, m, size in ((60, 90, 4), (500, 40, 12), (300, 300, 1)):
        a, b = rows(n, 1, size), rows(m, 2, size, spread=1.5, at=0.3)
        wanted = (
            by_scipy(a, b)
            if size > 1
            else (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
        )
        got = frechet(a, b).distance
        proves("metric frechet, distance", "scipy's sqrtm", got, wanted, limit=1e-9)
        assert frechet(b, a).distance == pytest.approx(got, rel=1e-12)


def test_the_frechet_distance_of_gaussians_is_the_closed_form(proves: Proves) -> None:
    """Rows whose mean and covariance are exactly those that are asked for."""
    z = np.linalg.qr(rows(200, 3, 5) - rows(200, 3, 5).mean(0))[0] * np.sqrt(199)
    scales, other = np.array([1.0, 2.0, 3.0, 0.5, 0.1]), np.array([2.0, 2.0, 1.0, 0.0, 5.0])
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(5, 5)))[0]
    a, b = z * scales @ turn + 1, z[::-1] * other @ turn
    wanted = 5 + np.square(scales - other).sum()
    got = frechet(a, b, halves=0).distance
    proves("metric frechet, distance", "closed form of two Gaussians", got, wanted, limit=1e-9)
    far = frechet(a + 1e6, b + 1e6, halves=0).distance
    assert far == pytest.approx(wanted, rel=1e-6), "a mean far from zero does not cancel"


def test_fewer_rows_than_features_have_no_imaginary_part_and_lose_nothing() -> None:
    a, b = rows(25, 1, 60), rows(30, 2, 60)
    centered = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    shared = np.linalg.svd(centered[0] @ centered[1].T, compute_uv=False).sum()  # 25 x 30
    wanted = np.square(a.mean(0) - b.mean(0)).sum() - 2 * shared
    wanted += sum(np.square(x).sum() for x in centered)
    assert frechet(a, b).distance == pytest.approx(wanted, rel=1e-10)
    same = [frechet(x, x[::-1], halves=0).distance for x in (rows(30, s, 60) for s in range(20))]
    assert 0 <= min(same) <= max(same) < 1e-8
    assert by_scipy(a, b) != pytest.approx(wanted, rel=1e-10), "the trap is one"


def test_the_kernel_distance_is_its_formula_without_the_diagonals(proves: Proves) -> None:
    a, b = rows(20, 1), rows(20, 2, at=0.5)
    found = kid(a, b, size=2)
    draw = torch.Generator().manual_seed(0)
    order = [torch.randperm(20, generator=draw).numpy() for _ in range(2)]
    values = []
    for i in range(0, 20, 2):
        x, y = a[order[0][i : i + 2]], b[order[1][i : i + 2]]
        xx, yy, xy = (polynomial_kernel(*p, degree=3, coef0=1) for p in ((x, x), (y, y), (x, y)))
        values.append(xx[0, 1] + yy[0, 1] - 2 * xy.mean())
    proves("metric kid, distance", "sklearn's polynomial_kernel", found.distance, np.mean(values),
           limit=1e-10)  # fmt: skip
    error = np.std(values, ddof=1) / np.sqrt(10)
    proves("metric kid, error", "numpy", found.distance_standard_error, error, limit=1e-10)
    assert found.subsets == 10


def test_the_kernel_distance_has_no_bias_and_an_honest_error(proves: Proves) -> None:
    """Of rows alike the mean is 0, whatever the size; and the error is the spread of seeds."""
    found = [kid(rows(200, 2 * s, 3), rows(200, 2 * s + 1, 3), size=10) for s in range(150)]
    values = np.array([each.distance for each in found])
    assert abs(values.mean()) < 3 * values.std(ddof=1) / np.sqrt(len(values))
    assert (values < 0).any()
    error = np.sqrt(np.mean([each.distance_standard_error**2 for each in found]))
    proves(
        "metric kid, error", "the spread of 150 seeds", error / values.std(ddof=1), 1, limit=0.25
    )


def test_precision_recall_density_and_coverage_are_their_definitions(
    proves: Proves, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaekit.evaluate._distances.AT_ONCE", 64)  # a row or two at a time
    for k, n, m in ((1, 30, 40), (3, 50, 35), (5, 40, 40)):
        drawn, real = rows(n, 1, spread=0.7, at=0.4), rows(m, 2)
        found, wanted = prdc(drawn + 1e5, real + 1e5, k=k), by_definition(drawn, real, k)
        for name, value in wanted.items():
            assert 0 < value != 1, "what is 0 or 1 tells little"
            part = f"metric prdc, {name}"
            proves(part, "sklearn's NearestNeighbors", found[name], value, limit=1e-12)
    grid, other = (np.random.default_rng(s).integers(0, 9, (60, 3)).astype(float) for s in (0, 1))
    found, wanted = prdc(grid, other, k=4), by_definition(grid, other, 4)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted), "surfaces, many equal"


def test_rows_alike_have_the_values_that_are_known() -> None:
    found = prdc(rows(2000, 1, 2), rows(2000, 2, 2), k=3)
    assert abs(found.density - 1) < 4 * found.density_standard_error
    assert abs(found.coverage - (1 - 0.5**3)) < 4 * found.coverage_standard_error
    assert min(found.precision, found.recall) > 0.9
    some = rows(40, 1)
    copies = prdc(np.repeat(some, 2, 0), np.repeat(some, 2, 0), k=1, halves=0)  # balls of radius 0
    assert (copies.precision, copies.recall, copies.coverage) == (1, 1, 1), "a surface is inside"


def test_what_each_is_there_to_tell() -> None:
    real = rows(400, 1)
    lost = prdc(real[:200][np.argsort(real[:200, 0])][:100].repeat(4, 0), real)  # one half of it
    assert (lost.precision, lost.recall < 0.8, lost.coverage < 0.8) == (1, True, True)
    wild = prdc(rows(400, 2, spread=4.0), real)
    assert wild.precision < 0.6 < wild.recall


def test_errors_are_the_spread_over_seeds(proves: Proves) -> None:
    how: Any = {"frechet": (frechet, {}), "prdc": (prdc, {"k": 3})}
    every = ["precision", "recall", "density", "coverage"]
    for part, names in (("frechet", ["distance"]), ("prdc", every)):
        measure, options = how[part]
        found = [
            measure(rows(150, 2 * s, 3, spread=1.6), rows(150, 2 * s + 1, 3), **options)
            for s in range(80)
        ]
        for name in names:
            spread = np.std([each[name] for each in found], ddof=1)
            error = np.sqrt(np.mean([each[f"{name}_standard_error"] ** 2 for each in found]))
            title = f"metric {part}, {name}, error"
            proves(title, "the spread of 80 seeds", error / spread, 1, limit=0.35)


def clustered(count: int, seed: int, most: int = 10) -> tuple[Rows, NDArray[np.int64]]:
    """Return rows around a point of their group, and the groups: names that are no places."""
    draw = np.random.default_rng(seed)
    of = np.repeat(np.arange(count), most)
    return draw.normal(size=(count, 3))[of] + 0.3 * draw.normal(size=(len(of), 3)), 7 * of


def test_an_error_over_groups_is_the_spread_of_other_groups(proves: Proves) -> None:
    """As that over rows is not, where rows of one group are alike."""
    names: Any = ((frechet, ["distance"]), (kid, ["distance"]), (prdc, ["precision", "coverage"]))
    for measure, parts in names:
        found, loose = [], []
        for seed in range(60):
            real, groups = clustered(30, 2 * seed)
            drawn = 0.5 + clustered(len(real), 2 * seed + 1, 1)[0]
            found.append(measure(drawn, real, groups=groups))
            loose.append(measure(drawn, real))
        for name in parts:
            spread = np.std([each[name] for each in found], ddof=1)
            error, alone = (
                np.sqrt(np.mean([each[f"{name}_standard_error"] ** 2 for each in some]))
                for some in (found, loose)
            )
            title = f"metric {measure.__name__}, {name}, error over groups"
            proves(title, "the spread of 60 seeds", error / spread, 1, limit=0.35)
            assert alone < 0.85 * error
            assert [each[name] for each in found] == [each[name] for each in loose]


def test_an_error_over_one_group_or_too_few_rows_is_none() -> None:
    a, b = rows(60, 1), rows(60, 2)
    large = np.arange(60).clip(max=3) // 3  # a group of three, and one of all others
    for groups in (np.zeros(60), large):
        for measure in (kid, prdc):
            found: Any = measure(a, b, groups=groups)
            errors = [value for key, value in found.items() if key.endswith("_error")]
            assert errors
            assert np.isnan(errors).all()
            assert {k: v for k, v in found.items() if v == v}.items() <= measure(a, b).items()
    assert np.isnan(frechet(a, b, groups=np.zeros(60)).distance_standard_error)
    assert frechet(a, b, groups=np.arange(60)) == frechet(a, b)
    with pytest.raises(VaekitError, match=r"got `groups` of shape \(59,\); expected \(60,\)"):
        frechet(a, b, groups=np.zeros(59))


def test_the_bias_of_the_frechet_distance_is_what_half_the_rows_add() -> None:
    """Twice the distance less that of half of the rows is the one of infinitely many rows."""
    found = [frechet(rows(200, 2 * s, 8), rows(200, 2 * s + 1, 8)) for s in range(40)]
    plain = np.mean([each.distance for each in found])
    left = np.mean([2 * each.distance - each.distance_at_half for each in found])
    assert plain > 1
    assert abs(left) < 0.15 * plain


def test_numbers_are_the_same_each_time_and_of_any_type() -> None:
    a, b = rows(60, 1), rows(60, 2)
    for measure in (frechet, kid, prdc):
        found: Any = measure(a, b)
        assert found == measure(torch.from_numpy(a).requires_grad_(), b.tolist())
        assert found != measure(a, b, seed=1)
        assert "distance_at_half" not in measure(a, b, **{} if measure is kid else {"halves": 0})
    assert vaekit.metrics.frechet is frechet


def test_what_cannot_be_measured_is_refused() -> None:
    good = rows(30, 1)
    for wrong, words in {
        "few": (good[:19], r"got `len\(real\)=19`; expected a whole number of at least 20"),
        "flat": (good[:, 0], r"`real=.*expected features \(N, D\)"),
        "none": (good[:, :0], r"expected features \(N, D\)"),
        "wide": (rows(30, 1, 5), r"got `real` of shape \(30, 5\); expected \(30, 4\)"),
        "gap": (np.where(good > 1, np.nan, good), "numbers of real are not finite"),
        "words": (["a"] * 30, r"expected features \(N, D\)"),
    }.values():
        for measure in (frechet, kid, prdc):
            with pytest.raises(VaekitError, match=words):
                measure(good, wrong)
    for both in ((good, rows(90, 1)), (rows(90, 1), good)):
        with pytest.raises(VaekitError, match="got `k=15`; expected at most 14"):
            prdc(*both, k=15)
    for measure, wrong in ((kid, {"size": 1}), (prdc, {"k": 0}), (frechet, {"halves": -1})):
        with pytest.raises(VaekitError, match="expected a whole number"):
            measure(good, good, **wrong)

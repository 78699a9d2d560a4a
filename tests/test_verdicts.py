"""Verdicts on recipes: none of equal ones, by one seed none at all, and right ones by three.

The numbers are those of src/vaekit/report/seeds.csv: ten seeds of each recipe.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Proves
from scipy import stats

from vaekit.registry import find
from vaekit.report import (
    SEEDS_FILE,
    Entry,
    Measure,
    Setting,
    holm,
    lead,
    leads,
    sentences,
    t_test,
    typical_of,
)

ROOT = Path(__file__).resolve().parent.parent
TABLE = pd.read_csv(SEEDS_FILE)
KEYS = ["elbo", "psnr", "ssim", "mse"]
RECIPES = {
    (str(data), str(recipe)): rows[KEYS].to_numpy()
    for (data, recipe), rows in TABLE.groupby(["data", "recipe"], sort=False)
}
NUMBERS = [
    Measure(column.name, name, column)
    for name in ("bound", "reconstruction")
    for column in find("metric", name).columns
    if column.group and column.better
]
WINNER = re.compile("(higher|highest|lower|lowest) for ")


def entry(name: str, numbers: Sequence[float], rows: Any = None) -> Entry:
    """A run that was measured: the numbers by `KEYS`, nan for none; perhaps the ELBO of rows."""
    made = object.__new__(Entry)  # without a run
    known = {key: None if np.isnan(v) else float(v) for key, v in zip(KEYS, numbers, strict=True)}
    over = SimpleNamespace(rows=SimpleNamespace(over="1,000 rows"))
    metric = SimpleNamespace(row=lambda _: rows, groups=None, subject=over)
    run = SimpleNamespace(spec=SimpleNamespace(unit="nats per image", kind="gray"))
    metrics = {"bound": metric, "reconstruction": metric}
    made.__dict__.update(name=name, metrics=metrics, records=dict.fromkeys(metrics, known), run=run)
    return made


def setting(name: str, seeds: np.ndarray) -> Setting:
    return Setting(name, [entry(f"{name} {n}", row) for n, row in enumerate(seeds)])


def said(*settings: Setting) -> list[str]:
    return [" ".join(parts) for parts in sentences(settings, NUMBERS, True, [])]


def winners(*settings: Setting) -> list[str]:
    return [text for text in said(*settings) if WINNER.search(text)]


def drawn(rows: np.ndarray, count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield three seeds of a recipe and three others."""
    draws = np.random.RandomState(seed)
    for _ in range(count):
        order = draws.permutation(len(rows))
        yield rows[order[:3]], rows[order[3:6]]


def test_the_table_has_ten_seeds_of_each_recipe_and_each_kind_of_data() -> None:
    assert set(TABLE.kind) == {"binary", "gray", "color", "table", "counts"}
    assert all(rows.shape == (10, 4) for rows in RECIPES.values())
    assert all(np.unique(rows[:, 0]).size >= 9 for rows in RECIPES.values()), "six digits"


def test_runs_of_one_seed_each_name_no_winner() -> None:
    for rows in RECIPES.values():
        runs = [setting(f"run {n}", rows[n : n + 1]) for n in range(10)]
        assert len(said(*runs)) == np.isfinite(rows[0]).sum()
        assert not winners(*runs)
        assert not any(winners(*pair) for pair in itertools.combinations(runs, 2))


def test_three_seeds_each_of_one_recipe_name_few_winners() -> None:
    """Of all sentences at most 5 % name one, and of all pages at most 5 % name any."""
    sentences, pages = [], []
    for number, rows in enumerate(RECIPES.values()):
        for draw, (one, two) in enumerate(drawn(rows, 150, number)):
            both = setting("a", one), setting("b", two)
            found = [ahead.clear for ahead in leads(both, NUMBERS, True)]
            sentences += found
            pages.append(any(found))
            assert draw > 5 or len(winners(*both)) == sum(found)
    assert 0 < np.mean(sentences) <= np.mean(pages) <= 0.05


def test_recipes_a_nat_apart_are_told_apart_by_three_seeds_each() -> None:
    draws, told = np.random.RandomState(0), {}
    kinds = TABLE.groupby(["data", "recipe"]).likelihood.first()
    for one, two in itertools.combinations(RECIPES, 2):
        both = RECIPES[one], RECIPES[two]
        apart = both[0][:, 0].mean() - both[1][:, 0].mean()
        if one[0] != two[0] or kinds[one] != kinds[two] or abs(apart) < 1:
            continue
        better, right = "a" if apart > 0 else "b", 0
        for _ in range(25):
            few = [rows[draws.permutation(10)[:3]] for rows in both]
            words = said(*(setting(name, rows) for name, rows in zip("ab", few, strict=True)))
            right += words[0].startswith(f"The bound (ELBO) is higher for {better}:")
        told[one, two] = right / 25
    assert len(told) == 8
    assert min(told.values()) >= 0.8


def test_the_sentence_by_hand() -> None:
    """Student's t-test, corrected by Holm over the four numbers."""
    one = np.array([[1.0, 20.0, 0.5, 0.01], [1.5, 20.4, 0.6, 0.02], [1.1, 20.3, 0.7, 0.03]])
    two = one + np.array([5.0, 0.1, 0.0, 0.001])
    found = leads([setting("a", one), setting("b", two)], NUMBERS, True)
    known = dict(zip(KEYS, stats.ttest_ind(one, two).pvalue, strict=True))
    order, least = sorted(KEYS, key=lambda key: known[key]), 0.0
    for rank, key in enumerate(order):
        least = max(least, min(1.0, known[key] * (4 - rank)))
        (ahead,) = (each for each in found if each.of.key == key)
        assert ahead.p == pytest.approx(least)
    assert [ahead.of.key for ahead in found if ahead.clear] == ["elbo"]
    first = said(setting("a", one), setting("b", two))[0]
    p = f"{4 * known['elbo']:.2g}"
    error = np.sqrt(one[:, 0].var(ddof=1) / 3 * 2)
    assert first == (
        "The bound (ELBO) is higher for b: 6.20 ± 0.15 nats per image against 1.20 ± 0.15; "
        f"the difference is 5.00 ± {error:.2f} over 3 seeds (p = {p})."
    )


@pytest.mark.parametrize(("ours", "theirs"), [(3, 3), (10, 10), (2, 5), (7, 3)])
def test_the_test_of_two_means_is_scipy_s(ours: int, theirs: int, proves: Proves) -> None:
    draws = np.random.default_rng(ours)
    for by in (0.0, 0.5, 3.0):
        one, two = draws.normal(size=ours), by + 4 * draws.normal(size=theirs)
        error, p = t_test(abs(one.mean() - two.mean()), list(one), list(two))
        known = stats.ttest_ind(one, two, equal_var=ours == theirs)
        name = "Student's" if ours == theirs else "Welch's"
        proves(f"p of {name} t-test over seeds", "scipy's ttest_ind", p, known.pvalue, limit=1e-12)
        wanted = abs((one.mean() - two.mean()) / known.statistic)
        proves("error of a difference over seeds", "scipy's ttest_ind", error, wanted, limit=1e-12)


def rejected(p: np.ndarray, level: float) -> np.ndarray:
    """Holm's steps at a level: from the least p on, until one of m tests is above level / m."""
    found = np.zeros(len(p), bool)
    for left, place in zip(range(len(p), 0, -1), p.argsort(kind="stable"), strict=True):
        if left * p[place] > level:
            break
        found[place] = True
    return found


def test_corrected_values_are_the_least_levels_at_which_steps_reject(proves: Proves) -> None:
    draws = np.random.default_rng(0)
    for count in (1, 2, 5, 9):
        p = draws.random(count) ** 3
        p[-1] = p[0]  # two that are equal
        levels = np.sort(np.append(np.outer(p, np.arange(1, count + 1)), 1.0))
        made = np.array([rejected(p, level) for level in levels[levels <= 1]])
        wanted = np.where(made.any(0), levels[made.argmax(0)], 1.0)
        holed = [*p[:1], math.nan, *p[1:]]  # a number without seeds is no test
        got = [one for one in holm(holed) if not math.isnan(one)]
        proves("Holm's correction", "his steps at each level", got, wanted, limit=1e-12)


def test_a_winner_is_named_up_to_a_p_of_five_per_cent() -> None:
    """Between 1 and 2 standard errors of one number there is none; just above the bound one is."""
    of = NUMBERS[0]
    base = np.array([[0.0], [1.0], [2.0]]) + np.full((1, 4), np.nan)
    base[:, 0] = 0.0, 1.0, 2.0
    bound = stats.t.ppf(0.975, 4) * np.sqrt(2 / 3)
    for factor, clear in ((0.5, False), (0.99, False), (1.01, True)):
        other = base + factor * bound
        found = lead([setting("a", base), setting("b", other)], of)
        assert found is not None
        assert found.clear is clear
        assert bool(winners(setting("a", base), setting("b", other))) is clear


def test_what_is_equal_in_print_is_said_to_be_equal() -> None:
    numbers = [[-144.962, 20.0, np.nan, np.nan], [-144.958, 21.0, np.nan, np.nan]]
    bound, psnr = said(*(setting(n, np.array([v])) for n, v in zip("ab", numbers, strict=True)))
    assert bound == (
        "The bound (ELBO) of b and a is equal in the digits that are shown: −144.96 nats per image."
    )
    assert psnr.startswith("The PSNR differs by 1.00 over 1,000 rows: 21.00 dB for b, 20.00 for a")
    same = np.array([[-144.96] + [np.nan] * 3] * 3)
    for other in (same, same - 0.001):
        (ahead, *_) = leads([setting("a", same), setting("b", other)], NUMBERS, True)
        assert not ahead.clear, "no best is marked in the table"
        (text,) = said(setting("a", same), setting("b", other))
        assert text == (
            "The bound (ELBO) of a and b is equal in the digits that are shown: "
            "−144.96 nats per image."
        )


def test_one_seed_beside_several_names_no_winner() -> None:
    rows = next(iter(RECIPES.values()))
    assert not winners(setting("a", rows[:3]), setting("b", rows[3:4] + 100))


def test_counts_of_four_settings_are_named_one_by_one_and_of_five_by_their_ends() -> None:
    of = Measure("active_units", "latent", find("metric", "latent").columns[0])
    each = [setting(name, np.full((1, 4), np.nan)) for name in "abcde"]
    for count, one in zip((3, 1, 5, 4, 2), each, strict=True):
        one.entries[0].records["latent"] = {"active_units": count}
    four, five = (
        [" ".join(p) for p in sentences(some, [of], True, [])] for some in (each[:4], each)
    )
    assert four == ["The active units: 3 for a, 1 for b, 5 for c, 4 for d."]
    assert five == ["The active units go from 1 for b to 5 for c."]


def test_square_errors_of_images_have_no_unit_of_a_table() -> None:
    (of,) = (number for number in NUMBERS if number.column.name == "mse")
    one = entry("a", [0.0] * 4)
    assert one.unit(of) == of.column.unit
    one.run.spec.kind = "table"
    assert one.unit(of) == "in the units of the data"


def test_what_two_seeds_differ_by_is_of_this_kind_of_data_and_this_likelihood() -> None:
    class Gaussian:
        pass

    spec = SimpleNamespace(kind="gray", shape=(1, 28, 28), unit="nats per image")
    found, known = typical_of(SimpleNamespace(spec=spec, px=Gaussian()))  # type: ignore[arg-type]
    rows = RECIPES["digits", str(TABLE.recipe[0])]
    for key, column in zip(KEYS, rows.T, strict=True):
        pairs = [abs(a - b) for a, b in itertools.combinations(column, 2)]
        scale = 784 / 64 if key == "elbo" else 1  # nats grow with the values of a row
        assert found[key] == pytest.approx(np.median(pairs) * scale)
    assert (known["seeds"], known["data"], known["kind"]) == (10, "digits", "gray")
    for page in ("guide", "zh"):  # of MNIST, which has as many values
        text = (ROOT / "docs" / page / "comparisons.md").read_text()
        assert all(f"{found[key]:.2g}" in text for key in KEYS[:3])
    spec.kind = "speech"
    assert typical_of(SimpleNamespace(spec=spec, px=Gaussian())) == ({}, {})  # type: ignore[arg-type]

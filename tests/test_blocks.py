"""The likelihood of mixed tables against torch's distributions, column by column."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch import Tensor
from torch import distributions as td

from vaekit import parts
from vaekit._train_options import Data
from vaekit.data import ColumnSpec, DataSpec, Warp, from_value, prepare
from vaekit.distributions import Blocks, Gaussian, OneHot
from vaekit.errors import VaekitError
from vaekit.models import Trace
from vaekit.recipes import build
from vaekit.testing import check_family, seeded

COLUMNS = (  # places 0; 1 to 3; 4; 5; 6 and 7; 8
    ColumnSpec("age", "integer"),
    ColumnSpec("sort", "category", ("a", "b", "c")),
    ColumnSpec("visits", "count"),
    ColumnSpec("sex", "binary", ("f", "m")),
    ColumnSpec("side", "category", ("left", "right")),
    ColumnSpec("height", "numeric"),
)
SPEC = DataSpec("t", (9,), "mixed", 20, columns=COLUMNS)
ROWS = torch.tensor(
    [[0.5, 0, 1, 0, 3, 1, 1, 0, -1.0], [-2, 1, 0, 0, 0, 0, 0, 1, 0.3]], dtype=torch.float64
)


def family(**options: Any) -> parts.Blocks:
    return parts.Blocks(9, SPEC, **options).double().eval()


def by_hand(params: Tensor, dispersion: Tensor, kind: Any, scale: float) -> Tensor:
    """The log-probability of each column of ROWS, (2, 6): params are 2 numbers, a count, a truth
    and the logits 3 + 2 of categories."""
    numbers, count, truth, logits = params.split((2, 1, 1, 5), -1)
    mean, t = count[:, 0].exp(), dispersion.exp()
    terms = [
        kind(numbers[:, 0], scale).log_prob(ROWS[:, 0]),
        td.Categorical(logits=logits[:, :3]).log_prob(ROWS[:, 1:4].argmax(1)),
        td.NegativeBinomial(t, probs=mean / (mean + t)).log_prob(ROWS[:, 4]),
        td.Bernoulli(logits=truth[:, 0]).log_prob(ROWS[:, 5]),
        td.Categorical(logits=logits[:, 3:]).log_prob(ROWS[:, 6:8].argmax(1)),
        kind(numbers[:, 1], scale).log_prob(ROWS[:, 8]),
    ]
    return torch.stack(terms, 1)


@pytest.mark.parametrize(("numeric", "kind"), [("gaussian", td.Normal), ("laplace", td.Laplace)])
def test_each_column_has_the_probability_of_its_kind(proves: Any, numeric: str, kind: Any) -> None:
    made = family(numeric=numeric, scale=0.7)
    params = torch.randn(2, *made.param_shape, dtype=torch.float64)
    expected = by_hand(params, torch.zeros((), dtype=torch.float64), kind, 0.7)
    p = made(params)
    terms = p.terms(ROWS)
    by_column = torch.stack([part.sum(1) for part in terms.split((1, 3, 1, 1, 2, 1), 1)], 1)
    proves(
        "Blocks, terms", "torch.distributions, column by column", by_column, expected, limit=1e-6
    )
    assert torch.allclose(p.log_prob(ROWS), expected.sum(1), atol=1e-6)
    numbers, count, truth, first, second = params.split((2, 1, 1, 3, 2), -1)
    means = [numbers[:, :1], first.softmax(1), count.exp(), truth.sigmoid(), second.softmax(1)]
    mean = torch.cat([*means, numbers[:, 1:]], 1)
    proves("Blocks, mean", "torch, column by column", p.mean, mean, limit=1e-6)
    seen = torch.ones_like(ROWS)
    seen[:, 1:5] = 0  # a category and a count that are missing
    x = torch.where(seen != 0, ROWS, torch.nan)
    trace = Trace(x, (), p, None, mask=seen)
    assert torch.allclose(trace.log_likelihood, expected[:, [0, 3, 4, 5]].sum(1), atol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"scale": "shared"}, {"scale": "free"}, {"dispersion": "free"}, {"scale": 0.3}]
)
def test_the_family_keeps_the_rules_of_families(options: dict[str, Any]) -> None:
    check_family(family(**options))
    fixed = options.get("scale", "fitted") != "fitted"
    assert ("fixed" in family(**options).offers) == fixed
    with pytest.raises(VaekitError, match="of the kind table: take another likelihood"):
        parts.Blocks(3, DataSpec("t", (3,), "table", 20))


def test_draws_have_the_moments_of_each_column() -> None:
    made = family(scale="shared")
    params = torch.randn(2, *made.param_shape, dtype=torch.float64)
    p = made(params)
    with seeded():
        x = p.sample((40_000,))
    assert torch.allclose(x.mean(0), p.mean, atol=0.05)
    assert torch.equal(x[..., 1:4].sum(-1), torch.ones(40_000, 2, dtype=torch.float64))
    assert torch.equal(x[..., 6:8].sum(-1), torch.ones(40_000, 2, dtype=torch.float64))
    counts = td.Categorical(logits=params[..., 4:7])
    assert torch.allclose(x[..., 1:4].mean(0), counts.probs, atol=0.01)


def test_a_family_starts_at_the_mean() -> None:
    made = family()
    mean = torch.tensor([0.1, 0.2, 0.5, 0.3, 3.0, 0.8, 0.6, 0.4, -0.2], dtype=torch.float64)
    assert torch.allclose(made(made.start(mean)[None]).mean[0], mean, atol=1e-6)


def test_one_hot_categories_of_any_width(proves: Any) -> None:
    widths = (1, 4, 2)
    p = OneHot(torch.randn(3, 7, requires_grad=True), widths=widths)
    expected = torch.cat([part.softmax(-1) for part in p.logits.split(widths, -1)], -1)
    proves("OneHot, probabilities", "softmax of each category", p.mean, expected, limit=1e-6)
    x = p.sample((5,))
    assert all((part.sum(-1) == 1).all() for part in x.split(widths, -1))
    p.log_prob(x).sum().backward()
    gradient = p.logits.grad
    assert gradient is not None
    assert torch.allclose(gradient, (x - expected).sum(0), atol=1e-5)


def test_the_scale_of_each_column_is_fitted_to_it() -> None:
    columns = ColumnSpec("a", "numeric"), ColumnSpec("s", "binary", ("x", "y")), ColumnSpec(
        "b", "numeric"
    )  # fmt: skip
    made = parts.Blocks(3, DataSpec("t", (3,), "mixed", 20, columns=columns)).train()
    x = torch.tensor([[1.0, 0, 10], [-3, 1, -30], [2, 0, 0], [0, 0, 0]])
    seen = torch.ones_like(x)
    seen[3, 0] = 0  # of which the first column's scale does not know
    p = made(torch.zeros(4, 3)).fitted(x, seen)
    (numbers, _) = p.parts
    assert torch.allclose(numbers.scale.square(), torch.tensor([14 / 3, 1000 / 4]))
    stored = made.eval()(torch.zeros(1, 3)).parts[0]
    assert torch.allclose(stored.scale.square(), torch.tensor([14 / 3, 1000 / 4]))


# Logarithms and quantiles: the density is that of the standardized column all the same.

DRAW = np.random.default_rng(0)
VALUES = {
    "log": np.exp(2 + 0.8 * DRAW.normal(size=400)),
    "log1p": np.exp(2 + 0.8 * DRAW.normal(size=400)) * (DRAW.random(400) < 0.8),
    "quantile": np.concatenate([DRAW.normal(size=300), 8 + DRAW.gamma(2, 3, 100)]),
}


def warped(how: str) -> DataSpec:
    """What is known of a table of one column that is bent, and a truth."""
    frame = pandas.DataFrame({"v": VALUES[how], "s": DRAW.choice(["x", "y"], 400)})
    kinds = Data(kinds={"v": "log" if how != "quantile" else how}, test=0, validation=0)
    return prepare(from_value(frame, kinds), kinds).spec()


@pytest.mark.parametrize("how", list(VALUES))
def test_a_warped_column_has_the_density_of_the_standardized_one(proves: Any, how: str) -> None:
    spec, values = warped(how), torch.from_numpy(VALUES[how]).float().double()
    (warp,) = spec.values.warps
    assert warp.how == how
    assert spec.values.loc is not None
    made = parts.Blocks(2, spec, scale=0.8).double().eval()
    p = made(torch.tensor([[0.3, 0.0]], dtype=torch.float64))

    def density(v: Tensor) -> Tensor:
        """Of v in the units of the file."""
        rows = torch.stack([v, torch.zeros_like(v)], 1)
        return (p.terms(spec.values(rows))[:, 0] - math.log(values.std(correction=0))).exp()

    t = torch.linspace(-9, 9, 400_001, dtype=torch.float64)
    v = spec.values.inverse(torch.stack([t, torch.zeros_like(t)], 1))[:, 0]
    edges = [v, torch.zeros(0)] if warp.knots is None else [v, warp.knots[0].double()]
    v = torch.cat(edges).sort().values
    v = v.unique()
    middle = (v[1:] + v[:-1]) / 2
    proves(
        "Blocks, a bent column",
        "the integral over v",
        (density(middle) * v.diff()).sum(),
        1.0,
        limit=2e-5,
    )
    some = values[values > 0.1][:20]
    step = 1e-4 * some
    x = [spec.values(torch.stack([each, 0 * each], 1))[:, 0] for each in (some - step, some + step)]
    slope = (x[1] - x[0]) / (2 * step)  # dx/dv
    here = spec.values(torch.stack([some, 0 * some], 1))[:, 0]
    expected = td.Normal(0.3, 0.8).log_prob(here) + slope.log() + values.std(correction=0).log()
    got = p.terms(torch.stack([here, 0 * here], 1))[:, 0]
    if how != "quantile":  # whose slope jumps at each value
        proves("Blocks, a bent column", "a change of variables by hand", got, expected, limit=1e-6)
        exact = (some if how == "log" else 1 + some).reciprocal().log()
        assert torch.allclose(slope.log(), exact - spec.values.scale[0].log(), atol=1e-6)


def test_a_column_has_one_density_whether_it_is_bent_or_not() -> None:
    """A logarithm of log-normal values is the likelier model, on the same scale as numeric."""
    spec = warped("log")
    v = torch.from_numpy(VALUES["log"]).float()
    rows = torch.stack([v, torch.zeros_like(v)], 1)
    p = parts.Blocks(2, spec, scale=1.0)(torch.zeros(1, 2))
    bent = p.terms(spec.values(rows))[:, 0].mean()
    standard = (v - v.mean()) / v.std()
    flat = Gaussian(torch.zeros(1), torch.zeros(1)).log_prob(standard[:, None]).mean()
    assert bent > flat + 0.3


def test_quantiles_go_there_and_back_and_grow() -> None:
    column = ColumnSpec("v", "quantile")
    values = torch.from_numpy(np.round(DRAW.gamma(2, 3, 5000), 2)).float()
    warp = Warp.fit(0, column, torch.cat([values, torch.tensor([torch.nan])]))
    assert warp is not None
    assert warp.knots is not None
    assert warp.knots.shape[1] <= 1000
    t = warp(values)
    assert torch.allclose(warp.inverse(t), values, atol=1e-4)
    assert abs(t.mean()) < 0.02
    assert abs(t.std() - 1) < 0.02
    beyond = warp(torch.tensor([-5.0, 500.0]))
    assert beyond[0] < t.min()
    assert beyond[1] > t.max()
    assert Warp.fit(0, column, torch.ones(5)) is None  # of values that are all the same


def test_a_product_refuses_nothing_of_a_plain_one() -> None:
    """Beside a product of one slice, which is that slice."""
    one = Gaussian(torch.randn(4, 3), torch.zeros(()))
    p = Blocks((one,), (torch.arange(3),))
    x = torch.randn(4, 3)
    assert torch.equal(p.terms(x), one.terms(x))
    assert torch.equal(p.stopped().mean, one.mean)


def test_the_encoder_sees_the_logarithm_of_counts_alone() -> None:
    model: Any = build("vae", SPEC, latent=2, net="mlp:hidden=4").model
    net = model.posterior.net
    x = torch.arange(18.0).view(2, 9)
    expected = x.clone()
    expected[:, 4] = x[:, 4].log1p()
    assert torch.equal(net(x), net.net(expected))
    for recipe, fixed, size in (("vae", False, 9), ("iwae", True, 11)):  # of two numbers the scales
        family: Any = build(recipe, SPEC, latent=2).model.likelihood.family  # type: ignore[attr-defined]
        assert ("fixed" in family.offers) == fixed
        assert family.param_shape == (size,)
    for likelihood in ("poisson", "negative-binomial"):
        with pytest.raises(VaekitError, match="of kind mixed: take `likelihood=blocks`"):
            build("vae", SPEC, likelihood=likelihood)

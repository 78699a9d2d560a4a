"""Constraints on the KL and on the distortion, by numpy; and in which batches they are measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves
from probing import stepped
from torch import Tensor

import vaekit as vk
from vaekit import distributions as d
from vaekit._torchutil import load_state, save_state
from vaekit.models import Site, Trace
from vaekit.objectives import ELBO, GECO, Capacity, FreeBits, Objective, weights
from vaekit.recipes import Recipe
from vaekit.testing import check_objective


def passed(scale: float = 1.0, rows: int = 4) -> tuple[Tensor, Trace]:
    """A pass whose first dimension has few nats and the second many; the parameter of both."""
    loc = torch.tensor([0.1, 2.0]) * scale * torch.ones(rows, 1)
    loc = (loc + 0.01 * torch.arange(rows)[:, None]).requires_grad_()
    q = d.Gaussian(loc, torch.zeros(rows, 2))
    site = Site.draw("z", q, d.StandardGaussian(torch.zeros(2)), (1,))
    px = d.Gaussian(torch.zeros(1, rows, 3), torch.zeros(()))
    return loc, Trace(torch.ones(rows, 3), (site,), px, None)


@pytest.mark.parametrize("groups", ["dimension", "latent"])
def test_free_bits_are_of_the_batch_s_mean(groups: str, proves: Proves) -> None:
    """The mean of max(lambda, KL) over rows, the mistake, differs where rows lie on both sides."""
    loc, trace = passed()
    kl = 0.5 * loc.detach().numpy().astype(float) ** 2
    lam = float(np.median(kl[:, 0])) if groups == "dimension" else float(np.median(kl.sum(1)))
    each = kl.mean(0) if groups == "dimension" else kl.sum(1).mean(0, keepdims=True)
    likelihood = trace.log_likelihood[0].numpy()
    wanted = likelihood - np.maximum(lam, each).sum()
    value = FreeBits(lam=lam, groups=groups)(trace).value
    proves(f"objective free-bits:groups={groups}", "numpy", value, wanted, limit=1e-6)
    rows = kl if groups == "dimension" else kl.sum(1, keepdims=True)
    assert abs(np.maximum(lam, rows).sum(1).mean() - np.maximum(lam, each).sum()) > 1e-4


def test_below_its_nats_a_group_has_no_gradient_and_above_that_of_the_elbo() -> None:
    loc, trace = passed()
    (found,) = torch.autograd.grad(FreeBits(lam=0.1)(trace).target.sum(), loc, retain_graph=True)
    (plain,) = torch.autograd.grad(ELBO()(trace).target.sum(), loc, retain_graph=True)
    assert bool((found[:, 0] == 0).all())
    assert torch.allclose(found[:, 1], plain[:, 1])
    assert bool((plain[:, 0] != 0).all())
    whole = FreeBits(lam=3.0, groups="latent")(trace).target.sum()
    assert not bool(torch.autograd.grad(whole, loc)[0].any())
    kl = FreeBits(lam=100.0)(trace).parts["kl"]
    assert torch.allclose(kl, 0.5 * loc.square().sum(1)), "the KL that is recorded is whole"


def test_geco_is_its_recursion(proves: Proves) -> None:
    objective, multiplier, mean = GECO(goal=0.5, rate=0.3, decay=0.8), 1.0, 0.0
    for scale in (1.0, 0.5, 2.0):
        _, trace = passed(scale)
        distortion = -trace.log_likelihood[0].numpy()
        mean = 0.8 * mean + 0.2 * (distortion / 3 - 0.5).mean()
        multiplier *= np.exp(0.3 * mean)
        wanted = -trace.kl[0].detach().numpy() - multiplier * (distortion - 3 * 0.5)
        bound = objective(trace)
        proves("objective geco", "numpy", bound.value, wanted, limit=1e-6)
        assert torch.allclose(bound.parts["multiplier"], torch.tensor(multiplier).float())


@pytest.mark.parametrize(("goal", "sign"), [(0.0, 1), (5.0, -1)])
def test_the_multiplier_rises_while_the_distortion_is_above_its_goal(
    goal: float, sign: int
) -> None:
    objective, before = GECO(goal=goal), 0.0
    _, trace = passed()
    for _ in range(3):
        value = float(objective(trace).parts["multiplier"][0].log()) * sign
        assert value > before
        before = value
    objective.eval()
    assert float(objective(trace).parts["multiplier"][0].log()) * sign == before


def test_of_rows_with_gaps_it_is_of_what_is_seen() -> None:
    _, trace = passed()
    mask = torch.tensor([1.0, 0.0, 1.0])
    seen = Trace(trace.x, trace.sites, trace.px, None, mask=mask)
    distortion = -seen.log_likelihood[0] / 2
    objective = GECO(goal=1.0, rate=1.0, decay=0.0)
    found = objective(seen).parts["multiplier"].log()
    assert torch.allclose(found, distortion - 1.0)


def test_of_rows_of_which_nothing_is_seen_no_number_is_lost() -> None:
    _, trace = passed()
    seen = Trace(trace.x, trace.sites, trace.px, None, mask=torch.eye(4)[:, :3])
    objective = GECO(goal=1.0, rate=1.0, decay=0.0)
    excess = (-seen.log_likelihood[0][:3] - 1).sum() / 4  # of the last row it is 0
    assert torch.allclose(objective(seen).parts["multiplier"].log(), excess)


@pytest.mark.parametrize(("goal", "end"), [(-1e4, 1e6), (1e4, 1e-6)])
def test_the_multiplier_stays_where_both_terms_count(goal: float, end: float) -> None:
    objective = GECO(goal=goal, rate=1.0, decay=0.0)
    assert objective(passed()[1]).parts["multiplier"].tolist() == pytest.approx([end] * 4)


def test_a_weight_of_nothing_leaves_the_likelihood_and_parts_carry_no_gradient() -> None:
    _, trace = passed()
    other = Site("y", trace.site.z, trace.site.q, trace.site.p)
    both = Trace(trace.x, (trace.site, other), trace.px, None)
    bound = Capacity(gamma=0.0)(both)
    assert torch.equal(bound.value, trace.log_likelihood[0])
    assert {"kl_z", "kl_y"} <= {*bound.parts}
    assert not any(part.requires_grad for part in bound.parts.values())


def test_only_groups_of_a_dimension_need_densities_of_each() -> None:
    more = FreeBits(groups="dimension").needs - FreeBits(groups="latent").needs
    assert [*more] == [d.Offer.FACTORS]


@pytest.mark.parametrize(
    ("likelihood", "goal"),
    [
        ("bernoulli", 0.0),
        ("categorical", 0.0),
        ("negative-binomial", -1.0),
        ("discretized-logistic", 0.0),
    ],
)
def test_a_goal_that_no_likelihood_of_its_kind_reaches_is_refused(
    likelihood: str, goal: float
) -> None:
    """Of what is counted no -log p is below 0, and the multiplier would rise without end."""
    kind = "counts" if likelihood == "negative-binomial" else "gray"
    spec = vk.data.DataSpec("rows", (1, 4, 4), kind, rows=20)

    def made(family: str, goal: float) -> Recipe:
        objective = f"geco:goal={goal}"
        return vk.recipes.build("vae", spec, likelihood=family, objective=objective, net="mlp")

    with pytest.raises(vk.VaekitError, match=rf"GECO has the goal {goal:g}, and -log p of \w+ is"):
        made(likelihood, goal)
    assert made(likelihood, 0.1).objective.goal == pytest.approx(0.1)
    if kind == "gray":
        assert made("gaussian", goal).objective.goal == goal


def test_geco_goes_where_its_goal_is() -> None:
    """A trained one has the distortion that it was given, which the ELBO has not."""
    x = torch.randn(500, 1) @ torch.randn(1, 6) + 0.1 * torch.randn(500, 6)
    torch.manual_seed(0)
    found = {}
    for name in ("elbo", "geco:goal=1.2:rate=0.1:decay=0.9"):
        run = vk.train("vae", data=x, likelihood="gaussian:scale=1", objective=name, latent=2,
                       epochs=25, lr=1e-2, batch_size=100, out=None)  # fmt: skip
        found[name[:4]] = -run.evaluate(split="train")["log_likelihood"] / 6
    assert found["geco"] == pytest.approx(1.2, abs=0.1)
    assert abs(found["elbo"] - 1.2) > 0.15


def trained_pair() -> Any:
    parts = (
        vk.Conditional(vk.MLP(64, 6), vk.Gaussian(3)),
        vk.Conditional(vk.MLP(3, 64), vk.Bernoulli(64)),
    )
    return vk.VAE(vk.StandardNormal(3), *parts), GECO(goal=0.3, rate=0.5)


def test_it_resumes_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = trained_pair()
    stepped(whole, steps=8)
    torch.manual_seed(3)
    save_state(tmp_path / "state", stepped(trained_pair(), steps=4).state())
    torch.manual_seed(9)
    again = trained_pair()
    stepped(again, steps=8, resume=load_state(tmp_path / "state"))
    assert "_multiplier" in whole[1].state_dict()
    assert float(whole[1]._multiplier) != 1
    for one, other in zip(whole, again, strict=True):
        state = other.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in one.state_dict().items())
    assert list(weights(whole[1])) == ["goal"]


@pytest.mark.parametrize("objective", [Capacity(), FreeBits(lam=0.3), FreeBits(groups="latent")])
def test_they_conform(objective: Objective) -> None:
    check_objective(objective, bound=False)


@pytest.mark.parametrize("objective", ["capacity", "free-bits", "beta-tc", "elbo"])
@pytest.mark.parametrize("validation", [0, 90])
def test_what_depends_on_the_batch_is_measured_in_batches_of_the_training_s_size(
    objective: str, validation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the record would compare values of 32 rows with those of up to 500.

    The passes of two and four rows are those that memory is judged by.
    """
    sizes: dict[bool, set[int]] = {True: set(), False: set()}
    parts = Objective.parts

    def seen(self: Objective, trace: Trace) -> Any:
        sizes[self.training].add(len(trace.x))
        return parts(self, trace)

    monkeypatch.setattr(Objective, "parts", seen)
    data = {"train": torch.rand(128, 5), "validation": torch.rand(90, 5)}
    vk.train("vae", data=data if validation else data["train"], objective=objective, latent=2,
             epochs=1, batch_size=32, validation=None if validation else 0, test=0, fast="off",
             out=tmp_path / "run")  # fmt: skip
    assert sizes[True] == {32}
    last = {90 % 32} if validation else set()
    assert sizes[False] - {2, 4} == (
        {90 if validation else 128} if objective == "elbo" else {32} | last
    )


def test_geco_follows_a_model_in_double_precision() -> None:
    x, zeros = torch.zeros(4, 2, dtype=torch.float64), torch.zeros(1, 4, 2, dtype=torch.float64)
    px = d.Gaussian(zeros, torch.zeros((), dtype=torch.float64))
    objective = GECO(goal=0.5, decay=0.0, rate=1.0)
    objective(Trace(x, (), px, None))
    excess = 0.5 * math.log(2 * math.pi) - 0.5
    assert float(objective._multiplier) == pytest.approx(math.exp(excess))

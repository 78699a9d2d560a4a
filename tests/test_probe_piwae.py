"""Objectives of one's own that differentiate by part: another bound for the posterior alone.

PIWAE: Rainforth et al., "Tighter Variational Bounds are Not Necessarily Better", 2018,
arXiv 1802.04537, section 4. DReG: Tucker, Lawson, Gu & Maddison, "Doubly Reparameterized Gradient
Estimators for Monte Carlo Objectives", 2019, arXiv 1810.04152, eq. 8.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from probing import DATA, Pair, pair, rows_of_digits, run, stepped, two_processes, walk
from test_probe_prior import Vamp
from torch import Tensor

from vaekit import Batches, VaekitError
from vaekit.distributions import offering
from vaekit.models import Trace
from vaekit.objectives import IWAE, Objective, by_part
from vaekit.registry import register
from vaekit.training import differentiate


class PIWAE(Objective):
    """The bound of m times k draws; the posterior climbs the mean of m bounds of k (1802.04537).

    Args:
        m: how many bounds the posterior's is a mean of.
        k: the draws of each.
    """

    needs = offering("latent", "rsample", "density", "exact", "fixed", "separate")

    def __init__(self, *, m: int = 4, k: int = 8) -> None:
        super().__init__()
        self.samples = m, k

    def value(self, trace: Trace) -> Tensor:
        return trace.log_weight.logsumexp((0, 1)) - math.log(math.prod(self.samples))

    def surrogate(self, trace: Trace, value: Tensor) -> dict[str, Tensor]:
        several = (trace.log_weight.logsumexp(1) - math.log(self.samples[1])).mean(0)
        return {"posterior": several, "rest": value}


class DReG(IWAE):
    """The bound of IWAE; the posterior's gradient by squared weights (1810.04152).

    Args:
        samples: K, the draws.
    """

    needs = IWAE.needs | offering("stopped", "one_site", "separate")

    def surrogate(self, trace: Trace, value: Tensor) -> dict[str, Tensor]:
        stopped = trace.log_likelihood + trace.site.log_p - trace.site.log_q_stopped
        weight = trace.log_weight.softmax(0).detach()
        return {
            "posterior": (weight.square() * stopped).sum(0),
            "rest": (weight * trace.log_weight).sum(0),
        }


def enter() -> None:
    register("objective", "piwae")(PIWAE)
    register("objective", "dreg")(DReG)


def make_piwae() -> Pair:
    return pair(PIWAE(m=2, k=3))


def gradients(made: Pair, x: Tensor) -> dict[str, Tensor]:
    """Of one draw, by name, and of the bound itself under "bound.NAME"."""
    model, objective = made
    trace = model(x, samples=objective.samples)
    named = dict(model.named_parameters())
    value = objective.value(trace)
    plain = torch.autograd.grad(-value.mean(), list(named.values()), retain_graph=True)
    model.zero_grad()
    differentiate(objective(trace), len(x), lambda names: by_part(model, objective, names))
    found = {name: p.grad.clone() for name, p in named.items() if p.grad is not None}
    bound = {f"bound.{name}": g for name, g in zip(named, plain, strict=True)}
    return {**found, **bound}


def test_the_posterior_climbs_its_own_bound_and_all_else_the_value() -> None:
    model, objective = make_piwae()
    x = torch.rand(5, 64)
    torch.manual_seed(1)
    found = gradients((model, objective), x)
    torch.manual_seed(1)
    trace = model(x, samples=(2, 3))
    halves = [trace.log_weight[m].logsumexp(0) - math.log(3) for m in range(2)]
    for name, weight in model.posterior.named_parameters():
        mean = -(halves[0] + halves[1]).mean() / 2
        expected = torch.autograd.grad(mean, weight, retain_graph=True)[0]
        torch.testing.assert_close(found[f"posterior.{name}"], expected, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(found[f"posterior.{name}"], found[f"bound.posterior.{name}"])
    for name, _ in model.likelihood.named_parameters():
        torch.testing.assert_close(
            found[f"likelihood.{name}"], found[f"bound.likelihood.{name}"], rtol=1e-4, atol=1e-6
        )


def test_dreg_has_the_mean_gradient_of_the_bound_and_less_noise() -> None:
    made = pair(DReG(samples=8))
    stepped(made, steps=300)  # near the optimum the score's noise is most of it
    x = next(iter(Batches(rows_of_digits(), 4).epoch(0))).x
    draws = [gradients(made, x) for _ in range(300)]
    names = [name for name in draws[0] if name.startswith("posterior.net.output")]
    mine, plain = (
        torch.stack([torch.cat([d[p + n].flatten() for n in names]) for d in draws])
        for p in ("", "bound.")
    )
    noise = (mine.var(0) + plain.var(0)).div(len(draws)).sqrt()
    worst = ((mine.mean(0) - plain.mean(0)).abs() / noise).max()
    assert worst < 5, f"{worst:.1f} standard errors apart"
    assert mine.std(0).mean() < 0.8 * plain.std(0).mean()


def test_a_model_that_is_not_separate_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    enter()
    register("prior", "own-vamp")(Vamp)
    for name in ("piwae", "dreg"):
        capsys.readouterr()
        code = run("train", "vae", *DATA, "--prior", "own-vamp", "--objective", name)
        said = capsys.readouterr().err
        assert code == 2, said
        assert "needs a posterior whose parameters serve nothing else (separate)" in said
        assert len(said.strip().splitlines()) == 1
    model, objective = make_piwae()
    model.prior.extra = model.posterior.net.output.bias  # type: ignore[assignment]
    with pytest.raises(VaekitError, match=r"PIWAE needs .* \(separate\)"):
        stepped((model, objective), steps=1)


def test_processes_keep_the_same_weights(tmp_path: Path) -> None:
    two_processes(tmp_path, make_piwae)


@pytest.mark.parametrize("objective", ["piwae:m=2:k=3", "dreg:samples=4"])
def test_an_objective_by_part(
    objective: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enter()
    found = walk(tmp_path, capsys, "vae", "--latent", "2", "--objective", objective)
    assert found["kl"] > 0

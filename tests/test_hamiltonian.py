"""The Hamiltonian VAE: its dynamics, its log-weight, and the whole way."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves
from probing import DATA, run, whole_way
from torch import Tensor, nn

import vaekit as vk
from vaekit.data import DataSpec
from vaekit.errors import VaekitError
from vaekit.evaluate import log_likelihood
from vaekit.models import HamiltonianVAE, leapfrog
from vaekit.objectives import ELBO
from vaekit.recipes import build
from vaekit.testing import LinearGaussian, check_model, seeded

GRAY = DataSpec("t", (1, 4, 4), "gray", rows=20)


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def energy(z: Tensor, momentum: Tensor) -> Tensor:
    """Of a particle in the potential sum z^4 / 4 + z^2 / 2."""
    potential = z**4 / 4 + z**2 / 2
    return (potential + momentum**2 / 2).sum(-1)


def force(z: Tensor) -> Tensor:
    return -(z**3) - z


def test_the_energy_error_falls_as_the_square_of_the_step() -> None:
    z, momentum = torch.randn(200, 3), torch.randn(200, 3)
    errors = []
    for steps in (20, 40, 80):
        end = leapfrog(force, z, momentum, torch.tensor(1 / steps), [1.0] * steps)
        errors.append((energy(*end) - energy(z, momentum)).abs().mean().item())
    assert [a / b for a, b in itertools.pairwise(errors)] == pytest.approx([4, 4], rel=0.1)


def test_time_can_be_reversed_and_volumes_are_kept(proves: Proves) -> None:
    z, momentum, step = torch.randn(3), torch.randn(3), torch.tensor([0.1, 0.2, 0.05])
    there = leapfrog(force, z, momentum, step, [1.0] * 7)
    back = leapfrog(force, there[0], -there[1], step, [1.0] * 7)
    proves("leapfrog, reversed", "where it began", torch.cat(back), torch.cat([z, -momentum]),
           limit=1e-12)  # fmt: skip

    def both(point: Tensor) -> Tensor:
        return torch.cat(leapfrog(force, point[:3], point[3:], step, [0.9, 0.8]))

    jacobian: Any = torch.autograd.functional.jacobian(both, torch.cat([z, momentum]))
    proves("determinant of leapfrog with cooling", "autograd's Jacobian", (0.9 * 0.8) ** 3,
           jacobian.det(), limit=1e-12)  # fmt: skip


def test_the_momentum_cools_quadratically_to_its_own_scale(proves: Proves) -> None:
    model: Any = build("hamiltonian_vae", GRAY, latent=2, model=":steps=4:beta0=0.25").model
    beta0, factors = model.cooling()
    hot = 1 / np.sqrt(0.25)
    heat = [(1 - hot) * k**2 / 16 + hot for k in range(5)]  # Caterini et al., section 4
    got = torch.stack(factors).cumprod(0) * beta0.rsqrt()
    proves("Hamiltonian VAE, tempering", "numpy", got, np.array(heat[1:]), limit=1e-6)
    assert abs(got[-1].item() - 1) < 1e-6


def toy(steps: int = 5, wide: float = 2.0) -> tuple[Tensor, LinearGaussian, HamiltonianVAE]:
    """Rows, what is known of them, and a model whose q is off, by so much too wide."""
    x = torch.randn(40, 4) @ torch.randn(4, 4)
    oracle = LinearGaussian.fit(x, latent=2)
    off = torch.linalg.solve(oracle.precision, oracle.weight.T) * 0.7
    variance = wide * oracle.variance / oracle.precision.diagonal()
    vae = oracle.vae(off, variance)
    model = HamiltonianVAE(vae.prior, vae.posterior, vae.likelihood, steps=steps, step_size=0.1)
    return x[:6], oracle, model.double()


def test_weights_average_to_the_likelihood(proves: Proves) -> None:
    """With latent / 2 in place of what the momentum was, log p(x) comes out too high."""
    x, oracle, model = toy()
    got = log_likelihood(model, x, samples=100_000)
    proves("NLL of a Hamiltonian VAE", "the linear-Gaussian model", got, oracle.log_prob(x),
           limit=0.02)  # fmt: skip
    with torch.no_grad(), seeded():
        trace = model(x, samples=(100_000,))
        wrong = (trace.log_likelihood - trace.kl).logsumexp(0) - np.log(100_000)
        assert (wrong - oracle.log_prob(x)).mean() > 0.1
        gap = (trace.kl - trace.kl_sampled).mean(0)
        assert gap.abs().max() < 0.02  # the KL is the mean of what is sampled
        plain = vk.VAE(model.prior, model.posterior, model.likelihood)(x, samples=(20_000,))
        bounds = [(each.log_likelihood - each.kl).mean() for each in (plain, trace)]
    assert bounds[0] < bounds[1] <= oracle.log_prob(x).mean()


def test_gradients_of_the_bound_are_finite_differences(proves: Proves) -> None:
    x, _, model = toy(steps=2)

    def bound(value: Tensor, at: nn.Parameter) -> Tensor:
        with torch.no_grad():
            at.copy_(value)
        torch.manual_seed(1)
        return ELBO(samples=3)(model(x, samples=(3,))).value.mean()

    for name, parameter in model.named_parameters():
        before = parameter.detach().clone()
        (slope,) = torch.autograd.grad(bound(before, parameter), parameter)
        way = torch.randn_like(before)
        ahead, behind = (bound(before + h * way, parameter).item() for h in (1e-6, -1e-6))
        bound(before, parameter)
        proves(f"gradient of a Hamiltonian bound by {name}", "finite differences",
               (slope * way).sum(), (ahead - behind) / 2e-6, limit=1e-5)  # fmt: skip
    with torch.no_grad():  # the force is there without gradients too, and the same
        quiet = bound(before, parameter)
    assert torch.allclose(quiet, bound(before, parameter))


def test_a_flow_is_not_moved_by_dropout_or_by_the_other_rows() -> None:
    made = build("hamiltonian_vae", GRAY, latent=2, net="mlp:hidden=8:dropout=0.5:norm=batch")
    model: Any = made.model.double().train()
    means = [value.clone() for name, value in model.likelihood.named_buffers() if "mean" in name]
    x = torch.rand(6, 1, 4, 4)
    state = model.infer(x)
    model.draw(state, (2,))
    after = [value for name, value in model.likelihood.named_buffers() if "mean" in name]
    assert means
    assert all(torch.equal(a, b) for a, b in zip(means, after, strict=True))
    assert model.likelihood.training
    check_model(model, x)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"model": ":steps=0"}, "steps=0"),
        ({"model": ":step_size=0.5"}, "step_size=0.5`; expected between 0 and 0.5"),
        ({"model": ":beta0=1"}, "beta0=1`; expected between 0 and 1"),
        ({"prior": "none", "posterior": "delta"}, "moves vectors of reals with a density"),
        ({"prior": "sphere", "posterior": "power-spherical"}, "moves vectors of reals"),
        ({"prior": "categorical", "posterior": "gumbel"}, "moves vectors of reals"),
    ],
)
def test_what_does_not_go_with_a_flow_is_refused(parts: dict[str, str], message: str) -> None:
    with pytest.raises(VaekitError) as caught:
        build("hamiltonian_vae", GRAY, **{"latent": 2, **parts})
    assert message in str(caught.value)
    model: Any = build("hamiltonian_vae", GRAY, latent=2).model
    with pytest.raises(VaekitError, match="drawn from by its model alone"):
        model(torch.rand(2, 1, 4, 4)).site.q.sample()


def test_hamiltonian_vae_goes_the_whole_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole_way(tmp_path, "hamiltonian_vae", 2, "interpolate", "traverse", "manifold")
    capsys.readouterr()
    assert run("train", "hamiltonian_vae", *DATA, "--compile") == 2
    assert "takes gradients within its pass" in capsys.readouterr().err

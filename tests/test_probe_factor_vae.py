"""An objective of one's own with a second player: a critic of codes that estimates a density ratio.

FactorVAE: Kim & Mnih, "Disentangling by Factorizing", 2018, arXiv 1802.05983, eq. 2, 3 and
algorithm 2; the permuted codes are those of the same batch.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from probing import Pair, pair, stepped, two_processes, walk
from torch import Tensor
from torch.nn.functional import softplus

from vaekit._torchutil import load_state, save_state
from vaekit.models import Trace
from vaekit.nn import MLP
from vaekit.objectives import ELBO, players
from vaekit.registry import register
from vaekit.training import differentiate


class FactorVAE(ELBO):
    """The ELBO less gamma times the total correlation of z, which a critic estimates (1802.05983).

    Args:
        gamma: the price of total correlation.
        width: of the critic's two hidden layers.
        critic_lr: the critic's learning rate.
        critic_start: the step from which it trains.
        critic_steps: its steps for each of the model's.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        gamma: float = 10.0,
        width: int = 32,
        critic_lr: float = 1e-3,
        critic_start: int = 0,
        critic_steps: int = 1,
    ) -> None:
        super().__init__()
        self.gamma, self.critic_lr = gamma, critic_lr
        self.critic_start, self.critic_steps = critic_start, critic_steps
        self.critic = MLP(event_shape, 1, hidden=(width, width), activation="leaky-relu")

    def ratio(self, z: Tensor) -> Tensor:
        """log q(z) - sum_j log q(z_j), as the critic sees it, `(B,)`."""
        logit: Tensor = self.critic(z)
        return logit.squeeze(1)

    def surrogate(self, trace: Trace, value: Tensor) -> Tensor:
        return value - self.gamma * self.ratio(trace.site.z[0])

    def critic_loss(self, trace: Trace) -> Tensor:
        z = trace.site.z[0].detach()
        columns = [column[torch.randperm(len(z), device=z.device)] for column in z.unbind(1)]
        apart = torch.stack(columns, 1)
        return 0.5 * (softplus(-self.ratio(z)) + softplus(self.ratio(apart)))


def enter() -> None:
    register("objective", "factor-vae")(FactorVAE)


def make() -> Pair:
    return pair(FactorVAE((3,), gamma=5.0, critic_steps=2), latent=3)


def warm() -> tuple[Pair, Tensor]:
    """A pair whose critic knows something, and rows."""
    made = make()
    stepped(made, steps=30)
    return made, torch.rand(32, 64)


def test_the_encoder_goes_down_the_estimate_and_nothing_leaks() -> None:
    """The gradient of the price alone is gamma times that of the estimate; a step lowers it."""
    (model, objective), x = warm()
    assert isinstance(objective, FactorVAE)
    first, second = players(model, objective)
    torch.manual_seed(1)
    trace = model(x)
    bound = objective(trace)
    encoder = list(model.posterior.parameters())
    of_value = torch.autograd.grad(-bound.value.sum() / 32, encoder, retain_graph=True)
    estimate = objective.ratio(trace.site.z[0]).mean()
    of_estimate = torch.autograd.grad(estimate, encoder, retain_graph=True)
    assert any(bool(g.abs().max() > 1e-6) for g in of_estimate)
    differentiate(bound, 32, only=first)
    for weight, a, b in zip(encoder, of_value, of_estimate, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, a + 5.0 * b, rtol=1e-4, atol=1e-6)
    assert all(p.grad is None for p in second), "the model's loss leaks into the critic"
    with torch.no_grad():
        for weight, slope in zip(encoder, of_estimate, strict=True):
            weight -= 1e-3 * slope
    torch.manual_seed(1)
    assert objective.ratio(model(x).site.z[0]).mean() < estimate


def test_the_critic_goes_down_its_cross_entropy_and_moves_nothing_else() -> None:
    (model, objective), x = warm()
    first, second = players(model, objective)
    trace = model(x)
    torch.manual_seed(1)
    before = objective.critic_loss(trace).mean()
    slopes = torch.autograd.grad(before, first, allow_unused=True, retain_graph=True)
    assert all(slope is None for slope in slopes), "the critic's loss leaks into the model"
    before.backward()
    with torch.no_grad():
        for weight in second:
            assert weight.grad is not None
            weight -= 1e-2 * weight.grad
    torch.manual_seed(1)
    assert objective.critic_loss(trace).mean() < before


def test_the_critic_finds_a_density_ratio() -> None:
    """Of a Gaussian with correlation r the total correlation is -log(1 - r^2) / 2."""
    torch.manual_seed(0)
    objective = FactorVAE((2,), width=64)
    adam = torch.optim.Adam(objective.critic.parameters(), lr=3e-3)
    mix = torch.linalg.cholesky(torch.tensor([[1.0, 0.8], [0.8, 1.0]]))

    class Drawn:
        def __init__(self) -> None:
            self.z = (torch.randn(2000, 2) @ mix.T)[None]
            self.site = self

    for _ in range(300):
        adam.zero_grad()
        objective.critic_loss(Drawn()).mean().backward()  # type: ignore[arg-type]
        adam.step()
    with torch.no_grad():
        found = torch.stack([objective.ratio(Drawn().z[0]).mean() for _ in range(20)]).mean()
    assert float(found) == pytest.approx(0.5108, abs=0.08)


def test_it_resumes_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = make()
    stepped(whole, steps=8)
    torch.manual_seed(3)
    save_state(tmp_path / "state", stepped(make(), steps=4).state())
    torch.manual_seed(9)
    again = make()
    stepped(again, steps=8, resume=load_state(tmp_path / "state"))
    for one, other in zip(whole, again, strict=True):
        state = other.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def test_processes_keep_the_same_weights(tmp_path: Path) -> None:
    states = two_processes(tmp_path, make)
    assert any(name.startswith("critic.") for name in states[1])


def test_an_objective_with_a_critic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enter()
    objective = "factor-vae:gamma=2:width=16:critic-start=1:critic-steps=2"
    found = walk(tmp_path, capsys, "vae", "--latent", "2", "--objective", objective)
    assert found["kl"] > 0

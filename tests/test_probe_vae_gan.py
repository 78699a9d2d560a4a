"""An objective of one's own with a critic of images, which starts late and weighs itself.

VAE-GAN: Larsen, Sonderby, Larochelle & Winther, "Autoencoding beyond pixels using a learned
similarity metric", 2016, arXiv 1512.09300: the encoder does not see the critic. The weight by the
gradients at the decoder's last layer is that of Esser, Rombach & Ommer, "Taming Transformers for
High-Resolution Image Synthesis", 2021, arXiv 2012.09841, eq. 7.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from probing import DATA, Pair, pair, run, stepped, two_processes, walk
from torch import Tensor
from torch.nn.functional import relu

from vaekit.models import Trace
from vaekit.nn import MLP
from vaekit.objectives import ELBO, Weight, by_part, players
from vaekit.registry import register
from vaekit.training import differentiate


class AdaptiveGAN(ELBO):
    """The ELBO; the decoder besides fools a critic of images (1512.09300).

    Args:
        price: times the weight at which both gradients of the last layer are alike.
        width: of the critic's hidden layer.
        critic_lr: the critic's learning rate.
        critic_start: the step from which it trains, and the decoder sees it.
    """

    critic_on: Tensor
    weight: Tensor

    def __init__(
        self,
        x_shape: tuple[int, ...],
        *,
        price: float = 0.5,
        width: int = 32,
        critic_lr: float = 1e-3,
        critic_start: int = 3,
    ) -> None:
        super().__init__()
        self.price, self.critic_lr, self.critic_start = price, critic_lr, critic_start
        self.critic = MLP(x_shape, 1, hidden=(width,), activation="leaky-relu")
        self.critic_on = Weight(0.0)
        self.register_buffer("weight", torch.zeros(1))

    def surrogate(self, trace: Trace, value: Tensor) -> dict[str, Tensor]:
        fooled: Tensor = self.critic(trace.px.mean[0]).squeeze(1)
        if torch.is_grad_enabled():
            self.weight.copy_(self._alike(trace, value, fooled))
        return {"posterior": value, "rest": value + self.critic_on * self.weight * fooled}

    def _alike(self, trace: Trace, value: Tensor, fooled: Tensor) -> Tensor:
        last = trace.model.likelihood.net.output.weight
        norms = [
            torch.autograd.grad(each.mean(), last, retain_graph=True)[0].norm()
            for each in (value, fooled)
        ]
        return self.price * (norms[0] / (norms[1] + 1e-4)).clamp(0, 1e4)

    def critic_loss(self, trace: Trace) -> Tensor:
        made = trace.px.mean[0].detach()
        return 0.5 * (relu(1 - self.critic(trace.x)) + relu(1 + self.critic(made))).squeeze(1)


def enter() -> None:
    register("objective", "adaptive-gan")(AdaptiveGAN)


def make() -> Pair:
    return pair(AdaptiveGAN((64,), critic_start=2))


def slopes(made: Pair, x: Tensor) -> dict[str, Tensor]:
    model, objective = made
    model.zero_grad()
    torch.manual_seed(1)
    bound = objective(model(x))
    differentiate(bound, len(x), lambda n: by_part(model, objective, n), players(*made)[0])
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_the_decoder_alone_sees_the_critic_and_fools_it() -> None:
    """Its gradients by a critic and by the ELBO have the norms that were asked for."""
    made = make()
    stepped(made, steps=20)
    model, objective = made
    assert isinstance(objective, AdaptiveGAN)
    x = torch.rand(16, 64)
    objective.critic_on.fill_(0.0)
    without = slopes(made, x)
    objective.critic_on.fill_(1.0)
    together = slopes(made, x)
    assert without.keys() == together.keys()
    for name, slope in without.items():
        assert torch.equal(slope, together[name]) == name.startswith("posterior"), name
    last = "likelihood.net.output.weight"
    extra = together[last] - without[last]
    assert float(extra.norm()) == pytest.approx(0.5 * float(without[last].norm()), rel=1e-2)
    before = objective.critic(_made(made, x)).mean()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight -= 1e-3 * (together[name] - without[name])
    assert objective.critic(_made(made, x)).mean() > before
    assert all(p.grad is None for p in objective.critic.parameters())


def _made(made: Pair, x: Tensor) -> Tensor:
    torch.manual_seed(1)
    mean: Tensor = made[0](x).px.mean[0]
    return mean


def test_until_the_critic_starts_it_is_a_vae() -> None:
    states: list[Any] = []
    for objective in (ELBO(), AdaptiveGAN((64,), critic_start=4)):
        torch.manual_seed(0)
        model, _ = made = pair(objective)
        torch.manual_seed(1)
        stepped(made, steps=4)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        torch.manual_seed(1)
        stepped(made, steps=5)
        states.append(model.state_dict())
    assert all(torch.allclose(value, states[2][name]) for name, value in states[0].items())
    assert not all(torch.allclose(value, states[3][name]) for name, value in states[1].items())


def test_processes_keep_the_same_weights(tmp_path: Path) -> None:
    two_processes(tmp_path, make)


def test_an_objective_with_a_critic_of_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enter()
    objective = "adaptive-gan:width=16:critic-start=2"
    walk(tmp_path, capsys, "vae", "--latent", "2", "--objective", objective)


@pytest.mark.parametrize("option", ["--compile", "--capture"])
def test_graphs_are_refused_before_a_file_is_written(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enter()
    out = tmp_path / "run"
    assert run("train", "vae", *DATA, "--objective", "adaptive-gan", option, "--out", out) == 2
    said = capsys.readouterr().err
    assert f"AdaptiveGAN has a critic, which takes steps of its own: leave {option[2:]}" in said
    assert len(said.strip().splitlines()) == 1
    assert not out.exists()

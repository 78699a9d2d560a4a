"""Objectives with a critic: which way each player is pushed, and what the critic estimates."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from probing import DATA, resumed, run, walk
from torch import Tensor

import vaekit as vk
from vaekit.models import VAE, Trace
from vaekit.objectives import AAE, VAEGAN, FactorVAE, Objective, by_part, players
from vaekit.parts import Conditional, Gaussian, StandardNormal
from vaekit.registry import make
from vaekit.training import differentiate

ROWS = 12
Gain = Callable[[Any, Trace], Tensor]


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def small() -> tuple[VAE, Tensor]:
    """A VAE of few weights, and rows."""
    parts = [
        Conditional(vk.MLP(a, b, hidden=(3,), activation="tanh"), family)
        for a, b, family in ((3, 4, Gaussian(2)), (2, 3, Gaussian(3, scale="shared")))
    ]
    return VAE(StandardNormal(2), *parts), torch.randn(ROWS, 3)


def wide(hidden: tuple[int, ...] = (7, 5), **options: float) -> dict[str, Any]:
    return {"critic_hidden": hidden, **options}


def gain_of_factors(objective: FactorVAE, trace: Trace) -> Tensor:
    logits = objective.critic(trace.site.z[0])
    return -(logits[:, 0] - logits[:, 1]).mean()


def gain_of_codes(objective: AAE, trace: Trace) -> Tensor:
    return torch.sigmoid(objective.critic(trace.site.z[0])).log().mean()


def gain_of_images(objective: VAEGAN, trace: Trace) -> Tensor:
    (z,) = trace.model.draw_prior(ROWS)
    images = trace.px.mean[0], trace.model.likelihood(z).mean
    return sum(0.5 * torch.sigmoid(objective.critic(each)).log().mean() for each in images)  # type: ignore[return-value]


CASES: dict[str, tuple[Callable[[float], Any], Gain, str]] = {
    "factor-vae": (lambda w: FactorVAE((2,), gamma=w, **wide()), gain_of_factors, "posterior"),
    "aae": (lambda w: AAE((2,), weight=w, **wide()), gain_of_codes, "posterior"),
    "vae-gan": (
        lambda w: VAEGAN((3,), adversarial=w, pixels=1.0, **wide()), gain_of_images, "likelihood"
    ),
}  # fmt: skip


def passed(model: VAE, x: Tensor) -> Trace:
    """The same pass each time, and the same draws after it."""
    torch.manual_seed(1)
    return model(x)


def slopes(objective: Objective, model: VAE, x: Tensor) -> dict[str, Tensor]:
    """The way uphill of each weight of the model, as the loop takes it."""
    model.zero_grad()
    first = players(model, objective)[0]
    bound = objective(passed(model, x))
    differentiate(bound, len(x), lambda names: by_part(model, objective, names), first)
    return {name: -p.grad for name, p in model.named_parameters() if p.grad is not None}


def numeric(gain: Callable[[], Tensor], weights: dict[str, Any], eps: float = 1e-6) -> Tensor:
    """The gradient by central differences, of one weight after the other."""
    found = []
    with torch.no_grad():
        for weight in weights.values():
            for at in range(weight.numel()):
                value = weight.view(-1)[at].item()
                ends = []
                for end in (value + eps, value - eps):
                    weight.view(-1)[at] = end
                    ends.append(gain())
                weight.view(-1)[at] = value
                found.append((ends[0] - ends[1]) / (2 * eps))
    return torch.stack(found)


@pytest.mark.parametrize("name", CASES)
def test_what_the_critic_adds_raises_its_verdict_and_moves_one_player(
    name: str, proves: Any
) -> None:
    """Against central differences of the gain, written out anew; a wrong sign gives -1."""
    make_objective, gain, part = CASES[name]
    model, x = small()
    objective, without = make_objective(7.0), make_objective(0.0)
    without.critic.load_state_dict(objective.critic.state_dict())
    both, plain = slopes(objective, model, x), slopes(without, model, x)
    moved = {n: p for n, p in model.named_parameters() if n.startswith(part)}
    others = [n for n in both if not n.startswith(part)]
    assert others
    assert all(torch.equal(both[n], plain[n]) for n in others), "the term leaks"
    added = torch.cat([(both[n] - plain[n]).flatten() for n in moved if n in both])
    here = {n: p for n, p in moved.items() if n in both}
    expected = numeric(lambda: gain(objective, passed(model, x)), here)
    assert torch.cosine_similarity(added, expected, dim=0) > 0.99999
    what = f"objective {name}, gradient of the critic's verdict"
    proves(what, "central differences", added, 7 * expected, limit=1e-6)
    before = gain(objective, passed(model, x))
    with torch.no_grad():
        for n, p in here.items():
            p += 1e-3 * (both[n] - plain[n])
    assert gain(objective, passed(model, x)) > before


@pytest.mark.parametrize("name", CASES)
def test_neither_loss_reaches_the_other_player(name: str) -> None:
    model, x = small()
    objective = CASES[name][0](7.0)
    first, second = players(model, objective)
    slopes(objective, model, x)
    assert all(p.grad is None for p in second)
    loss = objective.critic_loss(passed(model, x))
    assert loss.shape == (ROWS,)
    reached = torch.autograd.grad(loss.sum(), first, allow_unused=True, retain_graph=True)
    assert all(each is None for each in reached)
    assert all(bool(g.abs().max() > 0) for g in torch.autograd.grad(loss.sum(), second))


@pytest.mark.parametrize("name", CASES)
def test_the_term_waits_for_the_critic(name: str) -> None:
    model, x = small()
    objective, without = CASES[name][0](7.0), CASES[name][0](0.0)
    objective.critic_on.fill_(0.0)
    without.critic.load_state_dict(objective.critic.state_dict())
    one, other = slopes(objective, model, x), slopes(without, model, x)
    assert all(torch.equal(one[n], other[n]) for n in other)


class Drawn:
    """A trace of codes alone."""

    def __init__(self, z: Tensor) -> None:
        self.z, self.site = z[None], self


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_a_trained_critic_finds_the_total_correlation(rho: float, proves: Any) -> None:
    """Of a Gaussian it is -1/2 log det of its correlations."""
    torch.set_default_dtype(torch.float32)
    correlation = torch.full((3, 3), rho) + (1 - rho) * torch.eye(3)
    mix = torch.linalg.cholesky(correlation)
    objective = FactorVAE((3,), **wide((64, 64)))
    adam = torch.optim.Adam(objective.critic.parameters(), lr=3e-3)
    for step in range(600):
        adam.param_groups[0]["lr"] = 3e-3 * (1 - step / 600)
        adam.zero_grad()
        drawn: Any = Drawn(torch.randn(1000, 3) @ mix.T)
        objective.critic_loss(drawn).mean().backward()
        adam.step()
    with torch.no_grad():
        found = objective.ratio(torch.randn(100_000, 3) @ mix.T).mean()
    exact = -0.5 * float(torch.logdet(correlation))
    proves("objective factor-vae, total correlation", "-1/2 log det", found, exact, limit=0.06)


def test_a_permutation_keeps_each_dimension_and_parts_them() -> None:
    z = torch.randn(4000, 1).repeat(1, 4) + torch.arange(4.0)
    mixed = FactorVAE.permuted(z)
    assert torch.equal(mixed.sort(0).values, z.sort(0).values)
    assert (torch.corrcoef(mixed.T) - torch.eye(4)).abs().max() < 0.08
    assert (mixed != z).float().mean() > 0.99


@pytest.mark.parametrize("rows", [4, 5, 9])
def test_the_critic_sees_the_second_half_as_it_is(rows: int) -> None:
    """And the first one permuted: by the logarithms of two softmaxes, each half with weight 1/2."""
    z = torch.randn(rows, 2)
    objective, half, seen = FactorVAE((2,), **wide()), rows // 2, []
    plain = objective.ratio
    objective.ratio = lambda z: (seen.append(z), plain(z))[1]  # type: ignore[method-assign,func-returns-value]
    drawn: Any = Drawn(z)
    loss = objective.critic_loss(drawn)
    assert torch.equal(seen[1], z[half:])
    assert torch.equal(seen[0].sort(0).values, z[:half].sort(0).values)
    log_p = [objective.critic(each).log_softmax(1) for each in (seen[0], seen[1])]
    expected = -0.5 * (log_p[0][:, 1].mean() + log_p[1][:, 0].mean())
    torch.testing.assert_close(loss.mean(), expected)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_too_few_rows_teach_the_critic_nothing(rows: int) -> None:
    objective, drawn = FactorVAE((2,), **wide()), Drawn(torch.randn(rows, 2))
    loss = objective.critic_loss(drawn)  # type: ignore[arg-type]
    assert loss.shape == (rows,)
    second = list(objective.critic.parameters())
    assert not any(bool(g.any()) for g in torch.autograd.grad(loss.sum(), second))


def test_the_losses_of_critics_are_cross_entropies() -> None:
    """A critic that knows nothing pays log 2 for each of two classes, and one that knows less."""
    model, x = small()
    trace = passed(model, x)
    for objective in (AAE((2,), **wide()), VAEGAN((3,), **wide())):
        torch.nn.init.zeros_(objective.critic.output.weight)
        torch.nn.init.constant_(objective.critic.output.bias, 1.5)
        expected = math.log1p(math.exp(-1.5)) + math.log1p(math.exp(1.5))
        torch.testing.assert_close(objective.critic_loss(trace), torch.full((ROWS,), expected))


def test_the_likelihood_of_features_is_of_the_critics_last_layer() -> None:
    """By hand: -1/2 |f(x) - f(y)|^2, with f all of the critic but its last map."""
    model, x = small()
    objective = VAEGAN((3,), features=2.0, adversarial=0.0, **wide())
    trace = passed(model, x)
    target: Any = objective(trace).target
    apart = objective.critic.body(x) - objective.critic.body(trace.px.mean[0])
    torch.testing.assert_close(target["rest"], -apart.square().sum(1) - trace.kl[0])
    assert torch.equal(target["posterior"], target["rest"])
    assert torch.equal(objective(trace).value, (trace.log_likelihood - trace.kl)[0])
    weight = model.likelihood.net.output.weight
    here = slopes(objective, model, x)["likelihood.net.output.weight"]

    def gain() -> Tensor:
        seen = objective.critic.body(passed(model, x).px.mean[0])
        return -(objective.critic.body(x) - seen).square().sum(1).mean()

    torch.testing.assert_close(here.flatten(), numeric(gain, {"": weight}), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("pixels", [0.0, 2.0])
def test_a_learned_scale_goes_up_the_likelihood_whatever_pixels_weigh(pixels: float) -> None:
    """Of N errors e of D elements each: d log p / d log s = sum e^2 / s^2 - D, the mean over N."""
    model, x = small()
    model.likelihood.family.scale.log_scale.data.fill_(-0.7)
    (slope,) = (
        value
        for name, value in slopes(VAEGAN((3,), pixels=pixels, **wide()), model, x).items()
        if name.startswith("likelihood.family")
    )
    errors = (x - passed(model, x).px.mean[0]).square().sum(1)
    torch.testing.assert_close(slope, (errors * math.exp(1.4) - 3).mean())


def test_gaps_are_no_evidence_for_the_critic() -> None:
    model, x = small()
    model.gaps = True
    x[:, 1] = torch.nan
    objective = VAEGAN((3,), **wide())
    seen: list[Tensor] = []
    objective.critic.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    objective.critic_loss(passed(model, x))
    assert len(seen) == 3
    assert all(not bool(each[:, 1].any()) for each in seen)


def test_the_critics_are_those_of_the_papers() -> None:
    critic = FactorVAE((10,)).critic
    shapes = [tuple(p.shape) for p in critic.parameters() if p.dim() > 1]
    assert shapes == [(1000, 10), *[(1000, 1000)] * 5, (2, 1000)]
    assert [each.negative_slope for each in critic.body[1::2]] == [0.2] * 6
    assert VAEGAN((1, 28, 28)).critic.output.in_features == 32 * 7 * 7
    optimizer = vk.training.make_critic(FactorVAE((2,), **wide()))
    assert optimizer is not None
    assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-4, (0.5, 0.9))


def test_a_vae_gan_keeps_its_last_weights_since_its_elbo_ranks_no_epochs(tmp_path: Path) -> None:
    how: Any = {"net": "mlp:hidden=8", "epochs": 3, "latent": 2, "report": False}
    run = vk.train("vae_gan", data="digits", limit=200, out=tmp_path / "r", **how)
    records = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [each.get("compares") for each in records] == [False] * 3
    assert records[-1]["best"] is True


RECIPES = {"factor_vae": ":critic-hidden=16", "aae": ":critic-hidden=16", "vae_gan": ":pixels=1"}
BY_HAND = ("--net", "mlp:hidden=16", "--latent", "2")


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_go_the_whole_way_and_resume_bit_for_bit(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_default_dtype(torch.float32)
    asked = ("latent", "reconstruction") if recipe == "aae" else ("nll:samples=8", "latent")
    options = ("--objective", f"{RECIPES[recipe]}:critic-start=1:critic-steps=2")
    walk(tmp_path, capsys, recipe, *BY_HAND, *options, asked=asked)


@pytest.mark.parametrize("option", ["--compile", "--capture"])
def test_graphs_of_one_player_are_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_default_dtype(torch.float32)
    out = tmp_path / "run"
    assert run("train", "aae", *DATA, *BY_HAND, option, "--out", out) == 2
    said = capsys.readouterr().err
    assert f"AAE has a critic, which takes steps of its own: leave {option[2:]}" in said
    assert not out.exists()


def test_a_batch_that_cannot_be_permuted_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_default_dtype(torch.float32)
    out = tmp_path / "run"
    how = ("--objective", ":critic-hidden=8", "--batch-size", 1, "--out", out)
    assert run("train", "factor_vae", *DATA, *BY_HAND, *how) == 2
    said = capsys.readouterr().err.strip()
    assert "FactorVAE compares the rows of a batch: expected 4 or more" in said
    assert len(said.splitlines()) == 1
    assert not out.exists()


def test_a_critic_and_its_optimizer_are_in_the_checkpoint(tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)
    path = resumed(tmp_path, "aae", *BY_HAND, "--objective", ":critic-hidden=16")
    runs = [vk.load(each) for each in (path, tmp_path / "parted")]
    one, other = (each.objective.critic.state_dict() for each in runs)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    fresh = AAE((2,), critic_hidden=(16,)).critic.state_dict()
    assert not all(torch.equal(value, fresh[name]) for name, value in one.items())


def test_the_nets_of_the_study_have_its_layers_and_numbers() -> None:
    """Locatello et al., arXiv 1811.12359: weights and biases of each layer, counted by hand."""
    nets = make("net", {"name": "conv-study"})
    encoder, decoder = nets.encoder((1, 64, 64), (20,)), nets.decoder((10,), (1, 64, 64), 10)
    counts = [
        [sum(p.numel() for p in layer.parameters()) for layer in net.modules()
         if hasattr(layer, "weight")]
        for net in (encoder, decoder)
    ]  # fmt: skip
    assert counts[0] == [
        *(16 * 32 + 32, 16 * 32 * 32 + 32, 16 * 32 * 64 + 64, 16 * 64 * 64 + 64),
        *(1024 * 256 + 256, 256 * 20 + 20),
    ]
    assert counts[1] == [
        *(10 * 256 + 256, 256 * 1024 + 1024),
        *(16 * 64 * 64 + 64, 16 * 64 * 32 + 32, 16 * 32 * 32 + 32, 16 * 32 + 1),
    ]
    x = torch.rand(2, 1, 64, 64)
    sizes: list[tuple[int, ...]] = []
    for net in (encoder, decoder):
        for layer in net.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                layer.register_forward_hook(lambda *given: sizes.append(tuple(given[2].shape[1:])))
    assert encoder(x).shape == (2, 20)
    assert decoder(torch.randn(2, 10)).shape == x.shape
    down = [(32, 32, 32), (32, 16, 16), (64, 8, 8), (64, 4, 4)]
    assert sizes == [*down, (64, 8, 8), (32, 16, 16), (32, 32, 32), (1, 64, 64)]
    code = make("net", {"name": "conv-study", "kernel": (4, 4, 2, 2), "decoder_kernel": (4,)})
    kernels = [layer.kernel_size[0] for layer in code.encoder((1, 64, 64), (20,)).modules()
               if isinstance(layer, torch.nn.Conv2d)]  # fmt: skip
    assert kernels == [4, 4, 2, 2]


def test_the_ratio_of_a_pass_is_each_objective_s_own_with_and_without_gradients() -> None:
    model, x = small()
    trace = model(x)
    one, other = (FactorVAE((2,), **wide()) for _ in range(2))
    with torch.no_grad():
        first = one(trace).value
    assert one(trace).target.requires_grad  # type: ignore[union-attr]
    assert torch.equal(one(trace).value, first)
    assert not torch.allclose(other(trace).parts["tc"], one(trace).parts["tc"])

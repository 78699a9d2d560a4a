"""Whose gradient is whose: losses by part, a critic, and rows that all count alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vaekit as vk
from vaekit._torchutil import load_state, save_state
from vaekit.data import Batches, Split
from vaekit.distributions import Offer
from vaekit.models import VAE, Trace
from vaekit.objectives import (
    ELBO,
    Objective,
    Reconstruction,
    Weight,
    by_part,
    over_samples,
    players,
    require,
)
from vaekit.parts import Conditional, Delta, Gaussian, StandardNormal
from vaekit.training import (
    DivergedError,
    Progress,
    differentiate,
    fit,
    make_optimizer,
)


def vae(family: type[Any] = Gaussian, prior: Any = None) -> VAE:
    torch.manual_seed(0)
    q = family(2)
    return VAE(
        StandardNormal(2) if prior is None else prior,
        Conditional(vk.MLP(6, q.param_shape, hidden=(8,)), q),
        Conditional(vk.MLP(2, 6, hidden=(8,)), Gaussian(6, scale=1.0)),
    )


def rows(count: int, size: int, **options: Any) -> Batches:
    x = torch.rand(count, 6, generator=torch.Generator().manual_seed(3))
    return Batches(Split(x), size, **options)


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    found = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    return found


class Split2(ELBO):
    """Another loss for each of these parts."""

    def __init__(self, **factors: float) -> None:
        super().__init__()
        self.factors = {name.replace("__", "."): factor for name, factor in factors.items()}

    def surrogate(self, trace: Trace, value: Tensor) -> dict[str, Tensor]:
        return {name: factor * value for name, factor in self.factors.items()}


class Learns(Split2):
    """It has a parameter of its own."""

    def __init__(self, **factors: float) -> None:
        super().__init__(**factors)
        self.log_price = nn.Parameter(torch.zeros(()))

    def value(self, trace: Trace) -> Tensor:
        return super().value(trace) - self.log_price.exp() * over_samples(trace.kl)


def test_a_part_is_any_submodule_and_the_rest_is_all_others() -> None:
    """Against the gradient of the value: each part's own factor times it."""
    model, objective = vae(), Learns(posterior__net=2.0, likelihood__net__body=3.0, rest=5.0)
    x = torch.rand(7, 6)
    torch.manual_seed(1)
    value = objective.value(model(x))
    everything = [*model.parameters(), *objective.parameters()]
    plain = torch.autograd.grad(-value.sum() / 7, everything)
    torch.manual_seed(1)
    loss = differentiate(objective(model(x)), 7, lambda n: by_part(model, objective, n))
    names = [n for n, _ in (*model.named_parameters(), *objective.named_parameters())]
    assert names[-1] == "log_price"
    for name, parameter, expected in zip(names, everything, plain, strict=True):
        factor = {"poster": 2.0, "likeli": 3.0 if ".body." in name else 5.0}.get(name[:6], 5.0)
        torch.testing.assert_close(parameter.grad, factor * expected, rtol=1e-4, atol=1e-6)
    assert loss == pytest.approx(-10 * value.sum().item() / 7, rel=1e-5)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"posteror": 1.0, "rest": 1.0}, "'posteror'; did you mean 'posterior'"),
        ({"posterior__nett": 1.0, "rest": 1.0}, "did you mean 'posterior.net'"),
        ({"posterior": 1.0}, "no part of the surrogate is for likelihood.net.body.0.weight: add"),
        ({"posterior": 1.0, "likelihood": 1.0}, "is for objective.log_price: add one, or 'rest'"),
        (
            {"posterior": 1.0, "posterior__net": 1.0, "rest": 1.0},
            "parts posterior and posterior.net of the surrogate share parameters",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_a_line(
    factors: dict[str, float], message: str
) -> None:
    model, objective = vae(), Learns(**factors)
    adam = make_optimizer("adam", players(model, objective)[0], lr=1e-3)
    with pytest.raises(vk.VaekitError, match=message) as caught:
        fit(model, objective, rows(8, 4), steps=1, optimizer=adam)
    assert len(str(caught.value).splitlines()) == 1


def test_parts_without_parameters_and_frozen_ones_are_skipped() -> None:
    model = vae()
    model.likelihood.requires_grad_(False)
    names = ("prior", "likelihood", "posterior", "rest")
    found = by_part(model, ELBO(), names)
    assert [name for name, _ in found] == ["posterior"]
    objective = Split2(prior=9.0, likelihood=9.0, posterior=1.0)
    adam = make_optimizer("adam", model.posterior.parameters(), lr=1e-3)
    assert fit(model, objective, rows(8, 4), steps=2, optimizer=adam).step == 2


def test_the_critic_is_in_no_part() -> None:
    model, objective = vae(), Learns(posterior=1.0, rest=1.0)
    objective.critic = nn.Linear(3, 1)
    parts = by_part(model, objective, ("posterior", "rest"))
    found = [p for _, own in parts for p in own]
    assert {id(p) for p in found} == {id(p) for p in [*model.parameters(), objective.log_price]}
    assert len(found) == len(list(model.parameters())) + 1


def test_parts_are_looked_up_once_and_the_last_graph_is_freed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, objective, looked = vae(), Split2(posterior=1.0, rest=1.0), []
    adam = make_optimizer("adam", model.parameters(), lr=1e-3)

    def noted(*asked: Any) -> Any:
        looked.append(asked)
        return by_part(*asked)

    monkeypatch.setattr("vaekit.training._update.by_part", noted)
    fit(model, objective, rows(32, 4), steps=8, optimizer=adam)
    assert len(looked) == 1
    bound = objective(model(torch.rand(4, 6)))
    differentiate(bound, 4, lambda names: by_part(model, objective, names))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        bound.value.sum().backward()


def test_a_penalty_is_in_every_part_of_a_surrogate() -> None:
    class Held(VAE):
        def penalty(self, state: Any, sites: Any) -> Tensor:
            return 7 * self.posterior.net.output.bias.sum().square().expand(len(sites[0].z[0]))

    torch.manual_seed(0)
    held = Held(*(getattr(vae(), part) for part in ("prior", "posterior", "likelihood")))
    found = []
    for objective in (ELBO(), Split2(posterior=1.0, rest=1.0)):
        torch.manual_seed(1)
        bound = objective(held(torch.ones(4, 6)))
        differentiate(bound, 4, lambda names, o=objective: by_part(held, o, names))
        found.append(gradients(held))
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name])
    plain = vae()
    plain.load_state_dict(held.state_dict())
    torch.manual_seed(1)
    differentiate(ELBO()(plain(torch.ones(4, 6))), 4)
    moved = gradients(plain)["posterior.net.output.bias"]
    assert not torch.allclose(moved, found[1]["posterior.net.output.bias"])  # type: ignore[arg-type]


@pytest.mark.parametrize("factors", [{}, {"posterior": 1.0, "rest": 1.0}])
def test_every_row_counts_alike(factors: dict[str, float]) -> None:
    """64 + 64 + 22 rows over the nominal 64, summed, are 150 rows over 64."""
    model = vae(Delta)

    class Autoencoder(Reconstruction):
        def surrogate(self, trace: Trace, value: Tensor) -> Any:
            return dict.fromkeys(factors, value) or None

    sgd = torch.optim.SGD(model.parameters(), lr=0.0)
    found: list[dict[str, Tensor | None]] = []
    sgd.register_step_pre_hook(lambda *_: found.append(gradients(model)))
    fit(model, Autoencoder(), rows(150, 64), steps=3, optimizer=sgd)
    whole = differentiate(Autoencoder()(model(rows(150, 150).epoch(0).__next__().x)), 64,
                          lambda names: by_part(model, Autoencoder(), names))  # fmt: skip
    assert whole.isfinite()
    assert [len(found), sum(g is None for each in found for g in each.values())] == [3, 0]
    for name, gradient in gradients(model).items():
        summed = sum(each[name] for each in found)  # type: ignore[misc]
        torch.testing.assert_close(summed, gradient, rtol=1e-5, atol=1e-6)


def test_a_batch_larger_than_the_rows_is_a_whole_one() -> None:
    model, found = vae(Delta), []
    sgd = torch.optim.SGD(model.parameters(), lr=0.0)
    sgd.register_step_pre_hook(lambda *_: found.append(gradients(model)))
    for size in (50, 500):
        fit(model, Reconstruction(), rows(50, size), steps=1, optimizer=sgd)
    assert all(torch.allclose(a, b) for a, b in zip(*(f.values() for f in found), strict=True))  # type: ignore[arg-type]


class Judged(Reconstruction):
    """A critic tells z from two columns of x; the posterior fools it."""

    critic_on: Tensor
    critic_lr = 0.02

    def __init__(self, *, start: int = 0, steps: int = 1, price: float = 1.0) -> None:
        super().__init__()
        self.critic = vk.MLP(2, 1, hidden=(8,))
        self.critic_on = Weight(-1.0)
        self.price, self.critic_start, self.critic_steps = price, start, steps
        self.judged = 0

    def value(self, trace: Trace) -> Tensor:
        return super().value(trace)

    def surrogate(self, trace: Trace, value: Tensor) -> Tensor:
        fooled = self.critic(trace.site.z[0]).squeeze(1)
        return value - self.price * self.critic_on * nn.functional.softplus(-fooled)

    def critic_loss(self, trace: Trace) -> Tensor:
        self.judged += 1
        z = trace.site.z[0].detach()
        real = trace.x[:, :2]
        soft = nn.functional.softplus
        return (soft(self.critic(z)) + soft(-self.critic(real))).squeeze(1)


def stepped(model: VAE, objective: Judged, **options: Any) -> Progress:
    first, _ = players(model, objective)
    torch.manual_seed(2)
    return fit(model, objective, rows(40, 16), optimizer=make_optimizer("adam", first, lr=0.01),
               **options)  # fmt: skip


def test_two_players_get_their_own_gradients_before_either_steps() -> None:
    """Against the gradients of a hand-written step; no gradient is left over."""
    model, objective = vae(Delta), Judged()
    batches = rows(40, 16)
    x = next(iter(batches.epoch(0))).x
    objective.critic_on.fill_(1.0)
    trace = model(x)
    first, second = players(model, objective)
    assert not {id(p) for p in first} & {id(p) for p in second}
    of_first = torch.autograd.grad(-objective(trace).target.sum() / 16, first)
    of_second = torch.autograd.grad(objective.critic_loss(trace).sum() / 16, second)
    seen: dict[str, list[Tensor]] = {}
    sgd, other = torch.optim.SGD(first, lr=0.5), torch.optim.SGD(second, lr=0.5)
    for name, player in (("first", sgd), ("second", other)):
        held = first if name == "first" else second
        player.register_step_pre_hook(
            lambda *_, n=name, h=held: seen.update({n: [p.grad.clone() for p in h]})
        )
    fit(model, objective, batches, steps=1, optimizer=sgd, critic=other)
    for got, expected in ((seen["first"], of_first), (seen["second"], of_second)):
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b)
    assert all(p.grad is None for p in (*first, *second))


def test_the_critic_waits_and_the_term_with_it() -> None:
    model, objective = vae(Delta), Judged(start=3)
    before = [p.clone() for p in objective.critic.parameters()]
    on, moved = [], []

    def note(progress: Progress) -> None:
        on.append(objective.critic_on.item())
        now = objective.critic.parameters()
        moved.append(any(bool((a != b).any()) for a, b in zip(before, now, strict=True)))

    stepped(model, objective, steps=5, on_step=note)
    assert on == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert moved == [False, False, False, True, True]
    alone = vae(Delta)
    adam = make_optimizer("adam", alone.parameters(), lr=0.01)
    fit(alone, Reconstruction(), rows(40, 16), steps=3, optimizer=adam)
    again = vae(Delta)
    stepped(again, Judged(start=3), steps=3)
    for a, b in zip(alone.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_further_steps_judge_again_with_the_critic_that_has_stepped() -> None:
    """Against a loop by hand from the same trace: the model takes one step, the critic three."""
    model, objective = vae(Delta), Judged(steps=3)
    x = next(iter(rows(40, 16).epoch(0))).x
    hand = Judged()
    hand.load_state_dict(objective.state_dict())
    trace = model(x)
    sgd = torch.optim.SGD(hand.critic.parameters(), lr=0.5)
    for _ in range(3):
        sgd.zero_grad()
        (hand.critic_loss(trace).sum() / 16).backward()
        sgd.step()
    first, second = players(model, objective)
    fit(model, objective, rows(40, 16), steps=1, optimizer=torch.optim.SGD(first, lr=0.1),
        critic=torch.optim.SGD(second, lr=0.5))  # fmt: skip
    assert objective.judged == 3
    for a, b in zip(hand.critic.parameters(), second, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_training_with_a_critic_resumes_bit_for_bit(at: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"schedules": {"critic_lr": lambda s: 0.01 * (s + 1)}}
    model, whole = vae(Delta), Judged(start=1, steps=2)
    stepped(model, whole, steps=7, **options)
    half, cut = vae(Delta), Judged(start=1, steps=2)
    progress = stepped(half, cut, steps=at, **options)
    assert progress.critic is not None
    assert progress.critic.param_groups[0]["lr"] == pytest.approx(0.01 * at)
    save_state(tmp_path / "state", progress.state())
    other, rest = vae(Delta), Judged(start=1, steps=2)
    stepped(other, rest, steps=7, resume=load_state(tmp_path / "state"), **options)
    for a, b in ((model, other), (whole, rest)):
        assert a.state_dict().keys() == b.state_dict().keys()
        assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_the_options_of_the_critic_are_the_objectives() -> None:
    objective = Judged()
    objective.critic_optimizer = "sgd"
    progress = stepped(vae(Delta), objective, steps=1)
    assert type(progress.critic).__name__ == "SGD"
    assert progress.critic.param_groups[0]["lr"] == 0.02  # type: ignore[union-attr]
    for name, value, message in (
        ("critic_optimizer", "adm", "did you mean 'adam'"),
        ("critic_steps", 0, "got `critic_steps=0`"),
        ("critic_lr", 0.0, "got `critic_lr=0.0"),
    ):
        bad = Judged()
        setattr(bad, name, value)
        with pytest.raises(vk.VaekitError, match=message):
            stepped(vae(Delta), bad, steps=1)


def refused() -> Iterator[tuple[dict[str, Any], str]]:
    yield {"compiled": True}, "Judged has a critic, .*: leave compile"
    yield {"captured": True}, "Judged has a critic, .*: leave capture"


@pytest.mark.parametrize(("options", "message"), list(refused()))
def test_a_critic_is_refused_where_steps_are_graphs(options: Any, message: str) -> None:
    with pytest.raises(vk.VaekitError, match=message):
        stepped(vae(Delta), Judged(), steps=1, **options)


def test_a_critic_that_hides_the_part_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Hidden\.critic hides the part"):

        class Hidden(Reconstruction):
            critic = None  # type: ignore[assignment]

    class Mixin:
        critic = 3

    with pytest.raises(TypeError, match=r"Mixed\.critic hides the part"):

        class Mixed(Mixin, Reconstruction):  # type: ignore[misc]
            pass

    model, objective = vae(Delta), Judged()
    everything = [*model.parameters(), *objective.parameters()]
    adam = make_optimizer("adam", everything, lr=0.1)
    with pytest.raises(vk.VaekitError, match="the optimizer holds parameters of the critic"):
        fit(model, objective, rows(40, 16), steps=1, optimizer=adam)
    adam = make_optimizer("adam", model.parameters(), lr=0.1)
    with pytest.raises(vk.VaekitError, match="unknown weight 'critic_lr'"):
        fit(model, Reconstruction(), rows(40, 16), steps=1, optimizer=adam,
            schedules={"critic_lr": float})  # fmt: skip


def test_a_critic_whose_loss_is_no_number_is_named_before_it_steps() -> None:
    class Broken(Judged):
        def critic_loss(self, trace: Trace) -> Tensor:
            loss = super().critic_loss(trace)
            return loss * float("nan") if self.judged == at else loss

    for at, steps in ((3, 1), (4, 2)):
        objective = Broken(steps=steps)
        with pytest.raises(DivergedError, match="the critic's loss is not finite"):
            stepped(vae(Delta), objective, steps=4)
        assert all(bool(p.isfinite().all()) for p in objective.parameters())
        assert objective.judged == at


class TakesPosterior(StandardNormal):
    needs = vk.distributions.offering("density")


def test_separate_is_offered_where_nothing_shares_the_posteriors_parameters() -> None:
    class Apart(Objective):
        needs = frozenset({Offer.SEPARATE})

        def value(self, trace: Trace) -> Tensor:
            return over_samples(trace.log_likelihood)

    require(Apart(), vae())
    tied = vae()
    tied.likelihood.net.body[0].bias = tied.posterior.net.body[0].bias
    for model in (tied, vae(prior=TakesPosterior(2))):
        assert Offer.SEPARATE not in model.offers
        with pytest.raises(vk.VaekitError, match=r"Apart needs .* \(separate\), .* Take a prior"):
            require(Apart(), model)

"""Captured steps against eager ones: the same noise, the same losses, weights and checkpoints."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from replay import Replayed
from torch.utils._pytree import tree_flatten

import vaekit as vk
from vaekit._train_options import Data
from vaekit.data import load, prepare
from vaekit.training import fit, make_optimizer, parse

CASES: dict[str, dict[str, Any]] = {
    "vae": {"latent": 2},
    "beta_vae": {"latent": 2, "objective": ":beta=4"},
    "sigma_vae": {"latent": 2},
    "iwae": {"latent": 2, "objective": ":samples=3"},
    "cvae": {"latent": 2},
    "vae of convolutions": {"latent": 2},
    "vae with batch norm and dropout": {"latent": 2},
}
STEPS, SIZES = 14, 2  # of seven epochs, in two sizes of batch
WARM_UP = 3  # steps of each size before it is captured


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Replayed]:
    """What was captured."""
    made: list[Replayed] = []

    def graphs(device: torch.device) -> Replayed:
        made.append(Replayed(device))
        return made[-1]

    monkeypatch.setitem(vk.training._graphs.GRAPHS, "cpu", graphs)
    return made


def trained(case: str, **options: Any) -> tuple[list[dict[str, float]], vk.training.Progress]:
    """The numbers of each epoch, and where the training then is."""
    torch.manual_seed(0)
    data = prepare(load("digits"), Data(context="label" if case == "cvae" else "none"))
    net = "conv:channels=4,8" if "conv" in case else "mlp:hidden=16"
    net += ":norm=batch:dropout=0.1" if "norm" in case else ""
    made = vk.recipes.build(case.split()[0], data.spec(), **CASES[case], net=net)
    batches = vk.Batches(data.train, 1000)
    parameters = [*made.model.parameters(), *made.objective.parameters()]
    optimizer = make_optimizer(options.pop("optimizer", "adam"), parameters, lr=1e-3)
    schedules = {"lr": parse(f"linear:0.001:0.01:{STEPS}")}
    if hasattr(made.objective, "beta"):
        schedules["beta"] = parse(f"linear:0:4:{STEPS}")
    found: list[dict[str, float]] = []

    def note(progress: vk.training.Progress) -> None:
        found.append({**progress.means, "norm": progress.gradient_norm or 0.0})

    options = {"steps": STEPS, "schedules": schedules, "on_epoch": note, **options}
    return found, fit(made.model, made.objective, batches, optimizer=optimizer, **options)


def assert_same(state: Any, wanted: Any) -> None:
    """Two states of a progress."""
    (one, shape), (other, wanted_shape) = tree_flatten(state), tree_flatten(wanted)
    assert shape == wanted_shape
    for left, right in zip(one, other, strict=True):
        if isinstance(left, torch.Tensor | float):
            torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
        else:
            assert left == right


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_captured_steps_are_the_eager_ones(
    case: str, clip: float | None, graphs: list[Replayed]
) -> None:
    numbers, eager = trained(case, clip=clip)
    assert graphs == []
    again, replayed = trained(case, clip=clip, captured=True)
    assert [graph.captured for graph in graphs] == [SIZES]
    assert graphs[0].replayed == STEPS - SIZES * WARM_UP
    for one, other in zip(again, numbers, strict=True):
        if clip is None:  # which steps tell the norm is alike too
            assert one.keys() == other.keys()
        assert one == pytest.approx(other, rel=1e-5)
    assert_same(replayed.state(), eager.state())


def test_what_is_frozen_in_a_graph_is_found_by_these_tests(graphs: list[Replayed]) -> None:
    class Frozen(vk.training._graphs.Captured):
        def _fill_rates(self) -> None:
            if not self._ready:
                super()._fill_rates()

    _, eager = trained("vae")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vk.training._update, "Captured", Frozen)
        _, frozen = trained("vae", captured=True)
    with pytest.raises(AssertionError):
        assert_same(frozen.state(), eager.state())


@pytest.mark.parametrize("captured_first", [True, False])
def test_a_training_goes_on_from_the_other_ones_checkpoint(
    captured_first: bool, graphs: list[Replayed]
) -> None:
    _, whole = trained("vae")
    _, half = trained("vae", steps=9, captured=captured_first)
    state = half.state()
    assert isinstance(state["optimizer"]["param_groups"][0]["lr"], float)
    assert not state["optimizer"]["param_groups"][0]["capturable"]
    _, rest = trained("vae", resume=state, captured=not captured_first)
    assert_same(rest.state(), whole.state())


def test_a_value_that_is_read_while_a_step_is_captured_is_refused(graphs: list[Replayed]) -> None:
    class Reads(vk.ELBO):
        def value(self, trace: Any) -> torch.Tensor:
            assert trace.kl.sum().item() >= 0
            return super().value(trace)

    data = load("digits")
    made = vk.recipes.build("vae", data.spec(), latent=2)
    adam = make_optimizer("adam", made.model.parameters(), lr=1e-3)
    batches = vk.Batches(data.train, 500)
    with pytest.raises(RuntimeError, match="reads from the device"):
        fit(made.model, Reads(), batches, steps=9, optimizer=adam, captured=True)


def test_a_divergence_is_found_later_and_names_the_first_bad_step(graphs: list[Replayed]) -> None:
    def explode(progress: vk.training.Progress) -> None:
        if progress.step == 20:
            for weight in progress.model.parameters():
                weight.data.fill_(torch.nan)

    with pytest.raises(vk.training.DivergedError, match="at step 20: the weight posterior"):
        trained("vae", steps=60, captured=True, on_step=explode)


def test_capturing_is_refused_where_it_cannot_be() -> None:
    with pytest.raises(vk.VaekitError, match="the device is cpu: leave out"):
        trained("vae", captured=True)


def test_an_optimiser_that_cannot_be_captured_is_refused(graphs: list[Replayed]) -> None:
    with pytest.raises(vk.VaekitError, match="the steps of SGD cannot be captured"):
        trained("vae", captured=True, optimizer="sgd")

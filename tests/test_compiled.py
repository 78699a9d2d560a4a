"""Compiled passes against eager ones: the same noise, the same losses and weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import vaekit as vk
from vaekit.data import load
from vaekit.training import fit

CASES: dict[str, dict[str, Any]] = {
    "vae": {"latent": 2},
    "beta_vae": {"latent": 2, "objective": ":beta=4"},
    "sigma_vae": {"latent": 2},
    "iwae": {"latent": 2, "objective": ":samples=3"},
    "vae of convolutions": {"latent": 2},
}


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Graphs are captured and differentiated, not turned into machine code; their sizes."""
    seen: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        seen.append(len(graph.graph.nodes))
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    monkeypatch.setattr("vaekit.training._graphs.BACKEND", backend)
    yield seen
    torch.compiler.reset()


def trained(case: str, **options: Any) -> tuple[list[float], torch.Tensor]:
    """Objectives of two epochs with a last batch of another size, and the weights after."""
    torch.manual_seed(0)
    data = load("digits")
    net = "conv:channels=4,8" if "conv" in case else "mlp:hidden=16"
    made = vk.recipes.build(case.split()[0], data.spec(), **CASES[case], net=net)
    batches = vk.Batches(data.train, 1000)
    found: list[float] = []
    fit(
        made.model,
        made.objective,
        batches,
        steps=4,
        optimizer=torch.optim.Adam(made.model.parameters(), lr=1e-3),
        on_epoch=lambda progress: found.append(progress.means["objective"]),
        **options,
    )
    return found, torch.cat([p.detach().flatten() for p in made.model.parameters()])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_a_captured_pass_is_the_eager_one(case: str, graphs: list[int]) -> None:
    losses, weights = trained(case)
    assert graphs == []
    again, same = trained(case, compiled=True)
    assert graphs != []
    assert again == pytest.approx(losses, rel=1e-6)
    torch.testing.assert_close(same, weights, rtol=1e-4, atol=1e-6)


def test_a_compiled_pass_that_diverges_says_how_to_look(graphs: list[int]) -> None:
    data = load("digits")
    made = vk.recipes.build("vae", data.spec(), latent=2)
    for weight in made.model.parameters():
        weight.data.fill_(torch.nan)
    adam = torch.optim.Adam(made.model.parameters(), lr=1e-3)
    batches = vk.Batches(data.train, 1000)
    with pytest.raises(vk.training.DivergedError, match="step 0: train without compile"):
        fit(made.model, made.objective, batches, steps=1, optimizer=adam, compiled=True)
    assert len(graphs) == 1

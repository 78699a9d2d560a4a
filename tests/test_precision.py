"""The numbers in which networks compute, against torch's own casts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import vaekit as vk
from vaekit.data import load
from vaekit.errors import VaekitError
from vaekit.nn import MLP, ConvDecoder, ConvEncoder, precision
from vaekit.nn.numerics import lowered
from vaekit.training import fit


def in_bfloat16(net: MLP, x: Tensor) -> Tensor:
    """The net layer by layer: each operand and each result rounded to bfloat16."""
    h = x.bfloat16()
    for layer in [*net.body, net.output]:
        if isinstance(layer, nn.Linear):
            h = nn.functional.linear(h, layer.weight.bfloat16(), layer.bias.bfloat16())
        else:
            h = layer(h)
    return h.float()


def test_products_are_rounded_and_the_output_is_not_left_so() -> None:
    torch.manual_seed(0)
    net, x = MLP(30, 5, hidden=(20, 10), activation="relu"), torch.randn(7, 30)
    exact = net(x)
    with precision("bf16"):
        found = net(x)
    assert found.dtype == torch.float32
    assert torch.equal(found, in_bfloat16(net, x))
    assert not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0.02)
    assert torch.equal(net(x), exact)  # afterwards as before


def test_gradients_reach_weights_of_full_precision() -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder((1, 12, 12), 6, channels=(4, 8))
    decoder = ConvDecoder(6, (1, 12, 12), channels=(8, 4))
    x, gradients = torch.rand(5, 1, 12, 12), []
    for name in ("fp32", "bf16"):
        with precision(name):
            ((decoder(encoder(x)) - x) ** 2).mean().backward()
        each = [p for net in (encoder, decoder) for p in net.parameters()]
        gradients.append(torch.cat([p.grad.flatten() for p in each if p.grad is not None]))
        encoder.zero_grad()
        decoder.zero_grad()
    assert gradients[1].dtype == torch.float32
    assert not torch.equal(*gradients)
    assert (gradients[0] - gradients[1]).norm() < 0.03 * gradients[0].norm()


def test_only_the_steps_of_a_training_are_lowered() -> None:
    """Same seeds: losses of the steps differ by rounding; what is done between epochs does not."""
    losses, seen = {}, []
    for name in ("fp32", "bf16"):
        torch.manual_seed(0)
        data = load("digits")
        made = vk.recipes.build("vae", data.spec(), {"latent": 2})
        progress = fit(
            made.model,
            made.objective,
            vk.Batches(data.train, 128),
            steps=24,
            optimizer=torch.optim.Adam(made.model.parameters(), lr=1e-3),
            precision=name,
            on_step=lambda progress: seen.append(("step", lowered())),
            on_epoch=lambda progress: seen.append(("epoch", lowered())),
        )
        losses[name] = progress.means["objective"]
        assert {value.dtype for value in made.model.parameters()} == {torch.float32}
    assert set(seen) == {("step", False), ("step", True), ("epoch", False)}
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=5e-3)


def test_the_command_trains_in_it(tmp_path: Path) -> None:
    told = {"data": "digits", "epochs": 1, "report": False, "latent": 2, "threads": 1}
    lines = {}
    for name in ("fp32", "bf16"):
        run = vk.train("vae", out=tmp_path / name, precision=name, **told)
        lines[name] = (run.folder.path / "metrics.jsonl").read_text()
        assert run.config.training.precision == name
    assert lines["fp32"] != lines["bf16"]


def fails(name: str) -> None:
    with precision(name):
        raise ValueError(f"{name}, lowered: {lowered()}")


def test_it_ends_with_an_error_too_and_names_what_it_takes() -> None:
    before = torch.get_float32_matmul_precision()
    for name in ("bf16", "tf32"):
        with pytest.raises(ValueError, match=f"{name}, lowered: {name == 'bf16'}"):
            fails(name)
        assert not lowered()
        assert torch.get_float32_matmul_precision() == before
    with pytest.raises(VaekitError, match="fp16"), precision("fp16"):
        pass

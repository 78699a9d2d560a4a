"""The page that holds a model: its arithmetic against PyTorch, and its controls in a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import vaekit
from vaekit.data import DataSpec
from vaekit.errors import VaekitError
from vaekit.recipes import build
from vaekit.report import Layer, Pack, explore, in_node, read_net, rounded
from vaekit.runs import Run

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
NETS: dict[str, dict[str, Any]] = {
    "mlp": {"name": "mlp", "hidden": (9, 7), "norm": "batch", "activation": "tanh"},
    "gated": {"name": "gated", "hidden": (8,)},
    "conv": {"name": "conv", "channels": (4, 6), "activation": "leaky-relu", "norm": "batch"},
    "wide": {"name": "conv", "channels": (4, 6), "kernel": (5, 4), "refine": 3, "hidden": (7,)},
    "pool": {"name": "pool", "channels": (4, 6), "activation": "relu"},
    "map": {"name": "conv", "channels": (4, 6), "map": True},
    "residual": {"name": "residual", "channels": (4, 8), "groups": 2},
    "patch": {"name": "patch", "channels": (4, 8), "hidden": (9,), "groups": 2, "depth": 2},
}


def made_by(net: nn.Module, *inputs: torch.Tensor, layers: dict[str, Layer] | None = None) -> Any:
    """What the page's engine makes of one row."""
    pack = Pack()
    read = read_net(net, inputs, layers or {}, pack)
    calls = [("it", [x.flatten().tolist() for x in inputs])]
    found = in_node({"nets": {"it": read}, "arrays": pack.arrays}, pack, calls)
    return found[0][0]


@needs_node
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("shape", [(1, 13, 10), (3, 16, 16)])
def test_the_engine_makes_what_torch_makes(net: str, shape: tuple[int, ...]) -> None:
    spec = DataSpec("t", shape, "gray" if shape[0] == 1 else "color", rows=99)
    model: Any = build("vae", spec, net=NETS[net], latent=3).model.eval()
    for part in (model.posterior.net, model.likelihood.net):
        for each in part.modules():
            if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d):
                stored: Any = each
                stored.running_mean.normal_()
                stored.running_var.uniform_(0.5, 2)
        for weight in part.parameters():
            nn.init.normal_(weight, std=0.3)
        x = torch.randn(1, *part.in_shape)
        with torch.no_grad():
            expected = part(x).flatten()
        torch.testing.assert_close(made_by(part, x), expected, rtol=2e-5, atol=2e-5)


class Steps(nn.Module):
    """What the nets above have not: each of it as PyTorch computes it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return all of it side by side."""
        a, b = x.chunk(2, 1)
        parts = [a.softmax(2), b.log_softmax(-1).clamp(-2, None), torch.stack([a, b], 2)]
        parts += [x.flip(1, 3), a.mT * b.mT + 0.5, (a - b).square().sum(1), 2 - x.exp().log1p()]
        parts += [nn.functional.elu(x), nn.functional.softplus(x), x.unbind(2)[1].asinh()]
        parts += [(7 * x).round().remainder(3), torch.floor_divide(3 * x, 2), x[:, [1, 0], 1:]]
        parts += [torch.linalg.vector_norm(x, dim=1), nn.functional.pad(a, (1, 2, 0, 1), value=2.0)]
        parts += [nn.functional.glu(x, 1), x.transpose(1, 3), 1 / (1.5 + x.sigmoid())]
        parts += [torch.addmm(a[0, 0], a[0, 1], torch.ones(5, 5).tril(), beta=2, alpha=3)]
        parts += [x.argmin(2).float(), a[:, :1].expand_as(b), x[:, :, torch.tensor([2, 0])]]
        return torch.cat([part.flatten() for part in parts])


@needs_node
def test_the_other_steps_are_those_of_torch() -> None:
    x = torch.randn(1, 4, 3, 5)
    torch.testing.assert_close(made_by(Steps(), x), Steps()(x), rtol=2e-5, atol=2e-5)


@needs_node
def test_a_transposed_convolution_has_groups_strides_and_an_end() -> None:
    x = torch.randn(1, 4, 5, 3)
    for made in (
        nn.ConvTranspose2d(4, 6, (3, 5), (2, 3), (1, 2), (1, 2), groups=2),
        nn.Conv2d(4, 6, (3, 2), (2, 1), (2, 1), dilation=(1, 2), groups=2, bias=False),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    ):
        expected = made(x).detach().flatten()
        torch.testing.assert_close(made_by(made, x), expected, rtol=1e-5, atol=1e-5)


def test_a_step_that_the_page_does_not_know_is_refused_by_its_name() -> None:
    for net, name in (
        (nn.PReLU(), "_prelu_kernel|prelu"),
        (nn.Conv2d(1, 1, 3, padding="same"), "conv2d.padding"),
    ):
        with pytest.raises(VaekitError, match=f"cannot compute `({name}|aten.{name})`"):
            read_net(net, [torch.randn(1, 1, 4, 4)], {}, Pack())


def test_rounding_is_made_up_for_where_inputs_go_together() -> None:
    weight, mixed = torch.randn(20, 30), torch.randn(30, 30) * torch.logspace(0, -2, 30)
    x = torch.randn(4000, 30) @ mixed.T
    moment = x.T @ x / len(x)
    errors = []
    for given in (None, moment):
        levels, scales = rounded(weight, 20, given)
        assert torch.equal(levels, levels.round())
        assert levels.abs().max() <= 127
        errors.append(float((x @ (levels * scales[:, None] - weight).T).square().mean()))
    assert errors[1] < errors[0] / 4
    exact, scales = rounded(weight, 32767)
    torch.testing.assert_close(exact * scales[:, None], weight, atol=1e-4, rtol=0)


@needs_node
def test_a_weight_of_two_factors_is_their_product() -> None:
    net: Any = nn.Sequential(nn.Linear(6, 5))
    u, v = torch.randint(-9, 9, (5, 2)).float(), torch.randint(-9, 9, (2, 6)).float()
    parts = ((u, torch.full((5,), 0.1)), (v, torch.tensor([0.2, 0.3])))
    weight = (u * 0.1) @ (v * torch.tensor([[0.2], [0.3]]))
    x = torch.randn(1, 6)
    got = made_by(net, x, layers={"0.weight": Layer(parts, weight)})
    expected = x @ weight.T + net[0].bias
    torch.testing.assert_close(got, expected.detach().flatten(), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    how: Any = {"epochs": 2, "limit": 400, "report": False, "latent": 4}
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return vaekit.train("cvae", data="digits", net="mlp:hidden=32", out=folder, **how)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_page_holds_all_it_needs(run: Run, tmp_path: Path, lang: str) -> None:
    made = explore(run, tmp_path / "page.html", lang=lang)
    page = made.path.read_text()
    assert "http" not in page
    assert "src=" not in page
    assert made.bits == 8
    assert made.difference <= 0.02
    assert len(page) < 400_000
    assert f"{255 * made.difference:.1f}" in page
    known = json.loads(page.partition('id="known">')[2].partition("</script>")[0])
    assert known["space"] == "reals"
    assert sorted(known["dims"]) == [0, 1, 2, 3]
    assert known["given"] == [["label", [str(k) for k in range(10)]]]
    assert [known["labels"][row] for row in known["starts"]] == list(range(10))


def test_without_node_torch_finds_the_same_difference(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = explore(run, tmp_path / "page.html")
    monkeypatch.setattr("shutil.which", lambda name: None)
    other = explore(run, tmp_path / "other.html")
    assert other.seconds is None
    assert "for want of Node" in other.path.read_text()
    assert abs(first.difference - other.difference) < 1e-5


def test_wide_nets_are_refused_with_what_to_take(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaekit.report._explore.LARGE", 1000)
    with pytest.raises(VaekitError, match="million weights, and a page holds"):
        explore(run, tmp_path / "page.html")


@pytest.fixture
def browser() -> Iterator[Any]:
    api: Any = pytest.importorskip("playwright.sync_api")
    place = shutil.which("chromium")
    if place is None:
        pytest.skip("there is no chromium")
    with api.sync_playwright() as started:
        yield started.chromium.launch(executable_path=place, args=["--no-sandbox"])


def test_a_finger_that_scrolls_over_the_plane_moves_nothing_and_a_tap_does(
    run: Run, tmp_path: Path, browser: Any
) -> None:
    made = explore(run, tmp_path / "page.html")
    how = {"viewport": {"width": 420, "height": 900}, "has_touch": True, "is_mobile": True}
    context = browser.new_context(**how, offline=True, reduced_motion="reduce")
    page = context.new_page()
    page.goto(made.path.as_uri())
    page.wait_for_selector("#ex:not([aria-busy])", timeout=60_000)
    page.evaluate("get('map').scrollIntoView({ block: 'center' })")
    before = page.evaluate("[...z]")
    box = page.locator("#map").bounding_box()
    finger = {"x": box["x"] + 150, "y": box["y"] + 200, "yDistance": -150}
    touched = {**finger, "gestureSourceType": "touch"}
    context.new_cdp_session(page).send("Input.synthesizeScrollGesture", touched)
    page.wait_for_timeout(300)
    assert page.evaluate("[...z]") == before
    assert page.evaluate("getComputedStyle(get('map')).touchAction") == "pan-y"
    page.evaluate("get('map').scrollIntoView({ block: 'center' })")
    box = page.locator("#map").bounding_box()
    page.touchscreen.tap(box["x"] + 30, box["y"] + 30)
    page.wait_for_function("before => [...z].join() !== before.join()", arg=before)


@pytest.mark.parametrize(("wide", "scheme"), [(1400, "light"), (420, "dark")])
def test_the_page_is_driven_offline_without_an_error(
    run: Run, tmp_path: Path, browser: Any, wide: int, scheme: str
) -> None:
    made = explore(run, tmp_path / "page.html")
    how = {"viewport": {"width": wide, "height": 900}, "color_scheme": scheme, "offline": True}
    page = browser.new_context(**how, has_touch=wide < 500).new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(made.path.as_uri())
    page.wait_for_selector("#ex:not([aria-busy])", timeout=60_000)
    shot = "(() => document.getElementById('now').toDataURL())()"

    def changes(act: Any) -> None:
        before = page.evaluate(shot)
        act()
        page.wait_for_function(f"before => {shot} !== before", arg=before, timeout=30_000)

    changes(lambda: page.click("#starts button:nth-child(9)"))
    assert page.input_value(".given") == "8"
    code = page.evaluate("Array.from(z)")
    known = page.evaluate("Array.from(row('codes', K.starts[8]))")
    assert code == known
    context = torch.eye(10)[8:9]
    z = torch.tensor([code], dtype=torch.float32)
    expected = run.decode(z, context).flatten()
    got = page.evaluate("send({ name: 'decode', inputs: [z, ...given()] }).then(d => [...d])")
    assert float((torch.tensor(got) - expected).abs().max()) <= made.difference + 0.02
    changes(lambda: page.select_option(".given", "3"))
    slider = page.locator(".sl input").first
    slider.focus()
    changes(lambda: [slider.press("ArrowRight") for _ in range(30)])
    page.locator("#map").focus()
    changes(lambda: [page.keyboard.press("ArrowUp") for _ in range(20)])
    assert "z" in page.get_attribute("#map", "aria-label")
    box = page.locator("#map").bounding_box()
    changes(lambda: page.locator("#map").click(position={"x": 9, "y": box["height"] - 9}))
    page.select_option("#basis", "axes")
    assert page.locator(".sl button").first.inner_text() == "PC1"
    changes(lambda: page.click("#random"))
    for _ in range(2):
        count = page.locator("#film button").count()
        page.click("#pin")
        page.wait_for_function(
            "n => document.querySelectorAll('#film button').length > n", arg=count
        )
        page.click("#random")
    changes(lambda: page.click("#play"))
    page.wait_for_timeout(2500)
    image = np.full((20, 30, 3), 255, "u1")
    image[4:16, 12:18] = 0
    from PIL import Image

    Image.fromarray(image).save(tmp_path / "own.png")
    changes(lambda: page.set_input_files("#file", tmp_path / "own.png"))
    page.wait_for_selector("#duo:not([hidden])")
    assert "light and dark were exchanged" in page.inner_text("#says")
    assert page.evaluate("document.documentElement.scrollWidth") <= wide
    assert errors == []

"""The page that holds a model: its arithmetic against PyTorch, and its controls in a browser."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import vaekit
from vaekit.cli.main import main
from vaekit.data import DataSpec
from vaekit.errors import VaekitError
from vaekit.recipes import build
from vaekit.report import Layer, Pack, explore, in_node, in_torch, read_net, rounded
from vaekit.runs import Run

NETS: dict[str, dict[str, Any]] = {
    "mlp": {"name": "mlp", "hidden": (9, 7), "norm": "batch", "activation": "tanh", "scale": 0.3},
    "gated": {"name": "gated", "hidden": (8,)},
    "conv": {"name": "conv", "channels": (4, 6), "activation": "leaky-relu", "norm": "batch"},
    "wide": {"name": "conv", "channels": (4, 6), "kernel": (5, 4), "refine": 3, "hidden": (7,)},
    "pool": {"name": "pool", "channels": (4, 6), "activation": "relu"},
    "map": {"name": "conv", "channels": (4, 6), "map": True},
    "residual": {"name": "residual", "channels": (4, 8), "groups": 2},
    "patch": {"name": "patch", "channels": (4, 8), "hidden": (9,), "groups": 2, "depth": 2},
}


def check(net: nn.Module, x: torch.Tensor, expected: Any, layers: Any = None) -> None:
    """The page's steps make of one row what they should, in PyTorch, and in Node where it is."""
    pack = Pack()
    spec = {"nets": {"it": read_net(net, [x], layers or {}, pack)}, "arrays": pack.arrays}
    calls: Any = [("it", [x.flatten().tolist()])]
    for made in (in_torch(spec, pack, calls), *(in_node(spec, pack, calls) or ())[:1]):
        torch.testing.assert_close(made[0], expected.detach().flatten(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("shape", [(1, 13, 10), (3, 16, 16), (1, 67, 9)])
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
        check(part, x, part(x))


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


def test_the_other_steps_are_those_of_torch() -> None:
    x = torch.randn(1, 4, 3, 5)
    check(Steps(), x, Steps()(x))


def test_a_transposed_convolution_has_groups_strides_and_an_end() -> None:
    x = torch.randn(1, 4, 5, 3)
    for made in (
        nn.ConvTranspose2d(4, 6, (3, 5), (2, 3), (1, 2), (1, 2), groups=2),
        nn.Conv2d(4, 6, (3, 2), (2, 1), (2, 1), dilation=(1, 2), groups=2, bias=False),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.AvgPool2d((3, 2), stride=(2, 1), padding=1, count_include_pad=False, ceil_mode=True),
        nn.AvgPool2d(3, stride=2, padding=1),
        nn.AvgPool2d(2, divisor_override=3),
        nn.Upsample((11, 7), mode="bilinear"),
        nn.Upsample((3, 2), mode="bilinear"),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    ):
        check(made, x, made(x))


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


def test_a_weight_of_two_factors_is_their_product() -> None:
    net: Any = nn.Sequential(nn.Linear(6, 5))
    u, v = torch.randint(-9, 9, (5, 2)).float(), torch.randint(-9, 9, (2, 6)).float()
    parts = ((u, torch.full((5,), 0.1)), (v, torch.tensor([0.2, 0.3])))
    weight = (u * 0.1) @ (v * torch.tensor([[0.2], [0.3]]))
    x = torch.randn(1, 6)
    check(net, x, x @ weight.T + net[0].bias, {"0.weight": Layer(parts, weight)})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    how: Any = {"epochs": 20, "limit": 400, "report": False, "latent": 4}
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return vaekit.train("cvae", data="digits", net="mlp:hidden=32", out=folder, **how)


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Run:
    how: Any = {"epochs": 1, "limit": 60, "report": False}
    return vaekit.train("fsq_vae", data="digits", out=tmp_path_factory.mktemp("runs") / "c", **how)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Run:
    how: Any = {"epochs": 1, "limit": 90, "report": False, "latent": 3}
    rows = np.random.default_rng(0).normal(size=(90, 5))
    return vaekit.train("vae", data=rows, out=tmp_path_factory.mktemp("runs") / "t", **how)


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


def test_the_report_names_the_command_and_links_the_page(run: Run) -> None:
    named = f"vaekit explore {run.path}"
    page = vaekit.report.write_run_report(run)
    assert named in page.read_text()
    assert "explore.html" not in page.read_text()
    main(["explore", str(run.path)])
    vaekit.report.write_run_report(run)
    assert named not in page.read_text()
    assert '<a href="explore.html">' in page.read_text()
    assert (run.path / "explore.html").is_file()
    with pytest.raises(SystemExit, match="2"):
        main(["explore", str(run.path), "-o", str(run.path / "page.png")])
    assert not (run.path / "page.png").exists()


def test_without_node_torch_finds_the_same_difference(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = explore(run, tmp_path / "page.html")
    monkeypatch.setattr("shutil.which", lambda name: None)
    other = explore(run, tmp_path / "other.html")
    assert other.seconds is None
    assert "for want of Node" in other.path.read_text()
    assert abs(first.difference - other.difference) < 1e-5


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    api: Any = pytest.importorskip("playwright.sync_api")
    place = shutil.which("chromium")
    if place is None:
        pytest.skip("there is no chromium")
    with api.sync_playwright() as started:
        yield started.chromium.launch(executable_path=place, args=["--no-sandbox"])


@pytest.fixture
def opened(chromium: Any, run: Run, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open the page of the run without a network; whatever goes wrong in it fails the test."""
    errors: list[str] = []

    def open_page(wide: int = 1400, of: Run = run, **how: Any) -> Any:
        size = {"width": wide, "height": 900}
        page = chromium.new_context(viewport=size, offline=True, **how).new_page()
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda sent: errors.extend([sent.url] * sent.url.startswith("http")))
        page.goto(explore(of, tmp_path / "page.html").path.as_uri())
        page.wait_for_selector("#ex:not([aria-busy])", timeout=60_000)
        return page

    yield open_page
    assert errors == []


def changes(page: Any, act: Callable[[], Any]) -> None:
    """Wait for the decoded image to be another one after an act."""
    shot = "document.getElementById('now').toDataURL()"
    before = page.evaluate(shot)
    act()
    page.wait_for_function(f"before => {shot} !== before", arg=before, timeout=30_000)


@pytest.mark.parametrize(("limit", "value"), [("LARGE", 1000), ("HEAVY", 10_000), ("SLOW", -1.0)])
def test_a_model_too_large_has_codes_decoded_beforehand(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(f"vaekit.report._explore.{limit}", value)
    if limit == "SLOW":
        monkeypatch.setattr("vaekit.report._explore.in_node", slow)
    made = explore(run, tmp_path / "page.html")
    page = made.path.read_text()
    assert made.decoded == 4 * (11 * 11 + 4 * 11 + 9)
    assert f"{made.decoded} codes decoded beforehand" in str(made)
    assert "too large to compute in a page" in page
    assert "decoder run in this page" not in page
    assert made.path.stat().st_size < 1_000_000


def slow(spec: Any, pack: Pack, calls: Any) -> Any:
    """What PyTorch computes, as if it had taken a second."""
    return in_torch(spec, pack, calls), [1.0] * len(calls)


def test_codes_are_painted_in_a_page_that_computes_alone(
    coded: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LARGE", 10), ("HEAVY", 10)):
        with monkeypatch.context() as patch:
            patch.setattr(f"vaekit.report._explore.{name}", value)
            with pytest.raises(VaekitError, match="too large for a page that paints codes"):
                explore(coded, tmp_path / "page.html")


def test_codes_are_painted_by_hand(opened: Any, coded: Run) -> None:
    page = opened(of=coded)
    before = page.evaluate("[...z]")
    page.evaluate("get('brush').value = z[5] + 7")
    wide = page.locator("#tokens").bounding_box()["width"]
    side = wide / page.evaluate("columns")
    at = [side * (page.evaluate(part) + 0.5) for part in ("5 % columns", "Math.floor(5 / columns)")]
    changes(page, lambda: page.locator("#tokens").click(position={"x": at[0], "y": at[1]}))
    assert page.evaluate("[...z]") == [code + 7 * (k == 5) for k, code in enumerate(before)]
    page.keyboard.press("+")
    assert page.evaluate("z[5]") == before[5] + 8


def test_a_table_too_large_has_rows_decoded_beforehand(
    table: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaekit.report._explore.LARGE", 10)
    made = explore(table, tmp_path / "page.html")
    known = json.loads(made.path.read_text().partition('id="known">')[2].partition("</script>")[0])
    assert known["arrays"][known["named"]["made"]]["shape"] == [made.decoded, 5]
    assert made.difference < 1e-3


@pytest.mark.parametrize("most", [10, 10**9])
def test_the_bars_of_a_table_move(
    opened: Any, table: Run, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("vaekit.report._explore.LARGE", most)
    page = opened(of=table)
    page.click("#starts button:nth-child(2)")
    got = page.evaluate("send({ name: 'decode', inputs: [z] }).then(d => [...d])")
    expected = table.decode(torch.tensor([page.evaluate("[...z]")]))[0]
    torch.testing.assert_close(torch.tensor(got), expected, atol=0.02, rtol=0)
    before = page.inner_text("#bars")
    page.locator(".sl input").first.focus()
    page.keyboard.press("Home")
    page.keyboard.press("End")
    page.wait_for_function("before => get('bars').innerText !== before", arg=before)


def decoded(page: Any, run: Run, which: int) -> float:
    """By how much what the page decodes differs from the run's, given this class."""
    got = page.evaluate("send({ name: 'decode', inputs: [z, ...given()] }).then(d => [...d])")
    z = torch.tensor([page.evaluate("[...z]")])
    expected = run.decode(z, torch.eye(10)[which : which + 1]).flatten()
    return float((torch.tensor(got) - expected).abs().max())


@pytest.mark.parametrize("where", ["#map", ".sl input"])
def test_a_finger_that_scrolls_moves_nothing_and_a_tap_does(opened: Any, where: str) -> None:
    page = opened(420, has_touch=True, is_mobile=True, reduced_motion="reduce")
    target, session = page.locator(where).first, page.context.new_cdp_session(page)
    target.evaluate("one => one.scrollIntoView({ block: 'center' })")
    page.wait_for_timeout(200)
    before, top = page.evaluate("[...z]"), page.evaluate("scrollY")
    box = target.bounding_box()
    x, y = box["x"] + 0.7 * box["width"], box["y"] + box["height"] / 2
    for step in range(13):  # down by 180 pixels
        kind, points = "touchMove" if step else "touchStart", [{"x": x, "y": y + 15 * step}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(16)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") < top - 60
    assert page.evaluate("[...z]") == before
    target.evaluate("one => one.scrollIntoView({ block: 'center' })")
    box = target.bounding_box()
    page.touchscreen.tap(box["x"] + 30, box["y"] + box["height"] / 2)
    page.wait_for_function("before => [...z].join() !== before.join()", arg=before)


def test_a_film_has_the_classes_of_its_pins_and_whoever_moves_ends_it(opened: Any) -> None:
    page = opened()
    for which in (2, 9):
        changes(page, lambda which=which: page.click(f"#starts button:nth-child({which})"))
        page.click("#pin")
        page.wait_for_function("n => pins.length === n", arg=1 if which == 2 else 2)
    page.select_option(".given", "4")
    page.click("#play")
    page.wait_for_function("get('play').ariaPressed === 'true' && menus[0].selectedIndex === 1")
    page.wait_for_function("menus[0].selectedIndex === 8")
    page.click("#starts button:nth-child(5)")
    page.wait_for_timeout(300)
    assert page.get_attribute("#play", "aria-pressed") == "false"
    assert page.input_value(".given") == "4"


@pytest.mark.parametrize(("wide", "scheme"), [(1400, "light"), (420, "dark")])
def test_the_page_is_driven_by_hand(opened: Any, run: Run, wide: int, scheme: str) -> None:
    page = opened(wide, color_scheme=scheme, has_touch=wide < 500)
    changes(page, lambda: page.click("#starts button:nth-child(9)"))
    assert page.input_value(".given") == "8"
    assert page.evaluate("[...z]") == page.evaluate("[...row('codes', K.starts[8])]")
    assert decoded(page, run, 8) <= 0.02
    changes(page, lambda: page.select_option(".given", "3"))
    assert decoded(page, run, 3) <= 0.02
    box = page.locator("#map").bounding_box()
    changes(page, lambda: page.locator("#map").click(position={"x": 9, "y": box["height"] - 9}))
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 50)
    page.mouse.down()
    changes(page, lambda: page.mouse.move(box["x"] + 200, box["y"] + 60, steps=5))
    page.mouse.up()
    at = page.evaluate("[toPixel(coordinate(z, axes[0]), axes[0]), get('map').width]")
    assert at[0] / at[1] == pytest.approx(200 / box["width"], abs=0.02)
    page.wait_for_function(AT_ITS_END)
    page.select_option("#basis", "axes")
    assert page.locator(".sl button").first.inner_text() == "PC1"
    changes(page, lambda: page.click("#random"))
    for count in range(2):
        page.click("#pin")
        page.wait_for_selector(f"#film button:nth-child({count + 1})")
        page.click("#random")
    first, last = page.evaluate("pins.map(one => [...one.at])")
    changes(page, lambda: page.click("#play"))
    page.wait_for_function("last => [...z].join() === last.join()", arg=last)
    changes(page, lambda: page.click("#film button:first-child"))
    assert page.evaluate("[...z]") == first
    assert page.evaluate("document.documentElement.scrollWidth") <= wide


# Whether the last slider's second image is what the decoder makes of z at that end.
AT_ITS_END = """async () => {
  const k = sliders.length - 1, at = Float32Array.from(z);
  place(at, k, scales[k].high);
  const made = await send({ name: "decode", inputs: [at, ...given()] });
  return tile(levels(made)).toDataURL() === sliders[k].canvases[1].toDataURL();
}"""


def test_the_page_is_driven_by_the_keyboard_alone(opened: Any, run: Run) -> None:
    page = opened()

    def to(wanted: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
                return
        raise AssertionError(f"no key leads to {wanted}")

    to("#starts button:nth-child(6)")
    changes(page, lambda: page.keyboard.press("Enter"))
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "5"
    to("#map")
    changes(page, lambda: [page.keyboard.press("ArrowUp") for _ in range(20)])
    assert "z" in page.get_attribute("#map", "aria-label")
    to(".given")
    changes(page, lambda: page.keyboard.press("ArrowDown"))
    assert page.input_value(".given") == "6"
    to("#pin")
    page.keyboard.press("Enter")
    to("#random")
    changes(page, lambda: page.keyboard.press("Space"))
    to(".sl:nth-child(2) input")
    page.keyboard.press("Home")
    changes(page, lambda: page.keyboard.press("End"))
    told = page.evaluate("document.activeElement.getAttribute('aria-valuetext')")
    assert told == page.evaluate("`${named(1)} = ${number(coordinate(z, 1))}`")
    to("#film button")
    changes(page, lambda: page.keyboard.press("Enter"))
    assert decoded(page, run, 6) <= 0.02


def test_an_own_image_is_chosen_dropped_or_pasted(opened: Any, tmp_path: Path) -> None:
    from PIL import Image

    page = opened()
    names = []
    for low in (12, 3, 20):
        image = np.full((20, 30, 3), 255, "u1")
        image[4:16, low : low + 6] = 0
        names.append(tmp_path / f"own-{low}.png")
        Image.fromarray(image).save(names[-1])
    changes(page, lambda: page.set_input_files("#file", names[0]))
    page.wait_for_selector("#duo:not([hidden])")
    assert "light and dark were exchanged" in page.inner_text("#says")
    for kind, name in zip(("drop", "paste"), names[1:], strict=True):
        code = base64.b64encode(name.read_bytes()).decode()
        changes(page, partial(page.evaluate, GIVE, [kind, code]))
    page.evaluate(GIVE, ["drop", base64.b64encode(b"no image").decode()])
    page.wait_for_function("get('says').textContent.includes('no image that this browser reads')")


GIVE = """async ([kind, code]) => {
  const bytes = Uint8Array.from(atob(code), one => one.charCodeAt(0)), given = new DataTransfer();
  given.items.add(new File([bytes], "own.png", { type: "image/png" }));
  const how = { bubbles: true, dataTransfer: given, clipboardData: given };
  const made = kind === "drop" ? new DragEvent(kind, how) : new ClipboardEvent(kind, how);
  document.getElementById("drop").dispatchEvent(made);
}"""


def test_a_page_of_codes_decoded_beforehand_is_driven(
    opened: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaekit.report._explore.LARGE", 1000)
    page = opened(420)
    exact = 0.51 / 255 + 1e-3
    changes(page, lambda: page.click("#starts button:nth-child(3)"))
    assert decoded(page, run, 2) <= exact
    slider = page.locator(".sl:nth-child(3) input")
    slider.focus()
    changes(page, lambda: [slider.press("ArrowRight") for _ in range(3)])
    assert decoded(page, run, 2) <= exact
    moved = page.evaluate("[...z].map((v, k) => Math.abs(v - home()[k]) > 0.01)")
    assert moved == page.evaluate("[...z].map((v, k) => k === K.dims[2])")
    page.locator("#map").focus()
    changes(page, lambda: [page.keyboard.press("ArrowUp") for _ in range(3)])
    changes(page, lambda: page.locator("#map").click(position={"x": 20, "y": 200}))
    assert decoded(page, run, 2) <= exact
    changes(page, lambda: page.click("#play"))
    last = page.evaluate("[...row('codes', K.starts[3])]")
    near = "last => playing && Math.max(...last.map((v, k) => Math.abs(v - z[k]))) < 0.01"
    page.wait_for_function(near, arg=last, timeout=60_000)
    assert decoded(page, run, 3) <= exact
    assert page.evaluate("document.documentElement.scrollWidth") <= 420

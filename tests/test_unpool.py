"""Unpooling by remembered places: against torch's own, and what it may not claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import vaekit as vk
from vaekit import Run, VaekitError
from vaekit.cli.main import main
from vaekit.nn import UnpoolDecoder, UnpoolEncoder, start_at
from vaekit.nn.unpool import places_of, unpool

SMALL = {"channels": (6, 4), "epochs": 40, "limit": 600, "report": False, "latent": 3, "lr": 1e-2}


@pytest.mark.parametrize("ceil", [True, False])
@pytest.mark.parametrize("grid", [(8, 6), (9, 7), (1, 5), (2, 3)])
def test_unpooling_is_that_of_torch(grid: tuple[int, int], ceil: bool) -> None:
    if not ceil and min(grid) < 2:
        return
    x = torch.randn(3, 4, *grid)
    h, index = F.max_pool2d(x, 2, ceil_mode=ceil, return_indices=True)
    row, column = index // grid[1], index % grid[1]
    wanted = F.max_unpool2d(h, index, 2, output_size=grid)
    torch.testing.assert_close(unpool(h, 2 * (row % 2) + column % 2, grid), wanted)


def test_the_code_is_z_and_the_place_of_each_maximum() -> None:
    net = UnpoolEncoder((1, 9, 8), 3, (2, 4), kernel=3, padding="same")
    x = torch.rand(5, 1, 9, 8)
    code = net(x)
    assert places_of((1, 9, 8), (2, 4)) == [(2, 5, 4), (4, 3, 2)]
    assert code.shape == (5, 3 + 40 + 24)
    torch.testing.assert_close(code[:, :3], net.net(x))
    h = net.net.body[:3](x)  # zeros around it, convolution, activation
    first = code[:, 3:43].reshape(5, 2, 5, 4)
    for n, c, i, j in ((0, 0, 0, 0), (4, 1, 4, 3), (2, 0, 3, 1)):
        window = h[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        spot = int(first[n, c, i, j])
        assert window[spot // 2, spot % 2] == window.max()


@pytest.mark.parametrize(("padding", "grid"), [("valid", (30, 30)), ("same", (9, 8))])
def test_the_decoder_is_the_composition_of_its_layers(padding: str, grid: tuple[int, int]) -> None:
    """With torch's own unpooling by the indices of torch's own pooling."""
    image, side = (1, *grid), 5 if padding == "valid" else 3
    up = UnpoolEncoder(image, 3, (2, 4), kernel=side, padding=padding)
    code = up(x := torch.rand(5, *image))
    down = UnpoolDecoder(code.shape[1], image, 3, (2, 4), kernel=side, padding=padding)
    border, ceil = (1, True) if padding == "same" else (0, False)
    h, kept = x, []
    for layer in (layer for layer in up.net.body if isinstance(layer, torch.nn.Conv2d)):
        h = F.gelu(F.conv2d(h, layer.weight, layer.bias, padding=border))
        size = h.shape[2:]
        h, index = F.max_pool2d(h, 2, ceil_mode=ceil, return_indices=True)
        kept.append((index, size))
    g = F.gelu(down.dense[0](code[:, :3])).reshape(h.shape)
    for (index, size), layer in zip(kept[::-1], [down.ups[0][0], down.output], strict=True):
        g = F.max_unpool2d(g, index, 2, output_size=size)
        g = F.conv_transpose2d(g, layer.weight, layer.bias, padding=border)
        g = F.gelu(g) if layer is not down.output else g
    torch.testing.assert_close(down(code), g)
    assert start_at(down, torch.full(image, 0.25)).output.bias.tolist() == [0.25]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vk.train("unpool_ae", out=tmp_path_factory.mktemp("u") / "r", **SMALL)


PLACES = 6 * 16 + 4 * 4


def test_it_reconstructs_with_its_places_and_worse_with_those_of_others(run: Run) -> None:
    x = run.dataset().test.x()
    code = run.encode(x)
    assert code.shape[1] == 3 + PLACES
    assert set(code[:, 3:].unique().tolist()) == {0.0, 1.0, 2.0, 3.0}
    torch.testing.assert_close(run.decode(code), run.reconstruct(x))
    own = (run.decode(code) - x).square().mean()
    mixed = torch.cat([code[:, :3], code.roll(1, 0)[:, 3:]], 1)
    others = (run.decode(mixed) - x).square().mean()
    assert others > 1.5 * own, "what the places say goes past the latent"


def test_it_has_no_samples_and_no_bound(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run.evaluate(reconstruction=True, limit=50)
    assert found["elbo"] is None
    assert found["kl"] is None
    for words in (["sample"], ["evaluate", "--nll", "5"], ["traverse", "--set", "0=1"]):
        with pytest.raises(SystemExit) as caught:
            main([words[0], str(run.path), *words[1:]])
        assert caught.value.code == 2
        shown = capsys.readouterr().err
        assert len(shown.splitlines()) == 1
        assert "no prior to sample from" in shown or "no log p(x)" in shown or "prior has" in shown
    with pytest.raises(VaekitError, match="no prior to sample from"):
        run.sample(3)
    with pytest.raises(VaekitError, match="no prior to score codes by"):
        run.model.prior().log_prob(torch.zeros(3 + PLACES))


def test_its_report_and_pictures_do_without_samples(run: Run, tmp_path: Path) -> None:
    folder = str(run.path)
    main(["report", folder])
    assert "data:image/png" in (run.path / "report.html").read_text()
    for command in ("reconstruct", "interpolate", "traverse"):
        main([command, folder, "-o", str(tmp_path / f"{command}.npz")])
    with np.load(tmp_path / "traverse.npz") as arrays:
        assert arrays["images"].shape == (100, 1, 8, 8)
    plain = vk.train("ae", net="pool", out=tmp_path / "ae", **SMALL)
    pages = tmp_path / "c"
    main(
        [
            "compare",
            folder,
            str(plain.path),
            "--out",
            str(tmp_path / "c.html"),
            "--pictures",
            str(pages),
        ]
    )
    assert (pages / "reconstructions.png").is_file()
    assert (pages / "samples.png").is_file()
    second = vk.train("unpool_ae", out=tmp_path / "two", **{**SMALL, "epochs": 1})
    main(["compare", folder, str(second.path), "--out", str(tmp_path / "d.html")])
    assert (tmp_path / "d.html").stat().st_size > 10_000


def test_labels_reach_both_sides(tmp_path: Path) -> None:
    made = vk.train("unpool_ae", given="label", out=tmp_path / "r", **{**SMALL, "epochs": 1})
    x, given = made.dataset().test.batch(slice(4))
    assert given is not None
    code = made.encode(x, given)
    assert code.shape == (4, 3 + PLACES)
    torch.testing.assert_close(made.decode(code, given), made.reconstruct(x, given))
    assert not torch.allclose(made.decode(code, given.roll(1, 1)), made.reconstruct(x, given))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"net": "conv"}, "unpool_ae undoes max-pooling; got --net conv: take --net pool."),
        ({"decoder_kernel": (4,)}, "unpool_ae mirrors its encoder"),
        ({"kernel": (4,)}, "kernel is 4; unpooling with padding same needs odd ones"),
        ({"kernel": (3, 3, 3)}, "expected one number for all 2 stages, or one for each."),
        ({"padding": "valid", "kernel": (5,)}, "an image of 8 x 8 is too small for 2 stages"),
    ],
)
def test_what_does_not_fit_is_refused(
    options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(VaekitError, match=message.replace("(", r"\(")):
        vk.train("unpool_ae", out=tmp_path / "r", **{**SMALL, **options})


def test_a_code_smaller_than_its_parts_is_refused() -> None:
    with pytest.raises(VaekitError, match="expected at least 1780: 10 of z, and 1770 places"):
        UnpoolDecoder(10, (1, 30, 30), 10, (10, 5), kernel=5, padding="valid")

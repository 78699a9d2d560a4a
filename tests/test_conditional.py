"""Models that are told the label: the same numbers as theory, and the label that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Proves
from scipy.stats import multivariate_normal
from torch import nn

import vaekit as vk
from vaekit import Batches, Run, VaekitError
from vaekit._train_options import Data
from vaekit.cli.main import main
from vaekit.data import load, one_hot, prepare
from vaekit.evaluate import importance_sampled, measure
from vaekit.recipes import build
from vaekit.testing import LinearGaussian, check_model, seeded

SMALL = {"net": "mlp:hidden=32", "epochs": 40, "lr": 3e-3, "report": False, "latent": 2}

NETS = ["mlp:hidden=12", "conv:hidden=12:channels=4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vk.train("cvae", out=tmp_path_factory.mktemp("cvae") / "r", **SMALL | {"epochs": 60})


def linear(inputs: int, outputs: int, weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    made = nn.Linear(inputs, outputs).double()
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(bias)
    return made


def shifted(oracle: LinearGaussian, centers: torch.Tensor) -> vk.VAE:
    """The oracle's model, whose x is moved by a vector that hangs on the label."""
    plain = oracle.vae()
    up, down = plain.posterior.net, plain.likelihood.net
    weight, free = up.weight[:2], up.weight.new_zeros(2, len(centers))
    mean = torch.cat([weight, -weight @ centers.T], 1)
    both = torch.cat([mean, torch.cat([up.weight[2:], free], 1)])
    encoder = linear(5 + 3, 4, both, up.bias)
    decoder = linear(2 + 3, 5, torch.cat([down.weight, centers.T], 1), down.bias)
    return vk.VAE(
        plain.prior,
        vk.Conditional(encoder, plain.posterior.family, in_shape=5),
        vk.Conditional(decoder, plain.likelihood.family, in_shape=2),
    )


def test_log_p_of_x_given_the_label_meets_its_closed_form(proves: Proves) -> None:
    """x = c_y + a linear-Gaussian model: p(x|y) is a Gaussian around c_y + mean."""
    oracle = LinearGaussian.fit(torch.randn(80, 5, dtype=torch.float64), 2)
    centers = 3 * torch.randn(3, 5, dtype=torch.float64)
    model = shifted(oracle, centers)
    labels = torch.randint(0, 3, (40,))
    x = torch.randn(40, 5, dtype=torch.float64) + centers[labels]
    context = one_hot(labels, 3).double()
    w, s = oracle.vae().likelihood.net.weight.detach().numpy(), oracle.variance
    cover = w @ w.T + float(s) * np.eye(5)
    middle = oracle.vae().likelihood.net.bias.detach().numpy()
    expected = [
        multivariate_normal.logpdf(row, middle + centers[y].numpy(), cover)
        for row, y in zip(x.numpy(), labels, strict=True)
    ]
    found = importance_sampled(model, x, context, samples=7, chunk=16).log_p
    proves("log p(x | label)", "a Gaussian around each label's center", found, expected, limit=1e-9)
    bound = vk.ELBO(kl="sampled")(model(x, context)).value
    proves("ELBO of x | label, sampled", "the same", bound, expected, limit=1e-9)
    wrong = importance_sampled(model, x, context.roll(1, 1), samples=7).log_p
    assert wrong.mean() < found.mean() - 1


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", ["vae", "beta_vae", "iwae", "ae", "cvae", "sigma_vae"])
def test_any_recipe_can_be_conditional(name: str, net: str) -> None:
    data = prepare(load("digits"), Data(context="label"))
    made = build(name, data.spec(), net=net)
    x, context = data.train.batch(slice(6))
    assert context is not None
    if name != "ae":
        check_model(made.model, x, context)
    assert made.model.reconstruct(x, context).shape == x.shape
    with pytest.raises(VaekitError, match=r"takes \(N, .*got"):
        made.model.reconstruct(x)


def test_the_label_stands_once_beside_flat_pixels_and_as_planes_beside_images() -> None:
    spec = prepare(load("digits"), Data(context="label")).spec()
    flat = build("cvae", spec, latent=3, net="mlp:hidden=12").model
    assert flat.posterior.net.in_shape == (64 + 10,)
    assert flat.likelihood.net.in_shape == (3 + 10,)
    planes = build("cvae", spec, latent=3, net="conv:channels=4").model
    assert planes.posterior.net.in_shape == (1 + 10, 8, 8)
    plain = build("vae", load("digits").spec(), latent=3, net="mlp:hidden=12").model
    assert plain.posterior.net.in_shape == (1, 8, 8)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", ["vae", "ae", "cvae"])
def test_latent_dropout_stands_in_front_of_any_decoder(name: str, net: str) -> None:
    """Dropping 1/2 of a z of ones gives the decoder 0 and 2 there, and the labels as they are."""
    data = prepare(load("digits"), Data(context="label" if name == "cvae" else "none"))
    torch.manual_seed(0)
    model = build(name, data.spec(), latent=6, net=f"{net}:latent_dropout=0.5").model
    seen: list[torch.Tensor] = []
    model.likelihood.net.body[1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    _, context = data.train.batch(slice(40))
    model.likelihood(torch.ones(2, 40, 6), context)
    model.eval()
    model.likelihood(torch.ones(2, 40, 6), context)
    trained, evaluated = (one[:, :6] for one in seen)
    assert set(trained.flatten().tolist()) == {0.0, 2.0}
    assert abs((trained == 0).float().mean() - 0.5) < 0.1
    assert bool((evaluated == 1).all())
    assert torch.equal(seen[0][:, 6:], seen[1][:, 6:])
    assert seen[0].shape[1] == (16 if name == "cvae" else 6)


@pytest.mark.parametrize("net", ["mlp:direct=true", "patch:hidden=16:channels=8,8"])
def test_latent_dropout_leaves_the_map_beside_the_layers(net: str) -> None:
    """In eval mode a decoder behind a dropout is the one without, its direct map included."""
    spec = vk.DataSpec("t", (1, 16, 16), "gray", rows=9)
    found = []
    for more in ("", ":latent_dropout=0.3"):
        torch.manual_seed(0)
        decoder = build("vae", spec, latent=3, net=net + more).model.eval().likelihood
        torch.nn.init.ones_(decoder.net.direct.weight)
        found.append(decoder(torch.linspace(-1, 1, 6).view(2, 3)).mean)
    assert torch.equal(*found)
    torch.nn.init.zeros_(decoder.net.direct.weight)
    assert not torch.allclose(found[0], decoder(torch.linspace(-1, 1, 6).view(2, 3)).mean)


def test_without_latent_dropout_the_weights_keep_their_names_and_values() -> None:
    spec = load("digits").spec()
    states = []
    for more in ("", ":latent_dropout=0", ":latent_dropout=0.3"):
        torch.manual_seed(0)
        states.append(build("vae", spec, net=f"mlp:hidden=12{more}").model.state_dict())
    plain, zero, dropped = states
    assert list(plain) == list(zero)
    assert "likelihood.net.body.0.weight" in plain  # the first layer, as in older runs
    for one, other in zip(plain.values(), dropped.values(), strict=True):
        assert torch.equal(one, other)


def test_counts_and_tables_take_labels_too() -> None:
    counts = vk.Dataset("c", "counts", *[split(torch.randint(0, 9, (20, 6)).float())] * 2, 2)
    table = vk.Dataset("t", "table", *[split(torch.randn(20, 6))] * 2, 2)
    for data in (counts, table):
        made = prepare(data, Data(context="label"))
        x, context = made.train.batch()
        model = build("cvae", made.spec(), net="mlp:hidden=8").model
        assert model.reconstruct(x, context).shape == x.shape


def split(rows: torch.Tensor) -> vk.data.Split:
    return vk.data.Split(rows, torch.arange(len(rows)) % 2)


def test_batches_keep_each_row_with_its_label() -> None:
    """Shuffled, of a split that was limited and held out before."""
    data = prepare(load("digits"), Data(context="label", limit=300))
    for part in data.splits.values():
        stored = {tuple(row.flatten().tolist()): int(y) for row, y in
                  zip(part.images, part.labels, strict=True)}  # fmt: skip
        seen = 0
        for x, context in Batches(part, 64, seed=3).epoch(0):
            assert context is not None
            assert context.dtype == torch.float32
            assert bool((context.sum(1) == 1).all())
            for row, y in zip(x, context.argmax(1), strict=True):
                assert stored[tuple((row * 255).round().to(torch.uint8).flatten().tolist())] == y
                seen += 1
        assert seen == len(part)


def test_the_same_z_stands_in_every_row_of_the_classes(run: Run) -> None:
    rows = run.by_class(4, seed=5, prior="model")
    assert rows.shape == (10, 4, 1, 8, 8)
    for label in (0, 7):
        context = torch.zeros(4, 10)
        context[:, label] = 1
        with seeded(5):
            (z,) = run.vae.draw_prior(4, context)
        torch.testing.assert_close(rows[label], run.decode(z, context))
        torch.testing.assert_close(rows[label], run.sample(4, label=label, seed=5, prior="model"))


def test_it_makes_the_digit_that_was_asked_for(run: Run) -> None:
    """By the nearest class mean: decoder means of a label look like that label."""
    data = run.dataset()
    x, y = data.train.x(), data.train.labels
    assert y is not None
    centers = torch.stack([x[y == label].mean(0) for label in range(10)])
    made = run.by_class(40).flatten(2)
    nearest = torch.cdist(made, centers.flatten(1)).argmin(2)
    assert (nearest == torch.arange(10)[:, None]).float().mean() > 0.9
    without = run.sample(100)
    order = torch.cdist(without.flatten(1), centers.flatten(1)).argmin(1)
    assert (order == torch.arange(100) // 10).float().mean() > 0.9, "in shares, in their order"


def test_the_label_helps(run: Run) -> None:
    """Measured on test rows with their labels, and with wrong ones."""
    data = run.dataset()
    x, context = data.test.batch()
    assert context is not None
    right = measure(run.model, [(x, context)], samples=3).elbo
    wrong = measure(run.model, [(x, context.roll(1, 0))], samples=3).elbo
    assert right is not None
    assert wrong is not None
    assert right > wrong + 5
    assert run.evaluate("bound:samples=3")["elbo"] == pytest.approx(right, abs=1)


def test_walks_and_codes_of_a_conditional_run(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(run.path)
    for command, *words in (
        ("sample", "--label", "7", "-n", "3"),
        ("sample",),
        ("reconstruct",),
        ("interpolate",),
        ("traverse", "--label", "2"),
        ("traverse", "--row", "4"),
        ("manifold", "--label", "3", "--side", "4"),
        ("report",),
        ("animate",),
        ("scatter",),
        ("evaluate", "nll:samples=5", "latent", "reconstruction", "--limit", "20"),
        ("evaluate", "ais:steps=4", "--limit", "4"),
    ):
        end = "gif" if command == "animate" else "png"
        out = ["-o", str(tmp_path / f"{command}.{end}"), "--overwrite"]
        out = [] if command in NO_OUT else out
        main([command, folder, *words, *out])
    main(["encode", folder, "-o", str(tmp_path / "codes.npz")])
    with np.load(tmp_path / "codes.npz") as arrays:
        assert arrays["codes"].shape == (300, 2)
    page = (run.path / "report.html").read_text()
    assert "from the top: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in page


NO_OUT = ("report", "evaluate")


def test_a_traversal_around_a_row_keeps_its_label(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "t.npz"
    main(["traverse", str(run.path), "--row", "4", "--dims", "0", "--low", "0", "--high", "1",
          "--steps", "2", "-o", str(out)])  # fmt: skip
    x, context = run.dataset().test.batch(slice(4, 5))
    z = run.encode(x, context)
    ends = torch.stack([z[0], z[0]])
    ends[:, 0] = torch.tensor([0.0, 1.0])
    assert context is not None
    with np.load(out) as arrays:
        torch.testing.assert_close(
            torch.from_numpy(arrays["images"]), run.decode(ends, context.expand(2, -1))
        )


def test_it_resumes_bit_for_bit(run: Run, tmp_path: Path) -> None:
    options = {**SMALL, "epochs": 3, "lr_schedule": "constant"}
    whole = vk.train("cvae", out=tmp_path / "a", **options)
    vk.train("cvae", out=tmp_path / "b", **{**options, "epochs": 1})
    parts = vk.resume(tmp_path / "b", epochs=3, report=False)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--label", "12"), "got the label 12; the labels of digits are 0 to 9."),
        (("--label", "-1"), "got the label -1; the labels of digits are 0 to 9."),
        (("--label", "seven"), "got the label seven; the labels of digits are 0 to 9."),
    ],
)
def test_a_label_that_is_not_there(
    run: Run, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["sample", str(run.path), *words])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_what_python_callers_forget(run: Run) -> None:
    x = torch.rand(2, 1, 8, 8)
    with pytest.raises(VaekitError, match=r"takes a context of shape \(B, 10\); got none"):
        run.encode(x)
    with pytest.raises(VaekitError, match="got the label 10"):
        run.sample(2, label=10)


def test_an_overlap_and_a_comparison_of_conditional_runs(run: Run, tmp_path: Path) -> None:
    line = vk.train("cvae", out=tmp_path / "line", **{**SMALL, "latent": 1, "epochs": 2})
    main(["overlap", str(line.path), "--rows", "3", "5", "-o", str(tmp_path / "overlap.png")])
    plain = vk.train("vae", out=tmp_path / "plain", **{**SMALL, "epochs": 2})
    out = tmp_path / "compare.html"
    main(["compare", *map(str, (run.path, line.path, plain.path)), "--out", str(out)])
    assert "context" in out.read_text()

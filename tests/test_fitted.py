"""The prior fitted to the codes: where it is known in closed form, and where it is used."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

import vaekit as vk
from vaekit import Run, VaekitError
from vaekit.cli.main import main
from vaekit.registry import find
from vaekit.report import snapshots_of
from vaekit.runs import fit_prior, takes_fitted, takes_mixture
from vaekit.testing import LinearGaussian, seeded
from vaekit.training import Classes

SMALL = {"net": "mlp:hidden=64", "epochs": 20, "latent": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vk.train("vae", out=tmp_path_factory.mktemp("fitted") / "r", **SMALL)


@pytest.fixture(scope="module")
def oracle() -> tuple[LinearGaussian, Tensor]:
    """A model whose codes are N(0, I) over its own data, and 4,000 rows of these."""
    torch.manual_seed(0)
    model = LinearGaussian.fit(torch.randn(500, 6).double() @ torch.rand(6, 6).double(), 2)
    with torch.no_grad():
        x = model.vae().sample(4000)
    return LinearGaussian.fit(x, 2), x


def test_codes_that_fill_the_prior_leave_nothing_to_gain(
    oracle: tuple[LinearGaussian, Tensor],
) -> None:
    model, x = oracle
    fitted = fit_prior(model.vae(), [(x[:3000], None)], [(x[3000:], None)])
    assert fitted is not None
    assert abs(fitted.gain) < 0.02
    assert not fitted.better


def test_gain_is_the_divergence_of_the_codes_from_the_prior(
    oracle: tuple[LinearGaussian, Tensor],
) -> None:
    """Where q(z) = N(m, S), the gain is KL(N(m, S) || N(0, I)), but for what the fit lacks."""
    model, x = oracle
    vae = model.vae()
    with torch.no_grad():
        vae.posterior.net.weight[:2] *= 0.5
        vae.posterior.net.bias[:2] += torch.tensor([3.0, -1.0])
        loc = vae.posterior.net(x)[:, :2]
        q = vae.posterior(x)
        mean, cov = loc.mean(0), torch.cov(loc.T) + torch.diag(q.variance.mean(0))
        expected = 0.5 * (cov.trace() + mean @ mean - 2 - cov.logdet()).item()
    fitted = fit_prior(vae, [(x[:3000], None)], [(x[3000:], None)])
    assert fitted is not None
    assert abs(fitted.gain - expected) < 4 * fitted.error
    assert fitted.error < 0.2
    assert fitted.better
    single = fit_prior(vae, [(x[:3000], None)], [(x[3000:], None)], "mixture:components=1")
    assert single is not None
    assert abs(single.gain - fitted.gain) < 0.02, "more parts than the one that is there"
    assert torch.allclose(fitted.prior().mean, mean.float(), atol=0.1)


def test_samples_are_of_the_fitted_prior_and_the_same_after_loading(run: Run) -> None:
    fitted = run.sampled_prior()
    assert fitted is not None
    assert fitted.gain > 2 * fitted.error
    again = vk.load(run.path)
    kept = again.sampled_prior()
    assert kept is not None
    assert (kept.gain, kept.error, kept.rows) == (fitted.gain, fitted.error, fitted.rows)
    assert torch.equal(again.sample(9, seed=3), run.sample(9, seed=3))
    assert torch.equal(run.sample(9, prior="fitted"), run.sample(9))
    assert not torch.equal(run.sample(9, prior="model"), run.sample(9))
    with seeded(5):
        plain = run.vae.sample(9, mean=True)
    assert torch.equal(run.sample(9, seed=5, prior="model"), plain)


def test_samples_lie_nearer_to_data_than_those_of_the_model(run: Run) -> None:
    x = run.dataset().test.x().flatten(1)
    made = {prior: run.sample(400, prior=prior).flatten(1) for prior in ("fitted", "model")}
    far = {prior: torch.cdist(part, x).amin(1).mean() for prior, part in made.items()}
    assert far["fitted"] < far["model"]


def test_other_weights_are_fitted_anew(run: Run, tmp_path: Path) -> None:
    vk.save(run, tmp_path / "one.vaekit")
    other = vk.load(tmp_path / "one.vaekit")
    assert other.sampled_prior() is not None  # without the data set: it was sent along
    before = run.folder.read("fitted.safetensors")
    changed = vk.load(run.path)
    with torch.no_grad():
        next(changed.vae.posterior.parameters()).mul_(1.1)
    anew, kept = changed.sampled_prior("fitted"), run.sampled_prior("fitted")
    assert anew is not None and kept is not None  # noqa: PT018
    assert not torch.equal(anew.prior().loc, kept.prior().loc)
    assert run.folder.read("fitted.safetensors") == before  # to sample writes nothing


@pytest.mark.parametrize("content", [b"", b"none", b"\x10" + bytes(7) + b'{"a":[]}        '])
def test_a_broken_file_is_fitted_anew(run: Run, content: bytes) -> None:
    path = run.path / "fitted.safetensors"
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        assert torch.equal(vk.load(run.path).sample(3), run.sample(3))
    finally:
        path.write_bytes(before)


def test_without_data_samples_are_of_the_model(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "\n".join(f"{i % 7},{i % 5},{i}" for i in range(200))
    (tmp_path / "t.csv").write_text(f"a,b,c\n{rows}")
    made = vk.train("vae", data=str(tmp_path / "t.csv"), report=False, out=tmp_path / "r", **SMALL)
    (tmp_path / "t.csv").unlink()
    again = vk.load(made.path)
    with caplog.at_level(logging.WARNING, "vaekit"):
        plain = again.sample(4)
    assert "no prior is fitted to the codes, and samples are of p(z)" in caplog.text
    assert torch.equal(plain, again.sample(4, prior="model"))
    with pytest.raises(VaekitError, match="has no prior fitted to its codes"):
        again.sample(4, prior="fitted")
    with pytest.raises(VaekitError, match="unknown prior 'other'"):
        run.sample(4, prior="other")


def test_classes_have_codes_of_their_own_of_the_same_noise(tmp_path: Path) -> None:
    """With 16 latents a decoder that is told the label needs it not: z has the class.

    Draws of one p(z) for all are then of any class, whatever label was asked for.
    """
    how: dict[str, Any] = {**SMALL, "latent": 16, "epochs": 30}
    told = vk.train("cvae", out=tmp_path / "r", report=False, **how)
    fitted = told.sampled_prior()
    assert fitted is not None
    assert fitted.told
    assert fitted.by_label is not None
    assert fitted.by_label > 0.5
    assert "label-weighted" in str(fitted)
    assert f", {fitted.by_label:.2f} of them by the label" in str(fitted)
    made = told.by_class(3, seed=2)
    for label in (0, 7):
        with seeded(2):
            z = fitted.prior(context := told.context(label, 3)).sample()
        torch.testing.assert_close(made[label], told.decode(z, context))
    train = told.dataset().train
    near = KNeighborsClassifier(5).fit(train.x(slice(None)).flatten(1), train.labels)
    labels = torch.arange(10).repeat_interleave(30)
    right = near.predict(told.by_class(30).flatten(0, 1).flatten(1)) == labels.numpy()
    assert right.mean() > 0.8


@pytest.mark.parametrize("apart", [0.0, 3.0])
def test_a_prior_is_told_the_label_where_codes_differ_by_label(apart: float) -> None:
    """Codes of one Gaussian whatever the label; and of one for each, which gains up to log 2."""
    torch.manual_seed(0)
    of = torch.arange(2000) % 2
    z, held_out = (torch.randn(2000, 4) + apart * of[:, None] for _ in range(2))
    fit = find("density", "mixture")(z, held_out, 0, Classes(of, of, 2))
    plain = find("density", "mixture")(z, held_out, 0, None)
    assert fit.prior.classes == (2 if apart else 0)
    gain = (fit.log_p - plain.log_p).mean().item()
    assert gain == pytest.approx(math.log(2) if apart else 0, abs=0.02)
    context = torch.nn.functional.one_hot(of, 2).float()
    torch.testing.assert_close(fit.prior(context).log_prob(held_out), fit.log_p)
    for_all = fit.prior().log_prob(held_out).mean().item()
    assert for_all == pytest.approx(plain.log_p.mean().item(), abs=0.02)


@pytest.mark.parametrize("rows", [2, 9])
def test_too_few_rows_get_none_and_samples_are_of_the_model(rows: int, tmp_path: Path) -> None:
    few = {"limit": rows, "validation": 0, "epochs": 1, "latent": 8}
    made = vk.train("vae", data="digits", out=tmp_path / "r", **{**SMALL, **few})
    assert made.sampled_prior() is None
    assert torch.equal(made.sample(2), made.sample(2, prior="model"))


def test_rows_in_pieces_give_the_same_fit_but_for_noise(run: Run) -> None:
    x = run.dataset().train.x()
    parts = [(part, None) for part in x[:1000].split(300)]
    whole = fit_prior(run.vae, [(x[:1000], None)], [(x[1000:], None)])
    pieces = fit_prior(run.vae, parts, [(x[1000:], None)])
    assert whole is not None
    assert pieces is not None
    assert (pieces.rows, pieces.held_out) == (1000, len(x) - 1000)
    assert abs(whole.gain - pieces.gain) < 3 * whole.error


@pytest.mark.parametrize(("recipe", "takes"), [("vae", True), ("beta_vae", True), ("ae", True)])
def test_models_that_take_one(recipe: str, takes: bool) -> None:
    spec = vk.data.load("digits").spec()
    model = vk.recipes.build(recipe, spec).model
    assert takes_fitted(model) is takes
    assert takes_mixture(model) is (recipe != "ae")


def test_film_shows_the_fitted_prior_once_it_is_better(run: Run) -> None:
    film = snapshots_of(vk.runs.make_job(run.config, run.folder))
    assert film is not None
    assert film.rows is not None
    fitted = fit_prior(run.vae, *film.rows, "mixture:components=1")
    assert fitted is not None
    assert fitted.better
    with seeded(film.seed):
        z = fitted.prior().sample((16,))
    assert torch.equal(film.samples(run.vae), run.vae.decode(z))


def test_report_says_which_prior_and_shows_both(run: Run) -> None:
    text = run.folder.report.read_text()
    fitted = run.sampled_prior()
    assert fitted is not None
    assert fitted.said() in text
    assert f"{fitted.gain:.2f} ± {fitted.error:.2f} nats more likely" in text
    assert "from p(z)" in text


def test_shell_says_which_prior(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = str(tmp_path / "s.png")
    main(["sample", str(run.path), "-n", "4", "-o", out])
    assert "samples: prior fitted to the codes" in capsys.readouterr().out
    main(["sample", str(run.path), "-n", "4", "-o", out, "--overwrite", "--prior", "model"])
    assert "fitted" not in capsys.readouterr().out

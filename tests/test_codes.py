"""Latents that are codes: quantizers, their priors and the model, against what shares no code."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from test_grid import axis, data_for, same_when_loaded, three_steps
from torch import nn

import vaekit as vk
from vaekit import distributions as d
from vaekit.data import DataSpec
from vaekit.errors import VaekitError
from vaekit.evaluate import Codebook, nearest_codes
from vaekit.models import CodeModel
from vaekit.parts import FSQ, VQ, VQEMA, AutoregressivePrior, CodesPrior, ResidualVQ
from vaekit.recipes import build
from vaekit.registry import checked, make

Proves = Callable[..., None]
GRAY = DataSpec("t", (1, 8, 8), "gray", rows=20)
KINDS = ["fsq:levels=4,3", "vq:codes=12:size=2", "vq-ema:codes=12:size=2",
         "residual-vq:codes=6:size=2:depth=2"]  # fmt: skip
RECIPES = ["fsq_vae", "vq_vae", "vq_vae_ema", "residual_vq"]


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def quantizer(spec: str) -> Any:
    from vaekit.registry import checked, make

    return make("quantizer", checked("quantizer", spec))


def model(spec: str, n: int = 2, prior: Any = None) -> CodeModel:
    """Of rows of 5 numbers, with n vectors of two numbers."""
    made = quantizer(spec)
    codes = made.counts((2 * n,))
    return CodeModel(
        prior(codes) if prior else CodesPrior(codes),
        vk.Conditional(vk.MLP(5, 2 * n, hidden=(8,)), vk.Delta(2 * n)),
        made,
        vk.Conditional(vk.MLP(2 * n, 5, hidden=(8,)), vk.Gaussian(5, scale=0.5)),
    )


@pytest.mark.parametrize("levels", [(3,), (4,), (8, 5, 5, 5), (7, 4, 3)])
def test_fsq_counts_every_combination_of_levels(levels: tuple[int, ...]) -> None:
    fsq, all_codes = FSQ(levels=levels), torch.arange(math.prod(levels))
    values = [np.arange(-(n // 2), n - n // 2) / (n // 2) for n in levels]
    expected = np.array([v[::-1] for v in itertools.product(*values[::-1])])
    vectors = fsq.vectors(all_codes[None])[0]
    assert np.allclose(vectors, expected)  # the first number turns fastest
    assert [len(set(v.tolist())) for v in vectors.T] == list(levels)
    whole = vectors * torch.tensor([n // 2 for n in levels])
    half = torch.tensor([(n - 1) * 1.001 / 2 for n in levels])
    offset = torch.tensor([0.5 * (n % 2 == 0) for n in levels])
    e = ((whole + offset) / half).atanh() - (offset / half).atanh()  # each level's own middle
    found = fsq(e[None])
    assert torch.equal(found.codes[0], all_codes)
    assert torch.equal(found.z[0], vectors)
    assert found.penalty is None


def test_fsq_bounds_by_the_formula_of_the_paper(proves: Proves) -> None:
    e = np.linspace(-4, 4, 1001)
    for levels in (5, 8):
        fsq = FSQ(levels=(levels,))
        half = (levels - 1) * 1.001 / 2
        offset = 0.5 if levels % 2 == 0 else 0.0
        expected = np.tanh(e + np.arctanh(offset / half)) * half - offset
        soft = fsq.bounded(torch.tensor(e)[:, None])[:, 0]
        proves(f"fsq, bound of {levels} levels", "numpy", soft, expected, limit=1e-12)
        codes = fsq(torch.tensor(e)[:, None, None]).codes[:, 0]
        assert torch.equal(codes.unique(), torch.arange(levels))
        assert codes.diff().min() >= 0
        assert fsq(torch.zeros(1, 1, 1)).z == 0


def test_fsq_passes_the_gradient_of_its_bound() -> None:
    fsq, e = FSQ(levels=(8, 5)), torch.randn(4, 3, 2, requires_grad=True)
    weight = torch.randn(4, 3, 2)
    (got,) = torch.autograd.grad((fsq(e).z * weight).sum(), e)
    (expected,) = torch.autograd.grad((fsq.bounded(e) / torch.tensor([4, 2]) * weight).sum(), e)
    assert torch.allclose(got, expected)


@pytest.mark.parametrize("spec", KINDS[1:])
def test_the_gradient_goes_straight_through(spec: str) -> None:
    made = quantizer(spec).eval()
    e, weight = torch.randn(4, 3, 2, requires_grad=True), torch.randn(4, 3, 2)
    found = made(e)
    assert torch.equal(found.z, made.vectors(found.codes))  # to the last bit
    (got,) = torch.autograd.grad((found.z * weight).sum(), e)
    assert torch.equal(got, weight)
    books = [p for p in made.parameters() if p.requires_grad]
    found = made(e.detach().requires_grad_())
    passed = torch.autograd.grad(found.z.sum(), books, allow_unused=True) if books else ()
    assert all(grad is None for grad in passed)


def test_the_loss_of_a_codebook(proves: Proves) -> None:
    vq = VQ(codes=7, size=3).eval()
    e = torch.randn(5, 4, 3, requires_grad=True)
    penalty: Any = vq(e).penalty
    x, book = e.detach().numpy(), vq.book.detach().numpy()
    apart = ((x[:, :, None] - book) ** 2).sum(-1)
    near = apart.argmin(-1)
    proves("vq, codebook loss", "numpy", penalty, 1.25 * apart.min(-1).sum(-1), limit=1e-12)
    on_e, on_book = torch.autograd.grad(penalty.sum(), (e, vq.book))
    proves("vq, gradient of vectors", "numpy", on_e, 0.5 * (x - book[near]), limit=1e-12)
    expected = np.zeros_like(book)
    np.add.at(expected, near, 2 * (book[near] - x))
    proves("vq, gradient of the codebook", "numpy", on_book, expected, limit=1e-12)
    ema = VQEMA(codes=7, size=3).eval()
    ema.book.copy_(vq.book)
    (on_e,) = torch.autograd.grad(ema(e).penalty.sum(), e)
    proves("vq-ema, gradient of vectors", "numpy", on_e, 0.5 * (x - book[near]), limit=1e-12)
    assert not list(ema.parameters())


@pytest.mark.parametrize("spec", KINDS)
def test_no_row_s_loss_depends_on_the_others(spec: str) -> None:
    torch.manual_seed(1)
    whole, x = model(spec).eval(), torch.randn(6, 5)
    targets = vk.ELBO()(whole(x)).target
    each = torch.cat([vk.ELBO()(whole(row[None])).target for row in x])
    assert torch.allclose(targets, each)  # type: ignore[arg-type]


def test_a_running_codebook_is_the_mean_of_its_vectors(proves: Proves) -> None:
    ema, decay = VQEMA(codes=5, size=2, decay=0.8, revive=0.0), 0.8
    batches = torch.randn(6, 4, 10, 2)
    ema(batches[0])
    share, sums = np.full(5, 1 / 5), None
    book = None
    torch.manual_seed(3)
    ema = VQEMA(codes=5, size=2, decay=0.8, revive=0.0)
    state = torch.get_rng_state()
    first = batches[0].reshape(-1, 2)[torch.randperm(40)][:5].numpy()  # where all codes start
    torch.set_rng_state(state)
    book, sums = first.copy(), first / 5
    for e in batches:
        ema(e)
        x = e.reshape(-1, 2).numpy()
        near = ((x[:, None] - book) ** 2).sum(-1).argmin(-1)
        hot = np.eye(5)[near]
        share = decay * share + (1 - decay) * hot.mean(0)
        sums = decay * sums + (1 - decay) * hot.T @ x / len(x)
        book = sums / share[:, None]
    proves("vq-ema, codebook", "numpy", ema.book, book, limit=1e-12)
    proves("vq-ema, share", "numpy", ema._share, share, limit=1e-12)


def test_no_step_moves_a_code_that_nothing_is_near() -> None:
    ema = VQEMA(codes=8, size=2, revive=0.0)
    ema(torch.randn(4, 16, 2))
    before = ema.book.clone()
    for _ in range(5_000):
        ema(before[:1].expand(2, 3, 2))  # the first code alone: others have no row for long
    assert torch.allclose(ema.book, before, atol=1e-9)
    assert torch.isfinite(ema.book).all()
    assert ema.book.norm(dim=-1).max() < 10
    new = VQEMA(codes=300, size=2)
    new(torch.randn(4, 16, 2))  # fewer vectors than codes
    assert new.book.norm(dim=-1).max() < 10


@pytest.mark.parametrize("spec", KINDS[1:])
def test_a_training_of_codes_resumes_to_the_last_bit(spec: str, tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)
    how: Any = {"data": "digits", "net": "mlp:hidden=16", "report": False, "latent": 2}
    how |= {
        "lr_schedule": "constant",
        "quantizer": f"{spec}:decay=0.5",
        "limit": 600,
        "batch_size": 64,
    }  # many come back
    whole = vk.train("vq_vae", epochs=4, out=tmp_path / "whole", **how)
    vk.train("vq_vae", epochs=2, out=tmp_path / "half", **how)
    state = vk.resume(tmp_path / "half", epochs=4, report=False).model.state_dict()
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in state.items())
    latent = whole.folder.records()[-1]["latent"]
    assert latent["perplexity"] > 1
    assert 0 < latent["share_used"] <= 1
    page = vk.report.write_run_report(whole).read_text()
    assert "z = E[z|x]" not in page
    use = page.split("What the code uses</h2>")[1].split("</section>")[0]
    assert re.search(r"<dt>perplexity of the codes</dt><dd>\d+\.\d</dd>", use)


@pytest.mark.parametrize("spec", KINDS[1:])
def test_nothing_is_learned_in_eval_mode(spec: str) -> None:
    made = quantizer(spec)
    made(torch.randn(4, 16, 2))
    made.eval()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made(torch.randn(4, 16, 2) + 5)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert before.keys() >= {n for n, _ in made.named_buffers()}  # so a checkpoint has all of it


@pytest.mark.parametrize("kind", [VQ, VQEMA])
def test_codes_that_nothing_uses_come_back(kind: Any) -> None:
    made = kind(codes=64, size=2, decay=0.9)
    made(torch.randn(8, 32, 2))
    data = torch.randn(8, 32, 2) + 100  # far from all of them
    for _ in range(40):
        made(data)
    used = made(data).codes.unique()
    assert len(used) > 50
    if kind is VQEMA:
        assert torch.allclose(made._sum, made.book * made._share[:, None])
    assert ((made.book - 100).norm(dim=-1) > 10).sum() <= 1  # a loss moves the last one


def test_one_process_of_two_gives_the_only_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `over_ranks` sums where the other one has no rows."""
    monkeypatch.setattr("vaekit.parts.quantizers.ranks", lambda: 2)
    monkeypatch.setattr("vaekit.parts.quantizers.over_ranks", lambda values: values)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    made, e = VQ(codes=3, size=2), torch.randn(1, 1, 2)
    made(e)
    assert torch.equal(made.book, e[0].expand(3, 2))


def test_the_nearest_code_is_found_far_from_zero() -> None:
    vq = VQ(codes=50, size=4).float()
    vq.book.data += 1000
    e = torch.randn(3, 7, 4, dtype=torch.float32) + 1000
    apart = (e.double()[..., None, :] - vq.book.detach().double()).square().sum(-1)
    got = apart.gather(-1, vq.nearest(e)[..., None])[..., 0]
    assert torch.allclose(got, apart.min(-1).values, atol=1e-3)
    low = vq.nearest(e.bfloat16())
    near = (e.bfloat16().double()[..., None, :] - vq.book.detach().double()).square().sum(-1)
    assert torch.equal(low, near.argmin(-1))


def test_residuals_are_quantized_in_turn() -> None:
    made, e = ResidualVQ(codes=6, size=2, depth=3).eval(), torch.randn(5, 4, 2)
    found = made(e)
    rest, codes, penalty = e.numpy(), [], 0.0
    for each in made.books:
        book = each.book.numpy()  # type: ignore[union-attr, operator]
        apart = ((rest[:, :, None] - book) ** 2).sum(-1)
        codes.append(apart.argmin(-1))
        penalty = penalty + 0.25 * apart.min(-1).sum(-1)
        rest = rest - book[codes[-1]]
    assert np.array_equal(found.codes, np.stack(codes, -1).reshape(5, 12))
    assert np.allclose(found.z, e.numpy() - rest)
    assert np.allclose(found.penalty, penalty)
    assert torch.equal(made.vectors(found.codes[None])[0], found.z)


@pytest.mark.parametrize("spec", KINDS)
@pytest.mark.parametrize("prior", [None, lambda codes: AutoregressivePrior(codes, width=8)])
def test_the_elbo_is_below_the_sum_over_all_codes(spec: str, prior: Any) -> None:
    whole, x = model(spec, prior=prior), torch.randn(4, 5)
    if prior is not None:
        nn.init.normal_(whole.prior.output.weight)  # type: ignore[union-attr, arg-type]
    whole(x)  # where codebooks start
    whole.eval()
    n, k = whole.quantizer.counts((4,))
    every = torch.tensor(list(itertools.product(range(k), repeat=n)))
    log_p = whole.prior().log_prob(every)
    assert log_p.exp().sum().item() == pytest.approx(1.0)
    px = whole.likelihood_at((every[:, None].expand(-1, 4, -1),))
    joint = px.log_prob(x) + log_p[:, None]
    trace = whole(x, samples=(3,))
    bound = trace.log_likelihood - trace.kl
    index = (every[:, None] == trace.sites[0].z[0]).all(-1).int().argmax(0)
    assert torch.allclose(bound, joint[index, torch.arange(4)].expand(3, -1))
    assert (bound < joint.logsumexp(0)).all()
    assert torch.equal(trace.log_weight, bound)
    if prior is None:
        assert torch.allclose(trace.kl, torch.full((3, 4), n * math.log(k)))


@pytest.mark.parametrize("spec", KINDS)
def test_the_encoder_gets_the_decoder_s_gradient(spec: str) -> None:
    whole, x = model(spec), torch.randn(4, 5)
    trace = whole(x)
    trace.log_likelihood.sum().backward()
    assert whole.posterior.net.output.weight.grad.abs().min() > 0  # type: ignore[union-attr]
    codes = trace.sites[0].z
    assert codes.dtype == torch.int64
    assert torch.equal(whole.eval().decode(codes[0]), whole.likelihood_at((codes[0],)).mean)


def test_codes_are_encoded_and_decoded() -> None:
    whole, x = model(KINDS[2]).eval(), torch.randn(7, 5)
    (codes,) = whole.encode(x)
    assert (codes.shape, codes.dtype) == ((7, 2), torch.int64)
    assert torch.equal(whole.decode(codes), whole(x).px.mean[0])
    assert torch.equal(whole.decode(codes.double()), whole.decode(codes))
    one_beyond = torch.where(codes == codes.max(), 12, codes)
    for wrong in (one_beyond, codes - 12, codes + 0.5, codes * math.nan):
        with pytest.raises(VaekitError, match="whole numbers from 0 to 11"):
            whole.decode(wrong)
    assert whole.sample(3).shape == (3, 5)
    assert len(whole.draw_prior(500)[0].unique()) == 12
    assert len(whole.draw_prior(500, temperature=1e-9)[0].unique()) == 12  # uniform at any


def test_parts_that_do_not_fit_are_refused() -> None:
    parts = model(KINDS[1])
    encoder, decoder = parts.posterior, parts.likelihood
    with pytest.raises(VaekitError, match=r"3; 12.*2; 12.: take the prior codes"):
        CodeModel(CodesPrior((3, 12)), encoder, parts.quantizer, decoder)
    with pytest.raises(VaekitError, match="a multiple of the quantizer's size, 3"):
        CodeModel(parts.prior, encoder, VQ(size=3), decoder)
    wrong = [lambda: FSQ(levels=(2, 8)), lambda: VQ(decay=1.0), lambda: VQ(codes=1)]
    for made in (*wrong, lambda: ResidualVQ(depth=0), lambda: AutoregressivePrior((2, 3), width=9)):
        with pytest.raises(VaekitError):
            made()
    with pytest.raises(VaekitError, match="take a recipe that has them"):
        build("vae", GRAY, prior="codes")
    with pytest.raises(VaekitError, match="take the prior codes"):
        build("vq_vae", GRAY, prior="standard-normal")


@pytest.mark.parametrize("name", RECIPES)
def test_codes_are_a_row_or_a_map(name: str) -> None:
    flat = build(name, GRAY, net="mlp:hidden=8", latent=3).model
    depth = flat.quantizer.depth  # type: ignore[union-attr]
    made: Any = build(name, GRAY, net="conv:channels=4,8:map=true", latent=1).model
    x = torch.rand(5, 1, 8, 8)
    made(x)  # where codebooks start
    made.eval()
    assert flat.encode(x)[0].shape == (5, 3 * depth)  # type: ignore[operator]
    (codes,) = made.encode(x)
    assert codes.shape == (5, 4 * depth)
    e = made.posterior(x).mean  # the codes of a place are those of its vector
    place = made.quantizer(e[:, :, 1, 0][:, None]).z[:, 0]
    vectors = made.quantizer.vectors(codes)
    assert torch.allclose(vectors[:, 2], place)
    assert torch.allclose(made._joined(vectors)[:, :, 1, 0], vectors[:, 2])
    assert made.decode(codes).shape == x.shape


def test_a_map_is_for_any_model() -> None:
    made: Any = build("vae", GRAY, net="conv:channels=4,8:map=true", latent=3).model
    assert made.encode(torch.rand(5, 1, 8, 8))[0].shape == (5, 3, 2, 2)
    assert made.sample(2).shape == (2, 1, 8, 8)
    with pytest.raises(VaekitError, match="leave `hidden`"):
        build("vae", GRAY, net="conv:map=true:hidden=8")


def test_probabilities_of_codes_are_scipy_s(proves: Proves) -> None:
    logits = torch.randn(2, 5)
    p, shares = d.CategoricalCodes(logits), logits.softmax(-1).numpy()
    x = torch.randint(5, (20, 2))
    frozen = [stats.rv_discrete(values=(np.arange(5), share / share.sum())) for share in shares]
    expected = sum(one.logpmf(x[:, i].numpy()) for i, one in enumerate(frozen))
    proves("CategoricalCodes, density", "scipy", p.log_prob(x), expected, limit=1e-12)
    sure = d.PointCodes(x, 5).log_prob(x[:3, None])
    same = (x[:3, None] == x).all(-1).numpy()
    proves("PointCodes, probability", "numpy", sure.exp(), 1.0 * same, limit=0.0)
    drawn = p.sample((20_000,))
    for i in range(2):
        counts = np.bincount(drawn[:, i], minlength=5)
        assert stats.chisquare(counts, 20_000 * shares[i] / shares[i].sum()).pvalue > 1e-4
    cold = p.tempered(0.0).sample((50,))
    assert torch.equal(cold, logits.argmax(-1).expand(50, 2))


def test_a_transformer_over_codes_is_a_distribution(proves: Proves) -> None:
    prior = AutoregressivePrior((3, 4), width=16, heads=2)
    every = torch.tensor(list(itertools.product(range(4), repeat=3)))
    flat = np.full(64, -3 * math.log(4))
    proves("AutoregressiveCodes, start", "uniform", prior().log_prob(every), flat, limit=1e-12)
    nn.init.normal_(prior.output.weight, std=0.5)
    log_p = prior().log_prob(every)
    proves("AutoregressiveCodes, sum over codes", "one", log_p.exp().sum(), 1.0, limit=1e-12)
    counts = (prior().sample((20_000,)) * torch.tensor([16, 4, 1])).sum(1).bincount(minlength=64)
    share = log_p.exp().detach().numpy()
    assert stats.chisquare(counts, 20_000 * share / share.sum()).pvalue > 1e-4
    x, other = every[:1].clone(), every[:1].clone()
    other[0, 1] = 3
    before, after = prior().terms(x), prior().terms(other)  # type: ignore[attr-defined]
    assert torch.equal(before[0, 0], after[0, 0])  # no code sees its own place or a later one
    assert before[0, 2] != after[0, 2]
    first = prior().tempered(1e-9).sample((9,))
    assert (first == first[0]).all()


def test_a_prior_is_fitted_to_codes() -> None:
    pairs = torch.randint(4, (400, 1)).expand(-1, 2)  # the second code is the first one
    told: list[float] = []
    given: dict[str, Any] = {"codes": pairs[:300], "held_out": pairs[300:], "seed": 3}
    given |= {"space": d.codes(2, 4), "on_epoch": lambda now, of, nats: told.append(nats)}
    makers = {name: lambda value=value: value for name, value in given.items()}
    spec = checked("density", "codes-transformer:width=32:epochs=150")
    fit, again = (make("density", spec, makers) for _ in range(2))
    assert fit.log_p.mean().item() == pytest.approx(max(told))
    assert -max(told) < math.log(4) + 0.1
    drawn = fit.prior().sample((200,))
    assert (drawn[:, 0] == drawn[:, 1]).double().mean() > 0.95
    assert torch.equal(fit.log_p, again.log_p)
    assert not fit.log_p.requires_grad


def test_a_prior_learned_with_the_model_moves_no_code() -> None:
    whole = model(KINDS[2], prior=lambda codes: CodesPrior(codes, learned=True))
    trace = whole(torch.randn(6, 5))
    trace.kl.sum().backward()
    grads = {n: p.grad for n, p in whole.named_parameters()}
    assert [n for n, grad in grads.items() if grad is not None] == ["prior.logits"]
    hot = np.eye(12)[trace.sites[0].z[0].numpy()].sum(0)
    assert np.allclose(grads["prior.logits"], 6 / 12 - hot)  # type: ignore[arg-type]


def test_how_many_codes_are_used(proves: Proves) -> None:
    whole, x = model(KINDS[3]).eval(), torch.randn(40, 5)
    meter = Codebook()
    for some in x.split(15):
        meter.update(whole(some))
    found, codes = meter.compute(), whole.encode(x)[0].numpy().reshape(-1, 2)
    entropy = [stats.entropy(np.bincount(book, minlength=6)) for book in codes.T]
    expected = np.exp(np.mean(entropy))
    proves("metric codes, perplexity of two books", "scipy", found["perplexity"], expected,
           limit=1e-12)  # fmt: skip
    used = [len(set(book)) for book in codes.T]
    assert (found["share_used"], found["codes"]) == (sum(used) / 12, 6)


def test_quantizers_priors_likelihoods_and_objectives_go_together() -> None:
    """Each pair of them in one cell at least, which takes three steps, draws and is loaded."""
    torch.set_default_dtype(torch.float32)
    priors = ["codes", "codes:learned=true", "codes-transformer:width=8:heads=2"]
    quantizers = [*KINDS, "fsq:levels=5,3", "vq:revive=0:codes=4:size=1"]
    axes = [quantizers, priors, axis("likelihood"), axis("objective")]
    seen, refused = set[Any](), set[str]()
    for cell in itertools.product(*axes):
        pairs = set(itertools.combinations(enumerate(cell), 2)) - seen
        if not pairs:
            continue
        parts = dict(zip(("quantizer", "prior", "likelihood", "objective"), cell, strict=True))
        try:
            how: Any = {**parts, "net": "mlp:hidden=8:start=init", "latent": 2}
            made, again = (build("fsq_vae", data_for(cell[2]), **how) for _ in range(2))
        except VaekitError as error:
            refused.add(re.split(r", which|;|: ", str(error))[0])
            continue
        seen |= pairs
        three_steps(made, cell[2])
        same_when_loaded(made, again, cell[2])
    assert len(seen) > 200
    lacking = "numbers|fixed|colors|factors|mean|separate|stopped|score"
    said = rf"\w+ needs .*\(({lacking})\)|Reconstruction trains no prior"
    assert [rule for rule in refused if not re.match(said, rule)] == []


def test_neighbors_of_codes_are_those_that_share_most() -> None:
    codes = torch.tensor([[1, 2, 3], [1, 2, 9], [4, 2, 9], [100, 2, 3]])
    apart, which = nearest_codes(codes[:1], codes, 3, own=torch.tensor([0]))
    assert apart.tolist() == [[1, 1, 2]]
    assert sorted(which[0, :2].tolist()) == [1, 3]

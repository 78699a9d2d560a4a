"""Whole models by other code: annealing, networks, likelihoods and pages, in numpy and scipy."""

from __future__ import annotations

import html
import math
import re
import signal as signals
import statistics
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from conftest import Proves
from numpy.typing import NDArray
from scipy import signal, stats
from scipy.special import expit, gammaln, log_expit, logsumexp
from sklearn.metrics import accuracy_score, recall_score
from torch import Tensor, nn

import vaekit as vk
from vaekit._torchutil import load_state
from vaekit.data import DataSpec, Split, load
from vaekit.evaluate import Rows, Subject, ais, bidirectional, measured, predict
from vaekit.registry import make
from vaekit.report import manifold
from vaekit.training import Callback, Progress

Array = NDArray[np.float64]
BOUND = ("log_likelihood", "kl", "elbo", "elbo_standard_error", "mse")


def of(value: Any) -> Array:
    """A tensor's numbers in float64."""
    return np.asarray(value.detach() if isinstance(value, Tensor) else value, dtype=np.float64)


def gelu(h: Array) -> Array:
    return h * stats.norm.cdf(h)


# Annealing: a decoder of two latents and six pixels ---------------------------------------------


def curved() -> tuple[vk.VAE, Any]:
    """A model whose posteriors bend, and its logits `(..., 6)` at z `(..., 2)` by numpy."""
    decoder = vk.MLP(2, 6, hidden=(8,), activation="tanh")
    for value in decoder.parameters():
        nn.init.normal_(value, std=2.0)
    encoder = vk.Conditional(vk.MLP(6, 4, hidden=()), vk.Gaussian(2))
    model = vk.VAE(vk.StandardNormal(2), encoder, vk.Conditional(decoder, vk.Bernoulli(6)))
    one, shift, two, bias = (of(p) for p in decoder.parameters())
    return model, lambda z: np.tanh(z @ one.T + shift) @ two.T + bias


def by_quadrature(logits_at: Any, x: Array) -> Array:
    axis = np.linspace(-7, 7, 161)
    z = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    logits, area = logits_at(z), 2 * math.log(axis[1] - axis[0])
    log_joint = stats.norm.logpdf(z).sum(1) + log_expit(-logits).sum(1) + x @ logits.T + area
    value: Array = logsumexp(log_joint, axis=1)
    return value


def by_metropolis(logits_at: Any, x: Array, chains: int, steps: int) -> Array:
    """log p(x) by annealing with random walks, along b = t^3."""

    def fit_of(z: Array) -> Array:
        logits = logits_at(z)
        value: Array = (x * logits + log_expit(-logits)).sum(-1)
        return value

    rng = np.random.default_rng(1)
    z = rng.normal(size=(chains, len(x), 2))
    fit, log_weight = fit_of(z), np.zeros((chains, len(x)))
    betas = np.linspace(0, 1, steps + 1) ** 3
    for before, after in pairwise(betas):
        log_weight += (after - before) * fit
        for size in (1.0, 0.3):
            new = z + size * rng.normal(size=z.shape)
            new_fit = fit_of(new)
            gain = after * (new_fit - fit) - 0.5 * ((new**2).sum(-1) - (z**2).sum(-1))
            taken = np.log(rng.random(gain.shape)) < gain
            z, fit = np.where(taken[..., None], new, z), np.where(taken, new_fit, fit)
    value: Array = logsumexp(log_weight, axis=0) - math.log(chains)
    return value


def test_annealing_agrees_with_random_walks_of_another_schedule(proves: Proves) -> None:
    model, logits_at = curved()
    x = model.sample(12)
    walked = by_metropolis(logits_at, of(x), chains=600, steps=80)
    assert np.abs(walked - by_quadrature(logits_at, of(x))).max() < 0.1
    found = ais(model, x, chains=100, steps=50, leapfrogs=4, schedule="linear").log_p
    proves("ais", "annealing by Metropolis steps along b = t^3, numpy", found, walked, limit=0.15)


def test_what_is_printed_of_annealing_is_mean_and_error_over_the_rows(proves: Proves) -> None:
    """By the integrals, whose spread over the rows is what the error measures."""
    model, logits_at = curved()
    x = model.sample(60)
    subject = Subject(model, DataSpec("bits", (6,), "binary", rows=60), Rows(Split(x)))
    record = measured(subject, {"ais": make("metric", {"name": "ais", "steps": 20})})["ais"]
    values = by_quadrature(logits_at, of(x))
    proves("metric ais, mean", "quadrature, 2-d latent", record["mean"], -values.mean(), limit=0.05)
    error = record["standard_error"]
    proves("metric ais, error", "scipy's sem of integrals", error, stats.sem(values), limit=0.02)
    assert error > 0.05
    assert 0 < record["simulated_gap"] < 0.3, "20 steps leave some of it"


def test_the_sandwich_has_the_integral_inside(proves: Proves) -> None:
    """Few steps leave each bound on its own side, by many standard errors; more close them."""
    model, logits_at = curved()
    found = bidirectional(model, 300, chains=1, steps=4, leapfrogs=2)
    values = by_quadrature(logits_at, of(found.x))
    for below, above in ((of(found.lower), values), (values, of(found.upper))):
        assert (above - below).mean() > 5 * stats.sem(above - below)
    gap = (of(found.upper) - of(found.lower)).mean()
    proves("bidirectional, gap", "the mean of its two sides, numpy", found.gap, gap, limit=1e-9)
    closed = bidirectional(model, 60, chains=8, steps=60, leapfrogs=4)
    assert abs(closed.gap) < 0.1 * gap


# Agreement: the classifier by numpy -------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path))
        yield path


class Shows(nn.Module):
    """A decoder with an image of each label; it shows another one where z is high."""

    def __init__(self, images: Tensor, chances: Tensor) -> None:
        super().__init__()
        self.in_shape = (12,)
        self.images = nn.Parameter(images.clamp(1e-6, 1 - 1e-6).logit())
        self.below = chances.double().clamp(1e-9, 1 - 1e-9).mul(2).sub(1).erfinv() * math.sqrt(2)

    def forward(self, h: Tensor) -> Tensor:
        label = h[:, 2:].argmax(1)
        other = h[:, 0] > self.below[label]
        return self.images[torch.where(other, (label + 1) % 10, label)]


def showing(images: Tensor, chances: Tensor | None = None, seed: int = 0) -> Subject:
    """A conditional model that shows these images, one for each label, with these chances."""
    chances = torch.ones(10) if chances is None else chances
    decoder = vk.Conditional(Shows(images, chances), vk.Bernoulli((1, 8, 8)), in_shape=2)
    encoder = vk.Conditional(vk.MLP(74, 4), vk.Gaussian(2), in_shape=(1, 8, 8))
    spec = DataSpec("digits", (1, 8, 8), "gray", rows=1, classes=10, context=(10,))
    model, digits = vk.VAE(vk.StandardNormal(2), encoder, decoder), load("digits")
    train, test = (
        part.take(torch.arange(n)) for part, n in ((digits.train, 640), (digits.test, 90))
    )
    digits = replace(digits, train=train, test=test)
    names = [str(label) for label in range(10)]
    more: dict[str, Any] = {"data": lambda: digits, "class_names": names, "seed": seed}
    return Subject(model, spec, Rows(digits.test), **more)


def agreement(subject: Subject, images: int) -> dict[str, Any]:
    return measured(subject, {"a": make("metric", {"name": "agreement", "images": images})})["a"]


def convolved(h: Array, weight: Array, stride: int) -> Array:
    """3 x 3 kernels over `(N, C, H, W)` with a border of zeros, by windows."""
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(h, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3)
    )
    seen = windows[:, :, ::stride, ::stride]
    found: Array = np.einsum("nchwij,ocij->nohw", seen, weight, optimize=True)
    return found


def normed(h: Array, state: dict[str, Array], name: str) -> Array:
    """Batch norm by what was stored of the training rows."""
    mean, var, gain, shift = (
        state[f"{name}.{part}"].reshape(-1, *[1] * (h.ndim - 2))
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (h - mean) / np.sqrt(var + 1e-5) * gain + shift


def told(state: dict[str, Array], images: Array) -> NDArray[np.int64]:
    """The most likely class of each image: the classifier of vaekit, from its weights."""
    h = images
    for at, stride in ((0, 2), (3, 1), (6, 2)):
        h = gelu(normed(convolved(h, state[f"net.{at}.weight"], stride), state, f"net.{at + 1}"))
    logits = h.reshape(len(h), -1) @ state["net.11.weight"].T + state["net.11.bias"]
    return logits.argmax(1)


def test_agreement_is_that_of_a_classifier_by_numpy(cache: Path, proves: Proves) -> None:
    """Known images stand for the samples: all right, three wrong, and one for all labels."""
    data = load("digits").test.take(torch.arange(90))
    assert data.labels is not None
    agreement(showing(data.x()[:10]), 10)  # trains the classifier
    (path,) = (cache / "vaekit" / "classifiers").iterdir()
    state = {name: of(value) for name, value in load_state(path)["model"].items()}
    guesses, labels = told(state, of(data.x())), data.labels.numpy()
    firsts = [np.flatnonzero((labels == y) & (guesses == y))[0] for y in range(10)]
    right = data.x()[firsts]
    swapped = right[[1, 2, 0, *range(3, 10)]]
    for images, share in ((right, 1.0), (swapped, 0.7), (right[[4] * 10], 0.1)):
        found = agreement(showing(images), 40)
        assert (found["share"], found["standard_error"]) == pytest.approx((share, 0)), "no chance"
    assert agreement(showing(right), 10)["standard_error"] is None, "one image tells no spread"

    chances = torch.tensor([0.5, 0.8, *[1.0] * 7, 0.0])
    many = [agreement(showing(right, chances, seed), 50) for seed in range(100)]
    shares = [each["share"] for each in many]
    error = math.sqrt(np.mean([each["standard_error"] ** 2 for each in many]))
    part, wanted = "metric agreement, error", np.std(shares, ddof=1)
    proves(part, "the spread of 100 seeds", error / wanted, 1, limit=0.25)
    assert abs(np.mean(shares) - 0.83) < 4 * wanted / 10

    noisy = (0.5 * data.x()[10:20] + 0.5 * data.x()[20:30]).clamp(0, 1)
    asked = np.repeat(np.arange(10), 5)
    seen = told(state, of(noisy))[asked]
    found = agreement(showing(noisy), 50)
    share = accuracy_score(asked, seen)
    recall = recall_score(asked, seen, average=None, labels=range(10), zero_division=0)
    within = [stats.sem(asked[asked == y] == seen[asked == y]) for y in range(10)]
    sd = math.sqrt(np.square(within).sum()) / 10
    proves("metric agreement, share", "sklearn, numpy", found["share"], share, limit=1e-12)
    proves("metric agreement, by class", "sklearn, numpy", found["shares"], recall, limit=1e-12)
    proves(
        "metric agreement, error", "scipy's sem by label", found["standard_error"], sd, limit=1e-12
    )
    all_told = accuracy_score(labels, guesses)
    part = "metric agreement, accuracy of the classifier"
    proves(part, "sklearn, numpy", found["classifier_accuracy"], all_told, limit=1e-6)
    assert 0.05 < share < 0.9 < all_told


def test_predictions_are_the_largest_logit(cache: Path, proves: Proves) -> None:
    from vaekit.evaluate import Classifier

    torch.manual_seed(3)
    model = Classifier((3, 7, 9), 4).eval()
    for value in model.buffers():
        if value.is_floating_point():
            nn.init.uniform_(value, 0.5, 1.5)
    x = torch.rand(30, 3, 7, 9)
    state = {name: of(value) for name, value in model.state_dict().items()}
    proves("predict", "numpy, window by window", predict(model, x), told(state, of(x)), limit=0)


# A convolutional network by scipy.signal --------------------------------------------------------


def down(h: Array, weight: Array, stride: int, pad: int) -> Array:
    """A convolution, image by image and plane by plane."""
    around = np.pad(h, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    planes = [[signal.correlate(one, w, mode="valid")[0] for w in weight] for one in around]
    return np.array(planes)[:, :, ::stride, ::stride]


def up(h: Array, weight: Array, stride: int, pad: int, size: tuple[int, int]) -> Array:
    """A transposed one: zeros between the pixels, all overlaps, and what is cut off."""
    spread = np.zeros((*h.shape[:2], *((n - 1) * stride + 1 for n in h.shape[2:])))
    spread[:, :, ::stride, ::stride] = h
    full = np.array(
        [
            [sum(signal.convolve2d(p, w) for p, w in zip(one, ws, strict=True)) for ws in each]
            for one, each in ((o, weight.swapaxes(0, 1)) for o in spread)
        ]
    )
    full = np.pad(full, ((0, 0), (0, 0), (0, pad), (0, pad)))  # what an output padding reaches
    return full[:, :, pad : pad + size[0], pad : pad + size[1]]


def louder(model: Any, factor: float) -> None:
    """Spreads the codes: a term of the bound that is almost 0 would prove nothing."""
    with torch.no_grad():
        for parameter in model.posterior.net.parameters():
            parameter.mul_(factor)


def conv_vae(state: dict[str, Array], x: Array, noise: Array) -> dict[str, Array]:
    """log p(x|z) and KL of images of 8 x 6, by a net of kernel 3, stride 2 and padding 1."""

    def affine(h: Array, name: str) -> Array:
        return h @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0)

    h = x
    for at in (0, 3):  # 8 x 6, 4 x 3, 2 x 2
        h = down(h, state[f"posterior.net.body.{at}.weight"], 2, 1)
        h = gelu(normed(h, state, f"posterior.net.body.{at + 1}"))
    h = affine(h.reshape(len(h), -1), "posterior.net.body.7")
    h = affine(gelu(normed(h, state, "posterior.net.body.8")), "posterior.net.output")
    loc, log_var = np.split(h, 2, 1)
    kl = 0.5 * (loc**2 + np.exp(log_var) - 1 - log_var).sum(1)
    z = loc + np.exp(0.5 * log_var) * noise
    h = z.reshape(-1, z.shape[-1])
    for at in (0, 3):
        name = f"likelihood.net.body.{at}"
        h = gelu(normed(affine(h, name), state, f"likelihood.net.body.{at + 1}"))
    h = up(h.reshape(-1, 5, 2, 2), state["likelihood.net.body.7.weight"], 2, 1, (4, 3))
    h = gelu(normed(h, state, "likelihood.net.body.8"))
    h = up(h, state["likelihood.net.output.weight"], 2, 1, (8, 6))
    logits = (h + state["likelihood.net.output.bias"][:, None, None]).reshape(*z.shape[:2], 1, 8, 6)
    terms = x * log_expit(logits) + (1 - x) * log_expit(-logits)
    return {"log p(x|z)": terms.sum((2, 3, 4)), "KL": kl, "mean": expit(logits)}


def test_the_bound_of_a_convolutional_net_by_hand(tmp_path: Path, proves: Proves) -> None:
    """Strides, output padding, batch norm by its stored moments; in double and as evaluated."""
    images = (np.random.default_rng(0).random((300, 8, 6)) > 0.6).astype(np.uint8) * 255
    np.savez(tmp_path / "bits.npz", images=images[:250], test_images=images[250:])
    net = "conv:channels=3,5:hidden=7:norm=batch"
    run = vk.train("vae", data=tmp_path / "bits.npz", net=net, latent=3, epochs=2, batch_size=32,
                   lr=0.01, out=tmp_path / "r", report=False, snapshots=0)  # fmt: skip
    louder(run.model, 1.6)
    torch.manual_seed(0)
    noise = torch.randn(10, 50, 3)
    x = run.dataset().test.x()
    state = {name: of(value) for name, value in run.model.state_dict().items()}
    hand, found = conv_vae(state, of(x), of(noise)), run.evaluate()
    elbo = hand["log p(x|z)"].mean(0) - hand["KL"]
    wanted = [hand["log p(x|z)"].mean(), hand["KL"].mean(), elbo.mean(), stats.sem(elbo)]
    wanted.append(((hand["mean"] - of(x)) ** 2).mean())
    oracle = "scipy.signal, pixel by pixel"
    assert hand["KL"].mean() > 0.5
    proves("metric bound of a conv net", oracle, [found[n] for n in BOUND], wanted, limit=1e-5)
    model = run.model.double().eval()
    trace = model(x.double(), samples=(10,))
    z, q = trace.site.z, trace.site.q
    hand = conv_vae(state, of(x), (of(z) - of(q.loc)) / of(q.scale))
    for name, got in (("log p(x|z)", trace.log_likelihood), ("KL", trace.kl[0])):
        proves(f"{name} of a conv net, float64", oracle, got, hand[name], limit=1e-9)


# Likelihoods through whole models ---------------------------------------------------------------


def softly(raw: Array) -> Array:
    """Between -30 and 20."""
    low = 20 - np.logaddexp(0, 20 - raw)
    bounded: Array = -30 + np.logaddexp(0, low + 30)
    return bounded


def continuous_bernoulli(logits: Array, x: Array) -> tuple[Array, Array]:
    """Log-density and mean as arXiv 1907.06845 has them."""
    s = expit(logits)
    log_c = np.log(2 * np.arctanh(1 - 2 * s) / (1 - 2 * s))
    log_p = x * np.log(s) + (1 - x) * np.log1p(-s) + log_c
    return log_p, s / (2 * s - 1) + 1 / (2 * np.arctanh(1 - 2 * s))


def laplace(loc: Array, x: Array) -> tuple[Array, Array]:
    return stats.laplace.logpdf(x, loc, 0.3), loc


def poisson(raw: Array, x: Array) -> tuple[Array, Array]:
    rate = np.exp(softly(raw))
    return stats.poisson.logpmf(x, rate), rate


def negative_binomial(raw: Array, x: Array) -> tuple[Array, Array]:
    mean, t = np.split(np.exp(softly(raw)), 2, -1)
    return stats.nbinom.logpmf(x, t, t / (t + mean)), mean


def zinb(raw: Array, x: Array) -> tuple[Array, Array]:
    log_mean, logits, log_t = np.split(softly(raw), 3, -1)
    mean, t = np.exp(log_mean), np.exp(log_t)
    counted = stats.nbinom.logpmf(x, t, t / (t + mean))
    zero = np.logaddexp(log_expit(logits), log_expit(-logits) + counted)
    return np.where(x == 0, zero, log_expit(-logits) + counted), expit(-logits) * mean


def poisson_of_library(raw: Array, x: Array) -> tuple[Array, Array]:
    mean = np.exp(raw - logsumexp(raw, axis=-1, keepdims=True)) * x.sum(-1, keepdims=True)
    return stats.poisson.logpmf(x, mean), mean


def multinomial(raw: Array, x: Array) -> tuple[Array, Array]:
    """Each element with its part of the coefficient; E[x] of the total that is known."""
    log_p = raw - logsumexp(raw, axis=-1, keepdims=True)
    total = x.sum(-1, keepdims=True)
    share = (gammaln(total + 1) - gammaln(x + 1).sum(-1, keepdims=True)) / x.shape[-1]
    return share + x * log_p, np.exp(log_p) * total


def ms_ssim(raw: Array, x: Array) -> tuple[Array, Array]:
    """Of images of 3 x 2 the windows are single pixels, without contrast."""
    mean = expit(raw)
    return (2 * x * mean + 1e-4) / (x**2 + mean**2 + 1e-4) - 1, mean


def gaussian(raw: Array, x: Array) -> tuple[Array, Array]:
    loc, log_var = np.split(raw, 2, -1)
    log_scale = -6 + np.logaddexp(0, 0.5 * log_var + 6)  # the floor of pixels
    return stats.norm.logpdf(x, loc, np.exp(log_scale)), loc


def categorical(raw: Array, x: Array) -> tuple[Array, Array]:
    """Of one element all 256 levels, then those of the next... of one channel."""
    logits = raw.reshape(*raw.shape[:2], 256, -1)
    log_p = logits - logsumexp(logits, axis=2, keepdims=True)
    level = np.rint(255 * x).astype(int)
    picked = np.take_along_axis(log_p, np.broadcast_to(level[:, None], log_p[:, :, :1].shape), 2)
    return picked[:, :, 0], np.tensordot(np.exp(log_p), np.arange(256) / 255, (2, 0))


def bernoulli(logits: Array, x: Array) -> tuple[Array, Array]:
    return x * log_expit(logits) + (1 - x) * log_expit(-logits), expit(logits)


def blocks(raw: Array, x: Array) -> tuple[Array, Array]:
    """Of a number, a category of three and a truth; the network's output has the truth second."""
    log_p = raw[..., 2:] - logsumexp(raw[..., 2:], axis=-1, keepdims=True)
    truth, sure = bernoulli(raw[..., 1:2], x[:, 4:])
    parts = [stats.norm.logpdf(x[:, :1], raw[..., :1], 0.7), log_p * x[:, 1:4], truth]
    return np.concatenate(parts, -1), np.concatenate([raw[..., :1], np.exp(log_p), sure], -1)


def mixed_rows(rng: np.random.Generator) -> dict[str, pandas.DataFrame]:
    """Training and test rows of a table of three columns."""
    columns = {"a": rng.normal(3, 2, 200), "s": rng.choice(["x", "y", "z"], 200)}
    frame = pandas.DataFrame(columns | {"b": rng.choice(["no", "yes"], 200)})
    return {"train": frame[:160], "test": frame[160:]}


def logistic(loc: Array, x: Array) -> tuple[Array, Array]:
    return stats.logistic.logpdf(x, loc, 0.3), loc


def student_t(loc: Array, x: Array) -> tuple[Array, Array]:
    return stats.t.logpdf(x, 4, loc, 0.3), loc


def log_cosh(loc: Array, x: Array) -> tuple[Array, Array]:
    return stats.hypsecant.logpdf(x, loc, 0.3), loc


def bins(loc: Array, scale: Any, x: Array) -> Array:
    """The mass of a logistic variable within half a level of x, to infinity at the ends."""
    above = np.where(x > 0.999, np.inf, (x + 0.5 / 255 - loc) / scale)
    below = np.where(x < 0.001, -np.inf, (x - 0.5 / 255 - loc) / scale)
    mass: Array = expit(above) - expit(below)
    return mass


def discretized_logistic(loc: Array, x: Array) -> tuple[Array, Array]:
    at = np.arange(256) / 255
    mean = sum(bins(loc, 0.2, np.full_like(loc, value)) * value for value in at)
    return np.log(bins(loc, 0.2, x)), mean


def mixture(raw: Array, x: Array) -> tuple[Array, Array]:
    """Of two components of one channel: logits, locations and log scales of all pixels."""
    logits, loc, log_scale = np.split(raw.reshape(*raw.shape[:2], 6, -1), 3, 2)
    shares = np.exp(logits - logsumexp(logits, axis=2, keepdims=True))
    scale = np.exp(log_scale.clip(-7, 5))
    mass = (shares * bins(loc, scale, x[:, None])).sum(2)
    return np.log(mass), (shares * loc).sum(2).clip(0, 1)


LIKELIHOODS = {
    "logistic:scale=0.3": logistic,
    "student-t:df=4:scale=0.3": student_t,
    "log-cosh:scale=0.3": log_cosh,
    "discretized-logistic:scale=0.2": discretized_logistic,
    "discretized-logistic-mixture:components=2": mixture,
    "bernoulli": bernoulli,
    "blocks:scale=0.7": blocks,
    "laplace:scale=0.3": laplace,
    "continuous-bernoulli": continuous_bernoulli,
    "gaussian:scale=free": gaussian,
    "categorical": categorical,
    "poisson": poisson,
    "negative-binomial:dispersion=free": negative_binomial,
    "zinb:dispersion=free": zinb,
    "poisson given the library size": poisson_of_library,
    "multinomial": multinomial,
    "multinomial given the library size": multinomial,
    "ms-ssim": ms_ssim,
}


@pytest.mark.parametrize("spec", LIKELIHOODS)
def test_the_bound_of_each_likelihood_by_hand(spec: str, tmp_path: Path, proves: Proves) -> None:
    rng, called, library = np.random.default_rng(0), spec, " given" in spec
    spec = spec.partition(" ")[0]
    counts = spec.partition(":")[0] in ("poisson", "negative-binomial", "zinb", "multinomial")
    rows = rng.poisson(rng.gamma(2, 2, (200, 6))) if counts else rng.random((200, 1, 3, 2)) * 255
    rows = rows.astype("uint8")
    np.savez(tmp_path / "x.npz", images=rows[:160], test_images=rows[160:])
    data: Any = mixed_rows(rng) if "blocks" in spec else tmp_path / "x.npz"
    kind: Any = None if "blocks" in spec else "counts" if counts else "gray"
    run = vk.train("vae", data=data, kind=kind, latent=2,
                   likelihood=spec, net="mlp:hidden=9", epochs=3, lr=0.01, out=tmp_path / "r",
                   report=False, snapshots=0,
                   library="observed" if library else "none")  # fmt: skip
    louder(run.model, 3.0)
    state = {name: of(value) for name, value in run.model.state_dict().items()}

    def net(h: Array, which: str) -> Array:
        one, two = (name for name in state if f"{which}.net" in name and name.endswith("weight"))
        shifts = (state[name.replace("weight", "bias")] for name in (one, two))
        h = gelu(h @ state[one].T + next(shifts))
        return h @ state[two].T + next(shifts)

    x = of(run.dataset().test.x()).reshape(40, -1)
    loc, log_var = np.split(net(np.log1p(x) if counts else x, "posterior"), 2, 1)
    torch.manual_seed(0)
    z = loc + np.exp(0.5 * log_var) * of(torch.randn(10, 40, 2))
    log_p, mean = LIKELIHOODS[called](net(z, "likelihood"), x)
    if called == "multinomial":  # whose mean has the total of the mean of the training rows
        mean = mean / x.sum(1, keepdims=True) * state["likelihood.family._total"]
    fit = log_p.sum(-1).mean(0)
    kl = 0.5 * (loc**2 + np.exp(log_var) - 1 - log_var).sum(1)
    assert kl.mean() > 0.2
    found, name = run.evaluate(), called.partition(":")[0]
    wanted = [fit.mean(), kl.mean(), (fit - kl).mean(), stats.sem(fit - kl)]
    wanted.append(((mean - x) ** 2).mean())
    part, oracle = f"likelihood {name}, printed bound", "scipy and numpy from the weights"
    proves(part, oracle, [found[n] for n in BOUND], wanted, limit=1e-5)


# The running mean of the weights ----------------------------------------------------------------


class Kept(Callback):
    """The weights after each step; it stops the training after some."""

    def __init__(self, stop: int) -> None:
        self.stop, self.seen = stop, list[dict[str, Array]]()

    def step(self, progress: Progress) -> None:
        self.seen.append({k: of(v).copy() for k, v in progress.model.state_dict().items()})
        if len(self.seen) == self.stop:
            signals.raise_signal(signals.SIGINT)


def test_ema_is_its_recursion_over_a_resume_and_is_what_is_evaluated(
    tmp_path: Path, proves: Proves
) -> None:
    """With batch norm, whose stored moments are averaged as the weights are."""
    first, second = Kept(3), Kept(99)
    options: dict[str, Any] = {"net": "mlp:hidden=8:norm=batch", "limit": 200, "ema": 0.8}
    vk.train("vae", out=tmp_path / "r", epochs=2, batch_size=32, report=False, snapshots=0,
             callbacks=[first], **options)  # fmt: skip
    assert len(first.seen) == 3
    vk.resume(tmp_path / "r", report=False, callbacks=[second])
    steps = [*first.seen, *second.seen]
    assert len(second.seen) > 5
    mean = steps[0]
    for now in steps[1:]:
        mean = {name: 0.8 * value + 0.2 * now[name] for name, value in mean.items()}
    run = vk.load(tmp_path / "r", weights="ema")
    found = {name: of(value) for name, value in run.model.state_dict().items()}
    for name, value in mean.items():
        if "num_batches" not in name:
            part, oracle = "ema, weights and buffers", "its recursion, numpy"
            proves(part, oracle, found[name], value, limit=1e-6)
    name = "likelihood.net.output.weight"
    assert np.abs(found[name] - steps[-1][name]).max() > 1e-3
    told = run.evaluate()
    assert (told["protocol"]["weights"], told["protocol"]["step"]) == ("ema", len(steps))
    for weights, state in (("ema", mean), ("last", steps[-1])):
        opened = vk.load(tmp_path / "r", weights=weights)
        kl = opened.evaluate()["kl"]
        opened.model.load_state_dict({k: torch.as_tensor(v) for k, v in state.items()})
        by_hand = opened.evaluate()["kl"]
        proves(f"KL at the weights {weights}", "those of the recursion", kl, by_hand, limit=1e-4)


# What a sweep prints ----------------------------------------------------------------------------


def by_hand(run: vk.Run) -> dict[str, tuple[float, float | None]]:
    """What the page says of a run, by its title: from its evaluation and its records."""
    found = run.evaluate("reconstruction", "latent", "gradient-noise")
    train = run.evaluate(split="train", limit=found["protocol"]["rows"])
    near, records = found["reconstruction"], run.folder.records()
    return {
        "bound (ELBO)": (found["elbo"], found["elbo_standard_error"]),
        "bound (ELBO), train − test": (train["elbo"] - found["elbo"], None),
        "log-likelihood": (found["log_likelihood"], found["log_likelihood_standard_error"]),
        "KL": (found["kl"], found["kl_standard_error"]),
        "active units": (found["latent"]["active_units"], None),
        "mean square error": (found["mse"], None),
        "PSNR, dB": (near["psnr"], near["errors"]["psnr"]),
        "SSIM": (near["ssim"], near["errors"]["ssim"]),
        "parameters": (sum(v.numel() for v in run.model.parameters()), None),
        "latent dimensions": (run.latent_size, None),
        "images a second": (statistics.median(r["images_per_second"] for r in records), None),
        "dead units": (100 * records[-1]["dead_units"], None),
        "gradient norm": (records[-1]["gradient_norm"], None),
        "gradient noise": (found["gradient-noise"]["ratio"], None),
        "epochs": (len(records), None),
    }


def cells(part: str) -> list[str]:
    found = re.findall(r"<t[dh].*?</t[dh]>", part, re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]+>", "", cell)).replace("\xa0", " ") for cell in found]


def test_each_number_on_the_page_of_a_sweep_is_that_of_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proves: Proves
) -> None:
    """Of each run, and of each setting: the mean over its seeds, and its standard error."""
    images = np.random.default_rng(0).integers(0, 256, (180, 9, 8)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", images=images[:140], test_images=images[140:])
    monkeypatch.setattr("vaekit.runs._sweep.train_all", lambda *_, **__: [])  # trained below
    hand, grid = {}, {"latent": [2, 3], "seed": [0, 1]}
    small: dict[str, Any] = {"data": tmp_path / "x.npz", "net": "mlp:hidden=8", "epochs": 2,
                             "snapshots": 0, "report": False, "threads": 1}  # fmt: skip
    for size, seed in product(*grid.values()):
        out = tmp_path / "g" / f"latent={size},seed={seed}"
        run = vk.train("vae", latent=size, seed=seed, out=out, **small)
        hand[f"latent={size} seed={seed}"] = by_hand(run)
    vk.sweep("vae", grid=grid, out=tmp_path / "g", jobs=1, **small)
    for size in (2, 3):
        both = [hand[f"latent={size} seed={seed}"] for seed in (0, 1)]
        pairs = {title: [one[title][0] for one in both] for title in both[0]}
        hand[f"latent={size}"] = {
            title: (np.mean(pair), stats.sem(pair)) for title, pair in pairs.items()
        }
    page = (tmp_path / "g" / "compare.html").read_text()
    seen = set()
    for table in re.findall(r"<table.*?</table>", page, re.DOTALL):
        titles, *rows = map(cells, re.findall(r"<tr.*?</tr>", table, re.DOTALL))
        for name, *texts in rows:
            for title, text in zip(titles[1:], texts, strict=True):
                shown = [t.replace(",", "") for t in re.findall(r"[−\d][\d.,]*", text)]
                known = zip(shown, hand.get(name, {}).get(title, ()), strict=False)
                for number, wanted in known:
                    if wanted is None:
                        continue
                    decimals = len(number.partition(".")[2])
                    part, got = f"sweep page, {title}", float(number.replace("−", "-"))
                    oracle = "evaluate of its runs, to the digits shown"
                    proves(part, oracle, got, round(float(wanted), decimals), limit=1e-9)
                    seen.add((name, title))
    assert seen == {(name, title) for name, known in hand.items() for title in known}


def test_the_plane_of_a_run_is_at_quantiles_of_its_prior(tmp_path: Path, proves: Proves) -> None:
    run = vk.train("vae", latent=2, limit=60, epochs=1, net="mlp:hidden=4", out=tmp_path / "r",
                   report=False, snapshots=0)  # fmt: skip
    images, (first, second) = manifold(run, 6)
    wanted = stats.norm.ppf((np.arange(6) + 0.5) / 6)
    proves("plane of a latent", "scipy's ppf at (i + 1/2) / n", first, wanted, limit=1e-6)
    proves("plane of a latent", "scipy's ppf at (i + 1/2) / n", second, wanted[::-1], limit=1e-6)
    assert images.shape[:2] == (6, 6)

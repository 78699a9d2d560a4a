"""The loop and the run: exact continuation, schedules, divergence, checkpoints."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vaekit
from vaekit import Callback, recipes
from vaekit._torchutil import load_state, save_state
from vaekit._train_options import Data, Training
from vaekit.data import Batches, Dataset, Split, conditioned, load
from vaekit.distributions import Gaussian as GaussianDistribution
from vaekit.distributions import offering
from vaekit.errors import VaekitError
from vaekit.models import VAE, Trace
from vaekit.objectives import ELBO, Objective
from vaekit.parts import Conditional, Gaussian, StandardNormal
from vaekit.runs import RunFolder, flat_fields
from vaekit.training import (
    Best,
    DivergedError,
    Progress,
    Supervisor,
    examine,
    fit,
    make_average,
    make_optimizer,
    make_schedules,
    parse,
)
from vaekit.training import _update as update

SMALL = {"data": "digits", "latent": 3, "net": "mlp:hidden=16", "limit": 400, "batch_size": 64}
VAES = [name for name in recipes.names() if "latent" in recipes.find_recipe(name).asks]


def digits(name: str = "vae") -> Dataset:
    """With the labels where the recipe is conditioned on them; as rows of counts of cells."""
    data, options = load("digits"), recipes.find_recipe(name).options
    how = Data(**{n: options[n] for n in ("context", "library") if n in options})
    if how.library == "observed":
        rows = {n: part.images.flatten(1) // 16 for n, part in data.splits.items()}
        rows = {n: replace(data.splits[n], images=x.float()) for n, x in rows.items()}
        data = replace(data, kind="counts", library=(1.0, 60.0), **rows)  # type: ignore[arg-type]
    parts = {n: conditioned(part, data, how) for n, part in data.splits.items()}
    return replace(data, **parts)  # type: ignore[arg-type]


def small_batches(rows: int = 400, size: int = 64, name: str = "vae") -> Batches:
    return Batches(digits(name).train.take(torch.arange(rows)), size)


def made(name: str, net: str = ":hidden=16:dropout=0.1:norm=batch") -> recipes.Recipe:
    torch.manual_seed(0)
    net += ":channels=6,4" * (name == "unpool_ae")
    return recipes.build(name, digits(name).spec(), latent=3, net=net)


def adam(recipe: recipes.Recipe) -> torch.optim.Optimizer:
    return make_optimizer("adam", recipe.model.parameters(), lr=1e-3)


def weights(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


@pytest.mark.parametrize("name", VAES)
@pytest.mark.parametrize("split", [3, 9])
def test_three_and_three_steps_equal_six_for_every_recipe(
    name: str, split: int, tmp_path: Path
) -> None:
    """With the state written and read, within an epoch (7 steps) and beyond it."""
    batches = small_batches(name=name)
    whole = made(name)
    average = make_average(whole.model, 0.9)
    fit(*parts(whole), batches, steps=2 * split, optimizer=adam(whole), average=average)

    first = made(name)
    progress = fit(
        *parts(first),
        batches,
        steps=split,
        optimizer=adam(first),
        average=make_average(first.model, 0.9),
    )
    save_state(tmp_path / "state", progress.state())
    torch.rand(100)
    second = made(name)
    again = make_average(second.model, 0.9)
    fit(
        *parts(second),
        batches,
        steps=2 * split,
        optimizer=adam(second),
        average=again,
        resume=load_state(tmp_path / "state"),
    )
    assert same(whole.model, second.model)
    assert average is not None
    assert again is not None
    assert same(average, again)
    assert not same(first.model, second.model)


def parts(recipe: recipes.Recipe) -> tuple[VAE, Objective]:
    return recipe.model, recipe.objective


PINNED = json.loads((Path(__file__).parent / "pinned_curves.json").read_text())


JUMPS = {"vq_vae", "vq_vae_ema", "residual_vq", "fsq_vae", "factor_vae", "aae", "vae_gan"}


@pytest.mark.parametrize("name", VAES)
def test_the_loss_curve_is_the_pinned_one(name: str) -> None:
    """Nats per image of the first ten steps; renewed by `python tests/pin_curves.py`.

    A code next to two points, and a critic, part on processors that round in other ways: there
    all but the first two steps hold to 1 %.
    """
    got = curve(name)
    assert got[:2] == pytest.approx(PINNED[name][:2], rel=2e-4)
    assert got == pytest.approx(PINNED[name], rel=1e-2 if name in JUMPS else 2e-4)
    assert len(set(got)) == len(got)


def curve(name: str, *net: str, **how: Any) -> list[float]:
    recipe = made(name, *net)
    values: list[float] = []

    def note(progress: Progress) -> None:
        values.append(progress.meter.means()["objective"])
        progress.meter.reset()

    batches = small_batches(name=name)
    fit(*parts(recipe), batches, steps=10, optimizer=adam(recipe), on_step=note, **how)
    return values


def test_curves_without_autograd_are_those_with_it_and_the_pinned_ones_need_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seven recipes take their gradients by hand, where a net has neither norm nor dropout."""
    asked = list[str]()
    differentiate = update.differentiate
    monkeypatch.setattr(
        update, "differentiate", lambda *args: (asked.append(""), differentiate(*args))[1]
    )
    by_hand = list[str]()
    for name in VAES:
        wanted = curve(name, ":hidden=16", fast="off")
        asked.clear()
        got = curve(name, ":hidden=16", fast="auto")
        assert got == pytest.approx(wanted, rel=1e-6)
        by_hand += [] if asked else [name]
        asked.clear()
        curve(name)
        assert asked
    also = ["student_t_vae", "log_cosh_vae", "dmol_vae", "ms_ssim_vae"]
    assert by_hand == ["vae", "beta_vae", "sigma_vae", *also]


def test_every_recipe_has_a_pinned_curve() -> None:
    assert set(PINNED) == set(VAES)


def test_recipe_options_never_clash_with_the_shared_ones() -> None:
    for name in recipes.names():
        flat = [field for field, *_ in flat_fields(name)]
        assert len(flat) == len(set(flat)), f"{name} repeats a name"
        assert {"epochs", "net", "data"} <= set(flat)


def test_the_loop_takes_the_step_of_a_hand_written_one() -> None:
    """BCE-with-logits plus KL, Adam: the same weights after ten steps."""
    asked = {"latent": 3, "net": "mlp:hidden=16", "likelihood": "bernoulli"}
    recipe = recipes.build("vae", load("digits").spec(), **asked)
    hand: Any = recipes.build("vae", load("digits").spec(), **asked).model
    hand.load_state_dict(recipe.model.state_dict())
    batches = small_batches()
    torch.manual_seed(5)
    fit(*parts(recipe), batches, steps=7, optimizer=adam(recipe))

    torch.manual_seed(5)
    optimizer = torch.optim.Adam(hand.parameters(), lr=1e-3, fused=True)
    for x, _ in batches.epoch(0):
        loc, log_variance = hand.posterior.net(x).chunk(2, 1)
        z = loc + (log_variance / 2).exp() * torch.randn(loc.shape)
        logits = hand.likelihood.net(z)
        bce = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = -0.5 * (1 + log_variance - loc**2 - log_variance.exp()).sum()
        optimizer.zero_grad()
        ((bce + kl) / 64).backward()
        optimizer.step()
    for a, b in zip(weights(recipe.model), weights(hand), strict=True):
        assert torch.allclose(a, b, atol=2e-5)


class Probe(Callback):
    """Notes the records, and may press Ctrl-C, or send another signal."""

    def __init__(self, interrupt_at: int | None = None, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number = number
        self.records: list[dict[str, Any]] = []
        self.interrupt_at = interrupt_at

    def step(self, progress: Progress) -> None:
        if progress.step == self.interrupt_at:
            os.kill(os.getpid(), self.number)

    def record(self, record: dict[str, Any]) -> None:
        self.records.append(record)


def run_weights(path: Path) -> dict[str, Tensor]:
    state = load_state(path / "checkpoints" / "last.safetensors")
    return state["progress"]["model"]  # type: ignore[no-any-return]


def assert_same_run(a: Path, b: Path) -> None:
    one, two = run_weights(a), run_weights(b)
    assert all(torch.equal(one[k], two[k]) for k in one)
    timed = {"seconds", "images_per_second"}
    lines = [
        [
            {k: v for k, v in json.loads(line).items() if k not in timed}
            for line in (path / "metrics.jsonl").read_text().splitlines()
        ]
        for path in (a, b)
    ]
    assert lines[0] == lines[1]
    frames = [{p.name: p.read_bytes() for p in (path / "snapshots").iterdir()} for path in (a, b)]
    assert frames[0] == frames[1]
    assert len(frames[0]) == len(lines[0]) + 2  # with the originals, and the untrained model


AVERAGED = {**SMALL, "ema": 0.9, "report": False, "lr_schedule": "constant"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("training") / "whole"
    return vaekit.train("vae", out=path, epochs=4, **AVERAGED).path


@pytest.mark.parametrize("at", [3, 6, 14])
def test_ctrl_c_ends_with_a_checkpoint_and_resuming_is_exact(
    whole: Path, tmp_path: Path, at: int
) -> None:
    """In the middle of an epoch (6 steps), at the end of one, and later."""
    vaekit.train("vae", out=tmp_path / "cut", epochs=4, callbacks=[Probe(at)], **AVERAGED)
    state = load_state(tmp_path / "cut" / "checkpoints" / "last.safetensors")
    assert state["progress"]["step"] == at
    vaekit.resume(tmp_path / "cut", report=False)
    assert_same_run(whole, tmp_path / "cut")


def test_an_interrupted_epoch_keeps_its_seconds(tmp_path: Path, monkeypatch: Any) -> None:
    clock = iter(range(0, 1000, 3))  # each call three seconds after the one before
    monkeypatch.setattr("vaekit.training._loop.time.perf_counter", lambda: float(next(clock)))
    vaekit.train("vae", out=tmp_path / "cut", epochs=2, callbacks=[Probe(3)], **AVERAGED)
    run = vaekit.resume(tmp_path / "cut", report=False)
    first, second = run.folder.records()
    assert (first["seconds"], second["seconds"]) == (6.0, 3.0)  # in two pieces, and in one
    rows = run.dataset().rows["train"]
    assert first["images_per_second"] == pytest.approx(rows / 6.0, abs=0.06)
    assert second["images_per_second"] == pytest.approx(rows / 3.0, abs=0.06)


class Crash(vaekit.Callback):
    """Ends the process of a training, as far as a test can."""

    def step(self, progress: Progress) -> None:
        if progress.step == 5:
            raise RuntimeError("crash")


def test_a_checkpoint_is_written_in_the_middle_of_an_epoch(whole: Path, tmp_path: Path) -> None:
    how: Any = {"epochs": 4, "callbacks": [Crash()], "checkpoint_seconds": 0, **AVERAGED}
    with pytest.raises(RuntimeError, match="crash"):
        vaekit.train("vae", out=tmp_path / "cut", **how)
    state = load_state(tmp_path / "cut" / "checkpoints" / "last.safetensors")
    assert state["progress"]["step"] == 3, "of six in the first epoch; that of step 1 went on"
    vaekit.resume(tmp_path / "cut", report=False)
    assert_same_run(whole, tmp_path / "cut")


def test_of_every_nth_epoch_a_checkpoint_stays_that_opens_and_goes_on(
    whole: Path, tmp_path: Path
) -> None:
    vaekit.train("vae", out=tmp_path / "kept", epochs=4, keep_every=2, **AVERAGED)
    folder = tmp_path / "kept" / "checkpoints"
    names = {path.name for path in folder.glob("epoch-*")}
    assert names == {"epoch-2.safetensors", "epoch-4.safetensors"}
    vaekit.train("vae", out=tmp_path / "short", epochs=2, **AVERAGED)
    kept, short = (
        vaekit.load(tmp_path / "kept", weights="epoch-2"),
        vaekit.load(tmp_path / "short", weights="last"),
    )
    assert (kept.weights, kept.step) == ("epoch-2", short.step)
    theirs = short.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in kept.model.state_dict().items())
    (folder / "epoch-2.safetensors").replace(folder / "last.safetensors")
    vaekit.resume(tmp_path / "kept", report=False)
    assert_same_run(whole, tmp_path / "kept")
    with pytest.raises(VaekitError, match=r"there is no checkpoint .*epoch-3"):
        vaekit.load(tmp_path / "kept", weights="epoch-3")


@pytest.mark.parametrize(
    ("every", "took", "pause"),
    [(5, 0.01, 5), (5, 0.1, 10), (5, 1.0, 30), (5, 4.0, 80), (60, 0.5, 60)],
)
def test_how_long_a_checkpoint_waits_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: float, took: float, pause: float
) -> None:
    watcher = Supervisor(RunFolder(tmp_path), Best("elbo"), every=every)
    watcher._saved, watcher._took = 100.0, took
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + pause)
    assert watcher._is_time()
    monkeypatch.setattr(time, "monotonic", lambda: 99.9 + pause)
    assert not watcher._is_time()


def test_numbered_checkpoints_do_not_put_off_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count()  # each look at the clock takes one
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr("vaekit.training._checkpoints.time", clock)

    class Late(Callback):
        def step(self, progress: Progress) -> None:
            if progress.step == 70:
                raise RuntimeError("crash")

    how: Any = {"epochs": 12, "keep_every": 1, "callbacks": [Late()], **AVERAGED}
    with pytest.raises(RuntimeError, match="crash"):
        vaekit.train("vae", out=tmp_path / "r", **how)
    state = load_state(tmp_path / "r" / "checkpoints" / "last.safetensors")
    assert state["progress"]["step"] > 35, "of an epoch in the second half"


def test_ctrl_c_in_the_report_says_that_the_training_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vaekit.api.write_run_report", interrupted)
    with pytest.raises(KeyboardInterrupt, match="the training is done; `vaekit train --resume"):
        vaekit.train("vae", out=tmp_path / "r", epochs=1, **SMALL)
    assert (tmp_path / "r" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_what_ends_a_process_ends_a_training_with_a_checkpoint(
    whole: Path, tmp_path: Path, name: str
) -> None:
    number = signal.Signals[name]
    ends = Probe(3, number)
    vaekit.train("vae", out=tmp_path / "cut", epochs=4, callbacks=[ends], **AVERAGED)
    assert ends.interrupted
    assert signal.getsignal(number) == signal.SIG_DFL
    vaekit.resume(tmp_path / "cut", report=False)
    assert_same_run(whole, tmp_path / "cut")


@pytest.mark.slow
def test_a_killed_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    """kill -9 at five points drawn anew each time the test runs."""
    import random

    options = {**SMALL, "epochs": 40, "validation": 50, "report": False}
    options["checkpoint_seconds"] = 0
    options["net"] = "mlp:hidden=16:dropout=0.1"
    whole = vaekit.train("vae", out=tmp_path / "whole", threads=1, **options)
    cut = tmp_path / "cut"
    code = (
        "import sys, torch, vaekit\n"
        "from vaekit import Callback\n"
        "class Stop(Callback):\n"
        "    def step(self, progress):\n"
        "        if progress.step == int(sys.argv[2]):\n"
        "            import os, signal\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "common = dict(callbacks=[Stop()], report=False)\n"
        "if sys.argv[1] == 'start':\n"
        f"    vaekit.train('vae', out={str(cut)!r}, threads=1, **common, "
        f"**{ {k: v for k, v in options.items() if k != 'report'}!r})\n"
        "else:\n"
        f"    vaekit.resume({str(cut)!r}, **common)\n"
    )
    steps = sorted(random.SystemRandom().sample(range(1, 40 * 6), 5))
    for number, step in enumerate(steps):
        mode = "start" if number == 0 else "resume"
        done = subprocess.run([sys.executable, "-c", code, mode, str(step)], check=False)
        assert done.returncode == -signal.SIGKILL, f"not killed at step {step}"
    vaekit.resume(cut, report=False)
    assert_same_run(whole.path, cut)
    best = [load_state(p / "checkpoints" / "best.safetensors")["model"] for p in (whole.path, cut)]
    assert all(torch.equal(best[0][k], best[1][k]) for k in best[0])


def test_more_epochs_may_be_asked_for_when_resuming(whole: Path, tmp_path: Path) -> None:
    vaekit.train("vae", out=tmp_path / "short", epochs=2, **AVERAGED)
    vaekit.resume(tmp_path / "short", epochs=4, report=False)
    assert_same_run(whole, tmp_path / "short")


class Meanless(GaussianDistribution):
    """It gives draws alone."""

    offers = GaussianDistribution.offers - offering("mean", "moments")


class Drawn(Gaussian):
    """A Gaussian of which nobody knows the mean: what is made of x is made of draws."""

    distribution = Meanless


@pytest.mark.parametrize("posterior", ["gaussian", "drawn"])
def test_a_reconstruction_of_draws_resumes_bit_for_bit(posterior: str, tmp_path: Path) -> None:
    """The frames of the film are reconstructions: their draws are none of the training's."""
    vaekit.register("posterior", "drawn")(Drawn)
    options = {**SMALL, "posterior": posterior, "objective": ":samples=2", "report": False}
    long = vaekit.train("ae", out=tmp_path / "long", epochs=3, **options)
    vaekit.train("ae", out=tmp_path / "short", epochs=3, callbacks=[Probe(8)], **options)
    vaekit.resume(tmp_path / "short", report=False)
    assert_same_run(long.path, tmp_path / "short")


def test_a_run_leaves_the_callers_random_state_and_threads_alone(tmp_path: Path) -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    vaekit.train("vae", out=tmp_path / "r", epochs=1, report=False, threads=1, **SMALL)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_best_is_by_the_monitor_and_not_before_the_warm_up_ends(tmp_path: Path) -> None:
    probe = Probe()
    run = vaekit.train(
        "beta_vae",
        out=tmp_path / "r",
        epochs=6,
        kl_warmup="linear:3",
        callbacks=[probe],
        report=False,
        **SMALL,
    )
    beta = [r["weights"]["beta"] for r in probe.records]
    assert beta == pytest.approx([4 * s / 18 for s in (5, 11, 17)] + [4.0] * 3)
    assert load_state(run.folder.last)["best"]["epoch"] >= 4
    assert run.weights == "best"


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    probe = Probe()
    run = vaekit.train(
        "ae",
        out=tmp_path / "r",
        epochs=200,
        patience=2,
        lr=0.05,
        callbacks=[probe],
        report=False,
        **SMALL,
    )
    values = [r["validation"]["log_likelihood"] for r in probe.records]
    assert len(values) < 200
    best = values.index(max(values))
    assert len(values) == best + 3
    assert run.weights == "best"
    before = run_weights(run.path)
    vaekit.resume(run.path, report=False)
    after = run_weights(run.path)
    assert all(torch.equal(before[k], after[k]) for k in before), "a stopped run went on"
    assert not torch.equal(
        load_state(run.folder.best)["model"]["posterior.net.output.weight"],
        run_weights(run.path)["posterior.net.output.weight"],
    )


def test_ema_is_the_running_mean_of_the_weights(whole: Path) -> None:
    recipe = made("vae")
    average = make_average(recipe.model, 0.8)
    assert average is not None
    seen = [weights(recipe.model)]
    fit(
        *parts(recipe),
        small_batches(),
        steps=3,
        optimizer=adam(recipe),
        average=average,
        on_step=lambda p: seen.append(weights(recipe.model)),
    )
    expected = seen[1][0]  # the first update takes the weights as they are
    for values in seen[2:]:
        expected = 0.8 * expected + 0.2 * values[0]
    assert torch.allclose(next(iter(average.module.state_dict().values())), expected, atol=1e-6)
    ema = vaekit.load(whole, weights="ema").model.state_dict()
    last = vaekit.load(whole, weights="last").model.state_dict()
    assert not torch.equal(
        ema["likelihood.net.output.weight"], last["likelihood.net.output.weight"]
    )


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("constant:0.3", {0: 0.3, 99: 0.3}),
        ("linear:1:3:10", {0: 1, 5: 2, 10: 3, 50: 3}),
        ("cosine:0:2:10", {0: 0, 5: 1, 10: 2, 11: 2}),
        ("cyclic:0:1:40:4", {0: 0, 2: 0.4, 5: 1, 9: 1, 10: 0, 15: 1, 30: 0, 40: 1}),
        ("cyclic:0:1:40:2:0.25", {0: 0, 5: 1, 19: 1, 20: 0}),
        ("step:1:0.1:5,8", {4: 1, 5: 0.1, 7: 0.1, 8: 0.01}),
        ("flat-linear:2:0:10:20", {0: 2, 10: 2, 15: 1, 20: 0, 30: 0}),
    ],
)
def test_schedules(text: str, points: dict[int, float]) -> None:
    schedule = parse(text)
    assert {s: schedule(s) for s in points} == pytest.approx(points)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "exponential:0:1:5",
        "linear:0:1",
        "linear:0:1:0",
        "linear:a:1:5",
        "flat-linear:1:0:9:5",
        "cyclic:0:1:5",
    ],
)
def test_a_schedule_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(vaekit.VaekitError):
        parse(text)


def test_learning_rates_and_warm_ups_are_written_in_epochs() -> None:
    assert rate_of(lr=2.0, lr_schedule="cosine")(50) == pytest.approx(1.0)
    assert rate_of(lr=1.0, lr_schedule="flat-linear:0.8")(90) == pytest.approx(0.5)
    assert rate_of(lr=1.0, lr_schedule="flat-linear")(75) == pytest.approx(0.5)
    assert rate_of(lr=0.2, lr_schedule="constant", lr_warmup=1)(90) == 0.2
    rate = rate_of(lr=2.0, lr_schedule="cosine", lr_warmup=50)
    assert (rate(0), rate(24), rate(49)) == pytest.approx((0.04, 0.8645, 1.0314), abs=1e-4)
    assert rate(75) == pytest.approx(0.2929, abs=1e-4)
    assert rate_of(lr=2.0, lr_warmup=50)(49) == 2.0
    rate = rate_of(lr=2.0)  # of 100 steps the first 5 rise, and the last 30 fall
    assert [rate(at) for at in (0, 4, 5, 70, 85)] == pytest.approx([0.4, 2.0, 2.0, 2.0, 1.0])
    long = make_schedules(Training(lr=2.0), made("ae").objective, 10_000, 10)[0]["lr"]
    assert [long(at) for at in (0, 49, 99, 7000, 9000)] == pytest.approx([0.02, 1, 2, 2, 2 / 3])
    weight = made("beta_vae").objective
    schedules, over = make_schedules(Training(kl_warmup="cyclic:2:0.5"), weight, 100, 10)
    assert ([schedules["objective.beta"](at) for at in (0, 25, 50)], over) == ([0, 4, 0], 75)
    for bad in ("cosin", "step:0.1", "flat-linear:x", "constant:3"):
        with pytest.raises(vaekit.VaekitError):
            rate_of(lr_schedule=bad)
    with pytest.raises(vaekit.VaekitError, match="expected none, linear:EPOCHS"):
        make_schedules(Training(kl_warmup="linear"), weight, 100, 10)
    with pytest.raises(vaekit.VaekitError, match="Reconstruction has no KL weight"):
        make_schedules(Training(kl_warmup="linear:1"), made("ae").objective, 10, 1)


@pytest.mark.parametrize(
    ("objective", "other"),
    [(vaekit.objectives.BetaTC(9), "alpha"), (vaekit.objectives.RAEL2(), "beta")],
)
def test_a_warm_up_is_of_the_kl_s_weight_and_of_no_other(objective: Any, other: str) -> None:
    """Theirs weighs the total correlation, or the length of z."""
    assert "beta" in dict(objective.named_buffers())
    options = Training(kl_warmup="linear:1")
    wanted = f"{type(objective).__name__} has no KL weight .*`schedule={other}=KIND:NUMBERS`"
    with pytest.raises(vaekit.VaekitError, match=wanted):
        make_schedules(options, objective, 10, 1)
    schedules, over = make_schedules(options, vaekit.objectives.STL(beta=3.0), 10, 4)
    assert ([schedules["objective.beta"](at) for at in (0, 2, 9)], over) == ([0, 1.5, 3], 4)


def rate_of(**options: Any) -> Callable[[int], float]:
    """The learning rate of a training of 100 steps, ten an epoch."""
    return make_schedules(Training(**options), made("ae").objective, 100, 10)[0]["lr"]


def test_schedules_reach_the_rate_and_any_weight_and_refuse_others() -> None:
    recipe = made("vae")
    optimizer = adam(recipe)
    rates = []
    fit(
        *parts(recipe),
        small_batches(),
        steps=3,
        optimizer=optimizer,
        schedules={"lr": lambda s: 0.1 / (s + 1), "beta": lambda s: float(s)},
        on_step=lambda p: rates.append(
            (optimizer.param_groups[0]["lr"], p.objective.beta.item())  # type: ignore[union-attr, operator]
        ),
    )
    assert rates == [pytest.approx(pair) for pair in [(0.1, 0), (0.05, 1), (0.1 / 3, 2)]]
    with pytest.raises(vaekit.VaekitError, match="did you mean 'beta'"):
        fit(
            *parts(recipe),
            small_batches(),
            steps=1,
            optimizer=optimizer,
            schedules={"betta": lambda s: 1.0},
        )


def test_clipping_bounds_the_step_of_sgd() -> None:
    recipe = made("vae")
    before = torch.cat([p.detach().flatten().clone() for p in recipe.model.parameters()])
    sgd = make_optimizer("SGD", recipe.model.parameters(), lr=1.0)
    fit(*parts(recipe), small_batches(), steps=1, optimizer=sgd, clip=0.5)
    after = torch.cat([p.detach().flatten() for p in recipe.model.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.5, rel=1e-3)


def test_weight_decay_reaches_the_optimizer() -> None:
    for name in ("adamw", "RMSprop", "nadam"):
        optimizer = make_optimizer(name, [nn.Parameter(torch.ones(2))], lr=0.1, weight_decay=0.3)
        assert optimizer.defaults["weight_decay"] == 0.3
    with pytest.raises(vaekit.VaekitError, match="needs a closure"):
        make_optimizer("lbfgs", [nn.Parameter(torch.ones(2))], lr=0.1)


def split_vae() -> VAE:
    return VAE(
        StandardNormal(2),
        Conditional(vaekit.MLP(64, 4, hidden=(8,)), Gaussian(2)),
        Conditional(vaekit.MLP(2, 64, hidden=(8,)), Gaussian(64, scale=1.0)),
    )


def test_parts_that_want_different_losses_get_their_own_gradients() -> None:
    class Split2(ELBO):
        def surrogate(self, trace: Trace, value: Tensor) -> dict[str, Tensor]:
            return {"posterior": value, "likelihood": 3 * value}

    model = split_vae()
    batches = Batches(Split(torch.rand(5, 64)), 5)
    sgd = torch.optim.SGD(model.parameters(), lr=0.0)
    gradients: list[dict[str, Tensor]] = []
    sgd.register_step_pre_hook(lambda *_: gradients.append(gradients_of(model)))
    for objective in (ELBO(), Split2()):
        torch.manual_seed(1)
        fit(model, objective, batches, steps=1, optimizer=sgd)
    assert len(gradients) == 2
    for name, plain in gradients[0].items():
        factor = 3 if name.startswith("likelihood") else 1
        assert torch.allclose(gradients[1][name], factor * plain, rtol=1e-4, atol=1e-6)


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda m: m.posterior.net.output.bias.data.fill_(math.nan), "posterior.net.output.bias"),
        (lambda m: m.likelihood.family.scale.log_scale.fill_(-200.0), "the log-likelihood"),
        (lambda m: [w.data.mul_(1e25) for w in m.posterior.parameters()], "loc of the posterior"),
    ],
)
def test_a_nan_stops_the_run_and_names_the_term_and_the_part(break_it: Any, message: str) -> None:
    model = split_vae()
    seen = 0

    def spoil(progress: Progress) -> None:
        nonlocal seen
        seen += 1
        if progress.step == 4:
            break_it(model)

    rows = Split(load("digits").train.images[:400].flatten(1))
    adam = torch.optim.Adam(model.parameters())
    with pytest.raises(DivergedError, match="diverged at step 4") as caught:
        fit(model, ELBO(), Batches(rows, 64), steps=9, optimizer=adam, on_step=spoil)
    assert message in str(caught.value)
    assert seen == 4


def test_a_diverged_run_keeps_its_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="Try a smaller lr"):
        vaekit.train(
            "vae",
            out=tmp_path / "r",
            epochs=50,
            schedule=("lr=step:1e-3:1e33:20",),
            checkpoint_seconds=0,
            report=False,
            **SMALL,
        )
    kept = run_weights(tmp_path / "r")
    assert all(bool(torch.isfinite(v).all()) for v in kept.values())
    assert vaekit.load(tmp_path / "r", weights="last").sample(2).isfinite().all()


def test_a_failed_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    save_state(path, {"step": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(vaekit.VaekitError, match="No space left"):
        save_state(path, {"step": 2})
    assert load_state(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_state_survives_the_file_with_its_types(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    state = {
        "a": {0: shared, "b": [1, 2.5, None, True, ("x", shared.double())]},
        "empty": {},
        "tied": shared,
        "scalar": torch.tensor(3),
    }
    save_state(tmp_path / "s", state)
    got = load_state(tmp_path / "s")
    assert got["a"]["b"][:4] == [1, 2.5, None, True]
    assert got["a"]["b"][4][0] == "x"
    assert got["a"]["b"][4][1].dtype == torch.float64
    assert torch.equal(got["a"][0], shared)
    assert got["scalar"].dtype == torch.int64
    assert got["empty"] == {}


@pytest.mark.parametrize("cut", [0, 5, 60, -10])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.safetensors"
    save_state(path, {"weights": torch.ones(30)})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(vaekit.VaekitError, match="truncated or holds no tensors"):
        load_state(path)


def test_patience_counts_from_the_first_epoch_that_counts() -> None:
    best = Best("objective", patience=2, after=100)
    assert not best.improves({"objective": 5.0}, 1, 50)
    assert not best.exhausted(30)
    assert not best.improves({"objective": 5.0}, 30, 100), "its last step still moved"
    assert best.improves({"objective": -5.0}, 31, 101)
    assert not best.improves({"objective": math.nan}, 32, 110)
    assert not best.exhausted(32)
    assert best.exhausted(33)


def test_only_the_main_thread_listens_to_ctrl_c(tmp_path: Path) -> None:
    def work() -> None:
        vaekit.train("vae", out=tmp_path / "r", epochs=1, report=False, **SMALL)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=60)
    assert (tmp_path / "r" / "checkpoints" / "last.safetensors").is_file()


def _two_processes(rank: int, folder: str, name: str) -> None:
    """A process of the next test; the noise is a table, of which each takes its rows."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    recipe = ddp_recipe(name)
    rows = load("digits").train.take(torch.arange(256))
    batches = Batches(rows, 64, rank=rank, world=2)
    with table_noise(slice(rank, None, 2)):
        fit(*parts(recipe), batches, steps=4, optimizer=adam(recipe))
    torch.save(recipe.model.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def ddp_recipe(name: str) -> recipes.Recipe:
    torch.manual_seed(0)
    return recipes.build(name, load("digits").spec(), latent=3, net="mlp:hidden=16")


class table_noise:  # noqa: N801
    """Gaussian draws take their noise from a fixed table of 64 rows, these of them."""

    def __init__(self, rows: slice) -> None:
        self.rows = rows

    def __enter__(self) -> None:
        table = torch.randn(5, 64, 3, generator=torch.Generator().manual_seed(7))
        self.before = GaussianDistribution._draw
        rows = self.rows

        def draw(p: GaussianDistribution, shape: tuple[int, ...]) -> Tensor:
            return p.loc + p.scale * table[: shape[0], rows]

        GaussianDistribution._draw = draw  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        GaussianDistribution._draw = self.before  # type: ignore[method-assign]


@pytest.mark.parametrize("name", ["sigma_vae", "iwae"])
def test_two_processes_on_half_batches_take_the_step_of_one(tmp_path: Path, name: str) -> None:
    """gloo, with the scale fitted over both halves; equal up to the order of the sums."""
    torch.multiprocessing.spawn(_two_processes, (str(tmp_path), name), nprocs=2)
    whole = ddp_recipe(name)
    rows = load("digits").train.take(torch.arange(256))
    with table_noise(slice(None)):  # which reaches the draws of autograd's passes alone
        fit(*parts(whole), Batches(rows, 64), steps=4, optimizer=adam(whole), fast="off")
    start = ddp_recipe(name).model.state_dict()
    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for key, value in whole.model.state_dict().items():
        assert torch.equal(states[0][key], states[1][key]), f"the processes differ in {key}"
        assert torch.allclose(states[0][key], value, atol=1e-5, rtol=1e-4), key
    moved = max((whole.model.state_dict()[k] - start[k]).abs().max().item() for k in start)
    assert moved > 1e-3


def test_time_passes_in_the_record(tmp_path: Path) -> None:
    probe = Probe()
    began = time.perf_counter()
    vaekit.train("vae", out=tmp_path / "r", epochs=2, callbacks=[probe], report=False, **SMALL)
    took = time.perf_counter() - began
    assert 0 < sum(r["seconds"] for r in probe.records) < took
    assert all(r["images_per_second"] > 0 for r in probe.records)


def test_a_schedule_of_a_weight_is_a_warm_up_too() -> None:
    options = Training(schedule=("beta=linear:0:1:50", "lr=linear:1e-3:0:900"))
    assert make_schedules(options, made("vae").objective, 100, 10)[1] == 50


def test_the_best_weights_are_chosen_once_the_warm_up_is_over() -> None:
    weight = made("beta_vae").objective
    for warm_up, epochs in (("linear:3", 3), ("cosine:2.5", 2.5), ("none", 0)):
        schedules, over = make_schedules(Training(kl_warmup=warm_up), weight, 100, 10)
        assert over == 10 * epochs
        assert ("objective.beta" in schedules) == (epochs > 0)
        assert not epochs or schedules["objective.beta"](over) == weight.beta.item()


@pytest.mark.parametrize("epochs", [0, -3])
def test_a_refused_resume_leaves_the_run_as_it_was(whole: Path, epochs: int) -> None:
    before = (whole / "config.json").read_text()
    with pytest.raises(vaekit.VaekitError, match=f"got `epochs={epochs}`"):
        vaekit.resume(whole, epochs=epochs)
    assert (whole / "config.json").read_text() == before


def test_validation_is_in_eval_mode_with_the_same_draws_and_reports_the_elbo() -> None:
    recipe = made("beta_vae")
    progress = fit(*parts(recipe), small_batches(), steps=2, optimizer=adam(recipe))
    rows = Batches(load("digits").test, 300, shuffle=False)
    recipe.model.train()
    state = {k: v.clone() for k, v in recipe.model.state_dict().items()}
    first, second, other = (
        examine(progress.model, progress.objective, rows, seed).means for seed in (3, 3, 4)
    )
    assert first == second
    assert first != other
    assert all(torch.equal(state[k], v) for k, v in recipe.model.state_dict().items())
    assert recipe.model.training
    assert first["elbo"] == pytest.approx(first["log_likelihood"] - first["kl"])
    assert first["objective"] == pytest.approx(first["log_likelihood"] - 4 * first["kl"])
    assert first["kl"] > 0


class Turned(nn.Module):
    """ReLUs of (S, B, H), or of (H, B): their features are not dim 1."""

    def __init__(self, over: str) -> None:
        super().__init__()
        self.over, self.active = over, nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.active(x.expand(3, -1, -1)).mean(0) if self.over == "S" else self.active(x.T).T


@pytest.mark.parametrize(("over", "dead"), [("S", 0.25), ("H", None)])
def test_activations_whose_features_are_not_dim_1_stop_no_training(
    over: str, dead: float | None
) -> None:
    """With a last batch of another size; what cannot be told apart is left out."""
    model = split_vae()
    first = nn.Linear(64, 8)
    first.bias.data = torch.tensor([-99.0, -99.0, *[99.0] * 6])
    model.posterior.net = nn.Sequential(first, Turned(over), nn.Linear(8, 4))
    model.likelihood.net = nn.Linear(2, 64)
    rows = Batches(Split(torch.rand(50, 64)), 20, shuffle=False)
    adam = torch.optim.Adam(model.parameters(), lr=1e-4)
    progress = fit(model, ELBO(), rows, steps=3, optimizer=adam)
    assert examine(progress.model, progress.objective, rows, 0).dead_units == dead


def test_the_stored_scale_follows_the_last_batches() -> None:
    """Neither the last batch alone, nor the mean over all batches ever."""
    family = Gaussian(4, scale="fitted").train()
    loc = torch.zeros(10, 4)
    for _ in range(100):
        family(loc).fitted(torch.full((10, 4), 2.0))
    assert family.scale.log_scale.exp().item() == pytest.approx(2.0, rel=1e-4)
    family(loc).fitted(torch.full((10, 4), 1.0))
    assert family.scale.log_scale.exp().item() == pytest.approx(3.85**0.5, rel=1e-4)
    for _ in range(100):
        family(loc).fitted(torch.full((10, 4), 1.0))
    assert family.scale.log_scale.exp().item() == pytest.approx(1.0, rel=0.02)
    kept = family.scale.log_scale.item()
    family(loc).fitted(torch.zeros(10, 4), torch.zeros(10, 4))
    assert family.scale.log_scale.item() == kept, "a batch without observations moved it"


def test_further_options_reach_the_optimizer() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    more = ("eps=1e-7", "betas=0.5,0.9", "amsgrad=true")
    made = make_optimizer("adam", [weight], lr=1e-3, more=more)
    assert made.defaults["eps"] == 1e-7
    assert made.defaults["betas"] == (0.5, 0.9)
    assert made.defaults["amsgrad"] is True
    for bad, message in (("eps", "expected NAME=VALUE"), ("epps=1", "did you mean 'eps'")):
        with pytest.raises(vaekit.VaekitError, match=message):
            make_optimizer("adam", [weight], lr=1e-3, more=(bad,))


@pytest.mark.parametrize("batches", [torch.rand(40, 1, 8, 8), [torch.rand(8, 1, 8, 8)], None])
def test_what_are_no_batches_is_refused(batches: Any) -> None:
    made = recipes.build("vae", load("digits").spec(), latent=2)
    adam = torch.optim.Adam(made.model.parameters())
    with pytest.raises(VaekitError, match=r"expected `vaekit.Batches`. `vaekit.train"):
        fit(made.model, made.objective, batches, steps=1, optimizer=adam)

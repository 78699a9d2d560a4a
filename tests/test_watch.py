"""What is measured after each epoch of a training, and what is said of it."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from illnesses import Notes
from torch import Tensor, nn

import vaekit
from vaekit.data import Batches, Split, load
from vaekit.evaluate import Latent
from vaekit.recipes import build
from vaekit.report import write_run_report
from vaekit.training import (
    Course,
    Examined,
    Mean,
    Progress,
    Watch,
    examine,
    fit,
    make_optimizer,
)


def recipe() -> Any:
    return build("vae", load("digits").spec(), latent=3, net="mlp:hidden=16:norm=batch:dropout=0.2")


def test_examining_leaves_mode_hooks_random_state_and_buffers_alone() -> None:
    made = recipe()
    rows = Batches(Split(load("digits").test.images), 128, shuffle=False)
    optimizer = torch.optim.SGD(made.model.parameters(), lr=0.1)
    cpu = torch.device("cpu")
    progress = Progress(made.model.train(), made.objective, optimizer, None, cpu)
    kept = {k: v.clone() for k, v in made.model.state_dict().items()}
    before = torch.get_rng_state()
    first, second = (
        examine(progress.model, progress.objective, rows, 5),
        examine(progress.model, progress.objective, rows, 5),
    )
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(kept[k], v) for k, v in made.model.state_dict().items())
    assert all(m.training and not m._forward_hooks for m in made.model.modules())
    assert first.latent is not None
    assert first.latent.kl_per_dim is not None
    assert sum(first.latent.kl_per_dim) == pytest.approx(first.means["kl"], rel=1e-5)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_gradient_norm_is_that_of_the_measured_steps_before_clipping(
    clip: float | None,
) -> None:
    """45 steps of two epochs: 0, 20, 22, 40 without clipping; all with it."""
    made = recipe()
    batches = Batches(Split(load("digits").train.images[: 22 * 16]), 16)
    norms: list[float] = []
    epochs: list[float | None] = []
    optimizer = make_optimizer("sgd", made.model.parameters(), lr=1e-3)

    def note(*_: Any) -> None:
        grads = [p.grad for p in made.model.parameters() if p.grad is not None]
        norms.append(torch.cat([g.flatten().double() for g in grads]).norm().item())

    original = nn.utils.clip_grad_norm_
    if clip is None:
        optimizer.register_step_pre_hook(note)
    else:

        def noting(parameters: Any, limit: float) -> Tensor:
            note()
            return original(parameters, limit)

        nn.utils.clip_grad_norm_ = noting  # type: ignore[assignment]
    try:
        fit(made.model, made.objective, batches, steps=44, optimizer=optimizer, clip=clip,
            on_epoch=lambda p: epochs.append(p.gradient_norm))  # fmt: skip
    finally:
        nn.utils.clip_grad_norm_ = original
    steps = [[0, 20], [22, 40]] if clip is None else [range(22), range(22, 44)]
    expected = [sum(norms[s] for s in some) / len(some) for some in steps]
    assert epochs == pytest.approx(expected, rel=1e-5)


def test_a_mean_is_restored_as_it_was() -> None:
    mean, again = Mean(), Mean()
    mean.add(torch.tensor(1.5))
    again.restore(mean.state(), torch.device("cpu"))
    again.add(torch.tensor(2.5))
    assert again.value() == 2.0
    again.reset()
    assert again.value() is None


def trained(path: Path, name: str = "vae", **options: Any) -> tuple[vaekit.Run, list[str]]:
    notes = Notes()
    small = {"data": "digits", "latent": 4, "net": "mlp:hidden=32", "threads": 1, "report": False}
    run = vaekit.train(name, out=path, callbacks=[notes], **{**small, **options})
    said = [text for record in run.folder.records() for text in record["warnings"]]
    assert said == [text for text in notes.notes if "still rising" not in text]
    return run, said


def test_a_good_run_is_not_warned(tmp_path: Path) -> None:
    run, said = trained(tmp_path / "r", epochs=25, batch_size=64)
    assert said == []
    last = run.folder.records()[-1]
    assert last["latent"]["active_units"] == 4
    assert sum(last["latent"]["kl_per_dim"]) == pytest.approx(last["validation"]["kl"], rel=1e-5)
    scales = [record["latent"]["posterior_scale"] for record in run.folder.records()]
    assert 1 > scales[0] > scales[-1] > 0.02
    assert 0 <= last["dead_units"] < 0.9
    assert last["gradient_norm"] > 0


def test_a_scale_of_one_is_warned_of_with_both_numbers_and_collapse_follows(
    tmp_path: Path,
) -> None:
    run, said = trained(tmp_path / "r", epochs=12, likelihood="gaussian:scale=1")
    assert len(said) == 2
    scale, collapse = said
    numbers = re.search(r"sigma is 1 and the root mean square error (\S+) at epoch 2", scale)
    assert numbers
    error = float(numbers[1])
    assert error == pytest.approx(load("digits").train.images.float().div(255).std(0).square()
                                  .mean().sqrt().item(), abs=0.05)  # fmt: skip
    assert f"weighs {error**-2:.3g} times too much" in scale
    assert "too wide" in scale
    assert "take scale=fitted" in scale
    assert "has collapsed" in collapse
    assert "kl_warmup=" in collapse
    assert run.folder.records()[-1]["latent"]["active_units"] == 0
    page = write_run_report(run).read_text()
    assert "has collapsed" in page
    assert "take scale=fitted" in page


def test_a_strong_beta_collapses_and_is_warned_of_once(tmp_path: Path) -> None:
    _, said = trained(tmp_path / "r", "beta_vae", objective=":beta=200", epochs=30, batch_size=64)
    assert sum("has collapsed" in text for text in said) == 1


def test_an_autoencoder_has_neither_kl_nor_collapse(tmp_path: Path) -> None:
    run, said = trained(tmp_path / "r", "ae", epochs=12, validation=0)
    latent = run.folder.records()[-1]["latent"]
    assert latent["kl_per_dim"] is None
    assert latent["posterior_scale"] is None
    assert not any("collapsed" in text for text in said)


def found(kl: float | None = 1.0, active: int = 1, scale: Any = None, **rest: Any) -> Examined:
    latent = Latent(None, [1.0] * active + [0.0])
    means = {"objective": -9.0} | ({} if kl is None else {"kl": kl})
    return Examined(means, latent, scale, rest.get("fitted", False), rest.get("power", 2), None)


def said_at(watch: Watch, series: list[Examined], start: int = 50, every: int = 50) -> list[int]:
    """The epochs, from 1, at which anything is said."""
    return [n for n, one in enumerate(series, 1) if watch(one, n, steps=start + every * (n - 1))]


def test_collapse_takes_three_epochs_in_a_row_after_the_warm_up() -> None:
    idle, fine = found(active=0), found()
    assert said_at(Watch(), [idle] * 9) == [3]
    assert said_at(Watch(), [idle, idle, fine, idle, idle, fine]) == []
    assert said_at(Watch(), [idle] * 6, start=-100) == [6], "the warm-up counted"
    assert said_at(Watch(), [idle] * 6, start=1, every=20) == [6], "before 100 steps"
    assert said_at(Watch(), [found(kl=None, active=0)] * 5) == []
    watch = Watch()
    watch(idle, 1, steps=200)
    watch(idle, 2, steps=300)
    again = Watch(**asdict(watch))
    assert again(idle, 3, steps=400)


def test_dead_units_change_the_advice() -> None:
    idle = found(active=0)
    text, _ = Watch(collapsed=2)(replace(idle, dead_units=0.7), 5, steps=300)
    assert "70% of the hidden units are dead; try the net's option activation=gelu" in text
    (text,) = Watch(collapsed=2)(replace(idle, dead_units=0.1), 5, steps=300)
    assert "kl_warmup=" in text


def course(objective: float = -9.0, beta: float | None = 1.0, **rest: Any) -> Course:
    return Course(objective, rest.get("start", (-10.0, 0.5)), lr=0.03, beta=beta)


def test_a_weight_of_the_kl_changes_the_advice() -> None:
    idle = found(active=0)
    (text,) = Watch(collapsed=2)(idle, 5, steps=300, course=course(beta=784.0))
    assert "weighs 784 times what it does in the bound" in text
    assert "take beta=1" in text
    (text,) = Watch(collapsed=2)(idle, 5, steps=300, course=course())
    assert "kl_warmup=linear:10" in text
    assert "beta=0.5" in text
    assert "scale=fitted" not in text, "the likelihood has no scale"
    (text,) = Watch(collapsed=2)(idle, 5, steps=300, course=course(beta=None))
    assert text.endswith("The decoder ignores z; try the net's option init=he.")
    watch = Watch(collapsed=2, said=["scale"])
    (text,) = watch(replace(idle, scale=(1.0, 0.3)), 5, steps=300, course=course())
    assert "scale=fitted" in text
    fitted = replace(idle, scale=(0.3, 0.3), fitted=True)
    (text,) = Watch(collapsed=2)(fitted, 5, steps=300, course=course())
    assert "scale=fitted" not in text, "it is"


def test_dead_units_are_told_once_from_a_quarter_on() -> None:
    def at(*shares: float | None) -> list[int]:
        return said_at(Watch(), [replace(found(), dead_units=share) for share in shares])

    assert at(0.1, 0.3, 0.6) == [2]
    assert at(0.25, None, 0.0) == []
    (text,) = Watch()(replace(found(), dead_units=0.456), 1, steps=99)
    assert text.startswith("46% of the hidden units are dead at epoch 1: ")
    assert "take activation=gelu, activation=leaky-relu, norm=batch, or a smaller lr" in text


def test_relu_units_that_died_are_told(tmp_path: Path) -> None:
    options = {"lr": 0.03, "batch_size": 32, "latent": 2, "epochs": 3}
    relu, leaky = "mlp:hidden=256,128:activation=relu", "mlp:hidden=32:activation=leaky-relu"
    _, said = trained(tmp_path / "relu", net=relu, **options)
    assert any("of the hidden units are dead at epoch" in text for text in said)
    _, said = trained(tmp_path / "leaky", net=leaky, **options)
    assert not any("hidden units are dead" in text for text in said)


def test_worse_than_untrained_takes_two_epochs_in_a_row_beyond_the_noise() -> None:
    def at(*objectives: float, start: int = 50) -> list[int]:
        watch, said = Watch(), []
        for epoch, objective in enumerate(objectives, 1):
            steps = start + 50 * (epoch - 1)
            said += [epoch] * len(watch(found(), epoch, steps=steps, course=course(objective)))
        return said

    assert at(-13.0, -12.6, -14.0) == [2]
    assert at(-13.0, -9.0, -13.0, -9.0) == []
    assert at(-12.4, -12.4, -12.4) == [], "five standard errors are 2.5"
    assert at(-99.0, -99.0, -99.0, -99.0, start=-100) == [], "the warm-up counted"
    assert at(-99.0, -99.0, -99.0, -99.0, -99.0, start=-100) == [5]
    one = course(-99.0, start=None)
    assert Watch(worse=1)(found(), 2, steps=99, course=one) == []
    (text,) = Watch(worse=1)(found(), 2, steps=99, course=course(-381.4))
    assert (
        "over epoch 2 the objective is -381.4 nats, at the first step, untrained, it was -10"
        in text
    )
    assert "take lr=0.003 in place of 0.03" in text


BITS = {"binarize": "dynamic", "net": "mlp:hidden=64", "latent": 8, "batch_size": 64}


def test_a_learning_rate_that_is_too_large_is_told(tmp_path: Path) -> None:
    options = {**BITS, "epochs": 3}
    run, said = trained(tmp_path / "large", lr=0.2, **options)
    dead, text = said
    assert "hidden units are dead" in dead
    first = re.search(r"untrained, it was (\S+)\. The", text)
    assert first
    mean = run.dataset().train.x().mean(0).clamp(1e-6, 1 - 1e-6)  # of pixels that are bits
    entropy = -(mean * mean.log() + (1 - mean) * (1 - mean).log()).sum().item()
    assert float(first[1]) == pytest.approx(-entropy, abs=1.5)
    assert "take lr=0.02 in place of 0.2" in text
    assert trained(tmp_path / "usual", lr=0.01, **options)[1] == []


def test_under_a_schedule_the_advice_is_of_the_rate_that_was_given(tmp_path: Path) -> None:
    options = {**BITS, "epochs": 3, "lr_schedule": "cosine"}
    run, said = trained(tmp_path / "r", lr=0.2, **options)
    assert run.folder.records()[1]["lr"] < 0.11
    assert "take lr=0.02 in place of 0.2." in said[-1]


def test_the_first_step_survives_a_checkpoint(tmp_path: Path) -> None:
    trained(tmp_path / "r", epochs=1, lr=0.2, **BITS)
    again = vaekit.resume(tmp_path / "r", epochs=2, report=False)
    said = [text for record in again.folder.records() for text in record["warnings"]]
    assert sum("makes the model worse" in text for text in said) == 1


def test_measured_rows_say_worse_only_by_more_than_the_noise_of_the_first_step() -> None:
    course = Course(-50.0, (-10.0, 0.4), 0.1)  # margin 2: the training rows are far below

    def warned(objective: float) -> list[str]:
        watch = Watch(untrained=-10.0)
        one = replace(found(), means={"objective": objective, "kl": 1.0})
        return [text for n in (1, 2) for text in watch(one, n, steps=n, course=course)]

    assert len(warned(-12.1)) == 1
    assert warned(-11.9) == warned(-9.0) == []


def test_a_rise_at_the_end_is_held_against_the_noise_of_epochs() -> None:
    """A rise of 0.5 an epoch, +a and -a in turn: second differences of 4a, errors of 4a/sqrt(6)."""

    def records(a: float) -> list[dict[str, Any]]:
        values = [1000 + 0.5 * n + (-1) ** n * a for n in range(10)]
        return [{"epoch": n, "train": {"objective": v}} for n, v in enumerate(values, 1)]

    error = 4 / 6**0.5  # of a difference of two means over two epochs, for a = 1
    a = 0.9 / (4 * error)
    assert vaekit.training.rising(records(a)) == (pytest.approx(0.5 - 2 * a), 9)
    assert vaekit.training.rising(records(1.1 / (4 * error))) is None


def test_epochs_that_do_not_compare_neither_rise_nor_fall(tmp_path: Path) -> None:
    run = vaekit.train(
        "vae", data="digits", objective="geco", epochs=1, out=tmp_path / "r", report=False
    )
    assert run.folder.records()[-1]["compares"] is False
    fall, rise = [-100.0, -20.0, -10.0, -11.0, -40.0], [0.5 * n for n in range(20)]
    for numbers, told in ((fall, vaekit.training.fallen), (rise, vaekit.training.rising)):
        terms = [{"objective": number} for number in numbers]
        plain = [{"epoch": n, "train": t, "validation": t} for n, t in enumerate(terms)]
        assert told(plain) is not None
        assert told([{**record, "compares": False} for record in plain]) is None


@pytest.mark.parametrize(("jump", "rise"), [(0.0, 1.5), (4.0, None)])
def test_noise_is_that_of_all_epochs_that_are_compared(jump: float, rise: float | None) -> None:
    """Of 20 epochs the last eight: a jump in the first of these counts."""
    values = [0.5 * n + jump * (n == 12) for n in range(20)]
    records = [{"epoch": n, "train": {"objective": v}} for n, v in enumerate(values, 1)]
    assert (vaekit.training.rising(records) or [None])[0] == pytest.approx(rise)


def test_idle_units_are_no_collapse_while_the_objective_rises() -> None:
    def said(rise: float) -> list[int]:
        watch, at = Watch(untrained=-99.0), []
        for n in range(1, 4):
            one = replace(found(active=0), means={"objective": -50.0 + rise * n, "kl": 0.1})
            course = Course(-50.0 + rise * n, (-99.0, 0.1), 0.1)
            at += [n] * len(watch(one, n, steps=100 * n, course=course))
        return at

    assert said(5.0) == []
    assert said(0.001) == [3]


def test_the_scale_takes_two_epochs_in_a_row_that_do_not_close_the_gap() -> None:
    def at(*pairs: tuple[float, float]) -> list[int]:
        return said_at(Watch(), [found(scale=pair) for pair in pairs])

    assert at((1.0, 0.45), (1.0, 0.45), (1.0, 0.45)) == [2]
    assert at((0.1, 0.25), (0.1, 0.25)) == [2]
    assert at((1.0, 0.55), (1.0, 0.55), (1.0, 0.55)) == []
    assert at((1.0, 0.2), (1.0, 0.6), (1.0, 0.2), (1.0, 0.6)) == []
    assert at((1.0, 0.1), (0.7, 0.1), (0.5, 0.1), (0.36, 0.1), (0.27, 0.1), (0.2, 0.1)) == []
    assert at((math.inf, 0.1), (math.nan, 0.1), (1.0, 0.0)) == []
    assert at((1e-200, 1e200), (1e-200, 1e200)) == at((1e200, 1e-200), (1e200, 1e-200)) == [2]
    (text,) = Watch(mismatched=1, gap=0.1)(found(scale=(0.2, 0.8), power=1), 4, steps=9)
    assert "mean absolute error 0.8" in text
    assert "too narrow, so the KL weighs 4 times too little" in text
    (text,) = Watch(mismatched=1, gap=0.1)(found(scale=(0.2, 0.8), fitted=True), 4, steps=9)
    assert "overfits" in text
    assert "weighs 16 times" in text
    free = replace(found(scale=(1.0, 0.2)), means={"objective": 0.0})  # a colorizer has no KL
    assert said_at(Watch(), [free] * 4) == []
    (text,) = Watch(mismatched=1, gap=0.1)(replace(free, fitted=True), 4, steps=9)
    assert "it is too wide, by (sigma / error)²" in text
    assert "overfits" not in text
    assert "take a smaller lr" in text


def test_overfitting_names_the_best_epoch_and_the_falls() -> None:
    """Validation rises by 2 an epoch to epoch 20 and falls by 1 then; training rows rise on."""
    held = [-abs(20 - epoch) * (2.0 if epoch < 20 else 1.0) for epoch in range(61)]
    watch, said = Watch(), {}
    for epoch in range(1, 61):
        now = replace(found(), means={"objective": held[epoch]})
        course = Course(3.0 * epoch, None, 1e-3, held_out=True)
        for text in watch(now, epoch, steps=10 * epoch, course=course):
            said[epoch] = text
    ((epoch, text),) = said.items()
    numbers = re.search(r"fell by (\S+) nats from its best, around epoch (\d+), to epoch", text)
    assert numbers
    means = {last: sum(held[last - 4 : last + 1]) / 5 for last in range(5, epoch - 9)}
    best = max(means, key=means.__getitem__)
    assert int(numbers[2]) == best - 2  # its middle
    before = sum(held[epoch - 9 : epoch - 4]) / 5  # the mean of the five epochs before the last
    assert float(numbers[1]) == pytest.approx(means[best] - before, abs=0.01)


def test_a_scale_that_dropout_widens_is_no_overfitting(tmp_path: Path) -> None:
    """Sigma is fitted to errors under dropout, which are larger than those without."""
    options = {"latent": 8, "net": "mlp:hidden=64:dropout=0.9", "epochs": 12}
    options |= {"likelihood": "gaussian"}
    (text,) = [t for t in trained(tmp_path / "r", **options)[1] if "likelihood's" in t]
    assert "it is too wide" in text
    assert "overfits" not in text
    assert "less dropout" in text

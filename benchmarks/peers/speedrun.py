"""Seconds to the bound that the tutorial's model reaches in 20 epochs: 100.3 nats on test images.

The network 784-512-256-32 with ReLU and gray MNIST are the tutorial's; optimizer, schedules, batch
and start are ours, chosen by `validate=1`: it trains on the first 50,000 training images, judges by
the last 10,000 of them and never sees a test image. Both sides have a process of their own and
take turns, in one run. Time is that of the training alone; bounds are BCE + KL in nats per
image, one draw.

    python benchmarks/bench.py speedrun [--set seeds=5 tutorial_seeds=1] [--threads 2]
    python benchmarks/bench.py speedrun --set validate=1 epochs=7 lr=4e-3
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from peers.side import Side
from vaekit.data import Split

GOAL = 100.3
HELD_OUT = 10_000


@dataclass(frozen=True)
class Settings:
    """What may be set.

    Attributes:
        epochs: about a tenth of the tutorial's time.
        lr_warmup: the steps in which the learning rate rises.
        optimizer_options: one.
        kl_warmup: the share of the steps in which the KL weight rises to 1.
        start: the output's bias: at the pixel means, or as torch's "init".
        center: whether the first bias begins as if the pixels' mean were 0.
        seeds: of ours; -1 tutorial seeds are 1, or none where it validates.
        validate: whether training images judge.
        limit: the training images; 0: all.
    """

    epochs: float = 6.6
    batch_size: int = 256
    lr: float = 5e-3
    lr_warmup: int = 100
    lr_schedule: str = "flat-linear:0.5"
    optimizer: str = "adamw"
    optimizer_options: str = "betas=0.9,0.97"
    weight_decay: float = 0.05
    kl_warmup: float = 0.5
    start: str = "mean"
    center: int = 1
    precision: str = "fp32"
    seeds: int = 5
    tutorial_seeds: int = -1
    tutorial_epochs: int = 20
    validate: int = 0
    limit: int = 0


CHOSEN = [each.name for each in fields(Settings)][:12]  # what is chosen, and not how it is judged


@dataclass(frozen=True)
class Found:
    """One training: its seconds, and the bound it reached."""

    seconds: float
    nats: float


def flat(split: Split) -> Tensor:
    """Its bytes, `(rows, 784)`."""
    assert isinstance(split.images, Tensor)
    return split.images.flatten(1)


class Images:
    """Training images, and those that judge."""

    def __init__(self, validate: bool, limit: int | None) -> None:
        from vaekit.data import load

        data = load("mnist")
        self.train, self.judge = flat(data.train), flat(data.test)
        if validate:
            self.train, self.judge = self.train[:-HELD_OUT], self.train[-HELD_OUT:]
        self.train = self.train[:limit]
        self.mean = self.train.float().mean(0) / 255

    def bound(self, model: Any) -> float:
        """-ELBO of the judging images, one draw each."""
        from vaekit.data import Batches
        from vaekit.evaluate import measure

        rows = Batches(Split(self.judge), 1000, shuffle=False)
        return -measure(model, rows.epoch(0)).elbo


class Kit:
    """Ours, with the settings."""

    def __init__(self, settings: Settings, validate: bool, limit: int | None) -> None:
        from vaekit._torchutil import keep_memory
        from vaekit.training import make_optimizer

        keep_memory()
        self.settings, self.images = settings, Images(validate, limit)
        # What is imported once is no part of a training: torch does so at the first optimizer.
        make_optimizer(settings.optimizer, self._recipe(0)[0].parameters(), lr=settings.lr)

    def train(self, seed: int) -> Found:
        """A training from this seed."""
        from vaekit.data import Batches
        from vaekit.training import fit, make_optimizer
        from vaekit.training._schedules import kl_warmup, learning_rate, rising

        asked = self.settings
        began = time.perf_counter()
        model, objective = self._recipe(seed)
        batches = Batches(Split(self.images.train), asked.batch_size, seed=seed)
        per_epoch = len(batches)
        steps = round(asked.epochs * per_epoch)
        rate = learning_rate(asked.lr_schedule, asked.lr, steps, per_epoch)
        schedules = {"lr": rising(rate, max(1, asked.lr_warmup))}
        if asked.kl_warmup:
            rise = kl_warmup(f"linear:{asked.kl_warmup * asked.epochs}", 1.0, steps, per_epoch)
            assert rise is not None
            schedules["beta"] = rise[0]
        more = [asked.optimizer_options] if asked.optimizer_options else []
        optimizer = make_optimizer(
            asked.optimizer,
            model.parameters(),
            lr=asked.lr,
            weight_decay=asked.weight_decay,
            more=more,
        )
        fit(
            model,
            objective,
            batches,
            steps=steps,
            optimizer=optimizer,
            schedules=schedules,
            precision=asked.precision,
        )
        return Found(time.perf_counter() - began, self.images.bound(model))

    def _recipe(self, seed: int) -> Any:
        import torch

        from vaekit.data import DataSpec
        from vaekit.recipes import build

        torch.manual_seed(seed)
        rows = len(self.images.train)
        spec = DataSpec("mnist", (784,), "gray", rows=rows, mean=self.images.mean)
        net = f"mlp:hidden=512,256:activation=relu:start={self.settings.start}"
        made = build("vae", spec, latent=32, net=net, likelihood="bernoulli")
        if self.settings.center:
            weight, bias, *_ = made.model.parameters()
            bias.data -= weight.data @ self.images.mean
        return made.model, made.objective


class Tutorial:
    """The tutorial's loop, 20 epochs of Adam 1e-3 at batch 128."""

    def __init__(self, epochs: int, validate: bool, limit: int | None) -> None:
        from peers.loops import Tutorial as Loop
        from peers.task import TASKS

        self.epochs, self.images = epochs, Images(validate, limit)
        self.task, self.make = TASKS["w1-128"], Loop
        self.make(replace(self.task, steps=1))

    def train(self, seed: int) -> Found:
        """A training from this seed."""
        rows = self.images.train
        task = replace(self.task, steps=-(-len(rows) // self.task.batch))
        began = time.perf_counter()
        loop = self.make(task, rows, seed)
        for _ in range(self.epochs):
            loop.run()
        return Found(time.perf_counter() - began, self.images.bound(loop.whole))


def race(chosen: Settings, threads: int) -> dict[str, list[Found]]:
    """Both sides, seed by seed in turn."""
    rows = (bool(chosen.validate), chosen.limit or None)
    theirs = chosen.tutorial_seeds
    theirs = (0 if chosen.validate else 1) if theirs < 0 else theirs
    makes: dict[str, tuple[Callable[..., Any], Any, int]] = {
        "vaekit": (Kit, chosen, chosen.seeds),
        "the tutorial loop": (Tutorial, chosen.tutorial_epochs, theirs),
    }
    makes = {name: each for name, each in makes.items() if each[2]}
    sides = {
        name: Side(make, first, *rows, threads=threads) for name, (make, first, _) in makes.items()
    }
    found: dict[str, list[Found]] = {name: [] for name in makes}
    for seed in range(max(seeds for *_, seeds in makes.values())):
        for name, (*_, seeds) in makes.items():
            if seed < seeds:
                found[name].append(sides[name].ask("train", seed))
                print(name, seed, found[name][-1], file=sys.stderr, flush=True)
    for side in sides.values():
        side.end()
    return found


def numbers(found: dict[str, list[Found]]) -> dict[str, float]:
    """Means over seeds, and how many reached the goal.

    Example:
        >>> some = {"vaekit": [Found(20.0, 99.0), Found(22.0, 101.0)]}
        >>> numbers(some)["vaekit: seconds of a training (mean over seeds)"]
        21.0
    """
    made = {}
    for name, each in found.items():
        nats = [one.nats for one in each]
        made[f"{name}: seconds of a training (mean over seeds)"] = statistics.fmean(
            one.seconds for one in each
        )
        made[f"{name}: BCE + KL, nats (mean over seeds)"] = statistics.fmean(nats)
        made[f"{name}: BCE + KL, nats (worst seed)"] = max(nats)
        made[f"{name}: seeds that reached {GOAL} nats"] = sum(n <= GOAL for n in nats)
    if len(found) > 1:
        ours, theirs = (statistics.fmean(one.seconds for one in each) for each in found.values())
        made["times less than the tutorial loop takes (ratio of means)"] = theirs / ours
    return made


def measure(chosen: Settings, threads: int) -> tuple[str, dict[str, float]]:
    """The protocol, and the numbers."""
    found = race(chosen, threads)
    judged = "the last 10,000 training images" if chosen.validate else "test images"
    words = ", ".join(f"{name} {getattr(chosen, name)}" for name in CHOSEN)
    seeds = "/".join(str(len(each)) for each in found.values())
    limit = f"{chosen.limit} training images; " if chosen.limit else ""
    return f"{judged}; {limit}{words}; {seeds} seeds; {threads} threads", numbers(found)

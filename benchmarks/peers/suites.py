"""The workloads: from options to measured numbers."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from peers import commands, defaults, nll, speedrun, uses
from peers.fresh import COMMANDS, seconds
from peers.kit import Kit
from peers.loops import HandWritten, Tutorial
from peers.memory import Memory, memory_task, write_rows
from peers.pythae_side import Pythae
from peers.results import (
    ALONE,
    FASTER,
    FIRST_STEP,
    KEPT,
    LOWERED,
    PYTHAE,
    SHARE,
    TUTORIAL,
    WHOLE,
    Measured,
)
from peers.side import Side, alternate, ratios, spread
from peers.task import TASKS, Task, make_pictures

__all__ = ["SUITES"]

T = TypeVar("T", speedrun.Settings, defaults.Settings)

LARGE = 2048, 2048, 2048  # the shape of a product that shows what the machine can do
OURS, HAND = "vaekit", "the hand-written loop"
# Relative: the same noise; the same in bfloat16; the same number of steps on other noise.
SAME, ROUNDED, ALIKE = 1e-3, 0.02, 0.1


def make_sides(task: Task, args: Namespace) -> dict[str, Side]:
    """A process for each contestant."""
    contestants: dict[str, tuple[Any, ...]] = {OURS: (Kit, task), PYTHAE: (Pythae, task)}
    if task.kind == "mlp":
        contestants[TUTORIAL] = (Tutorial, task)
    if task.kind == "color":
        contestants["the loop that decodes JPEGs"] = (Tutorial, task)
    if task.name == "w1-128":
        contestants[HAND] = (HandWritten, task)
    if "keep" in args.switch:
        contestants["vaekit that does not keep memory"] = (Kit, task, False)
    if "channels-last" in args.switch:
        contestants["vaekit with the other memory format"] = (Kit, task, True, True)
    if "fast" in args.switch:
        contestants["vaekit by autograd alone"] = (Kit, task, True, False, None, "fp32", "off")
    if "bf16" in args.switch:
        contestants[LOWERED] = (Kit, task, True, False, None, "bf16")
    sides = {name: Side(*each, threads=args.threads) for name, each in contestants.items()}
    if task.kind in ("conv", "color"):
        sides[KEPT] = Side(Pythae, task, threads=args.threads, keep=True)
    if task.kind == "iwae":
        sides["pythae 0.1.2 that keeps denormal numbers"] = Side(
            Pythae, task, threads=args.threads, flush=False
        )
    return sides


def compare(sides: dict[str, Side], within: float) -> None:
    """Refuses sides that do other work than ours."""
    ours, *others = ((name, side.ask("check")) for name, side in sides.items())
    numbers = 2 if within == SAME else 1  # later weights, and with them gradients, are others
    for name, results in others:
        near = max(within, ROUNDED) if name == LOWERED else within
        for a, b in list(zip(ours[1], results, strict=True))[:numbers]:
            if not math.isclose(a, b, rel_tol=near):
                raise SystemExit(
                    f"{name} does other work: loss and gradient {results}, ours {ours[1]}."
                )


def training(name: str, args: Namespace, place: Path) -> list[Measured]:
    """Rounds of a training workload."""
    task = TASKS[name]
    task = task if args.steps is None else replace(task, steps=args.steps)
    if task.kind == "color":
        task = replace(task, pictures=place / "pictures")
        (place / "pictures").mkdir(exist_ok=True)
        make_pictures(place / "pictures", task.rows + 1)
    sides = make_sides(task, args)
    compare(sides, SAME)
    for side in sides.values():
        side.ask("run")
    calls = {each: side.seconds for each, side in sides.items()}
    shapes = [LARGE, *(sides[OURS].ask("products") if task.kind == "mlp" else {})]
    products: dict[str, Callable[[], Any]] = {
        "products": partial(sides[OURS].ask, "quickest", shapes)
    }
    times = alternate({**calls, **products}, args.rounds)
    best = [min(each) for each in zip(*times.pop("products"), strict=True)]
    compare(sides, ALIKE)
    results = _numbers(task, times) | _facts(task, sides[OURS], median(times[OURS]), best)
    for side in sides.values():
        side.end()
    return _measured(name, _protocol(args, f"{task.steps} steps a round"), results)


def _numbers(task: Task, times: dict[str, list[float]]) -> dict[str, float]:
    results = {}
    for name, theirs in times.items():
        results[f"{name}: milliseconds per step (median)"] = 1e3 * median(theirs) / task.steps
        if name == OURS:
            continue
        results |= spread(FASTER.format(name), ratios(theirs, times[OURS]))
    if LOWERED in times:
        faster = ratios(times[PYTHAE], times[LOWERED])
        results |= spread(f"{LOWERED}: {FASTER.format(PYTHAE)}", faster)
    if HAND in times:
        over = ratios(times[OURS], times[HAND])
        results |= spread("time by the hand-written loop's (median of ratios)", over)
    return results


def _facts(task: Task, ours: Side, taken: float, products: list[float]) -> dict[str, float]:
    """What the machine's limit is, by the best products of all rounds, and what loading cost."""
    peak = 2 * math.prod(LARGE) / products[0]
    step = taken / task.steps
    results = {
        "matrix product 2048 x 2048: GFLOP/s": peak / 1e9,
        SHARE: 100 * ours.ask("flops") / step / peak,
    }
    if products[1:]:
        often = ours.ask("products").values()
        alone = sum(n * best for n, best in zip(often, products[1:], strict=True))
        results[ALONE] = 100 * alone / step
    if task.pictures is not None:
        results["vaekit: milliseconds to decode a picture, once"] = (
            1e3 * ours.ask("loaded") / task.rows
        )
    return results


def log_likelihood(args: Namespace, place: Path) -> list[Measured]:
    """Against get_nll, side by side."""
    results = nll.measure(args.images, args.rounds, args.threads)
    first = (f"784-200-200-50, S = 5000, {args.images} images",)
    return _measured("w4", f"{_protocol(args, *first)}, side by side", results)


def train_to_goal(args: Namespace, place: Path) -> list[Measured]:
    """The training to the tutorial's bound."""
    chosen = settings(speedrun.Settings(), args.set)
    args.no_record |= bool(chosen.validate or chosen.limit)  # other numbers than the table's
    protocol, results = speedrun.measure(chosen, args.threads)
    return _measured("speedrun", protocol, results)


def change_defaults(args: Namespace, place: Path) -> list[Measured]:
    """The table of docs/defaults.md, which is printed."""
    defaults.tabulate(settings(defaults.Settings(), args.set), args.threads)
    return []


def settings(default: T, texts: list[str]) -> T:
    """The settings of a suite, from NAME=VALUE as typed.

    Example:
        >>> settings(speedrun.Settings(), ["seeds=3", "lr=4e-3"]).seeds
        3
    """
    kinds = {name: type(value) for name, value in vars(default).items()}
    values = dict(text.partition("=")[::2] for text in texts)
    if unknown := values.keys() - kinds.keys():
        raise SystemExit(f"there is no setting {', '.join(unknown)}; known: {', '.join(kinds)}")
    return replace(default, **{name: kinds[name](value) for name, value in values.items()})


def start_up(args: Namespace, place: Path) -> list[Measured]:
    """New processes, in turn."""
    calls = {name: partial(seconds, name, args.threads) for name in COMMANDS}
    for call in calls.values():
        call()
    times = alternate(calls, args.rounds)
    results = {f"{name}: seconds": median(each) for name, each in times.items()}
    steps = times["pythae, first step"], times["vaekit, first step"]
    results |= spread(FIRST_STEP, ratios(*steps))
    for name in ("import vaekit with all that training needs", "vaekit, first step"):
        pairs = zip(times[name], times["import torch"], strict=True)
        above = median(a - b for a, b in pairs)
        results[f"{name}: seconds above import torch"] = above
    return _measured("w6", _protocol(args), results)


def whole_commands(args: Namespace, place: Path) -> list[Measured]:
    """Whole commands and what somebody would write by hand, new processes in turn."""
    results = {}
    for name, pair in commands.pairs(place).items():
        calls = {
            who: partial(commands.seconds, words, args.threads, place)
            for who, words in pair.items()
        }
        times = alternate(calls, args.rounds)
        theirs, ours = times.values()
        results[f"{name}: seconds"] = median(ours)
        results |= spread(WHOLE.format(name), ratios(theirs, ours))
    return _measured("whole", _protocol(args), results)


def put_to_work(args: Namespace, place: Path) -> list[Measured]:
    """A trained model: encoding rows, and drawing some."""
    sides = {each: Side(uses.Uses, each, threads=args.threads) for each in (OURS, PYTHAE)}
    results = {}
    for what in ("encode", "sample"):
        calls = {name: partial(side.seconds, what) for name, side in sides.items()}
        for call in calls.values():
            call()
        times = alternate(calls, args.rounds)
        results[f"{what}: rows per second"] = uses.ROWS / median(times[OURS])
        faster = ratios(times[PYTHAE], times[OURS])
        results |= spread(f"{what}: {FASTER.format(PYTHAE)}", faster)
    for side in sides.values():
        side.end()
    return _measured("w8", _protocol(args, f"{uses.ROWS:,} rows"), results)


def peak_memory(args: Namespace, place: Path) -> list[Measured]:
    """A fresh process of each side, three times; the median."""
    task = memory_task(args.steps)
    rows = place / "rows.npy"
    write_rows(task, rows)
    results = {}
    for name in (OURS, PYTHAE):
        peaks = []
        for _ in range(min(args.rounds, 3)):
            side = Side(Memory, name, task, rows, threads=args.threads)
            peaks.append(side.ask("run"))
            side.end()
        results[f"{name}: MiB"] = median(peaks)
    protocol = f"batch {task.batch}, {task.rows} rows, an epoch, {args.threads} threads"
    return _measured("w7", protocol, results)


def _protocol(args: Namespace, *first: str) -> str:
    own = f"vaekit {version('vaekit')}"
    return ", ".join([*first, f"{args.rounds} rounds", f"{args.threads} threads", own])


def _measured(name: str, protocol: str, results: dict[str, float]) -> list[Measured]:
    return [Measured(f"benchmarks/bench.py {name}", protocol, *row) for row in results.items()]


SUITES: dict[str, Callable[[Namespace, Path], list[Measured]]] = {
    **{name: partial(training, name) for name in TASKS if name != "w5"},
    "w4": log_likelihood,
    "w5": partial(training, "w5"),
    "w6": start_up,
    "w7": peak_memory,
    "w8": put_to_work,
    "whole": whole_commands,
    "speedrun": train_to_goal,
    "defaults": change_defaults,
}

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

from peers import defaults, nll, speedrun
from peers.fresh import COMMANDS, seconds
from peers.kit import Kit
from peers.loops import HandWritten, Tutorial
from peers.memory import Memory, memory_task, write_rows
from peers.pythae_side import Pythae
from peers.results import FASTER, LOWERED, PYTHAE, TUTORIAL, Measured
from peers.side import Side, alternate, quartiles, ratios
from peers.task import TASKS, Task, make_pictures

__all__ = ["SUITES"]

T = TypeVar("T", speedrun.Settings, defaults.Settings)

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
    times = alternate({each: side.seconds for each, side in sides.items()}, args.rounds)
    compare(sides, ALIKE)
    results = _numbers(task, times) | _facts(task, sides[OURS], median(times[OURS]))
    for side in sides.values():
        side.end()
    return _measured(name, _protocol(args, f"{task.steps} steps a round"), results)


def _numbers(task: Task, times: dict[str, list[float]]) -> dict[str, float]:
    results = {}
    for name, theirs in times.items():
        results[f"{name}: milliseconds per step (median)"] = 1e3 * median(theirs) / task.steps
        if name == OURS:
            continue
        low, middle, high = quartiles(ratios(theirs, times[OURS]))
        results[FASTER.format(name)] = middle
        results[f"times faster than {name} (lower quartile)"] = low
        results[f"times faster than {name} (upper quartile)"] = high
    if LOWERED in times:
        faster = ratios(times[PYTHAE], times[LOWERED])
        results[f"{LOWERED}: {FASTER.format(PYTHAE)}"] = median(faster)
    if HAND in times:
        over = ratios(times[OURS], times[HAND])
        results["time by the hand-written loop's (median of ratios)"] = median(over)
    return results


def _facts(task: Task, ours: Side, taken: float) -> dict[str, float]:
    """What the machine's limit is, and what loading cost."""
    peak = ours.ask("peak")
    share = ours.ask("flops") * task.steps / taken / peak
    results = {
        "matrix product 2048 x 2048: GFLOP/s": peak / 1e9,
        "vaekit: percent of the machine's matrix-product peak": 100 * share,
    }
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
    for name in ("import vaekit with all that training needs", "vaekit, first step"):
        pairs = zip(times[name], times["import torch"], strict=True)
        above = median(a - b for a, b in pairs)
        results[f"{name}: seconds above import torch"] = above
    return _measured("w6", _protocol(args), results)


def peak_memory(args: Namespace, place: Path) -> list[Measured]:
    """A fresh process of each side, three times; the median."""
    task = memory_task() if args.steps is None else memory_task(args.steps)
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
    "speedrun": train_to_goal,
    "defaults": change_defaults,
}

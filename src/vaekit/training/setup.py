"""From options to what the loop takes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vaekit.errors import VaekitError
from vaekit.objectives import Objective
from vaekit.options import Training
from vaekit.training.schedules import Schedule, learning_rate, parse, rising, settles, warm_up

__all__ = ["find_device", "interruptible", "make_average", "make_schedules", "random_numbers"]


def find_device(name: str) -> torch.device:
    """The device of this name; "auto" is the first accelerator, else the CPU.

    Raises:
        VaekitError: for a name that torch does not know, or a device that is absent.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise VaekitError(f"there is no device '{name}' here: take --device auto or cpu.") from None
    return device


@contextmanager
def random_numbers(seed: int, device: torch.device, threads: int | None) -> Iterator[None]:
    """Global random state from `seed` and this many threads; afterwards both as they were.

    Raises:
        VaekitError: for a seed below 0 or from 2**63 on.
    """
    if not 0 <= seed < 1 << 63:
        raise VaekitError(f"got the seed {seed}; expected 0 to 2**63 - 1.")
    before = torch.get_num_threads()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        try:
            if threads is not None:
                torch.set_num_threads(threads)
            yield
        finally:
            torch.set_num_threads(before)


def make_schedules(
    options: Training, objective: Objective, steps: int, per_epoch: int
) -> tuple[dict[str, Schedule], int]:
    """The schedules asked for, and the step at which those of weights have arrived.

    Raises:
        VaekitError: for one that cannot be read, or a warm-up of an objective without a KL weight.
    """
    schedules: dict[str, Schedule] = {}
    if options.lr_schedule != "constant" or options.lr_rise:
        schedules["lr"] = learning_rate(options.lr_schedule, options.lr, steps, per_epoch)
    if options.lr_rise:
        schedules["lr"] = rising(schedules["lr"], options.lr_rise)
    over = 0
    if options.warm_up != "none":
        beta = getattr(objective, "beta", None)
        if beta is None:
            raise VaekitError(
                f"{type(objective).__name__} has no KL weight to warm up: take --warm-up none."
            )
        made = warm_up(options.warm_up, beta.item(), steps, per_epoch)
        assert made is not None
        schedules["beta"], over = made
    for text in options.schedule:
        name, equals, rest = text.partition("=")
        if not equals:
            raise VaekitError(f"got the schedule '{text}'; expected NAME=KIND:NUMBERS.")
        schedules[name] = parse(rest)
        over = over if name == "lr" else max(over, settles(rest))
    return schedules, over


def make_average(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """An exponential running mean of a model's weights and buffers; None without a decay."""
    if decay is None:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C sets a flag, which the function given reads; a second one interrupts at once."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    before: Any = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    signal.signal(signal.SIGINT, handle)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)

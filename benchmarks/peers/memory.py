"""The largest memory of a process that trains for an epoch."""

from __future__ import annotations

import resource
import sys
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from peers.task import TASKS, Task, rows_of

__all__ = ["Memory", "memory_task", "write_rows"]


def memory_task(steps: int | None = None) -> Task:
    """The small net on 60,032 rows."""
    task = TASKS["w1-128"]
    return replace(task, steps=steps or task.steps)


def write_rows(task: Task, path: Path) -> None:
    """Once, so that no side's peak is that of making them."""
    np.save(path, rows_of(task).numpy())


def high_water() -> float:
    """MiB. A new process begins with the `ru_maxrss` of its parent on Linux; not so VmHWM."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


class Memory:
    """A fresh process of one side: it reads the rows, trains an epoch, and says its peak."""

    def __init__(self, whose: str, task: Task, path: Path) -> None:
        self.whose, self.task, self.path = whose, task, path

    def run(self) -> float:
        """The peak in MiB."""
        rows = np.load(self.path)
        self._ours(rows) if self.whose == "vaekit" else self._theirs(rows)
        return high_water()

    def _ours(self, rows: np.ndarray) -> None:
        from peers.kit import Kit

        Kit(self.task, rows=torch.from_numpy(rows)).run()

    def _theirs(self, rows: np.ndarray) -> None:
        from peers.pythae_side import quiet, trainer_of

        quiet()
        floats = rows.astype(np.float32)
        del rows
        floats /= 255
        nets = (layers(784, 512, 256, 64), layers(32, 256, 512, 784))
        with tempfile.TemporaryDirectory() as place:
            trainer_of(self.task, *nets, torch.from_numpy(floats), place).train_step(1)


def layers(*widths: int) -> nn.Sequential:
    """Dense layers with ReLU between them."""
    made: list[nn.Module] = []
    for before, after in pairwise(widths):
        made += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*made[:-1])

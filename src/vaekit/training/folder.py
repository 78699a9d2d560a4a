"""The run folder: what was asked for, on what machine, how it went, and the weights.

config.json               recipe, options, data: enough to build the model again
run.json                  versions, hardware, seed, the data's hash
metrics.jsonl             a line per epoch
checkpoints/last.safetensors   everything that resuming needs
checkpoints/best.safetensors   the weights of the best epoch, where one was held out
report.html
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import vaekit
from vaekit.errors import VaekitError
from vaekit.training.checkpoint import write_atomically

__all__ = ["RunFolder", "environment", "next_folder"]


def environment(device: torch.device) -> dict[str, Any]:
    """Versions and hardware, for run.json."""
    cuda = device.type == "cuda"
    return {
        "vaekit": vaekit.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if cuda else str(device),
        "threads": torch.get_num_threads(),
        "flush_denormal": _flushes_denormals(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _flushes_denormals() -> bool:
    return (torch.full((1,), 1e-40) * 1.0).item() == 0.0


def next_folder(parent: Path, name: str) -> Path:
    """The first of `name-1`, `name-2`, ... that does not exist."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


class RunFolder:
    """Reads and writes a run folder; every file is whole or absent."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def last(self) -> Path:
        """The checkpoint that resuming takes."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """The weights of the best epoch."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    def create(self) -> None:
        """Makes the folder.

        Raises:
            VaekitError: where it exists with content, or cannot be made.
        """
        try:
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise VaekitError(
                    f"{self.path} exists: name another --out, or continue it with "
                    f"--resume {self.path}."
                )
            self.last.parent.mkdir(parents=True)
        except OSError as error:
            raise VaekitError(f"cannot make {self.path}: {error.strerror}.") from error

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Writes `name`.json."""
        text = json.dumps(content, indent=2) + "\n"
        write_atomically(self.path / f"{name}.json", text.encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """Reads `name`.json.

        Raises:
            VaekitError: where this is no run folder, or the file is broken.
        """
        path = self.path / f"{name}.json"
        if not path.is_file():
            raise VaekitError(f"{self.path} is no run folder: it has no {name}.json.")
        try:
            return json.loads(path.read_text())
        except ValueError:
            raise VaekitError(f"{path} is broken: it holds no JSON.") from None

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; one that was cut off is left out."""
        path = self.path / "metrics.jsonl"
        found = []
        for line in path.read_text().splitlines() if path.is_file() else []:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def rewind(self, step: int) -> None:
        """Drops the records after this step: they will be made again."""
        lines = [json.dumps(r) + "\n" for r in self.records() if r["step"] <= step]
        write_atomically(self.path / "metrics.jsonl", "".join(lines).encode())

"""The work: nets, data, batch and steps, the same for every side.

Everything is made from seeds, so that each process has the same weights and the same rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "TASKS",
    "Task",
    "first_batch",
    "gradient_norm",
    "make_pictures",
    "plain",
    "read_picture",
    "recipe_of",
    "rows_of",
    "to_tensor",
]

DRAWS = 50  # of the importance-weighted bound


@dataclass(frozen=True)
class Task:
    """One workload.

    Attributes:
        name: in the results.
        title: in the tables.
        kind: "mlp", "conv", "color" or "iwae": see `recipe_of`.
        batch: rows per step.
        steps: steps of one round: an epoch over `batch * steps` rows.
        pictures: the folder of JPEGs, where there is one.
    """

    name: str
    title: str
    kind: str
    batch: int
    steps: int
    pictures: Path | None = None

    @property
    def rows(self) -> int:
        """Of one round."""
        return self.batch * self.steps

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return {"conv": (1, 28, 28), "color": (3, 64, 64)}.get(self.kind, (784,))

    @property
    def constant(self) -> float:
        """What our loss has above a mean squared error halved: log of the Gaussian's norm, nats."""
        return math.prod(self.shape) / 2 * math.log(2 * math.pi) if self.kind == "color" else 0.0


MLP = "MLP 784-512-256-32"
TASKS = {
    task.name: task
    for task in (
        Task("w1-128", f"{MLP}, batch 128", "mlp", 128, 469),
        Task("w1-1024", f"{MLP}, batch 1024", "mlp", 1024, 59),
        Task("w1-8192", f"{MLP}, batch 8192", "mlp", 8192, 8),
        Task("w2", "conv VAE 28 x 28 (32, 64), batch 128", "conv", 128, 30),
        Task("w3", "conv VAE 64 x 64 color (16-128), batch norm, batch 64", "color", 64, 20),
        Task("w5", f"IWAE, k = {DRAWS}, 784-200-200-50, batch 100", "iwae", 100, 10),
    )
}


def recipe_of(task: Task, seed: int = 0) -> Any:
    """The kit's model and objective, with the weights of this seed."""
    from vaekit.data import DataSpec
    from vaekit.recipes import build

    kind = {"color": "color", "iwae": "binary"}.get(task.kind, "gray")
    nets = {
        "mlp": "mlp:hidden=512,256:activation=relu",
        "conv": "conv:channels=32,64:activation=relu",
        "color": "conv:channels=16,32,64,128:norm=batch:activation=relu",
        "iwae": "mlp:hidden=200,200:activation=tanh",
    }
    latent = {"color": 64, "iwae": 50}.get(task.kind, 32)
    torch.manual_seed(seed)
    return build(
        "vae",
        DataSpec(task.name, task.shape, kind, rows=task.rows),
        latent=latent,
        net=nets[task.kind] + ":start=init",
        likelihood="gaussian:scale=1" if task.kind == "color" else "bernoulli",
        objective=f"iwae:samples={DRAWS}" if task.kind == "iwae" else "elbo",
    )


def rows_of(task: Task) -> Tensor:
    """Bytes `(rows, *shape)`: about a fifth of them ink; only 0 and 255 for the bound."""
    made = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 256, (task.rows, *task.shape), dtype=torch.uint8, generator=made)
    ink = rows > 204
    return ink.to(torch.uint8).mul_(255) if task.kind == "iwae" else rows.mul_(ink)


def make_pictures(folder: Path, count: int, side: int = 64) -> None:
    """Smooth random color pictures, as JPEGs of quality 92."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = coarse.resize((side, side), Image.Resampling.BICUBIC)
        smooth.save(folder / f"{number:05}.jpg", quality=92)


def first_batch(task: Task) -> Tensor:
    """Floats `(batch, *shape)`, the same on every side."""
    if task.pictures is None:
        return rows_of(replace(task, steps=1)).float() / 255
    paths = sorted(task.pictures.iterdir())[: task.batch]
    return torch.stack([read_picture(path) for path in paths])


def to_tensor(picture: Image.Image) -> Tensor:
    """What the usual transform does with one picture: bytes to floats, channels first."""
    values = torch.from_numpy(np.array(picture, copy=True))
    planes = values.view(picture.height, picture.width, len(picture.getbands()))
    return planes.permute(2, 0, 1).contiguous().float().div(255)


def read_picture(path: Path) -> Tensor:
    """One file, decoded."""
    from PIL import Image

    with Image.open(path) as picture:
        return to_tensor(picture.convert("RGB"))


def plain(net: Any) -> nn.Sequential:
    """The layers of one of the kit's networks, and nothing else."""
    return nn.Sequential(*net.body, net.output)


def gradient_norm(model: nn.Module) -> float:
    """Of all parameters together; then there are no gradients any more."""
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return norm.item()

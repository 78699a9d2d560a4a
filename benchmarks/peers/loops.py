"""The tutorial's loop, and one written by hand for speed."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from peers.task import (
    Task,
    first_batch,
    gradient_norm,
    plain,
    read_picture,
    recipe_of,
    rows_of,
    to_tensor,
)

__all__ = ["HandWritten", "Tutorial"]


class Digits(Dataset[tuple[Tensor, int]]):
    """Rows of bytes, each with its label, made a picture and a tensor when it is asked for.

    It is what torchvision's MNIST and its ToTensor do.
    """

    def __init__(self, rows: Tensor, shape: tuple[int, ...]) -> None:
        self.rows, self.shape = rows.view(-1, 28, 28), shape
        self.labels = torch.zeros(len(rows), dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.rows[index].numpy())
        return to_tensor(picture).view(self.shape), int(self.labels[index])


class Files(Dataset[tuple[Tensor, int]]):
    """Pictures in a folder, each decoded when it is asked for, with the number of the folder."""

    def __init__(self, task: Task) -> None:
        assert task.pictures is not None
        self.paths = sorted(task.pictures.iterdir())[: task.rows]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return read_picture(self.paths[index]), 0


class Loop:
    """What both loops share: the nets and the loss."""

    fused = False  # the optimizer's steps
    plain = True  # a sigmoid, and the cross-entropy of what it gives

    def __init__(self, task: Task, seed: int = 0) -> None:
        self.task = task
        self.whole = recipe_of(task, seed).model
        parts = (plain(part.net) for part in (self.whole.posterior, self.whole.likelihood))
        self.encoder, self.decoder = parts
        self.model = nn.ModuleList([self.encoder, self.decoder])
        fused = True if self.fused else None
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=fused)

    def loss(self, x: Tensor) -> Tensor:
        """Reconstruction + KL, nats per row."""
        mu, log_variance = self.encoder(x).chunk(2, 1)
        z = mu + torch.exp(0.5 * log_variance) * torch.randn_like(mu)
        out = self.decoder(z)
        if self.task.kind == "color":
            off = 0.5 * F.mse_loss(out, x, reduction="sum")
        elif self.plain:
            off = F.binary_cross_entropy(out.sigmoid(), x, reduction="sum")
        else:
            off = F.binary_cross_entropy_with_logits(out, x, reduction="sum")
        kl = -0.5 * torch.sum(1 + log_variance - mu.pow(2) - log_variance.exp())
        return (off + kl) / len(x)

    def check(self) -> tuple[float, float]:
        """The loss of the first batch and the norm of its gradient, at the noise of seed 0."""
        self.model.train()
        x = first_batch(self.task)
        torch.manual_seed(0)
        loss = self.loss(x)
        loss.backward()
        return loss.item(), gradient_norm(self.model)


class Tutorial(Loop):
    """The plain loop: a data loader, a transform per sample, the loss read at every step."""

    def __init__(self, task: Task, bytes_: Tensor | None = None, seed: int = 0) -> None:
        super().__init__(task, seed)
        rows: Dataset[tuple[Tensor, int]]
        if task.pictures is None:
            rows = Digits(rows_of(task) if bytes_ is None else bytes_, task.shape)
        else:
            rows = Files(task)
        self.loader = DataLoader(rows, batch_size=task.batch, shuffle=True)

    def run(self) -> float:
        """An epoch; its mean loss."""
        self.model.train()
        total = 0.0
        for x, _ in self.loader:
            self.optimizer.zero_grad()
            loss = self.loss(x)
            loss.backward()
            total += loss.item()
            self.optimizer.step()
        return total / self.task.steps


class HandWritten(Loop):
    """The same without the loader: bytes picked in memory, fused Adam, the loss read at the end."""

    fused, plain = True, False

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.rows = rows_of(task)

    def run(self) -> float:
        """An epoch; its mean loss."""
        total = torch.zeros(())
        for index in torch.randperm(len(self.rows)).split(self.task.batch):
            loss = self.loss(self.rows.index_select(0, index).float() / 255)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        return total.item() / self.task.steps

"""A small classifier of images: what judges whether a made image is of the class it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.data import Batches, Split
from vaekit.data.batches import Batch
from vaekit.data.conditions import one_hot
from vaekit.errors import VaekitError
from vaekit.torchutil import evaluating, rng

EPOCHS, BATCH, RATE = 6, 128, 3e-3
OnBatch = Callable[[int, int], None]  # rows seen, rows in all


class Classifier(nn.Module):
    """Three convolutions with batch norm and an affine map: `(N, C, H, W)` to `(N, classes)`.

    Example:
        >>> Classifier((1, 8, 8), 10)(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        if len(shape) != 3:
            raise VaekitError(f"a classifier of images takes (C, H, W); got rows of shape {shape}.")
        planes = (shape[0], 32, 64, 128)
        layers: list[nn.Module] = []
        for place, (before, after) in enumerate(pairwise(planes)):
            stride = 1 if place == 1 else 2
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.GELU()]
        high, wide = (-(-size // 4) for size in shape[1:])
        head = nn.Linear(planes[-1] * high * wide, classes)
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.4), head)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits


def train_classifier(
    split: Split,
    classes: int,
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_batch: OnBatch | None = None,
) -> Classifier:
    """A classifier of the rows of a split by their labels: cross entropy, one cycle of AdamW.

    Raises:
        VaekitError: for rows that are no images, or without labels.
    """
    if split.labels is None:
        raise VaekitError("got rows without labels; a classifier learns from some.")
    with rng(seed, device):
        model = Classifier(tuple(split.images.shape[1:]), classes).to(device)
        given = one_hot(split.labels, classes)
        batches = Batches(split, BATCH, seed=seed, given=given, device=device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01, fused=True)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs * len(batches))
        model.train()
        for step, (x, target) in enumerate(_all(batches, epochs)):
            assert target is not None
            optimizer.zero_grad()
            F.cross_entropy(model(x), target).backward()
            optimizer.step()
            cycle.step()
            if on_batch is not None:
                seen = min((step + 1) * BATCH, epochs * batches.rows)
                on_batch(seen, epochs * batches.rows)
    return model.eval()


def _all(batches: Batches, epochs: int) -> Iterator[Batch]:
    for number in range(epochs):
        yield from batches.epoch(number)


def predict(model: nn.Module, x: Tensor) -> Tensor:
    """The most likely class of each image, int64 `(N,)`."""
    device = next(model.parameters()).device
    with evaluating(model):
        return torch.cat([model(part.to(device)).argmax(1).cpu() for part in x.split(500)])


def accuracy(model: nn.Module, split: Split) -> float:
    """The share of a split's rows whose class it tells."""
    assert split.labels is not None
    parts = torch.arange(len(split)).split(500)
    found = torch.cat([predict(model, split.x(part)) for part in parts])
    return (found == split.labels).float().mean().item()

"""Whether a conditional model makes what it is asked for: a small classifier of images says so."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.data import Batches, Dataset, Split, one_hot
from vaekit.distributions import offering
from vaekit.errors import VaekitError
from vaekit.evaluate.checks import whole
from vaekit.evaluate.metrics import Column, Line, Record, Study, Subject
from vaekit.io import cache_folder
from vaekit.registry import register
from vaekit.torchutil import evaluating, load_state, rng, save_state

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
        context = one_hot(split.labels, classes)
        batches = Batches(split, BATCH, seed=seed, context=context, device=device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01, fused=True)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs * len(batches))
        model.train()
        seen = chain.from_iterable(map(batches.epoch, range(epochs)))
        for step, (x, target) in enumerate(seen, 1):
            assert target is not None
            optimizer.zero_grad()
            F.cross_entropy(model(x), target).backward()
            optimizer.step()
            cycle.step()
            if on_batch is not None:
                total = epochs * batches.rows
                on_batch(min(step * BATCH, total), total)
    return model.eval()


def _at_once(shape: Sequence[int]) -> int:
    """How many images `(N, *X)` to look at at a time: up to 8 MiB of floats, and 500."""
    return max(1, min(500, 2**21 // math.prod(shape[1:])))


def predict(model: nn.Module, x: Tensor) -> Tensor:
    """The most likely class of each image, int64 `(N,)`."""
    device = next(model.parameters()).device
    with evaluating(model):
        few = x.split(_at_once(x.shape))
        return torch.cat([model(part.to(device)).argmax(1).cpu() for part in few])


def accuracy(model: nn.Module, split: Split) -> float:
    """The share of a split's rows whose class it tells."""
    assert split.labels is not None
    parts = torch.arange(len(split)).split(_at_once(split.images.shape))
    found = torch.cat([predict(model, split.x(part)) for part in parts])
    return (found == split.labels).float().mean().item()


VERSION = 1  # of the classifier: another one is trained anew


@register("metric", "agreement")
class Agreement(Study):
    """How many images E[x|z, y], z from the prior, y in equal shares, a classifier calls y.

    The classifier is trained on the training rows of the model's data, once: it is kept in the
    cache. Its own accuracy on the test rows is told, since no share can be trusted beyond it.

    Args:
        images: how many the classifier looks at.
    """

    needs = offering("latent", "draws")
    columns = (Column("share", "agreement", better=1),)

    def __init__(self, *, images: int = 1000) -> None:
        super().__init__()
        self.images = whole("images", images)

    def suits(self, subject: Subject) -> str | None:
        """It is of images of a model that is conditioned on labels."""
        if not subject.spec.context:
            return (
                "it is not conditioned on labels, so there is nothing to ask it for; train one "
                "that is, as `vaekit train cvae`"
            )
        if not subject.images or subject.data is None:
            return f"a classifier looks at images; its rows have the shape {subject.spec.shape}"
        return None

    def study(self, subject: Subject) -> Record:
        """The share, that of the worst class, and how good the classifier is."""
        classes, n = subject.spec.classes, self.images
        model: Any = subject.model
        labels = torch.arange(n) * classes // n
        context = F.one_hot(labels, classes).float().to(subject.rows.device)
        made = model.sample(n, context, mean=True)
        assert subject.data is not None
        data = subject.data()
        judge = self._classifier(subject, data).to(subject.rows.device)
        right = (predict(judge, made) == labels).double()
        shares = [right[labels == label].mean().item() for label in labels.unique().tolist()]
        worst = min(range(len(shares)), key=shares.__getitem__)
        share = right.mean().item()
        return {
            "share": share,
            "standard_error": math.sqrt(share * (1 - share) / n),
            "worst_share": shares[worst],
            "worst_class": subject.class_names[worst],
            "shares": shares,
            "classifier_accuracy": accuracy(judge, data.test),
            "samples": n,
        }

    def _classifier(self, subject: Subject, data: Dataset) -> Classifier:
        """From the cache, or trained and put there."""
        labels = data.train.labels
        assert labels is not None
        key = hashlib.sha256(labels.numpy().tobytes() + f"{VERSION} {subject.key}".encode())
        file = f"{data.name}-{key.hexdigest()[:16]}.safetensors"
        path = cache_folder() / "classifiers" / file
        if path.is_file():
            model = Classifier(subject.spec.shape, subject.spec.classes)
            model.load_state_dict(load_state(path)["model"])
            return model.eval()
        told = subject.rows.on_rows and partial(subject.rows.on_rows, "classifier")
        model = train_classifier(
            data.train, subject.spec.classes, device=subject.rows.device, on_batch=told
        )
        save_state(path, {"model": dict(model.state_dict())})
        return model

    def lines(self, record: Record) -> Iterator[Line]:
        """The share, that of the worst class, and the classifier's own."""
        images = f"{record['samples']} images"
        yield "agreement", record["share"], record["standard_error"], images
        yield "  worst class", record["worst_share"], None, str(record["worst_class"])
        yield "  the classifier", record["classifier_accuracy"], None, "accuracy on test rows"

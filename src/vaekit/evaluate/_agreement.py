"""Whether the samples of a conditional model match their labels, by a small classifier."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit._io import cache_folder
from vaekit._torchutil import evaluating, load_state, rng, save_state, wide
from vaekit.data import Batches, Dataset, Split, one_hot, spread
from vaekit.distributions import offering
from vaekit.errors import VaekitError, at_least
from vaekit.evaluate._checks import counted
from vaekit.evaluate._metrics import Column, Line, Record, Study, Subject
from vaekit.registry import register

VERSION = 1  # of the classifier: another one is trained anew
EPOCHS, BATCH, RATE = 6, 128, 3e-3
OnBatch = Callable[[int, int], None]  # rows done, rows in all


class Classifier(nn.Module):
    """A network of three convolutions with batch norm: `(N, C, H, W)` to logits `(N, classes)`.

    Example:
        >>> Classifier((1, 8, 8), 10)(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        if len(shape) != 3:
            raise VaekitError(f"a classifier of images takes (C, H, W); got rows of shape {shape}.")
        channels = (shape[0], 32, 64, 128)
        layers: list[nn.Module] = []
        for (before, after), stride in zip(pairwise(channels), (2, 1, 2), strict=True):
            conv = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            layers += [conv, nn.BatchNorm2d(after), nn.GELU()]
        places = math.prod(-(-size // 4) for size in shape[1:])
        head = nn.Linear(128 * places, at_least("classes", classes, 1))
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.4), head)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the classes."""
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
    """Train a classifier of the rows of a split by cross entropy, with one cycle of AdamW.

    Raises:
        VaekitError: for rows that are no images, or without labels.
    """
    if split.labels is None:
        raise VaekitError("got rows without labels; a classifier needs some.")
    with rng(seed, device):
        model = Classifier(tuple(split.images.shape[1:]), classes).to(device)
        context = one_hot(split.labels, classes)
        batches = Batches(split, BATCH, seed=seed, context=context, device=device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01, fused=True)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs * len(batches))
        model.train()
        seen = chain.from_iterable(map(batches.epoch, range(epochs)))
        total = epochs * batches.rows
        for step, (x, target) in enumerate(seen, 1):
            assert target is not None
            optimizer.zero_grad()
            F.cross_entropy(model(x), target).backward()
            optimizer.step()
            cycle.step()
            if on_batch is not None:
                on_batch(min(step * BATCH, total), total)
    return model.eval()


def predict(model: nn.Module, x: Tensor) -> Tensor:
    """Return the most likely class of each image, int64 `(N,)`."""
    device = next(model.parameters()).device
    few = x.split(max(1, min(500, 2**21 // x[:1].numel())))  # up to 8 MiB of floats
    with evaluating(model):
        return torch.cat([model(part.to(device)).argmax(1).cpu() for part in few])


def accuracy(model: nn.Module, split: Split) -> float:
    """Return the share of a split's rows that are classified rightly."""
    assert split.labels is not None
    parts = torch.arange(len(split)).split(500)
    labels = torch.cat([predict(model, split.x(part)) for part in parts])
    return (labels == split.labels).float().mean().item()


@register("metric", "agreement")
class Agreement(Study):
    """How many images E[x|z, y], z from the prior, y in equal shares, a classifier calls y.

    The classifier is trained on the training rows of the model's data, once, and stored in the
    cache. Its accuracy on the test rows is reported, since no share can be trusted beyond it. The
    error of the share is over the draws of z, within each label; None for one image of a label.

    Args:
        images: how many the classifier looks at.
    """

    needs = offering("latent", "draws")
    columns = (Column("share", "agreement", better=1),)

    def __init__(self, *, images: int = 1000) -> None:
        super().__init__()
        self.images = at_least("images", images, 1)

    def suits(self, subject: Subject) -> str | None:
        """Refuse all but images of a model that is conditioned on labels."""
        if not subject.spec.labeled:
            return (
                "it is not conditioned on labels, so its samples have none to agree with; train "
                "one that is, such as cvae"
            )
        if not subject.images or subject.data is None:
            return f"a classifier looks at images; its rows have the shape {subject.spec.shape}"
        return None

    def study(self, subject: Subject) -> Record:
        """Return the share, that of the worst class, and how good the classifier is."""
        classes, n, device = subject.spec.classes, self.images, subject.rows.device
        model: Any = subject.model
        labels = torch.arange(n) * classes // n
        context = subject.spec.contexts(n)
        assert context is not None
        images = model.sample(n, context.to(device), mean=True)
        assert subject.data is not None
        data = subject.data()
        classifier = cached_classifier(subject, data).to(device)
        right = wide(predict(classifier, subject.spec.values.inverse(images)) == labels)
        parts = [right[labels == label] for label in labels.unique().tolist()]
        shares = [part.mean().item() for part in parts]
        worst = min(range(len(shares)), key=shares.__getitem__)
        # As many of each label are asked for: what differs between labels is not left to chance.
        known = [len(part) * part.var().item() for part in parts if len(part) > 1]
        return {
            "share": right.mean().item(),
            "standard_error": math.sqrt(sum(known)) / n if len(known) == len(parts) else None,
            "standard_error_over": counted(n, what="images"),
            "worst_share": shares[worst],
            "worst_class": subject.class_names[worst],
            "shares": shares,
            "classifier_accuracy": accuracy(classifier, data.test),
            "samples": n,
        }

    def lines(self, record: Record) -> Iterator[Line]:
        """Yield the share, that of the worst class, and the classifier's accuracy."""
        images = f"{record['samples']} images"
        yield "agreement", record["share"], record["standard_error"], images
        yield "  worst class", record["worst_share"], None, str(record["worst_class"])
        yield "  the classifier", record["classifier_accuracy"], None, "accuracy on test rows"


def cached_classifier(
    subject: Subject, data: Dataset, *, most: int | None = None, epochs: int = EPOCHS
) -> Classifier:
    """Load the classifier of a subject's data from the cache, or train it and store it there.

    Args:
        subject: whose data are known by its key.
        data: with gray levels.
        most: of the training rows, evenly spread; by default all.
        epochs: of its training.
    """
    train, classes = data.train, subject.spec.classes
    what = f"{VERSION} {subject.key}"
    if most is not None:
        train, what = train.take(spread(len(train), most)), f"{what} {most} {epochs}"
    assert train.labels is not None
    key = hashlib.sha256(train.labels.numpy().tobytes() + what.encode())
    path = cache_folder() / "classifiers" / f"{data.name}-{key.hexdigest()[:16]}.safetensors"
    if path.is_file():
        model = Classifier(subject.spec.shape, classes)
        model.load_state_dict(load_state(path)["model"])
        return model.eval()
    progress = subject.rows.on_rows and partial(subject.rows.on_rows, "classifier")
    how: Any = {"epochs": epochs, "device": subject.rows.device, "on_batch": progress}
    model = train_classifier(train, classes, **how)
    save_state(path, {"model": dict(model.state_dict())})
    return model

"""Whether a conditional model makes what it is asked for: a classifier looks at its images."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any
import torch
from vaekit.data import Dataset, prepare
from vaekit.io import cache_folder
from vaekit.errors import VaekitError
from vaekit.torchutil import load_state, save_state
from vaekit.evaluate.classifier import Classifier, OnBatch, accuracy, predict, train_classifier

if TYPE_CHECKING:
    from vaekit.runs.run import Run


VERSION = 1  # of the classifier: another one is trained anew


def agreement(
    run: Run, source: Dataset, sha256: str, n: int, *, on_batch: OnBatch | None = None
) -> dict[str, Any]:
    """How many of n images E[x|z, y], z from the prior, y in equal shares, a classifier calls y.

    The classifier is trained on the training rows of the run's data, once: it is kept in the user
    cache. Its own accuracy on the test rows is told, since no share can be trusted beyond it.

    Args:
        run: conditioned on labels, of images.
        source: its data set, as it is stored.
        sha256: the fingerprint of that.
        n: images, from the current random state.
        on_batch: is told how the training of the classifier goes.

    Raises:
        VaekitError: for a run that is not conditioned on labels, or is not of images.
    """
    if not run.conditional:
        raise VaekitError(
            f"{run.path} is not conditioned on labels: --agreement has nothing to ask it for; "
            "train one that is, as `vaekit train cvae`."
        )
    labels = torch.arange(n) * run.spec.classes // n
    with torch.no_grad():
        given = torch.nn.functional.one_hot(labels, run.spec.classes).float().to(run.device)
        made = run.vae.sample(n, given, mean=True)
    data = _grey_levels(run, source)
    judge = _classifier(run, data, sha256, on_batch).to(run.device)
    right = (predict(judge, made) == labels).double()
    shares = [right[labels == label].mean().item() for label in labels.unique().tolist()]
    worst = min(range(len(shares)), key=shares.__getitem__)
    share = right.mean().item()
    return {
        "share": share,
        "standard_error": math.sqrt(share * (1 - share) / n),
        "worst_share": shares[worst],
        "worst_class": run.class_names[worst],
        "shares": shares,
        "classifier_accuracy": accuracy(judge, data.test),
        "samples": n,
    }


def _grey_levels(run: Run, source: Dataset) -> Dataset:
    """The rows as the run's, but with their grey levels, which means of pixels have too."""
    plain = {"binarise": "none", "dequantise": False, "validation": 0, "limit": None}
    return prepare(source, run.config.data.model_copy(update=plain), 0)


def _classifier(run: Run, data: Dataset, sha256: str, on_batch: OnBatch | None) -> Classifier:
    """From the cache, or trained and put there."""
    labels = data.train.labels
    assert labels is not None
    key = hashlib.sha256(labels.numpy().tobytes())
    key.update(repr((VERSION, sha256, run.spec.shape, run.config.data.range)).encode())
    path = cache_folder() / "classifiers" / f"{data.name}-{key.hexdigest()[:16]}.safetensors"
    if path.is_file():
        model = Classifier(run.spec.shape, run.spec.classes)
        model.load_state_dict(load_state(path)["model"])
        return model.eval()
    model = train_classifier(data.train, run.spec.classes, device=run.device, on_batch=on_batch)
    _keep(path, model)
    return model


def _keep(path: Path, model: Classifier) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_state(path, {"model": dict(model.state_dict())})

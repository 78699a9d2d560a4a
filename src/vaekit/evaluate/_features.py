"""By what features drawn rows are compared with real ones: of a network, of PCA, of a file."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vaekit._torchutil import evaluating, rng
from vaekit.data import Dataset, spread
from vaekit.errors import VaekitError, cut
from vaekit.evaluate._agreement import Classifier, cached_classifier
from vaekit.evaluate._metrics import Subject

NAMES = ("classifier", "pca", "random")
ROWS, EPOCHS = 10_000, 3  # of training, that a classifier learns
EACH = 20  # rows of a label, for which a classifier is the default
COMPONENTS = 64
NUMBERS = 2**26  # of the rows that PCA sees
SOME = 1000  # training rows, by which a random network is scaled


class Features(NamedTuple):
    """Features of rows as a model sees them: what they are called, how they are made, and how."""

    name: str
    words: str
    of: Callable[[Tensor], Tensor]


def refusal(subject: Subject, features: str | None) -> str | None:
    """Return why a subject has no such features; None where it has."""
    if features in ("classifier", "random") and not subject.images:
        return f"`features={features}` looks at images, and its rows are {subject.spec.shape}"
    if features == "classifier" and subject.spec.classes < 2:
        return "`features=classifier` learns labels, and its data have none"
    return None


def features_of(subject: Subject, features: str | None) -> Features:
    """Return features by their name, or by a file; those that need rows see training rows alone.

    These are all that the data have, whatever a run took of them, and images are in [0, 1] for all
    features, whatever range a model sees: so that runs compare.

    Raises:
        VaekitError: for a file that cannot be read, or takes other rows.
    """
    labels = subject.images and 1 < subject.spec.classes <= subject.spec.rows / EACH
    default = "classifier" if labels else "pca"
    name = default if features is None else features
    if name not in NAMES:
        made = _of_file(subject, Path(name))
    else:
        assert subject.data is not None
        known = {"classifier": _of_classifier, "pca": _of_pca, "random": _of_noise}
        made = known[name](subject, subject.data())
        if not subject.images:
            return made
    return made._replace(of=lambda x: made.of(subject.spec.values.inverse(x)))


def _pooled(net: Classifier, words: str, name: str) -> Features:
    """Return the means over all places of what the last convolution gives, `(N, 128)`."""
    body, device = net.net[:-3], next(net.parameters()).device

    def of(x: Tensor) -> Tensor:
        with evaluating(net):
            found: Tensor = body(x.to(device)).mean((2, 3)).cpu()
            return found

    return Features(name, words, of)


def _of_classifier(subject: Subject, data: Dataset) -> Features:
    net = cached_classifier(subject, data, most=ROWS, epochs=EPOCHS)
    rows = min(ROWS, len(data.train))
    words = f"a classifier of {subject.spec.classes} labels, trained on {rows:,} training rows"
    return _pooled(net.to(subject.rows.device), f"128 of {words}", "classifier")


def _of_noise(subject: Subject, data: Dataset) -> Features:
    """Return those of random weights, each layer scaled to deviations of 1 on training rows."""
    with rng(0, subject.rows.device), torch.no_grad():
        net = Classifier(subject.spec.shape, 1).to(subject.rows.device)
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # a mean over all that it sees
        for part in spread(len(data.train), SOME).split(SOME // 4):
            net.net[:-3].train()(data.train.x(part).to(subject.rows.device))
    return _pooled(net, "128 of a network with random weights, seed 0", "random")


def _of_pca(subject: Subject, data: Dataset) -> Features:
    """Return principal components, of images' pixels or of standardized columns."""
    spec = subject.spec

    def seen(x: Tensor) -> Tensor:
        return (x.cpu().log1p() if spec.kind == "counts" else x.cpu()).flatten(1)

    most = max(min(ROWS, NUMBERS // math.prod(spec.shape)), COMPONENTS)
    rows = seen(data.train.x(spread(len(data.train), most)))
    loc, scale = rows.mean(0), torch.ones(())
    what = "pixels"
    if not subject.images:
        scale, what = rows.std(0), "standardized columns"
        scale = scale.masked_fill(scale <= 1e-6 * loc.abs(), 1.0)
    rows = (rows - loc) / scale
    if rows.shape[1] <= COMPONENTS:
        name, words = what.split()[-1].removesuffix("s"), f"all {rows.shape[1]} {what}"
        return Features(name, words, lambda x: (seen(x) - loc) / scale)
    from sklearn.decomposition import PCA

    count = min(COMPONENTS, len(rows))
    axes = torch.from_numpy(PCA(count, random_state=0).fit(rows.numpy()).components_)
    words = f"{count} principal components of {what}, of {len(rows):,} training rows"
    return Features("PCA", words, lambda x: (seen(x) - loc) / scale @ axes.T)


def _of_file(subject: Subject, path: Path) -> Features:
    """Return what a TorchScript or ONNX file gives of rows in units, `(N, D)`, or maps of it."""
    call = (_onnx if path.suffix == ".onnx" else _torchscript)(path, subject.rows.device)

    def of(x: Tensor) -> Tensor:
        try:
            found = call(x.cpu().float())
        except Exception as error:  # whatever a network raises
            why = cut((str(error).strip() or repr(error)).splitlines()[-1], 200)
            raise VaekitError(
                f"`features={path}` does not take rows {tuple(x.shape)}, images in [0, 1]: {why}"
            ) from error
        if not isinstance(found, Tensor) or found.dim() < 2 or len(found) != len(x):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise VaekitError(f"`features={path}` gives {got}; expected ({len(x)}, D).")
        return found.float().cpu().flatten(2).mean(2) if found.dim() > 2 else found.float().cpu()

    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return Features(path.name, f"those of {path.name}, sha256 {digest}", of)


def _torchscript(path: Path, device: torch.device | str) -> Callable[[Tensor], Any]:
    try:
        with warnings.catch_warnings(action="ignore"):  # that it is old
            net = torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError) as error:
        raise VaekitError(f"`features={path}` is no TorchScript file, and no .onnx.") from error

    def call(x: Tensor) -> Any:
        with torch.no_grad():
            return net(x.to(device))

    return call


def _onnx(path: Path, device: torch.device | str) -> Callable[[Tensor], Any]:
    try:
        import onnxruntime
    except ImportError:
        raise VaekitError(
            f"`features={path}` needs onnxruntime: pip install 'vaekit[onnx]'."
        ) from None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # of its own kind
        raise VaekitError(f"`features={path}` is no readable .onnx file.") from error
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])

"""What a training leaves to look at as it goes: the same images and draws after each epoch.

RUN/snapshots/originals.npz   the held-out images, uint8 `(N, C, H, W)`
RUN/snapshots/000003.npz      after epoch 3: their reconstructions, and decoded draws of the prior
RUN/latest.png                the images with the newest reconstructions under them
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data import spread
from vaekit.data.conditions import one_hot
from vaekit.data.dataset import generator
from vaekit.data.rows import pick
from vaekit.distributions import Offer
from vaekit.errors import VaekitError
from vaekit.io import npz_bytes, sweep, write
from vaekit.models import Model
from vaekit.report.images import pairs, png_bytes
from vaekit.runs import Job, RunFolder
from vaekit.torchutil import rng
from vaekit.training import Callback

IMAGES, DRAWS = 8, 16
MOST, LEAST = 200, 20  # frames that are kept; fewer where images are large
BYTES = 100_000_000
FRAME = re.compile(r"\d{6,}\.npz")


def stride(epoch: int, every: int, most: int) -> int:
    """The step between the epochs whose frames stay, up to this one: every * 2^k, `most` frames.

    Example:
        >>> stride(199, 1, 200), stride(200, 1, 200), stride(1000, 5, 200)
        (1, 2, 10)
    """
    step = every
    while epoch // step >= most:
        step *= 2
    return step


def frame_epochs(folder: Path) -> list[int]:
    """The epochs of the frames in RUN/snapshots, in their order; empty without the folder."""
    names = [path.stem for path in folder.glob("*.npz") if FRAME.fullmatch(path.name)]
    return sorted(map(int, names))


def read_frame(path: Path, what: str) -> np.ndarray:
    """The images of this name in a file of RUN/snapshots, uint8 `(N, C, H, W)`.

    Raises:
        VaekitError: where the file is broken, or has no such images.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            images: np.ndarray = arrays[what]
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile):
        raise VaekitError(
            f"{path} is broken: it has no {what}. Delete it, or restore it."
        ) from None
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise VaekitError(f"{path} is broken: its {what} are no images. Delete it, or restore it.")
    return images


class Snapshots(Callback):
    """Keeps frames of a training; the training itself is the same with and without.

    Args:
        folder: of the run, which is locked.
        x: the images, canonical, where the model is, `(N, *X)`.
        every: a frame after each so many epochs.
        seed: of the draws: the same noise each time.
        shown: from x to values in [0, 1].
        context: of x, `(N, ...)`, for a conditional model.
        context_drawn: of the draws.
    """

    def __init__(
        self,
        folder: RunFolder,
        x: Tensor,
        *,
        every: int,
        seed: int,
        shown: Callable[[Tensor], Tensor],
        context: Tensor | None = None,
        context_drawn: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.x, self.every, self.seed, self.shown = folder, x, every, seed, shown
        self.context, self.context_drawn = context, context_drawn
        size = (len(x) + DRAWS) * math.prod(x.shape[1:])
        self.most = max(LEAST, min(MOST, BYTES // size))

    @property
    def path(self) -> Path:
        """Where the frames are."""
        return self.folder.path / "snapshots"

    def begin(self, model: Any, epoch: int | None) -> None:
        """Drops the frames after this epoch, which will be made again; without one, begins anew."""
        write(self.path / "originals.npz", npz_bytes(originals=self._levels(self.x)))
        sweep(self.path)
        for old in frame_epochs(self.path):
            if epoch is None or old > epoch:
                self._file(old).unlink()
        if epoch is None:
            self.epoch(model, 0)

    def epoch(self, model: Any, number: int) -> None:
        """Writes the frame of this epoch where it is one that is kept."""
        if number % self.every == 0:
            self.finish(model, number)

    def finish(self, model: Any, number: int) -> None:
        """Writes the frame of this epoch; the last one always is."""
        epoch = number
        images = self.pictures(model)
        frame = npz_bytes(**{name: self._levels(part) for name, part in images.items()})
        write(self._file(epoch), frame, self.folder.mend)
        sheet = pairs(self.shown(self.x), self.shown(images["reconstructions"]))
        picture = png_bytes(sheet, small=False)
        write(self.folder.path / "latest.png", picture, self.folder.mend)
        step = stride(epoch, self.every, self.most)
        for old in frame_epochs(self.path):
            if old % step and old != epoch:
                self._file(old).unlink()

    def pictures(self, model: Model) -> dict[str, Tensor]:
        """E[x|z] at the codes of the images, and at draws z where there is a prior to draw from."""
        found = {"reconstructions": model.reconstruct(self.x, self.context)}
        if Offer.DRAWS in model.offers:
            with rng(self.seed, self.x.device):
                found["samples"] = model.sample(DRAWS, self.context_drawn, mean=True)  # type: ignore[operator]
        return found

    def _file(self, epoch: int) -> Path:
        return self.path / f"{epoch:06d}.npz"

    def _levels(self, images: Tensor) -> np.ndarray:
        """As uint8; NaN is mid gray."""
        values = self.shown(images).detach().cpu().double().nan_to_num(nan=0.5).clamp(0, 1)
        levels: np.ndarray = (values * 255).round().to(torch.uint8).numpy()
        return levels


def snapshots_of(job: Job) -> Snapshots | None:
    """Of test images, evenly spread, which are looked at alone; None for tables or by choice."""
    options, shape = job.config.training, job.spec.shape
    if not options.snapshots or len(shape) != 3 or shape[0] not in (1, 3):
        return None
    test = job.data.test
    index = spread(len(test), IMAGES)
    rows = pick(test.images, index)
    x = test.values(rows, generator(options.seed, "snapshots")).to(job.device)
    shown = job.spec.values.inverse
    film = Snapshots(job.folder, x, every=options.snapshots, seed=options.seed, shown=shown)
    if test.context is not None:
        film.context = test.context[index].float().to(job.device)
        film.context_drawn = _in_order(job.spec.classes).to(job.device)
    return film


def _in_order(classes: int) -> Tensor:
    """The classes of the draws, one-hot."""
    return one_hot(torch.arange(DRAWS) * classes // DRAWS, classes).float()

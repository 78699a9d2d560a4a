"""The snapshots of a training: the same images and samples after each epoch.

RUN/snapshots/originals.npz   the held-out images, uint8 `(N, C, H, W)`
RUN/snapshots/000003.npz      after epoch 3: their reconstructions, and decoded samples
RUN/latest.png                the images with the newest reconstructions under them
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vaekit._io import npz_bytes, sweep, write
from vaekit._torchutil import rng
from vaekit.data import generator, pick, spread
from vaekit.distributions import Offer
from vaekit.errors import VaekitError
from vaekit.models import LatentModel
from vaekit.report._grids import grid, in_color, levels, png_bytes, read_array
from vaekit.runs import Job, RunFolder, fit_prior, fixed_batches, rows_to_fit, takes_mixture
from vaekit.training import Callback

IMAGES, SAMPLES = 8, 16
FEW = 400, 100  # rows that a frame's Gaussian is fitted to, and judged by
VALUES = 10**7  # of such rows, at most: they stay in memory
MOST, LEAST = 200, 20  # frames that stay; fewer where images are large
BYTES = 100_000_000
FRAME = re.compile(r"\d{6,}\.npz")
SPARSE = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597)  # epochs that stay


def frame_epochs(folder: Path) -> list[int]:
    """Return the epochs of the frames in RUN/snapshots, in order; none without the folder."""
    names = [path.stem for path in folder.glob("*.npz") if FRAME.fullmatch(path.name)]
    return sorted(map(int, names))


def read_frame(path: Path, what: str) -> np.ndarray:
    """Return the images of this name in a file of RUN/snapshots, uint8 `(N, C, H, W)`.

    Raises:
        VaekitError: where the file is broken, or has no such images.
    """
    images = read_array(path, what)
    if images is None:
        raise VaekitError(f"{path} is broken: it has no {what}. Delete it, or restore it.")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise VaekitError(f"{path} is broken: its {what} are no images. Delete it, or restore it.")
    return images


@dataclass(eq=False)
class Snapshots(Callback):
    """Write frames of a training; the training itself is the same with and without.

    Args:
        folder: of the run, which is locked.
        x: the images, canonical, where the model is, `(N, *X)`.
        every: a frame after each so many epochs.
        seed: of the samples: the same noise each time.
        shown: from x to values in [0, 1].
        context: of x, `(N, ...)`, for a conditional model.
        context_of_samples: likewise.
        rows: training rows whose codes a Gaussian is fitted to, and others to judge it by, which
            `fit_prior` takes: samples are of that where it suits the codes better than p(z).
    """

    folder: RunFolder
    x: Tensor
    every: int
    seed: int
    shown: Callable[[Tensor], Tensor]
    context: Tensor | None = None
    context_of_samples: Tensor | None = None
    rows: tuple[Any, Any] | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self.path = self.folder.path / "snapshots"
        size = (len(self.x) + SAMPLES) * math.prod(self.x.shape[1:])
        self.most = max(LEAST, min(MOST, BYTES // size))

    def begin(self, model: Any, epoch: int | None) -> None:
        """Drop the frames after this epoch, which will come again; without one, begin anew."""
        write(
            self.path / "originals.npz",
            npz_bytes(originals=levels(in_color(self.shown(self.x))).numpy()),
        )
        sweep(self.path)
        for old in frame_epochs(self.path):
            if epoch is None or old > epoch:
                self._file(old).unlink()
        if epoch is None:
            self.epoch(model, 0)

    def epoch(self, model: Any, number: int) -> None:
        """Write the frame of every nth epoch."""
        if number % self.every == 0:
            self.finish(model, number)

    def finish(self, model: Any, number: int) -> None:
        """Write the frame of this epoch, and drop those that are too many by now."""
        images = {"reconstructions": self.shown(model.reconstruct(self.x, self.context))}
        if Offer.DRAWS in model.offers:
            images["samples"] = self.shown(self.samples(model))
        frame = npz_bytes(**{name: levels(in_color(part)).numpy() for name, part in images.items()})
        write(self._file(number), frame, self.folder.mend)
        latest = png_bytes(grid(self.shown(self.x), images["reconstructions"]), small=False)
        write(self.folder.path / "latest.png", latest, self.folder.mend)
        stride = self.every
        while number // stride >= self.most:
            stride *= 2
        for old in frame_epochs(self.path):
            if old % stride and old != number and old not in SPARSE:
                self._file(old).unlink()

    def samples(self, model: LatentModel) -> Tensor:
        """Return E[x|z] at draws z of the same noise, of the better prior."""
        fitted = None if self.rows is None else fit_prior(model, *self.rows, "mixture:components=1")
        under = self.context_of_samples
        with rng(self.seed, self.x.device):
            if fitted is None or not fitted.better:
                return model.sample(SAMPLES, under, mean=True)
            return fitted.in_place_of(model, scored=False).sample(SAMPLES, under, mean=True)

    def _file(self, epoch: int) -> Path:
        return self.path / f"{epoch:06d}.npz"


def snapshots_of(job: Job) -> Snapshots | None:
    """Return the film of test images, evenly spread; None for tables or by choice."""
    options, shape = job.config.training, job.spec.shape
    if not options.snapshots or len(shape) != 3:
        return None
    test = job.data.test
    index = spread(len(test), IMAGES)
    x = test.values(pick(test.images, index), generator(options.seed, "snapshots")).to(job.device)
    film = Snapshots(job.folder, x, options.snapshots, options.seed, job.spec.values.inverse)
    if test.context is not None:
        film.context = test.context[index].float().to(job.device)
        made = job.spec.contexts(SAMPLES)  # the classes in their order
        film.context_of_samples = None if made is None else made.to(job.device)
    if takes_mixture(job.recipe.model) and job.data.stream is None:
        few = rows_to_fit(job.data, *(min(rows, VALUES // math.prod(shape)) for rows in FEW))
        train, others = (list(fixed_batches(split, options.seed)) for split in few)
        film.rows = train, others
    return film

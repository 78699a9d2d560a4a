"""The film of a training: the same images and samples after each epoch.

RUN/snapshots/originals.npz   the held-out images, uint8 `(N, C, H, W)`
RUN/snapshots/000003.npz      after epoch 3: their reconstructions, and decoded samples
RUN/latest.png                the images with the newest reconstructions under them
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit._io import npz_bytes, sweep, write
from vaekit._torchutil import rng
from vaekit.data import generator, one_hot, pick, spread
from vaekit.distributions import Offer
from vaekit.errors import VaekitError, choose
from vaekit.models import LatentModel
from vaekit.report._curves import value
from vaekit.report._grids import captioned, grid, levels, png_bytes, read_array
from vaekit.runs import Job, RunFolder, fit_prior, fixed_batches, rows_to_fit, takes_fitted
from vaekit.training import Callback

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGES, SAMPLES = 8, 16
FEW = 400, 100  # rows that a frame's Gaussian is fitted to, and judged by
VALUES = 10**7  # of such rows, at most: they stay in memory
MOST, LEAST = 200, 20  # frames that stay; fewer where images are large
BYTES = 100_000_000
FRAME = re.compile(r"\d{6,}\.npz")


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
        write(self.path / "originals.npz", npz_bytes(originals=levels(self.shown(self.x)).numpy()))
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
        frame = npz_bytes(**{name: levels(part).numpy() for name, part in images.items()})
        write(self._file(number), frame, self.folder.mend)
        latest = png_bytes(grid(self.shown(self.x), images["reconstructions"]), small=False)
        write(self.folder.path / "latest.png", latest, self.folder.mend)
        stride = self.every
        while number // stride >= self.most:
            stride *= 2
        for old in frame_epochs(self.path):
            if old % stride and old != number:
                self._file(old).unlink()

    def samples(self, model: LatentModel) -> Tensor:
        """Return E[x|z] at draws z of the same noise, of the better prior."""
        fitted = None if self.rows is None else fit_prior(model, *self.rows, components=(1,))
        under = self.context_of_samples
        with rng(self.seed, self.x.device):
            if fitted is None or not fitted.better:
                return model.sample(SAMPLES, under, mean=True)
            return model.decode(fitted.density.sample((SAMPLES,)).to(self.x.device), under)

    def _file(self, epoch: int) -> Path:
        return self.path / f"{epoch:06d}.npz"


def snapshots_of(job: Job) -> Snapshots | None:
    """Return the film of test images, evenly spread; None for tables or by choice."""
    options, shape = job.config.training, job.spec.shape
    if not options.snapshots or len(shape) != 3 or shape[0] not in (1, 3):
        return None
    test = job.data.test
    index = spread(len(test), IMAGES)
    x = test.values(pick(test.images, index), generator(options.seed, "snapshots")).to(job.device)
    film = Snapshots(job.folder, x, options.snapshots, options.seed, job.spec.values.inverse)
    if test.context is not None:
        film.context = test.context[index].float().to(job.device)
        classes = torch.arange(SAMPLES) * job.spec.classes // SAMPLES  # in their order
        film.context_of_samples = one_hot(classes, job.spec.classes).float().to(job.device)
    if takes_fitted(job.recipe.model) and job.data.stream is None:
        few = rows_to_fit(job.data, *(min(rows, VALUES // math.prod(shape)) for rows in FEW))
        train, others = (list(fixed_batches(split, options.seed)) for split in few)
        film.rows = train, others
    return film


FORMATS = (".gif", ".webp")
HOLD = 1500  # milliseconds for which the first and the last frame stay
WIDTH = 480  # pixels
FOREVER: dict[str, Any] = {"save_all": True, "loop": 0}
FILM = {**FOREVER, "optimize": False, "disposal": 1}
LOSSLESS = {**FOREVER, "lossless": True, "quality": 60}
NEARLY = 244  # white: pillow's search for the nearest color is rough, and would tint the paper


def save_film(
    folder: RunFolder, path: Path, what: str = "reconstructions", *, fps: float = 8.0
) -> Path:
    """Write the film of a run's training, and return its path.

    It is repeated for ever, the first and the last frame for 1.5 seconds. A GIF has one palette
    for all frames, so that nothing flickers: all grays where all are gray; else the 256 colors that
    suit them best. WebP leaves every pixel as it is.

    Args:
        folder: of a run that was trained with snapshots.
        path: ends in .gif or .webp.
        what: "reconstructions", with the originals above them, or "samples".
        fps: frames per second, more than 0 and 50 at most.

    Raises:
        VaekitError: for a run without snapshots, or without those that are named, another ending or
            fps, a pillow that cannot write WebP, and where the file cannot be written.
    """
    from PIL import features

    if path.suffix not in FORMATS:
        raise VaekitError(f"got the file {path}; expected one that ends in .gif or .webp.")
    if not 0 < fps <= 50:
        raise VaekitError(f"got `fps={fps:g}`; expected more than 0, and 50 at most.")
    if path.suffix == ".webp" and not features.check("webp"):
        raise VaekitError("pillow was built without WebP here: take a file that ends in .gif.")
    frames, step = training_frames(folder, what), round(1000 / fps)
    times = [max(HOLD, step) if n in (0, len(frames) - 1) else step for n in range(len(frames))]
    frames, how = _one_palette(frames) if path.suffix == ".gif" else (frames, LOSSLESS)
    stream = io.BytesIO()
    frames[0].save(stream, path.suffix[1:], append_images=frames[1:], duration=times, **how)
    return write(path, stream.getvalue())


def training_frames(folder: RunFolder, what: str = "reconstructions") -> list[Image]:
    """Return the frames of a run's film, each under its epoch and bound; all of one size.

    Raises:
        VaekitError: where there are none, with what is missing.
    """
    choose("kind of film", what, dict.fromkeys(("reconstructions", "samples")))
    path = folder.path / "snapshots"
    files = [path / f"{epoch:06d}.npz" for epoch in frame_epochs(path)]
    if not files:
        why = "has no snapshots: train with `snapshots=1`, which keeps images of every epoch."
        if len(folder.read_json("config").get("spec", {}).get("shape", ())) != 3:
            why = "was trained on rows that are no images: there is no film."
        raise VaekitError(f"{folder.path} {why}")
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(files[-1]) as arrays:
        if f"{what}.npy" not in arrays.namelist() == ["reconstructions.npy"]:
            raise VaekitError(
                f"{folder.path} has no prior to draw from: take `what=reconstructions`."
            )
    above = torch.from_numpy(read_frame(path / "originals.npz", "originals")) / 255
    draw = partial(grid, columns=8) if what == "samples" else partial(grid, above)
    records = {record.get("epoch"): record for record in folder.records()}
    shape, frames = None, []
    for file in files:
        images, epoch = read_frame(file, what), int(file.stem)
        if images.shape != (shape or images.shape):
            raise VaekitError(f"{file} is broken: its images have another shape. Delete it.")
        shape = images.shape
        image = draw(torch.from_numpy(images) / 255, width=WIDTH)
        frames.append(captioned(image, *_caption(epoch, records.get(epoch))))
    return frames


def _caption(epoch: int, record: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return what stands above a frame: the epoch, and a bound (of held-out, test, training rows).

    Example:
        >>> _caption(3, {"train": {"objective": -9.5}, "validation": {"elbo": -103.24}})
        ('epoch 3', 'validation ELBO -103.2 nats')
        >>> _caption(0, None)
        ('epoch 0', 'untrained')
    """
    if record is None:
        return f"epoch {epoch}", "" if epoch else "untrained"
    split = next(name for name in ("validation", "test", "train") if record.get(name))
    for name, key in (("ELBO", "elbo"), ("objective", "objective")):
        if (number := record[split].get(key)) is not None:
            text = f"{split} {name} {value(number)} nats"
            return f"epoch {epoch}", text.replace("−", "-")  # the font has no minus sign
    return f"epoch {epoch}", ""


def _one_palette(frames: Sequence[Image]) -> tuple[list[Image], dict[str, Any]]:
    """Return the frames in numbers of colors, and how to save them with these colors.

    The colors are grays, or those of nine frames.
    """
    from PIL import Image

    if all(frame.mode == "L" for frame in frames):
        return [*frames], {**FILM, "palette": bytes(n for n in range(256) for _ in range(3))}
    count, (width, height) = min(9, len(frames)), frames[0].size
    strip = Image.new("RGB", (width, height * count))
    for row in range(count):
        strip.paste(frames[len(frames) * row // count].convert("RGB"), (0, row * height))
    best = strip.quantize(254, dither=Image.Dither.NONE).getpalette() or []
    others = [(r, g, b) for r, g, b in zip(*[iter(best)] * 3) if min(r, g, b) < NEARLY]  # noqa: B905
    numbers = bytes(chain(*dict.fromkeys([(255, 255, 255), (0, 0, 0), *others])))
    palette = Image.new("P", (1, 1))
    palette.putpalette(numbers)
    options: dict[str, Any] = {"palette": palette, "dither": Image.Dither.NONE}
    film = [frame.convert("RGB").quantize(**options) for frame in frames]
    return film, {**FILM, "palette": numbers}

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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data import generator, one_hot, pick, spread
from vaekit.distributions import Offer
from vaekit.errors import VaekitError, choose
from vaekit.io import npz_bytes, sweep, write
from vaekit.models import Model
from vaekit.report.curves import value
from vaekit.report.images import grid, levels, pairs, png_bytes, read_array
from vaekit.report.style import COLORS
from vaekit.runs import Job, RunFolder
from vaekit.torchutil import rng
from vaekit.training import Callback

if TYPE_CHECKING:
    from PIL.Image import Image


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
    images = read_array(path, what)
    if images is None:
        raise VaekitError(f"{path} is broken: it has no {what}. Delete it, or restore it.")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise VaekitError(f"{path} is broken: its {what} are no images. Delete it, or restore it.")
    return images


@dataclass(eq=False)
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

    folder: RunFolder
    x: Tensor
    every: int
    seed: int
    shown: Callable[[Tensor], Tensor]
    context: Tensor | None = None
    context_drawn: Tensor | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self.path = self.folder.path / "snapshots"
        size = (len(self.x) + DRAWS) * math.prod(self.x.shape[1:])
        self.most = max(LEAST, min(MOST, BYTES // size))

    def begin(self, model: Any, epoch: int | None) -> None:
        """Drops the frames after this epoch, which will be made again; without one, begins anew."""
        write(self.path / "originals.npz", npz_bytes(originals=levels(self.shown(self.x)).numpy()))
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
        images = {name: self.shown(part) for name, part in self.pictures(model).items()}
        frame = npz_bytes(**{name: levels(part).numpy() for name, part in images.items()})
        write(self._file(number), frame, self.folder.mend)
        sheet = pairs(self.shown(self.x), images["reconstructions"])
        picture = png_bytes(sheet, small=False)
        write(self.folder.path / "latest.png", picture, self.folder.mend)
        step = stride(number, self.every, self.most)
        for old in frame_epochs(self.path):
            if old % step and old != number:
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


def snapshots_of(job: Job) -> Snapshots | None:
    """Of test images, evenly spread, which are looked at alone; None for tables or by choice."""
    options, shape = job.config.training, job.spec.shape
    if not options.snapshots or len(shape) != 3 or shape[0] not in (1, 3):
        return None
    test = job.data.test
    index = spread(len(test), IMAGES)
    x = test.values(pick(test.images, index), generator(options.seed, "snapshots")).to(job.device)
    film = Snapshots(job.folder, x, options.snapshots, options.seed, job.spec.values.inverse)
    if test.context is not None:
        film.context = test.context[index].float().to(job.device)
        drawn = torch.arange(DRAWS) * job.spec.classes // DRAWS  # the classes in their order
        film.context_drawn = one_hot(drawn, job.spec.classes).float().to(job.device)
    return film


FORMATS = (".gif", ".webp")
HOLD = 1500  # milliseconds for which the first and the last frame stay
WIDTH, LETTER, EDGE = 480, 15, 8  # pixels
NEARLY = 244  # white: pillow's search for the nearest color is rough, and would tint the paper


def training_frames(folder: RunFolder, what: str = "reconstructions") -> list[Image]:
    """The frames of a run's film, each with its epoch and bound; all of one size.

    Args:
        folder: of a run that was trained with snapshots.
        what: "reconstructions", with the originals above them, or "samples".

    Raises:
        VaekitError: for a run without snapshots, or without those asked for.
    """
    choose("kind of film", what, dict.fromkeys(("reconstructions", "samples")))
    path = folder.path / "snapshots"
    epochs = _epochs(folder, what)
    above = torch.from_numpy(read_frame(path / "originals.npz", "originals")) / 255
    draw = partial(grid, columns=8) if what == "samples" else partial(pairs, above)
    records = {record.get("epoch"): record for record in folder.records()}
    shape, made = None, []
    for epoch in epochs:
        file = path / f"{epoch:06d}.npz"
        images = read_frame(file, what)
        if images.shape != (shape or images.shape):
            raise VaekitError(f"{file} is broken: its images have another shape. Delete it.")
        shape = images.shape
        sheet = draw(torch.from_numpy(images) / 255, width=WIDTH)
        made.append(captioned(sheet, caption(epoch, records.get(epoch))))
    return made


def _epochs(folder: RunFolder, what: str) -> list[int]:
    """Those of which there are frames; a refusal that says why there are none."""
    shape = folder.read_json("config").get("spec", {}).get("shape", ())
    epochs = frame_epochs(folder.path / "snapshots")
    if not epochs and len(shape) != 3:
        raise VaekitError(
            f"{folder.path} was trained on rows that are no images: there is no film."
        )
    if not epochs:
        raise VaekitError(
            f"{folder.path} has no snapshots: train with --snapshots 1, which keeps pictures of "
            "every epoch."
        )
    newest = folder.path / "snapshots" / f"{epochs[-1]:06d}.npz"
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(newest) as arrays:
        if what == "samples" and arrays.namelist() == ["reconstructions.npy"]:
            raise VaekitError(
                f"{folder.path} has no prior to draw from: take --what reconstructions."
            )
    return epochs


def caption(epoch: int, record: Mapping[str, Any] | None) -> tuple[str, str]:
    """What stands above a frame, left and right: the epoch, and the bound of held-out rows.

    Example:
        >>> caption(3, {"train": {"objective": -9.5}, "validation": {"elbo": -103.24}})
        ('epoch 3', 'validation ELBO -103.2 nats')
        >>> caption(0, None)
        ('epoch 0', 'untrained')
    """
    if record is None:
        return f"epoch {epoch}", "" if epoch else "untrained"
    split = "validation" if record.get("validation") else "train"
    means = record[split]
    name, number = "ELBO", means.get("elbo")
    if number is None:
        name, number = "objective", means.get("objective")
    shown = "" if number is None else f"{split} {name} {value(number)} nats"
    return f"epoch {epoch}", shown.replace("−", "-")  # the font has no minus sign


def captioned(sheet: Image, words: tuple[str, str]) -> Image:
    """The sheet on white paper under a line of words, left and right; gray where the sheet is.

    Example:
        >>> captioned(grid(torch.rand(4, 1, 8, 8)), ("epoch 1", "")).mode
        'L'
    """
    from PIL import Image, ImageDraw, ImageFont

    top = LETTER + 2 * EDGE
    paper = Image.new("RGB", (sheet.width + 2 * EDGE, sheet.height + top + EDGE), "white")
    paper.paste(sheet, (EDGE, top), sheet)
    drawing, font = ImageDraw.Draw(paper), ImageFont.load_default(LETTER)
    middle = top // 2
    drawing.text((EDGE, middle), words[0], COLORS["ink"], font, anchor="lm")
    drawing.text((paper.width - EDGE, middle), words[1], COLORS["soft"], font, anchor="rm")
    red, green, blue, _ = sheet.split()
    gray = red.tobytes() == green.tobytes() == blue.tobytes()
    return paper.convert("L") if gray else paper


def animation(frames: Sequence[Image], *, suffix: str = ".gif", fps: float = 8.0) -> bytes:
    """A film that is repeated for ever, the first and the last frame held for 1.5 seconds.

    A GIF has one palette for all frames, so that nothing flickers: all grays where all are gray;
    else the 256 colors that suit them best. WebP keeps every pixel as it is.

    Args:
        frames: of one size, at least one.
        suffix: ".gif" or ".webp".
        fps: frames per second, more than 0 and 50 at most.

    Raises:
        VaekitError: for another suffix or fps, or a pillow that cannot write WebP.

    Example:
        >>> frames = [captioned(grid(torch.rand(4, 1, 8, 8)), (str(n), "")) for n in range(3)]
        >>> animation(frames)[:6]
        b'GIF89a'
    """
    from PIL import features

    if suffix not in FORMATS:
        raise VaekitError(f"got the suffix '{suffix}'; expected .gif or .webp.")
    if not 0 < fps <= 50:
        raise VaekitError(f"got --fps {fps:g}; expected more than 0, and 50 at most.")
    if suffix == ".webp" and not features.check("webp"):
        raise VaekitError("pillow was built without WebP here: take a file that ends in .gif.")
    step = round(1000 / fps)
    times = [max(HOLD, step) if n in (0, len(frames) - 1) else step for n in range(len(frames))]
    options: dict[str, Any] = {"lossless": True, "quality": 60}
    if suffix == ".gif":
        frames, palette = _one_palette(frames)
        options = {"optimize": False, "disposal": 1, "palette": palette}
    first, *rest = frames
    stream = io.BytesIO()
    first.save(
        stream, suffix[1:], save_all=True, append_images=rest, duration=times, loop=0, **options
    )
    return stream.getvalue()


def _one_palette(frames: Sequence[Image]) -> tuple[list[Image], bytes]:
    """The frames in numbers of colors, and the colors: 256 grays, or those of nine frames."""
    from PIL import Image

    if all(frame.mode == "L" for frame in frames):
        return list(frames), bytes(level for level in range(256) for _ in range(3))
    width, height = frames[0].size
    seen = [frames[len(frames) * n // min(9, len(frames))] for n in range(min(9, len(frames)))]
    strip = Image.new("RGB", (width, height * len(seen)))
    for place, frame in enumerate(seen):
        strip.paste(frame.convert("RGB"), (0, place * height))
    best = strip.quantize(254, dither=Image.Dither.NONE).getpalette() or []
    found = [tuple(best[at : at + 3]) for at in range(0, len(best), 3)]
    others = [color for color in found if min(color) < NEARLY]
    colors = dict.fromkeys([(255, 255, 255), (0, 0, 0), *others])
    numbers = bytes(level for color in colors for level in color)
    palette = Image.new("P", (1, 1))
    palette.putpalette(numbers)
    options: dict[str, Any] = {"palette": palette, "dither": Image.Dither.NONE}
    return [frame.convert("RGB").quantize(**options) for frame in frames], numbers


def film_suffix(path: Path) -> str:
    """The suffix of a file that a film can go to.

    Raises:
        VaekitError: for another than .gif or .webp.
    """
    if path.suffix not in FORMATS:
        raise VaekitError(f"got the file {path}; expected one that ends in .gif or .webp.")
    return path.suffix

"""The film of a training: the images of its snapshots, epoch by epoch."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vaekit._io import write
from vaekit.errors import VaekitError, choose
from vaekit.report._curves import value
from vaekit.report._grids import grid
from vaekit.report._sheets import captioned, pairs
from vaekit.report._snapshots import SPARSE, frame_epochs, read_frame
from vaekit.runs import RunFolder

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = (".gif", ".webp")
HOLD = 1500  # milliseconds for which the first and the last frame stay
WIDTH = 620  # pixels at most, where images are small
FOREVER: dict[str, Any] = {"save_all": True, "loop": 0}
FILM = {**FOREVER, "optimize": False, "disposal": 1}
LOSSLESS = {**FOREVER, "lossless": True, "quality": 60}
NEARLY = 244  # white: pillow's search for the nearest color is rough, and would tint the paper


def save_film(
    folder: RunFolder,
    path: Path,
    what: str = "reconstructions",
    *,
    fps: float = 8.0,
    epochs: str | None = None,
) -> Path:
    """Write the film of a run's training, and return its path.

    It is repeated for ever, the first and the last frame for 1.5 seconds. A GIF has one palette
    for all frames, so that nothing flickers: all grays where all are gray; else the 256 colors that
    suit them best. WebP leaves every pixel as it is.

    Args:
        folder: of a run that was trained with snapshots.
        path: ends in .gif or .webp.
        what: "reconstructions", with the originals above them, or "samples".
        fps: frames per second, from 0.01 to 50.
        epochs: those that are shown, as `film_epochs` takes them; by default all that were kept.

    Raises:
        VaekitError: for a run without snapshots, or without those that are named, another ending or
            fps, a pillow that cannot write WebP, and where the file cannot be written.
    """
    from PIL import features

    if path.suffix not in FORMATS:
        raise VaekitError(f"got the file {path}; expected one that ends in .gif or .webp.")
    if not 0.01 <= fps <= 50:  # a GIF holds no image for more than 655 seconds
        raise VaekitError(f"got `fps={fps:g}`; expected more than 0, from 0.01 to 50 at most.")
    if path.suffix == ".webp" and not features.check("webp"):
        raise VaekitError("pillow was built without WebP here: take a file that ends in .gif.")
    frames, step = training_frames(folder, what, epochs), round(1000 / fps)
    times = [max(HOLD, step) if n in (0, len(frames) - 1) else step for n in range(len(frames))]
    frames, how = _one_palette(frames) if path.suffix == ".gif" else (frames, LOSSLESS)
    stream = io.BytesIO()
    frames[0].save(stream, path.suffix[1:], append_images=frames[1:], duration=times, **how)
    return write(path, stream.getvalue())


def training_frames(
    folder: RunFolder, what: str = "reconstructions", epochs: str | None = None
) -> list[Image]:
    """Return the frames of a run's film, each under its epoch and bound; all of one size.

    Raises:
        VaekitError: where there are none, with what is missing.
    """
    choose("kind of film", what, dict.fromkeys(("reconstructions", "samples")))
    path, config = folder.path / "snapshots", folder.read_json("config")
    kept = frame_epochs(path)
    if not kept:
        why = "has no snapshots: train with `snapshots=1`, which keeps images of every epoch."
        if len(config.get("spec", {}).get("shape", ())) != 3:
            why = "was trained on rows that are no images: there is no film."
        raise VaekitError(f"{folder.path} {why}")
    files = [path / f"{epoch:06d}.npz" for epoch in film_epochs(kept, epochs)]
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(files[-1]) as arrays:
        if f"{what}.npy" not in arrays.namelist() == ["reconstructions.npy"]:
            raise VaekitError(
                f"{folder.path} has no prior to draw from: take `what=reconstructions`."
            )
    above = torch.from_numpy(read_frame(path / "originals.npz", "originals")) / 255
    names = ("true", "E[x|g]") if config.get("recipe") == "colorizer" else ("x", "E[x|z]")
    records = {record.get("epoch"): record for record in folder.records()}
    shape, frames = None, []
    for file in files:
        images, epoch = read_frame(file, what), int(file.stem)
        if images.shape != (shape or images.shape):
            raise VaekitError(f"{file} is broken: its images have another shape. Delete it.")
        shape = images.shape
        made = torch.from_numpy(images) / 255
        both = dict(zip(names, (above, made), strict=True))
        image = (
            grid(made, columns=8, width=WIDTH) if what == "samples" else pairs(both, width=WIDTH)
        )
        words = _caption(epoch, records.get(epoch))
        frames.append(captioned(image, *words, gray=images.shape[1] == 1))
    return frames


def film_epochs(kept: Sequence[int], wanted: str | None = None) -> list[int]:
    """Return the epochs of a film, in their order.

    Args:
        kept: epochs of which there are snapshots, in order.
        wanted: "log": those nearest to 0, 1, 2, 3, 5, 8, 13, 21, ..., and the last; or their
            numbers, as "0,1,2,5,100"; by default all.

    Raises:
        VaekitError: for other words, and an epoch of which there is no snapshot.

    Example:
        >>> film_epochs(range(101), "log")
        [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 100]
        >>> film_epochs(range(0, 101, 10), "0,100,10")
        [0, 10, 100]
    """
    if wanted is None:
        return list(kept)
    if wanted == "log":
        near = (min(kept, key=lambda epoch: abs(epoch - goal)) for goal in SPARSE)
        return sorted({*near, kept[-1]})
    if not re.fullmatch(r"\d+(,\d+)*", wanted):
        raise VaekitError(f'got `epochs={wanted}`; expected "log", or numbers as 0,1,2,5,10.')
    chosen = sorted({int(number) for number in wanted.split(",")})
    for epoch in chosen:
        if epoch not in kept:
            raise VaekitError(
                f"got `epochs={wanted}`; there is no snapshot of epoch {epoch}, but of "
                f"{', '.join(map(str, kept[:4]))}, ... {kept[-1]}."
            )
    return chosen


def _caption(epoch: int, record: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return what stands above a frame: the epoch, and a bound (of held-out, test, training rows).

    Example:
        >>> _caption(3, {"train": {"objective": -9.5}, "validation": {"elbo": -103.24}})
        ('epoch 3', 'validation ELBO −103.2 nats')
        >>> _caption(0, None)
        ('epoch 0', 'untrained')
    """
    if record is None:
        return f"epoch {epoch}", "" if epoch else "untrained"
    split = next(name for name in ("validation", "test", "train") if record.get(name))
    for name, key in (("ELBO", "elbo"), ("objective", "objective")):
        if (number := record[split].get(key)) is not None:
            return f"epoch {epoch}", f"{split} {name} {value(number)} nats"
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

"""A training as a film: the same images after each epoch, as an animated GIF or WebP."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vaekit.errors import VaekitError, choose
from vaekit.report.images import grid, pairs
from vaekit.report.snapshots import frame_epochs, read_frame
from vaekit.report.style import COLOURS
from vaekit.report.svg import value
from vaekit.runs import RunFolder

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


FORMATS = (".gif", ".webp")
WHATS = ("reconstructions", "samples")
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
    choose("kind of film", what, {name: name for name in WHATS})
    path = folder.path / "snapshots"
    epochs = _epochs(folder, what)
    originals = read_frame(path / "originals.npz", "originals")
    records = {record.get("epoch"): record for record in folder.records()}
    shape, made = None, []
    for epoch in epochs:
        file = path / f"{epoch:06d}.npz"
        images = read_frame(file, what)
        if images.shape != (shape or images.shape):
            raise VaekitError(f"{file} is broken: its images have another shape. Delete it.")
        shape = images.shape
        above = originals if what == "reconstructions" else None
        made.append(captioned(_sheet(images, above), caption(epoch, records.get(epoch))))
    return made


def _epochs(folder: RunFolder, what: str) -> list[int]:
    """Those of which there are frames; a refusal that says why there are none."""
    shape = folder.read_json("run")["data"]["spec"].get("shape", ())
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
    if what == "samples" and _names(newest) == {"reconstructions.npy"}:
        raise VaekitError(f"{folder.path} has no prior to draw from: take --what reconstructions.")
    return epochs


def _names(path: Path) -> set[str]:
    """The arrays of a file; none where it is broken, which `read_frame` refuses."""
    try:
        with zipfile.ZipFile(path) as arrays:
            return set(arrays.namelist())
    except (OSError, zipfile.BadZipFile):
        return set()


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


def _sheet(images: np.ndarray, originals: np.ndarray | None) -> Image:
    shown = torch.from_numpy(images) / 255
    if originals is None:
        return grid(shown, columns=8, width=WIDTH)
    return pairs(torch.from_numpy(originals) / 255, shown, width=WIDTH)


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
    drawing.text((EDGE, middle), words[0], COLOURS["ink"], font, anchor="lm")
    drawing.text((paper.width - EDGE, middle), words[1], COLOURS["soft"], font, anchor="rm")
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

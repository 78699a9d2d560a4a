"""Images to pixels: upright, opaque, gray or in color, cropped and scaled; one, or a whole set."""

from __future__ import annotations

import logging
import math
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit._torchutil import in_blocks
from vaekit.data._dataset import Dataset
from vaekit.data._rows import check_memory, chunks
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from PIL.Image import Image

    from vaekit._train_options import Data
    from vaekit.data._image_files import ImageFiles, Member

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
PAGED = ("TIFF", "GIF", "PNG", "WEBP", "AVIF")
GRAY = ("1", "L", "LA", "La")
DEEP = {"I": np.int32, "F": np.float32}  # of more than 8 bits; "I;16" and the like are integers
MODES = (*GRAY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
BLOCK = 256  # images
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's
USUAL = 64  # pixels: the largest side that is chosen unasked
READING = ("size", "crop", "gray")  # what changes images that are arrays


def _framed(image: Image, how: Data) -> Image:
    """Return the central pixels; then all scaled to the size that is asked for.

    Scaling is Lanczos', with its support widened when it makes smaller (no aliasing).
    """
    from PIL import Image, ImageOps

    if how.crop is not None:
        left, top = (image.width - how.crop) // 2, (image.height - how.crop) // 2
        image = image.crop((left, top, left + how.crop, top + how.crop))
    if how.box is None:
        return image
    lanczos = Image.Resampling.LANCZOS
    if how.fit == "stretch":
        return image.resize(how.box, lanczos)
    if how.fit == "pad":
        return ImageOps.pad(image, how.box, lanczos, color=_around(image, how.background))
    return ImageOps.fit(image, how.box, lanczos)


def _around(image: Image, name: str) -> Any:
    """Return a color as a value of this image: of more than 8 bits, white is its largest value."""
    color = _color(name)
    if image.mode == "RGB":
        return color
    share = float(np.dot(LUMA, color)) / 255
    if image.mode != "F":
        return round(255 * share)
    low, high = _ends(image)[0]
    return low + (high - low) * share


def _color(name: str) -> tuple[int, int, int]:
    from PIL.ImageColor import getrgb

    return getrgb(name)[:3]


def _flat(image: Image, channels: int, background: str) -> Image:
    """Return it gray (1 channel; ITU-R 601-2 luma) or RGB, what is transparent over that color."""
    from PIL.Image import new

    if _transparent(image):
        image = image.convert("RGBA")
        behind = new("RGB", image.size, _color(background))
        behind.paste(image, mask=image.getchannel("A"))
        image = behind
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


# What Pillow logs of a damaged file would be lines beside the one that refuses it.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# one file ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Opened:
    """An image file that was opened.

    Attributes:
        name: of the file.
        size: its width and height, upright.
        pixels: uint8 `(C, H, W)`: one channel if it is gray or is to become so, else three; int32
            or float32 where they have more than 8 bits.
        corrupt: why it cannot be read; empty where it can.
        pages: of a stack or an animation, of which the first is read.
        blank: whether it became one flat color because of what lies behind transparent pixels.
        cut: whether it has more than 8 bits, of which 8 are read.
    """

    name: str
    size: tuple[int, int] = (0, 0)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros((1, 0, 0), np.uint8))
    corrupt: str = ""
    pages: int = 1
    blank: bool = False
    cut: bool = False


class SeveralSizesError(VaekitError):
    """Images differ in size, and no size is asked for."""


@cache
def formats() -> tuple[str, ...]:
    """Return what Pillow calls the formats that are read; HEIF where pillow-heif is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return FORMATS
    register_heif_opener()
    return (*FORMATS, "HEIF")


def pixel_limit() -> float:
    """Return the most pixels of an image: Pillow's own limit, against decompression bombs."""
    from PIL import Image

    return Image.MAX_IMAGE_PIXELS or float("inf")


def open_image(files: ImageFiles, member: Member, how: Data, first: Opened | None = None) -> Opened:
    """Open a file and decode it.

    Args:
        files: where it lies.
        member: which one.
        how: how it is cropped, scaled and made gray.
        first: an image whose size it must have where it is neither cropped nor scaled.

    Raises:
        SeveralSizesError: for an image of another size than `first`.
        VaekitError: for an image with too many pixels, of which nothing is decoded, one that is
            smaller than the crop, and one of another depth than `first`.
    """
    from PIL import Image, UnidentifiedImageError

    name = member.name
    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with files.open(member) as stream, Image.open(stream, formats=formats()) as image:
            pages = _pages(image)
            if member.page:
                image.seek(member.page)
            # Of colors of 16 bits Pillow gives 8.
            cut = re.search(";16[BLN]?", " ".join(str(t[3]) for t in getattr(image, "tile", [])))
            upright = _upright(image)
            _check_size(files.path, name, upright.size, how, first)
            pixels, blank = _read(upright, how)
            if first is not None and first.pixels.dtype != pixels.dtype:
                raise VaekitError(
                    f"{files.path} has images of several depths: '{first.name}' has values of "
                    f"{first.pixels.dtype}, '{name}' {pixels.dtype}. Bring them to one."
                )
            eight = bool(cut) and pixels.dtype == np.uint8
            return Opened(name, upright.size, pixels, pages=pages, blank=blank, cut=eight)
    except VaekitError:
        raise
    except bombs as error:
        counted = re.search("[0-9]+", str(error))  # Pillow tells how many
        raise VaekitError(
            f"{files.path}: '{name}' has {counted[0] if counted else 'more'} pixels; at most "
            f"{pixel_limit():.0f} are read, against decompression bombs. Make it smaller, or "
            "remove it."
        ) from None
    except UnidentifiedImageError:
        return Opened(name, corrupt="no image, or a damaged one")
    except Exception as error:  # Pillow's readers raise whatever damaged bytes make of them
        return Opened(name, corrupt=" ".join(str(error).split()) or type(error).__name__)


def _read(image: Image, how: Data) -> tuple[np.ndarray, bool]:
    """Return the pixels of an upright image, and whether it lost all it showed."""
    if image.mode[:2] in DEEP or image.mode[:2] == "I;":
        wide = DEEP.get(image.mode, np.int32)
        scaled = _framed(image.convert("F") if how.box else image, how)
        pixels = np.asarray(scaled)
        pixels = pixels.round() if wide is np.int32 and how.box else pixels
        return np.ascontiguousarray(pixels[None].astype(wide)), False
    if image.mode not in MODES:
        raise VaekitError(
            f"an image of Pillow's mode {image.mode} is not read: make it gray or RGB."
        )
    flat = _flat(image, 1 if how.gray or _is_gray(image) else 3, how.background)
    return _planes(_framed(flat, how)), _blank(image, flat)


def pages_of(files: ImageFiles, member: Member) -> int:
    """Return how many images a file holds; 1 of a damaged one, which is told later."""
    from PIL import Image

    with (
        suppress(Exception),
        files.open(member) as stream,
        Image.open(stream, formats=formats()) as image,
    ):
        return _pages(image)
    return 1


def _pages(image: Image) -> int:
    """Return how many images a file holds, of those formats in which all are meant to be seen."""
    try:
        return int(getattr(image, "n_frames", 1)) if image.format in PAGED else 1
    except Exception:  # of a file that is damaged behind its first image, which is read
        image.seek(0)
        return 1


def _blank(image: Image, flat: Image) -> bool:
    """Return whether an image lost all it showed when it was laid over the background."""
    if not _transparent(image) or any(low < high for low, high in _ends(flat)):
        return False
    return _ends(image.convert("RGBA"))[3][0] < 255


def _ends(image: Image) -> list[tuple[int, int]]:
    """Return the least and the largest value of each channel."""
    return [channel.getextrema() for channel in image.split()]  # type: ignore[misc]


def _transparent(image: Image) -> bool:
    return "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa")


def _is_gray(image: Image) -> bool:
    palette = image.palette
    if image.mode not in ("P", "PA") or palette is None:
        return image.mode in GRAY
    step, colors = len(palette.rawmode or palette.mode), bytes(palette.palette)
    return step >= 3 and colors[0::step] == colors[1::step] == colors[2::step]


def _upright(image: Image) -> Image:
    """Return it turned as its EXIF record says, which may lie behind the pixels."""
    from PIL.ExifTags import Base
    from PIL.ImageOps import exif_transpose

    image.load()
    try:
        turn = int(image.getexif().get(Base.Orientation, 1))
    except Exception:  # Pillow's parser raises whatever a damaged record makes of it
        turn = 1
    if turn == 1:
        return image
    for record in ("exif", "Raw profile type exif"):
        image.info.pop(record, None)  # which Pillow would write anew, but for a damaged one
    return exif_transpose(image)


def _planes(image: Image) -> np.ndarray:
    """Return the pixels of a gray or RGB image, uint8 `(C, H, W)`."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _check_size(
    path: Path, name: str, size: tuple[int, int], how: Data, first: Opened | None
) -> None:
    seen = f"{size[0]} x {size[1]}"
    if how.crop is not None and min(size) < how.crop:
        raise VaekitError(
            f"`crop={how.crop}` is more than '{name}' in {path} has ({seen}); take less."
        )
    if how.crop is None and how.size is None and first is not None and size != first.size:
        raise SeveralSizesError(
            f"{path} has images of several sizes: '{first.name}' is {first.size[0]} x "
            f"{first.size[1]}, '{name}' {seen}. Bring them to one size, as with `size=64`."
        )


def usual_size(files: ImageFiles) -> int:
    """Return the size that images of several sizes are brought to unasked.

    It is 64, or the largest power of two that is at most the median of the shorter sides.
    """
    from PIL import Image

    sides = []
    for member in files.members:
        with (
            suppress(Exception),  # damaged ones are told later
            files.open(member) as stream,
            Image.open(stream, formats=formats()) as image,
        ):
            sides.append(min(image.size))
    return min(USUAL, 1 << (int(np.median(sides)).bit_length() - 1))


def pixels_of(image: Path | Image, how: Data) -> np.ndarray:
    """Return the pixels of an image of Pillow, or of a file, as a model takes it: `(C, H, W)`.

    Raises:
        VaekitError: for a file that cannot be read.
    """
    from PIL import Image

    if isinstance(image, Path):
        try:
            with Image.open(image, formats=formats()) as opened:
                return pixels_of(opened.copy(), how)
        except FileNotFoundError:
            raise VaekitError(f"there is no file {image}.") from None
        except (OSError, ValueError) as error:
            raise VaekitError(f"{image} is no image that can be read: {error}.") from None
    takes = getattr(how, "takes").shape  # noqa: B009
    image = _upright(image)
    if len(takes) == 3 and takes[0] == 3 and _is_gray(image):
        image = image.convert("RGBA" if _transparent(image) else "RGB")
    return _read(image, how)[0]


# a whole set ------------------------------------------------------------------------------------


def shaped(data: Dataset, how: Data) -> Dataset:
    """Return all splits cropped, scaled and gray; the set itself where none of it is asked for.

    Binary images that are scaled or made gray become "gray" or "color"; floats stay in [0, 1].

    Raises:
        VaekitError: for data that are no images, and a crop larger than the images.

    Example:
        >>> from vaekit.data import load
        >>> from vaekit._train_options import Data
        >>> small = shaped(load("shapes"), Data(size=16))
        >>> small.train, small.kind
        (Split(3456 rows, (1, 16, 16), torch.uint8), 'gray')
    """
    named = [name for name in READING if getattr(how, name)]
    if not named:
        return data
    shape = tuple(data.train.images.shape[1:])
    if data.kind not in ("binary", "gray", "color") or len(shape) != 3:
        raise VaekitError(
            f"`{named[0]}` is for images; {data.name} holds rows of shape {shape} ({data.kind}): "
            "leave it."
        )
    channels, height, width = shape
    if how.crop is not None and how.crop > min(width, height):
        raise VaekitError(
            f"`crop={how.crop}` is more than the images of {data.name} have "
            f"({width} x {height}); take less."
        )
    if how.gray and channels not in (1, 3):
        raise VaekitError(f"`gray` is for colors; {data.name} has {channels} channels: leave it.")
    if how.box is not None:
        rows, first = sum(map(len, data.splits.values())), data.train.images
        wanted = 2 * rows * channels * math.prod(how.box) * (1 if first.dtype == torch.uint8 else 4)
        check_memory(f"{rows:,} images at `size={how.size}`", wanted, "Lower `size`, or `limit`.")
    ends = (0.0, 1.0) if data.own is None else (-math.inf, math.inf)
    splits = {
        name: replace(
            split, images=torch.cat([_shaped(p, how, ends) for p in chunks(split.images)])
        )
        for name, split in data.splits.items()
    }
    before = (how.crop, how.crop) if how.crop else (width, height)
    same_size = how.box is None or before == how.box
    colored = channels > 1 and not how.gray
    stays = data.kind == "binary" and same_size and colored == (channels > 1)
    kind = "binary" if stays else "color" if colored else "gray"
    return replace(data, kind=kind, **splits)  # type: ignore[arg-type]


def _shaped(images: Tensor, how: Data, ends: tuple[float, float]) -> Tensor:
    from PIL import Image

    array = images.numpy()
    if how.gray and array.shape[1] > 1 and array.dtype == np.float32:
        array = np.tensordot(array, np.array(LUMA, np.float32), (1, 0))[:, None]

    def one(image: np.ndarray) -> np.ndarray:
        if image.dtype == np.uint8 and len(image) == 3:  # together is twice as fast as one by one
            color = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
            return _planes(_framed(_flat(color, 1 if how.gray else 3, how.background), how))
        planes = np.stack([np.asarray(_framed(Image.fromarray(plane), how)) for plane in image])
        return planes if planes.dtype == np.uint8 else planes.clip(*ends)

    blocks = in_blocks(lambda rows: np.stack([one(array[r]) for r in rows]), len(array), BLOCK)
    return torch.from_numpy(np.concatenate(list(blocks)))

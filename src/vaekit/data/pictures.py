"""One picture: upright, opaque, grey or in color, cropped and scaled."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


ORIENTATION = 0x0112  # the EXIF tag


def orientation(image: Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow's parser raises whatever a damaged record makes of it
        return 1


def upright(image: Image) -> Image:
    """As it was seen by the camera."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def flat(image: Image, channels: int) -> Image:
    """Grey (1 channel; ITU-R 601-2 luma) or RGB (3), what is transparent over white."""
    from PIL.Image import new

    mode = "L" if channels == 1 else "RGB"
    if "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        white = new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        image = white
    return image if image.mode == mode else image.convert(mode)


def side(width: int, height: int, crop: int | None, size: int | None) -> tuple[int, int]:
    """Width and height of what `squared` makes."""
    if size is None and crop is None:
        return width, height
    return (size or crop or 0,) * 2


def squared(image: Image, crop: int | None, size: int | None) -> Image:
    """The central `crop` x `crop` pixels; then the shorter side scaled to `size`, the center kept.

    Scaling is Lanczos', with its support widened when it makes smaller (no aliasing).
    """
    from PIL.Image import Resampling

    if crop is not None:
        left, top = (image.width - crop) // 2, (image.height - crop) // 2
        image = image.crop((left, top, left + crop, top + crop))
    if size is None or image.size == (size, size):
        return image
    short = min(image.size)
    x, y = (image.width - short) / 2, (image.height - short) / 2
    return image.resize((size, size), Resampling.LANCZOS, (x, y, x + short, y + short))

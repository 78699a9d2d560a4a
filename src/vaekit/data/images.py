"""Your own data from image files, in a folder or a .zip."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from vaekit.data.dataset import Dataset
from vaekit.data.decode import read_pixels
from vaekit.data.layout import layout
from vaekit.data.listing import listing
from vaekit.data.own import check_rows, own, refuse
from vaekit.options import Data


def load_images(path: str | Path, asked: Data | None = None) -> Dataset:
    """The images in a folder and its subfolders, or in a .zip, which is read without unpacking it.

    Files that end in png, jpg, jpeg, bmp, gif, webp, tif, tiff, ppm or pgm are read, hidden ones
    not, in natural order (9 before 10). They are turned as their EXIF record says, and laid over
    white where they are transparent; of an animation the first picture counts. If all are grey, or
    `asked.grey`, they have one channel, else three; "binary" if every value is 0 or 255.

    `asked.crop` keeps the central pixels; `asked.size` then scales the shorter side and keeps the
    center. Folders give splits and classes, and `asked.group` the groups: see `layout`. Where the
    pixels would take half of the free memory, or with `asked.cache`, they are decoded once into a
    file of the user's cache, and rows are read from there.

    Raises:
        VaekitError: for a path that cannot be read, no or fewer than 10 images, damaged files (how
            many, and the first), sizes that differ without `asked.size`, more than 8 bits per
            value, more pixels than Pillow's limit, and a full disk.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i in range(20):
        ...         Image.fromarray(np.full((8, 8), i, np.uint8)).save(f"{folder}/{i}.png")
        ...     mine = load_images(folder)
        >>> mine.kind, mine.train, mine.test.images[:, 0, 0, 0]
        ('grey', Split(18 rows, (1, 8, 8), torch.uint8), tensor([18,  1], dtype=torch.uint8))
    """
    path, asked = Path(path), Data() if asked is None else asked
    refuse(path, asked, label="folders name the classes of images")
    with closing(listing(path)) as files:
        check_rows(path, len(files.members), "images")
        found = layout(path, [member.name for member in files.members], asked.group)
        images, kind = read_pixels(files, asked)
    return own(path, kind, found.rows(images), asked, class_names=found.class_names)

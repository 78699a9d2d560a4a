"""scikit-learn's embedded handwritten digits: 1,797 grey images of 8 x 8, no download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vaekit.data.dataset import Dataset, Split
from vaekit.data.splits import hold_out

TEST_ROWS = 300
NOTE = (
    "Optical recognition of handwritten digits, E. Alpaydin and C. Kaynak 1998 (UCI), CC BY 4.0; "
    "the copy inside scikit-learn"
)


def load_digits(folders: Sequence[Path] = ()) -> Dataset:
    """1,497 training and 300 test images `(1, 8, 8)`, 10 classes, a fixed split.

    The levels 0..16 are stored as round(255 v / 16). Nothing is read from `folders`.

    Example:
        >>> load_digits().train
        Split(1497 rows, (1, 8, 8), torch.uint8)
    """
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = np.rint(bunch.images * 255 / 16).astype(np.uint8)[:, None]
    rows = Split(torch.from_numpy(images), torch.from_numpy(bunch.target.astype(np.int64)))
    train, test = hold_out(rows, TEST_ROWS)
    names = tuple("0123456789")
    return Dataset("digits", "grey", train, test, 10, "embedded", NOTE, class_names=names)

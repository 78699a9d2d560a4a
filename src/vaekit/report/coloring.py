"""Grey pictures in the colours of a colouriser's run."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaekit.data import spread
from vaekit.errors import VaekitError
from vaekit.runs.judge import colorizer_of

if TYPE_CHECKING:
    from vaekit.runs.run import Run


BATCH = 500


def colorize(run: Run, grey: Tensor) -> Tensor:
    """Grey pictures `(N, 1, H, W)` in the colours E[x|g] of a colouriser's run, `(N, 3, H, W)`.

    Both in [0, 1], whatever range the model sees: what lies outside is cut off.

    Args:
        run: of the recipe `colorizer`.
        grey: as a VAE of grey pictures makes them: `vae_run.sample(16)`, or any edit of its codes,
            decoded.

    Raises:
        VaekitError: for a run that is no colouriser, and pictures that are not grey, of another
            size, or not finite.
    """
    model, (_, height, width) = colorizer_of(run), run.spec.shape
    if grey.dim() != 4 or grey.shape[1] != 1:
        raise VaekitError(
            f"got pictures of shape {tuple(grey.shape[1:])} to colour; expected grey ones, "
            f"(1, {height}, {width}), as of a run trained with --grey."
        )
    if grey.shape[2:] != (height, width):
        raise VaekitError(
            f"{run.path} colours pictures of {height} x {width}; these are {grey.shape[2]} x "
            f"{grey.shape[3]}: train a colorizer with --size {grey.shape[2]}."
        )
    if not grey.isfinite().all():
        raise VaekitError("got pictures with numbers that are not finite.")
    values = run.spec.values
    seen = values.low + (values.high - values.low) * grey.float().clamp(0, 1)
    made = [model.colorize(part.to(run.device)).cpu() for part in seen.split(BATCH)]
    return values.inverse(torch.cat(made)).clamp(0, 1)


def grey_pictures(
    run: Run,
    n: int,
    *,
    reconstruct: bool = False,
    label: str | None = None,
    seed: int = 0,
    data_dir: str | None = None,
) -> Tensor:
    """n pictures of a run, in [0, 1] but for what its output exceeds that by.

    E[x|z] of draws z of its prior, of one label where one is asked for, or of the codes of test
    pictures, evenly spread.

    Raises:
        VaekitError: for a label that is not in the data, and a run that has no prior.
    """
    if not reconstruct:
        return run.spec.values.inverse(run.sample(n, label=label, seed=seed))
    if label is not None:
        raise VaekitError("--label is of samples; --reconstruct takes test pictures: leave one.")
    _ = run.vae  # a colouriser's own pictures are in colour already
    test = run.dataset(data_dir).test
    return run.spec.values.inverse(run.reconstruct(*test.batch(spread(len(test), n))))


def grey_file(path: Path) -> Tensor:
    """The `images` `(N, 1, H, W)` in an .npz that another command wrote, as `vaekit traverse`.

    Raises:
        VaekitError: where there are none.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            images = arrays["images"]
    except FileNotFoundError:
        raise VaekitError(f"there is no file {path}.") from None
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile):
        raise VaekitError(
            f"{path} holds no images to colour: expected an .npz as `vaekit traverse RUN -o "
            f"{path.name}` writes it."
        ) from None
    whole = images.dtype == np.uint8
    if (images.dtype.kind != "f" and not whole) or not images.size:
        raise VaekitError(f"{path} holds images of type {images.dtype}; expected some floats.")
    grey = torch.from_numpy(images.astype(np.float32))
    return grey / 255 if whole else grey

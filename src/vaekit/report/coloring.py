"""Gray images in the colors of a colorizer's run, and what its report shows."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaekit.data import spread
from vaekit.errors import VaekitError
from vaekit.report.charts import training_curves
from vaekit.report.images import png_bytes, stacks
from vaekit.report.page import Section
from vaekit.report.write import Report
from vaekit.runs import Run, colorizer_of

BATCH = 500


def colorize(run: Run, gray: Tensor) -> Tensor:
    """Gray images `(N, 1, H, W)` in the colors E[x|g] of a colorizer's run, `(N, 3, H, W)`.

    Both in [0, 1], whatever range the model sees: what lies outside is cut off.

    Args:
        run: of the recipe `colorizer`.
        gray: as a VAE of gray images makes them: `vae_run.sample(16)`, or any edit of its codes,
            decoded.

    Raises:
        VaekitError: for a run that is no colorizer, and images that are not gray, of another
            size, or not finite.
    """
    model, (_, height, width) = colorizer_of(run), run.spec.shape
    if gray.dim() != 4 or gray.shape[1] != 1:
        raise VaekitError(
            f"got images of shape {tuple(gray.shape[1:])} to color; expected gray ones, "
            f"(1, {height}, {width}), as of a run trained with --grey."
        )
    if gray.shape[2:] != (height, width):
        raise VaekitError(
            f"{run.path} colors images of {height} x {width}; these are {gray.shape[2]} x "
            f"{gray.shape[3]}: train a colorizer with --size {gray.shape[2]}."
        )
    if not gray.isfinite().all():
        raise VaekitError("got images with numbers that are not finite.")
    values = run.spec.values
    seen = values.low + (values.high - values.low) * gray.float().clamp(0, 1)
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
    """n images of a run, in [0, 1] but for what its output exceeds that by.

    E[x|z] of draws z of its prior, of one label where one is asked for, or of the codes of test
    images, evenly spread.

    Raises:
        VaekitError: for a label that is not in the data, and a run that has no prior.
    """
    if not reconstruct:
        return run.spec.values.inverse(run.sample(n, label=label, seed=seed))
    if label is not None:
        raise VaekitError("--label is of samples; --reconstruct takes test images: leave one.")
    _ = run.vae  # a colorizer's own images are in color already
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
            f"{path} holds no images to color: expected an .npz as `vaekit traverse RUN -o "
            f"{path.name}` writes it."
        ) from None
    whole = images.dtype == np.uint8
    if (images.dtype.kind != "f" and not whole) or not images.size:
        raise VaekitError(f"{path} holds images of type {images.dtype}; expected some floats.")
    gray = torch.from_numpy(images.astype(np.float32))
    return gray / 255 if whole else gray


WORDS = (
    ("x, g", "x is an image in color; g is its gray image, 0.30 R + 0.59 G + 0.11 B."),
    ("E[x|g]", "the mean of all colors that the model expects for g."),
    ("log-likelihood", "log p(x|g) for g under noise: how well the colors are predicted."),
    ("luminance", "½ Σ ((L(E[x|g]) − L(x)) / σ)²: the price of another gray image; 0 is best."),
    ("PSNR", "10 log10(1 / mean square error) decibels, over all images together."),
    ("nat", "the unit of the likelihood; 1 nat is 1.44 bits."),
)


def color_sections(report: Report) -> list[Section]:
    """The sections of a colorizer's report but for its facts and notes."""
    return [_colors(report), _training(report), Section("In words", table=WORDS)]


def _colors(report: Report) -> Section:
    x, gray, made = report.originals, report.gray, report.reconstructions
    assert x is not None
    assert gray is not None
    assert made is not None
    text = (
        "Three rows belong together: test images, their gray images, and the colors E[x|g] that "
        "the model puts on these: a mean, so where many colors are likely it is none of them but "
        "something between, and paler."
    )
    figure = png_bytes(stacks(x, gray.expand_as(x), made))
    alt = f"{len(x)} images, each with its gray image and that in new colors under it"
    return Section("Colors", text, figure, alt=alt, table=report.pixel_facts)


def _training(report: Report) -> Section:
    figure = training_curves(report.records, unit="nats per image")
    if not figure:
        return Section("Training", "There are no curves: no epoch left a finite number.")
    text = (
        "The objective is what training makes as large as it can: the log-likelihood of the true "
        "colors, less a weight times the luminance term.\n"
        "The scale suits the later epochs: the first ones may lie outside."
    )
    return Section("Training", text, figure, "svg", "objective and its terms over the epochs")

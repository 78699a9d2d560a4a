"""How near images are to others, and a colorizer's to the true colors.

Shapes: images `(B, C, H, W)`, results `(B,)`, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from vaekit._torchutil import evaluating, wide
from vaekit.distributions import offering, scaled_similarity, similarity
from vaekit.errors import VaekitError
from vaekit.evaluate._checks import Numbers, average, refuse_gaps, some, standard_error
from vaekit.evaluate._metrics import (
    Batch,
    Column,
    Line,
    Metric,
    Record,
    Study,
    Subject,
    cut,
    in_units,
)
from vaekit.models import Colorizer, Model, Trace, luminance
from vaekit.registry import register

DECIBELS, LEVELS = 10 / math.log(10), 255
GROUP = "Reconstructions, measured"


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean square error of each example, `(B,)`; x and y `(B, *X)`.

    Example:
        >>> mse(torch.zeros(1, 4), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
        tensor([0.5000], dtype=torch.float64)
    """
    x, y = _pair(x, y)
    return (x - y).square().flatten(1).mean(1)


def l1(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean absolute error of each example, `(B,)`; x and y `(B, *X)`.

    Example:
        >>> l1(torch.zeros(1, 4), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
        tensor([0.5000], dtype=torch.float64)
    """
    x, y = _pair(x, y)
    return (x - y).abs().flatten(1).mean(1)


def psnr(x: Tensor, y: Tensor, data_range: float = 1.0) -> Tensor:
    """Return the peak signal-to-noise ratio, 10 log10(range^2 / MSE) dB, `(B,)`; inf if equal.

    Example:
        >>> psnr(torch.zeros(1, 4), torch.full((1, 4), 0.1))
        tensor([20.0000], dtype=torch.float64)
    """
    return 10 * torch.log10(_positive(data_range) ** 2 / mse(x, y))


def ssim(x: Tensor, y: Tensor, data_range: float = 1.0) -> Tensor:
    """Return the structural similarity, `(B,)`, at most 1.

    It is the mean over windows and channels of

    (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2))

    with Gaussian windows of 11 x 11 and sigma 1.5 that lie inside the image, C1 = (0.01 range)^2
    and C2 = (0.03 range)^2. On images of less than 11 pixels the window is the largest odd one
    that fits, of the same sigma.

    Args:
        x: `(B, C, H, W)`.
        y: `(B, C, H, W)`.
        data_range: the largest possible value less the smallest.

    Raises:
        VaekitError: for shapes that differ or are no images, a range that is not positive, or
            numbers that are not finite.

    References:
        Wang et al. 2004, Image quality assessment: from error visibility to structural similarity.

    Example:
        >>> image = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
        >>> ssim(image, image)
        tensor([1.], dtype=torch.float64)
        >>> ssim(image, 1 - image) < 0.1
        tensor([True])
    """
    light, contrast = similarity(*_images(x, y), _positive(data_range))
    return (light * contrast).mean((1, 2, 3))


def ms_ssim(x: Tensor, y: Tensor, data_range: float = 1.0) -> Tensor:
    """Return the multi-scale structural similarity, `(B,)`, from 0 to 1.

    prod_(j<M) cs_j^w_j ssim_M^w_M with cs the second factor of `ssim`, averaged over a scale, and
    w = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333); the mean over channels. The next scale is the
    mean of 2 x 2 pixels, fewer at an odd edge. Five scales need more than 160 pixels a side;
    smaller images have as many as an 11 x 11 window fits, with weights renormalized to sum to 1.
    Negative values of a scale count as 0.

    Args:
        x: `(B, C, H, W)`.
        y: `(B, C, H, W)`.
        data_range: the largest possible value less the smallest.

    Raises:
        VaekitError: as `ssim`.

    References:
        Wang, Simoncelli and Bovik 2003, Multiscale structural similarity for image quality
        assessment.

    Example:
        >>> image = torch.linspace(0, 1, 1024).view(1, 1, 32, 32)
        >>> ms_ssim(image, image)
        tensor([1.], dtype=torch.float64)
    """
    return scaled_similarity(*_images(x, y), _positive(data_range))


def _positive(data_range: float) -> float:
    if not 0 < data_range < math.inf:
        raise VaekitError(f"got `data_range={data_range}`; expected a positive number.")
    return data_range


def _pair(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x.shape != y.shape or x.dim() < 2 or not x.numel():
        raise VaekitError(
            f"got the shapes {tuple(x.shape)} and {tuple(y.shape)}; expected two alike, (B, *X)."
        )
    refuse_gaps("x", x)
    refuse_gaps("y", y)
    return wide(x), wide(y)


def _images(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x.dim() != 4:
        raise VaekitError(f"got the shape {tuple(x.shape)}; expected images, (B, C, H, W).")
    return _pair(x, y)


def _errors(x: Tensor, y: Tensor, data_range: float, only: Sequence[str] = ()) -> dict[str, Tensor]:
    """Return the numbers of each row that such x have; or, of these, `only` some."""
    known: dict[str, Callable[[], Tensor]] = {
        "mse": lambda: mse(x, y),
        "l1": lambda: l1(x, y),
        "psnr": lambda: psnr(x, y, data_range),
    }
    if x.dim() == 4:
        known["ssim"] = lambda: ssim(x, y, data_range)
        known["ms_ssim"] = lambda: ms_ssim(x, y, data_range)
    return {name: measure() for name, measure in known.items() if not only or name in only}


@register("metric", "reconstruction")
class Reconstruction(Metric):
    """How near E[x|z] at the codes of x is to x: MSE, L1, and of images PSNR, SSIM, MS-SSIM.

    Images are compared on [0, 1], whatever range the model sees.
    """

    only: ClassVar[tuple[str, ...]] = ()  # of the numbers; all where empty
    places = frozenset({"compare"})
    columns = (
        Column("psnr", "PSNR", "dB", better=1, group=GROUP),
        Column("ssim", "SSIM", decimals=3, better=1, group=GROUP),
        Column("mse", "MSE", decimals=4, group=""),
        Column("l1", "L1", decimals=4, group=""),
        Column("ms_ssim", "MS-SSIM", decimals=3, group=""),
    )

    def update(self, trace: Trace) -> None:
        """Store the numbers of each row."""
        x, y = trace.x, trace.reconstruction
        if self.subject.images:  # SSIM is of luminances: it hangs on where black is
            x, y = map(self.subject.spec.values.inverse, (x, y))
        x, y = (in_units(each, self.scale) for each in (x, y))
        seen = None if trace.mask is None else trace.mask.expand_as(x).to(x.dtype)
        both = (x, y) if seen is None else (x * seen, y * seen)
        errors = _errors(*both, 1.0, self.only)
        if seen is not None:  # of each row the mean over what is seen
            share = seen.flatten(1).mean(1)
            errors |= {name: errors[name] / share for name in ("mse", "l1") if name in errors}
        if not self.subject.images:
            errors.pop("psnr", None)
        self.keep(**errors)

    def compute(self) -> Record:
        """Return means and standard errors; PSNR of images alone: other values have no range."""
        values = {name: torch.cat(parts) for name, parts in self.rows.items()}
        averages = {name: average(value, self.groups) for name, value in values.items()}
        return {
            **dict.fromkeys(("mse", "l1", "psnr", "ssim", "ms_ssim")),
            **{name: mean for name, (mean, _) in averages.items()},
            "errors": {name: error for name, (_, error) in averages.items()},
            "rows": len(values["mse"]),
        }

    def lines(self, record: Record) -> Iterator[Line]:
        """Yield a line for each number there is."""
        yield "reconstruction", None, None, f"{record['rows']} rows"
        for name, error in record["errors"].items():
            yield f"  {name}", record[name], error, "decibels" if name == "psnr" else ""


def reconstructions(
    model: Model,
    batches: Iterable[Batch],
    *,
    data_range: float = 1.0,
    groups: Tensor | None = None,
) -> Numbers:
    """Compare a model's reconstructions with the data, over a data set.

    `groups` are those of all rows: see `standard_error`.

    Returns:
        Means of E[x|z] at z = E[z|x] against x: `mse`, `l1`, `psnr`, `ssim` and `ms_ssim`, the
        last two None where x is no image; `psnr` is the mean over images of each one's decibels:
        inf where one is reproduced exactly. `errors` are the standard errors of the means, by
        name; and `rows`.

    Raises:
        VaekitError: for no rows, a range that is not positive, or numbers that are not finite.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> x = torch.randn(50, 3, dtype=torch.float64)
        >>> model = LinearGaussian.fit(x, latent=2).vae()
        >>> result = reconstructions(model, [(x[:30], None), (x[30:], None)])
        >>> result.rows, result.ssim, result.mse < x.var()
        (50, None, tensor(True))
    """
    metric = Reconstruction()
    metric.groups = groups
    parts = cut(model, batches)
    for errors in some(_errors(x, model.reconstruct(x, c), data_range) for x, c in parts):
        metric.keep(**errors)
    return Numbers(metric.compute())


def colors(
    model: Colorizer,
    batches: Iterable[Batch],
    *,
    data_range: float = 1.0,
    levels: Sequence[float] = (1.0,),
    groups: Tensor | None = None,
) -> Numbers:
    """Measure how near a colorizer comes to the true colors over a data set, and its denoising.

    Args:
        model: the colorizer.
        batches: of colors x `(B, 3, H, W)`.
        data_range: the largest possible value of x less the smallest.
        levels: standard deviations of noise on the gray images, gray levels; it is drawn from
            torch's generator.
        groups: of all rows: see `standard_error`.

    Returns:
        Of E[x|g] against the true colors x, g the gray image without noise: `psnr`, decibels;
        `gray_psnr`, that of g in three channels; `gain`, the former less the latter;
        `luminance_error`, the root mean square of L(E[x|g]) - g, gray levels; `errors`, the
        standard errors of these four, by name, to first order; `rows`, images. PSNR is
        10 log10(range^2 / MSE) with the MSE of all images together: one that is gray itself
        would have an infinite PSNR of its own. `noise` has, for each level, luminance against that
        of the true image: its `levels`; `before` and `after`, the PSNR of the noisy input and of
        L(E[x|noisy input]), decibels; `gain`, after less before; and `gain_error`, its standard
        error.

    Raises:
        VaekitError: for no rows, noise that is not positive, or numbers that are not finite.

    Example:
        >>> import vaekit as vk
        >>> net = vk.ColorNet((4, 4), channels=(2,))
        >>> p = vk.Conditional(net, vk.Gaussian((3, 4, 4), scale=0.1))
        >>> result = colors(vk.Colorizer(p), [(torch.rand(50, 3, 4, 4), None)])
        >>> result.rows, abs(result.noise[0].before - 48.2) < 1
        (50, True)
    """
    if bad := [noise for noise in levels if not 0 < noise < math.inf]:
        raise VaekitError(f"got noise of {bad[0]} gray levels; expected a positive number.")
    with evaluating(model):
        level, few = data_range / LEVELS, cut(model, batches)
        parts = some(_color_errors(model, x, level, levels) for x, _ in few)
    color, gray, light, *noise = (torch.cat(column) for column in zip(*parts, strict=True))
    of = _gain(gray, color, data_range, groups)
    root = light.mean().sqrt().item() * LEVELS / data_range
    errors = {
        "psnr": DECIBELS * _relative(color, groups),
        "gray_psnr": DECIBELS * _relative(gray, groups),
        "gain": of.gain_error,
        "luminance_error": root * _relative(light, groups) / 2,
    }
    return Numbers(
        psnr=of.after,
        gray_psnr=of.before,
        gain=of.gain,
        luminance_error=root,
        errors=errors,
        noise=[
            Numbers(levels=size, **_gain(before, after, data_range, groups))
            for size, before, after in zip(levels, noise[::2], noise[1::2], strict=True)
        ],
        rows=len(color),
    )


def _color_errors(
    model: Colorizer, x: Tensor, level: float, noise: Sequence[float]
) -> list[Tensor]:
    """Return mean square errors, `(B,)` each: color, gray, luminance; before and after noise."""
    gray = luminance(x)
    color = model.colorize(gray)
    errors = [mse(x, color), mse(x, gray.expand_as(x)), mse(luminance(color), gray)]
    for size in noise:
        noisy = gray + size * level * torch.randn_like(gray)
        errors += [mse(noisy, gray), mse(luminance(model.colorize(noisy)), gray)]
    return errors


def _gain(before: Tensor, after: Tensor, data_range: float, groups: Tensor | None) -> Numbers:
    """Return the PSNR of the mean errors `(B,)`, its rise in decibels, and the error of that."""
    top = DECIBELS * math.log(data_range**2)
    apart = before / before.mean() - after / after.mean()
    return Numbers(
        before=top - DECIBELS * before.mean().log().item(),
        after=top - DECIBELS * after.mean().log().item(),
        gain=DECIBELS * (before.mean().log() - after.mean().log()).item(),
        gain_error=DECIBELS * standard_error(apart, groups),
    )


def _relative(errors: Tensor, groups: Tensor | None) -> float:
    """Return the standard error of the mean of `(B,)`, as a part of the mean."""
    return standard_error(errors / errors.mean(), groups)


@register("metric", "color")
class Color(Study):
    """How near a colorizer comes to the true colors, and what it does to noise on its input.

    Args:
        noise: standard deviation of noise to measure besides 1, in gray levels; 0 for none.
    """

    needs = offering("colors")
    places = frozenset({"evaluate", "report"})
    columns = (
        Column("psnr", "PSNR against the true colors", "decibels", better=1),
        Column("gray_psnr", "PSNR of the gray image", "decibels"),
        Column("gain", "gain", "decibels", better=1),
        Column("luminance_error", "luminance error", "gray levels", better=-1),
    )

    def __init__(self, *, noise: float = 0.0) -> None:
        super().__init__()
        if not 0 <= noise < math.inf:
            raise VaekitError(f"got `noise={noise}`; expected a positive number of gray levels.")
        self.levels = [1.0, noise] if noise else [1.0]

    def study(self, subject: Subject) -> Record:
        """Return the numbers of `colors`."""
        model: Any = subject.model
        rows = subject.batches("color")
        how: Any = {"levels": self.levels, "groups": self.groups}
        record = colors(model, rows, data_range=subject.span, **how)
        return {**record, "levels": self.levels}

    def lines(self, record: Record) -> Iterator[Line]:
        """Yield the four numbers, and what becomes of noise."""
        yield "colors", None, None, f"{record['rows']} rows"
        for column in self.columns:
            error = record["errors"][column.name]
            yield f"  {column.name}", record[column.name], error, column.unit
        for of in record["noise"]:
            more = f"{of['before']:.2f} to {of['after']:.2f} decibels, luminance"
            yield f"  noise of {of['levels']:g}", of["gain"], of["gain_error"], more

    def facts(self, record: Record) -> Iterator[tuple[str, str]]:
        """Yield the same as rows of a table."""
        gray = f"the gray image itself {record['gray_psnr']:.2f} dB"
        yield "PSNR against the true colors", f"{record['psnr']:.2f} dB; {gray}"
        yield "gain", f"{record['gain']:.2f} ± {record['errors']['gain']:.2f} dB"
        yield "luminance error", f"{record['luminance_error']:.2f} gray levels, root mean square"
        for of in record["noise"]:
            words = f"luminance at {of['before']:.2f} dB before, {of['after']:.2f} dB after"
            yield f"noise of {of['levels']:g} gray level{'s' * (of['levels'] != 1)}", words

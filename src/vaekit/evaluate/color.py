"""How near a colorizer comes to the true colors, and what it does to noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from vaekit.distributions import offering
from vaekit.errors import VaekitError
from vaekit.evaluate.checks import Numbers, some, standard_error
from vaekit.evaluate.metrics import Batch, Column, Line, Record, Study, Subject, cut
from vaekit.evaluate.reconstruction import mse
from vaekit.models import Colorizer, luminance
from vaekit.registry import register
from vaekit.torchutil import evaluating

DECIBELS = 10 / math.log(10)
LEVELS = 255


def colors(
    model: Colorizer,
    batches: Iterable[Batch],
    *,
    data_range: float = 1.0,
    levels: Sequence[float] = (1.0,),
) -> Numbers:
    """Measure how near a colorizer comes to the true colors over a data set, and its denoising.

    Args:
        model: the colorizer.
        batches: of colors x `(B, 3, H, W)`.
        data_range: the largest possible value of x less the smallest.
        levels: standard deviations of noise on the gray images, gray levels; it is drawn from
            torch's generator.

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
        >>> result.rows, round(result.noise[0].before)
        (50, 48)
    """
    if bad := [noise for noise in levels if not 0 < noise < math.inf]:
        raise VaekitError(f"got noise of {bad[0]} gray levels; expected a positive number.")
    with evaluating(model):
        level, few = data_range / LEVELS, cut(model, batches)
        parts = some(_errors(model, x, level, levels) for x, _ in few)
    color, gray, light, *noise = (torch.cat(column) for column in zip(*parts, strict=True))
    of = _gain(gray, color, data_range)
    root = light.mean().sqrt().item() * LEVELS / data_range
    errors = {
        "psnr": DECIBELS * _relative(color),
        "gray_psnr": DECIBELS * _relative(gray),
        "gain": of.gain_error,
        "luminance_error": root * _relative(light) / 2,
    }
    return Numbers(
        psnr=of.after,
        gray_psnr=of.before,
        gain=of.gain,
        luminance_error=root,
        errors=errors,
        noise=[
            Numbers(levels=size, **_gain(before, after, data_range))
            for size, before, after in zip(levels, noise[::2], noise[1::2], strict=True)
        ],
        rows=len(color),
    )


def _errors(model: Colorizer, x: Tensor, level: float, noise: Sequence[float]) -> list[Tensor]:
    """Return mean square errors, `(B,)` each: color, gray, luminance; before and after noise."""
    gray = luminance(x)
    color = model.colorize(gray)
    errors = [mse(x, color), mse(x, gray.expand_as(x)), mse(luminance(color), gray)]
    for size in noise:
        noisy = gray + size * level * torch.randn_like(gray)
        errors += [mse(noisy, gray), mse(luminance(model.colorize(noisy)), gray)]
    return errors


def _gain(before: Tensor, after: Tensor, data_range: float) -> Numbers:
    """Return the PSNR of the mean errors `(B,)`, its rise in decibels, and the error of that."""
    top = DECIBELS * math.log(data_range**2)
    return Numbers(
        before=top - DECIBELS * before.mean().log().item(),
        after=top - DECIBELS * after.mean().log().item(),
        gain=DECIBELS * (before.mean().log() - after.mean().log()).item(),
        gain_error=DECIBELS * standard_error(before / before.mean() - after / after.mean()),
    )


def _relative(errors: Tensor) -> float:
    """Return the standard error of the mean of `(B,)`, as a part of the mean."""
    return standard_error(errors / errors.mean())


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
        record = colors(model, rows, data_range=subject.span, levels=self.levels)
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

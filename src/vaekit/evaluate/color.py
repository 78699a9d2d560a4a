"""How near a colouriser comes to the true colours, and what it makes of noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit.distributions import offering
from vaekit.errors import VaekitError
from vaekit.evaluate.checks import standard_error
from vaekit.evaluate.metrics import Column, Line, Record, Study, Subject
from vaekit.evaluate.reconstruction import mse
from vaekit.models import Colorizer, luminance
from vaekit.registry import register
from vaekit.torchutil import evaluating

DECIBELS = 10 / math.log(10)
LEVELS = 255


@dataclass(frozen=True)
class Denoised:
    """Luminance against that of the true picture: of an input under noise, and of what it becomes.

    Attributes:
        levels: standard deviation of the noise, grey levels.
        before, after: PSNR of the noisy input, and of L(E[x|noisy input]), decibels.
        gain: after less before.
        gain_error: its standard error.
    """

    levels: float
    before: float
    after: float
    gain: float
    gain_error: float


@dataclass(frozen=True)
class Colours:
    """Of E[x|g] against the true colours x, g the grey picture without noise.

    PSNR is 10 log10(range^2 / MSE) with the MSE of all pictures together: one that is grey itself
    would have an infinite PSNR of its own.

    Attributes:
        psnr: of E[x|g], decibels.
        grey_psnr: of g in three channels, decibels.
        gain: the former less the latter.
        luminance_error: root mean square of L(E[x|g]) - g, grey levels.
        errors: the standard errors of these four, by name, to first order.
        noise: what becomes of noise, for each that was asked for.
        rows: pictures.
    """

    psnr: float
    grey_psnr: float
    gain: float
    luminance_error: float
    errors: dict[str, float]
    noise: list[Denoised]
    rows: int


def colours(
    model: Colorizer,
    batches: Iterable[tuple[Tensor, Tensor | None]],
    *,
    data_range: float = 1.0,
    levels: Sequence[float] = (1.0,),
) -> Colours:
    """How near a colouriser comes to the true colours over a data set, and what it makes of noise.

    Args:
        model: the colouriser.
        batches: of colours x `(B, 3, H, W)`.
        data_range: the largest possible value of x less the smallest.
        levels: standard deviations of noise on the grey pictures, grey levels; it is drawn from
            torch's generator.

    Raises:
        VaekitError: for no rows, noise that is not positive, or numbers that are not finite.

    Example:
        >>> import vaekit as vk
        >>> net = vk.ColourNet((4, 4), channels=(2,))
        >>> p = vk.Conditional(net, vk.Gaussian((3, 4, 4), scale=0.1))
        >>> found = colours(vk.Colorizer(p), [(torch.rand(50, 3, 4, 4), None)])
        >>> found.rows, round(found.noise[0].before)
        (50, 48)
    """
    for one in levels:
        if not 0 < one < math.inf:
            raise VaekitError(f"got noise of {one} grey levels; expected a positive number.")
    with evaluating(model):
        parts = [_errors(model, x, data_range / LEVELS, levels) for x, _ in batches]
    if not parts:
        raise VaekitError("got no rows to measure; expected at least one.")
    made, plain, light, *noise = (torch.cat(column) for column in zip(*parts, strict=True))
    square = data_range**2
    root = light.mean().sqrt().item()
    gain, gain_error = _gain(plain, made)
    return Colours(
        psnr=_psnr(made, square),
        grey_psnr=_psnr(plain, square),
        gain=gain,
        luminance_error=root * LEVELS / data_range,
        errors={
            "psnr": DECIBELS * _relative(made),
            "grey_psnr": DECIBELS * _relative(plain),
            "gain": gain_error,
            "luminance_error": root * LEVELS / data_range * _relative(light) / 2,
        },
        noise=list(_denoised(levels, noise, square)),
        rows=len(made),
    )


def _errors(model: Colorizer, x: Tensor, level: float, noise: Sequence[float]) -> list[Tensor]:
    """Mean square errors, `(B,)` each: colours, grey, luminance; then before and after noise."""
    grey = luminance(x)
    made = model.colorize(grey)
    found = [mse(x, made), mse(x, grey.expand_as(x)), mse(luminance(made), grey)]
    for one in noise:
        noisy = grey + one * level * torch.randn_like(grey)
        found += [mse(noisy, grey), mse(luminance(model.colorize(noisy)), grey)]
    return found


def _denoised(
    levels: Sequence[float], errors: Sequence[Tensor], square: float
) -> Iterator[Denoised]:
    for one, before, after in zip(levels, errors[::2], errors[1::2], strict=True):
        gain, error = _gain(before, after)
        yield Denoised(one, _psnr(before, square), _psnr(after, square), gain, error)


def _psnr(errors: Tensor, square: float) -> float:
    return DECIBELS * math.log(square) - DECIBELS * errors.mean().log().item()


def _gain(before: Tensor, after: Tensor) -> tuple[float, float]:
    """By how many decibels the mean error `(B,)` falls, and the standard error of that."""
    gain = DECIBELS * (before.mean().log() - after.mean().log()).item()
    return gain, DECIBELS * standard_error(before / before.mean() - after / after.mean())


def _relative(errors: Tensor) -> float:
    """The standard error of the mean of `(B,)`, as a part of the mean."""
    return standard_error(errors / errors.mean())


@register("metric", "color")
class Color(Study):
    """How near a colorizer comes to the true colors, and what it makes of noise on its input.

    Args:
        noise: standard deviation of noise to look at besides 1, in gray levels; 0 for none.
    """

    needs = offering("colors")
    places = frozenset({"evaluate", "report"})
    columns = (
        Column("psnr", "PSNR against the true colours", "decibels", better=1),
        Column("grey_psnr", "PSNR of the grey image", "decibels"),
        Column("gain", "gain", "decibels", better=1),
        Column("luminance_error", "luminance error", "grey levels", better=-1),
    )

    def __init__(self, *, noise: float = 0.0) -> None:
        super().__init__()
        if not 0 <= noise < math.inf:
            raise VaekitError(f"got noise={noise}; expected a positive number of grey levels.")
        self.levels = [1.0, noise] if noise else [1.0]

    def study(self, subject: Subject) -> Record:
        """See `Colours`."""
        model: Any = subject.model
        found = colours(
            model, subject.rows.batches("colour"), data_range=subject.span, levels=self.levels
        )
        return {**asdict(found), "levels": self.levels}

    def lines(self, record: Record) -> Iterator[Line]:
        """The four numbers, and what becomes of noise."""
        yield "colours", None, None, f"{record['rows']} rows"
        for column in self.columns:
            error = record["errors"][column.name]
            yield f"  {column.name}", record[column.name], error, column.unit
        for of in record["noise"]:
            more = f"{of['before']:.2f} to {of['after']:.2f} decibels, luminance"
            yield f"  noise of {of['levels']:g}", of["gain"], of["gain_error"], more

    def facts(self, record: Record) -> Iterator[tuple[str, str]]:
        """The same as rows of a table."""
        grey = f"the grey picture itself {record['grey_psnr']:.2f} dB"
        yield "PSNR against the true colours", f"{record['psnr']:.2f} dB; {grey}"
        yield "gain", f"{record['gain']:.2f} ± {record['errors']['gain']:.2f} dB"
        error = f"{record['luminance_error']:.2f} grey levels, root mean square"
        yield "luminance error", error
        for of in record["noise"]:
            words = f"luminance at {of['before']:.2f} dB before, {of['after']:.2f} dB after"
            yield f"noise of {of['levels']:g} grey level{'s' * (of['levels'] != 1)}", words

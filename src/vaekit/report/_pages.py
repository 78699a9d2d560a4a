"""Pages: templates rendered into one HTML file, complete in itself, and images inside it."""

from __future__ import annotations

import base64
import gettext
import io
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vaekit._train_options import LANGUAGES
from vaekit.errors import choose, visible
from vaekit.report._curves import CSS, finite, value
from vaekit.report._grids import levels

HERE = Path(__file__).parent
SIDE = 112  # pixels: larger images are shown smaller


def mark(text: str) -> str:
    """Return text as it is: it is translated later, where it is shown."""
    return text


@cache
def words(lang: str) -> gettext.NullTranslations:
    """Return the translations into a language; those into English change nothing.

    Raises:
        VaekitError: for a language without a catalog.

    Example:
        >>> words("en").gettext("Samples"), words("zh").gettext("Samples")
        ('Samples', '样本')
    """
    choose("language", lang, LANGUAGES)
    if lang == "en":
        return gettext.NullTranslations()
    return gettext.translation("vaekit", HERE / "locales", [lang])


def render(template: str, *, lang: str = "en", **values: Any) -> bytes:
    """Return the page that a template makes of some values, as UTF-8.

    Args:
        template: a file of `report/templates`, which extends `page.html.j2`.
        lang: "en" or "zh".
        values: what the template names; every text is escaped.

    Raises:
        VaekitError: for another language.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context

    translated: Any

    def named(value: Any) -> Any:
        return visible(value, lines=False) if type(value) is str else value

    @pass_context
    def gettext(context: Any, text: str, **names: Any) -> Any:
        return translated(context, text, **{name: named(value) for name, value in names.items()})

    pages = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=named,
    )
    pages.install_gettext_translations(words(lang), newstyle=True)  # type: ignore[attr-defined]
    translated, pages.globals["gettext"] = pages.globals["gettext"], gettext
    pages.filters["number"] = lambda number: value(number) if finite(number) else "–"
    pages.filters["count"] = "{:,}".format
    script = (HERE / "templates" / "report.js").read_text()
    own = {"style": CSS, "report": script, "language": LANGUAGES[lang], "toc": []}
    return pages.get_template(template).render(own, **values).encode("utf-8", "replace")


class Cell(NamedTuple):
    """What stands in a grid of images.

    Attributes:
        content: the address of an image or a mask, an `<svg>`, or text.
        alt: what an image shows, for those who cannot see it.
        kind: "image", "mask" (drawn in the page's ink), "svg" or "text".
    """

    content: str
    alt: str = ""
    kind: str = "image"


def cells(images: Tensor, alts: Sequence[str]) -> list[Cell]:
    """Return a cell for each image; `images` are floats in [0, 1], `(N, C, H, W)`."""
    return [Cell(address(one), alt) for one, alt in zip(images, alts, strict=True)]


def masks(values: Tensor, alts: Sequence[str], kind: str = "mask") -> list[Cell]:
    """Return a cell for each of `(N, H, W)`, floats in [0, 1]: the more, the more ink."""
    dark = torch.stack([torch.zeros_like(values), values], 1)
    return [Cell(address(one), alt, kind) for one, alt in zip(dark, alts, strict=True)]


def bars_around(codes: Tensor) -> list[Cell]:
    """Return a cell for each code `(N, Z)`: its numbers as small bars around 0."""
    made = []
    for values in codes.double().nan_to_num(0.0).tolist():
        step = 84 / len(values)
        places = ((n + 0.5) * step for n in range(len(values)))
        heights = (-8 * max(-2.6, min(2.6, value)) for value in values)
        path = "".join(f"M{x:.1f} 22v{up:.1f}" for x, up in zip(places, heights, strict=True))
        words = "z: " + ", ".join(f"{value:.2f}" for value in values)
        svg = (
            f'<svg class="bars" viewBox="0 0 84 44" role="img" aria-label="{words}">'
            f'<path class="grid" d="M0 22H84"/><path class="err accent" style="stroke-width: '
            f'{min(8.0, max(1.0, 0.6 * step)):.1f}" d="{path}"/></svg>'
        )
        made.append(Cell(svg, kind="svg"))
    return made


def address(image: Tensor, kind: str = "png") -> str:
    """Return an image as the address of itself: a data URI.

    Args:
        image: floats in [0, 1], `(C, H, W)`: C is 1 (gray), 2 (gray and opacity), 3 (RGB) or 4.
        kind: "png", or "webp": smaller, and not exact.

    Example:
        >>> address(torch.zeros(1, 8, 8))[:22]
        'data:image/png;base64,'
    """
    from PIL import Image

    values = levels(image).permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    made = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    made.save(stream, kind, **({"quality": 80, "method": 1} if kind == "webp" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def small(images: Tensor, most: int = SIDE) -> Tensor:
    """Return images in [0, 1], `(N, C, H, W)`, with 112 pixels a side at most, or so many.

    Example:
        >>> small(torch.rand(2, 3, 8, 8)).shape, small(torch.rand(2, 3, 448, 224)).shape
        (torch.Size([2, 3, 8, 8]), torch.Size([2, 3, 112, 56]))
    """
    images, side = images.float().clamp(0, 1), max(images.shape[-2:])
    if side <= most:
        return images
    size = [max(1, round(part * most / side)) for part in images.shape[-2:]]
    return interpolate(images.nan_to_num(0.5), size, mode="area")


def sheet(images: Tensor, columns: int | None = None) -> Tensor:
    """Return images `(N, C, H, W)` side by side as one, without gaps; square by default.

    Example:
        >>> sheet(torch.rand(5, 1, 8, 8)).shape, sheet(torch.rand(5, 1, 8, 8), 5).shape
        (torch.Size([1, 24, 24]), torch.Size([1, 8, 40]))
    """
    side = math.ceil(math.sqrt(len(images)))
    rows, columns = (side, side) if columns is None else (-(-len(images) // columns), columns)
    full = images.new_zeros(rows * columns, *images.shape[1:])
    full[: len(images)] = images
    tiles = full.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4)
    return tiles.flatten(3, 4).flatten(1, 2)

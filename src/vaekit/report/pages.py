"""Pages: templates rendered into one HTML file, complete in itself, and images inside it."""

from __future__ import annotations

import base64
import gettext
import io
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vaekit.errors import choose
from vaekit.report.curves import finite, value
from vaekit.report.grids import levels

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
SIDE = 112  # pixels: larger images are shown smaller
LANGUAGES = {"en": "en", "zh": "zh-CN"}  # with their names in HTML


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


@cache
def _environment(lang: str) -> Environment:
    """Return the templates, with their sentences in a language."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.install_gettext_translations(words(lang), newstyle=True)  # type: ignore[attr-defined]
    made.filters |= {"pm": _errors_apart, "number": _number, "count": "{:,}".format}
    for name in ("style.css", "report.js"):
        made.globals[name.partition(".")[0]] = (HERE / "templates" / name).read_text()
    return made


def render(template: str, *, lang: str = "en", **values: Any) -> bytes:
    """Return the page that a template makes of some values, as UTF-8.

    Args:
        template: a file of `report/templates`, which extends `page.html.j2`.
        lang: "en" or "zh".
        values: what the template names; every text is escaped.

    Raises:
        VaekitError: for another language.
    """
    page = _environment(lang).get_template(template)
    html = page.render(language=LANGUAGES[lang], toc=[], **values)
    return html.encode("utf-8", "replace")


def _errors_apart(text: str) -> str:
    """Return HTML of a text in which each error, as "± 0.2", is set apart from its number.

    Example:
        >>> str(_errors_apart("3 ± 0.2 nats & more"))
        '3 <span class="pm">± 0.2</span> nats &amp; more'
    """
    from markupsafe import Markup, escape

    first, *rest = str(text).split(" ± ")
    html = escape(first)
    for part in rest:
        error, space, after = part.partition(" ")
        html += Markup(' <span class="pm">± {}</span>{}{}').format(error, space, after)
    return html


def _number(value_: float | None) -> str:
    """Return a number with the digits that it needs; a dash for none, or one that is not finite."""
    return value(value_) if finite(value_) else "–"


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


def small(images: Tensor) -> Tensor:
    """Return images in [0, 1], `(N, C, H, W)`, with 112 pixels a side at most.

    Example:
        >>> small(torch.rand(2, 3, 8, 8)).shape, small(torch.rand(2, 3, 448, 224)).shape
        (torch.Size([2, 3, 8, 8]), torch.Size([2, 3, 112, 56]))
    """
    images, side = images.float().clamp(0, 1), max(images.shape[-2:])
    if side <= SIDE:
        return images
    size = [max(1, round(part * SIDE / side)) for part in images.shape[-2:]]
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

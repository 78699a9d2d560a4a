"""The network of a run: its layers in words, and drawn as boxes as large as what comes out."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vaekit._io import write
from vaekit.distributions import Offer
from vaekit.errors import VaekitError
from vaekit.models import LayerTable
from vaekit.nn import in_words, times
from vaekit.report._curves import CSS, LETTER, LINE, escape
from vaekit.report._pages import mark
from vaekit.report._run_set import Words
from vaekit.runs import Run

SIDE, TALL, LEAST = 64, 100, 14  # of the largest map, of the longest vector, of the shortest
SLIM, GAP, MIDDLE = 16, 24, 78  # a vector's width, the room of an arrow, and where all is centered
HIGH = MIDDLE + TALL / 2 + 2 * LINE + 14
WIDE = 1000  # of a file: what is wider stands in two rows
STYLE = re.compile(
    r"^svg (?:text|\.strong|\.line|\.line\.thin|\.stage|\.stage\.on) \{.*", re.MULTILINE
)
SAME = ("flatten", "zero padding", "zero padding {}")  # they change a shape, and make no box
LIKE = ("unflatten", "crop")  # the box before takes their shape
NORMS = ("batch norm", "layer norm", "group norm")
TWO = ("mean and", "location and", "log means and")  # outputs of two halves: see Family.gives

# What is said of layers and their output, which is translated as it comes.
FORMS = (
    *(mark(", "), mark("{what} over {where}"), mark("{} latents"), mark("{} values")),
    *(mark("encoder"), mark("decoder"), mark("prior"), mark("colors"), mark("other layers")),
    *(mark("input"), mark("sum"), mark("dense"), mark("no bias"), mark("flatten")),
    *(mark("unflatten"), mark("convolution {}"), mark("transposed convolution {}")),
    *(mark("stride {}"), mark("padding {}"), mark("output padding {}"), mark("padding of {}")),
    *(mark("dilation {}"), mark("{} groups"), mark("max-pooling {}"), mark("average pooling {}")),
    *(mark("rounded up"), mark("zero padding"), mark("zero padding {}"), mark("crop")),
    *(mark("left {}"), mark("right {}"), mark("top {}"), mark("bottom {}")),
    *(mark("upsampling by {}"), mark("upsampling to {}"), mark("batch norm"), mark("layer norm")),
    *(mark("gate"), mark("residual block"), mark("patches {}")),
    *(mark("sub-pixel convolution {}"), mark("to {} pixels")),
    *(mark("group norm"), mark("leaky ReLU"), mark("slope {}"), mark("dropout {}")),
    *(mark("dropout {} of z"), mark("times {}"), mark("{} of the distribution")),
    mark("parameters of {}"),
    *(mark("mean of a Gaussian"), mark("mean and log variance of a Gaussian")),
    *(mark("mean and, before softplus, scale of a Gaussian"), mark("one learned scale")),
    *(mark("location of a Laplace distribution"), mark("one fitted scale"), mark("scale {}")),
    mark("location and log scale of a Laplace distribution"),
    mark("location and, before softplus, scale of a Laplace distribution"),
    *(mark("mean through {}"), mark("logits of a Bernoulli"), mark("location of a point mass")),
    *(mark("logits of a continuous Bernoulli"), mark("{} logits each of a categorical")),
    *(mark("logits of a categorical"), mark("one fitted scale each")),
    mark("one learned scale each"),
    *(mark("log means of a Poisson"), mark("log means of a negative binomial")),
    mark("log means and log dispersions of a negative binomial"),
    mark("log means and logits of an added zero of a negative binomial"),
    mark("log means, logits of an added zero and log dispersions of a negative binomial"),
    mark("means as shares of the library size"),
    mark("logits of the shares of a multinomial"),
    mark("logits of the mean of an image"),
    *(mark("one learned log dispersion each"), mark("{} of {}")),
    mark("{} numbers that condition a flow"),
    mark("location of a Student-t distribution"),
    mark("location and log scale of a Student-t distribution"),
    mark("location and, before softplus, scale of a Student-t distribution"),
    mark("location of a log-cosh distribution"),
    mark("location and log scale of a log-cosh distribution"),
    mark("location and, before softplus, scale of a log-cosh distribution"),
    mark("location of a logistic distribution"),
    mark("location and log scale of a logistic distribution"),
    mark("location and, before softplus, scale of a logistic distribution"),
    mark("location of a discretized logistic"),
    mark("location and log scale of a discretized logistic"),
    mark("direction and concentration of a power spherical distribution"),
    mark("direction and concentration of a von Mises-Fisher distribution"),
    mark("mean and log variance of a Gaussian, and the numbers of {} planar layers"),
    mark("mean and log variance of a Gaussian, and {} numbers for {} autoregressive layers"),
    mark("mean and log variance of a Gaussian, and {} numbers that condition a flow"),
    mark("mean and triangular factor of a Gaussian"),
    mark("mean and log variance of a normal on the Poincaré ball"),
    mark("logits of categorical variables"),
    mark("mean and log variance of a Gaussian, and logits of categorical variables"),
    mark("mean, log variance and {} directions of a Gaussian"),
    mark("{} discretized logistics for each pixel"),
)


@dataclass
class Stage:
    """A box: what comes out of a few layers.

    Attributes:
        shape: of it, for one row.
        name: above it: "x", "q(z|x)".
        words: what made it.
        halves: whether it is the two parameters of a location and a scale.
        kind: its class: "" or "on".
    """

    shape: tuple[int, ...]
    name: str = ""
    words: str = ""
    halves: bool = False
    kind: str = ""

    @property
    def label(self) -> list[str]:
        """The shape in lines."""
        if self.halves:
            half = f"{math.prod(self.shape) // 2:,}"
            return ["μ, σ", f"{half} + {half}"]
        if len(self.shape) < 2:
            return [f"{math.prod(self.shape):,}"]
        return [f"{self.shape[0]} x", times(self.shape[1:])]


def network(run: Run, say: Words = str) -> dict[str, Any]:
    """Return the tables of a run's network, each with a title; all parameters, and a drawing."""
    tables = run.layers()
    total = sum(table.parameters for table in tables)
    titles = (": ".join(filter(None, (t.title(say), t.meaning(say)))) for t in tables)
    shown = list(zip(titles, (table.rows(say) for table in tables), strict=True))
    drawn = [half.svg for half in drawing(run, tables, say)]
    return {"tables": shown, "total": total, "drawing": drawn}


class Drawing(NamedTuple):
    """A row of boxes: its elements, how wide it is, and what it shows in words."""

    content: str
    wide: float
    words: str

    @property
    def svg(self) -> str:
        """It, as an element of a page, as large as it is."""
        size = f'viewBox="0 0 {self.wide:.0f} {HIGH:g}" style="width: {self.wide:.0f}px"'
        return f'<svg {size} role="img" aria-label="{escape(self.words)}">{self.content}</svg>'


def save_network(run: Run, path: str | Path) -> Path:
    """Draw the network of a run into an .svg, in light and dark.

    Raises:
        VaekitError: for another ending, a model that is not of an encoder and a decoder, and where
            it cannot be written.
    """
    if Path(path).suffix != ".svg":
        raise VaekitError(f"got {path}; a network is drawn as .svg: name such a file.")
    halves = drawing(run, run.layers())
    if not halves:
        raise VaekitError(f"{run.path} is not drawn: it has no encoder and decoder that are known.")
    below = sum(half.wide for half in halves) > WIDE  # one under the other
    wide = (max if below else sum)(half.wide for half in halves)
    high = HIGH * (len(halves) if below else 1)
    x, y, parts = 0.0, 0.0, ['<rect class="paper" width="100%" height="100%"/>']
    for half in halves:
        parts.append(f'<g transform="translate({x:g} {y:g})">{half.content}</g>')
        x, y = (x, y + HIGH) if below else (x + half.wide, y)
    style = CSS[CSS.index(":root") : CSS.index("* {")] + "\n".join(STYLE.findall(CSS))
    style += "\ntext { font-family: system-ui, sans-serif; } .paper { fill: var(--paper); }"
    size = f'width="{wide:.0f}" height="{high:.0f}" viewBox="0 0 {wide:.0f} {high:.0f}"'
    words = escape("; ".join(half.words for half in halves))
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{words}">'
    content = f"{start}<style>{style}</style>{''.join(parts)}</svg>\n"
    return write(path, content.encode())


def drawing(run: Run, tables: Sequence[LayerTable], say: Words = str) -> list[Drawing]:
    """Return the network drawn: the way to z and the way back; nothing of another model.

    A box is as wide and high as the map that comes out, behind it stands a hint of its channels; a
    vector is as high as the root of its length.
    """
    named = {table.path: table for table in tables if table.takes and table.layers}
    more, x = ", y" if run.conditional else "", run.spec.shape
    if Offer.COLORS in run.offers and "likelihood" in named:
        gray = Stage((1, *x[1:]), "g", kind="on")
        return [_drawn([[gray, *stages(named["likelihood"], say)]], 0)]
    if Offer.LATENT not in run.offers or not {"posterior", "likelihood"} <= named.keys():
        return []
    z = Stage(run.latent_shapes[0], f"z{more}", kind="on")
    halves = [
        [Stage(x, f"x{more}", kind="on"), *stages(named["posterior"], say)],
        [z, *stages(named["likelihood"], say)],
    ]
    if math.prod(halves[1][-1].shape) == math.prod(x):  # a dense output is the image, too
        halves[1][-1].shape = x
    return [_drawn(halves, 0), _drawn(halves, 1)]


def stages(table: LayerTable, say: Words = str) -> list[Stage]:
    """Return what comes out of a network's layers: of an affine one, and wherever a shape changes.

    Example:
        >>> import vaekit as vk
        >>> from vaekit.models import layer_tables
        >>> q = vk.Conditional(vk.ConvEncoder((1, 8, 8), 4, (16, 32)), vk.Gaussian(2))
        >>> p = vk.Conditional(vk.MLP(2, (1, 8, 8)), vk.Bernoulli((1, 8, 8)))
        >>> encoder, _ = layer_tables(vk.VAE(vk.StandardNormal(2), q, p))
        >>> [stage.shape for stage in stages(encoder)]
        [(16, 4, 4), (32, 2, 2), (4,)]
    """
    found: list[Stage] = []
    for layer in table.layers:
        form, shape, words = layer.phrases[0][0], layer.shape, in_words(layer.phrases, say)
        if shape is None or form in SAME:
            continue
        if found and form in LIKE:
            found[-1].shape = shape
        elif (layer.parameters and form not in NORMS) or not found or found[-1].shape != shape:
            found.append(Stage(shape, words=words))
            continue
        found[-1].words += f"; {words}"
    form, size = table.gives[0][0] if table.gives else "", math.prod(table.event)
    if table.path == "posterior" and form.startswith(TWO):
        if [math.prod(stage.shape) for stage in found[-2:]] == [size, size]:  # a head for each
            found[-2:] = [Stage((2 * size,), words="; ".join(each.words for each in found[-2:]))]
        found[-1].halves = math.prod(found[-1].shape) == 2 * size
    if found:
        found[-1].name, found[-1].kind = table.symbol, "on"
    return found


def _drawn(rows: list[list[Stage]], number: int) -> Drawing:
    """Return one of the rows; all of them are drawn to one scale."""
    every = [stage.shape for row in rows for stage in row]
    far = max((max(shape[1:]) for shape in every if len(shape) > 1), default=1)
    long = max([SIDE, *(shape[0] for shape in every if len(shape) == 1)])
    x, parts = 6.0, list[str]()
    for place, stage in enumerate(rows[number]):
        boxes, wide = _boxes(stage, SIDE / far, TALL / math.sqrt(long))
        lines = [stage.name, *stage.label]
        room = max(wide, LETTER * max(map(len, lines)))
        if place:
            parts.append(_arrow(x))
            x += GAP + 4
        title = f"<title>{escape(stage.words)}</title>" if stage.words else ""
        left = x + (room - wide) / 2
        parts.append(f'<g transform="translate({left:.1f} {MIDDLE})">{title}{boxes}</g>')
        heights = (12.0, *(MIDDLE + TALL / 2 + 3 + LINE * (line + 1) for line in range(2)))
        for up, line in zip(heights, lines, strict=False):
            kind = ' class="strong"' if up == heights[0] else ""
            where = f'x="{x + room / 2:.1f}" y="{up:.1f}" text-anchor="middle"'
            parts.append(f"<text{kind} {where}>{escape(line)}</text>" if line else "")
        x += room + 4
    if number == 0 and len(rows) > 1:
        parts.append(_arrow(x))
        x += GAP
    words = " → ".join(" ".join(filter(None, [s.name, *s.label])) for s in rows[number])
    return Drawing("".join(parts), x + 2, words)


def _arrow(x: float) -> str:
    return f'<path class="line thin" d="M{x:.1f} {MIDDLE}h{GAP - 4}m-5 -4l5 4l-5 4"/>'


def _boxes(stage: Stage, scale: float, growth: float) -> tuple[str, float]:
    """Return the rectangles of a stage, whose left middle is at 0, and how wide they are."""
    kind = f"stage {stage.kind}".strip()

    def box(x: float, y: float, wide: float, high: float) -> str:
        size = f'width="{wide:.1f}" height="{high:.1f}"'
        return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" {size} rx="2"/>'

    if len(stage.shape) < 2:
        high = max(LEAST, growth * math.sqrt(math.prod(stage.shape)))
        if not stage.halves:
            return box(0, -high / 2, SLIM, high), SLIM
        high = max(LEAST, high / 2)
        return box(0, -high - 1, SLIM, high) + box(0, 1, SLIM, high), SLIM
    wide, high = (max(6.0, scale * side) for side in (stage.shape[-1], stage.shape[1]))
    behind = min(4, round(math.log2(stage.shape[0]) / 2))
    copies = range(behind, -1, -1)
    return "".join(box(3 * n, -high / 2 - 3 * n, wide, high) for n in copies), wide + 3 * behind

"""Rows by their scores: sheets of the strangest and the most typical images, and histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaekit.data import Dataset
from vaekit.errors import visible
from vaekit.report._blocks import Rebuilt
from vaekit.report._curves import COLORS, Chart, Plot, value
from vaekit.report._figures import FULL, paper
from vaekit.report._grids import GAP, in_rows, joined, tiles_of
from vaekit.report._pages import Cell, cells
from vaekit.report._run_set import Words
from vaekit.report._sheets import EDGE, INK, LINE, SOFT, SPACE, WIDE, letters
from vaekit.runs import Run, Scored

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

SMALL, UNDER = 12, 15  # pixels of a letter under an image, and of a line of them
ACROSS, SHOWN = 6, 12  # cards side by side, and of each kind
HIGH = 256  # pixels of a card's images, if they may be enlarged
BINS, FIVE = 40, 5  # bars, and images of each kind on a page
TITLES = {"nll": "−log p(x)", "bound": "−ELBO", "error": "mean square error"}


class Cards(NamedTuple):
    """Images with words under each.

    Attributes:
        title: what they are.
        images: `(N, K, C, H, W)`: K under each other.
        words: the lines under each.
    """

    title: str
    images: Tensor
    words: Sequence[Sequence[str]]


def cards(groups: Sequence[Cards], *, over: str = "", columns: int = ACROSS) -> Image:
    """Return a sheet of images with words under each, group by group.

    Args:
        groups: of images of one shape.
        over: a line above all.
        columns: cards side by side.

    Example:
        >>> sheet = cards([Cards("ones", torch.ones(7, 2, 1, 8, 8), [["a name", "1.0"]] * 7)])
        >>> sheet.size
        (828, 606)
    """
    from PIL import Image, ImageDraw

    kinds, _, high, wide = groups[0].images.shape[1:]
    cell = max(wide, (WIDE - 2 * EDGE - (columns - 1) * SPACE) // columns)
    factor = max(1, min(cell // wide, HIGH // (kinds * high)))
    font, small = letters(), letters().font_variant(size=SMALL)
    lines = max(len(words) for group in groups for words in group.words)
    step = factor * high * kinds + GAP * (kinds - 1) + 4 + UNDER * lines + SPACE
    rows = [-(-len(group.images) // columns) for group in groups]
    down = EDGE + LINE * (bool(over) + len(groups)) + sum(rows) * step + EDGE * len(groups)
    page = Image.new("RGB", (2 * EDGE + columns * (cell + SPACE) - SPACE, down), "white")
    pen, top = ImageDraw.Draw(page), EDGE
    if over:
        pen.text((EDGE, top), over, SOFT, font)
        top += LINE
    for group, many in zip(groups, rows, strict=True):
        pen.text((EDGE, top), group.title, INK, font)
        top += LINE + 4
        for number, (images, words) in enumerate(zip(group.images, group.words, strict=True)):
            left = EDGE + number % columns * (cell + SPACE)
            at = top + number // columns * step
            made = joined(in_rows(tiles_of(images), 1), [GAP] * kinds, factor)
            page.paste(made, (left, at), made)
            for line, text in enumerate(words):
                y = at + made.height + 4 + UNDER * line
                pen.text((left, y), _fitted(text, small, cell), INK if not line else SOFT, small)
        top += many * step + EDGE - 4
    return page


def _fitted(text: str, font: FreeTypeFont, width: int) -> str:
    """Return a text without letters in its middle, if it is wider than so many pixels."""
    shown = text = visible(text, lines=False)
    for kept in range(min(len(text), 300) - 1, 1, -1):
        if font.getlength(shown) <= width:
            break
        shown = f"{text[: kept // 2]}…{text[kept // 2 - kept :]}"
    return shown


def score_sheet(run: Run, scored: Scored) -> Image:
    """Return the strangest and the most typical images, each with its reconstruction and score."""
    order = scored.scores.values[scored.first].argsort(descending=True, stable=True)
    most = order[:SHOWN], order[SHOWN:].flip(0)[:SHOWN]
    titles = "the strangest", "the most typical"
    groups = [_cards(run, scored.take(i), t) for i, t in zip(most, titles, strict=True) if len(i)]
    left = len(order) - sum(map(len, most))
    more = f"; {left:,} between them are left out" if left > 0 else ""
    return cards(groups, over=_over(scored, scored.first) + more)


def outlier_sheet(run: Run, scored: Scored, by: str | None = None) -> Image:
    """Return rows as `vaekit.runs.outliers` finds them, each with its reconstruction and score."""
    title = "most of whose neighbors have another label" if by == "label" else "the least likely"
    score = scored.first if by in (None, "label") else str(by)
    return cards([_cards(run, scored, title, score)], over=_over(scored, score))


def _over(scored: Scored, score: str) -> str:
    what = f"x over E[x|z]; {TITLES[score]}"
    what += " in nats" if score != "error" else ""
    return f"{what}, and the share of validation rows below it" if scored.percentiles else what


def _cards(run: Run, scored: Scored, title: str, score: str | None = None) -> Cards:
    """Return each row over its reconstruction, with its name, score and label under it."""
    score = score or scored.first
    x, context = scored.rows.batch()
    made = run.reconstruct(x, context)
    both = torch.stack([run.spec.values.inverse(part) for part in (x, made)], 1)
    words = [[str(name)] for name in scored.names]
    for row, number in enumerate(scored.scores.values[score].tolist()):
        text = f"{number:.4f}" if score == "error" else value(number)
        if score in scored.percentiles:
            text += f" · {scored.percentiles[score][row]:.1%}"
        words[row].append(text)
        if scored.labels is not None:
            words[row].append(f"label {scored.labels[row]}")
        if scored.more:
            share, near = (scored.more[name][row] for name in ("other_labels", "neighbors_label"))
            words[row] += [f"{share:.0%} other", f"near {near}"]
    return Cards(title, both, words)


def score_figure(scored: Scored) -> Figure:
    """Draw how the scores are spread, beside those of the run's own validation rows.

    Scores far above all others are counted in the last bar.
    """
    figure, (axes,) = paper(FULL, 260)
    found, usual = scored.scores.values[scored.first], scored.usual.get(scored.first)
    both = [("scored rows", found, "train")]
    if usual is not None:
        both.insert(0, ("validation rows of the run", usual, "validation"))
    least = -np.inf if scored.cut is None else scored.cut
    edges, beyond = bins(*(values for _, values, _ in both), least=least)
    for name, values, color in both:
        shares = counted(values, edges) / len(values)
        axes.stairs(shares, edges, fill=True, color=COLORS[color], alpha=0.35)
        axes.stairs(shares, edges, color=COLORS[color], label=f"{name}: {len(values):,}")
    if scored.cut is not None:
        axes.axvline(scored.cut, color=COLORS["ink"], linestyle="--", linewidth=1.2)
        axes.text(scored.cut, axes.get_ylim()[1], " strange →", va="top")
    unit = "" if scored.first == "error" else ", nats"
    more = " (all beyond are in the last bar)" * beyond
    axes.set(xlabel=f"{TITLES[scored.first]}{unit}{more}", ylabel="share of rows")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


def bins(*scores: Tensor, least: float = -np.inf) -> tuple[np.ndarray, bool]:
    """Return the edges of bars for scores, and whether some lie beyond the last.

    Those that lie far above the third quartile of the first scores, and above `least`, do.

    Example:
        >>> edges, beyond = bins(torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 1e6]))
        >>> edges[-1].item(), beyond
        (18.75, True)
    """
    every = np.concatenate([values.numpy() for values in scores])
    every, known = (part[np.isfinite(part)] for part in (every, scores[0].numpy()))
    if not len(known):
        return np.linspace(0, 1, BINS + 1), True
    first, third = np.quantile(known, [0.25, 0.75])
    low, high = every.min(), min(every.max(), max(third + 6 * (third - first), least))
    high = max(high, low + 1e-6 * max(1.0, abs(low)))
    return np.linspace(low, high, BINS + 1), bool(every.max() > high)


def counted(values: Tensor, edges: np.ndarray) -> np.ndarray:
    """Return how many values each bar has; the last also those beyond it."""
    cut = np.minimum(np.nan_to_num(values.numpy(), nan=np.inf), edges[-1])
    return np.histogram(cut, edges)[0]


def likely(run: Run, data: Dataset, elbo: Tensor, index: Tensor, _: Words) -> dict[str, Any] | None:
    """Return how the -ELBO of test rows is spread, and cells of the strangest and likeliest images.

    None where no number of them is finite.

    Args:
        run, data: whose rows they are.
        elbo: of each row.
        index: which test rows these are.
        _: the translation of words.
    """
    if not elbo.isfinite().any():
        return None
    loss = -elbo.nan_to_num(-torch.inf)
    edges, beyond = bins(loss)
    counts = counted(loss, edges)
    plot = Plot((edges[0], edges[-1]), (0, 1.05 * counts.max()), (640, 160))
    plot.margins = (46, 70, 10, 30)
    plot.grid(4)
    for start, end, count in zip(edges, edges[1:], counts, strict=False):
        (left, top), (right, bottom) = plot.at(start, count), plot.at(end, 0)
        size = f'width="{max(right - left - 1, 1):.2f}" height="{bottom - top:.2f}"'
        plot.add(f'<rect class="bar" x="{left:.2f}" y="{top:.2f}" {size}/>')
    plot.below(_("nats"))
    words = _("−ELBO of {} test rows").format(len(loss))
    found: dict[str, Any] = {"chart": Chart(_("−ELBO"), _("rows"), plot.svg(words), words)}
    found |= {"beyond": beyond, "rows": []}
    if len(run.spec.shape) != 3 or len(loss) < 2 * FIVE:
        return found
    order = loss.argsort(descending=True, stable=True)
    picks = torch.cat([order[:FIVE], order[-FIVE:].flip(0)])
    shown = Rebuilt.of(run, data, data.test.take(index[picks]))
    names = [shown.name(row, _) for row in range(len(picks))]
    numbers = [Cell(value(number), kind="text") for number in loss[picks].tolist()]
    x, made = (cells(shown.seen(part), names) for part in (shown.x, shown.made))
    rows = [(_("original"), x), (_("rebuilt"), made), (_("−ELBO"), numbers)]
    return found | {"rows": rows}

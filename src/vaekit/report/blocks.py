"""What a report shows of a model: its images, walks through its latent, codes, layers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.data import Dataset, Split, spread
from vaekit.distributions import Offer
from vaekit.models import flat_codes, luminance
from vaekit.report.codes import Codes, fixed_rows, minis, plane
from vaekit.report.grids import sample_images
from vaekit.report.pages import Cell, address, cells, masks, sheet, small
from vaekit.report.walks import interpolate, traverse
from vaekit.runs import FittedPrior, Run
from vaekit.torchutil import rng

TEN, BLOCK = 10, 5  # images across, in blocks
SAMPLES = 20
BY_CLASS = 64  # samples of a conditional run, a row for each class
VALUES = 4e7  # of the rows that are decoded at once
PLAIN = 300_000  # values of a sheet of images that is kept exact
LABELED = 64  # dimensions that a sample's z may have to be drawn as bars
STEPS = torch.linspace(-2.5, 2.5, 11)
DIMS, CARDS, AXES = 3, 400, 8

Words = Callable[[str], str]


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """Test rows, and what the model makes of them.

    Attributes:
        run, data: whose they are.
        rows: of the test split.
        x, made: the rows and E[x|z] at their codes, canonical, `(N, *X)`.
        codes: `(N, ...)`; None without a latent.
        error: the mean square of x - made of each row, `(N,)`.
    """

    run: Run
    data: Dataset
    rows: Split
    x: Tensor
    made: Tensor
    codes: Tensor | None
    error: Tensor

    @classmethod
    def of(cls, run: Run, data: Dataset, rows: Split) -> Rebuilt:
        """Return as many of the rows, evenly spread, as can be decoded at once."""
        rows = rows.take(spread(len(rows), int(max(24, VALUES // prod(run.spec.shape)))))
        x, context = fixed_rows(rows), None if rows.context is None else rows.context.float()
        codes = run.encode(x, context) if Offer.LATENT in run.offers else None
        made = run.reconstruct(x, context) if codes is None else run.decode(codes, context)
        return cls(run, data, rows, x, made, codes, (x - made).square().flatten(1).mean(1))

    def seen(self, x: Tensor) -> Tensor:
        """Return images as a screen shows them, in [0, 1] and of 112 pixels a side at most."""
        return small(self.run.spec.values.inverse(x))

    def name(self, row: int, _: Words) -> str:
        """Return the class of a row, or that it is a test image."""
        labels, classes = self.rows.labels, self.data.class_names
        if labels is None:
            return _("test image")
        return classes[int(labels[row])] if classes else str(int(labels[row]))

    def context(self, rows: Sequence[int]) -> Tensor | None:
        """Return what the model is given beside these rows."""
        of = self.rows.context
        return None if of is None else of[list(rows)].float()


def reconstructions(shown: Rebuilt, _: Words) -> list[tuple[str, list[Cell]]]:
    """Return rows of cells: originals, what is made of them, and where they differ.

    Ten even steps from the 2 % that are rebuilt best to the 2 % that are rebuilt worst.
    """
    order = shown.error.nan_to_num(0.0).argsort(stable=True)
    share = torch.linspace(0.02, 0.98, TEN) * (len(order) - 1)
    picks = order[share.round().long().unique()].tolist()
    x, made = shown.seen(shown.x[picks]), shown.seen(shown.made[picks])
    names = [shown.name(row, _) for row in picks]
    errors = [f"{shown.error[row]:.4f}" for row in picks]
    missed = masks((x - made).abs().mean(1), [_("where they differ")] * len(picks))
    color = Offer.COLORS in shown.run.offers
    form = _("{name}, rebuilt with a mean square error of {error}")
    alts = [form.format(name=n, error=e) for n, e in zip(names, errors, strict=True)]
    gray = [(_("gray"), cells(luminance(x), names))] if color else []
    return [
        (_("original"), cells(x, names)),
        *gray,
        (_("colored") if color else _("rebuilt"), cells(made, alts)),
        (_("missed"), missed),
        (_("error"), [Cell(text, kind="text") for text in errors]),
    ]


def samples(shown: Rebuilt, _: Words) -> dict[str, Any]:
    """Return rows of cells: z, E[x|z], and the training image that is nearest to it.

    Of a conditional run with few classes a row for each, and the same draws of z in each. Where z
    is of the prior fitted to the codes, a last row is of p(z).
    """
    run = shown.run
    fitted = run.sampled_prior()
    lines, more = _by_class(shown, _) if run.conditional else _with_nearest(shown, fitted, _)
    if fitted is not None:
        plain = shown.seen(run.sample(len(lines[-1][1]), prior="model"))
        lines.append((_("from p(z)"), cells(plain, [_("sample from p(z)")] * len(plain))))
    return {"rows": lines, "classes": [], "searched": 0, "block": BLOCK, "fitted": fitted, **more}


Lines = list[tuple[str, list[Cell]]]


def _by_class(shown: Rebuilt, _: Words) -> tuple[Lines, dict[str, Any]]:
    images, columns = sample_images(shown.run, BY_CLASS)
    made = cells(shown.seen(images), [_("sample")] * len(images))
    if not columns:
        return [(_("sample"), made)], {}
    names = shown.run.class_names
    lines = [(name, made[n * columns : (n + 1) * columns]) for n, name in enumerate(names)]
    return lines, {"block": columns, "classes": names}


def _with_nearest(
    shown: Rebuilt, fitted: FittedPrior | None, _: Words
) -> tuple[Lines, dict[str, Any]]:
    run = shown.run
    model: Any = run.model
    with rng(0, run.device), torch.no_grad():
        if fitted is None:
            zs = model.draw_prior(SAMPLES, None)
        else:
            zs = (fitted.density.sample((SAMPLES,)).to(run.device),)
        images = model.decode(zs).cpu()
    found, searched = nearest(images, shown.data.train)
    lines = [
        (_("sample"), cells(shown.seen(images), [_("sample")] * SAMPLES)),
        (_("nearest"), cells(shown.seen(found), [_("nearest training image")] * SAMPLES)),
    ]
    flat = flat_codes(zs).cpu()
    if flat.is_floating_point() and flat.shape[1] <= LABELED and Offer.CODES not in run.offers:
        lines = [("z", [Cell(_bars_of(z), kind="svg") for z in flat]), *lines]
    return lines, {"searched": searched}


def nearest(images: Tensor, train: Split) -> tuple[Tensor, int]:
    """Return the training rows that are nearest to these, by square distance, and how many are."""
    count = int(min(len(train), max(1000, 6e7 // prod(images.shape[1:]))))
    index = spread(len(train), count)
    flat = images.flatten(1).float()
    best, found = torch.full((len(images),), torch.inf), images.clone()
    for part in index.split(4000):
        x = fixed_rows(train, part)
        other = x.flatten(1)
        far = other.square().sum(1) - 2 * flat @ other.T
        low, row = far.min(1)
        closer = low < best
        best, found[closer] = torch.minimum(best, low), x[row[closer]].to(found.dtype)
    return found, count


def _bars_of(z: Tensor) -> str:
    """Return a code as small bars around 0, an `<svg>`."""
    values = z.double().nan_to_num(0.0).tolist()
    step = 84 / len(values)
    path = "".join(
        f"M{(n + 0.5) * step:.1f} 22v{-8 * max(-2.6, min(2.6, value)):.1f}"
        for n, value in enumerate(values)
    )
    words = "z: " + ", ".join(f"{value:.2f}" for value in values)
    return (
        f'<svg class="bars" viewBox="0 0 84 44" role="img" aria-label="{words}">'
        f'<path class="grid" d="M0 22H84"/><path class="err accent" style="stroke-width: '
        f'{min(8.0, max(1.0, 0.6 * step)):.1f}" d="{path}"/></svg>'
    )


def walks(shown: Rebuilt, _: Words) -> dict[str, Any]:
    """Return three walks from the code of one test image straight to that of another.

    The images are of different classes where there are labels, each that of its class which is
    rebuilt best.
    """
    ends = _ends(shown)
    size = prod(shown.x.shape[1:])
    steps = 33 if size <= 1100 else 17 if size <= 5000 else 9
    found = []
    for first, last in zip(ends[::2], ends[1::2], strict=False):
        both = None
        if shown.rows.context is not None:
            both = (shown.context([first]), shown.context([last]))
        x, y = shown.x[[first]], shown.x[[last]]
        made = interpolate(shown.run, x, y, steps=steps, context=both)[0]  # type: ignore[arg-type]
        frames = shown.seen(made)
        kind = "png" if frames.numel() < PLAIN else "webp"
        names = [shown.name(row, _) for row in (first, last)]
        ends_ = cells(shown.seen(shown.x[[first, last]]), names)
        found.append({"ends": ends_, "sheet": address(sheet(frames, steps), kind)})
    stills = [round(k * (steps - 1) / 8) / (steps - 1) for k in range(9)]
    return {"walks": found, "steps": steps, "stills": stills}


def _ends(shown: Rebuilt) -> list[int]:
    """Return six rows between which walks go; fewer where there are fewer."""
    labels, order = shown.rows.labels, shown.error.nan_to_num(torch.inf).argsort().tolist()
    if labels is None:
        return spread(len(shown.x), 6).tolist()
    best = {int(labels[row]): row for row in reversed(order)}
    if len(best) < 6:
        return spread(len(shown.x), 6).tolist()
    return [row for _, row in sorted(best.items())[:6]]


def dimensions(shown: Rebuilt, kl: Sequence[float] | None, _: Words) -> dict[str, Any]:
    """Return what the three dimensions in which codes vary most do, one at a time.

    The code is that of the test image that is rebuilt best. A dimension moves over 2.5 standard
    deviations of the codes to either side of their mean.
    """
    assert shown.codes is not None
    flat = shown.codes.flatten(1).double()
    spreads, means = flat.std(0, False), flat.mean(0)
    order = spreads.sort(descending=True, stable=True).indices.tolist()[:DIMS]
    row = int(shown.error.nan_to_num(torch.inf).argmin())
    z, context = shown.codes[row].cpu(), shown.context([row])
    lines = []
    for dim in order:
        values = (means[dim] + STEPS * spreads[dim]).to(z.dtype)
        made = shown.seen(traverse(shown.run, z, [dim], values, context)[0])
        moved = made.std(0, False).mean(0, keepdim=True)
        alts = [f"z{dim} = {value:.2f}" for value in values.tolist()]
        where = masks(moved / moved.max().clamp(min=1e-6), [_("where it acts")])[0]
        known = None if kl is None else kl[dim]
        lines.append({"dim": dim, "kl": known, "cells": cells(made, alts), "where": where})
    return {"lines": lines, "name": shown.name(row, _), "steps": STEPS.tolist()}


def cloud(codes: Codes, shown: Rebuilt | None, words: str) -> dict[str, Any]:
    """Return the plane of codes, a small one for each class, and what the script looks up.

    Args:
        codes: of test rows.
        shown: images of some of these rows, evenly spread; None where they are no images.
        words: what the plane shows.
    """
    order = codes.order[:AXES]
    order[:2] = codes.dimensions
    groups = codes.groups
    number = {int(row): group for group, (_, rows) in enumerate(groups) for row in rows}
    svg, square = plane(codes, words)
    known = {
        "z": codes.means[:, order].double().nan_to_num(0.0, 0.0, 0.0).round(decimals=2).tolist(),
        "dims": order,
        "middle": square.middle[order].tolist(),
        "class": [number.get(row, 0) for row in range(len(codes.means))],
        "names": [name for name, _ in groups],
        "scale": square.unit,
        "size": [480, 480],
        **_sheets(shown),
    }
    small = minis(codes) if len(groups) > 1 else []
    data = json.dumps(known, separators=(",", ":")).replace("<", "\\u003c")
    return {"svg": svg, "minis": small, "axes": list(enumerate(order)), "data": data}


def _sheets(shown: Rebuilt | None) -> dict[str, Any]:
    """Return which rows have an image, and sheets of these and of what is made of them."""
    if shown is None:
        return {"shown": [], "sheets": []}
    size = prod(shown.seen(shown.x[:1]).shape[1:])
    some = spread(len(shown.x), int(min(CARDS, max(40, 5e5 // size))))
    sheets = [sheet(shown.seen(part[some])) for part in (shown.x, shown.made)]
    return {"shown": some.tolist(), "sheets": [address(one, "webp") for one in sheets]}


def layers(shown: Rebuilt) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return the parts of a model, each with its layers: name, what comes out, and weights.

    Only layers with weights of their own are listed; shapes are those of one row.
    """
    shapes: dict[nn.Module, str] = {}

    def keep(module: nn.Module, _: Any, out: Any) -> None:
        if isinstance(out, Tensor):
            shapes[module] = " × ".join(map(str, out.shape[1:]))

    own = [(name, one) for name, one in shown.run.model.named_modules() if _weights(one)]
    hooks = [one.register_forward_hook(keep) for _, one in own]
    try:
        shown.run.reconstruct(shown.x[:1], shown.context([0]))
    finally:
        for hook in hooks:
            hook.remove()
    parts: dict[str, list[tuple[str, str, str]]] = {}
    for name, one in own:
        part, _, rest = name.partition(".")
        row = (f"{rest} {_layer(one)}".strip(), shapes.get(one, ""), f"{_weights(one):,}")
        parts.setdefault(part, []).append(row)
    return list(parts.items())


def _layer(module: nn.Module) -> str:
    """Return a layer in short: its type, and of a convolution its kernel and stride."""
    kernel: Any = getattr(module, "kernel_size", None)
    if not isinstance(kernel, tuple):
        return type(module).__name__
    stride = max(getattr(module, "stride", (1,)))
    size = " × ".join(map(str, kernel))
    return f"{type(module).__name__} {size}" + (f", stride {stride}" if stride > 1 else "")


def _weights(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters(recurse=False))

"""What a report shows of a model: its images, walks through its latent, codes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from vaekit._torchutil import rng
from vaekit.data import Dataset, Split, spread
from vaekit.distributions import Offer, flat
from vaekit.evaluate import average
from vaekit.models import flat_codes, luminance
from vaekit.report._codes import (
    Codes,
    by_factor,
    cloud,
    fixed_rows,
    posteriors,
    standard_prior,
    strips,
    views,
)
from vaekit.report._grids import in_color, sample_images
from vaekit.report._measures import number_text
from vaekit.report._pages import Cell, address, bars_around, cells, masks, sheet, small
from vaekit.report._run_set import Words
from vaekit.report._walks import interpolate, traverse
from vaekit.runs import FittedPrior, Run

TEN, BLOCK = 10, 5  # images across, in blocks
SAMPLES = 20
BY_CLASS = 64  # samples of a conditional run, a row for each class
VALUES = 4e7  # of the rows that are decoded at once
PLAIN = 300_000  # values of a sheet of images that is kept exact
LABELED = 64  # dimensions that a sample's z may have to be drawn as bars
STEPS = torch.linspace(-2.5, 2.5, 11)
DIMS, CARDS = 3, 400

Row = tuple[str, list[Cell]]


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """Test rows, and what the model makes of them.

    Attributes:
        run, data: whose they are.
        rows: of the test split.
        x, made: the rows and E[x|z] at their codes, canonical, `(N, *X)`.
        codes: `(N, ...)`; None without a latent.
        errors: the mean square of x - made of each row, of what is seen of it, `(N,)`.
    """

    run: Run
    data: Dataset
    rows: Split
    x: Tensor
    made: Tensor
    codes: Tensor | None
    errors: Tensor

    @classmethod
    def of(cls, run: Run, data: Dataset, rows: Split) -> Rebuilt:
        """Return as many of the rows, evenly spread, as can be decoded at once."""
        rows = rows.take(spread(len(rows), int(max(24, VALUES // prod(run.spec.shape)))))
        x, context = fixed_rows(rows), None if rows.context is None else rows.context.float()
        codes = run.encode(x, context) if Offer.LATENT in run.offers else None
        made = run.reconstruct(x, context) if codes is None else run.decode(codes, context)
        return cls(run, data, rows, x, made, codes, (x - made).square().flatten(1).nanmean(1))

    def seen(self, x: Tensor) -> Tensor:
        """Return images as a screen shows them, in [0, 1] and of 112 pixels a side at most."""
        return small(in_color(self.run.spec.values.inverse(x)))

    def name(self, row: int, _: Words) -> str:
        """Return the class of a row, or its file, or that it is a test image."""
        if self.rows.labels is None:
            return _("test image") if self.rows.ids is None else str(self.rows.ids[row])
        label = int(self.rows.labels[row])
        return self.data.class_names[label] if self.data.class_names else str(label)

    def context(self, rows: Sequence[int]) -> Tensor | None:
        """Return what the model is given beside these rows."""
        of = self.rows.context
        return None if of is None else of[list(rows)].float()

    @property
    def error(self) -> str:
        """The mean square error, and its standard error."""
        groups = self.rows.groups
        mean, error = average(self.errors.double(), None if groups is None else groups.cpu())
        return number_text(mean, error, decimals=4)

    @property
    def share(self) -> str:
        """How much of the variance of the rows is explained."""
        x = self.x.double()
        variance = (x - x.nanmean(0)).square().flatten(1).nanmean(1).mean()
        return f"{float(1 - self.errors.double().mean() / variance):.0%}".replace("-", "−")


def reconstructions(shown: Rebuilt, _: Words) -> list[Row]:
    """Return rows of cells: originals, what is made of them, and where they differ.

    Ten even steps from the 2 % that are rebuilt best to the 2 % that are rebuilt worst.
    """
    order = shown.errors.nan_to_num(0.0).argsort(stable=True)
    share = torch.linspace(0.02, 0.98, TEN) * (len(order) - 1)
    picks = order[share.round().long().unique()].tolist()
    x, made = shown.seen(shown.x[picks]), shown.seen(shown.made[picks])
    names = [shown.name(row, _) for row in picks]
    errors = [f"{shown.errors[row]:.4f}" for row in picks]
    form = _("{name}, rebuilt with a mean square error of {error}")
    alts = [form.format(name=n, error=e) for n, e in zip(names, errors, strict=True)]
    rows = [(_("original"), cells(x, names))]
    if Offer.COLORS in shown.run.offers:
        rows += [(_("gray"), cells(luminance(x), names)), (_("colored"), cells(made, alts))]
    else:
        rows += [(_("rebuilt"), cells(made, alts))]
    missed = masks((x - made).abs().mean(1), [_("where they differ")] * len(picks))
    return [*rows, (_("missed"), missed), (_("error"), [Cell(e, kind="text") for e in errors])]


def samples(shown: Rebuilt, _: Words) -> dict[str, Any]:
    """Return rows of cells: z, E[x|z], and the training image that is nearest to it.

    Of a conditional run with few classes a row for each, of the same noise. Where z is of the prior
    fitted to the codes, a last row is of p(z).
    """
    run, fitted = shown.run, shown.run.sampled_prior()
    rows, more = _by_class(shown, _) if run.conditional else _with_nearest(shown, fitted, _)
    if fitted is not None and Offer.DRAWS in run.offers:
        plain = shown.seen(run.sample(len(rows[-1][1]), prior="model"))
        rows.append((_("from p(z)"), cells(plain, [_("sample from p(z)")] * len(plain))))
    facts = {"rows": rows, "classes": [], "searched": 0, "block": BLOCK}
    return {**facts, "fitted": fitted, "said": fitted and fitted.said(_), **more}


Lines = list[tuple[str, list[Cell]]]


def _by_class(shown: Rebuilt, _: Words) -> tuple[Lines, dict[str, Any]]:
    images, columns = sample_images(shown.run, BY_CLASS)
    made = cells(shown.seen(images), [_("sample")] * len(images))
    if not columns:
        return [(_("sample"), made)], {}
    lines = [made[start : start + columns] for start in range(0, len(made), columns)]
    names = shown.run.class_names
    return list(zip(names, lines, strict=True)), {"block": columns, "classes": names}


def _with_nearest(
    shown: Rebuilt, fitted: FittedPrior | None, _: Words
) -> tuple[Lines, dict[str, Any]]:
    run = shown.run
    model: Any = run.model
    with rng(0, run.device), torch.no_grad():
        drawn = model if fitted is None else fitted.in_place_of(model, scored=False)
        zs = drawn.draw_prior(SAMPLES, None)
        images = model.decode(zs).cpu()
    near, searched = nearest(images, shown.data.train)
    rows = [
        (_("sample"), cells(shown.seen(images), [_("sample")] * SAMPLES)),
        (_("nearest"), cells(shown.seen(near), [_("nearest training image")] * SAMPLES)),
    ]
    z = flat(run.codes_space, flat_codes(zs).cpu())
    if z.is_floating_point() and z.shape[1] <= LABELED and Offer.CODES not in run.offers:
        rows = [("z", bars_around(z)), *rows]
    return rows, {"searched": searched}


def nearest(images: Tensor, train: Split) -> tuple[Tensor, int]:
    """Return the training rows that are nearest to these, by square distance, and how many are."""
    count = int(min(len(train), max(1000, 6e7 // prod(images.shape[1:]))))
    index = spread(len(train), count)
    pixels = images.flatten(1).float()
    best, found = torch.full((len(images),), torch.inf), images.clone()
    for part in index.split(4000):
        x = fixed_rows(train, part)
        other = x.flatten(1)
        far = other.square().sum(1) - 2 * pixels @ other.T
        low, row = far.min(1)
        closer = low < best
        best, found[closer] = torch.minimum(best, low), x[row[closer]].to(found.dtype)
    return found, count


def walks(shown: Rebuilt, _: Words) -> dict[str, Any]:
    """Return three walks from the code of one test image straight to that of another.

    The images are of different classes where there are labels, each that of its class which is
    rebuilt best.
    """
    ends, labels = spread(len(shown.x), 6).tolist(), shown.rows.labels
    if labels is not None:
        order = shown.errors.nan_to_num(torch.inf).argsort(descending=True)
        best = {int(labels[row]): int(row) for row in order}
        ends = [row for _, row in sorted(best.items())[:6]] if len(best) >= 6 else ends
    size, found = prod(shown.x.shape[1:]), []
    steps = 33 if size <= 1100 else 17 if size <= 5000 else 9
    for pair in zip(ends[::2], ends[1::2], strict=False):
        x, under = shown.x[list(pair)], shown.context(pair)
        both: Any = None if under is None else under.split(1)
        made = interpolate(shown.run, x[:1], x[1:], steps=steps, context=both)[0]
        strip, names = sheet(shown.seen(made), steps), [shown.name(row, _) for row in pair]
        kind = "png" if strip.numel() < PLAIN else "webp"
        found.append({"ends": cells(shown.seen(x), names), "sheet": address(strip, kind)})
    return {"walks": found, "steps": steps}


def dimensions(shown: Rebuilt, kl: Sequence[float] | None, _: Words) -> dict[str, Any]:
    """Return what the three dimensions in which codes vary most do, one at a time.

    The code is that of the test image that is rebuilt best. A dimension moves over 2.5 standard
    deviations of the codes to either side of their mean.
    """
    assert shown.codes is not None
    codes = flat(shown.run.codes_space, shown.codes.flatten(1).double())
    spreads, means = codes.std(0, False), codes.mean(0)
    order = spreads.sort(descending=True, stable=True).indices.tolist()[:DIMS]
    row = int(shown.errors.nan_to_num(torch.inf).argmin())
    z, context = shown.codes[row].cpu(), shown.context([row])
    lines = []
    for dim in order:
        values = (means[dim] + STEPS * spreads[dim]).to(z.dtype)
        made = shown.seen(traverse(shown.run, z, [dim], values, context)[0])
        moved = made.std(0, False).mean(0, keepdim=True)
        alts = [f"z{dim} = {value:.2f}" for value in values.tolist()]
        where = masks(moved / moved.max().clamp(min=1e-6), [_("where it acts")])[0]
        lines.append({"dim": dim, "kl": kl and kl[dim], "cells": cells(made, alts), "where": where})
    return {"lines": lines, "name": shown.name(row, _), "steps": STEPS.tolist()}


def clouds(shown: Rebuilt, say: Words, *, drawable: bool) -> dict[str, Any]:
    """Return where the codes of the test rows lie: a panel for each factor, lines, or a plane."""
    assert shown.codes is not None
    run, rows, means = shown.run, shown.rows, shown.codes.flatten(1)
    factors = rows.factors if means.shape[1] > 1 else None
    scales = None
    if Offer.MOMENTS in run.offers and means.shape[1] > 1:
        some = Codes(means, rows.labels).some  # the rows that get an ellipse
        scales = torch.full_like(means, torch.nan)
        scales[some] = posteriors(run, shown.x[some], shown.context(some))[1].to(means.dtype)  # type: ignore[union-attr]
    names = shown.data.class_names, shown.data.factor_names
    codes = Codes(means, rows.labels, names[0], factors, names[1], scales, standard_prior(run))
    words = say("codes of {} test rows").format(len(means))
    if codes.known:
        words += say(" in the colors of {} classes").format(len(codes.known))
    found: dict[str, Any] = {"codes": codes, "factors": [], "strips": None, "plane": None}
    if means.shape[1] == 1:
        return {**found, "strips": strips(codes, words)}
    if means.shape[1] > 2:
        codes = views(codes)
        found["codes"] = codes
    if factors is not None:
        return {**found, "factors": list(by_factor(codes))}
    plane, known = cloud(codes, words)
    known |= {"shown": [], "sheets": []}
    if drawable:
        size = prod(shown.seen(shown.x[:1]).shape[1:])
        cards = spread(len(shown.x), int(min(CARDS, max(40, 5e5 // size))))
        sheets = [sheet(shown.seen(part[cards])) for part in (shown.x, shown.made)]
        known |= {"shown": cards.tolist(), "sheets": [address(one, "webp") for one in sheets]}
    data = json.dumps(known, separators=(",", ":")).replace("<", "\\u003c")
    return {**found, "plane": {**plane, "data": data}}

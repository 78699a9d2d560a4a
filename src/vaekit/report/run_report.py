"""The report of a run: what it says, from the run folder and the test data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit.data import Split, spread
from vaekit.distributions import Offer
from vaekit.io import write
from vaekit.report import blocks, facts, pages
from vaekit.report.blocks import Rebuilt
from vaekit.report.codes import Codes, by_factor, posteriors, standard_prior, strips
from vaekit.report.curves import ACTIVE, PANELS, Chart, Line, bars, finite, lines, points, value
from vaekit.report.facts import Numbers
from vaekit.report.tables import Table, against, correlations, explained, moments, row_maps
from vaekit.runs import Run, keep_fitted

SHOWN = 24  # rows of a table's map
NAMES = 24  # bars that have names

Words = Callable[[str], str]


def write_run_report(run: Run, *, data_dir: str | None = None, lang: str = "en") -> Path:
    """Write report.html into the run folder, and the prior fitted to the codes beside it.

    Its numbers come from up to 1,000 test rows.

    Args:
        run: of any model.
        data_dir: where data sets lie.
        lang: the language of its sentences, "en" or "zh"; numbers and options are the same.

    Raises:
        VaekitError: where the data are not found or the file cannot be written, and for another
            language.
    """
    say = pages.words(lang).gettext
    data = run.dataset(data_dir)
    rows = data.test.take(spread(len(data.test), facts.ROWS))
    keep_fitted(run, data)
    found = facts.measure_run(run, data)
    shown = Rebuilt.of(run, data, rows)
    html = pages.render(
        "run.html.j2",
        lang=lang,
        title=say("{recipe} on {data}").format(recipe=run.config.recipe, data=run.spec.name),
        curves=training_curves(run.folder.records(), say(run.spec.unit), step=run.step, say=say),
        kl=kl_bars(found.records.get("latent") or {}, say),
        layers=blocks.layers(shown),
        **facts.said_of(run, data, found, shown),
        **_shown(shown, found, say),
    )
    return write(run.folder.report, html)


def _shown(shown: Rebuilt, found: Numbers, say: Words) -> dict[str, Any]:
    """Return the blocks of images, or those of a table in their stead, and the codes."""
    run = shown.run
    images = len(run.spec.shape) == 3
    drawable, high_wide = images and run.spec.shape[0] in (1, 3), run.spec.shape[-2:]
    names = ("pairs", "samples", "walk", "dims", "table", "cloud")
    blocks_: dict[str, Any] = dict.fromkeys(names)
    blocks_ |= {"ratio": f"{high_wide[-1]} / {high_wide[0]}", "smooth": max(high_wide) > 56}
    if drawable:
        blocks_["pairs"] = blocks.reconstructions(shown, say)
        if Offer.DRAWS in run.offers:
            blocks_["samples"] = blocks.samples(shown, say)
        if Offer.LATENT in run.offers and _plain_latent(run):
            kl = (found.records.get("latent") or {}).get("kl_per_dim")
            blocks_["walk"] = blocks.walks(shown, say) if len(shown.x) > 1 else None
            blocks_["dims"] = blocks.dimensions(shown, kl, say)
    elif len(run.spec.shape) == 1:
        blocks_["table"] = _table_blocks(run, shown, say)
    if Offer.LATENT in run.offers and Offer.CODES not in run.offers:
        blocks_["cloud"] = _code_blocks(shown, drawable=drawable, say=say)
    return blocks_


def _plain_latent(run: Run) -> bool:
    """Return whether codes are points of a real space, where a straight line makes sense."""
    sites = run.model.example(run.spec.context).sites
    return Offer.CODES not in run.offers and all(s.q.space.kind == "reals" for s in sites)


def _table_blocks(run: Run, shown: Rebuilt, say: Words) -> dict[str, Any]:
    """Return the maps of a table, its columns, and what the model draws."""
    context = None if shown.rows.context is None else shown.rows.context.float()
    order = _first_seen(shown.rows)
    parts = {"rows": shown.x[order], "reconstructions": shown.made[order]}
    if Offer.DRAWS in run.offers:
        under = None if context is None else context[order]
        parts["draws"] = run.sample(len(shown.x), context=under, mean=False)
    seen = {name: run.spec.values.inverse(part) for name, part in parts.items()}
    names, counts = shown.data.column_names, shown.data.kind == "counts"
    table = Table(**seen, columns=names, counts=counts)
    maps, draws = list(row_maps(table, SHOWN, say)), list(correlations(table, say))
    columns = [explained(table, say)]
    if counts:
        columns = [_table_means(table, table.reconstructions, say("reconstructions"), say)]
    if counts and table.draws is not None:
        name, zeros = say("draws of the model"), say("part of zeros of each column")
        empty, drawn = ((part == 0).float().mean(0) for part in (table.rows, table.draws))
        draws = [
            _table_means(table, table.draws, name, say),
            against(zeros, empty, drawn, name, log=False),
        ]
    return {
        "table": table,
        "maps": maps,
        "columns": columns,
        "draws": draws,
        "moments": moments(table),
    }


def _table_means(table: Table, other: Tensor, name: str, say: Words) -> Chart:
    """Return the mean of each column, of the rows against something else."""
    return against(say("mean of each column"), table.rows.mean(0), other.mean(0), name, log=True)


def _first_seen(rows: Split) -> Tensor:
    """Return all rows; first those of the map: spread over all, in the order of their classes."""
    shown = spread(len(rows), SHOWN)
    if rows.labels is not None:
        shown = shown[rows.labels[shown].argsort(stable=True)]
    rest = torch.ones(len(rows), dtype=torch.bool)
    rest[shown] = False
    return torch.cat([shown, rest.nonzero().flatten()])


def _code_blocks(shown: Rebuilt, *, drawable: bool, say: Words) -> dict[str, Any]:
    """Return where the codes of the test rows lie."""
    assert shown.codes is not None
    data, rows, means = shown.data, shown.rows, shown.codes.flatten(1)
    factors = rows.factors if means.shape[1] > 1 else None
    known = (rows.labels, data.class_names, factors, data.factor_names)
    codes = Codes(means, *known, _some_scales(shown), standard_prior(shown.run))
    words = say("codes of {} test rows").format(len(means))
    if codes.known:
        words += say(" in the colors of {} classes").format(len(codes.known))
    made: dict[str, Any] = {"codes": codes, "factors": [], "strips": None, "plane": None}
    if means.shape[1] == 1:
        made["strips"] = strips(codes, words)
    elif factors is not None:
        made["factors"] = list(by_factor(codes))
    else:
        made["plane"] = blocks.cloud(codes, shown if drawable else None, words)
    return made


def _some_scales(shown: Rebuilt) -> Tensor | None:
    """Return the deviations of z given x of those rows that get an ellipse; nan for the others."""
    assert shown.codes is not None
    means = shown.codes.flatten(1)
    if Offer.MOMENTS not in shown.run.offers or means.shape[1] < 2:
        return None
    some = Codes(means, shown.rows.labels).some
    x, context = shown.x[some], shown.context(some)
    scales = torch.full_like(means, torch.nan)
    scales[some] = posteriors(shown.run, x, context)[1].to(means.dtype)  # type: ignore[union-attr]
    return scales


def training_curves(
    records: list[dict[str, Any]], unit: str, *, step: int | None = None, say: Words = str
) -> list[Chart]:
    """Return a chart for each term of the objective, and one of the posterior's scale.

    Args:
        records: of metrics.jsonl.
        unit: of the terms.
        step: the optimizer steps after which the weights were kept: that epoch is marked.
        say: the translation of words.

    Example:
        >>> terms = {"objective": -120.0, "log_likelihood": -100.0, "kl": 20.0}
        >>> [chart.title for chart in training_curves([{"epoch": 1, "train": terms}], "nats")]
        ['objective', 'log-likelihood', 'KL']
    """
    kept = next((record["epoch"] for record in records if record.get("step") == step), None)
    found = []
    for name, title in PANELS.items():
        shown = []
        for split, kind in (("train", ""), ("validation", "accent")):
            at = points(records, lambda r, s=split, n=name: (r.get(s) or {}).get(n))  # type: ignore[misc]
            if at:
                shown.append(Line(at, say(split), kind))
        if shown:
            mark = next((p for p in shown[-1].points if p[0] == kept and step), None)
            found.append(lines(say(title), unit, shown, x=say("epoch"), mark=mark))
    scales = points(records, lambda r: (r.get("latent") or {}).get("posterior_scale"))
    if scales:
        unit = say("root mean square of σ(x)")
        found.append(lines(say("posterior σ"), unit, [Line(scales, "σ")], x=say("epoch")))
    return found


def kl_bars(latent: Mapping[str, Any], say: Words = str) -> Chart | None:
    """Return the KL of each latent dimension as a bar, the largest first; None without numbers.

    Those with Var E[z|x] above 0.01 are active (Burda et al., arXiv 1509.00519). A KL alone does
    not say that a code follows x: one that is the same for all x, and not the prior, has a KL too.

    Args:
        latent: what the metric of this name measured: `kl_per_dim` and `variance`.
        say: the translation of words.

    Example:
        >>> kl_bars({"kl_per_dim": [0.0, 1.5, 2.0], "variance": [0.0, 0.5, 0.0]}).words
        '1 of 3 dimensions active, 3.50 nats in total'
    """
    pairs = enumerate(latent.get("kl_per_dim") or ())
    known = sorted(((nats, dim) for dim, nats in pairs if finite(nats)), key=lambda one: -one[0])
    if not known:
        return None
    heights, dims = zip(*known, strict=True)
    active = [latent["variance"][dim] > ACTIVE for dim in dims]
    total = say("{} of {} dimensions active, {} nats in total")
    words = total.format(sum(active), len(known), value(sum(heights)))
    names = [str(dim) for dim in dims] if len(dims) <= NAMES else []
    kinds = ["" if one else "idle" for one in active]
    axis = say("latent dimension, largest KL first")
    return bars(words, say("nats"), heights, names, kinds=kinds, axis=axis, words=words)

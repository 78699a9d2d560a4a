"""The table: a column for each run, a row for each number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from vaekit.evaluate.checks import standard_error
from vaekit.report.comparison.measured import Entry

DASH = "–"
Cell = Callable[[Entry], str]


def _with_error(values: Tensor | None, decimals: int = 2) -> str:
    if values is None:
        return DASH
    return _both(values.mean().item(), standard_error(values), decimals)


def _both(mean: float, error: float, decimals: int) -> str:
    shown = f"{mean:,.{decimals}f}".replace("-", "−")
    return shown if math.isnan(error) else f"{shown} ± {error:,.{decimals}f}"


def _number(value: float | None, form: str) -> str:
    return DASH if value is None else format(value, form).replace("-", "−")


def _units(one: Entry) -> str:
    return DASH if one.active is None else f"{one.active} of {one.units}"


def _gap(one: Entry) -> str:
    return DASH if one.gap is None else _both(*one.gap, 2)


def _ratio(one: Entry) -> str:
    return f"{one.noise.ratio:,.3g}" if math.isfinite(one.noise.ratio) else "∞"


def _weights(one: Entry) -> str:
    return one.run.weights if one.run.step is None else f"{one.run.weights}, step {one.run.step:,}"


def _groups(entries: Sequence[Entry]) -> dict[str, dict[str, Cell]]:
    noun = entries[0].run.spec.unit.split()[-1]
    pictures: dict[str, Cell] = {
        "PSNR, dB": lambda one: _with_error(one.psnr),
        "SSIM": lambda one: _with_error(one.ssim, 3),
    }
    return {
        "Bound and latent": {
            "bound (ELBO)": lambda one: _with_error(one.elbo),
            "log-likelihood": lambda one: _with_error(one.log_likelihood),
            "KL": lambda one: _with_error(one.kl),
            "active units": _units,
            "bound, train − test": _gap,
        },
        "Reconstructions, measured": {
            **(pictures if entries[0].psnr is not None else {}),
            "mean square error": lambda one: _with_error(one.mse, 4),
        },
        "Size and training": {
            "parameters": lambda one: f"{one.parameters:,}",
            f"{noun}s a second": lambda one: _number(one.speed, ",.0f"),
            "dead units": lambda one: _number(one.last("dead_units"), ".1%"),
            "gradient norm": lambda one: _number(one.last("gradient_norm"), ",.3g"),
            "gradient noise": _ratio,
        },
        "Runs": {
            "epochs": lambda one: f"{len(one.records):,}",
            "weights": _weights,
            "folder": lambda one: str(one.run.path),
        },
    }


def cells(entries: Sequence[Entry]) -> list[list[str]]:
    """A row for each number: its name, and a cell for each run."""
    rows = (pair for group in _groups(entries).values() for pair in group.items())
    return [[name, *map(cell, entries)] for name, cell in rows]


def blocks(entries: Sequence[Entry]) -> Iterator[tuple[str, list[list[str]]]]:
    """The table in parts, each with a title: the names of its numbers, then a row for each run."""
    for title, group in _groups(entries).items():
        rows = [[one.name, *(cell(one) for cell in group.values())] for one in entries]
        yield title, [["", *group], *rows]


def markdown(entries: Sequence[Entry]) -> str:
    """The table in Markdown."""
    head = ["", *(one.name for one in entries)]
    rows = [head, ["---", *("---:" for _ in entries)], *cells(entries)]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows)


def plain(one: Entry) -> dict[str, Any]:
    """The numbers of a run as JSON takes them; nats per row of data."""
    gap = one.gap or (None, None)
    return {
        "name": one.name,
        "run": str(one.run.path),
        **_means(one),
        "active_units": one.active,
        "units": one.units,
        "train_test_gap": gap[0],
        "train_test_gap_standard_error": gap[1],
        "parameters": one.parameters,
        "images_per_second": one.speed,
        "dead_units": one.last("dead_units"),
        "gradient_norm": one.last("gradient_norm"),
        "gradient_variance": one.noise.variance,
        "gradient_squared_norm": one.noise.squared_norm,
        "gradient_noise": one.noise.ratio if math.isfinite(one.noise.ratio) else None,
        "epochs": len(one.records),
        "weights": one.run.weights,
        "step": one.run.step,
    }


def _means(one: Entry) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in ("elbo", "log_likelihood", "kl", "psnr", "ssim", "mse"):
        values: Tensor | None = getattr(one, name)
        numbers = (None, None) if values is None else (values.mean().item(), standard_error(values))
        for key, number in zip((name, f"{name}_standard_error"), numbers, strict=True):
            found[key] = number if number is not None and math.isfinite(number) else None
    return found

"""Who is ahead, by which measure, and whether the test rows can tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.errors import VaekitError, choose
from vaekit.evaluate.checks import standard_error
from vaekit.report.comparison.measured import Entry
from vaekit.report.comparison.opened import Opened, likelihood_of


@dataclass(frozen=True)
class Measure:
    """A number of each row by which runs are ranked.

    Attributes:
        title: its name in words.
        of: the values `(N,)`; None where a run has none.
        sign: 1 where higher is better, -1 where lower is.
        decimals: of a printed number.
    """

    title: str
    of: Callable[[Entry], Tensor | None]
    sign: int = 1
    decimals: int = 2


MEASURES = {
    "elbo": Measure("bound", lambda one: one.elbo),
    "psnr": Measure("PSNR", lambda one: one.psnr),
    "ssim": Measure("SSIM", lambda one: one.ssim, decimals=4),
    "mse": Measure("mean square error", lambda one: one.mse, sign=-1, decimals=5),
}


@dataclass(frozen=True, eq=False)
class Lead:
    """How far the best run is ahead of the next one.

    Attributes:
        best, next: the two.
        by: the mean of the row by row differences, 0 or more.
        error: its standard error: both met the same rows, so what is hard for both drops out.
    """

    best: Entry
    next: Entry
    by: float
    error: float

    @property
    def clear(self) -> bool:
        """Whether the difference exceeds twice its standard error."""
        return self.by > 2 * self.error


def ranked(entries: Sequence[Entry], measure: Measure) -> list[Entry]:
    """Those that have the number, the best first."""
    means = [
        (values.mean().item(), one) for one in entries if (values := measure.of(one)) is not None
    ]
    return [one for _, one in sorted(means, key=lambda pair: -measure.sign * pair[0])]


def lead(entries: Sequence[Entry], measure: Measure) -> Lead | None:
    """How far the best is ahead; None where fewer than two have the number."""
    order = ranked(entries, measure)
    if len(order) < 2:
        return None
    one, two = (measure.of(entry) for entry in order[:2])
    assert one is not None
    assert two is not None
    apart = measure.sign * (one - two)
    finite = apart[torch.isfinite(apart)]  # an image that both reproduce exactly has inf - inf
    return Lead(order[0], order[1], finite.mean().item(), standard_error(finite))


def judge_of(entries: Sequence[Entry], comparable: bool, rank: str | None) -> str:
    """The name of the measure that ranks: that asked for, else the bound where it can, else PSNR.

    Raises:
        VaekitError: for an unknown measure, or a number that fewer than two of the runs have.
    """
    if rank is None:
        bounds = sum(one.elbo is not None for one in entries)
        if comparable and bounds >= 2:
            return "elbo"
        return "mse" if entries[0].psnr is None else "psnr"
    measure = choose("measure to rank by", rank, MEASURES)
    if len(ranked(entries, measure)) < 2:
        raise VaekitError(
            f"fewer than two of these runs have a {measure.title}, so --rank {rank} has no "
            "meaning here: leave it, or take --rank mse."
        )
    return rank


def refuse_rank(opened: Opened, rank: str | None) -> None:
    """Refuses to rank bounds of different likelihoods, before anything is measured."""
    if rank == "elbo" and not opened.comparable:
        kinds = map(likelihood_of, opened.runs)
        raise VaekitError(
            "bounds of different likelihoods are not comparable, so --rank elbo has no meaning "
            f"here: {likelihoods(zip(opened.names, kinds, strict=True))}; take --rank psnr, or "
            "leave it."
        )


def likelihoods(runs: Iterable[tuple[str, tuple[str, str, bool]]]) -> str:
    """The likelihoods, and the names of the runs that have each, in words."""
    groups: dict[str, list[str]] = {}
    for name, (family, scale, proper) in runs:
        more = ", ".join(text for text in (scale, "" if proper else "not a likelihood") if text)
        groups.setdefault(family + (f" ({more})" if more else ""), []).append(name)
    return "; ".join(f"{kind} of {', '.join(names)}" for kind, names in groups.items())

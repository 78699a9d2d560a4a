"""What each dimension of a latent does: how much it holds, and how far it moves the picture.

Shapes: `K` dimensions, `T` steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vaekit import evaluate
from vaekit.data import Dataset
from vaekit.errors import VaekitError
from vaekit.evaluate import Latent
from vaekit.report.charts import ACTIVE
from vaekit.runs import Run

MOST = 10  # dimensions that are shown where nobody names them


@dataclass(frozen=True)
class Effect:
    """What one dimension of z holds, and what it does on its way.

    Attributes:
        dim: its number in the flattened code.
        kl: the mean KL(q || p) over the rows, nats; None where the posterior has no density.
        variance: Var E[z|x] over the rows.
        output: the variance of E[x|z] over the steps of its row, a mean over the values of x.
    """

    dim: int
    kl: float | None
    variance: float
    output: float

    @property
    def dead(self) -> bool:
        """Whether Var E[z|x] is at most 0.01 (Burda et al., arXiv 1509.00519)."""
        return self.variance <= ACTIVE

    @property
    def label(self) -> str:
        """Two lines beside its row."""
        kl = "" if self.kl is None else f" KL {self.kl:.2f} nats"
        return f"z{self.dim}{' dead' if self.dead else ''}{kl}\noutput var. {self.output:.2g}"


def held(run: Run, data: Dataset, rows: int = 1000) -> Latent:
    """What the dimensions of z hold, over so many test rows, evenly spread.

    Raises:
        VaekitError: for a model without a latent, or with one of codes.
    """
    run.require()
    subject = run.subject(data, limit=rows)
    found = evaluate.chosen(subject, "traverse", ["latent"])
    record = evaluate.measured(subject, {name: one for name, (one, _) in found.items()})["latent"]
    return Latent(record["kl_per_dim"], record["variance"], record["posterior_scale"])


def chosen(latent: Latent, dims: Sequence[int] | None = None, *, every: bool = False) -> list[int]:
    """The dimensions to show: those named, or those in which codes vary most, the first one most.

    Args:
        latent: what `held` found.
        dims: by their numbers.
        every: all of them, and not the first ten alone.

    Raises:
        VaekitError: for both.

    Example:
        >>> chosen(Latent([0.1, 2.0, 0.0], [0.2, 0.9, 0.0]))
        [1, 0, 2]
    """
    if dims and every:
        raise VaekitError("got --dims and --all: take one of them.")
    if dims:
        return list(dims)
    order = sorted(range(len(latent.variance)), key=lambda dim: -latent.variance[dim])
    return order if every else order[:MOST]


def dead(latent: Latent) -> list[int]:
    """The dimensions whose codes do not vary: Var E[z|x] <= 0.01.

    Example:
        >>> dead(Latent(None, [0.5, 0.01, 0.0]))
        [1, 2]
    """
    return [dim for dim, variance in enumerate(latent.variance) if variance <= ACTIVE]


def effects(latent: Latent, dims: Sequence[int], made: Tensor) -> list[Effect]:
    """What each of the dimensions does.

    Args:
        latent: what `held` found.
        dims: K of its dimensions.
        made: what `walks.traverse` made of them, `(K, T, *X)`.
    """
    moved = made.double().var(1, correction=0).flatten(1).mean(1).tolist()
    kl = latent.kl_per_dim
    return [
        Effect(dim, None if kl is None else kl[dim], latent.variance[dim], output)
        for dim, output in zip(dims, moved, strict=True)
    ]


def lines(found: Sequence[Effect]) -> list[str]:
    """A table of them, a line each.

    Example:
        >>> print("\\n".join(lines([Effect(3, 1.5, 0.8, 0.02), Effect(0, None, 0.0, 0.0)])))
         dim      KL  Var E[z|x]  output variance
           3    1.50      0.8000           0.0200
           0       -      0.0000             0.00  dead
    """
    head = f"{'dim':>4}  {'KL':>6}  {'Var E[z|x]':>10}  {'output variance':>15}"
    return [head, *map(_line, found)]


def _line(one: Effect) -> str:
    kl = "-" if one.kl is None else f"{one.kl:.2f}"
    row = f"{one.dim:>4}  {kl:>6}  {one.variance:>10.4f}  {one.output:>#15.3g}"
    return f"{row}{'  dead' if one.dead else ''}"

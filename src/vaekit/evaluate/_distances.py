"""How far drawn rows are from real ones, by their features: plain arrays in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit._arguments import shown
from vaekit._torchutil import wide
from vaekit.errors import VaekitError, at_least, same_shape, within
from vaekit.evaluate._checks import Numbers, refuse_gaps, standard_error

LEAST = 20  # rows of each
HALVES = 10  # random halves of the rows, over which an error is
SUBSETS = 10  # of so many at least is a KID the mean
AT_ONCE = 2**22  # distances: 32 MiB


def frechet(
    drawn: Any, real: Any, *, halves: int = HALVES, seed: int = 0, groups: Any = None
) -> Numbers:
    """Return the Frechet distance of drawn rows from real ones, by their features.

    |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)), of the means and covariances of both: the square of
    the 2-Wasserstein distance of two Gaussians. Of features of the Inception network it is the
    FID. Of N rows it is too large, by about c / N where there are more rows than features, and the
    more features, the larger c; only distances of as many rows compare.

    Args:
        drawn: `(N, D)`, numbers of any type.
        real: `(M, D)`.
        halves: random halves of the rows, of both; 0 leaves out what is over them.
        seed: of the halves.
        groups: int64 `(M,)`, of the real rows, whose halves are then of whole groups; None where
            rows are independent. What is over halves of one group, or of too few rows, is NaN.

    Returns:
        `distance`; its `distance_standard_error`, the deviation over the halves, which is that of
        all rows (the jackknife that leaves out half); and `distance_at_half`, the mean over them:
        by how much it is larger, by about so much is `distance` too large.

    Raises:
        VaekitError: for other shapes, fewer than 20 rows, and numbers that are not finite.

    References:
        Heusel et al. 2017, GANs trained by a two time-scale update rule, arXiv 1706.08500.
        Chong and Forsyth 2020, Effectively unbiased FID, arXiv 1911.07023.
        Shao and Wu 1989, A general theory for jackknife variance estimation.

    Example:
        >>> rows = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
        >>> found = frechet(2 * rows[:1000] + 1, rows[1000:])
        >>> abs(found.distance - 6) < 4 * found.distance_standard_error  # 3 (1 + (2 - 1)^2)
        True
    """
    drawn, real = _checked(drawn, real)
    halves = at_least("halves", halves, 0)
    return _over_halves(_frechet, drawn, real, halves, seed, groups, 2)


def _frechet(drawn: Tensor, real: Tensor) -> Numbers:
    apart = (drawn.mean(0) - real.mean(0)).square().sum()
    ours, theirs = _root(drawn), _root(real)
    # The singular values of R R'^T are the roots of the eigenvalues of S S': real, and none lost.
    shared = torch.linalg.svdvals(ours @ theirs.T).sum()
    found = apart + ours.square().sum() + theirs.square().sum() - 2 * shared
    return Numbers(distance=max(found.item(), 0.0))


def _root(x: Tensor) -> Tensor:
    """Return R of the covariance S = R^T R of rows, `(min(N, D), D)`."""
    root: Tensor = torch.linalg.qr(x - x.mean(0), mode="r").R
    return root / math.sqrt(len(x) - 1)


def kid(drawn: Any, real: Any, *, size: int = 1000, seed: int = 0, groups: Any = None) -> Numbers:
    """Return the kernel distance (KID) of drawn rows from real ones, by their features.

    The square of the maximum mean discrepancy under the kernel (x^T y / D + 1)^3, without bias, so
    that it may fall below 0: a mean over subsets that share no row. Others draw 100 subsets that
    do, and print the deviation over them, which is no error of their mean.

    Args:
        drawn: `(N, D)`, numbers of any type.
        real: `(M, D)`.
        size: rows of a subset, a tenth of all at most; those beyond the last whole one are left.
        seed: of the subsets.
        groups: as in `frechet`.

    Returns:
        `distance`; `distance_standard_error`, over the subsets, or of rows in groups over halves,
        as in `frechet`; `subsets`, how many they are.

    Raises:
        VaekitError: as `frechet`.

    References:
        Binkowski et al. 2018, Demystifying MMD GANs, arXiv 1801.01401.

    Example:
        >>> rows = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
        >>> found = kid(rows[:1000], rows[1000:])
        >>> abs(found.distance) < 3 * found.distance_standard_error, found.subsets
        (True, 10)
    """
    both = _checked(drawn, real)
    size = min(at_least("size", size, 2), min(map(len, both)) // SUBSETS)

    def subsets(*both: Tensor) -> Tensor:
        draw = torch.Generator().manual_seed(seed)
        parts = [part[torch.randperm(len(part), generator=draw)].split(size) for part in both]
        pairs = [pair for pair in zip(*parts, strict=False) if {size} == {*map(len, pair)}]
        return torch.stack([_discrepancy(*pair) for pair in pairs])

    def mean(*both: Tensor) -> Numbers:
        return Numbers(distance=subsets(*both).mean().item())

    found = subsets(*both)
    error = standard_error(found)
    if groups is not None:  # a subset of whole groups would be too far: rows of a group are alike
        over = _over_halves(mean, *both, HALVES, seed, groups, size)
        error = over.distance_standard_error
    return Numbers(distance=found.mean().item(), distance_standard_error=error, subsets=len(found))


def _discrepancy(x: Tensor, y: Tensor) -> Tensor:
    xx, yy, xy = ((a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    ours, theirs = ((k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (xx, yy))
    return ours + theirs - 2 * xy.mean()


def prdc(
    drawn: Any,
    real: Any,
    *,
    k: int = 5,
    halves: int = HALVES,
    seed: int = 0,
    groups: Any = None,
) -> Numbers:
    """Return precision, recall, density and coverage of drawn rows, by their features.

    The ball of a row reaches to the k-th nearest other of its own kind, and holds what lies on its
    surface.

    Args:
        drawn: `(N, D)`, numbers of any type.
        real: `(M, D)`.
        k: see above. All four depend on it, and on the numbers of rows.
        halves, seed, groups: as in `frechet`.

    Returns:
        `precision`, the share of drawn rows in the ball of a real one; `recall`, that of real rows
        in the ball of a drawn one; `density`, in how many balls of real rows a drawn one is, over k
        (1 where both are alike; it may be more); `coverage`, the share of balls of real rows that
        hold a drawn one (1 - 2^-k where both are alike, and many). Each with its `_standard_error`
        and what it is `_at_half`, as in `frechet`.

    Raises:
        VaekitError: as `frechet`, and for a k that half of the rows do not have.

    References:
        Kynkaanniemi et al. 2019, Improved precision and recall, arXiv 1904.06991.
        Naeem et al. 2020, Reliable fidelity and diversity metrics, arXiv 2002.09797.

    Example:
        >>> rows = torch.randn(600, 3, generator=torch.Generator().manual_seed(0))
        >>> found = prdc(rows[:300] / 3, rows[300:])  # all likely, and little of the whole
        >>> found.precision > 0.99, found.density > 1, found.recall < 0.5, found.coverage < 0.5
        (True, True, True, True)
    """
    drawn, real = _checked(drawn, real)
    within("k", k, 1, min(len(drawn), len(real)) // 2 - 1)
    halves = at_least("halves", halves, 0)
    return _over_halves(partial(_prdc, k=k), drawn, real, halves, seed, groups, k + 1)


def _prdc(drawn: Tensor, real: Tensor, k: int) -> Numbers:
    drawn, real = drawn - real.mean(0), real - real.mean(0)  # lest squares cancel
    reach, own = _reach(real, k), _reach(drawn, k)
    inside = torch.zeros(len(drawn), dtype=torch.long)  # in how many balls of real rows
    covered, found = torch.zeros(2, len(real), dtype=torch.bool)
    for index in torch.arange(len(drawn)).split(max(1, AT_ONCE // len(real))):
        squares = _squares(drawn[index], real)
        near = squares <= reach
        inside[index] = near.sum(1)
        covered |= near.any(0)
        found |= (squares <= own[index][:, None]).any(0)
    parts = {"precision": inside > 0, "recall": found, "density": inside, "coverage": covered}
    shares = {name: wide(each).mean().item() for name, each in parts.items()}
    return Numbers({**shares, "density": shares["density"] / k})


def _reach(rows: Tensor, k: int) -> Tensor:
    """Return the square of the distance to the k-th nearest other row, `(N,)`."""
    parts = rows.split(max(1, AT_ONCE // len(rows)))
    nearest = [_squares(part, rows).topk(k + 1, largest=False).values for part in parts]
    # The row itself is the nearest. What is as far as the k-th is within, however it is rounded.
    return torch.cat(nearest)[:, -1] * (1 + 1e-9) + 1e-12 * rows.square().sum(1).max()


def _squares(x: Tensor, y: Tensor) -> Tensor:
    norms = x.square().sum(1, keepdim=True) + y.square().sum(1)
    return torch.addmm(norms, x, y.T, alpha=-2)


def _over_halves(
    measure: Callable[[Tensor, Tensor], Numbers],
    drawn: Tensor,
    real: Tensor,
    halves: int,
    seed: int,
    groups: Any,
    least: int,
) -> Numbers:
    """Return what is measured of all rows, with deviation and mean over random halves of both.

    Those of real rows are of whole groups, where there are some. Of a half with fewer than `least`
    rows nothing is known, nor then of an error. Of odd numbers every other half is the larger one.
    """
    found, draw = measure(drawn, real), torch.Generator().manual_seed(seed)
    of = [torch.arange(len(x)) for x in (drawn, real)]
    if groups is not None:
        same_shape("groups", tuple(np.shape(groups)), (len(real),))
        of[1] = torch.as_tensor(groups).cpu().unique(return_inverse=True)[1]
    parts = []
    for turn in range(halves):
        both = [x[_half(each, turn, draw)] for x, each in zip((drawn, real), of, strict=True)]
        enough = min(map(len, both)) >= least
        parts.append(measure(*both) if enough else dict.fromkeys(found, math.nan))
    for name in [*found] if parts else ():
        values = np.array([part[name] for part in parts])
        found[f"{name}_standard_error"] = values.std(ddof=1).item() if halves > 1 else math.nan
        found[f"{name}_at_half"] = values.mean().item()
    return found


def _half(of: Tensor, turn: int, draw: torch.Generator) -> Tensor:
    """Return which rows are of a random half of their groups, numbered from 0: bool `(N,)`."""
    count = int(of.max()) + 1
    return torch.isin(of, torch.randperm(count, generator=draw)[: (count + turn % 2) // 2])


def _checked(drawn: Any, real: Any) -> tuple[Tensor, Tensor]:
    """Return features as float64, of both; refuse what are none."""
    both = [numbers_of(name, part) for name, part in (("drawn", drawn), ("real", real))]
    same_shape("real", both[1].shape, (len(both[1]), both[0].shape[1]))
    return both[0], both[1]


def numbers_of(name: str, part: Any, what: str = "features") -> Tensor:
    """Return what is given under a name as float64 `(N, D)`; refuse what is none, and few rows."""
    try:
        rows = torch.as_tensor(
            part if isinstance(part, Tensor) else np.ascontiguousarray(part, float)
        )
    except (TypeError, ValueError):
        rows = torch.zeros(0)
    if rows.dim() != 2 or rows.is_complex() or not rows.shape[1]:
        raise VaekitError(f"got `{name}={shown(part)}`; expected {what} (N, D).")
    at_least(f"len({name})", len(rows), LEAST)
    rows = wide(rows.detach().cpu())
    refuse_gaps(name, rows)
    return rows

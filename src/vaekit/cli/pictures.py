"""The commands that show a trained model, or hand out its codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

import vaekit
from vaekit.cli.show import DataDir, Device, MaybeWhole, RunPath, Weights, Whole, say, start
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from torch import Tensor

    from vaekit.runs import Run


Out = Annotated[
    Path | None,
    Parameter(name=["--out", "-o"], help="Where it goes: a picture (.png) or an array (.npz)."),
]
Number = Annotated[Whole, Parameter(name=["-n", "--number"], help="How many.")]
Label = Annotated[
    str | None,
    Parameter(help="Of a run that is conditioned on labels: which one, by number or name."),
]
Set = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        consume_multiple=True,
        help="DIM=VALUE: this dimension of z at VALUE, in standard deviations of the prior; again "
        "for another, as --set 3=+2 --set 0=-1.",
    ),
]
Steps = Annotated[Whole, Parameter(help="Pictures in a row.")]


def sample(
    run: RunPath,
    /,
    *,
    n: Number = 64,
    label: Label = None,
    out: Out = None,
    draws: Annotated[
        bool, Parameter(negative=(), help="Draws of x, in place of the mean E[x|z].")
    ] = False,
    seed: Annotated[Whole, Parameter(help="Of the draws.")] = 0,
    edits: Set = (),
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """New images from the prior, in a grid (.png) or as an array (.npz).

    Of a run that is conditioned on labels: those of one --label, or a row for each class.
    """
    loaded = _load(run, weights, device, n=n)
    from vaekit.report.pictures import sample_sheet
    from vaekit.report.walks import settings

    how: Any = {"mean": not draws, "seed": seed, "fixed": settings(edits)}
    if label is not None:
        made, columns = loaded.sample(n, label=label, **how), None
    else:
        made, columns = sample_sheet(loaded, n, **how)
    _save(loaded, made, out or Path("samples.png"), columns=columns)


def reconstruct(
    run: RunPath,
    /,
    *,
    n: Number = 16,
    out: Out = None,
    weights: Weights = None,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """Test images, evenly spread, with their reconstructions E[x|z] under them."""
    loaded = _load(run, weights, device, n=n)
    from vaekit.report.pictures import save

    originals, context = _rows(loaded, data_dir, n)
    made, seen = loaded.reconstruct(originals, context), loaded.spec.values.inverse
    say(str(save(seen(originals), out or Path("reconstructions.png"), seen(made))))


def interpolate(
    run: RunPath,
    /,
    *,
    n: Number = 5,
    steps: Steps = 10,
    kind: Annotated[str, Parameter(help="linear or spherical.")] = "linear",
    seed: Annotated[Whole, Parameter(help="Of the choice of images.")] = 0,
    out: Out = None,
    weights: Weights = None,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """From one test image's code to another's, a row for each pair."""
    loaded = _load(run, weights, device, n=n)
    import torch

    from vaekit.report.walks import interpolate as walk

    test = loaded.dataset(data_dir).test
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    x, context = test.batch(order[: 2 * n])
    if len(x) < 2 * n:
        raise VaekitError(f"got -n {n}; {len(x)} test rows make {len(x) // 2} pairs at most.")
    ends = None if context is None else (context[:n], context[n:])
    made = walk(loaded, x[:n], x[n:], steps=steps, kind=kind, context=ends)
    _save(loaded, made.flatten(0, 1), out or Path("interpolation.png"), columns=steps)


def traverse(
    run: RunPath,
    /,
    *,
    dims: Annotated[
        tuple[int, ...] | None,
        Parameter(
            consume_multiple=True,
            help="Which latent dimensions; else those in which codes vary most, ten at most.",
        ),
    ] = None,
    all_dims: Annotated[
        bool, Parameter(name="--all", negative=(), help="A row for each dimension there is.")
    ] = False,
    steps: Steps = 10,
    low: Annotated[float, Parameter(help="Where each begins.")] = -3.0,
    high: Annotated[float, Parameter(help="Where each ends.")] = 3.0,
    row: Annotated[
        MaybeWhole, Parameter(help="Around the code of this test row, in place of z = 0.")
    ] = None,
    edits: Set = (),
    label: Label = None,
    out: Out = None,
    weights: Weights = None,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """One latent dimension at a time from low to high, a row for each, with what it does.

    Printed, and beside its row: its KL over test rows, nats, and how far it moves the picture: the
    variance of E[x|z] along the row, a mean over pixels. Dead: Var E[z|x] is at most 0.01.
    """
    loaded = _load(run, weights, device, steps=steps)
    import torch

    from vaekit.report import traversal
    from vaekit.report.pictures import save_rows
    from vaekit.report.walks import settings
    from vaekit.report.walks import traverse as walk

    fixed = settings(edits)
    latent = traversal.held(loaded, loaded.dataset(data_dir))
    chosen = traversal.chosen(latent, dims, every=all_dims)
    z, context = _start(loaded, row, fixed, label, data_dir)
    made = walk(loaded, z, chosen, torch.linspace(low, high, steps), context)
    found = traversal.effects(latent, chosen, made)
    say(f"dimensions, from the top: {' '.join(map(str, chosen))}")
    say("\n".join(traversal.lines(found)))
    say(f"dead, of all: {' '.join(map(str, traversal.dead(latent))) or 'none'}")
    names, seen = [one.label for one in found], loaded.spec.values.inverse(made)
    say(str(save_rows(names, seen, out or Path("traversal.png"))))


def manifold(
    run: RunPath,
    /,
    *,
    side: Annotated[Whole, Parameter(help="Pictures a side.")] = 20,
    label: Label = None,
    out: Out = None,
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """The plane of a two-dimensional latent, at quantiles of the prior N(0, 1)."""
    loaded = _load(run, weights, device, side=side)
    from vaekit.report.walks import manifold as plane

    made = plane(loaded, side, _context(loaded, label))
    _save(loaded, made.flatten(0, 1), out or Path("manifold.png"), columns=side)


def embed(
    run: RunPath,
    /,
    *,
    out: Annotated[
        Path, Parameter(name=["--out", "-o"], help="Where the codes go: .npz or .csv.")
    ] = Path("codes.npz"),
    split: Annotated[str, Parameter(help="test, validation or train.")] = "test",
    weights: Weights = None,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """The codes E[z|x] of a split, in its order, with labels where there are some."""
    loaded = _load(run, weights, device)
    from vaekit.report.embedding import embedding_of, save_embedding

    say(str(save_embedding(embedding_of(loaded, split, data_dir), out)))


def _load(run: Path, weights: str | None, device: str, **counts: int) -> Run:
    start()
    for name, value in counts.items():
        if value < 1:
            flag = f"-{name}" if len(name) == 1 else f"--{name}"
            raise VaekitError(f"got {flag} {value}; expected at least 1.")
    return vaekit.load(run, weights=weights, device=device)


def _rows(run: Run, data_dir: str | None, n: int) -> tuple[Tensor, Tensor | None]:
    from vaekit.data import spread

    test = run.dataset(data_dir).test
    return test.batch(spread(len(test), n))


def _context(run: Run, label: str | None) -> Tensor | None:
    """The label that is asked for; of a conditional run else the first."""
    if label is not None:
        return run.context(label)
    return run.context(0) if run.conditional else None


def _start(
    run: Run, row: int | None, fixed: dict[int, float], label: str | None, data_dir: str | None
) -> tuple[Tensor, Tensor | None]:
    """The code that a traversal goes around, `(*Z)`, and what it is given."""
    import torch

    from vaekit.runs import fixed_at

    context = _context(run, label)
    shapes = run.latent_shapes
    z = torch.zeros(shapes[0] if len(shapes) == 1 else (run.latent_size,))
    if row is not None:
        z, own = _code(run, data_dir, row)
        context = own if label is None else context
    if fixed:
        z = fixed_at(z[None].to(run.device), fixed, run.prior(context))[0].cpu()
    return z, context


def _code(run: Run, data_dir: str | None, row: int) -> tuple[Tensor, Tensor | None]:
    """The code of a test row, and what it is given."""
    test = run.dataset(data_dir).test
    if not 0 <= row < len(test):
        raise VaekitError(f"there is no test row {row}; there are 0 to {len(test) - 1}.")
    x, context = test.batch(slice(row, row + 1))
    return run.encode(x, context)[0], context


def _save(run: Run, made: Tensor, path: Path, *, columns: int | None = None) -> None:
    from vaekit.report.pictures import save

    say(str(save(run.spec.values.inverse(made), path, columns=columns)))

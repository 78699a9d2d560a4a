"""The commands that show a trained model, or hand out its codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

import vaekit
from vaekit.cli_output import DataDir, Device, MaybeWhole, RunPath, Weights, Whole, say, start
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from torch import Tensor

    from vaekit.run import Run

__all__ = ["embed", "interpolate", "manifold", "reconstruct", "sample", "traverse"]

Out = Annotated[
    Path | None,
    Parameter(name=["--out", "-o"], help="Where it goes: a picture (.png) or an array (.npz)."),
]
Number = Annotated[Whole, Parameter(name=["-n", "--number"], help="How many.")]
Label = Annotated[
    str | None,
    Parameter(help="Of a run that is conditioned on labels: which one, by number or name."),
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
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """New images from the prior, in a grid (.png) or as an array (.npz).

    Of a run that is conditioned on labels: those of one --label, or a row for each class.
    """
    loaded = _load(run, weights, device, n=n)
    from vaekit.pictures import sample_sheet

    if label is not None:
        made, columns = loaded.sample(n, label=label, mean=not draws, seed=seed), None
    else:
        made, columns = sample_sheet(loaded, n, mean=not draws, seed=seed)
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
    from vaekit.pictures import save

    originals, given = _rows(loaded, data_dir, n)
    made, seen = loaded.reconstruct(originals, given), loaded.spec.values.inverse
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
    x, given = test.batch(order[: 2 * n])
    if len(x) < 2 * n:
        raise VaekitError(f"got -n {n}; {len(x)} test rows make {len(x) // 2} pairs at most.")
    ends = None if given is None else (given[:n], given[n:])
    made = walk(loaded, x[:n], x[n:], steps=steps, kind=kind, given=ends)
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
    steps: Steps = 10,
    low: Annotated[float, Parameter(help="Where each begins.")] = -3.0,
    high: Annotated[float, Parameter(help="Where each ends.")] = 3.0,
    row: Annotated[
        MaybeWhole, Parameter(help="Around the code of this test row, in place of z = 0.")
    ] = None,
    label: Label = None,
    out: Out = None,
    weights: Weights = None,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """One latent dimension at a time from low to high, a row for each."""
    loaded = _load(run, weights, device, steps=steps)
    import torch

    from vaekit.report.walks import traverse as walk

    codes = loaded.encode(*_rows(loaded, data_dir, 1000))
    given = _given(loaded, label)
    z = torch.zeros_like(codes[0])
    if row is not None:
        z, own = _code(loaded, data_dir, row)
        given = own if label is None else given
    chosen = list(dims or codes.flatten(1).var(0).topk(min(10, z.numel())).indices.tolist())
    made = walk(loaded, z, chosen, torch.linspace(low, high, steps), given)
    say(f"dimensions, from the top: {' '.join(map(str, chosen))}")
    _save(loaded, made.flatten(0, 1), out or Path("traversal.png"), columns=steps)


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

    shape = loaded.vae.prior.space.shape
    made = plane(loaded, side, latent=shape, given=_given(loaded, label))
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
    from vaekit.embedding import embedding_of, save_embedding

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


def _given(run: Run, label: str | None) -> Tensor | None:
    """The label that is asked for; of a conditional run else the first."""
    if label is not None:
        return run.given(label)
    return run.given(0) if run.conditional else None


def _code(run: Run, data_dir: str | None, row: int) -> tuple[Tensor, Tensor | None]:
    """The code of a test row, and what it is given."""
    test = run.dataset(data_dir).test
    if not 0 <= row < len(test):
        raise VaekitError(f"there is no test row {row}; there are 0 to {len(test) - 1}.")
    x, given = test.batch(slice(row, row + 1))
    return run.encode(x, given)[0], given


def _save(run: Run, made: Tensor, path: Path, *, columns: int | None = None) -> None:
    from vaekit.pictures import save

    say(str(save(run.spec.values.inverse(made), path, columns=columns)))

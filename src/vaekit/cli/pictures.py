"""The commands that show a trained model, draw figures of it, or hand out its codes."""

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
Picture = Annotated[Path, Parameter(name=["--out", "-o"], help="Where it goes: .png or .svg.")]
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
    from vaekit.report import sample_images, settings

    how: Any = {"mean": not draws, "seed": seed, "fixed": settings(edits)}
    if label is not None:
        made, columns = loaded.sample(n, label=label, **how), None
    else:
        made, columns = sample_images(loaded, n, **how)
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
    from vaekit.data import spread
    from vaekit.report import save_images

    test = loaded.dataset(data_dir).test
    originals, context = test.batch(spread(len(test), n))
    made, seen = loaded.reconstruct(originals, context), loaded.spec.values.inverse
    say(str(save_images(seen(originals), out or Path("reconstructions.png"), seen(made))))


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

    from vaekit.report import interpolate as walk

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

    from vaekit.report import save_images, walks

    fixed = walks.settings(edits)
    latent = walks.latent_of(loaded, loaded.dataset(data_dir))
    chosen = walks.strongest(latent, dims, all_dims=all_dims)
    z, context = _start(loaded, row, fixed, label, data_dir)
    made = walks.traverse(loaded, z, chosen, torch.linspace(low, high, steps), context)
    found = walks.effects(latent, chosen, made)
    say(walks.effect_table(latent, found))
    names, seen = [one.label for one in found], loaded.spec.values.inverse(made).flatten(0, 1)
    say(str(save_images(seen, out or Path("traversal.png"), names=names)))


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
    from vaekit.report import manifold as plane

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
    from vaekit.report import save_embedding

    say(str(save_embedding(loaded, out, split, data_dir)))


def animate(
    run: RunPath,
    /,
    *,
    what: Annotated[str, Parameter(help="reconstructions or samples.")] = "reconstructions",
    out: Annotated[
        Path | None,
        Parameter(name=["--out", "-o"], help="Where it goes: .gif or .webp; else WHAT.gif."),
    ] = None,
    fps: Annotated[float, Parameter(help="Frames per second.")] = 8.0,
) -> None:
    """A film of the training: the same images, or draws, after each epoch."""
    start()
    from vaekit.report import save_film
    from vaekit.runs import RunFolder

    say(str(save_film(RunFolder(run), out or Path(f"{what}.gif"), what, fps=fps)))


def scatter(
    run: RunPath,
    /,
    *,
    n: Annotated[
        Whole, Parameter(name=["-n", "--number"], help="Test rows, evenly spread.")
    ] = 2000,
    out: Picture = Path("scatter.png"),
    weights: Weights = None,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """The codes of test rows in the colors of their classes, with posteriors as ellipses.

    Of a latent of more than two dimensions, those two in which codes vary most; of one, a line for
    each class.
    """
    _check_picture(out)
    loaded = _load(run, weights, device, n=n)
    from vaekit.data import spread
    from vaekit.report import Codes, class_figure, posteriors, save_figure, standard_prior

    data = loaded.dataset(data_dir)
    rows = data.test.take(spread(len(data.test), n))
    means, scales = posteriors(loaded, rows)
    codes = Codes(means, rows.labels, data.class_names, scales=scales, prior=standard_prior(loaded))
    say(str(save_figure(lambda: class_figure(codes, size=(560, 460), title=codes.words), out)))


def overlap(
    run: RunPath,
    /,
    *,
    rows: Annotated[tuple[int, int], Parameter(consume_multiple=True, help="Two test rows.")] = (
        0,
        1,
    ),
    out: Picture = Path("overlap.png"),
    weights: Weights = None,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """The posteriors of two test images on the line of a one-dimensional latent.

    Above them the images, and the image decoded between the two; under them the line, decoded.
    """
    _check_picture(out)
    loaded = _load(run, weights, device)
    import torch

    from vaekit.report import fixed_rows, overlap_figure, save_figure

    test = loaded.dataset(data_dir).test
    for row in rows:
        _check_row(row, len(test))
    x = fixed_rows(test, torch.tensor(rows))
    context = None if test.context is None else test.context[list(rows)]
    names = (f"test row {rows[0]}", f"test row {rows[1]}")
    say(str(save_figure(lambda: overlap_figure(loaded, x, names, context), out)))


def colorize(
    source: Annotated[
        Path, Parameter(help="A run folder, or an .npz of gray pictures that a command wrote.")
    ],
    /,
    *,
    colorizer: Annotated[Path, Parameter(help="The run folder of a colorizer.")],
    n: Annotated[
        MaybeWhole,
        Parameter(name=["-n", "--number"], help="How many; 16, or all that are in an .npz."),
    ] = None,
    reconstruct: Annotated[
        bool, Parameter(negative=(), help="Reconstructions of test images, in place of samples.")
    ] = False,
    label: Label = None,
    columns: Annotated[Whole, Parameter(help="Pictures in a row.")] = 8,
    seed: Annotated[Whole, Parameter(help="Of the samples.")] = 0,
    out: Out = None,
    weights: Weights = None,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """Gray pictures in color: samples of a run, or what any command wrote into an .npz.

    In a .png, each row of gray pictures has its colors right under it; an .npz has the colors.
    """
    start()
    _check_counts(n=n, columns=columns)
    from vaekit.report import colorize as put_colors
    from vaekit.report import gray_file, gray_images, save_images
    from vaekit.runs import colorizer_of

    painter = vaekit.load(colorizer, device=device)
    colorizer_of(painter)
    if source.suffix == ".npz":
        of_a_run = {"reconstruct": reconstruct, "label": label, "weights": weights}
        for name in (name for name, value in of_a_run.items() if value):
            raise VaekitError(f"--{name} is of a run; {source} is a file of pictures: leave it.")
        gray = gray_file(source)[:n]
    else:
        run = vaekit.load(source, weights=weights, device=device)
        gray = gray_images(
            run, n or 16, reconstruct=reconstruct, label=label, seed=seed, data_dir=data_dir
        )
    made = put_colors(painter, gray)
    path = out or Path("colored.png")
    if path.suffix == ".npz":
        say(str(save_images(made, path)))
    else:
        say(str(save_images(gray.expand(-1, 3, -1, -1), path, made, columns=columns)))


def _load(run: Path, weights: str | None, device: str, **counts: int) -> Run:
    start()
    _check_counts(**counts)
    return vaekit.load(run, weights=weights, device=device)


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            flag = f"-{name}" if len(name) == 1 else f"--{name}"
            raise VaekitError(f"got {flag} {value}; expected at least 1.")


def _check_row(row: int, rows: int) -> None:
    if not 0 <= row < rows:
        raise VaekitError(f"there is no test row {row}; there are 0 to {rows - 1}.")


def _check_picture(path: Path) -> None:
    if path.suffix not in (".png", ".svg"):
        raise VaekitError(f"got the file {path}; expected one that ends in .png or .svg.")


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
        test = run.dataset(data_dir).test
        _check_row(row, len(test))
        x, own = test.batch(slice(row, row + 1))
        z, context = run.encode(x, own)[0], own if label is None else context
    if fixed:
        z = fixed_at(z[None].to(run.device), fixed, run.prior(context))[0].cpu()
    return z, context


def _save(run: Run, made: Tensor, path: Path, *, columns: int | None = None) -> None:
    from vaekit.report import save_images

    say(str(save_images(run.spec.values.inverse(made), path, columns=columns)))


PICTURES = (
    *(sample, reconstruct, interpolate, traverse, manifold, scatter, overlap, animate, embed),
    colorize,
)

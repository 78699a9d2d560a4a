"""The commands that look at a trained model, draw figures of it, or apply it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vaekit.cli.show import (
    MaybeWhole,
    Opening,
    Rows,
    RunPath,
    Seed,
    Split,
    Whole,
    check_counts,
    say,
    start,
)
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from torch import Tensor

    from vaekit.runs import Run

Out = Annotated[
    Path | None,
    Parameter(name=["--out", "-o"], help="The file: an image (.png), or an array (.npz)."),
]
Figure = Annotated[Path, Parameter(name=["--out", "-o"], help="The file: .png or .svg.")]
Number = Annotated[Whole, Parameter(name=["-n", "--number"], help="How many.")]
Label = Annotated[
    str | None,
    Parameter(help="A class, by number or name, where the run is conditioned on labels."),
]
Settings = Annotated[
    tuple[str, ...],
    Parameter(
        help="DIM=VALUE: put this latent dimension at VALUE, in standard deviations of the prior; "
        "again for another, as --set 3=+2 --set 0=-1.",
    ),
]
Steps = Annotated[Whole, Parameter(help="Images in a row.")]


def sample(
    run: RunPath,
    /,
    *,
    n: Number = 64,
    label: Label = None,
    out: Out = None,
    draws: Annotated[bool, Parameter(help="Draw x, in place of its mean E[x|z].")] = False,
    seed: Seed = 0,
    set_: Settings = (),
    opening: Opening = Opening(),
) -> None:
    """Draw new images from the prior: a grid (.png), or an array (.npz).

    A run that is conditioned on labels draws one --label, or a row for each class.

    Example: vaekit sample runs/vae-mnist -n 64 -o samples.png
    """
    loaded = opening.load(run, n=n)
    from vaekit.report import sample_sheet, settings

    how: Any = {"mean": not draws, "seed": seed, "fixed": settings(set_)}
    if label is not None:
        images, columns = loaded.sample(n, label=label, **how), None
    else:
        images, columns = sample_sheet(loaded, n, **how)
    _save(loaded, images, out or Path("samples.png"), columns=columns)


def reconstruct(
    run: RunPath, /, *, n: Number = 16, out: Out = None, opening: Rows = Rows()
) -> None:
    """Reconstruct test images: each above its E[x|z].

    Example: vaekit reconstruct runs/vae-mnist -n 16
    """
    loaded = opening.load(run, n=n)
    from vaekit.data import spread
    from vaekit.report import save

    test = loaded.dataset(opening.data_dir).test
    originals, context = test.batch(spread(len(test), n))
    images, seen = loaded.reconstruct(originals, context), loaded.spec.values.inverse
    say(save(seen(originals), out or Path("reconstructions.png"), seen(images)))


def interpolate(
    run: RunPath,
    /,
    *,
    n: Number = 5,
    steps: Steps = 10,
    kind: Annotated[str, Parameter(help="linear or spherical.")] = "linear",
    seed: Annotated[Whole, Parameter(help="The seed of the choice of images.")] = 0,
    out: Out = None,
    opening: Rows = Rows(),
) -> None:
    """Walk from one test image to another in the latent, a row a pair.

    Example: vaekit interpolate runs/vae-mnist --kind spherical
    """
    loaded = opening.load(run, n=n)
    import torch

    from vaekit.report import interpolate as walk

    test = loaded.dataset(opening.data_dir).test
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    x, context = test.batch(order[: 2 * n])
    if len(x) < 2 * n:
        raise VaekitError(f"got `n={n}`; {len(x)} test rows make {len(x) // 2} pairs at most.")
    ends = None if context is None else (context[:n], context[n:])
    images = walk(loaded, x[:n], x[n:], steps=steps, kind=kind, context=ends)
    _save(loaded, images.flatten(0, 1), out or Path("interpolation.png"), columns=steps)


def traverse(
    run: RunPath,
    /,
    *,
    dims: Annotated[
        tuple[int, ...] | None,
        Parameter(help="The dimensions; by default those in which codes vary most, at most ten."),
    ] = None,
    all_: Annotated[bool, Parameter(help="Show every dimension.")] = False,
    steps: Steps = 10,
    low: Annotated[float, Parameter(help="Where each dimension begins.")] = -3.0,
    high: Annotated[float, Parameter(help="Where each dimension ends.")] = 3.0,
    row: Annotated[
        MaybeWhole, Parameter(help="Go around the code of this test row, in place of z = 0.")
    ] = None,
    set_: Settings = (),
    label: Label = None,
    out: Out = None,
    opening: Rows = Rows(),
) -> None:
    """Move one latent dimension at a time, and say what it does.

    Printed, and beside each row: its KL over test rows in nats, and how far it moves the image:
    the variance of E[x|z] along the row, a mean over pixels. Dead: Var E[z|x] is at most 0.01.

    Example: vaekit traverse runs/vae-mnist --row 3
    """
    loaded = opening.load(run, steps=steps)
    import torch

    from vaekit.report import save_rows, walks

    fixed = walks.settings(set_)
    latent = walks.held(loaded, loaded.dataset(opening.data_dir))
    chosen = walks.chosen(latent, dims, every=all_)
    z, context = _start(loaded, row, fixed, label, opening.data_dir)
    images = walks.traverse(loaded, z, chosen, torch.linspace(low, high, steps), context)
    effects = walks.effects(latent, chosen, images)
    say(f"dimensions, from the top: {' '.join(map(str, chosen))}")
    say("\n".join(walks.lines(effects)))
    say(f"dead, of all: {' '.join(map(str, walks.dead(latent))) or 'none'}")
    names, seen = [effect.label for effect in effects], loaded.spec.values.inverse(images)
    say(save_rows(names, seen, out or Path("traversal.png")))


def _start(
    run: Run, row: int | None, fixed: dict[int, float], label: str | None, data_dir: str | None
) -> tuple[Tensor, Tensor | None]:
    """Return the code that a traversal goes around, `(*Z)`, and its context."""
    import torch

    from vaekit.runs import fixed_at

    context = _context(run, label)
    shapes = run.latent_shapes
    z = torch.zeros(shapes[0] if len(shapes) == 1 else (run.latent_size,))
    if row is not None:
        test = run.dataset(data_dir).test
        _check_row(row, len(test))
        x, row_context = test.batch(slice(row, row + 1))
        z, context = run.encode(x, row_context)[0], row_context if label is None else context
    if fixed:
        z = fixed_at(z[None].to(run.device), fixed, run.prior(context))[0].cpu()
    return z, context


def manifold(
    run: RunPath,
    /,
    *,
    side: Annotated[Whole, Parameter(help="Images along each side.")] = 20,
    label: Label = None,
    out: Out = None,
    opening: Opening = Opening(),
) -> None:
    """Decode the plane of a 2-dimensional latent, at the prior's quantiles.

    Example: vaekit manifold runs/vae-mnist --side 20
    """
    loaded = opening.load(run, side=side)
    from vaekit.report import manifold as plane

    images = plane(loaded, side, _context(loaded, label))
    _save(loaded, images.flatten(0, 1), out or Path("manifold.png"), columns=side)


def scatter(
    run: RunPath,
    /,
    *,
    n: Annotated[
        Whole, Parameter(name=["-n", "--number"], help="Test rows, evenly spread.")
    ] = 2000,
    out: Figure = Path("scatter.png"),
    opening: Rows = Rows(),
) -> None:
    """Plot codes in the colors of their classes, posteriors as ellipses.

    Of a latent of more than two dimensions it shows the two in which codes vary most; of one
    dimension, a line for each class.

    Example: vaekit scatter runs/vae-mnist -o codes.svg
    """
    _check_figure(out)
    loaded = opening.load(run, n=n)
    from vaekit.data import spread
    from vaekit.report import Codes, class_figure, posteriors, save_figure, standard_prior

    data = loaded.dataset(opening.data_dir)
    rows = data.test.take(spread(len(data.test), n))
    means, scales = posteriors(loaded, rows)
    codes = Codes(means, rows.labels, data.class_names, scales=scales, prior=standard_prior(loaded))
    say(save_figure(lambda: class_figure(codes, size=(560, 460), title=codes.words), out))


def overlap(
    run: RunPath,
    /,
    *,
    rows: Annotated[tuple[int, int], Parameter(help="Two test rows.")] = (0, 1),
    out: Figure = Path("overlap.png"),
    opening: Rows = Rows(),
) -> None:
    """Plot the posteriors of two test images over a 1-dimensional latent.

    Above them are the images, and the image decoded between the two; below, the decoded line.

    Example: vaekit overlap runs/vae-one --rows 0 7
    """
    _check_figure(out)
    loaded = opening.load(run)
    import torch

    from vaekit.report import fixed_rows, overlap_figure, save_figure

    test = loaded.dataset(opening.data_dir).test
    for row in rows:
        _check_row(row, len(test))
    x = fixed_rows(test, torch.tensor(rows))
    context = None if test.context is None else test.context[list(rows)]
    names = (f"test row {rows[0]}", f"test row {rows[1]}")
    say(save_figure(lambda: overlap_figure(loaded, x, names, context), out))


def animate(
    run: RunPath,
    /,
    *,
    what: Annotated[str, Parameter(help="reconstructions or samples.")] = "reconstructions",
    out: Annotated[
        Path | None,
        Parameter(name=["--out", "-o"], help="The file: .gif or .webp; by default WHAT.gif."),
    ] = None,
    fps: Annotated[float, Parameter(help="Frames per second.")] = 8.0,
) -> None:
    """Make a film of the training: the same images after each epoch.

    Example: vaekit animate runs/vae-mnist --what samples
    """
    start()
    from vaekit.io import write
    from vaekit.report import animation, film_suffix, training_frames
    from vaekit.runs import RunFolder

    path = out or Path(f"{what}.gif")
    suffix = film_suffix(path)
    frames = training_frames(RunFolder(run), what)
    say(write(path, animation(frames, suffix=suffix, fps=fps)))


def embed(
    run: RunPath,
    /,
    *,
    out: Annotated[
        Path, Parameter(name=["--out", "-o"], help="The file of codes: .npz or .csv.")
    ] = Path("codes.npz"),
    split: Split = "test",
    opening: Rows = Rows(),
) -> None:
    """Write the codes E[z|x] of a split, with labels if there are any.

    Example: vaekit embed runs/vae-mnist --split train -o codes.csv
    """
    loaded = opening.load(run)
    from vaekit.report import save_embedding

    say(save_embedding(loaded, out, split, opening.data_dir))


def colorize(
    source: Annotated[
        Path, Parameter(help="A run folder, or an .npz of gray images that a command wrote.")
    ],
    /,
    *,
    colorizer: Annotated[Path, Parameter(help="The run folder of a colorizer.")],
    n: Annotated[
        MaybeWhole,
        Parameter(name=["-n", "--number"], help="How many; by default 16, or all of an .npz."),
    ] = None,
    reconstruct: Annotated[
        bool, Parameter(help="Reconstruct test images, in place of drawing samples.")
    ] = False,
    label: Label = None,
    columns: Steps = 8,
    seed: Seed = 0,
    out: Out = None,
    opening: Rows = Rows(),
) -> None:
    """Color gray images: samples of a run, or those in an .npz.

    In a .png, each row of gray images has its colors right under it; an .npz has the colors.

    Example: vaekit colorize runs/vae-faces --colorizer runs/colorizer-faces
    """
    start()
    check_counts(n=n, columns=columns)
    from vaekit.report import colorize as color
    from vaekit.report import save
    from vaekit.runs import colorizer_of

    painter = Opening(device=opening.device).load(colorizer)
    colorizer_of(painter)
    chosen: dict[str, Any] = {"reconstruct": reconstruct, "label": label}
    gray = _gray(source, opening, n, seed, chosen)
    images = color(painter, gray)
    path = out or Path("colored.png")
    if path.suffix == ".npz":
        say(save(images, path))
    else:
        say(save(gray.expand(-1, 3, -1, -1), path, images, columns=columns))


def _gray(source: Path, opening: Rows, n: int | None, seed: int, chosen: dict[str, Any]) -> Tensor:
    """Return the gray images of an .npz, or those that a run makes."""
    from vaekit.report import gray_file, gray_pictures

    if source.suffix != ".npz":
        run = opening.load(source)
        return gray_pictures(run, n or 16, seed=seed, data_dir=opening.data_dir, **chosen)
    for name, value in {**chosen, "weights": opening.weights}.items():
        if value:
            raise VaekitError(f"got `{name}`, which is for a run; {source} is a file: leave it.")
    return gray_file(source)[:n]


def _context(run: Run, label: str | None) -> Tensor | None:
    """Return the context of a label; without one that of the first class, if there are classes."""
    if label is not None:
        return run.context(label)
    return run.context(0) if run.conditional else None


def _check_row(row: int, rows: int) -> None:
    if not 0 <= row < rows:
        raise VaekitError(f"there is no test row {row}; there are 0 to {rows - 1}.")


def _check_figure(path: Path) -> None:
    if path.suffix not in (".png", ".svg"):
        raise VaekitError(f"got the file {path}; expected one that ends in .png or .svg.")


def _save(run: Run, images: Tensor, path: Path, *, columns: int | None = None) -> None:
    from vaekit.report import save

    say(save(run.spec.values.inverse(images), path, columns=columns))

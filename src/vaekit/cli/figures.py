"""The commands that draw figures of a run, or put colors on its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

import vaekit
from vaekit.cli.pictures import Label, Out
from vaekit.cli.show import DataDir, Device, MaybeWhole, RunPath, Weights, Whole, say, start
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from torch import Tensor


Picture = Annotated[Path, Parameter(name=["--out", "-o"], help="Where it goes: .png or .svg.")]


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
    from vaekit.io import write
    from vaekit.report.animation import animation, film_suffix, training_frames
    from vaekit.runs import RunFolder

    path = out or Path(f"{what}.gif")
    suffix = film_suffix(path)
    frames = training_frames(RunFolder(run), what)
    say(str(write(path, animation(frames, suffix=suffix, fps=fps))))


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
    start()
    _check_picture(out)
    if n < 1:
        raise VaekitError(f"got -n {n}; expected at least 1.")
    loaded = vaekit.load(run, weights=weights, device=device)
    from vaekit.data import spread
    from vaekit.report.codes import Codes, class_figure
    from vaekit.report.figures import save_figure
    from vaekit.report.posteriors import fixed_rows, posteriors, standard_prior

    data = loaded.dataset(data_dir)
    rows = data.test.take(spread(len(data.test), n))
    means, scales = posteriors(loaded, fixed_rows(rows), rows.context)
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
    start()
    _check_picture(out)
    loaded = vaekit.load(run, weights=weights, device=device)
    import torch

    from vaekit.report.figures import save_figure
    from vaekit.report.overlap import overlap_figure
    from vaekit.report.posteriors import fixed_rows

    test = loaded.dataset(data_dir).test
    for row in rows:
        if not 0 <= row < len(test):
            raise VaekitError(f"there is no test row {row}; there are 0 to {len(test) - 1}.")
    x = fixed_rows(test, torch.tensor(rows))
    context = None if test.context is None else test.context[list(rows)]
    names = (f"test row {rows[0]}", f"test row {rows[1]}")
    say(str(save_figure(lambda: overlap_figure(loaded, x, names, context), out)))


def _check_picture(path: Path) -> None:
    if path.suffix not in (".png", ".svg"):
        raise VaekitError(f"got the file {path}; expected one that ends in .png or .svg.")


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
    for name, value in (("-n", n), ("--columns", columns)):
        if value is not None and value < 1:
            raise VaekitError(f"got {name} {value}; expected at least 1.")
    from vaekit.report.coloring import colorize as put_colors
    from vaekit.report.coloring import grey_file, grey_pictures
    from vaekit.report.pictures import save
    from vaekit.runs import colorizer_of

    painter = vaekit.load(colorizer, device=device)
    colorizer_of(painter)
    if source.suffix == ".npz":
        _refuse_of_a_run(source, reconstruct=reconstruct, label=label, weights=weights)
        grey = grey_file(source)[:n]
    else:
        run = vaekit.load(source, weights=weights, device=device)
        grey = grey_pictures(
            run, n or 16, reconstruct=reconstruct, label=label, seed=seed, data_dir=data_dir
        )
    made = put_colors(painter, grey)
    path = out or Path("coloured.png")
    if path.suffix == ".npz":
        say(str(save(made, path)))
    else:
        say(str(save(_three(grey), path, made, columns=columns)))


def _refuse_of_a_run(source: Path, **options: object) -> None:
    """What is for runs alone."""
    for name, value in options.items():
        if value:
            raise VaekitError(f"--{name} is of a run; {source} is a file of pictures: leave it.")


def _three(grey: Tensor) -> Tensor:
    return grey.expand(-1, 3, -1, -1)

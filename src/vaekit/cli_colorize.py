"""The command that puts colours on grey pictures: `colorize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

import vaekit
from vaekit.cli_output import DataDir, Device, MaybeWhole, Weights, Whole, say, start
from vaekit.cli_pictures import Label, Out
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["colorize"]


def colorize(
    source: Annotated[
        Path, Parameter(help="A run folder, or an .npz of grey pictures that a command wrote.")
    ],
    /,
    *,
    colorizer: Annotated[Path, Parameter(help="The run folder of a colouriser.")],
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
    """Grey pictures in colour: samples of a run, or what any command wrote into an .npz.

    In a .png, each row of grey pictures has its colours right under it; an .npz has the colours.
    """
    start()
    for name, value in (("-n", n), ("--columns", columns)):
        if value is not None and value < 1:
            raise VaekitError(f"got {name} {value}; expected at least 1.")
    from vaekit.colour import colorize as put_colours
    from vaekit.colour import colorizer_of, grey_file, grey_pictures
    from vaekit.pictures import save

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
    made = put_colours(painter, grey)
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

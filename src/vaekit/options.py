"""Option records of data and training, which the command line, files and Python share.

Importing them does not import torch. Their field names, and those of parts, share one namespace:
the flags of the command line.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from vaekit.errors import VaekitError, unknown

__all__ = ["Data", "Options", "Training", "checked"]

O = TypeVar("O", bound="Options")  # noqa: E741


def _text(path: Any) -> Any:
    return os.fspath(path) if isinstance(path, os.PathLike) else path


PathText = Annotated[str, BeforeValidator(_text)]


class Options(BaseModel):
    """A record of options: frozen, all numbers finite, and an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Data(Options):
    """What is trained on, and what is made of it."""

    data: PathText = Field(
        default="digits",
        description="A data set's name (see `vaekit data`), or a path: a folder or .zip of images, "
        ".npz, .npy, .csv.",
    )
    data_dir: PathText | None = Field(
        default=None, description="Where data sets lie; else VAEKIT_DATA, then the user cache."
    )
    validation: float | None = Field(
        default=None,
        ge=0,
        description="A fraction of the training rows, or from 1 on a count; 0 for none. By default "
        "the set's own validation rows, else a tenth.",
    )
    test: float | None = Field(
        default=None,
        gt=0,
        description="Test rows held out of a path that brings none: a fraction, or a count; "
        "by default a tenth.",
    )
    limit: int | None = Field(
        default=None,
        ge=2,
        description="Take this many training rows only; of a folder or .zip of images no others "
        "are opened, but for test rows.",
    )
    split_seed: int = Field(
        default=0,
        ge=0,
        lt=2**32,
        description="Of which rows are taken, held out and kept for test.",
    )
    group: str | None = Field(
        default=None,
        description="Keep rows of one group in one split: for images a regular expression, "
        "searched in the file's path, whose first bracket is the key, as 'p(\\d+)_', or 'folder'; "
        "for a .csv a column.",
    )
    size: int | None = Field(
        default=None,
        ge=1,
        description="Images become SIZE x SIZE: the shorter side scaled, the center kept.",
    )
    crop: int | None = Field(
        default=None, ge=1, description="First keep the central CROP x CROP pixels."
    )
    gray: bool = Field(default=False, description="Color images become gray.")
    label: str | None = Field(
        default=None,
        description="The column of a .csv that is a class and no feature: its name, or its "
        "number from 1.",
    )
    context: Literal["none", "label"] = Field(
        default="none",
        description="What the model is conditioned on: nothing, or the label, one-hot.",
    )
    standardize: bool | None = Field(
        default=None,
        description="Tables: subtract the training mean, divide by the training deviation, per "
        "column; by default for .csv.",
    )
    range: Literal["0,1", "-1,1"] = Field(
        default="0,1", description="The range of the pixels that the model sees."
    )
    binarize: Literal["none", "dynamic", "static", "threshold"] = Field(
        default="none",
        description="Pixels as draws of 0 or 1: new ones every epoch (test rows: one draw, kept), "
        "one draw kept, or value > 0.5.",
    )
    dequantize: bool = Field(
        default=False, description="8-bit values k become (k + u) / 256, u uniform on [0, 1)."
    )
    cache: bool | None = Field(
        default=None,
        description="Decode the images of a folder or .zip once into the user cache, and read rows "
        "from there; by default where they would take half of the free memory. More than 1,000 "
        "are remembered there by default, for the next training.",
    )


class Training(Options):
    """How it is trained."""

    epochs: int = Field(default=20, ge=1, description="Passes over the training rows.")
    batch_size: int = Field(default=128, ge=1, description="Rows per step.")
    optimizer: str = Field(default="adam", description="Any torch optimizer by name.")
    lr: float = Field(default=1e-3, gt=0, description="The learning rate.")
    weight_decay: float = Field(default=0.0, ge=0, description="The optimizer's weight decay.")
    optimizer_options: tuple[str, ...] = Field(
        default=(), description="More of the optimizer's: NAME=VALUE, as eps=1e-7 centered=true."
    )
    clip: float | None = Field(default=None, gt=0, description="Clip the gradient to this norm.")
    lr_schedule: str = Field(
        default="constant",
        description="constant, cosine, flat-linear[:FRACTION] or step:FACTOR:EPOCH1,EPOCH2,...",
    )
    lr_warmup: int = Field(
        default=0, ge=0, description="The first steps, in which the learning rate rises to lr."
    )
    kl_warmup: str = Field(
        default="none",
        description="Of the KL weight: none, linear:EPOCHS, cosine:EPOCHS, cyclic[:CYCLES].",
    )
    schedule: tuple[str, ...] = Field(
        default=(), description="Any weight by step: NAME=KIND:NUMBERS, as beta=linear:0:1:5000."
    )
    patience: int | None = Field(
        default=None, ge=1, description="Stop after this many epochs without a better one."
    )
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="Keep a running mean of the weights, as 0.999."
    )
    snapshots: int = Field(
        default=1,
        ge=0,
        description="Keep pictures of every Nth epoch, for `vaekit animate`; 0: none.",
    )
    seed: int = Field(default=0, ge=0, description="Of weights, order and noise.")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads.")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        default="fp32", description="In which networks compute the steps: fp32, tf32 or bf16."
    )
    compile: bool = Field(
        default=False, description="Compile the steps first (torch.compile): for GPUs."
    )
    capture: bool = Field(
        default=False, description="Replay whole steps as CUDA graphs: for small nets on GPUs."
    )


def checked(record: type[O], values: dict[str, Any]) -> O:
    """`record(**values)`, with what is wrong in one line.

    Raises:
        VaekitError: for the first value that does not fit.

    Example:
        >>> checked(Training, {"epochs": -1})
        Traceback (most recent call last):
        ...
        vaekit.errors.VaekitError: got `epochs=-1`; expected at least 1.
    """
    for name in values:
        if name not in record.model_fields:
            raise unknown("option", name, list(record.model_fields))
    try:
        return record(**values)
    except ValidationError as error:
        first = error.errors()[0]
        expected = first["msg"].replace("Input should be ", "expected ")
        expected = expected.replace("greater than or equal to", "at least")
        shown = " ".join(repr(first["input"]).split())  # of an array, many lines
        shown = shown if len(shown) <= 80 else f"{shown[:80]}..."
        raise VaekitError(f"got `{first['loc'][0]}={shown}`; {expected}.") from None

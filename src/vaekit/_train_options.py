"""Option records of data and training, which the command line, files and Python share.

Importing them does not import torch. Their field names, and those of parts, share one namespace:
the flags of the command line, which reads defaults, literals, and what is said below each field
from this source.
"""

from __future__ import annotations

import math
import os
import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from vaekit._arguments import fits, shown, words
from vaekit.errors import VaekitError, unknown

LANGUAGES = {"en": "en", "zh": "zh-CN"}  # of report pages, with their names in HTML
MOST_SIDE = 1 << 14  # pixels
COLORS = ("white", "black")
COLUMN_KINDS = {
    "numeric": "a Gaussian",
    "integer": "a Gaussian, whole when written",
    "count": "a negative binomial",
    "binary": "a Bernoulli",
    "category": "a categorical",
    "date": "a Gaussian of days",
    "log": "a Gaussian of the logarithm",
    "quantile": "a Gaussian of normal scores",
}
O = TypeVar("O", bound="Options")  # noqa: E741


PathText = Annotated[
    str, BeforeValidator(lambda path: os.fspath(path) if isinstance(path, os.PathLike) else path)
]


def _paths(value: Any) -> Any:
    """Return several paths as one text, separated by commas."""
    several = isinstance(value, list | tuple) and len(value) > 0
    if not several or not all(isinstance(each, str | os.PathLike) for each in value):
        return os.fspath(value) if isinstance(value, os.PathLike) else value
    names = [os.fspath(each) for each in value]
    if wrong := [name for name in names if "," in name]:
        raise VaekitError(f"'{wrong[0]}' has a comma, which parts several paths: rename it.")
    return ",".join(names)


PathTexts = Annotated[str, BeforeValidator(_paths)]


def _sides(value: Any) -> Any:
    """Return the shape of a row, as 28,28 or 28x28 or (28, 28), as 28x28.

    Raises:
        VaekitError: for what is no two or three numbers from 1 on.
    """
    text = "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    sides = text.replace(",", "x").replace(" ", "").split("x")
    if len(sides) not in (2, 3) or not all(re.fullmatch("0*[1-9][0-9]{0,4}", s) for s in sides):
        raise VaekitError(
            f"got `shape={shown(value)}`; expected HEIGHT,WIDTH, as 28,28 or 3,32,32."
        )
    return "x".join(str(int(side)) for side in sides)


Sides = Annotated[str, BeforeValidator(_sides)]


def _names(value: Any) -> Any:
    """Return names that are written one after the other, as a,b,c, as several."""
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list | tuple):
        return value
    return tuple(each.strip() for name in several for each in str(name).split(","))


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


PAIR = re.compile(r"(.+?=[^,=]*|.+)(?:,|$)")  # the name of a column may have commas


def _kinds(value: Any) -> Any:
    """Return kinds of columns, as age=numeric,zip=category or a dict, as NAME=KIND each.

    Raises:
        VaekitError: for a name without a kind, an unknown kind, and a column with two.
    """
    pairs = [f"{n}={k}" for n, k in value.items()] if isinstance(value, dict) else value
    several = [pairs] if isinstance(pairs, str) else pairs
    if not isinstance(several, list | tuple):
        return value
    found: dict[str, str] = {}
    for pair in (p for each in several for p in PAIR.findall(str(each))):
        name, equals, kind = pair.strip().rpartition("=")
        if not equals or not name:
            raise VaekitError(
                f"got `kinds={shown(pair)}`; expected NAME=KIND,..., as age=numeric,zip=category."
            )
        if kind not in COLUMN_KINDS:
            raise unknown("kind of column", kind, COLUMN_KINDS)
        if name in found:
            raise VaekitError(f"`kinds` names '{name}' twice: give it one kind.")
        found[name] = kind
    return tuple(f"{name}={kind}" for name, kind in found.items())


Kinds = Annotated[tuple[str, ...], BeforeValidator(_kinds)]


def _conditions(value: Any) -> Any:
    """Return what a model is conditioned on as one text, separated by commas.

    Raises:
        VaekitError: for none among others.
    """
    several = _names(value)
    if not isinstance(several, tuple) or not all(several):
        raise VaekitError(f"got `context={shown(value)}`; expected none, label, or columns: a,b.")
    several = tuple(dict.fromkeys(several))
    if "none" in several and len(several) > 1:
        raise VaekitError(f"got `context={','.join(several)}`; expected none, or what there is.")
    return ",".join(several)


Conditions = Annotated[str, BeforeValidator(_conditions)]


def _size(value: Any) -> Any:
    """Return a side of squares as a number, and width and height as WxH."""
    match = (
        re.fullmatch(r"\s*(\d+)\s*(?:[xX*\u00d7]\s*(\d+)\s*)?", value)
        if isinstance(value, str)
        else None
    )
    sides = [value] * 2 if isinstance(value, int) else []
    sides = [int(each or match[1]) for each in match.groups()] if match else sides
    if not sides or not all(1 <= each <= MOST_SIDE for each in sides):
        raise VaekitError(
            f"got `size={shown(value)}`; expected a side of 1 to {MOST_SIDE}, as 64, or "
            "WIDTHxHEIGHT, as 96x128."
        )
    return sides[0] if sides[0] == sides[1] else f"{sides[0]}x{sides[1]}"


def _background(value: Any) -> Any:
    """Refuse what is no color."""
    if value not in COLORS and not re.fullmatch("#[0-9a-fA-F]{6}", str(value)):
        raise VaekitError(f"got `background={shown(value)}`; expected white, black or #RRGGBB.")
    return value


def _levels(value: Any) -> Any:
    """Return two numbers, the first the lower, as LOW,HIGH."""
    several = value.split(",") if isinstance(value, str) else value
    try:
        low, high = map(float, several)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not -math.inf < low < high < math.inf:
        raise VaekitError(f"got `levels={shown(value)}`; expected LOW,HIGH, as 0,4095.")
    return f"{low:.17g},{high:.17g}"


Size = Annotated[int | str, BeforeValidator(_size)]
Color = Annotated[str, BeforeValidator(_background)]
Levels = Annotated[str, BeforeValidator(_levels)]


class Options(BaseModel):
    """A record of options: frozen, all numbers finite, and an unknown name is an error."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        defer_build=True,
        use_attribute_docstrings=True,
    )

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            fields = type(self).model_fields
            hint: Any = fields[name].annotation or Any if name in fields else Any
            if isinstance(value, bool) and not fits(hint)(value):  # which would pass for a number
                raise VaekitError(f"got `{name}={value}`; expected {words(hint)}.")
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            if isinstance(inner := first.get("ctx", {}).get("error"), VaekitError):
                raise inner from None
            expected = first["msg"].replace("Input should be ", "expected ")
            expected = expected.replace("greater than or equal to", "at least")
            if first["type"] == "missing":
                raise VaekitError(f"`{first['loc'][0]}` is missing.") from None
            value = shown(first["input"])
            raise VaekitError(f"got `{first['loc'][0]}={value}`; {expected}.") from None


class Data(Options):
    """What is trained on, and what is made of it."""

    data: PathTexts = "digits"
    """A data set's name, or a path to images, arrays or a table. `vaekit data` lists the names; a
    path is a folder, .zip or .tar of images, .npz, .npy, .mat, .h5, .pt, .csv, .xlsx, .parquet and
    others. The rows of several, as a.csv,b.csv, follow each other."""

    test_data: PathText | None = None
    """The path of test rows, read as the training rows are."""

    data_dir: PathText | None = None
    """The folder of data sets. By default VAEKIT_DATA, then the user cache."""

    validation: float | None = Field(default=None, ge=0)
    """Rows held out of training: a fraction, or a count. From 1 on it is a count; 0 holds out none.
    By default the set's own validation rows, else a tenth."""

    test: float | None = Field(default=None, ge=0)
    """Test rows held out of a path that brings none. A fraction, or a count; by default a tenth; 0
    holds out none."""

    limit: int | None = Field(default=None, ge=2)
    """Use this many training rows only. Of a folder or .zip of images no others are opened, but for
    test rows."""

    split_seed: int = Field(default=0, ge=0, lt=2**32)
    """The seed of the choice of rows: which are used, held out and kept for test."""

    group: str | None = None
    """Keep rows of one group in one split. For images a regular expression, searched in the file's
    path, whose first bracket is the key, as 'p(\\d+)_', or 'folder'; for a .csv a column."""

    size: Size | None = None
    """Scale images to SIZE x SIZE, or WIDTHxHEIGHT, as 96x128. Images of several sizes become 64 x
    64 by default, or less where they are small."""

    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How images of other proportions come to that size. `crop` cuts the longer side, the center
    kept; `pad` lays the whole image on the background; `stretch` distorts it."""

    crop: int | None = Field(default=None, ge=1)
    """Keep the central CROP x CROP pixels first."""

    gray: bool = False
    """Turn color images gray."""

    background: Color = "white"
    """What lies behind transparent images, and around padded ones: white, black or #RRGGBB."""

    levels: Levels | None = None
    """The values of images that become 0 and 1, as 0,4095; others are cut off. By default integers
    of more than 8 bits are scaled by their own range, and floats keep theirs."""

    pages: Literal["first", "all"] = "first"
    """Which images of a stack or an animation are rows: the first, or all."""

    skip_damaged: bool = False
    """Leave out image files that cannot be read. They are listed."""

    augment: Names | None = None
    """Change training images at random, anew each time: flip (left and right), crop:4 (moved by up
    to 4 pixels), rotate:10 (turned by up to 10 degrees); several as flip,crop:4; or none. By
    default flip for 100 to 20,000 color images that look the same mirrored."""

    @property
    def changes(self) -> tuple[str, ...]:
        """What is done to training images, one after the other."""
        return () if self.augment in (None, ("none",)) else self.augment

    label: str | None = None
    """The column of a .csv that is a class. It is no feature; its name, or its number from 1."""

    labels: PathText | None = None
    """A table of labels beside images, or a key. A row of the table for each file; a column holds
    the files' names. In a file of arrays, the key of the labels."""

    images: str | None = None
    """The key of the images in a file of arrays."""

    shape: Sides | None = None
    """The shape of images that are rows of a table, as 28,28 or 3,32,32. Whole numbers from 0 to
    255 become pixels; a further column `label` is the class."""

    label_from: str | None = None
    """The class of an image from its path. A regular expression whose first bracket is the class,
    as '([a-z]+)\\.'"""

    columns: Names = ()
    """The columns of a table that are features, as a,b,c. By default all but an index, and a column
    `id` or `name` that identifies the rows."""

    drop: Names = ()
    """Columns of a table to leave out."""

    date: Names = ()
    """Columns of a table that are dates. They become days since 1970-01-01."""

    kinds: Kinds = ()
    """What columns of a table are, as age=numeric,zip=category. One of numeric, integer, count,
    binary, category, date, log, quantile; what is not named is seen by its cells."""

    missing: Literal["refuse", "drop", "mean", "allow"] = "refuse"
    """What becomes of gaps in a table (empty, NA, null, ?). `drop` leaves such rows out, `mean`
    fills in the mean of the column's training rows, `allow` trains on what is seen of each row, and
    of arrays, images too, in which NaN is a gap."""

    kind: Literal["binary", "gray", "color", "counts", "table"] | None = None
    """What the values are, where a file does not tell."""

    context: Conditions = "none"
    """Condition the model on label, columns, or none. Columns, as label,plate, have few values, and
    are of a table, where they are no features, or of obs of an .h5ad; each value is one-hot."""

    library: Literal["none", "observed"] = "none"
    """Give the likelihood of counts the total of each row. With `observed` the network says shares
    of it; what is measured is log p(x | total)."""

    standardize: bool | None = None
    """Standardize the columns of a table. Subtract the training mean, divide by the training
    deviation; by default for .csv."""

    range: Literal["0,1", "-1,1", "0,255"] = "0,1"
    """The range of the pixels that the model sees."""

    binarize: Literal["none", "dynamic", "static", "threshold"] = "none"
    """Make pixels 0 or 1. `dynamic` draws anew every epoch (test rows: one draw, kept), `static`
    draws once, `threshold` is value > 0.5."""

    dequantize: bool = False
    """Add uniform noise to 8-bit values. k becomes (k + u) / 256, u uniform on [0, 1)."""

    cache: bool | None = None
    """Decode images once, into the user cache. Rows of a folder or .zip are read from there; by
    default where they would take half of the free memory. More than 1,000 are remembered there by
    default, for the next training."""

    max_memory: str | None = None
    """The most memory that a file may ask for, as 8GiB. By default 2 GiB, or 20 times its own size
    if that is more: a small file that unpacks to much more is refused."""

    @property
    def covariates(self) -> tuple[str, ...]:
        """The columns that the model is conditioned on, besides the label."""
        return tuple(name for name in self.context.split(",") if name not in ("none", "label"))

    @property
    def gaps(self) -> bool:
        """Whether NaN in rows stands for what is not seen."""
        return self.missing == "allow"

    @property
    def box(self) -> tuple[int, int] | None:
        """The width and the height that `size` asks for."""
        if self.size is None or isinstance(self.size, int):
            return None if self.size is None else (self.size, self.size)
        width, height = self.size.split("x")
        return int(width), int(height)

    @property
    def ends(self) -> tuple[float, float] | None:
        """The values that become 0 and 1, where `levels` says them."""
        low, high = map(float, (self.levels or "0,0").split(","))
        return (low, high) if self.levels else None


class NewData(Data):
    """How rows are read that a trained model is applied to: as those of its training, all of them.

    None is held out, and what the rows are is not guessed anew: the run says it.
    """

    takes: Any = None
    """What the run knows of its data, a `DataSpec`."""

    id: str | None = None
    """The column of a table that names its rows."""

    free: bool = False
    """Labels are of any classes, not of the run's."""

    named: tuple[str, ...] = ("id",)
    """The roles whose columns must be there; labels of the training, and what is left, need not."""

    back: bool = False
    """Rows of a table are to be written back: their cells are kept as they are read."""


class Training(Options):
    """How it is trained."""

    epochs: int | None = Field(default=None, ge=1, le=10**9)
    """Passes over the training rows. By default 13; of few rows as many as make 1,200 steps (of a
    table 6,000), 200 at most."""

    preset: Literal["quick", "standard", "best"] = "standard"
    """How long, where nothing says it. `quick` trains a quarter of the standard epochs, `best`
    four times as many."""

    minutes: float | None = Field(default=None, gt=0)
    """Train the epochs that fit in so many minutes. They follow from the time of some first steps
    and are kept, so that a resumed run is the same. Where epochs are named, they count."""

    batch_size: int = Field(default=128, ge=1)
    """Rows per step."""

    optimizer: str = "adam"
    """Any torch optimizer by name."""

    lr: float = Field(default=2e-3, gt=0)
    """The learning rate."""

    weight_decay: float = Field(default=0.0, ge=0)
    """The optimizer's weight decay."""

    optimizer_options: tuple[str, ...] = ()
    """More options of the optimizer. NAME=VALUE, as eps=1e-7 centered=true."""

    clip: float | None = Field(default=None, gt=0)
    """Clip the gradient to this norm."""

    lr_schedule: str = "flat-linear:0.7"
    """The learning rate over time, as cosine. One of constant, cosine, flat-linear[:FRACTION],
    which falls after that share, step:FACTOR:EPOCH1,EPOCH2 and so on."""

    lr_warmup: int | None = Field(default=None, ge=0)
    """Steps in which the learning rate rises to lr. By default 100, or of fewer than 2,000 a
    twentieth; none of a constant rate."""

    kl_warmup: str = "none"
    """How the KL's weight rises, as linear:10. One of none, linear:EPOCHS, cosine:EPOCHS,
    cyclic[:CYCLES]."""

    schedule: tuple[str, ...] = ()
    """Any weight by step. NAME=KIND:NUMBERS, as beta=linear:0:1:5000."""

    test_bound: bool = False
    """Measure the test rows too after every epoch. As tutorials print it; nothing is chosen by
    it."""

    patience: int | None = Field(default=None, ge=1)
    """Stop after this many epochs without a better one. By default a fifth of the epochs, at least
    20, where nothing names these; else it never stops."""

    ema: float | None = Field(default=None, gt=0, lt=1)
    """Keep a running mean of the weights, as 0.999."""

    snapshots: int = Field(default=1, ge=0)
    """Keep images of every Nth epoch. For `vaekit animate`; 0 keeps none."""

    checkpoint_seconds: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    """The least time between checkpoints. In mid-epoch too; where writing one takes long, it is
    more; 0 writes one after each step."""

    keep_every: int | None = Field(default=None, ge=1)
    """Keep a checkpoint of every Nth epoch. As checkpoints/epoch-N.safetensors, which
    `weights=epoch-N` opens."""

    init_from: PathText | None = None
    """Begin with the weights of this run. Its recipe, parts and shape of data must be the same; the
    objective and the data may be others."""

    freeze: Literal["none", "encoder", "decoder"] = "none"
    """Keep the weights of this part. It has no dropout then, and its running statistics stay."""

    seed: int = Field(default=0, ge=0)
    """The seed of weights, order and noise."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""

    threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads."""

    precision: Literal["fp32", "tf32", "bf16", "bf16!"] = "fp32"
    """The precision of the networks in a step. `bf16` is refused where the processor has no
    instructions for it and would take about ten times as long; `bf16!` insists."""

    compile: bool = False
    """Compile the steps first (torch.compile). For GPUs."""

    capture: bool = False
    """Replay whole steps as CUDA graphs. For small networks on GPUs."""

    fast: Literal["auto", "off"] = "auto"
    """auto takes the gradients of dense VAEs without autograd; off."""


def checked(record: type[O], values: dict[str, Any]) -> O:
    """Return `record(**values)`; say what is wrong in one line.

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
    return record(**values)

"""Written by tools/index.py: the options of a training, for editors and mypy."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypedDict

from torch.nn import Module

Part = str | Mapping[str, Any] | Module

class TrainOptions(TypedDict, total=False):
    prior: Part
    posterior: Part
    likelihood: Part
    net: Part
    latent: int
    model: Part
    quantizer: Part
    data: Any
    test_data: str | PathLike[str] | None
    data_dir: str | PathLike[str] | None
    validation: float | None
    test: float | None
    limit: int | None
    split_seed: int
    group: str | None
    size: int | str | None
    fit: Literal["crop", "pad", "stretch"]
    crop: int | None
    gray: bool
    background: str
    levels: str | Sequence[float] | None
    pages: Literal["first", "all"]
    skip_damaged: bool
    augment: str | Sequence[str] | None
    label: str | None
    labels: str | PathLike[str] | None
    images: str | None
    shape: str | Sequence[int] | None
    label_from: str | None
    columns: str | Sequence[str]
    drop: str | Sequence[str]
    date: str | Sequence[str]
    kinds: str | Mapping[str, str]
    missing: Literal["refuse", "drop", "mean", "allow"]
    kind: Literal["binary", "gray", "color", "counts", "table"] | None
    context: str | Sequence[str]
    library: Literal["none", "observed"]
    standardize: bool | None
    range: Literal["0,1", "-1,1", "0,255"]
    binarize: Literal["none", "dynamic", "static", "threshold"]
    dequantize: bool
    cache: bool | None
    max_memory: str | None
    epochs: int | None
    preset: Literal["quick", "standard", "best"]
    minutes: float | None
    batch_size: int
    optimizer: str
    lr: float
    weight_decay: float
    optimizer_options: Sequence[str]
    clip: float | None
    lr_schedule: str
    lr_warmup: int | None
    kl_warmup: str
    schedule: Sequence[str]
    test_bound: bool
    patience: int | None
    ema: float | None
    snapshots: int
    checkpoint_seconds: float
    keep_every: int | None
    init_from: str | PathLike[str] | None
    freeze: Literal["none", "encoder", "decoder"]
    seed: int
    device: str
    threads: int | None
    precision: Literal["fp32", "tf32", "bf16", "bf16!"]
    compile: bool
    capture: bool
    fast: Literal["auto", "off"]

class RecipeOptions(TrainOptions, total=False):
    objective: Part

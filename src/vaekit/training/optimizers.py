"""Any torch optimiser by name; Adam and AdamW in their fused form."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

import torch
from torch import nn

from vaekit.errors import VaekitError, choose, unknown

NEEDS_MORE = {"lbfgs": "a closure", "sparseadam": "sparse gradients", "optimizer": "a subclass"}


def _known() -> dict[str, type[torch.optim.Optimizer]]:
    classes = inspect.getmembers(torch.optim, inspect.isclass)
    return {
        name.lower(): cls
        for name, cls in classes
        if issubclass(cls, torch.optim.Optimizer) and name.lower() not in NEEDS_MORE
    }


def _value(text: str) -> object:
    words = {"true": True, "false": False}
    return words[text.lower()] if text.lower() in words else float(text)


def _option(text: str) -> tuple[str, object]:
    """The name and the value in NAME=VALUE."""
    name, equals, value = text.partition("=")
    try:
        values = tuple(_value(part) for part in value.split(","))
    except ValueError:
        values = ()
    if not (name and equals and values):
        raise VaekitError(f"got the optimizer option '{text}'; expected NAME=VALUE, as eps=1e-7.")
    return name, values if len(values) > 1 else values[0]


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    weight_decay: float = 0.0,
    more: Iterable[str] = (),
) -> torch.optim.Optimizer:
    """The torch optimiser of this name (any case), fused where that form exists.

    Args:
        name: of the class.
        parameters: what it moves.
        lr: the learning rate.
        weight_decay: its weight decay.
        more: further arguments, `NAME=VALUE`: numbers, true or false, or several numbers with
            commas, as `betas=0.5,0.9`.

    Raises:
        VaekitError: for an unknown name or argument, or one that needs more than a gradient.

    Example:
        >>> weight = nn.Parameter(torch.zeros(2))
        >>> make_optimizer("adamw", [weight], lr=1e-3).defaults["fused"]
        True
        >>> make_optimizer("adm", [weight], lr=1e-3)
        Traceback (most recent call last):
        ...
        vaekit.errors.VaekitError: unknown optimizer 'adm'; did you mean 'adam'? ...
    """
    lower = name.lower()
    if lower in NEEDS_MORE:
        raise VaekitError(f"{name} needs {NEEDS_MORE[lower]}: take adam, adamw, sgd or another.")
    cls = choose("optimizer", lower, _known())
    options: dict[str, object] = {"lr": lr, "weight_decay": weight_decay}
    known = [n for n in inspect.signature(cls).parameters if n not in ("params", *options)]
    for text in more:
        key, value = _option(text)
        if key not in known:
            raise unknown(f"option of {name}", key, known)
        options[key] = value
    if lower in ("adam", "adamw"):
        options["fused"] = True
    try:
        return cls(parameters, **options)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise VaekitError(f"{name} cannot train this model: {error}") from None

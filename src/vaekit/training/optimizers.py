"""Any torch optimizer by name, without what it imports; Adam and AdamW in their fused form."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError, at_least, choose, unknown
from vaekit.objectives import Objective

NEEDS_MORE = {"lbfgs": "a closure", "sparseadam": "sparse gradients", "optimizer": "a subclass"}


UNDECORATED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


@cache
def lean(cls: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The same optimizer, which does not import torch._dynamo (2 s and 70 MiB).

    torch decorates the methods of its optimizers for torch.compile, to which no step of the kit
    gives them; what lies below the decorators is used as it is. A fused step of Adam calls its
    kernel at once.
    """
    whole = inspect.unwrap(cls.step)

    def step(self: Any, closure: Callable[[], float] | None = None) -> float | None:
        with torch.set_grad_enabled(self.defaults.get("differentiable", False)):
            one_call = issubclass(cls, torch.optim.Adam) and not hasattr(self, "grad_scale")
            if one_call and closure is None and all(map(_plain, self.param_groups)):
                for group in self.param_groups:
                    _fused_step(self, group)
                return None
            taken: float | None = whole(self, closure)
            return taken

    methods = {name: inspect.unwrap(getattr(cls, name)) for name in UNDECORATED}
    return type(cls.__name__, (cls,), {**methods, "step": step, "__doc__": cls.__doc__})


def _plain(group: dict[str, Any]) -> bool:
    """Whether a group of Adam's or AdamW's is one call of the kernel."""
    numbers = (group["lr"], *group.get("betas", ()))
    return (
        bool(group.get("fused"))
        and not (group["capturable"] or any(isinstance(n, Tensor) for n in numbers))
        and len({(p.device, p.dtype) for p in group["params"]}) == 1
    )


def _fused_step(adam: Any, group: dict[str, Any]) -> None:
    found: tuple[list[Tensor], ...] = [], [], [], [], [], []  # weights, gradients, moments, steps
    adam._init_group(group, *found)
    if not found[0]:
        return
    torch._foreach_add_(found[-1], 1)
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    beta1, beta2 = group["betas"]
    shared = {name: group[name] for name in ("amsgrad", "lr", "weight_decay", "eps", "maximize")}
    kernel(*found, beta1=beta1, beta2=beta2, **shared)


def _option(text: str) -> tuple[str, object]:
    """Return the name and the value in NAME=VALUE."""
    name, equals, value = text.partition("=")
    words = {"true": True, "false": False}
    try:
        values = [words[v] if v in words else float(v) for v in value.lower().split(",")]
    except ValueError:
        values = []
    if not (name and equals and values):
        raise VaekitError(
            f"got the optimizer option '{text}'; expected NAME=VALUE, such as eps=1e-7."
        )
    return name, tuple(values) if len(values) > 1 else values[0]


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    weight_decay: float = 0.0,
    more: Iterable[str] = (),
) -> torch.optim.Optimizer:
    """Return the torch optimizer of this name (any case), fused where that form exists.

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
    classes = {
        n.lower(): each
        for n, each in inspect.getmembers(torch.optim, inspect.isclass)
        if issubclass(each, torch.optim.Optimizer) and n.lower() not in NEEDS_MORE
    }
    cls = choose("optimizer", lower, classes)
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
        return lean(cls)(parameters, **options)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:
        raise VaekitError(f"{name} cannot train this model: {error}") from None


def make_critic(objective: Objective) -> torch.optim.Optimizer | None:
    """Return the optimizer of an objective's critic, by its options; None without a critic.

    Raises:
        VaekitError: as `make_optimizer`, and for options that cannot be.
    """
    critic = getattr(objective, "critic", None)
    if critic is None:
        return None
    at_least("critic_steps", objective.critic_steps, 1)
    if not objective.critic_lr > 0:
        raise VaekitError(f"got `critic_lr={objective.critic_lr}`; expected more than 0.")
    return make_optimizer(objective.critic_optimizer, critic.parameters(), lr=objective.critic_lr)

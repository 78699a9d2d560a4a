"""Any torch optimizer by name, without what it imports; Adam and AdamW in their fused form."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import optimizer

from vaekit.errors import VaekitError, at_least, choose, unknown
from vaekit.objectives import Objective

NEEDS_MORE = {"lbfgs": "a closure", "sparseadam": "sparse gradients", "optimizer": "a subclass"}
UNDECORATED = ("add_param_group", "state_dict", "load_state_dict")


@cache
def lean(cls: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Return the same optimizer, which does not import torch._dynamo (2 s and 70 MiB).

    torch decorates the methods of its optimizers for torch.compile, to which no step of vaekit
    gives them; what lies below the decorators is used as it is. A fused step of Adam that nobody
    watches calls its kernel at once.
    """
    whole, fused = inspect.unwrap(cls.step), issubclass(cls, torch.optim.Adam)

    def graded(self: Any, closure: Callable[[], float] | None = None) -> float | None:
        with torch.set_grad_enabled(self.defaults.get("differentiable", False)):
            taken: float | None = whole(self, closure)
            return taken

    watched = torch.optim.Optimizer.profile_hook_step(graded)

    def step(self: Any, closure: Callable[[], float] | None = None) -> float | None:
        if closure is not None or not fused or not _one_call(self):
            taken: float | None = watched(self, closure)
            return taken
        with torch.no_grad():
            for group in self.param_groups:
                _fused_step(self, group)
        return None

    def zero_grad(self: Any, set_to_none: bool = True) -> None:
        if not set_to_none:
            inspect.unwrap(cls.zero_grad)(self, False)
        for group in self.param_groups if set_to_none else ():
            for p in group["params"]:
                p.grad = None

    step.hooked = True  # type: ignore[attr-defined]  # torch would wrap it otherwise, for 30 us
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(cls, name)) for name in UNDECORATED}
    methods |= {"step": step, "zero_grad": zero_grad, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls,), methods)


def _one_call(adam: Any) -> bool:
    """Return whether a step is one call of the kernel for each group, and no hook waits for it."""
    hooks = adam._optimizer_step_pre_hooks or adam._optimizer_step_post_hooks
    everywhere = optimizer._global_optimizer_pre_hooks or optimizer._global_optimizer_post_hooks
    if hooks or everywhere or hasattr(adam, "grad_scale"):
        return False
    for group in adam.param_groups:
        if not group.get("fused") or group["capturable"]:
            return False
        if any(isinstance(number, Tensor) for number in (group["lr"], *group.get("betas", ()))):
            return False
        if len({(p.device, p.dtype) for p in group["params"]}) != 1:
            return False
    return True


def _fused_step(adam: Any, group: dict[str, Any]) -> None:
    moved = [p for p in group["params"] if p.grad is not None]
    states = [adam.state[p] for p in moved]
    if not all(states):
        adam._init_group(group, *([] for _ in range(6)))
    if not moved:
        return
    first, second, steps = ([s[name] for s in states] for name in ("exp_avg", "exp_avg_sq", "step"))
    largest = [s["max_exp_avg_sq"] for s in states] if group["amsgrad"] else []
    torch._foreach_add_(steps, 1)
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    beta1, beta2 = group["betas"]
    shared = {name: group[name] for name in ("amsgrad", "lr", "weight_decay", "eps", "maximize")}
    gradients = [p.grad for p in moved]
    kernel(moved, gradients, first, second, largest, steps, beta1=beta1, beta2=beta2, **shared)


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
        raise VaekitError(f"{name} needs {NEEDS_MORE[lower]}: use adam, adamw, sgd or another.")
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
    how: Any = {"lr": objective.critic_lr, "more": objective.critic_options}
    return make_optimizer(objective.critic_optimizer, critic.parameters(), **how)

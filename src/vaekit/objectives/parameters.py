"""Whose parameters are whose: two players, and the parts of a surrogate."""

from __future__ import annotations

from itertools import chain

from torch import nn

from vaekit.errors import VaekitError, unknown
from vaekit.objectives.base import Objective

Parameters = list[nn.Parameter]
Parts = list[tuple[str, Parameters]]


def players(model: nn.Module, objective: nn.Module) -> tuple[Parameters, Parameters]:
    """Return the parameters of model and objective, and those of the objective's critic apart.

    Example:
        >>> from vaekit.objectives import ELBO
        >>> objective = ELBO()
        >>> objective.critic = nn.Linear(2, 1)
        >>> [len(each) for each in players(nn.Linear(3, 3), objective)]
        [2, 2]
    """
    critic = getattr(objective, "critic", None)
    second = {} if critic is None else {id(p): p for p in critic.parameters()}
    both = chain(model.parameters(), objective.parameters())
    first = {id(p): p for p in both if id(p) not in second}
    return list(first.values()), list(second.values())


def refuse_critic(objective: Objective, mend: str) -> None:
    """Refuse an objective with a critic where only one player can train."""
    if players(nn.Module(), objective)[1]:
        raise VaekitError(
            f"{type(objective).__name__} has a critic, which takes steps of its own: {mend}."
        )


def by_part(model: nn.Module, objective: nn.Module, names: tuple[str, ...]) -> Parts:
    """Return the trainable parameters of these submodules of the model; "rest" has all others.

    Parts without any are left out; the critic's are in none.

    Raises:
        VaekitError: for a path that the model does not have, parts that overlap, and parameters
            that are in no part.

    Example:
        >>> from vaekit.objectives import ELBO
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
        >>> [(name, len(own)) for name, own in by_part(model, ELBO(), ("rest", "0", "1"))]
        [('0', 2), ('rest', 2)]
    """
    left = {id(p): p for p in players(model, objective)[0] if p.requires_grad}
    known = dict(model.named_modules())
    parts: Parts = []
    owner: dict[int, str] = {}
    for name in names:
        if name == "rest":
            continue
        if name not in known:
            near = [path for path in known if path and path.count(".") <= name.count(".")]
            raise unknown("part of the surrogate", name, [*near, "rest"])
        part = [p for p in known[name].parameters() if id(p) in left or id(p) in owner]
        if twice := [owner[id(p)] for p in part if id(p) in owner]:
            raise VaekitError(
                f"parts {twice[0]} and {name} of the surrogate share parameters: give each to one."
            )
        for p in part:
            owner[id(p)] = name
            del left[id(p)]
        parts += [(name, part)] if part else []
    if left and "rest" not in names:
        named = chain(model.named_parameters(), objective.named_parameters(prefix="objective"))
        first = next(name for name, p in named if id(p) in left)
        raise VaekitError(f"no part of the surrogate is for {first}: add one, or 'rest'.")
    return parts + ([("rest", list(left.values()))] if left else [])

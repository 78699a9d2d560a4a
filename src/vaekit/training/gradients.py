"""Whose gradient is whose: two players, losses by part, and several processes that train as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError, unknown
from vaekit.objectives import Bound, Objective
from vaekit.torchutil import over_ranks

Parameters = list[nn.Parameter]
Parts = list[tuple[str, Parameters]]


def players(model: nn.Module, objective: nn.Module) -> tuple[Parameters, Parameters]:
    """The parameters of model and objective, and those of the objective's critic apart.

    Example:
        >>> from vaekit.objectives import ELBO
        >>> objective = ELBO()
        >>> objective.critic = nn.Linear(2, 1)
        >>> [len(each) for each in players(nn.Linear(3, 3), objective)]
        [2, 2]
    """
    critic = getattr(objective, "critic", None)
    second = {} if critic is None else {id(p): p for p in critic.parameters()}
    found = chain(model.parameters(), objective.parameters())
    first = {id(p): p for p in found if id(p) not in second}
    return list(first.values()), list(second.values())


def refuse_critic(objective: Objective, how: str, mend: str) -> None:
    """Refuses an objective with a critic where only one player can train."""
    if players(nn.Module(), objective)[1]:
        raise VaekitError(
            f"{type(objective).__name__} has a critic, which takes steps of its own between those "
            f"of {how}: {mend}."
        )


def by_part(model: nn.Module, objective: nn.Module, names: tuple[str, ...]) -> Parts:
    """The trainable parameters of each of these submodules of the model; "rest" has all others.

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
    found: Parts = []
    taken: dict[int, str] = {}
    for name in names:
        if name == "rest":
            continue
        if name not in known:
            near = [path for path in known if path and path.count(".") <= name.count(".")]
            raise unknown("part of the surrogate", name, [*near, "rest"])
        own = [p for p in known[name].parameters() if id(p) in left or id(p) in taken]
        if twice := [taken[id(p)] for p in own if id(p) in taken]:
            raise VaekitError(
                f"parts {twice[0]} and {name} of the surrogate share parameters: give each to one."
            )
        for p in own:
            taken[id(p)] = name
            del left[id(p)]
        found += [(name, own)] if own else []
    if left and "rest" not in names:
        named = chain(model.named_parameters(), objective.named_parameters(prefix="objective"))
        first = next(name for name, p in named if id(p) in left)
        raise VaekitError(f"no part of the surrogate is for {first}: add one, or 'rest'.")
    return found + ([("rest", list(left.values()))] if left else [])


def differentiate(
    bound: Bound,
    nominal: int,
    parts: Callable[[tuple[str, ...]], Parts] = lambda names: [],
    only: Sequence[Tensor] | None = None,
) -> Tensor:
    """Adds the gradient of the loss to the parameters; the detached loss.

    It is minus the target's sum over the batch, by the nominal size of a batch, so that every row
    counts alike, in a short last batch too.

    Args:
        bound: what an objective says of the batch.
        nominal: how many rows a whole batch has, those of other processes included.
        parts: `by_part` of the model and the objective.
        only: the parameters that get a gradient, where others are reached.
    """
    target = bound.target
    if isinstance(target, Tensor):
        loss = -target.sum() / nominal
        loss.backward(inputs=only)
        return loss.detach()
    losses = {name: -values.sum() / nominal for name, values in target.items()}
    jobs = [(losses[name], own) for name, own in parts(tuple(target))]
    jobs = [(loss, own) for loss, own in jobs if loss.requires_grad]
    for number, (loss, own) in enumerate(jobs, 1):
        loss.backward(inputs=own, retain_graph=number < len(jobs))
    return torch.stack([loss.detach() for loss in losses.values()]).sum()


Buffers = list[tuple[Tensor, Tensor]]  # each with its value before the pass


@torch.no_grad()
def from_first(*modules: nn.Module) -> None:
    """Gives all processes the parameters and buffers of the first one."""
    for value in chain.from_iterable((*m.parameters(), *m.buffers()) for m in modules):
        sent = value.detach().contiguous()
        torch.distributed.broadcast(sent, 0)
        value.copy_(sent)


def moving(*modules: nn.Module) -> Buffers:
    """The floating buffers, each with a copy of its value."""
    found = chain.from_iterable(module.buffers() for module in modules)
    return [(value, value.clone()) for value in found if value.is_floating_point()]


@torch.no_grad()
def join(parameters: Sequence[Tensor], losses: Tensor, buffers: Buffers, rows: int) -> Tensor:
    """One sum over all processes of gradients and losses; buffers take the mean of their moves.

    A gradient that no process has stays None. Moves count by rows, so that a buffer that did not
    move stays as it is to the last bit.

    Args:
        parameters: whose gradients are summed.
        losses: any shape.
        buffers: what `moving` noted before the pass.
        rows: of this process's batch.

    Returns:
        The sum of the losses.
    """
    absent = [p.grad is None for p in parameters]
    here = losses.new_tensor([*(not each for each in absent), rows])
    pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    moves = [rows * (new - old) if rows else torch.zeros_like(old) for new, old in buffers]
    sent = [*pieces, *moves, losses.detach(), here]
    flat = over_ranks(torch.cat([each.reshape(-1) for each in sent]))
    pairs = zip(flat.split([each.numel() for each in sent]), sent, strict=True)
    sums = [total.view_as(each) for total, each in pairs]
    there = sums[-1].tolist() if any(absent) else [1.0] * len(here)
    for p, total, held in zip(parameters, sums, there, strict=False):
        if held:
            p.grad = torch.empty_like(p) if p.grad is None else p.grad
            p.grad.copy_(total)
    for (new, old), move in zip(buffers, sums[len(pieces) :], strict=False):
        new.copy_(old + move / sums[-1][-1].clamp(min=1))
    return sums[-2].clone()

"""The gradients of a step: of the whole loss or by part, and summed over processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from vaekit.objectives import Bound, Parts
from vaekit.torchutil import over_ranks


def differentiate(
    bound: Bound,
    nominal: int,
    parts: Callable[[tuple[str, ...]], Parts] = lambda names: [],
    only: Sequence[Tensor] | None = None,
) -> Tensor:
    """Add the gradient of the loss to the parameters; return the loss, detached.

    It is minus the target's sum over the batch, by the nominal size of a batch, so that every row
    counts alike, in a short last batch too.

    Args:
        bound: the objective's value and target on the batch.
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
    jobs = [(losses[name], part) for name, part in parts(tuple(target))]
    jobs = [(loss, part) for loss, part in jobs if loss.requires_grad]
    for number, (loss, part) in enumerate(jobs, 1):
        loss.backward(inputs=part, retain_graph=number < len(jobs))
    return torch.stack([loss.detach() for loss in losses.values()]).sum()


Buffers = list[tuple[Tensor, Tensor]]  # each with its value before the pass


@torch.no_grad()
def from_first(*modules: nn.Module) -> None:
    """Give all processes the parameters and buffers of the first one."""
    for value in chain.from_iterable((*m.parameters(), *m.buffers()) for m in modules):
        sent = value.detach().contiguous()
        torch.distributed.broadcast(sent, 0)
        value.copy_(sent)


def moving(*modules: nn.Module) -> Buffers:
    """Return the floating buffers, each with a copy of its value."""
    buffers = chain.from_iterable(module.buffers() for module in modules)
    return [(value, value.clone()) for value in buffers if value.is_floating_point()]


@torch.no_grad()
def join(parameters: Sequence[Tensor], losses: Tensor, buffers: Buffers, rows: int) -> Tensor:
    """Sum gradients and losses over all processes; buffers take the mean of their moves.

    A gradient that no process has stays None. Moves count by rows, so that a buffer that did not
    move stays as it is to the last bit.

    Args:
        parameters: whose gradients are summed.
        losses: any shape.
        buffers: what `moving` returned before the pass.
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
    owners = sums[-1].tolist() if any(absent) else [1.0] * len(here)
    for p, total, count in zip(parameters, sums, owners, strict=False):
        if count:
            p.grad = torch.empty_like(p) if p.grad is None else p.grad
            p.grad.copy_(total)
    for (new, old), move in zip(buffers, sums[len(pieces) :], strict=False):
        new.copy_(old + move / sums[-1][-1].clamp(min=1))
    return sums[-2].clone()

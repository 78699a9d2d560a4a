"""One step of the optimizer, and of the critic: schedules, pass, gradients, clipping, averages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from vaekit._torchutil import over_ranks, ranks
from vaekit.errors import VaekitError
from vaekit.objectives import Bound, Parts, by_part, players
from vaekit.training._dense import DensePass
from vaekit.training._graphs import Captured, compiled_pass
from vaekit.training._progress import DivergedError, Progress, diagnose
from vaekit.training._schedules import Schedule, targets

NORM_EVERY = 20  # steps between looks at the gradient's norm, where clipping does not take it
CHECK_EVERY = 50  # steps between looks at the loss on an accelerator, where a look makes it wait

Buffers = list[tuple[Tensor, Tensor]]  # each with its value before the pass


class Update:
    """One step: schedules, pass, objective, gradients, clipping, optimizers, running mean.

    With a critic both gradients are taken before either player steps, and none leaks: each loss is
    differentiated for its own player's parameters. Among several processes gradients are summed.
    The progress collects the gradient's norm (before clipping): of every step where it is clipped,
    else of every 20th and of the first one that is seen.

    Args:
        progress: model, objective, their optimizers, and the running mean of the weights.
        nominal: how many rows a whole batch has: see `differentiate`.
        schedules: by name; "lr" is the optimizer's and "critic_lr" the critic's.
        clip: the largest norm of the gradient.
        compiled: whether pass and objective become one graph: see `compiled_pass`.
        captured: whether pass, gradient and optimizer are replayed as one: see `Captured`.
        fast: whether a dense VAE takes its gradient by hand: see `DensePass`.

    Raises:
        VaekitError: for an optimizer of the critic's parameters, and what cannot be captured.
    """

    def __init__(
        self,
        progress: Progress,
        nominal: int,
        schedules: dict[str, Schedule],
        *,
        clip: float | None,
        compiled: bool,
        captured: bool,
        fast: bool,
    ) -> None:
        model, objective = progress.model, progress.objective
        self.model, self.objective, self.nominal, self.clip = model, objective, nominal, clip
        self.optimizer, self.critic = progress.optimizer, progress.critic
        self.gradient, self.average = progress.gradient, progress.average
        first, second = players(model, objective)
        theirs = {id(p) for p in second}
        if any(id(p) in theirs for group in self.optimizer.param_groups for p in group["params"]):
            raise VaekitError(
                f"the optimizer holds parameters of the critic of {type(objective).__name__}: give "
                "it the first half of players(model, objective)."
            )
        self._first = [p for p in first if p.requires_grad]
        self._second = [p for p in second if p.requires_grad]
        self._parts = cache(partial(by_part, model, objective))
        self._rates, self._weights = targets(schedules, model, objective)
        self._ranks = ranks() > 1
        self._bad_step: Tensor | None = None
        self._pass = compiled_pass(self._eager, not captured) if compiled else self._eager
        by_hand = fast and not (compiled or captured or self._ranks)
        self._dense = DensePass.of(model, objective) if by_hand else None
        self._captured: Captured | None = None
        if captured:
            self._captured = Captured(self._step, self.optimizer, self._first[0].device)
        self.optimizer.zero_grad()

    def __call__(self, x: Tensor, context: Tensor | None, step: int) -> Bound:
        """Take the step of this number.

        Raises:
            DivergedError: where a loss is not finite; on the CPU the weights are then still good.
        """
        for name, schedule in self._rates.items():
            player = self.optimizer if name == "lr" else self.critic
            for group in () if player is None else player.param_groups:
                group["lr"] = schedule(step)
        for (module, name), schedule in self._weights.items():
            getattr(module, name).fill_(schedule(step))
        look = self.clip is not None or step % NORM_EVERY == 0 or not self.gradient.count
        if self._captured is None:
            trace, bound, losses, norm = self._step(x, context, step, look)
        else:
            trace, bound, losses, norm = self._captured(x, context)
        if self._captured is not None or losses.device.type != "cpu":
            self._check_later(trace, losses, step)
        if look and norm is not None:
            self.gradient.add(norm)
        if self.average is not None:
            self.average.update_parameters(self.model)
        return bound

    def _step(
        self, x: Tensor, context: Tensor | None, step: int | None = None, look: bool = True
    ) -> tuple[Any, Bound, Tensor, Tensor | None]:
        """Take a step; without a number nothing is read back from the device.

        Returns:
            The trace, the bound, the losses of both players, and the gradient's norm.
        """
        before = self._moving(self.model, self.objective)
        trains = bool(self._second) and step is not None and step >= self.objective.critic_start
        if self._dense is not None and self._dense.fits(x, context):
            trace, bound, *losses = self._dense(x, self.nominal)
        else:
            trace, bound = self._pass(x, context)
            losses = [self._differentiate_critic(trace)] if trains else []
            only = self._first if self._second else None
            losses.insert(0, differentiate(bound, self.nominal, self._parts, only))
        joined = self._join([*self._first, *self._second], torch.stack(losses), before, len(x))
        if step is not None and any(bad := _bad(joined)):
            self._stop(trace, step, critic=not bad[0])
        norm = self._norm() if look else None
        self.optimizer.step()
        self.optimizer.zero_grad()
        if trains and step is not None:
            self._step_critic(trace, step, len(x))
        return trace, bound, joined, norm

    def _step_critic(self, trace: Any, step: int, rows: int) -> None:
        """Take the critic's step, and the further ones before the model's next."""
        assert self.critic is not None
        for number in range(self.objective.critic_steps):
            if number:
                before = self._moving(self.objective)
                loss = self._differentiate_critic(trace)[None]
                if any(_bad(self._join(self._second, loss, before, rows))):
                    self._stop(trace, step, critic=True)
            self.critic.step()
            self.critic.zero_grad()

    def _eager(self, x: Tensor, context: Tensor | None) -> tuple[Any, Bound]:
        trace = self.model(x, context, samples=self.objective.samples)
        return trace, self.objective(trace)

    def _differentiate_critic(self, trace: Any) -> Tensor:
        loss = self.objective.critic_loss(trace).sum() / self.nominal
        loss.backward(inputs=self._second, retain_graph=True)
        return loss.detach()

    def _moving(self, *modules: nn.Module) -> Buffers:
        """Return the floating buffers, each with a copy, where several processes move them."""
        if not self._ranks:
            return []
        buffers = chain.from_iterable(module.buffers() for module in modules)
        return [(value, value.clone()) for value in buffers if value.is_floating_point()]

    def _join(
        self, parameters: list[nn.Parameter], losses: Tensor, buffers: Buffers, rows: int
    ) -> Tensor:
        """Sum gradients and losses over all processes; buffers take the mean of their moves.

        A gradient that no process has stays None. Moves count by rows, so that a buffer that did
        not move stays as it is to the last bit.

        Args:
            parameters: whose gradients are summed.
            losses: any shape.
            buffers: what `_moving` returned before the pass.
            rows: of this process's batch.

        Returns:
            The sum of the losses.
        """
        if not self._ranks:
            return losses
        with torch.no_grad():
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

    def _norm(self) -> Tensor:
        """Return the gradient's norm before it is clipped, which is done here too."""
        if self.clip is not None:
            return nn.utils.clip_grad_norm_(self._first, self.clip)
        return nn.utils.get_total_norm([p.grad for p in self._first if p.grad is not None])

    def _check_later(self, trace: Any, losses: Tensor, step: int) -> None:
        """Note the first loss that is not finite, and look for one now and then."""
        now = torch.where(torch.isfinite(losses).all(), math.inf, float(step))
        self._bad_step = now if self._bad_step is None else torch.minimum(self._bad_step, now)
        if (step + 1) % CHECK_EVERY == 0 and math.isfinite(first := self._bad_step.item()):
            self._stop(trace, int(first))

    def _stop(self, trace: Any, step: int, *, critic: bool = False) -> None:
        self.optimizer.zero_grad()
        cause = diagnose(trace, self.model, self.objective)
        mend = "a smaller lr, clip=1, or a scale with a floor"
        if critic:
            cause, mend = "the critic's loss is not finite", "a smaller critic_lr"
        elsewhere = ", here or in another process" if self._ranks else ""
        raise DivergedError(
            f"the training diverged at step {step}: {cause}{elsewhere}. Try {mend}."
        )


def _bad(losses: Tensor) -> list[bool]:
    """Return whether each loss is not finite; none on an accelerator, which would have to wait."""
    return [not math.isfinite(x) for x in losses.tolist()] if losses.device.type == "cpu" else []


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


@torch.no_grad()
def from_first(*modules: nn.Module) -> None:
    """Give all processes the parameters and buffers of the first one."""
    for value in chain.from_iterable((*m.parameters(), *m.buffers()) for m in modules):
        sent = value.detach().contiguous()
        torch.distributed.broadcast(sent, 0)
        value.copy_(sent)

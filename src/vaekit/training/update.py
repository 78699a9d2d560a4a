"""One step of the optimizer, and of the critic: schedules, pass, gradients, clipping, averages."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from vaekit.objectives import Bound, Objective, by_part, players
from vaekit.torchutil import ranks
from vaekit.training.dense import DensePass
from vaekit.training.gradients import Buffers, differentiate, join, moving
from vaekit.training.graphs import Captured
from vaekit.training.meters import DivergedError, Mean, diagnose
from vaekit.training.schedules import Schedule, targets

BACKEND = "inductor"
Pass = Callable[[Tensor, Tensor | None], tuple[Any, Bound]]


def compiled_pass(eager: Pass, *, capture: bool = True) -> Pass:
    """The same pass by torch.compile, without its trace: a graph for each size of batch.

    On a GPU the graph and that of its gradient are captured and replayed (CUDA graphs), so that a
    step launches each as a whole and not every operation by itself. What it returns lies in memory
    that the next pass overwrites: read it, or copy it, before.

    Args:
        eager: `(x, context) -> (trace, bound)`.
        capture: False where the whole step is captured (`Captured`) and the pass is part of it.
    """
    options: Any = {"triton.cudagraphs": capture} if BACKEND == "inductor" else None

    @torch.compile(dynamic=False, backend=BACKEND, options=options)
    def graph(x: Tensor, context: Tensor | None) -> Bound:
        return eager(x, context)[1]

    def replayed(x: Tensor, context: Tensor | None) -> tuple[None, Bound]:
        if capture and x.is_cuda:
            torch.compiler.cudagraph_mark_step_begin()
        return None, graph(x, context)

    return replayed


NORM_EVERY = 20  # steps between looks at the gradient's norm, where clipping does not take it
CHECK_EVERY = 50  # steps between looks at the loss on an accelerator, where a look makes it wait


Made = tuple[Any, Bound, Tensor, Tensor | None]  # trace, bound, detached losses, gradient's norm


class Update:
    """One step: schedules, pass, objective, gradients, clipping, optimizers, running mean.

    With a critic both gradients are taken before either player steps, and none leaks: each loss is
    differentiated for its own player's parameters. Among several processes gradients are summed.

    Args:
        model: called as `model(x, context, samples=...)`.
        objective: what is maximized.
        optimizer: any torch optimizer of the model's parameters and the objective's.
        nominal: how many rows a whole batch has: see `differentiate`.
        critic: the optimizer of the objective's critic, where it has one.
        schedules: by name; "lr" is the optimizer's and "critic_lr" the critic's.
        clip: the largest norm of the gradient.
        average: a running mean of the weights, updated after each step.
        compiled: whether pass and objective become one graph: see `compiled_pass`.
        captured: whether pass, gradient and optimizer are replayed as one: see `Captured`.
        fast: whether a dense VAE takes its gradient by hand: see `DensePass`.
        gradient: collects the gradient's norm (before clipping): of every step where it is
            clipped, else of every 20th and of the first one that it sees.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        *,
        nominal: int,
        critic: torch.optim.Optimizer | None = None,
        schedules: dict[str, Schedule] | None = None,
        clip: float | None = None,
        average: AveragedModel | None = None,
        gradient: Mean | None = None,
        compiled: bool = False,
        captured: bool = False,
        fast: bool = True,
    ) -> None:
        self.model, self.objective, self.nominal = model, objective, nominal
        self.optimizer, self.critic = optimizer, critic
        self.clip, self.average = clip, average
        self.gradient = Mean() if gradient is None else gradient
        first, second = players(model, objective)
        self._first = [p for p in first if p.requires_grad]
        self._second = [p for p in second if p.requires_grad]
        self._parts = cache(partial(by_part, model, objective))
        self._rates, self._weights = targets(schedules or {}, model, objective)
        self._ranks = ranks() > 1
        self._bad_step: Tensor | None = None
        self._pass: Pass = self._eager
        if compiled:
            self._pass = compiled_pass(self._eager, capture=not captured)
        by_hand = fast and not (compiled or captured or self._ranks)
        self._dense = DensePass.of(model, objective) if by_hand else None
        self._captured: Captured | None = None
        if captured:
            self._captured = Captured(self._step, optimizer, self._first[0].device)

    def __call__(self, x: Tensor, context: Tensor | None, step: int) -> Bound:
        """Makes the step of this number.

        Raises:
            DivergedError: where a loss is not finite; on the CPU the weights are then still good.
        """
        self._fill(step)
        look = self.clip is not None or step % NORM_EVERY == 0 or not self.gradient.count
        work = self._captured
        made: Made = self._step(x, context, step, look) if work is None else work(x, context)
        trace, bound, losses, norm = made
        if work is not None or losses.device.type != "cpu":
            self._check_later(trace, losses, step)
        if look and norm is not None:
            self.gradient.add(norm)
        if self.average is not None:
            self.average.update_parameters(self.model)
        return bound

    def _step(
        self, x: Tensor, context: Tensor | None, step: int | None = None, look: bool = True
    ) -> Made:
        """Pass, gradients, optimizers; without a number nothing is read back from the device."""
        before = self._moving(self.model, self.objective)
        trains = bool(self._second) and step is not None and step >= self.objective.critic_start
        if self._dense is not None and self._dense.fits(x, context):
            trace, bound, *losses = self._dense(x, self.nominal)
        else:
            trace, bound = self._pass(x, context)
            losses = [self._differentiate_critic(trace)] if trains else []
            only = self._first if self._second else None
            losses.insert(0, differentiate(bound, self.nominal, self._parts, only))
        found = self._join([*self._first, *self._second], torch.stack(losses), before, len(x))
        if step is not None and any(bad := _bad(found)):
            self._stop(trace, step, critic=not bad[0])
        norm = self._norm() if look else None
        self.optimizer.step()
        self.optimizer.zero_grad()
        if trains and step is not None:
            self._step_critic(trace, step, len(x))
        return trace, bound, found, norm

    def _step_critic(self, trace: Any, step: int, rows: int) -> None:
        """The critic's step, and the further ones that it takes before the model's next."""
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
        return moving(*modules) if self._ranks else []

    def _join(self, own: list[nn.Parameter], losses: Tensor, before: Buffers, rows: int) -> Tensor:
        return join(own, losses, before, rows) if self._ranks else losses

    def _norm(self) -> Tensor:
        """The gradient's norm, before it is clipped."""
        if self.clip is not None:
            return nn.utils.clip_grad_norm_(self._first, self.clip)
        return nn.utils.get_total_norm([p.grad for p in self._first if p.grad is not None])

    def _fill(self, step: int) -> None:
        for name, schedule in self._rates.items():
            player = self.optimizer if name == "lr" else self.critic
            for group in () if player is None else player.param_groups:
                group["lr"] = schedule(step)
        for (module, name), schedule in self._weights.items():
            getattr(module, name).fill_(schedule(step))

    def _check_later(self, trace: Any, losses: Tensor, step: int) -> None:
        """Notes the first loss that is not finite, and looks for one now and then."""
        now = torch.where(torch.isfinite(losses).all(), math.inf, float(step))
        self._bad_step = now if self._bad_step is None else torch.minimum(self._bad_step, now)
        if (step + 1) % CHECK_EVERY == 0 and math.isfinite(first := self._bad_step.item()):
            self._stop(trace, int(first))

    def _stop(self, trace: Any, step: int, *, critic: bool = False) -> None:
        self.optimizer.zero_grad()
        found = diagnose(trace, self.model, self.objective)
        mend = "a smaller lr, clip=1, or a scale with a floor"
        if critic:
            found, mend = "the critic's loss is not finite", "a smaller critic_lr"
        elsewhere = ", here or in another process" if self._ranks else ""
        raise DivergedError(
            f"the training diverged at step {step}: {found}{elsewhere}. Try {mend}."
        )


def _bad(losses: Tensor) -> list[bool]:
    """Whether each loss is not finite; an accelerator would have to wait, so nothing is read."""
    return [not math.isfinite(x) for x in losses.tolist()] if losses.device.type == "cpu" else []

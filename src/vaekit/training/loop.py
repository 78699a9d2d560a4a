"""The loop, and where it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vaekit.errors import VaekitError
from vaekit.nn import precision as computing
from vaekit.objectives import Objective, players, refuse_critic, require
from vaekit.torchutil import ranks
from vaekit.training.gradients import from_first
from vaekit.training.meters import Mean, Meter, mean_and_error
from vaekit.training.optimizers import make_critic
from vaekit.training.schedules import Schedule
from vaekit.training.update import Update

if TYPE_CHECKING:
    from vaekit.data import Batches, Loader


@dataclass(eq=False)
class Progress:
    """Where a training is: everything that continuing it exactly needs."""

    model: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    device: torch.device
    step: int = 0
    meter: Meter = field(default_factory=Meter)
    gradient: Mean = field(default_factory=Mean)
    means: dict[str, float] = field(default_factory=dict)  # of the epoch that has just ended
    gradient_norm: float | None = None  # its mean over that epoch
    start: tuple[float, float] | None = None  # objective of the first step, and standard error
    rows: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    critic: torch.optim.Optimizer | None = None

    def end_epoch(self) -> None:
        """Reads the means of the epoch, over all processes, and starts the next one's."""
        self.meter.join()
        self.means, self.rows = self.meter.means(), self.meter.rows
        self.gradient_norm = self.gradient.value()
        self.meter.reset()
        self.gradient.reset()

    def state(self) -> dict[str, Any]:
        """Nested numbers and tensors, for `save_state`."""
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        return {
            "step": self.step,
            "model": dict(self.model.state_dict()),
            "objective": dict(self.objective.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "critic": None if self.critic is None else self.critic.state_dict(),
            "average": None if self.average is None else dict(self.average.state_dict()),
            "meter": self.meter.state(),
            "gradient": self.gradient.state(),
            "start": self.start,
            "random": random,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Everything as it was when `state` was taken."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])
        if self.average is not None and state["average"] is not None:
            self.average.load_state_dict(state["average"])
        self.meter.restore(state["meter"], self.device)
        if "gradient" in state:  # older checkpoints have none
            self.gradient.restore(state["gradient"], self.device)
        self.start = state.get("start")
        torch.set_rng_state(state["random"]["cpu"])
        if self.device.type == "cuda" and "cuda" in state["random"]:
            torch.cuda.set_rng_state(state["random"]["cuda"], self.device)


def fit(
    model: nn.Module,
    objective: Objective,
    batches: Batches | Loader,
    *,
    steps: int,
    optimizer: torch.optim.Optimizer,
    critic: torch.optim.Optimizer | None = None,
    schedules: dict[str, Schedule] | None = None,
    clip: float | None = None,
    average: AveragedModel | None = None,
    on_epoch: Callable[[Progress], bool | None] | None = None,
    on_step: Callable[[Progress], bool | None] | None = None,
    resume: dict[str, Any] | None = None,
    precision: str = "fp32",
    compiled: bool = False,
    captured: bool = False,
    fast: str = "auto",
) -> Progress:
    """Trains a model: `steps` steps of `optimizer` up the objective.

    Where torch.distributed is initialized, all processes begin with the weights of the first one
    and take the same steps, by the sum of their gradients: `batches` gives each its share.

    Args:
        model: `(x, context, samples=...) -> Trace`.
        objective: what is maximized.
        batches: epochs of `(x, context)`.
        steps: optimizer steps in all, those before `resume` included.
        optimizer: over the parameters of model and objective, without the critic's: see `players`.
        critic: over those of the objective's critic; by default as the objective's options say.
        schedules: functions of the step, by name: "lr", "critic_lr", or a `Weight` of objective
            or model ("beta"); filled before each step.
        clip: the largest norm of the gradient.
        average: a running mean of the weights.
        on_epoch: called after each epoch, with its means in the progress; True stops.
        on_step: called after each step; True stops at once, in the middle of an epoch.
        resume: the `Progress.state()` to continue from, exactly.
        precision: in which networks compute the steps: see `vaekit.nn.numerics`.
        compiled: whether torch.compile makes a graph of each pass first: it takes half a minute,
            and pays on a GPU, where steps of small models wait for the launches of their kernels.
        captured: whether steps become CUDA graphs, from pass to optimizer, that are launched as a
            whole; with an optimizer that torch calls capturable.
        fast: "auto" takes the gradients of small dense VAEs by hand, without autograd, where it
            can; "off" never.

    Returns:
        Where the training is.

    Raises:
        VaekitError: where the objective needs what the model does not offer, for another
            precision, steps that cannot be captured, and a surrogate of parts that do not fit.
        DivergedError: where a loss is not finite.

    Example:
        >>> import vaekit as vk
        >>> from vaekit.data import load
        >>> digits = load("digits")
        >>> made = vk.recipes.build("vae", digits.spec(), latent=2)
        >>> adam = torch.optim.Adam(made.model.parameters(), lr=1e-3)
        >>> batches = vk.Batches(digits.train, 128)
        >>> fit(made.model, made.objective, batches, steps=3, optimizer=adam).step
        3
    """
    require(objective, model)
    if not len(batches):
        raise VaekitError("there are no batches to train on.")
    refuse_graphs(objective, compiled, captured)
    critic = make_critic(objective) if critic is None else critic
    _check_players(model, objective, optimizer)
    progress = Progress(model, objective, optimizer, average, batches.device, critic=critic)
    if resume is not None:
        progress.restore(resume)
    if ranks() > 1:
        from_first(model, objective)
    optimizer.zero_grad()
    update = Update(
        model,
        objective,
        optimizer,
        nominal=_nominal(batches),
        critic=critic,
        schedules=schedules,
        clip=clip,
        average=average,
        gradient=progress.gradient,
        compiled=compiled,
        captured=captured,
        fast=fast == "auto",
    )
    while progress.step < steps and not progress.interrupted:
        model.train()
        objective.train()
        with computing(precision):
            _epoch(progress, update, batches, steps, on_step)
        if progress.step % len(batches) == 0 or progress.step == steps:
            progress.end_epoch()
            if on_epoch and on_epoch(progress):
                break
            progress.seconds = 0.0
    return progress


def _epoch(
    progress: Progress,
    update: Update,
    batches: Batches | Loader,
    steps: int,
    on_step: Callable[[Progress], bool | None] | None,
) -> None:
    """The rest of the current epoch, or of the steps."""
    number, start = divmod(progress.step, len(batches))
    began = time.perf_counter()
    for x, context in batches.epoch(number, start):
        bound = update(x, context, progress.step)
        progress.meter.add(bound)
        if progress.step == 0:
            progress.start = mean_and_error(bound.value)
        progress.step += 1
        if on_step and on_step(progress):
            progress.interrupted = True
        if progress.interrupted or progress.step == steps:
            break
    progress.seconds += time.perf_counter() - began


def refuse_graphs(objective: Objective, compiled: bool, captured: bool) -> None:
    """Refuses to make graphs of what does not fit into one.

    Raises:
        VaekitError: for an objective with a critic, and for steps of several processes.
    """
    if compiled or captured:
        refuse_critic(objective, f"leave {'compile' if compiled else 'capture'}")
    if captured and ranks() > 1:
        raise VaekitError(f"steps of {ranks()} processes cannot be captured: leave capture.")


def _nominal(batches: Batches | Loader) -> int:
    """How many rows a whole step has, over all processes."""
    world, whole = getattr(batches, "world", None), min(batches.batch_size, batches.rows)
    if world is None:  # a loader in each process
        return whole * ranks()
    if world != ranks():
        raise VaekitError(
            f"there are {ranks()} processes, and the batches are shared by {world}: make them with "
            f"world={ranks()} and the process's rank."
        )
    return whole


def _check_players(
    model: nn.Module, objective: Objective, optimizer: torch.optim.Optimizer
) -> None:
    theirs = {id(p) for p in players(model, objective)[1]}
    if any(id(p) in theirs for group in optimizer.param_groups for p in group["params"]):
        raise VaekitError(
            f"the optimizer holds parameters of the critic of {type(objective).__name__}: give it "
            "the first half of players(model, objective)."
        )


def make_average(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """An exponential running mean of a model's weights and buffers; None without a decay."""
    if decay is None:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def check_state(
    path: Path,
    state: Mapping[str, Any],
    model: nn.Module,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Refuses to resume this model with this optimizer from the checkpoint of another training.

    Raises:
        VaekitError: where parts are missing, or weights or optimizer are of another kind.
    """

    def refuse(why: str) -> NoReturn:
        raise VaekitError(
            f"{path} is of another training: {why}. Restore it, or the config.json it was made "
            "with, or train again."
        )

    missing = {"progress", "best", "epoch"} - state.keys()
    if missing:
        refuse(f"it has no {min(missing)}")
    for what, module in (("model", model), ("objective", objective)):
        saved, known = state["progress"][what], module.state_dict()
        for name in sorted(saved.keys() ^ known.keys()):
            refuse(f"{name} is only in {'it' if name in saved else f'the {what}'}")
        for name, value in saved.items():
            if value.shape != known[name].shape:
                refuse(f"{name} is {tuple(value.shape)}; expected {tuple(known[name].shape)}")
    groups = [s["param_groups"] for s in (state["progress"]["optimizer"], optimizer.state_dict())]
    for name in sorted(groups[0][0].keys() ^ groups[1][0].keys()):
        refuse(f"the optimizer's option {name} is only in one of the two")

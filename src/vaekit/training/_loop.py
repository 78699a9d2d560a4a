"""The loop: epochs of steps, and what it calls after each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vaekit._torchutil import give_way, ranks, waited_for
from vaekit.errors import VaekitError
from vaekit.nn import precision as computing
from vaekit.objectives import Objective, drawing, require
from vaekit.training._graphs import refuse_graphs
from vaekit.training._optimizers import make_critic
from vaekit.training._progress import Progress, mean_and_error
from vaekit.training._schedules import Schedule
from vaekit.training._update import Update, from_first

if TYPE_CHECKING:
    from vaekit.data import Batches, Loader


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
    frozen: Sequence[nn.Module] = (),
) -> Progress:
    """Train a model: take `steps` steps of `optimizer` up the objective.

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
        precision: in which networks compute the steps: see `vaekit.nn.precision`.
        compiled: whether torch.compile makes a graph of each pass first: it takes half a minute,
            and pays on a GPU, where steps of small models wait for the launches of their kernels.
        captured: whether steps become CUDA graphs, from pass to optimizer, that are launched as a
            whole; with an optimizer that torch calls capturable.
        fast: "auto" takes the gradients of small dense VAEs by hand, without autograd, where it
            can; "off" never.
        frozen: parts of the model that stay in eval mode, so that their statistics stay, too.

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
    if not hasattr(batches, "epoch"):
        raise VaekitError(
            f"got batches of type {type(batches).__name__}; expected `vaekit.Batches`. "
            "`vaekit.train(model, objective, data=...)` takes tensors, Datasets and DataLoaders."
        )
    require(objective, model)
    nominal = rows_of_a_step(batches, objective)
    refuse_graphs(model, objective, compiled, captured)
    critic = make_critic(objective) if critic is None else critic
    progress = Progress(model, objective, optimizer, average, batches.device, critic=critic)
    if resume is not None:
        progress.restore(resume)
    if ranks() > 1:
        from_first(model, objective)
    update = Update(
        progress,
        nominal,
        schedules or {},
        clip=clip,
        compiled=compiled,
        captured=captured,
        fast=fast == "auto",
    )
    with drawing(objective, model):
        while progress.step < steps and not progress.interrupted:
            model.train()
            objective.train()
            for part in frozen:
                part.eval()
            with computing(precision):
                _train_epoch(progress, update, batches, steps, on_step)
            if progress.place % len(batches) == 0 or progress.step == steps:
                progress.end_epoch()
                if on_epoch and on_epoch(progress):
                    break
    return progress


def _train_epoch(
    progress: Progress,
    update: Update,
    batches: Batches | Loader,
    steps: int,
    on_step: Callable[[Progress], bool | None] | None,
) -> None:
    """Take the rest of the current epoch's steps, or of all."""
    number, start = divmod(progress.place, len(batches))
    began = time.perf_counter()
    for x, context in batches.epoch(number, start):
        bound = update(x, context, progress.place)
        progress.meter.add(bound)
        if progress.step == 0:
            progress.start = mean_and_error(bound.value)
        progress.step += 1
        if on_step and on_step(progress):
            progress.interrupted = True
        if progress.interrupted or progress.step == steps:
            break
        if waited_for():
            with computing("fp32"):
                give_way()
    progress.seconds += time.perf_counter() - began


def rows_of_a_step(batches: Batches | Loader, objective: Objective) -> int:
    """Return how many rows a whole step has, over all processes.

    Raises:
        VaekitError: for no batches, those of other processes, and fewer rows in a process than the
            objective compares.
    """
    if not len(batches):
        raise VaekitError("there are no batches to train on.")
    world, whole = getattr(batches, "world", None), min(batches.batch_size, batches.rows)
    if world not in (None, ranks()):
        raise VaekitError(
            f"there are {ranks()} processes, and the batches are shared by {world}: make them with "
            f"world={ranks()} and the process's rank."
        )
    shares = world or 1  # a loader is of one process
    if whole < (least := objective.least_rows * shares):
        got = f"`batch_size={whole}`" if whole == batches.batch_size else f"{whole} rows"
        among = f" for {shares} processes" if shares > 1 else ""
        raise VaekitError(
            f"got {got}{among}; {type(objective).__name__} compares the rows of a batch: expected "
            f"{least} or more."
        )
    return whole * ranks() // shares


def make_average(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """Return an exponential running mean of a model's weights and buffers; None without a decay."""
    if decay is None:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

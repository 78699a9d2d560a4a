"""What an objective is, a function of a trace to be maximized, and whose parameters it moves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.distributions import Offer
from vaekit.errors import VaekitError, unknown
from vaekit.models import Trace, exact

Parameters = list[nn.Parameter]
Parts = list[tuple[str, Parameters]]


@dataclass(frozen=True, eq=False)
class Bound:
    """The value of an objective on a trace, per example, to be maximized.

    Args:
        value: `(B,)`, nats: what is reported.
        surrogate: what is differentiated, where that differs: `(B,)`, or by part of the model
            (`{"posterior": (B,), "rest": (B,)}`) where parts want different losses.
        parts: further numbers `(B,)` to report, detached.
    """

    value: Tensor
    surrogate: Tensor | dict[str, Tensor] | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)

    @property
    def target(self) -> Tensor | dict[str, Tensor]:
        """Return what is differentiated."""
        return self.value if self.surrogate is None else self.surrogate


def over_samples(values: Tensor) -> Tensor:
    """Return the mean over the Monte-Carlo dims: `(S, B)` to `(B,)`; of one draw a view."""
    if values.shape[:-1].numel() == 1:
        return values.flatten()
    return values.mean(tuple(range(values.dim() - 1)))


def Weight(value: float) -> nn.Buffer:  # noqa: N802
    """Return a number that a schedule may fill: a 0-dim buffer, of any module.

    Example:
        >>> part = nn.Module()
        >>> part.beta = Weight(4.0)
        >>> dict(part.named_buffers())
        {'beta': tensor(4.)}
    """
    return nn.Buffer(torch.tensor(float(value)))


def weights(module: nn.Module, path: str = "") -> dict[str, tuple[nn.Module, str]]:
    """Return every `Weight` below a module by its path: where it is, as the tensor may be replaced.

    A 0-dim floating buffer is one, but for those whose name begins with an underscore.

    Example:
        >>> part = nn.ModuleDict({"inner": nn.BatchNorm1d(2)})
        >>> part.inner.beta = Weight(4.0)
        >>> list(weights(part)), list(weights(part, "model"))
        (['inner.beta'], ['model.inner.beta'])
    """
    return {
        f"{where}.{name}".lstrip("."): (each, name)
        for where, each in module.named_modules(prefix=path)
        for name, value in each.named_buffers(recurse=False)
        if value.dim() == 0 and value.is_floating_point() and not name.startswith("_")
    }


class Objective(nn.Module, ABC):
    """A function of a trace, to be maximized; its weights are `Weight`s, which schedules fill.

    Attributes:
        samples: how many draws it wants.
        needs: what the model must offer, in the words of `Offer`.
        monitor: what early stopping and "best" look at: "objective", "log_likelihood" or "elbo";
            "latest" where values of two epochs do not compare, so that the last one is best.
        trains_prior: whether a learned prior has its full gradient, where there is a bound.
        coupled: whether a row's value depends on the others of its batch, so that values compare
            at one size of the batch alone: rows are measured in batches of the training's size.
            Among several processes the rows of a batch are those of one process.
        exact: whether it trains on draws that are not relaxed: see `drawing`.
        critic: a second player, for an objective that sets one in its `__init__`: the loop takes
            its parameters down `critic_loss`, and all others up the objective. A `Weight` of the
            name `critic_on` is 0 until the critic's first step and 1 from there on, for a term
            that is to wait for it.
        critic_optimizer, critic_lr: what moves the critic, and its learning rate.
        critic_options: further arguments of that optimizer, each as "betas=0.5,0.9".
        critic_start: the step from which it trains.
        critic_steps: how many steps it takes for each of the model's.
        least_rows: how many rows a batch must have, in each process.
        kl_weight: the name of the `Weight` that is the KL's, for `kl_warmup` to fill; or None.
    """

    samples: tuple[int, ...] = (1,)
    needs: frozenset[Offer] = frozenset()
    monitor: str = "objective"
    trains_prior: bool = True
    coupled: bool = False
    exact: bool = False
    critic: nn.Module
    critic_optimizer: str = "adam"
    critic_lr: float = 1e-3
    critic_options: tuple[str, ...] = ()
    critic_start: int = 0
    critic_steps: int = 1
    least_rows: int = 1
    kl_weight: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "critic"):
            raise TypeError(f"{cls.__name__}.critic hides the part: set it in __init__ alone.")
        if cls.forward is not Objective.forward:
            raise TypeError(f"{cls.__name__} overrides forward, which is final: give a surrogate.")

    @abstractmethod
    def value(self, trace: Trace) -> Tensor:
        """Return the objective per example, `(B,)`, nats."""

    def surrogate(self, trace: Trace, value: Tensor) -> Tensor | dict[str, Tensor] | None:
        """Return what is differentiated in place of the value; None for the value itself.

        `(B,)`, or a dict of them where parts want different losses: its keys are paths of
        submodules of the model, each for its own parameters, and "rest" is for all others of
        model and objective.
        """
        return None

    def unsuited(self, model: Any) -> str:
        """Return why a model does not suit that offers all it `needs`; "" for one that does."""
        return ""

    def critic_loss(self, trace: Trace) -> Tensor:
        """Return what the critic minimizes, `(B,)`, from detached tensors of the trace alone."""
        raise NotImplementedError(f"{type(self).__name__} has a critic and no critic_loss.")

    def forward(self, trace: Trace) -> Bound:
        """Return the bound; the trace's penalty is in what is differentiated, and nowhere else."""
        value = self.value(trace)
        surrogate = self.surrogate(trace, value)
        if trace.penalty is not None:
            target = value if surrogate is None else surrogate
            if isinstance(target, dict):
                surrogate = {name: part - trace.penalty for name, part in target.items()}
            else:
                surrogate = target - trace.penalty
        return Bound(value, surrogate, self.parts(trace))

    def parts(self, trace: Trace) -> dict[str, Tensor]:
        """Return the log-likelihood and, where there is one, the kl apart, `(B,)`, detached."""
        parts = {"log_likelihood": over_samples(trace.log_likelihood.detach())}
        if Offer.BOUND in self.needs or Offer.BOUND in getattr(trace.model, "offers", ()):
            parts["kl"] = over_samples(trace.kl.detach())
        return parts


def drawing(objective: Objective, model: nn.Module) -> AbstractContextManager[None]:
    """Return the context in which a model draws for an objective: where it is `exact`, unrelaxed.

    Example:
        >>> import vaekit as vk
        >>> gumbel = vk.parts.Gumbel(3)
        >>> with drawing(vk.objectives.VIMCO(), gumbel):
        ...     gumbel.relaxed
        False
    """
    return exact(model) if objective.exact else nullcontext()


def require(objective: Objective, model: Any) -> None:
    """Refuse a model that does not offer what the objective needs.

    Raises:
        VaekitError: with what is missing.

    Example:
        >>> import vaekit as vk
        >>> net = vk.MLP(2, 2)
        >>> model = vk.VAE(
        ...     vk.StandardNormal(2),
        ...     vk.Conditional(net, vk.Delta(2)),
        ...     vk.Conditional(net, vk.Gaussian(2, scale=1.0)),
        ... )
        >>> require(vk.IWAE(samples=5), model)
        Traceback (most recent call last):
        ...
        vaekit.errors.VaekitError: IWAE needs the densities of a draw under posterior and prior
        (density), which this model does not offer: Delta posterior, StandardNormal prior, ...
    """
    with drawing(objective, model):
        missing = objective.needs - model.offers
    first = [Offer.ONE_SITE, Offer.EXACT]
    for word in sorted(missing, key=lambda word: (word not in first[:1], word not in first, word)):
        parts = {n: getattr(model, n, None) for n in ("posterior", "prior", "likelihood")}
        named = [
            f"{type(getattr(part, 'family', part)).__name__} {name}"
            for name, part in parts.items()
            if part is not None
        ]
        raise VaekitError(
            f"{type(objective).__name__} needs {word.meaning} ({word}), which this model does not "
            f"offer: {', '.join(named) or type(model).__name__}. Take {MENDS.get(word, OTHER)}."
        )
    if why := objective.unsuited(model):
        raise VaekitError(f"{type(objective).__name__} {why}")
    prior, needs = getattr(model, "prior", None), objective.needs
    learned = isinstance(prior, nn.Module) and any(p.requires_grad for p in prior.parameters())
    trains = needs & {Offer.BOUND, Offer.DENSITY} and objective.trains_prior
    if learned and needs and not trains:
        raise VaekitError(
            f"{type(objective).__name__} trains no prior, and the {type(prior).__name__} has "
            "parameters: take the prior standard-normal or none, or the objective elbo."
        )


OTHER = "another objective, or another posterior, prior or likelihood"
MENDS = {
    Offer.FIXED: "a likelihood with scale=shared, or the objective elbo",
    Offer.RSAMPLE: "a posterior whose draws carry gradients, as gaussian",
    Offer.SCORE: "the objective iwae, or the posterior gumbel with the prior categorical",
    Offer.EXACT: "the objective elbo or vimco, or a posterior that is not relaxed",
    Offer.ONE_SITE: "the objective elbo, or a model of one latent",
    Offer.STOPPED: "the objective elbo or iwae, or the posterior gaussian",
    Offer.COLORS: "the model colorizer",
    Offer.LATENT: "a model with latents, as vae",
    Offer.NUMBERS: "the objective elbo, or a model whose latents are numbers, as vae",
    Offer.SEPARATE: "a prior that does not take the posterior, as normal, and share no weights; or "
    "the objective iwae",
}


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

"""Several models of one shape as one: weights stacked, a step of all in the same kernels."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vaekit.data import Batch, Batches
from vaekit.errors import VaekitError
from vaekit.objectives import Bound, Objective, refuse_critic, require


class _Pair(nn.Module):
    """A model and its objective: a batch to its bound."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(
        self, x: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        bound = self.objective(self.model(x, context, samples=self.objective.samples))
        if isinstance(bound.target, dict):
            raise VaekitError(
                f"{type(self.objective).__name__} differentiates by part: train its models one by "
                "one."
            )
        return bound.value.detach(), bound.target, bound.parts


class _Scored(nn.Module):
    """What `fit` takes for the objective of all: the bounds are there already."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.samples, self.monitor = objective.samples, objective.monitor
        self.needs = objective.needs
        # The weights that schedules fill are the same ones.
        self._buffers, self._modules = objective._buffers, objective._modules

    def forward(self, trace: Any) -> Bound:
        return trace


class _Abreast(Batches):
    """A batch of each, `(N, B, ...)`."""

    def __init__(self, members: Sequence[Batches]) -> None:
        first = members[0]
        self.members = list(members)
        self.rows, self.batch_size, self.device = first.rows, first.batch_size, first.device

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        served = [each.epoch(number, start) for each in self.members]
        for batches in zip(*served, strict=True):
            context = [batch.context for batch in batches if batch.context is not None]
            x = torch.stack([batch.x for batch in batches])
            yield Batch(x, torch.stack(context) if context else None)


class Together(nn.Module):
    """Several models of one shape as one, which `fit` trains: seeds, or runs of a sweep.

    Each has weights, rows and noise of its own, and takes the steps that it would take alone; but
    there is one kernel where there were N, which is what small models on a GPU wait for. The
    numbers of an epoch are lists, one number for each.

    Where the steps of the optimizer go element by element (adam, adamw, sgd, rmsprop), the models
    do not touch each other; the gradient's norm is that of all, so that nothing is to be clipped.

    Args:
        models: alike but for their weights.
        objective: of each of them; it has no parameters.
        batches: the rows of each, as many in each batch.

    Attributes:
        models: those that were given; `unstack` gives them the weights.
        objective, batches: what `fit` takes with this model.

    Raises:
        VaekitError: where they are not alike.

    Example:
        >>> import vaekit as vk
        >>> from vaekit.data import load
        >>> digits = load("digits")
        >>> made = [vk.recipes.build("vae", digits.spec(), latent=2) for _ in range(3)]
        >>> rows = [vk.Batches(digits.train, 128, seed=seed) for seed in range(3)]
        >>> all_three = Together([one.model for one in made], made[0].objective, rows)
        >>> adam = torch.optim.Adam(all_three.parameters(), lr=1e-3, fused=True)
        >>> trained = vk.training.fit(
        ...     all_three, all_three.objective, all_three.batches, steps=2, optimizer=adam
        ... )
        >>> len(trained.means["objective"])
        3
        >>> all_three.unstack() == tuple(one.model for one in made)
        True
    """

    models: tuple[Any, ...]
    objective: Any
    batches: Batches
    pair: _Pair

    def __init__(
        self, models: Sequence[nn.Module], objective: Objective, batches: Sequence[Batches]
    ) -> None:
        super().__init__()
        _check(models, objective, batches)
        self.models = tuple(models)
        self.batches = _Abreast(batches)
        pair = _Pair(copy.deepcopy(models[0]), objective)
        # No parts of this module: the weights of one are never used, the other is the loop's.
        self.__dict__.update(pair=pair, objective=_Scored(objective))
        self._names = [f"model.{name}" for name, _ in models[0].named_parameters()]
        self._buffer_names = [f"model.{name}" for name, _ in models[0].named_buffers()]
        weights = zip(*[model.parameters() for model in models], strict=True)
        self.stacked = nn.ParameterList(torch.stack(each).detach() for each in weights)
        buffers = zip(*[model.buffers() for model in models], strict=True)
        for number, each in enumerate(buffers):
            self.register_buffer(f"stacked_{number}", torch.stack(each))

    @property
    def offers(self) -> frozenset[str]:
        """What each of them offers."""
        return self.models[0].offers

    def train(self, mode: bool = True) -> Self:
        """As of any module; what computes them follows."""
        self.pair.train(mode)
        return super().train(mode)

    def forward(
        self, x: Tensor, context: Tensor | None = None, *, samples: tuple[int, ...] = (1,)
    ) -> Bound:
        """The bounds of all, `(B, N)`; their sum over the models is differentiated."""
        state = [*self.stacked], [*self.buffers()]
        dims = 0, 0, None if context is None else 0
        every = torch.vmap(self._one, in_dims=dims, out_dims=1, randomness="different")
        value, target, parts = every(state, x, context)
        return Bound(value, target, parts)

    def _one(
        self, state: tuple[list[Tensor], list[Tensor]], x: Tensor, context: Tensor | None
    ) -> Any:
        weights, buffers = state
        named = dict(zip(self._names + self._buffer_names, weights + buffers, strict=True))
        return functional_call(self.pair, named, (x, context))

    @torch.no_grad()
    def unstack(self) -> tuple[nn.Module, ...]:
        """The models, with the weights that they have now."""
        for number, model in enumerate(self.models):
            for mine, all_of_them in zip(model.parameters(), self.stacked, strict=True):
                mine.copy_(all_of_them[number])
            for buffer, of_all in zip(model.buffers(), self.buffers(), strict=True):
                buffer.copy_(of_all[number])
        return self.models


def _check(models: Sequence[nn.Module], objective: Objective, batches: Sequence[Batches]) -> None:
    if not models or len(models) != len(batches):
        raise VaekitError(
            f"got {len(models)} models and the batches of {len(batches)}; expected one for each."
        )
    require(objective, models[0])
    refuse_critic(objective, "train them one by one")
    shapes = [{n: v.shape for n, v in model.state_dict().items()} for model in models]
    if any(
        each != shapes[0] or type(m) is not type(models[0])
        for each, m in zip(shapes, models, strict=True)
    ):
        raise VaekitError("models that train as one have the same parts and sizes; these differ.")
    sizes = [(each.rows, each.batch_size, each.device) for each in batches]
    if any(size != sizes[0] for size in sizes):
        raise VaekitError(
            f"models that train as one take as many rows a step, from one device; got {sizes}."
        )
    if any(True for _ in objective.parameters()):
        raise VaekitError(
            f"{type(objective).__name__} learns parameters of its own: train its models one by one."
        )

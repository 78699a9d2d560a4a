"""Codes that are one-hot: the Gumbel-softmax posterior, and a prior over such codes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vaekit import distributions as d
from vaekit.errors import VaekitError, within
from vaekit.parts.conditional import Family
from vaekit.parts.priors import MOST, Prior
from vaekit.registry import register


@register("posterior", "gumbel")
class Gumbel(Family):
    """Categorical variables, one-hot; while training relaxed by a Gumbel-softmax.

    A code has a row for each variable, and draws carry gradients while `relaxed` is set. Within
    `exact(model)`, in which all is measured and sampled, draws are one-hot and have probabilities.
    The temperature is a weight that a schedule may fill, as `temperature=exponential:1:0.5:6931`.

    Args:
        event_shape: how many variables.
        categories: how many values each can take.
        temperature: of the relaxation, above 0.

    Raises:
        VaekitError: for variables of several dims, fewer than two categories, and a temperature
            that is not positive.

    References:
        Jang, Gu and Poole 2017, Categorical reparameterization with Gumbel-softmax, arXiv
        1611.01144.
        Maddison, Mnih and Teh 2017, The concrete distribution, arXiv 1611.00712, whose
        temperature for a posterior is 2/3.

    Example:
        >>> family = Gumbel(30, categories=10)
        >>> family.param_shape, str(family.space)
        ((300,), 'one-hot(30, 10)')
    """

    distribution = d.OneHotCategorical
    relaxed = True
    gives = (("logits of categorical variables",),)

    def __init__(
        self,
        event_shape: int | tuple[int, ...],
        *,
        categories: int = 10,
        temperature: float = 2 / 3,
    ) -> None:
        super().__init__(event_shape)
        if len(self.event_shape) != 1:
            raise VaekitError(
                f"gumbel takes a number of variables; got the event_shape {self.event_shape}."
            )
        self.event_shape = (*self.event_shape, within("categories", categories, 2, MOST))
        if not 0 < temperature < math.inf:
            raise VaekitError(f"got `temperature={temperature:g}`; expected a positive number.")
        self.temperature = nn.Buffer(torch.tensor(float(temperature)))

    @property
    def param_shape(self) -> tuple[int, ...]:
        """Return the shape that the network must return for one example."""
        return (math.prod(self.event_shape),)

    @property
    def space(self) -> d.Space:
        """Return the space of the draws that are not relaxed."""
        return d.Space("one-hot", self.event_shape)

    @property
    def offers(self) -> frozenset[d.Offer]:
        """Return what it offers: gradients while it is relaxed, probabilities while it is not."""
        kind = d.GumbelSoftmax if self.relaxed else d.OneHotCategorical
        return kind.offers | {d.Offer.FIXED}

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        logits = params.unflatten(-1, self.event_shape)
        if self.relaxed:
            return d.GumbelSoftmax(logits, self.temperature)
        return d.OneHotCategorical(logits)


@register("prior", "categorical")
class CategoricalPrior(Prior):
    """Independent categorical variables over one-hot codes: uniform ones, or such as are learned.

    Args:
        space: of the codes: that of the posterior.
        learned: whether the probabilities are learned; they start uniform.

    Raises:
        VaekitError: for codes that are not one-hot.

    Example:
        >>> prior = CategoricalPrior(Gumbel(3, categories=4).space)
        >>> prior().sample((2,)).shape, prior().log_prob(torch.eye(4)[:3]).item()
        (torch.Size([2, 3, 4]), -4.1588830947875977)
    """

    logits: Tensor

    def __init__(self, space: d.Space, *, learned: bool = False) -> None:
        super().__init__()
        if space.kind != "one-hot":
            raise VaekitError(
                f"the prior categorical is over one-hot codes; the posterior's live on {space}: "
                "take the posterior gumbel, or the prior standard-normal."
            )
        logits = torch.zeros(space.shape)
        self.logits = nn.Parameter(logits) if learned else nn.Buffer(logits, persistent=False)

    @property
    def space(self) -> d.Space:
        return d.Space("one-hot", tuple(self.logits.shape))

    @property
    def offers(self) -> frozenset[d.Offer]:
        return d.OneHotCategorical.offers | {d.Offer.BOUND}

    def forward(
        self, context: Tensor | None = None, posterior: nn.Module | None = None
    ) -> d.Distribution:
        return d.OneHotCategorical(self.logits)

    def extra_repr(self) -> str:
        return f"{tuple(self.logits.shape)}, learned={isinstance(self.logits, nn.Parameter)}"

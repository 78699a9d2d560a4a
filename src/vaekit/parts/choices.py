"""Codes that are one-hot: the Gumbel-softmax posterior, and a prior over such codes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vaekit import distributions as d
from vaekit.errors import VaekitError, within
from vaekit.parts.conditional import Family, Shape, one_dim
from vaekit.parts.families import Gaussian
from vaekit.parts.priors import MOST, Context, Posterior, Prior, StandardNormal
from vaekit.registry import register


def of_choices(prior: str, choices: tuple[int, ...]) -> tuple[int, ...]:
    """Return the choices; refuse none, where the posterior makes none."""
    if not choices:
        raise VaekitError(
            f"the prior {prior} is over one-hot codes, which the posterior's are not: take the "
            "posterior gumbel or joint, or the prior standard-normal."
        )
    return choices


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
        self, event_shape: Shape, *, categories: int = 10, temperature: float = 2 / 3
    ) -> None:
        super().__init__(event_shape)
        count = one_dim("gumbel takes a number of variables", event_shape)
        self.event_shape = (count, within("categories", categories, 2, MOST))
        self.choices, self.numbers = self.event_shape, (math.prod(self.event_shape),)
        if not 0 < temperature < math.inf:
            raise VaekitError(f"got `temperature={temperature:g}`; expected a positive number.")
        self.temperature = nn.Buffer(torch.tensor(float(temperature)))

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
        choices: how many variables, and of how many values: those of the posterior.
        learned: whether the probabilities are learned; they start uniform.

    Raises:
        VaekitError: for a posterior that is not of one-hot codes.

    Example:
        >>> prior = CategoricalPrior((3, 4))
        >>> prior().sample((2,)).shape, prior().log_prob(torch.eye(4)[:3])
        (torch.Size([2, 3, 4]), tensor(-4.1589))
    """

    distribution = d.OneHotCategorical

    def __init__(self, choices: tuple[int, ...], *, learned: bool = False) -> None:
        super().__init__()
        self.event_shape = of_choices("categorical", choices)
        logits = torch.zeros(self.event_shape)
        self.logits = nn.Parameter(logits) if learned else nn.Buffer(logits, persistent=False)

    def forward(self, context: Context = None, posterior: Posterior = None) -> d.Distribution:
        return d.OneHotCategorical(self.logits)


@register("posterior", "joint")
class Joint(Family):
    """Gaussian numbers and categorical variables, independent given x: two latents of one network.

    The network returns what the Gaussians take, and then what `gumbel` takes. A model has the two
    as sites of their own, `continuous` and `discrete`; its likelihood takes them side by side.

    Args:
        event_shape: how many Gaussian numbers.
        variables: how many categorical variables.
        categories: how many values each of them can take.
        temperature: of their relaxation, above 0: a weight that a schedule may fill.

    Raises:
        VaekitError: as of `gumbel`.

    References:
        Dupont 2018, Learning disentangled joint continuous and discrete representations, arXiv
        1804.00104.

    Example:
        >>> family = Joint(10, variables=1, categories=10)
        >>> family.param_shape, str(family.space)
        ((30,), 'reals(10) x one-hot(1, 10)')
    """

    distribution = d.Product
    gives = (("mean and log variance of a Gaussian, and logits of categorical variables",),)

    def __init__(
        self,
        event_shape: Shape,
        *,
        variables: int = 1,
        categories: int = 10,
        temperature: float = 2 / 3,
    ) -> None:
        super().__init__(event_shape)
        self.discrete = Gumbel(variables, categories=categories, temperature=temperature)
        size = one_dim("joint is over vectors", event_shape)
        self.continuous, self.choices = Gaussian(size), self.discrete.choices
        self.event_shape = (size + math.prod(self.choices),)
        self.each = self.continuous.param_shape[0], self.discrete.param_shape[0]
        self.numbers = (sum(self.each),)

    @property
    def space(self) -> d.Space:
        """Return the space of both side by side."""
        return d.joint_space(self.continuous.space, self.discrete.space)

    @property
    def offers(self) -> frozenset[d.Offer]:
        """Return what both offer."""
        return d.joint_offers(self.continuous.offers, self.discrete.offers)

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        first, second = params.split(self.each, -1)
        return d.Product(self.continuous(first), self.discrete(second))


@register("prior", "joint")
class JointPrior(Prior):
    """N(0, I), and uniform categorical variables beside it.

    Args:
        event_shape: how many Gaussian numbers.
        choices: how many categorical variables, and of how many values: those of the posterior.
        learned: whether the probabilities of the values are learned; they start uniform.

    Raises:
        VaekitError: for a posterior without one-hot codes.

    Example:
        >>> JointPrior(10, (1, 10))().sample((3,)).shape
        torch.Size([3, 20])
    """

    def __init__(
        self, event_shape: Shape, choices: tuple[int, ...], *, learned: bool = False
    ) -> None:
        super().__init__()
        self.continuous = StandardNormal(event_shape)
        self.discrete = CategoricalPrior(of_choices("joint", choices), learned=learned)
        self.event_shape = self.space.shape

    @property
    def space(self) -> d.Space:
        return d.joint_space(self.continuous.space, self.discrete.space)

    @property
    def offers(self) -> frozenset[d.Offer]:
        return d.joint_offers(self.continuous.offers, self.discrete.offers)

    def forward(self, context: Context = None, posterior: Posterior = None) -> d.Distribution:
        return d.Product(self.continuous(), self.discrete())

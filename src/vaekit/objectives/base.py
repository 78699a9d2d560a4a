"""What an objective is: a function of a trace, to be maximised."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from vaekit.errors import VaekitError
from vaekit.models.trace import Trace


@dataclass(frozen=True, eq=False)
class Bound:
    """What an objective says of a trace, per example, to be maximised.

    Args:
        value: `(B,)`, nats: what is reported.
        surrogate: what is differentiated, where that differs: `(B,)`, or by part of the model
            (`{"posterior": (B,), "likelihood": (B,)}`) where parts want different losses.
        parts: further numbers `(B,)` to report, detached.
    """

    value: Tensor
    surrogate: Tensor | dict[str, Tensor] | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)

    @property
    def target(self) -> Tensor | dict[str, Tensor]:
        """What is differentiated."""
        return self.value if self.surrogate is None else self.surrogate


def over_samples(values: Tensor) -> Tensor:
    """The mean over the Monte-Carlo dims: `(S, B)` to `(B,)`; of one draw a view."""
    if values.shape[:-1].numel() == 1:
        return values.flatten()
    return values.mean(tuple(range(values.dim() - 1)))


class Objective(nn.Module, ABC):
    """A function of a trace; its weights are 0-dim buffers, so that schedules fill them in place.

    Attributes:
        samples: how many draws it wants.
        needs: what the model must offer.
        monitor: what early stopping and "best" look at: "objective", "log_likelihood" or "elbo".
    """

    samples: tuple[int, ...] = (1,)
    needs: frozenset[str] = frozenset()
    monitor: str = "objective"

    @abstractmethod
    def value(self, trace: Trace) -> Tensor:
        """The objective per example, `(B,)`, nats."""

    def forward(self, trace: Trace) -> Bound:
        """The bound, with the penalty of the trace in what is differentiated alone."""
        value = self.value(trace)
        surrogate = None if trace.penalty is None else value - trace.penalty
        return Bound(value, surrogate, self.parts(trace))

    def parts(self, trace: Trace) -> dict[str, Tensor]:
        """The log-likelihood and the kl apart, `(B,)`, detached."""
        parts = {"log_likelihood": over_samples(trace.log_likelihood.detach())}
        if "density" in self.needs:
            parts["kl"] = over_samples(trace.kl.detach())
        return parts


def require(objective: Objective, model: Any) -> None:
    """Refuses a model that does not offer what the objective needs.

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
        vaekit.errors.VaekitError: IWAE needs density of the posterior; it offers latent, one_site,
        rsample, stopped: take another posterior or another objective.
    """
    missing = objective.needs - model.offers
    if missing:
        raise VaekitError(
            f"{type(objective).__name__} needs {', '.join(sorted(missing))} of the posterior; it "
            f"offers {', '.join(sorted(model.offers))}: take another posterior or another "
            "objective."
        )

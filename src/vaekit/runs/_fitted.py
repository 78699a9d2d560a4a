"""The prior fitted to the codes of a trained model, which stands beside the model's own.

A VAE's codes seldom fill p(z): between them are places that the decoder has never seen, and draws
of p(z) fall there. A density fitted to the codes of the training rows does without them. Bounds
and likelihoods stay with p(z).

References:
    Dai and Wipf 2019, Diagnosing and enhancing VAE models, arXiv 1903.05789.
    Ghosh et al. 2020, From variational to deterministic autoencoders, arXiv 1903.12436.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from vaekit._io import parsed
from vaekit._safetensors import read_tensors, safetensors_bytes
from vaekit._torchutil import lost_weight, misfit
from vaekit.distributions import Offer, Space
from vaekit.errors import VaekitError
from vaekit.models import Model
from vaekit.parts import FullMixture, Prior
from vaekit.registry import Spec, checked, text
from vaekit.runs._graph import build_structure, structure

M = TypeVar("M", bound=Model)
FITTED_FILE = "fitted.safetensors"
MIXTURE = '{"name": "mixture"}'  # how it was fitted before there were others
NUMBERS: dict[str, type] = {"gain": float, "error": float, "by_label": float}
NUMBERS |= {"rows": int, "held_out": int, "groups": int}
WORDS = {
    "flow": "a normalizing flow",
    "two-stage": "a second VAE",
    "codes-transformer": "a transformer",
}


@dataclass(frozen=True, eq=False)
class FittedPrior:
    """A prior that was fitted to the codes of training rows.

    Attributes:
        prior: p(z), a part like any other.
        spec: how it was fitted: a part of the kind "density".
        gain: how many nats more it gives held-out codes than p(z) does, on average; at least that
            where it has no `density`, and None where the model has no p(z).
        error: the standard error of that over these codes; None likewise.
        rows: of training that it was fitted to.
        held_out: rows of which the held-out codes are.
        groups: of these rows, over which the error then is; 0 where they have none.
        by_label: how many nats of the gain are those of weights by label; None without them.
    """

    prior: Prior
    spec: Spec
    gain: float | None
    error: float | None
    rows: int
    held_out: int
    groups: int = 0
    by_label: float | None = None

    @property
    def told(self) -> bool:
        """Return whether it hangs on the label, as p(z|y)."""
        return bool(getattr(self.prior, "classes", 0))

    @property
    def scores(self) -> bool:
        """Return whether it has a density, and not a bound of one alone."""
        return Offer.DENSITY in self.prior.offers

    @property
    def better(self) -> bool:
        """Return whether it suits the codes better than p(z), by more than two standard errors.

        So does any prior where the model has none.
        """
        return self.gain is None or self.error is None or self.gain > 2 * self.error

    @property
    def name(self) -> str:
        """Return how it was fitted, as it is written."""
        return text(self.spec, brief="density")

    def said(self, say: Callable[[str], str] = str) -> str:
        """Return what it is in words, translated by `say`."""
        if isinstance(self.prior, FullMixture):
            count = len(self.prior.loc)
            if self.told:
                return say("a label-weighted mixture of {} Gaussians").format(count)
            return say("a Gaussian" if count == 1 else "a mixture of {} Gaussians").format(count)
        name = self.spec["name"]
        return say(WORDS.get(name, "the prior {}")).format(name)

    def __str__(self) -> str:
        what = f"fitted to the codes: {self.said()}"
        if self.gain is None:
            return f"{what}; the model itself has none"
        least = "" if self.scores else "at least "
        over = f"{self.groups:,} groups" if self.groups else f"{self.held_out:,} codes"
        label = "" if self.by_label is None else f", {self.by_label:.2f} of them by the label"
        return (
            f"{what}, under which held-out codes are {least}{self.gain:.2f} ± {self.error:.2f} "
            f"nats more likely than under p(z){label}, ± over {over}"
        )

    def in_place_of(self, model: M, *, scored: bool = True) -> M:
        """Return the model with this prior in place of its own; its other parts are the same.

        Raises:
            VaekitError: where it shall be `scored`, for a prior without a density, and codes that
                have none.
        """
        if scored and not self.scores:
            raise VaekitError(
                f"the fitted prior {self.spec['name']} has draws, and no density but as a bound: "
                "take `prior=model`, or fit another one, as `vaekit fit-prior RUN --prior flow`."
            )
        made = copy.copy(model)
        made.__dict__["_modules"] = {**model._modules}
        device = next(model.parameters()).device
        made.prior = copy.deepcopy(self.prior).to(device)
        if scored and Offer.DENSITY not in made.offers:
            raise VaekitError(
                "the posterior is a point, or only drawn from: without its density no prior gives "
                "a bound; take `prior=model`."
            )
        return made

    def to_bytes(self, key: str) -> bytes:
        """Return the content of its file; `key` says of which weights it is."""
        numbers = {name: getattr(self, name) for name in NUMBERS}
        state = {name: part.contiguous() for name, part in self.prior.state_dict().items()}
        known = {"numbers": numbers, "spec": self.spec, "prior": structure(self.prior, "prior")}
        words = {name: json.dumps(value) for name, value in known.items()}
        return safetensors_bytes(state, {"weights": key, **words})

    @classmethod
    def from_bytes(cls, content: bytes, key: str, space: Space) -> FittedPrior | None:
        """Return what was written, of codes of this space; None for other weights, and damage."""
        try:
            state, known = read_tensors(content, Path(FITTED_FILE))
            if known["weights"] != key:
                return None
            prior = _prior_of(state, known, space)
            numbers = parsed(known["numbers"])
            values: dict[str, Any] = {
                name: None if numbers[name] is None else kind(numbers[name])
                for name, kind in NUMBERS.items()
                if name in numbers
            }
            return cls(prior, checked("density", parsed(known.get("spec", MIXTURE))), **values)
        except (ValueError, KeyError, TypeError, OverflowError, RuntimeError):
            return None


def _prior_of(state: dict[str, Tensor], known: dict[str, str], space: Space) -> Prior:
    """Return the prior with these weights, of codes of this space; else raise a ValueError."""

    def build() -> Any:
        if "prior" in known:
            return build_structure(parsed(known["prior"]), "prior")
        return FullMixture(space.shape, components=len(state["log_weights"]))

    with torch.device("meta"):
        empty = build()  # sizes that are not those of the weights take no memory
    if not isinstance(empty, Prior) or empty.space != space or misfit(state, empty):
        raise ValueError
    prior: Prior = build().eval()
    if lost_weight(state, prior):
        raise ValueError
    prior.load_state_dict(state)
    return prior


def weights_key(model: Model) -> str:
    """Return the sha256 of the weights, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def takes_fitted(model: Model) -> bool:
    """Return whether a prior can be fitted to its codes: one latent of reals, or of numbered codes.

    Its p(z) has a density, or it has no p(z).
    """
    prior = getattr(model, "prior", None)
    if Offer.ONE_SITE not in model.offers or prior is None:
        return False
    known = Offer.DENSITY in prior.offers or Offer.DRAWS not in prior.offers
    return known and prior.space.kind in ("reals", "codes")


def takes_mixture(model: Any, *, draws: bool = True) -> bool:
    """Return whether a mixture of Gaussians is fitted to its codes where nobody asks: as p(z).

    With `draws=False` whether one can be, and there is no p(z).
    """
    has = (Offer.DRAWS in model.offers) is draws
    return has and takes_fitted(model) and bool(model.prior.space.kind == "reals")

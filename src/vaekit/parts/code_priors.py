"""Priors of codes: each by itself, or one after the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaekit import distributions as d
from vaekit.parts.priors import Prior
from vaekit.registry import register


@register("prior", "codes")
class CodesPrior(Prior):
    """Each code by itself: all alike, or with learned probabilities for each place.

    Under the uniform one the KL of n codes, each one of K, is n log K for every x.

    Args:
        codes: n and K: how many codes a row has, and of how many each is one.
        learned: whether the probabilities are learned; they start alike.

    Example:
        >>> CodesPrior((2, 8))().log_prob(torch.tensor([3, 5]))
        tensor(-4.1589)
    """

    logits: Tensor

    def __init__(self, codes: tuple[int, int], *, learned: bool = False) -> None:
        super().__init__()
        self.codes = codes
        start = torch.zeros(codes)
        self.logits = nn.Parameter(start) if learned else nn.Buffer(start, persistent=False)

    @property
    def space(self) -> d.Space:
        return d.codes(*self.codes)

    def forward(
        self, context: Tensor | None = None, posterior: nn.Module | None = None
    ) -> d.Distribution:
        return d.CategoricalCodes(self.logits)

    def extra_repr(self) -> str:
        return str(self.codes)

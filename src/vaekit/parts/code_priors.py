"""Priors of codes: each by itself, or one after the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit import distributions as d
from vaekit.errors import VaekitError, at_least, within
from vaekit.parts.priors import Context, Posterior, Prior
from vaekit.registry import register


class _OfCodes(Prior):
    """A prior of codes, n for each row, and each one of K."""

    def __init__(self, codes: tuple[int, int]) -> None:
        super().__init__()
        self.codes, self.event_shape = codes, codes[:1]

    @property
    def space(self) -> d.Space:
        return d.codes(*self.codes)

    def extra_repr(self) -> str:
        return str(self.codes)


@register("prior", "codes")
class CodesPrior(_OfCodes):
    """Each code by itself: all alike, or with learned probabilities for each place.

    Under the uniform one the KL of n codes, each one of K, is n log K for every x.

    Args:
        codes: n and K: how many codes a row has, and of how many each is one.
        learned: whether the probabilities are learned; they start alike.

    Example:
        >>> CodesPrior((2, 8))().log_prob(torch.tensor([3, 5]))
        tensor(-4.1589)
    """

    def __init__(self, codes: tuple[int, int], *, learned: bool = False) -> None:
        super().__init__(codes)
        start = torch.zeros(codes)
        self.logits = nn.Parameter(start) if learned else nn.Buffer(start, persistent=False)

    def forward(self, context: Context = None, posterior: Posterior = None) -> d.Distribution:
        return d.CategoricalCodes(self.logits)


@register("prior", "codes-transformer")
class AutoregressivePrior(_OfCodes):
    """Codes one after the other, each given those before, by a small causal transformer.

    Its probabilities start alike. It may be learned with the model, which it does not move, as
    codes carry no gradient; or afterwards: `vaekit fit-prior RUN --prior codes-transformer`.

    Args:
        codes: n and K: how many codes a row has, and of how many each is one.
        width: of the layers, a multiple of the heads.
        layers: how many.
        heads: of the attention.

    References:
        Van den Oord et al. 2017, Neural discrete representation learning, arXiv 1711.00937, section
        3.3. Vaswani et al. 2017, Attention is all you need, arXiv 1706.03762.

    Example:
        >>> prior = AutoregressivePrior((3, 8), width=16, heads=2)
        >>> prior().log_prob(torch.tensor([[3, 5, 0]])), prior().sample((5,)).shape
        (tensor([-6.2383], grad_fn=<SumBackward1>), torch.Size([5, 3]))
    """

    def __init__(
        self, codes: tuple[int, int], *, width: int = 64, layers: int = 2, heads: int = 4
    ) -> None:
        super().__init__(codes)
        if at_least("width", width, 1) % at_least("heads", heads, 1):
            raise VaekitError(f"got `width={width}`; expected a multiple of `heads={heads}`.")
        count, levels = codes
        self.values = nn.Embedding(levels + 1, width)  # the last one stands before the first code
        self.places = nn.Parameter(0.02 * torch.randn(count, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(within("layers", layers, 1, 64))
        )
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, levels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def logits(self, codes: Tensor) -> Tensor:
        """Return logits `(N, m, K)` for codes `(N, m)`, each from the codes before its own."""
        before = F.pad(codes[:, :-1], (1, 0), value=self.codes[1])
        h, m = self.values(before) + self.places[: codes.shape[1]], codes.shape[1]
        later = torch.ones(m, m, dtype=torch.bool, device=codes.device).triu(1)
        for layer in self.layers:
            h = layer(h, src_mask=later)
        result: Tensor = self.output(self.norm(h))
        return result

    def forward(self, context: Context = None, posterior: Posterior = None) -> d.Distribution:
        return d.AutoregressiveCodes(self.logits, self.codes, self.places.device)

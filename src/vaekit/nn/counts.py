"""Counts before a network."""

from __future__ import annotations

from torch import Tensor, nn

from vaekit.errors import VaekitError

__all__ = ["LogCounts"]


class LogCounts(nn.Module):
    """A network of log(1 + x): counts span decades, and an encoder wants numbers near 1.

    Lopez et al., "Deep generative modeling for single-cell transcriptomics", Nature Methods 2018.

    Args:
        net: a network with `in_shape`, which this one keeps; with `out_shape` too, if it has one.

    Raises:
        VaekitError: where `net` has no `in_shape`.

    Example:
        >>> import torch
        >>> from vaekit.nn import MLP
        >>> net = LogCounts(MLP(4, 2))
        >>> net.in_shape, net(torch.tensor([[0.0, 1.0, 50.0, 1e6]])).shape
        ((4,), torch.Size([1, 2]))
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        if not hasattr(net, "in_shape"):
            raise VaekitError(
                f"LogCounts takes a net with `in_shape`; {type(net).__name__} has none."
            )
        self.net = net
        self.in_shape = net.in_shape
        self.out_shape = getattr(net, "out_shape", None)

    def forward(self, x: Tensor) -> Tensor:
        """The network's output.

        Args:
            x: `(N, *in_shape)`, 0 or more.
        """
        y: Tensor = self.net(x.log1p())
        return y

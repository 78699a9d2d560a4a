"""From stored rows to the x that models see, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit.errors import VaekitError


def canonical(images: Tensor) -> Tensor:
    """uint8 becomes float32 in [0, 1], floats pass unchanged.

    The values are those of `images.float() / 255` on the CPU, to the last bit, on every device.

    Example:
        >>> canonical(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([0.0000, 0.2000, 1.0000])
    """
    if images.dtype != torch.uint8:
        return images
    # By a tensor on the device: a Python number is multiplied by its reciprocal there, which rounds
    # otherwise; and a float32 divisor fixes the result's type whatever the default one is.
    return images / torch.full((), 255.0, dtype=torch.float32, device=images.device)


@dataclass(frozen=True, eq=False)
class Values:
    """What becomes of a stored row before a model sees it.

    Attributes:
        low, high: where 0 and 1 go.
        binarise: each value v in [0, 1] becomes a draw of Bernoulli(v), anew each time.
        dequantise: each level k of 0..255 becomes (k + u) / 256, u uniform on [0, 1), anew each
            time (Theis et al., arXiv 1511.01844, sec. 3.1).
        loc, scale: of tables: x = (row - loc) / scale.

    Example:
        >>> values = Values(low=-1.0)
        >>> x = values(torch.tensor([[0, 255]], dtype=torch.uint8))
        >>> x, values.inverse(x)
        (tensor([[-1.,  1.]]), tensor([[0., 1.]]))
    """

    low: float = 0.0
    high: float = 1.0
    binarise: bool = False
    dequantise: bool = False
    loc: Tensor | None = None
    scale: Tensor | None = None

    @property
    def random(self) -> bool:
        """Whether the same row gives another x each time."""
        return self.binarise or self.dequantise

    def __call__(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Canonical x, float32, for stored rows; random parts from `generator`."""
        return self._place(self.draw(rows, generator))

    def draw(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The random part alone: values in [0, 1] for images."""
        if not self.random:
            return canonical(rows)
        u = torch.rand(rows.shape, generator=generator, device=rows.device)
        if self.binarise:
            return (u < canonical(rows)).float()
        return (rows + u) / 256

    def mean(self, mean: Tensor) -> Tensor:
        """The mean of x, where the mean of the canonical stored rows is `mean`."""
        return self._place((255 * mean + 0.5) / 256 if self.dequantise else mean)

    def ends(self, stored: Tensor) -> tuple[float, float]:
        """The smallest and the largest x, for the smallest and the largest stored value."""
        low, high = self._place(canonical(stored)).tolist()
        return low, high

    def _place(self, x: Tensor) -> Tensor:
        if self.loc is not None and self.scale is not None:
            return (x - self.loc.to(x.device)) / self.scale.to(x.device)
        if (self.low, self.high) != (0.0, 1.0):
            return self.low + (self.high - self.low) * x
        return x

    def inverse(self, x: Tensor) -> Tensor:
        """x in the units of the data: images in [0, 1], columns of tables as they were."""
        if self.loc is not None and self.scale is not None:
            return x * self.scale.to(x.device) + self.loc.to(x.device)
        if (self.low, self.high) != (0.0, 1.0):
            return (x - self.low) / (self.high - self.low)
        return x

    @property
    def bits(self) -> float:
        """What a density of x in bits per element adds for the width of a level: 8 on [0, 1)."""
        return math.log2(256 / (self.high - self.low))

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults, as plain values.

        Example:
            >>> Values(dequantise=True).to_json()
            {'dequantise': True}
        """
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain = {n: v.tolist() if isinstance(v, Tensor) else v for n, v in record.items()}
        return {n: v for n, v in plain.items() if v != getattr(Values, n)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Values:
        """What `to_json` wrote.

        Raises:
            VaekitError: for a key that is unknown.
        """
        unknown = [name for name in record if name not in cls.__dataclass_fields__]
        if unknown:
            raise VaekitError(f"a record of values has no '{unknown[0]}'.")
        tensors = {n: torch.tensor(record[n]) for n in ("loc", "scale") if n in record}
        return cls(**{**record, **tensors})

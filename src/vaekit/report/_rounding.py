"""Weights in few bits.

Weights of layers are whole numbers of 8 bits, with a scale for each row. What rounding does to one
weight of a dense layer, those after it make up for, as the layer's inputs go together; and of a
wide dense layer only those directions of its outputs are kept in which the rows differ.

References:
    Frantar et al. 2022, GPTQ: accurate post-training quantization for generative pre-trained
    transformers, arXiv 2210.17323.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vaekit.models import LatentModel

WIDEST = 2048  # inputs of a layer whose rounding is made up for by those
LARGE, SMALL = 2**18, 2**13  # weights of a wide layer; of one that has 16 bits in any case
LOST = 4e-4  # of the mean square of an output that a wide layer may lose
BYTE, WORD = 127, 32767
Rounded = tuple[Tensor, Tensor]  # whole numbers (R, C), and the scale of each row


class Layer(NamedTuple):
    """A weight as it is stored.

    Attributes:
        parts: one factor, or two whose product it is, the one applied last first.
        weight: what these make.
    """

    parts: tuple[Rounded, ...]
    weight: Tensor


def rounded(weight: Tensor, most: int, moment: Tensor | None = None) -> Rounded:
    """Return whole numbers, and the scale of each row.

    Up to 127 they have 8 bits, and most rows one scale: the same error everywhere, and fewer bits
    once they are compressed.

    Args:
        weight: `(R, C)`.
        most: the largest number of a usual row.
        moment: `(C, C)`, the mean of x x' over inputs x; by it later columns make up for what
            rounding did to those before.

    Example:
        >>> levels, scales = rounded(torch.tensor([[0.5, -1.0]]), 127)
        >>> levels, scales
        (tensor([[  64., -127.]]), tensor([0.0079]))
    """
    largest, limit = weight.abs().amax(1).clamp(min=1e-12), max(most, BYTE)
    scales = torch.maximum(largest / limit, largest.median() / most)
    left = weight / scales[:, None]
    if weight.shape[1] > WIDEST and most <= BYTE:  # neighbors are alike: errors of a run add to 0
        return left.cumsum(1).round().diff(dim=1, prepend=left.new_zeros(len(left), 1)), scales
    if moment is None or most > BYTE:
        return left.round(), scales
    size = weight.shape[1]
    ridge = moment.diagonal().mean().clamp(min=1e-12) * 1e-3
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment + ridge * torch.eye(size)))
    factor, levels = torch.linalg.cholesky(inverse, upper=True), torch.zeros_like(left)
    for j in range(size):
        levels[:, j] = left[:, j].round().clamp(-limit, limit)
        error = (left[:, j] - levels[:, j]) / factor[j, j]
        left[:, j + 1 :].addr_(error, factor[j, j + 1 :], alpha=-1)
    return levels, scales


@dataclass
class Seen:
    """What a dense layer saw: means of x x' over its inputs and of y y' over its outputs."""

    inputs: Any = None
    outputs: Any = None
    calls: int = 0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add the inputs and the outputs of a call."""
        x, y = x.detach().flatten(0, -2), y.detach().flatten(0, -2)
        if x.shape[1] <= WIDEST:
            self.inputs = x.T @ x / len(x) + (0 if self.inputs is None else self.inputs)
        if y.shape[1] <= x.shape[1] and x.shape[1] * y.shape[1] >= LARGE:
            self.outputs = y.T @ y / len(y) + (0 if self.outputs is None else self.outputs)
        self.calls += 1


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, Seen]]:
    """Yield what each dense layer of a model sees meanwhile, by the name of its weight."""
    seen: dict[str, Seen] = {}
    with ExitStack() as stack:
        for name, part in model.named_modules():
            if isinstance(part, nn.Linear):
                one = seen.setdefault(f"{name}.weight", Seen())
                hook = part.register_forward_hook(
                    lambda part, x, y, one=one: one.add(
                        x[0], y - (0 if part.bias is None else part.bias)
                    )
                )
                stack.callback(hook.remove)
        yield seen


def layers_of(model: nn.Module, seen: Mapping[str, Seen], most: int) -> dict[str, Layer]:
    """Return the weights of dense layers and convolutions by their names, rounded.

    Beyond 8 bits nothing is left out.
    """
    made = {}
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            made[f"{name}.weight"] = _layer(part, seen.get(f"{name}.weight", Seen()), most)
    return made


def _layer(part: nn.Module, known: Seen, most: int) -> Layer:
    whole: Any = part.weight
    weight, calls = whole.detach().flatten(1), max(known.calls, 1)
    most = WORD if weight.numel() <= SMALL else most
    if known.outputs is not None and most <= BYTE:
        factors = _few(weight, known.outputs / calls)
        if factors is not None:
            parts = rounded(factors[0], WORD), rounded(factors[1], most)
            first, second = (levels * scales[:, None] for levels, scales in parts)
            return Layer(parts, first @ second)
    moment = None if known.inputs is None else known.inputs / calls
    if not isinstance(part, nn.Linear):
        most = max(most, BYTE)
    levels, scales = rounded(weight, most, moment)
    made = (levels * scales[:, None]).view_as(whole)
    return Layer(((levels.view_as(whole), scales),), made)


def _few(weight: Tensor, moment: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return U and U' W for the directions U in which outputs are; None where they are many."""
    values, vectors = torch.linalg.eigh(moment)
    count = int((values.clamp(min=0).cumsum(0) > LOST * len(values)).sum())
    few = vectors[:, len(values) - max(count, 1) :]
    if few.shape[1] * sum(weight.shape) > 0.6 * weight.numel():
        return None
    return few, few.T @ weight


def with_layers(model: LatentModel, layers: Mapping[str, Layer]) -> LatentModel:
    """Return the model with the weights as they are stored."""
    made = copy.deepcopy(model)
    with torch.no_grad():
        for name, layer in layers.items():
            made.get_parameter(name).copy_(layer.weight)
    return made

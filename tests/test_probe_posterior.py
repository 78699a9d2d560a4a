"""A posterior of one's own: a flow of coupling layers over a Gaussian.

Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP", 2017, arXiv 1605.08803, eq. 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from probing import walk
from torch import Tensor, nn

from vaekit.distributions import Distribution, Gaussian, Space, offering, reals
from vaekit.parts import Family
from vaekit.registry import register


class Flowed(Distribution):
    """A Gaussian, `loc` and `log_scale` `(*batch, D)`, through invertible layers."""

    parameters = ("loc", "log_scale")
    offers = offering("rsample", "draws", "density", "marginal", "exact")
    one_pass = True

    def __init__(
        self, loc: Tensor, log_scale: Tensor, layers: Sequence[nn.Module], *, event_dim: int = 1
    ) -> None:
        self.base = Gaussian(loc, log_scale, event_dim=event_dim)
        self.loc, self.log_scale, self.layers, self.event_dim = loc, log_scale, layers, event_dim

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.loc.shape[-1:])

    @property
    def space(self) -> Space:
        return reals(*self.event_shape)

    def rsample_and_log_prob(self, shape: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        z = self.base.rsample(shape)
        log_q = self.base.log_prob(z)
        for layer in self.layers:
            shift, log_scale = layer(z)
            z, log_q = z * log_scale.exp() + shift, log_q - log_scale.sum(-1)
        return z, log_q

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return self.rsample_and_log_prob(shape)[0]

    def log_prob(self, x: Tensor) -> Tensor:
        inverse = torch.zeros(x.shape[:-1], dtype=x.dtype)
        for layer in reversed(list(self.layers)):
            shift, log_scale = layer(x)  # of the half that the layer leaves as it is
            x, inverse = (x - shift) * (-log_scale).exp(), inverse - log_scale.sum(-1)
        return self.base.log_prob(x) + inverse


class Coupling(nn.Module):
    """A shift and a log-scale of one half of z, by the other half, which stays as it is."""

    mask: Tensor

    def __init__(self, size: int, odd: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mask", (torch.arange(size) % 2 == odd).float())
        self.net = nn.Sequential(nn.Linear(size, hidden), nn.GELU(), nn.Linear(hidden, 2 * size))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self.net(z * (1 - self.mask)).chunk(2, -1)
        return shift * self.mask, 0.5 * log_scale.tanh() * self.mask


class Flow(Family):
    """A Gaussian through coupling layers (arXiv 1605.08803).

    Args:
        steps: how many layers.
        hidden: the width of their networks.
    """

    distribution = Flowed

    def __init__(
        self, event_shape: int | tuple[int, ...], *, steps: int = 4, hidden: int = 16
    ) -> None:
        super().__init__(event_shape)
        (size,) = self.event_shape
        self.layers = nn.ModuleList(Coupling(size, step % 2, hidden) for step in range(steps))

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (2 * self.event_shape[0],)

    @property
    def space(self) -> Space:
        return reals(*self.event_shape)

    def forward(self, params: Tensor, context: Tensor | None = None) -> Flowed:
        loc, raw = params.chunk(2, -1)
        return Flowed(loc, (0.5 * raw).clamp(-7, 5), list(self.layers))


def enter() -> None:
    register("posterior", "flow")(Flow)


def test_the_density_of_a_draw_is_that_of_the_inverse_and_sums_to_one() -> None:
    family = Flow(2).double()
    q = family(torch.randn(1, 4, dtype=torch.float64))
    with torch.no_grad():
        z, log_q = q.rsample_and_log_prob((100,))
        assert torch.allclose(q.log_prob(z), log_q, atol=1e-10)
        axis = torch.linspace(-12, 12, 801, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, axis)[:, None]
        mass = q.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(float(mass) - 1) < 1e-3


def test_a_posterior_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enter()
    found = walk(tmp_path, capsys, "vae", "--latent", "2", "--posterior", "flow:steps=2:hidden=8")
    assert found["aggregate"]["mutual_information"] is not None
    assert found["latent"]["posterior_scale"] is None  # it has draws and no moments

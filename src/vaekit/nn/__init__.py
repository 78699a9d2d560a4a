"""Networks: plain modules `(N, *in) -> (N, *out)`, sized for any data shape."""

from __future__ import annotations

from vaekit.nn.activations import activation
from vaekit.nn.blocks import LatentDropout
from vaekit.nn.colour import ColourNet
from vaekit.nn.conv import ConvDecoder, ConvEncoder
from vaekit.nn.counts import LogCounts
from vaekit.nn.init import initialise, start_at
from vaekit.nn.mlp import MLP
from vaekit.nn.network import Network
from vaekit.nn.pool import PoolEncoder
from vaekit.nn.precision import precision
from vaekit.nn.unpool import UnpoolDecoder, UnpoolEncoder

__all__ = [
    "MLP",
    "ColourNet",
    "ConvDecoder",
    "ConvEncoder",
    "LatentDropout",
    "LogCounts",
    "Network",
    "PoolEncoder",
    "UnpoolDecoder",
    "UnpoolEncoder",
    "activation",
    "initialise",
    "precision",
    "start_at",
]

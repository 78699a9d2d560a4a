"""Networks: plain modules `(N, *in) -> (N, *out)`, sized for any data shape."""

from __future__ import annotations

from vaekit.nn.blocks import LatentDropout, activation
from vaekit.nn.color import ColourNet
from vaekit.nn.conv import ConvDecoder, ConvEncoder
from vaekit.nn.init import initialise, start_at
from vaekit.nn.network import MLP, LogCounts, Network
from vaekit.nn.numerics import precision
from vaekit.nn.pool import PoolEncoder
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

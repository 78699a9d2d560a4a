"""Networks: plain modules `(N, *in) -> (N, *out)`, sized for any data shape."""

from __future__ import annotations

from vaekit.nn.blocks import LatentDropout, activation
from vaekit.nn.color import ColourNet
from vaekit.nn.conv import ConvDecoder, ConvEncoder
from vaekit.nn.init import initialise, start_at
from vaekit.nn.nets import Nets
from vaekit.nn.network import MLP, LogCounts, Network
from vaekit.nn.numerics import lowered as lowered
from vaekit.nn.numerics import precision
from vaekit.nn.numerics import use_format as use_format
from vaekit.nn.pool import PoolEncoder
from vaekit.nn.unpool import UnpoolDecoder, UnpoolEncoder
from vaekit.nn.unpool import places_of as places_of
from vaekit.nn.unpool import unpool as unpool

__all__ = [
    "MLP",
    "ColourNet",
    "ConvDecoder",
    "ConvEncoder",
    "LatentDropout",
    "LogCounts",
    "Nets",
    "Network",
    "PoolEncoder",
    "UnpoolDecoder",
    "UnpoolEncoder",
    "activation",
    "initialise",
    "precision",
    "start_at",
]

"""vaekit: train, understand, evaluate, compare and use variational autoencoders.

Importing it has no side effects and does not import torch: names load when first used.

Example:
    >>> import vaekit as vk
    >>> vk.StandardNormal(16)
    StandardNormal((16,))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "api": ["Run", "compare", "load", "reproduce", "resume", "sweep", "train", "train_seeds"],
    "data": ["Batches", "DataSpec", "Dataset"],
    "errors": ["VaekitError"],
    "evaluate": ["ais", "bidirectional", "log_likelihood", "measure", "nll"],
    "models": ["VAE", "Colorizer", "Site", "Trace", "luminance"],
    "nn": [
        "MLP",
        "ColourNet",
        "ConvDecoder",
        "ConvEncoder",
        "LatentDropout",
        "LogCounts",
        "PoolEncoder",
        "UnpoolDecoder",
        "UnpoolEncoder",
        "initialise",
        "start_at",
    ],
    "objectives": ["ELBO", "IWAE", "Bound", "Colouring", "Objective", "Reconstruction"],
    "parts": [
        "Bernoulli",
        "Categorical",
        "Conditional",
        "ContinuousBernoulli",
        "Delta",
        "Family",
        "Gaussian",
        "Laplace",
        "NegativeBinomial",
        "NoPrior",
        "Poisson",
        "Prior",
        "StandardNormal",
        "joined_shape",
    ],
    "recipes": ["Net", "Pixels", "Recipe"],
    "report": ["colorize"],
    "training": ["Callback", "fit"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
_ROOMS = (
    *("data", "distributions", "evaluate", "models", "nn", "objectives"),
    *("parts", "recipes", "report", "runs", "testing", "training"),
)

if TYPE_CHECKING:
    from vaekit.api import Run as Run
    from vaekit.api import compare as compare
    from vaekit.api import load as load
    from vaekit.api import reproduce as reproduce
    from vaekit.api import resume as resume
    from vaekit.api import sweep as sweep
    from vaekit.api import train as train
    from vaekit.api import train_seeds as train_seeds
    from vaekit.data import Batches as Batches
    from vaekit.data import Dataset as Dataset
    from vaekit.data import DataSpec as DataSpec
    from vaekit.errors import VaekitError as VaekitError
    from vaekit.evaluate import ais as ais
    from vaekit.evaluate import bidirectional as bidirectional
    from vaekit.evaluate import log_likelihood as log_likelihood
    from vaekit.evaluate import measure as measure
    from vaekit.evaluate import nll as nll
    from vaekit.models import VAE as VAE
    from vaekit.models import Colorizer as Colorizer
    from vaekit.models import Site as Site
    from vaekit.models import Trace as Trace
    from vaekit.models import luminance as luminance
    from vaekit.nn import MLP as MLP
    from vaekit.nn import ColourNet as ColourNet
    from vaekit.nn import ConvDecoder as ConvDecoder
    from vaekit.nn import ConvEncoder as ConvEncoder
    from vaekit.nn import LatentDropout as LatentDropout
    from vaekit.nn import LogCounts as LogCounts
    from vaekit.nn import PoolEncoder as PoolEncoder
    from vaekit.nn import UnpoolDecoder as UnpoolDecoder
    from vaekit.nn import UnpoolEncoder as UnpoolEncoder
    from vaekit.nn import initialise as initialise
    from vaekit.nn import start_at as start_at
    from vaekit.objectives import ELBO as ELBO
    from vaekit.objectives import IWAE as IWAE
    from vaekit.objectives import Bound as Bound
    from vaekit.objectives import Colouring as Colouring
    from vaekit.objectives import Objective as Objective
    from vaekit.objectives import Reconstruction as Reconstruction
    from vaekit.parts import Bernoulli as Bernoulli
    from vaekit.parts import Categorical as Categorical
    from vaekit.parts import Conditional as Conditional
    from vaekit.parts import ContinuousBernoulli as ContinuousBernoulli
    from vaekit.parts import Delta as Delta
    from vaekit.parts import Family as Family
    from vaekit.parts import Gaussian as Gaussian
    from vaekit.parts import Laplace as Laplace
    from vaekit.parts import NegativeBinomial as NegativeBinomial
    from vaekit.parts import NoPrior as NoPrior
    from vaekit.parts import Poisson as Poisson
    from vaekit.parts import Prior as Prior
    from vaekit.parts import StandardNormal as StandardNormal
    from vaekit.parts import joined_shape as joined_shape
    from vaekit.recipes import Net as Net
    from vaekit.recipes import Pixels as Pixels
    from vaekit.recipes import Recipe as Recipe
    from vaekit.report import colorize as colorize
    from vaekit.training import Callback as Callback
    from vaekit.training import fit as fit


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"vaekit.{_HOME[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"vaekit.{name}")
    raise AttributeError(f"module 'vaekit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, *_ROOMS])

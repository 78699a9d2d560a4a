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
    "app": ["Listener", "Run", "load", "resume", "train"],
    "conditional": ["Conditional", "Family"],
    "data": ["Batches", "DataSpec", "Dataset"],
    "errors": ["VaekitError"],
    "evaluate": ["log_likelihood", "measure"],
    "families": [
        "Bernoulli",
        "Categorical",
        "ContinuousBernoulli",
        "Delta",
        "Gaussian",
        "Laplace",
    ],
    "models": ["VAE", "Site", "Trace"],
    "nn": ["MLP", "ConvDecoder", "ConvEncoder", "initialise", "start_at"],
    "objectives": ["ELBO", "IWAE", "Bound", "Objective", "Reconstruction"],
    "priors": ["Prior", "StandardNormal"],
    "recipes": ["Net", "Pixels", "Recipe"],
    "training": ["fit"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

if TYPE_CHECKING:
    from vaekit.conditional import Conditional as Conditional
    from vaekit.conditional import Family as Family


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"vaekit.{_HOME[name]}"), name)
    raise AttributeError(f"module 'vaekit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])

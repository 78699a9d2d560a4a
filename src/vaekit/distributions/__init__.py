"""Distributions: densities with all constants, draws with gradients, closed-form KLs."""

from vaekit.registry import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)

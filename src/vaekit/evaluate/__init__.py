"""Judging a trained model: metrics by name, and the functions they are made of."""

from vaekit.registry import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)

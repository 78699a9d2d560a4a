"""Recipes: named choices of parts, and what builds a model of them. No torch until one is built."""

from vaekit.registry import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)

"""Runs: what was asked for, the folder that keeps it, and the trained model of it."""

from vaekit.registry import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)

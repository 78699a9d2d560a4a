"""Data sets by name or path, what a recipe may know of them, and batches on the device."""

from vaekit.registry import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)

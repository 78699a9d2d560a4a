"""Models: one pass over a batch is a trace."""

from vaekit.registry import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)

"""The report of a run: pictures, charts, and one HTML file that holds them all."""

from vaekit.registry import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)

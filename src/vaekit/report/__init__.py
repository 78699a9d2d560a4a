"""The report of a run and the comparison of several: images, charts, and HTML files with both."""

from vaekit.registry import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)

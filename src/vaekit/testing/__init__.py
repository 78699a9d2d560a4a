"""Conformance checks for anybody's parts, and the oracle that proves most of them.

Each check raises AssertionError with what is wrong. They run in float64 where the part allows it
and leave the global random state as it was.
"""

from vaekit.registry import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)

"""Objectives: functions of a trace, to be maximized."""

from vaekit.registry import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)

"""Training: the loop, its schedules, its checkpoints and its run folder."""

from vaekit.registry import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)

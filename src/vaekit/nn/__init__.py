"""Networks: plain modules `(N, *in) -> (N, *out)`, sized for any data shape."""

from vaekit.registry import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)

"""vaekit: train, understand, evaluate, compare and use variational autoencoders.

Importing it has no side effects and does not import torch: names load when first used.

Example:
    >>> import vaekit as vk
    >>> vk.StandardNormal(16)
    StandardNormal((16,))
"""

from vaekit.registry import exports

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = exports(__name__, __file__)

"""How samples are judged, on plain arrays: the distances of drawn rows from real ones.

The same of a run: `vaekit evaluate RUN frechet kid prdc`.

Example:
    >>> import numpy as np
    >>> rows = np.random.default_rng(0).normal(size=(400, 8))
    >>> prdc(rows[:200], rows[:200]).precision
    1.0
"""

from vaekit.evaluate import frechet, kid, prdc

__all__ = ["frechet", "kid", "prdc"]

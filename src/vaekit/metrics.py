"""How samples and codes are judged, on plain arrays.

The distances of drawn rows from real ones: `frechet`, `kid`, `prdc`. How codes hold the factors
that rows were made from: `mig`, `dci`, `sap`, `modularity`, `factor_vae_score`, `beta_vae_score`.
The same of a run: `vaekit evaluate RUN frechet mig dci`.

Example:
    >>> import numpy as np
    >>> rows = np.random.default_rng(0).normal(size=(400, 8))
    >>> prdc(rows[:200], rows[:200]).precision
    1.0
"""

from vaekit.evaluate import (
    beta_vae_score,
    dci,
    factor_vae_score,
    frechet,
    kid,
    mig,
    modularity,
    prdc,
    sap,
)

__all__ = ["beta_vae_score", "dci", "factor_vae_score", "mig", "modularity", "sap"]
__all__ += ["frechet", "kid", "prdc"]

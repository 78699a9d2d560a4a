"""Conformance checks for anybody's parts, and the oracle that proves most of them.

Each check raises AssertionError with what is wrong. They run in float64 where the part allows it
and leave the global random state as it was.
"""

from vaekit.testing.families import check_family
from vaekit.testing.linear_gaussian import LinearGaussian
from vaekit.testing.models import check_model, check_objective
from vaekit.testing.numeric import check_gradient, seeded

__all__ = [
    "LinearGaussian",
    "check_family",
    "check_gradient",
    "check_model",
    "check_objective",
    "seeded",
]

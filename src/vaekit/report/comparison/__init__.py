"""Several runs of one data set on one page."""

from vaekit.report.comparison.write import Comparison, compare

__all__ = ["Comparison", "compare"]

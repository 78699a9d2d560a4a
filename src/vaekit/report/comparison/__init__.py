"""Several runs of one data set on one page."""

from vaekit.report.comparison.charts import colours, curves_figure, distortion_figure, fit_axis
from vaekit.report.comparison.entries import Entry, Measure, lead, measure
from vaekit.report.comparison.opened import differences, flat, open_runs, short_names
from vaekit.report.comparison.sheets import labelled
from vaekit.report.comparison.words import in_words, sentences
from vaekit.report.comparison.write import Comparison, compare

__all__ = [
    "Comparison", "Entry", "Measure", "colours", "compare", "curves_figure", "differences",
    "distortion_figure", "fit_axis", "flat", "in_words", "labelled", "lead", "measure",
    "open_runs", "sentences", "short_names",
]  # fmt: skip

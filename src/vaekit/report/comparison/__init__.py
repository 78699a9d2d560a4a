"""Several runs of one data set on one page."""

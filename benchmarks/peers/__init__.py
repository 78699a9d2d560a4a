"""The kit and its peers at the same work, each as its user would have it: see ../bench.py."""

"""One file = one paper. A new file here is found by itself: see `workbench.method`."""

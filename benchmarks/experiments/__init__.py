"""Experiments: what happens to a whole system of processes, told by ratios and a picture."""

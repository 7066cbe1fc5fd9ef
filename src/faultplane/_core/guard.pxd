"""Guarded calls: nothing here is for other compiled modules."""

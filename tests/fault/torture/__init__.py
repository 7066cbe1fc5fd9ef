"""The store under fire, at length: one module a run, short ones of the same in ``tests/fault``."""

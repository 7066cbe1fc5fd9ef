"""Exact counts: for the other modules of the core only."""

"""Segments as files: for the other modules of the core only."""

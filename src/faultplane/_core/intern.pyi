"""Strings interned for every process of a domain: for the other modules of the core only."""

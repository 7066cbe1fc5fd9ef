"""Exceptions that do not behave, recorded in awkward places: scenes, each in its own process."""

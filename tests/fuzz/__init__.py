"""Fuzzing of everything that is read from disk: damaged files through all readers."""

"""The text of an exception: for the other modules of the core only."""

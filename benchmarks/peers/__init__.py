"""Both cores and every peer, measured in one run."""

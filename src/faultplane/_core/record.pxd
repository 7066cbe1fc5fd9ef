"""One exception becomes one row; nothing here is for other compiled modules."""

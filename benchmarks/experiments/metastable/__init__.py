"""A server that its clients' retries keep down after the trigger is gone, and what gets it up."""

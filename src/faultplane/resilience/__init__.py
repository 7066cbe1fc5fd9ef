"""Guarded calls to what a service depends on: retry, budget, breaker, limit, deadline, fallback."""

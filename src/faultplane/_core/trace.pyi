"""Trace context of OpenTelemetry: for the other modules of the core only."""

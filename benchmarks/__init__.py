"""Benchmarks for asv; `peers` holds the whole comparison against what users would pick instead."""

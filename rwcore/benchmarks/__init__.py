"""Benchmarks: ratios against plain references, in one run."""

"""Weights to numbers: pure functions, tensors in, small dataclasses and frames out."""

"""Sparse probing: which few neurons tell a feature of text, how well, and is one enough."""

"""Attention heads: what they read and write, and what the rest of the model makes of it."""

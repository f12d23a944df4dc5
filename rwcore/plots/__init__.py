"""Figures: a frame in, a Figure out."""

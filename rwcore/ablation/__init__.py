"""Ablations: neurons switched off or set while a model runs, and what that does to each prediction."""

"""Attributes rate: what a model knows of a subject, what is written of it, how much is predicted."""

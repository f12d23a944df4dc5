"""What claims about attention heads ask of models and of published tables."""

"""Data sets of binary features: which tokens or texts have them, for one tokenizer."""

"""Plain tensors out of a model, layer by layer."""

"""A small local server: what one neuron, or one attention head, does on a text that somebody types."""

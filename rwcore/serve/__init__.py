"""A small local server: what one neuron does on a text that somebody types."""

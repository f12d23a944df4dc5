"""Text: where it comes from, what of it is taken, and the token rows a model sees."""

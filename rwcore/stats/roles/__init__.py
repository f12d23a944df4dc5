"""Functional roles: what neurons do to the next token, from their output vectors and the unembedding."""

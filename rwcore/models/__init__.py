"""Which model, loaded how."""

"""Our own last accepted output, compared strictly."""

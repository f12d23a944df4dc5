"""Unit, property, drill and end-to-end tests, one file per module."""

"""A module for each format, with ``matches(head, path)``, which knows the format from the first bytes, and ``read(path)``."""

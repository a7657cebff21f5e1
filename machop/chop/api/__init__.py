"""Searches from Python: `chop.search`, and the `Study` that it returns."""

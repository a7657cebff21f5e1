"""Measures the metrics of the points that a search proposes."""

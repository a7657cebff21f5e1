"""Strategies for search spaces that are products of axes."""

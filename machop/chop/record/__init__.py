"""Reads and writes all files of searches and comparisons, and checks them for damage when they are read."""

"""Passes over graphs: each takes a graph and its arguments, and returns a graph and what it found."""

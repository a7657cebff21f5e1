"""Helpers that all rooms share: files, locks, logging, threads, the user's own code."""

"""Executors: what makes the calls of a search, in this process or in others. The results are the same to the bit."""

from chop.executors.base import EXECUTORS, Executor, Jobs

__all__ = ["EXECUTORS", "Executor", "Jobs"]

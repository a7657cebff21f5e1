"""Executors: run the calls of a search, in this process or in others, with results equal to the bit."""

from chop.executors.base import EXECUTORS, Executor, Jobs

__all__ = ["EXECUTORS", "Executor", "Jobs"]

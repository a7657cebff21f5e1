"""Strategies compared on one space: how many evaluations each needs to come near the exact front."""

from chop.actions.compare.job import compare, run_compare

__all__ = ["compare", "run_compare"]

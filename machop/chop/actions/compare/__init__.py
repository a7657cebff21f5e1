"""Compares search strategies on one space, by the evaluations that each needs to approach the exact front."""

from chop.actions.compare.job import compare, run_compare

__all__ = ["compare", "run_compare"]

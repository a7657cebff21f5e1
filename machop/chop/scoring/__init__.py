"""Scores of a network's outputs: tasks, their metrics and accumulators, intervals and bounds."""

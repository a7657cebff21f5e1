"""Scores the outputs of a network: tasks, their metrics and accumulators, intervals and bounds."""

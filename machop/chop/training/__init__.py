"""Trainings: what changes the weights of a network, step by step, with schedules, seeds and resumption."""

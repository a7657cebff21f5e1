"""`chop` finds the best number format for every layer of a neural network."""

__version__ = "0.1.0"

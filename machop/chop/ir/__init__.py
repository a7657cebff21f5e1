"""The data structures that all other rooms use: the graph and the quantisation plan."""

from chop.ir.graph import MaseGraph, MaseMetadata
from chop.ir.plan import QuantPlan

__all__ = ["MaseGraph", "MaseMetadata", "QuantPlan"]

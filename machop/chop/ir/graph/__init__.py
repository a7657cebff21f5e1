"""The graph that passes work on."""

from chop.ir.graph.mase_graph import MaseGraph
from chop.ir.graph.metadata import MaseMetadata

__all__ = ["MaseGraph", "MaseMetadata"]

"""Re-exports `MaseGraph` of `chop.ir.graph.mase_graph`, for users' import paths."""

from chop.ir.graph.mase_graph import MaseGraph

__all__ = ["MaseGraph"]

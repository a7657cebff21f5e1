"""Re-export under the path that the lab links; the class lives in `chop.ir.graph.mase_graph`."""

from chop.ir.graph.mase_graph import MaseGraph

__all__ = ["MaseGraph"]

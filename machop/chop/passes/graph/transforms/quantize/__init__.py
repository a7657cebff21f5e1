"""Quantises a graph by type, by name or by pattern."""

from chop.passes.graph.transforms.quantize.quantize import plan_from_config, quantize_transform_pass

__all__ = ["plan_from_config", "quantize_transform_pass"]

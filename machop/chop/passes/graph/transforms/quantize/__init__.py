"""Quantises a graph by type, by name or by pattern."""

from chop.passes.graph.transforms.quantize.quantize import config_from_plan, plan_from_config, quantize_transform_pass

__all__ = ["config_from_plan", "plan_from_config", "quantize_transform_pass"]

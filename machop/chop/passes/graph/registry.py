"""The passes by the names that `[passes.*]` of a TOML file uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chop.ir import MaseGraph
from chop.passes.graph.analysis import (
    add_common_metadata_analysis_pass,
    add_software_metadata_analysis_pass,
    calibrate_analysis_pass,
    count_costs_analysis_pass,
    init_metadata_analysis_pass,
    profile_statistics_analysis_pass,
    report_graph_analysis_pass,
    report_node_meta_param_analysis_pass,
    report_node_type_analysis_pass,
    sensitivity_analysis_pass,
    summarize_quantization_analysis_pass,
)
from chop.passes.graph.transforms import fold_batch_norm_transform_pass, quantize_transform_pass
from chop.registry import Registry

GraphPass = Callable[..., tuple[MaseGraph, dict[str, Any]]]

PASSES: Registry[GraphPass] = Registry("chop.passes", "pass")

for _name, _suffix, _pass in (
    ("init_metadata", "analysis", init_metadata_analysis_pass),
    ("add_common_metadata", "analysis", add_common_metadata_analysis_pass),
    ("add_software_metadata", "analysis", add_software_metadata_analysis_pass),
    ("calibrate", "analysis", calibrate_analysis_pass),
    ("count_costs", "analysis", count_costs_analysis_pass),
    ("sensitivity", "analysis", sensitivity_analysis_pass),
    ("profile_statistics", "analysis", profile_statistics_analysis_pass),
    ("report_graph", "analysis", report_graph_analysis_pass),
    ("report_node_meta_param", "analysis", report_node_meta_param_analysis_pass),
    ("report_node_type", "analysis", report_node_type_analysis_pass),
    ("summarize_quantization", "analysis", summarize_quantization_analysis_pass),
    ("fold_batch_norm", "transform", fold_batch_norm_transform_pass),
    ("quantize", "transform", quantize_transform_pass),
):
    PASSES.register(_name, aliases=(f"{_name}_{_suffix}",))(_pass)

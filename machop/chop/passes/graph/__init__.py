"""Passes: `f(graph, pass_args) -> (graph, info)`."""

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
from chop.passes.graph.registry import PASSES, register_pass
from chop.passes.graph.transforms import (
    absorb_batch_norm_transform_pass,
    equalise_transform_pass,
    fold_batch_norm_transform_pass,
    measure_batch_norm_transform_pass,
    migrate_scales_transform_pass,
    quantize_transform_pass,
)

__all__ = [
    "PASSES",
    "absorb_batch_norm_transform_pass",
    "add_common_metadata_analysis_pass",
    "add_software_metadata_analysis_pass",
    "calibrate_analysis_pass",
    "count_costs_analysis_pass",
    "equalise_transform_pass",
    "fold_batch_norm_transform_pass",
    "init_metadata_analysis_pass",
    "measure_batch_norm_transform_pass",
    "migrate_scales_transform_pass",
    "profile_statistics_analysis_pass",
    "quantize_transform_pass",
    "register_pass",
    "report_graph_analysis_pass",
    "report_node_meta_param_analysis_pass",
    "report_node_type_analysis_pass",
    "sensitivity_analysis_pass",
    "summarize_quantization_analysis_pass",
]

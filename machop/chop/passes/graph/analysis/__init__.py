"""Analysis passes: measure or report facts about a graph."""

from chop.passes.graph.analysis.calibrate import calibrate_analysis_pass
from chop.passes.graph.analysis.costs import count_costs_analysis_pass
from chop.passes.graph.analysis.metadata import (
    add_common_metadata_analysis_pass,
    add_software_metadata_analysis_pass,
    init_metadata_analysis_pass,
)
from chop.passes.graph.analysis.report import (
    report_graph_analysis_pass,
    report_node_meta_param_analysis_pass,
    report_node_type_analysis_pass,
    summarize_quantization_analysis_pass,
)
from chop.passes.graph.analysis.sensitivity import sensitivity_analysis_pass
from chop.passes.graph.analysis.statistics import profile_statistics_analysis_pass

__all__ = [
    "add_common_metadata_analysis_pass",
    "add_software_metadata_analysis_pass",
    "calibrate_analysis_pass",
    "count_costs_analysis_pass",
    "init_metadata_analysis_pass",
    "profile_statistics_analysis_pass",
    "report_graph_analysis_pass",
    "report_node_meta_param_analysis_pass",
    "report_node_type_analysis_pass",
    "sensitivity_analysis_pass",
    "summarize_quantization_analysis_pass",
]

"""Calibrates graphs on the first training samples, for formats and weight transforms that need activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chop.dataset.data import Data
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.inputs import placeholder_keywords
from chop.passes.graph import calibrate_analysis_pass
from chop.passes.graph.transforms.quantize import plan_from_config
from chop.tools.logger import get_logger
from chop.weight_transforms import Chain

logger = get_logger(__name__)

CALIBRATION_ROWS = 512


def calibrate(graph: MaseGraph, data_module: Data, rows: int = CALIBRATION_ROWS) -> None:
    """Run the first training samples through the graph in stored order, the same in every run."""
    batches = data_module.batches("train", rows)
    _, info = calibrate_analysis_pass(
        graph, {"input_generator": [placeholder_keywords(graph, x) for x, _ in batches], "num_samples": rows}
    )
    logger.info("ranges are measured on %d training samples of the FP32 baseline", info["rows"])


def calibrate_for(graph: MaseGraph, config: Mapping[str, Any], data_module: Data, rows: int = CALIBRATION_ROWS) -> None:
    """Calibrate a graph without measured ranges if a config has a format that needs ranges of activations."""
    if not graph.calibration.has_activations and is_measured_on_activations(graph, plan_from_config(graph, config)):
        calibrate(graph, data_module, rows)


def is_measured_on_activations(graph: MaseGraph, plan: QuantPlan) -> bool:
    """Whether a plan has a format, a weight transform or a batch norm that is measured on training samples."""
    measured = {
        (node, operand): chosen for node in plan for operand, chosen in plan[node].items() if chosen.is_measured
    }
    return plan.is_open or any(
        slot not in graph.calibration.tensors or (isinstance(chosen, Chain) and chosen.needs_inputs)
        for slot, chosen in measured.items()
    )

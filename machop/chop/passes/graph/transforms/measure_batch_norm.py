"""The pass that measures the statistics of batch norms again, under the formats that a graph has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from chop.dataset.rows import count_rows
from chop.errors import ChopError, PassError
from chop.formats import BatchNormStatistics
from chop.ir import MaseGraph, QuantPlan
from chop.nn.ops import STATISTICS
from chop.passes.graph.analysis.calibrate import in_one_batch
from chop.passes.graph.analysis.metadata import Info, PassArgs, check_args
from chop.passes.graph.registry import register_pass
from chop.passes.graph.samples import require_finite, samples_argument, samples_of
from chop.tools.logger import get_logger

logger = get_logger(__name__)


@register_pass("measure_batch_norm", inputs={"input_generator": "batches"}, leaves=())
def measure_batch_norm_transform_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Measure mean and variance of what each batch norm reads under the graph's formats, and normalise by them.

    Norms are measured one after the other, each with everything before it in its formats.

    `input_generator` is an iterable of {argument: batch}, samples of the training data; the first `num_samples` (512)
    of them are used. Without it, those are used that the graph was calibrated on. `nodes` names the norms (default:
    all). They are kept with the graph's formats; with `settle = true` they become the running statistics of the network
    itself, which exporters and folding read. The info is {"measured": [norm], "rows": rows}.

    Raises PassError where there is no norm or no sample, for samples of several lengths, and for statistics that are
    NaN or infinite; the graph is then as it was.
    """
    args = check_args("measure_batch_norm", pass_args, ("input_generator", "num_samples", "nodes", "settle"))
    inputs = _samples(graph, args)
    known = [name for name, op in graph.quantizable_nodes().items() if op.has_statistics]
    nodes = args.get("nodes") or known
    unknown = [name for name in nodes if name not in known]
    if unknown or not known:
        raise PassError(
            f"measure_batch_norm: {', '.join(map(repr, unknown)) or 'the model'} is no batch norm with statistics of "
            f"its own (known: {', '.join(known) or 'none'})"
        )
    before, plan = graph.calibration, graph.requested_plan
    graph.calibration = replace(before, inputs=inputs, in_float={})
    formats = {name: plan[name] for name in plan}
    measured = {name: {**formats.get(name, {}), STATISTICS: BatchNormStatistics()} for name in nodes}
    try:
        graph.apply_plan(QuantPlan.of(formats | measured))
        _require_finite(graph, nodes)
        if args.get("settle"):
            graph.settle_statistics()
    except ChopError as error:
        graph.calibration = before
        graph.apply_plan(plan)
        told = str(error) if isinstance(error, PassError) else f"measure_batch_norm: {error}"
        raise PassError(told) from error
    rows = count_rows(inputs)
    logger.info("statistics of %d batch norms are measured on %d training samples", len(nodes), rows)
    return graph, {"measured": list(nodes), "rows": rows}


def _samples(graph: MaseGraph, args: dict[str, Any]) -> Any:
    """The samples in one batch, as the model takes it."""
    if args.get("input_generator") is None and graph.calibration.inputs is not None:
        return graph.calibration.inputs
    batches = samples_of("measure_batch_norm", graph, args, least=2)
    inputs = in_one_batch([batch.samples for batch in batches])
    if inputs is None:
        raise PassError("measure_batch_norm needs samples of one form (the same lengths)")
    graph.observe(inputs)
    return inputs


def _require_finite(graph: MaseGraph, nodes: Iterable[str]) -> None:
    """Raise PassError for statistics that mean nothing, as those of samples with NaN."""
    for name in nodes:
        found = graph.plan[name].get(STATISTICS)
        if isinstance(found, BatchNormStatistics):
            for stored in (found.mean, found.variance):
                require_finite(samples_argument("measure_batch_norm"), name, None if stored is None else stored.values)

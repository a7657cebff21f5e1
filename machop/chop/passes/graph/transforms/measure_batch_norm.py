"""The pass that measures the statistics of batch norms again, under the formats that a graph has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chop.dataset.rows import count_rows
from chop.errors import GraphError, PassError
from chop.formats import BatchNormStatistics
from chop.ir import MaseGraph, QuantPlan
from chop.nn.ops import STATISTICS
from chop.passes.graph.analysis.calibrate import in_one_batch
from chop.passes.graph.analysis.metadata import Info, PassArgs, check_args, first_samples
from chop.passes.graph.registry import register_pass
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

    Raises PassError where there is no norm, or no sample.
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
    graph.calibration = replace(graph.calibration, inputs=inputs, in_float={})
    plan = graph.requested_plan
    formats = {name: plan[name] for name in plan}
    measured = {name: {**formats.get(name, {}), STATISTICS: BatchNormStatistics()} for name in nodes}
    try:
        graph.apply_plan(QuantPlan.of(formats | measured))
        if args.get("settle"):
            graph.settle_statistics()
    except GraphError as error:
        raise PassError(f"measure_batch_norm: {error}") from error
    rows = count_rows(inputs)
    logger.info("statistics of %d batch norms are measured on %d training samples", len(nodes), rows)
    return graph, {"measured": list(nodes), "rows": rows}


def _samples(graph: MaseGraph, args: dict[str, Any]) -> Any:
    """The samples in one batch, as the model takes it."""
    generator, wanted = args.get("input_generator"), args.get("num_samples", 512)
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 2:
        raise PassError(f"measure_batch_norm: num_samples must be a whole number of at least 2, got {wanted!r}")
    if generator is None:
        if graph.calibration.inputs is None:
            raise PassError("measure_batch_norm needs input_generator, an iterable of {argument: batch}")
        return graph.calibration.inputs
    rows, seen = 0, []
    for batch in generator:
        kept, count = first_samples(batch, wanted - rows)
        seen.append(kept)
        rows += count
        if rows >= wanted:
            break
    inputs = in_one_batch(seen)
    if inputs is None:
        raise PassError("measure_batch_norm needs samples of one form (the same lengths), and there must be some")
    graph.observe(inputs)
    return inputs

"""Measures statistics of batch norms under the whole plan: one run of the calibration samples through the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from chop.errors import GraphError
from chop.formats import BatchNormStatistics, Format
from chop.ir.graph.float_statistics import beside_float
from chop.ir.graph.inputs import placeholder_values, to_device
from chop.ir.graph.made_tensors import attribute_at
from chop.ir.plan import QuantPlan
from chop.nn.closing import closed, is_open, reopened
from chop.nn.ops import STATISTICS, Op
from chop.nn.own_tensors import has_unknown_pre_hooks
from chop.nn.quantized import Quantized

if TYPE_CHECKING:
    from chop.ir.graph.mase_graph import MaseGraph

NOTHING_SEEN = (
    "is to be measured under the plan, on training samples, and there are none yet; run calibrate_analysis_pass first"
)


def calibration_inputs(graph: MaseGraph, plan: QuantPlan) -> Any:
    """The samples on which a plan with something open is measured; raises GraphError where there are none."""
    if graph.calibration.inputs is not None:
        return graph.calibration.inputs
    slots = ((node, operand) for node, formats in plan.choices for operand, chosen in formats if chosen.is_open)
    node, operand = next(slots)
    raise GraphError(f"node '{node}': {'batch norm' if operand == STATISTICS else operand} {NOTHING_SEEN}")


def measured_in_place(graph: MaseGraph, plan: QuantPlan) -> QuantPlan:
    """The plan that a graph computes with, with everything open measured, one node after the other, and in place.

    Raises GraphError where no samples are known.
    """
    if not plan.is_open:
        return plan
    x = calibration_inputs(graph, plan)
    device = next((str(own.device) for own in graph.model.parameters()), "cpu")
    was_training = graph.model.training
    graph.model.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        measuring = _Measuring(graph)
        measuring.run(*placeholder_values(graph, to_device(x, device)))
    graph.model.train(was_training)
    return QuantPlan.of({name: measuring.found.get(name, dict(formats)) for name, formats in plan.choices})


def measured_anew(graph: MaseGraph) -> QuantPlan:
    """The plan of a graph with its statistics measured anew, in place, with the weights that it has now."""
    plan = beside_float(graph, QuantPlan.of({name: reopened(dict(formats)) for name, formats in graph.plan.choices}))
    if not plan.is_open:
        return graph.plan
    for name in plan:
        wrapper = graph.model.get_submodule(str(graph.node(name).target))
        assert isinstance(wrapper, Quantized)
        wrapper.formats = plan[name]
    return measured_in_place(graph, plan)


def without_statistics(plan: QuantPlan) -> QuantPlan:
    """The plan in which batch norms have the statistics of the network."""
    return QuantPlan.of(
        {name: {operand: own for operand, own in formats if operand != STATISTICS} for name, formats in plan.choices}
    )


@torch.no_grad()
def write_statistics(graph: MaseGraph, plan: QuantPlan) -> None:
    """Write the measured statistics of `plan` to the running statistics of the network, in place.

    Raises GraphError for norms that share them, and have others under the plan.
    """
    written: dict[int, str] = {}
    for name in plan:
        chosen = plan[name].get(STATISTICS)
        if not isinstance(chosen, BatchNormStatistics) or chosen.mean is None or chosen.variance is None:
            continue
        for own, value in zip(_running(graph, name), (chosen.mean, chosen.variance), strict=True):
            other = written.setdefault(own.data_ptr(), name)
            if other != name and not torch.equal(own, value.on(own).to(own.dtype)):
                raise GraphError(
                    f"nodes '{other}' and '{name}' share the running statistics of one batch norm, and have others "
                    "under the plan; give the model a norm for each"
                )
            own.copy_(value.on(own))


def _running(graph: MaseGraph, name: str) -> tuple[Tensor, Tensor]:
    """The running mean and variance of a batch norm."""
    node = graph.node(name)
    op, inner = graph.op(node), graph.inner(node)
    assert op is not None
    if isinstance(inner, nn.Module):
        mean, variance = (getattr(inner, own) for own in op.statistics)
    else:
        given = [arg.of(node.args, node.kwargs) for arg in op.statistics.values()]
        mean, variance = (attribute_at(graph.model, str(own.target)) for own in given)
    return mean, variance


class _Measuring(fx.Interpreter):
    """Runs the quantised graph, and measures each open node on what reaches it just before it is called."""

    def __init__(self, graph: MaseGraph) -> None:
        super().__init__(graph.model)
        self.found: dict[str, Mapping[str, Format]] = {}

    def run_node(self, n: fx.Node) -> Any:
        wrapper = self.module.get_submodule(str(n.target)) if n.op == "call_module" else None
        if isinstance(wrapper, Quantized) and is_open(wrapper.formats):
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            wrapper.formats = closed(wrapper.inner, wrapper.op, wrapper.formats, list(args), kwargs)
            self.found[n.name] = wrapper.formats
        return super().run_node(n)


def lacks_statistics(op: Op, inner: Any, node: fx.Node) -> bool:
    """Whether a call of batch norm has no statistics that could be replaced: it takes those of each batch."""
    if not op.statistics:
        return False
    if isinstance(inner, nn.Module):
        is_fixed = getattr(inner, "running_mean", None) is not None and getattr(inner, "running_var", None) is not None
        return not is_fixed or has_unknown_pre_hooks(inner)
    given = [arg.of(node.args, node.kwargs) for arg in op.statistics.values()]
    training = node.kwargs.get("training", node.args[5] if len(node.args) > 5 else False)
    return any(value is None for value in given) or training is not False

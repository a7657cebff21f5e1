"""Statistics of batch norms in the float network, by which those under a plan are corrected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from chop.formats import BatchNormStatistics, FloatStatistics, MeasuredTensor, StatisticsBesideFloat
from chop.ir.graph.inputs import placeholder_values, to_device
from chop.ir.plan import QuantPlan
from chop.nn.channel_statistics import channel_statistics
from chop.nn.closing import read_by_norm
from chop.nn.ops import STATISTICS, Op
from chop.nn.quantized import Quantized
from chop.tools.threads import one_thread

if TYPE_CHECKING:
    from chop.ir.graph.mase_graph import MaseGraph

MEASUREMENT = "corrected by the float network"
"""How statistics are measured under a plan: a search that measured them otherwise has other figures."""


def beside_float(graph: MaseGraph, plan: QuantPlan) -> QuantPlan:
    """The plan whose open statistics know those of the float network; without calibration samples as it is.

    These are measured once for a calibration, as activations are. After a training they are still those of the network
    before it, whose error on the samples is nearly the same: the running statistics may be of its quantised self.
    """
    open_norms = [name for name in plan if _is_open(plan, name)]
    if not open_norms or graph.calibration.inputs is None:
        return plan
    in_float = _in_float(graph)
    found = {name: in_float.get(name) for name in open_norms}
    closing = {
        name: {STATISTICS: StatisticsBesideFloat(in_float=own)} for name, own in found.items() if own is not None
    }
    return QuantPlan.of({name: {**dict(formats), **closing.get(name, {})} for name, formats in plan.choices})


def norms_of_other_values(graph: MaseGraph) -> list[str]:
    """The batch norms whose running statistics do not fit what they read of the calibration samples in float.

    Measured statistics of their channels are not corrected, so a network without rounding does not keep its own. Empty
    without calibration samples.
    """
    if graph.calibration.inputs is None:
        return []
    return [name for name, own in _in_float(graph).items() if own is not None and not own.are_of_one_network]


def _in_float(graph: MaseGraph) -> Mapping[str, FloatStatistics | None]:
    """The statistics of all norms in the float network, measured once for a calibration."""
    if not graph.calibration.in_float:
        graph.calibration = replace(graph.calibration, in_float=_measured_in_float(graph))
    return graph.calibration.in_float


def _is_open(plan: QuantPlan, name: str) -> bool:
    chosen = plan[name].get(STATISTICS)
    return isinstance(chosen, BatchNormStatistics) and chosen.is_open


def _measured_in_float(graph: MaseGraph) -> dict[str, FloatStatistics | None]:
    """The statistics of all norms, from one run of the calibration samples through the network without formats."""
    device = next((str(own.device) for own in graph.model.parameters()), "cpu")
    was_training = graph.model.training
    graph.model.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]), one_thread():  # sums depend on the number of threads
        measuring = _InFloat(graph)
        measuring.run(*placeholder_values(graph, to_device(graph.calibration.inputs, device)))
    graph.model.train(was_training)
    return measuring.found


class _InFloat(fx.Interpreter):
    """Runs a graph without its formats, and notes what each batch norm reads and which statistics it has."""

    def __init__(self, graph: MaseGraph) -> None:
        super().__init__(graph.model)
        self.norms = {name: op for name, op in graph.quantizable_nodes().items() if op.has_statistics}
        self.found: dict[str, FloatStatistics | None] = {}

    def run_node(self, n: fx.Node) -> Any:
        wrapper = self.module.get_submodule(str(n.target)) if n.op == "call_module" else None
        if n.name in self.norms:
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            inner = wrapper.inner if isinstance(wrapper, Quantized) else wrapper
            self.found[n.name] = _of_call(self.norms[n.name], inner, list(args), kwargs)
        if isinstance(wrapper, Quantized):
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            return wrapper.inner(*args, **kwargs)
        return super().run_node(n)


def _of_call(op: Op, inner: Any, args: list[Any], kwargs: dict[str, Any]) -> FloatStatistics | None:
    """The statistics of a norm that is called; None for one that has those of a new norm, of nothing that was seen."""
    is_module = isinstance(inner, nn.Module)
    mean, variance = (
        getattr(inner, name) if is_module else arg.of(args, kwargs) for name, arg in op.statistics.items()
    )
    if not mean.any() and bool((variance == 1).all()):
        return None
    x = read_by_norm(op, {}, args, kwargs)
    running = torch.stack([mean, variance])
    return FloatStatistics(MeasuredTensor(running), MeasuredTensor(channel_statistics(x)), len(x))

"""The pass that measures the distributions of weights and activations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from chop.errors import PassError, did_you_mean, first_line
from chop.formats.measured import by_channel, quantile_of
from chop.ir import MaseGraph
from chop.passes.graph.analysis.metadata import (
    Info,
    PassArgs,
    check_args,
    evaluating,
    metadata_of,
)
from chop.passes.graph.analysis.node_types import mase_op
from chop.passes.graph.node_selection import check_by, matches
from chop.passes.graph.registry import register_pass
from chop.passes.graph.samples import require_finite, running, samples_argument, samples_of

Measured = dict[str, Tensor]
ARGUMENTS = (
    "by",
    "target_weight_nodes",
    "target_activation_nodes",
    "weight_statistics",
    "activation_statistics",
    "input_generator",
    "num_samples",
)


@register_pass("profile_statistics", requires=("add_software_metadata",), inputs={"input_generator": "batches"})
def profile_statistics_analysis_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Measure weights and input activations and note the results under `software`, `args`, `stat`.

    `by` says what `target_weight_nodes` and `target_activation_nodes` list: ops, names or patterns.
    `weight_statistics` and `activation_statistics` hold `{"range_min_max": {…}, "range_quantile": {"quantile": 0.97}}`;
    with `dims = "channel"` in it a statistic is a list, a number for each channel (weights: the first dimension,
    activations: the second). Known are range_min_max, range_quantile, range_n_sigma, variance (variance_precise
    and variance_online are the same), absolute_mean, abs_mean, and record, which keeps the values themselves.
    Activations are those of the first `num_samples` rows of `input_generator` (an iterable of {"x": batch}), taken
    together, never batch by batch. The info is `{node: {operand: {statistic: …}}}`.
    """
    args = check_args("profile_statistics", pass_args, ARGUMENTS)
    by = check_by(args.get("by"))
    for node in graph.nodes:
        metadata_of(node, "software", "profile_statistics")
    found: Info = {}
    weight_nodes = _targets(graph, by, args.get("target_weight_nodes", ()), "target_weight_nodes")
    for node in weight_nodes:
        tensors = {name: getattr(graph.inner(node), name, None) for name in ("weight", "bias")}
        present = {name: tensor.detach() for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
        _note(node, present, args.get("weight_statistics") or {}, found)
    activation_nodes = _targets(graph, by, args.get("target_activation_nodes", ()), "target_activation_nodes")
    if activation_nodes:
        values = _activations(graph, activation_nodes, args)
        for node in activation_nodes:
            _note(node, values[node.name], args.get("activation_statistics") or {}, found)
    return graph, found


def range_min_max(values: Tensor, config: Mapping[str, Any]) -> Measured:
    """Least and greatest value: `{min, max, range}`."""
    return _range(values.amin(1), values.amax(1))


def range_quantile(values: Tensor, config: Mapping[str, Any]) -> Measured:
    """The range that holds the share `quantile` of the values, as much cut off below as above."""
    quantile = _number(config, "quantile", 1.0)
    if not 0 < quantile <= 1:
        raise PassError(f"range_quantile: 0 < quantile <= 1 must hold, got {quantile!r}")
    return _range(quantile_of(values, (1 - quantile) / 2), quantile_of(values, (1 + quantile) / 2))


def range_n_sigma(values: Tensor, config: Mapping[str, Any]) -> Measured:
    """The mean less and plus `num_sigmas` (3) standard deviations."""
    sigmas = _number(config, "num_sigmas", 3.0)
    mean, half = values.mean(1), sigmas * values.std(1, correction=0)
    return _range(mean - half, mean + half)


def variance(values: Tensor, config: Mapping[str, Any]) -> Measured:
    """Mean and variance (divided by the number of values)."""
    return {"mean": values.mean(1), "variance": values.var(1, correction=0)}


def absolute_mean(values: Tensor, config: Mapping[str, Any]) -> Measured:
    """The mean of the magnitudes."""
    return {"absolute_mean": values.abs().mean(1)}


def abs_mean(values: Tensor, config: Mapping[str, Any]) -> Measured:
    """The mean of the magnitudes, under the short name."""
    return {"abs_mean": values.abs().mean(1)}


def record(values: Tensor, config: Mapping[str, Any]) -> Measured:
    """The values themselves, in the order in which they came."""
    return {"data": values}


STATISTICS = {
    "range_min_max": range_min_max,
    "range_quantile": range_quantile,
    "range_n_sigma": range_n_sigma,
    "variance": variance,
    "variance_precise": variance,
    "variance_online": variance,
    "absolute_mean": absolute_mean,
    "abs_mean": abs_mean,
    "record": record,
}
"""Functions of values `(channels, values)`, float64, that return `(channels,)` or `(channels, values)` by name."""


def _number(config: Mapping[str, Any], key: str, default: float) -> float:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise PassError(f"{key}: expected a number above 0, got {value!r}")
    return float(value)


def _range(low: Tensor, high: Tensor) -> Measured:
    return {"min": low, "max": high, "range": high - low}


def _targets(graph: MaseGraph, by: str, wanted: Iterable[str], key: str) -> list[fx.Node]:
    called = [node for node in graph.nodes if node.op.startswith("call_")]
    chosen: list[fx.Node] = []
    for entry in wanted:
        found = [node for node in called if matches(entry, by, node.name, mase_op(graph, node))]
        if not found:
            names = {mase_op(graph, node) if by == "type" else node.name for node in called}
            raise PassError(f"{key}: '{entry}' matches no node with by = \"{by}\"{did_you_mean(entry, names)}")
        chosen += [node for node in found if node not in chosen]
    return chosen


def _note(node: fx.Node, tensors: Mapping[str, Tensor], statistics: Mapping[str, Any], found: Info) -> None:
    for name, values in tensors.items():
        is_activation = name.startswith("data_in")
        computed = {key: _statistic(key, values, config, is_activation) for key, config in statistics.items()}
        stat = node.meta["mase"].parameters["software"]["args"].setdefault(name, {"stat": {}})["stat"]
        stat.update(computed)
        found.setdefault(node.name, {})[name] = computed


def _statistic(key: str, values: Tensor, config: Any, is_activation: bool) -> dict[str, Any]:
    if key not in STATISTICS:
        hint = did_you_mean(key, STATISTICS)
        raise PassError(f"there is no statistic '{key}'{hint} (known: {', '.join(STATISTICS)})")
    config = config if isinstance(config, Mapping) else {}
    check_args(key, config, ("device", "dims", "quantile", "num_sigmas", "abs"))
    dims = config.get("dims") or "all"
    if dims not in ("all", "channel"):
        raise PassError(f'{key}: dims must be "all" or "channel", got {dims!r}')
    values = _on_device(key, values, config.get("device"))
    rows = by_channel(
        values.abs() if config.get("abs") else values, "channel" if dims == "channel" else "tensor", int(is_activation)
    )
    measured = STATISTICS[key](rows, config)
    return {name: _plain(result, dims) for name, result in measured.items()} | {"count": values.numel()}


def _on_device(key: str, values: Tensor, device: Any) -> Tensor:
    """The values on the device that a statistic is to be computed on; raises PassError if it cannot be used."""
    if device is None:
        return values
    try:
        moved = values.to(torch.device(device))
        moved.flatten()[:1].tolist()  # a device without memory fails here
    except (AssertionError, RuntimeError, NotImplementedError, TypeError) as error:  # by the kind of device
        raise PassError(
            f'{key}: device: {device!r} cannot be used here ({first_line(error)}): write "cpu", or leave it out'
        ) from error
    return moved


def _plain(result: Tensor, dims: str) -> Any:
    """The statistics of the whole tensor, or a list of the statistics of its channels."""
    numbers = result.tolist()
    return numbers if dims == "channel" else numbers[0]


@torch.no_grad()
def _activations(graph: MaseGraph, nodes: list[fx.Node], args: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """All input activations of the nodes over the rows asked for, `{node: {"data_in_0": values}}`."""
    batches = samples_of("profile_statistics", graph, args, usual=None)
    rows, wanted = sum(batch.rows for batch in batches), args["num_samples"]
    if rows < wanted:
        raise PassError(f"num_samples: {wanted} samples are asked for, the input generator returns {rows}")
    recorder = _Activations(graph, {node.name for node in nodes})
    with evaluating(graph), running(samples_argument("profile_statistics")):
        for batch in batches:
            recorder.run(*batch.inputs)
    return {name: {key: _joined(parts) for key, parts in found.items()} for name, found in recorder.seen.items()}


def _joined(parts: list[Tensor]) -> Tensor:
    """All values of an operand, its channels in the second dimension where every batch has as many of them."""
    if len({part.shape[1:] for part in parts}) == 1:
        return torch.cat(parts)
    if any(part.ndim < 2 for part in parts) or len({part.shape[1] for part in parts}) > 1:
        return torch.cat([part.flatten() for part in parts])
    return torch.cat([part.transpose(0, 1).flatten(1) for part in parts], 1).unsqueeze(0)


class _Activations(fx.Interpreter):
    """Runs the graph and keeps what flows into some nodes."""

    def __init__(self, graph: MaseGraph, names: set[str]) -> None:
        super().__init__(graph.model)
        self.names = names
        self.seen: dict[str, dict[str, list[Tensor]]] = {name: {} for name in names}

    def run_node(self, n: fx.Node) -> Any:
        if n.name in self.names:
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            inputs = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            for number, value in enumerate(inputs):
                require_finite(samples_argument("profile_statistics"), n, value)
                self.seen[n.name].setdefault(f"data_in_{number}", []).append(value.clone())
        return super().run_node(n)

"""The passes that fill a graph's metadata: shapes, types and precisions, and places for statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from chop.errors import PassError, did_you_mean
from chop.formats import FLOAT_BITS, Format, format_name
from chop.ir import MaseGraph, MaseMetadata
from chop.nn.ops import Op
from chop.passes.graph.analysis.node_types import mase_op, mase_type
from chop.passes.graph.registry import register_pass
from chop.passes.graph.samples import placeholder_inputs, running
from chop.weight_transforms import format_of, transforms_of

Info = dict[str, Any]
PassArgs = Mapping[str, Any] | None

STATIC_TYPES = ("placeholder", "get_attr", "output")


def check_args(name: str, pass_args: PassArgs, known: tuple[str, ...]) -> dict[str, Any]:
    """A copy of a pass's arguments; raises PassError for one that the pass does not know, and a wrong `show`."""
    for key in pass_args or {}:
        if key not in known:
            hint = did_you_mean(key, known)
            raise PassError(f"{name}: unknown argument '{key}'{hint} (known: {', '.join(known) or 'none'})")
    args = dict(pass_args or {})
    if not isinstance(args.get("show", True), bool):
        raise PassError(f"{name}: show: expected true or false, got {args['show']!r}")
    return args


def metadata_of(node: fx.Node, section: str, wanted_by: str) -> dict[str, Any]:
    """A section of a node's metadata; raises PassError that names the pass which fills it."""
    found = node.meta.get("mase")
    if found is None:
        raise PassError(f"{wanted_by} needs metadata; run init_metadata_analysis_pass first")
    if section != "hardware" and not found[section]:
        raise PassError(f"{wanted_by} needs '{section}' metadata; run add_{section}_metadata_analysis_pass first")
    values: dict[str, Any] = found[section]
    return values


@register_pass("init_metadata")
def init_metadata_analysis_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Create empty metadata for every node and the graph."""
    check_args("init_metadata", pass_args, ())
    for node in graph.nodes:
        node.meta["mase"] = MaseMetadata()
    graph.meta["mase"] = MaseMetadata()
    return graph, {}


@register_pass("add_common_metadata", requires=("init_metadata",), inputs={"dummy_in": "batch"})
def add_common_metadata_analysis_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Record each node's kind, and the shape, type and precision of its arguments and results.

    `dummy_in` ({argument of forward: tensor}) is run through the graph once. Precisions are those of the formats that
    the graph has now: after quantising, run this pass again. With `add_value`, the tensors are kept too.
    """
    args = check_args("add_common_metadata", pass_args, ("dummy_in", "add_value"))
    if not isinstance(args.get("dummy_in"), Mapping):
        raise PassError('add_common_metadata needs {"dummy_in": {"x": a batch}}: it runs the graph on it once')
    _require_init(graph, "add_common_metadata")
    what = "add_common_metadata: dummy_in"
    recorder = _Recorder(graph, bool(args.get("add_value", False)))
    inputs = placeholder_inputs(graph, args["dummy_in"], what)
    graph.observe(args["dummy_in"])
    with torch.no_grad(), evaluating(graph), running(what):
        recorder.run(*inputs)
    return graph, {}


@register_pass("add_software_metadata", requires=("add_common_metadata",))
def add_software_metadata_analysis_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Create the section `software` with `args` and `results`, each with an empty `stat`."""
    check_args("add_software_metadata", pass_args, ())
    for node in graph.nodes:
        common = metadata_of(node, "common", "add_software_metadata")
        node.meta["mase"].parameters["software"] = {
            part: {name: {"stat": {}} for name in common[part]} for part in ("args", "results")
        }
    return graph, {}


def _require_init(graph: MaseGraph, wanted_by: str) -> None:
    if any("mase" not in node.meta for node in graph.nodes):
        raise PassError(f"{wanted_by} needs metadata; run init_metadata_analysis_pass first")


@contextmanager
def evaluating(graph: MaseGraph) -> Iterator[None]:
    """The graph in eval mode, so that running it changes no statistics; the mode is put back."""
    modes = {module: module.training for module in graph.model.modules()}
    graph.model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class _Recorder(fx.Interpreter):
    """Runs the graph as it is, formats included, and fills `common` of each node on the way."""

    def __init__(self, graph: MaseGraph, keep_values: bool) -> None:
        super().__init__(graph.model)
        self.graph_ir = graph
        self.keep_values = keep_values

    def run_node(self, n: fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        result = super().run_node(n)
        n.meta["mase"].parameters["common"] = {
            "mase_type": mase_type(self.graph_ir, n),
            "mase_op": mase_op(self.graph_ir, n),
            "args": self._arguments(n, args, kwargs),
            "results": self._results(n, result),
        }
        return result

    def _arguments(self, node: fx.Node, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        formats, op = self.graph_ir.plan[node.name], self.graph_ir.op(node)
        if node.op in STATIC_TYPES[:2]:
            return {}
        is_module = isinstance(self.graph_ir.inner(node), nn.Module)
        named = _named_arguments(op, args, kwargs, is_module)
        named |= _parameters(self.graph_ir.inner(node)) if node.op == "call_module" else {}
        return {name: self._facts(value, formats.get(_operand(name, op))) for name, value in named.items()}

    def _results(self, node: fx.Node, result: Any) -> dict[str, Any]:
        values = result if isinstance(result, (tuple, list)) else [result]
        tensors = [value for value in values if isinstance(value, Tensor)]
        chosen = self.graph_ir.plan[node.name].get("data_out")
        return {f"data_out_{number}": self._facts(value, chosen) for number, value in enumerate(tensors)}

    def _facts(self, value: Tensor, chosen: Format | None) -> dict[str, Any]:
        transforms, chosen = transforms_of(chosen), format_of(chosen)
        facts = {
            "shape": list(value.shape),
            "torch_dtype": value.dtype,
            "type": "float" if chosen is None else format_name(type(chosen)),
            "precision": precision(chosen),
            **({"transforms": list(map(str, transforms))} if transforms else {}),
        }
        return {**facts, "value": value.detach().clone()} if self.keep_values else facts


def precision(chosen: Format | None) -> list[int]:
    """A format's width, and for fixed point its fraction width; float has 32."""
    if chosen is None:
        return [FLOAT_BITS]
    return [
        value for value in (getattr(chosen, "width", None), getattr(chosen, "frac_width", None)) if value is not None
    ]


def _named_arguments(
    op: Op | None, args: tuple[Any, ...], kwargs: Mapping[str, Any], is_module: bool
) -> dict[str, Tensor]:
    """Tensors under `data_in_0`, `data_in_1` …; those that a function takes as weight and bias under these names."""
    parameters = {} if op is None or is_module else op.params
    by_index = {arg.index: name for name, arg in parameters.items()}
    by_keyword = {keyword: name for name, arg in parameters.items() for keyword in arg.keywords}
    given = [(by_index.get(index), value) for index, value in enumerate(args)]
    given += [(by_keyword.get(keyword), value) for keyword, value in kwargs.items()]
    named: dict[str, Tensor] = {}
    for name, value in given:
        if isinstance(value, Tensor):
            inputs = sum(known.startswith("data_in") for known in named)
            named[name or f"data_in_{inputs}"] = value
    return named


def _parameters(inner: Any) -> dict[str, Tensor]:
    found = ((name, getattr(inner, name, None)) for name in ("weight", "bias"))
    return {name: value for name, value in found if isinstance(value, Tensor)}


def _operand(name: str, op: Op | None) -> str:
    """The operand that an argument belongs to: the second matrix of a product is its weight."""
    number = name.removeprefix("data_in_")
    if op is None or not number.isdigit():
        return name if name in ("weight", "bias") else "data_in"
    return next((operand for operand, slots in op.args.items() if int(number) in {s.index for s in slots}), "data_in")

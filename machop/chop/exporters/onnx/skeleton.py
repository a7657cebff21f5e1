"""Traces a quantised network to ONNX, with a node `chop.Rounded` wherever it rounds."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, fx, nn

from chop.errors import ExportError, first_line
from chop.exporters.base import ExportNetwork
from chop.exporters.onnx.norms import BATCH_NORM, is_plain
from chop.exporters.onnx.stored import Floats
from chop.formats import Format, OutputShift
from chop.ir import MaseGraph
from chop.ir.graph.export_trace import GUARDS
from chop.ir.graph.inputs import placeholder_values
from chop.nn.copying import copied_module
from chop.nn.masks import MaskRule
from chop.nn.ops import STATISTICS, Op
from chop.nn.quantized import Quantized
from chop.tools.model_outputs import LOGITS, OutputName, predictions_of

OPSET = 21
"""The first one with integers of 4 and 16 bits in QuantizeLinear; ONNX Runtime 1.20 and later run it."""

IR_VERSION = 10
DOMAIN = "chop"
ROUNDED = "Rounded"
OUTPUT = "output"
BATCH = "batch"


@dataclass(frozen=True)
class Skeleton:
    """A network in ONNX's operators on float32, with nodes `chop.Rounded` (attribute `key`: "NODE.OPERAND").

    `formats` are those of each key. `parameters` are the rounded values of each key that rounds a parameter.
    `in_float` names the nodes whose float results depend on the library in their last bits (exponentials, roots,
    quotients). `ranks` are the numbers of dimensions of the values that torch knew them of.
    """

    model: onnx.ModelProto
    formats: Mapping[str, Format]
    parameters: Mapping[str, Floats]
    in_float: tuple[str, ...]
    ranks: Mapping[str, int]


def skeleton_of(network: ExportNetwork) -> Skeleton:
    """The skeleton of a network; raises ExportError, with what torch.onnx says, for one that cannot be traced."""
    twin = copy.deepcopy(network.graph)
    twin.model.eval()
    values = placeholder_values(twin, network.example())
    parameters = _parameters(twin, values)
    formats: dict[str, Format] = {}
    for node in list(twin.nodes):
        inner = _layer(twin, node)
        if inner is not None:
            formats |= _mark(node.name, inner)
        elif node.op == "call_module" and node.target == GUARDS:
            twin.model.graph.erase_node(node)
    twin.model.recompile()
    model = _traced(_Scored(twin.model, network.data.output), values)
    approximate = _clean(model)
    _name(model, _output_name(twin.model, values, network.data.output))
    ranks = {own.name: len(own.type.tensor_type.shape.dim) for own in (*model.graph.value_info, *model.graph.input)}
    return Skeleton(model, formats, parameters, _in_float(model.graph, approximate, parameters), ranks)


@dataclass(frozen=True)
class Mark(Format):
    """Stands for a format while a network is traced: rounds by a node `chop.Rounded`, and leaves out what is masked."""

    key: str
    masks: MaskRule | None = None

    def bits(self, shape: Any) -> int:
        return 0

    def _round(self, x: Tensor) -> Tensor:
        if self.masks is None:
            return self._node(x)
        masked = self.masks.masked(x)
        return torch.where(masked, x, self._node(x.masked_fill(masked, -torch.inf)))

    def _node(self, x: Tensor) -> Tensor:
        found: Tensor = torch.onnx.ops.symbolic(
            f"{DOMAIN}::{ROUNDED}", (x,), {"key": self.key}, dtype=x.dtype, shape=x.shape, version=1
        )
        return found


def _mark(name: str, layer: Quantized) -> dict[str, Format]:
    """Put marks in place of a layer's formats, which are returned by key."""
    op = layer.op
    found: dict[str, Format] = {}
    marks: dict[str, Format] = {}
    rules = {operand: slots[0].masks for operand, slots in op.args.items()} | {"data_out": op.result_masks}
    for operand, chosen in layer.formats.items():
        mark: Format = Mark(f"{name}.{operand}", rules.get(operand))
        if operand == STATISTICS:
            marks[operand] = chosen
        elif isinstance(chosen, OutputShift):
            marks[operand] = replace(chosen, then=mark if chosen.then else None)
            found |= {f"{name}.{operand}": chosen.then} if chosen.then else {}
        else:
            marks[operand] = mark
            found[f"{name}.{operand}"] = chosen
    layer.formats = marks
    layer.op = _without_masks(op)
    if isinstance(layer.inner, nn.Module):
        layer.inner = copied_module(layer.inner)  # torch.export knows a module by one path
    return found


def _without_masks(op: Op) -> Op:
    """The op as one whose operands are rounded whatever they hold: marks know what is masked."""
    args = {name: tuple(replace(arg, masks=None) for arg in slots) for name, slots in op.args.items()}
    return replace(op, args=args, result_masks=None)


def _layer(graph: MaseGraph, node: fx.Node) -> Quantized | None:
    found = graph.model.get_submodule(str(node.target)) if node.op == "call_module" else None
    return found if isinstance(found, Quantized) else None


@dataclass(frozen=True)
class _Seen(Format):
    """Rounds to `chosen`, and notes what came out, under `key`."""

    key: str
    chosen: Format
    noted: dict[str, Floats]

    def bits(self, shape: Any) -> int:
        return 0

    def _round(self, x: Tensor) -> Tensor:
        found = self.chosen.quantize(x)
        self.noted[self.key] = found.numpy()
        return found


def _parameters(graph: MaseGraph, values: list[Any]) -> dict[str, Floats]:
    """The rounded values of the parameters by key, as a run on `values` multiplies by them."""
    noted: dict[str, Floats] = {}
    before: list[tuple[Quantized, dict[str, Format]]] = []
    for node in graph.nodes:
        layer = _layer(graph, node)
        if layer is None:
            continue
        own = [name for name in layer.op.params if name in layer.formats]
        fixed = [name for name in own if graph.parameter(node, layer.op, name) is not None]
        before.append((layer, layer.formats))
        seen = {name: _Seen(f"{node.name}.{name}", layer.formats[name], noted) for name in fixed}
        layer.formats = {**layer.formats, **seen}
    with torch.no_grad():
        graph.model(*values)
    for layer, formats in before:
        layer.formats = formats
    return noted


class _Scored(nn.Module):
    """A model that returns the output that is scored, and no other."""

    def __init__(self, model: fx.GraphModule, output: OutputName) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, *args: Any) -> Tensor:
        return predictions_of(self.model(*args), self.output)


def _output_name(model: nn.Module, values: list[Any], output: OutputName) -> str:
    with torch.no_grad():
        found = model(*values)
    if isinstance(found, Tensor):
        return OUTPUT
    if isinstance(output, str):
        return output
    return LOGITS if isinstance(found, Mapping) and LOGITS in found else OUTPUT


def _traced(model: _Scored, values: list[Any]) -> onnx.ModelProto:
    """The model as ONNX; whole numbers that its samples count by may change."""
    batch = tuple({0: torch.export.Dim.AUTO} if isinstance(own, Tensor) and own.ndim else None for own in values)
    names = [str(node.target) for node in model.model.graph.nodes if node.op == "placeholder"]
    tensors = [name for name, own in zip(names, values, strict=True) if isinstance(own, Tensor)]
    try:
        with _quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                model,
                tuple(values),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=(batch,),
                input_names=tensors,
                verbose=False,
            )
        return program.model_proto  # type: ignore[no-any-return]
    except Exception as error:
        raise ExportError(f"torch.onnx cannot translate the network: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """The innermost reason of a failed translation, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch.onnx and its optimiser tell of their own inside."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


APPROXIMATE = frozenset(
    (
        *("BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "ReduceMean"),
        *("Elu", "Gelu", "HardSigmoid", "HardSwish", "Mish", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh"),
        *("Cos", "Div", "Erf", "Exp", "Log", "Pow", "Reciprocal", "Sin", "Sqrt", "LogSoftmax", "Softmax"),
        *("GRU", "LSTM", "RNN"),
    )
)
"""Operators whose results libraries round differently."""


def _clean(model: onnx.ModelProto) -> list[tuple[onnx.NodeProto, str]]:
    """Remove all that the trace says of itself (paths, stacks); returns what is approximate, with its node's name."""
    found = []
    for node in model.graph.node:
        scopes = next((own.value for own in node.metadata_props if own.key == "pkg.torch.onnx.name_scopes"), "[]")
        if node.op_type in APPROXIMATE:
            found.append((node, _scope(scopes) or node.output[0]))
        del node.metadata_props[:]
        node.doc_string = ""
    for part in (model, model.graph, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    model.producer_name, model.producer_version = "chop", ""
    model.graph.name = "network"
    return found


def _in_float(
    graph: onnx.GraphProto, approximate: Iterable[tuple[onnx.NodeProto, str]], parameters: Mapping[str, Floats]
) -> tuple[str, ...]:
    """The modules of approximate nodes, without the batch norms that are a product and a sum."""
    values = initial_values(graph)
    values |= {
        node.output[0]: parameters[key_of(node)]
        for node in graph.node
        if node.op_type == ROUNDED and key_of(node) in parameters
    }
    kept = (module for node, module in approximate if node.op_type != BATCH_NORM or not is_plain(node, values))
    return tuple(dict.fromkeys(kept))


def _scope(text: str) -> str:
    """The node that `['model', 'model.layers.0', 'op']` lies in: the innermost module, as the graph calls it."""
    parts = [part.strip(" '\"") for part in text.strip("[]").split(",")]
    path = next((part.removeprefix("model.") for part in reversed(parts[:-1]) if part not in ("", "model")), "")
    return path.removesuffix("_quantized").replace(".", "_")


def _name(model: onnx.ModelProto, output: str) -> None:
    """Give the output, the batch and each rounding a name that says what it is."""
    graph = model.graph
    batches = {own.type.tensor_type.shape.dim[0].dim_param for own in graph.input if own.type.tensor_type.shape.dim}
    for own in (*graph.input, *graph.output):
        for dim in own.type.tensor_type.shape.dim:
            if dim.dim_param in batches - {""}:
                dim.dim_param = BATCH
    taken = {own.name for own in graph.input}
    new = {graph.output[0].name: _free(output, taken)}
    for node in graph.node:
        if node.op_type == ROUNDED and node.output[0] not in new:
            new[node.output[0]] = _free(key_of(node), taken)
    for own in graph.initializer:
        new[own.name] = _free(own.name.removeprefix("model.").replace(".inner.", "."), taken)
    _rename(graph, new)


def key_of(node: onnx.NodeProto) -> str:
    """The key of a node `chop.Rounded`."""
    return str(next(own.s for own in node.attribute if own.name == "key").decode())


def _free(name: str, taken: set[str]) -> str:
    """A name that is taken from then on: `name`, or that with a number."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found


def _rename(graph: onnx.GraphProto, new: Mapping[str, str]) -> None:
    """Give values of a graph other names, where it makes and where it reads them."""
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, new)
    for own in (*graph.initializer, *graph.output, *graph.value_info):
        own.name = new.get(own.name, own.name)


def initial_values(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """The initialisers and constants of a graph, by name."""
    found = {own.name: numpy_helper.to_array(own) for own in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found

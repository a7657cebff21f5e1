"""Writes a skeleton as a model of ONNX's standard operators, in one of several forms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from chop.exporters.onnx.norms import BATCH_NORM, factor_and_summand, is_plain, write_norm
from chop.exporters.onnx.order import roundings_first
from chop.exporters.onnx.pieces import Pieces
from chop.exporters.onnx.rounding import Form, Known, Pair, known_of, pair_of, write_arithmetic, write_pair
from chop.exporters.onnx.skeleton import IR_VERSION, OPSET, ROUNDED, Skeleton, initial_values, key_of
from chop.exporters.onnx.steps import way_of
from chop.exporters.onnx.stored import Floats, Stored, stored
from chop.formats import Format

SAME_VALUES = frozenset(
    ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "MaxPool", "Slice", "Expand", "Identity", "Relu")
)
"""Operators whose results are some of the values of their first input (or 0)."""

PRODUCTS = ("Gemm", "Conv", "MatMul")

WORD = 32767
"""Where two products of bytes are summed, x86 processors without VNNI saturate at this number."""


def lowered(skeleton: Skeleton, form: Form) -> onnx.ModelProto:
    """The model in a form, with the check of onnx passed."""
    return _finished(skeleton.model, _Lowering(skeleton, form).pieces())


def in_float(skeleton: Skeleton) -> onnx.ModelProto:
    """The float network: the skeleton without its roundings, and with the weights as they were trained."""
    graph = skeleton.model.graph
    pieces = Pieces(set())
    alias: dict[str, str] = {}
    outputs = {own.name for own in graph.output}
    for node in graph.node:
        source = alias.get(node.input[0], node.input[0]) if node.input else ""
        if node.op_type == ROUNDED and node.output[0] not in outputs:
            alias[node.output[0]] = source
        elif node.op_type == ROUNDED:
            pieces.op("Identity", [source], node.output[0], is_final=True)
        else:
            pieces.nodes.append(_copied(node, alias))
    return _finished(skeleton.model, pieces)


def _finished(skeleton: onnx.ModelProto, pieces: Pieces) -> onnx.ModelProto:
    outputs = list(skeleton.graph.output)
    nodes = _needed(pieces.nodes, {own.name for own in outputs})
    read = {name for node in nodes for name in node.input}
    constants = [*skeleton.graph.initializer, *pieces.constants.values()]
    kept = [own for own in constants if own.name in read]
    graph = helper.make_graph(nodes, skeleton.graph.name, list(skeleton.graph.input), outputs, kept)
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="chop"
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def _needed(nodes: Sequence[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """The nodes that lead to the values that are wanted, in their order."""
    found = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            found.append(node)
            wanted.update(node.input)
    return found[::-1]


def _copied(node: onnx.NodeProto, alias: Mapping[str, str]) -> onnx.NodeProto:
    found = onnx.NodeProto()
    found.CopyFrom(node)
    found.input[:] = [alias.get(name, name) for name in node.input]
    return found


@dataclass(frozen=True)
class _Constant:
    """The rounded values of a parameter, and their format."""

    values: Floats
    chosen: Format | None


class _Lowering:
    """Goes through a skeleton once.

    `alias` are values that are written under another name, `known` what is known of rounded ones, `constants` rounded
    parameters that are written where something reads them.
    """

    def __init__(self, skeleton: Skeleton, form: Form) -> None:
        self.skeleton = skeleton
        self.form = form
        self.graph = skeleton.model.graph
        self.initial = initial_values(self.graph)
        self.outputs = {own.name for own in self.graph.output}
        self.nodes = roundings_first(self.graph.node, self.outputs, self._is_byte)
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
        self.alias: dict[str, str] = {}
        self.positive: dict[str, str] = {}
        self.known: dict[str, Known] = {}
        self.bare: set[str] = set()
        """Values from pairs without a Clip."""

        self.constants: dict[str, _Constant] = {}
        self.weights: dict[str, Stored] = {}
        """The codes of the second factor of each product, by the node's first output."""

        self.values: dict[tuple[str, int, bytes], str] = {}
        self.rounded: dict[tuple[str, Format], str] = {}
        names = {name for node in self.nodes for name in (*node.input, *node.output)}
        self.written = Pieces({*names, *self.outputs, *(own.name for own in self.graph.input)})

    def pieces(self) -> Pieces:
        """The nodes and constants of the model."""
        for node in self.nodes:
            if node.op_type == ROUNDED:
                self._round(node)
            elif node.op_type == "Transpose" and node.input[0] in self.constants:
                self._transpose(node)
            elif node.op_type == "Relu" and node.output[0] not in self.outputs and self._drops(node):
                continue
            elif node.op_type != BATCH_NORM or not self._norm(node):
                self._copy(node)
        return self.written

    def _norm(self, node: onnx.NodeProto) -> bool:
        """Write a batch norm that is more than a product and a sum, if it is one."""
        values = {**self.initial, **{name: own.values for name, own in self.constants.items()}}
        found = None if is_plain(node, values) else factor_and_summand(node, values)
        if found is not None:
            source = self.alias.get(node.input[0], node.input[0])
            write_norm(self.written, source, node.output[0], *found, self.skeleton.ranks[node.input[0]])
        return found is not None

    def _round(self, node: onnx.NodeProto) -> None:
        source, output, key = node.input[0], node.output[0], key_of(node)
        chosen = self.skeleton.formats[key]
        values = self._parameter(key, source, chosen)
        if values is not None:
            self.constants[output] = _Constant(values, chosen)
            return
        way = way_of(chosen)
        is_positive, is_final = source in self.positive, output in self.outputs
        source = self.positive.get(source) or self.alias.get(source, source)
        pair = self._apart(pair_of(way, self.form), node.input[0])
        same = self.rounded.setdefault((f"{source}{'+' * is_positive}", chosen), output)
        if same != output and not is_final:
            self.alias[output] = same
        elif pair is not None:
            write_pair(self.written, source, output, pair, is_positive, True)
        else:
            write_arithmetic(self.written, source, output, way, True)
        known = known_of(pair)
        if known is not None:
            self.known[output] = known
        if pair is not None and not pair.has_clip and not is_positive:
            self.bare.add(output)

    def _apart(self, pair: Pair | None, source: str) -> Pair | None:
        """A pair that ONNX Runtime does not join with another in front of it, into one with a scale of its own."""
        if pair is None or source not in self.bare:
            return pair
        return replace(pair, has_clip=True) if pair.is_byte else None

    def _parameter(self, key: str, source: str, chosen: Format) -> Floats | None:
        """The rounded values of a parameter; None of an activation."""
        if key in self.skeleton.parameters:
            return self.skeleton.parameters[key]
        if source not in self.initial:
            return None
        import torch

        return chosen.quantize(torch.from_numpy(np.array(self.initial[source]))).numpy()

    def _transpose(self, node: onnx.NodeProto) -> None:
        own = self.constants[node.input[0]]
        order = next((list(found.ints) for found in node.attribute if found.name == "perm"), None)
        self.constants[node.output[0]] = _Constant(own.values.transpose(order), own.chosen)

    def _drops(self, node: onnx.NodeProto) -> bool:
        """Whether a ReLU need not be written: its input is never negative, or its readers clip their codes."""
        source, output = node.input[0], node.output[0]
        known = self.known.get(source)
        if known is not None and not known.is_negative:
            self.alias[output] = self.alias.get(source, source)
            self._pass_on(source, output)
            return True
        if self.readers[output] and all(map(self._is_byte, self.readers[output])):
            self.positive[output] = self.alias.get(source, source)
            return True
        return False

    def _is_byte(self, node: onnx.NodeProto) -> bool:
        """Whether a node is a rounding of activations that is written as a pair of bytes with one scale."""
        if node.op_type != ROUNDED or key_of(node) in self.skeleton.parameters or node.input[0] in self.initial:
            return False
        pair = pair_of(way_of(self.skeleton.formats[key_of(node)]), self.form)
        return pair is not None and pair.is_byte and pair.steps.scale.ndim == 0

    def _copy(self, node: onnx.NodeProto) -> None:
        inputs = [self.alias.get(name, name) for name in node.input]
        for place, name in enumerate(node.input):
            if name in self.constants:
                inputs[place] = self._constant(node, place, name)
        made = _copied(node, {})
        made.input[:] = inputs
        self.written.nodes.append(made)
        if node.op_type in SAME_VALUES:
            self._pass_on(node.input[0], node.output[0])

    def _pass_on(self, source: str, output: str) -> None:
        """Note that a value has the codes of another."""
        if source in self.known:
            self.known[output] = self.known[source]
        if source in self.bare:
            self.bare.add(output)

    def _constant(self, node: onnx.NodeProto, place: int, name: str) -> str:
        """The value that a rounded parameter is read from: its codes behind a DequantizeLinear."""
        own = self.constants[name]
        if node.op_type in ("Gemm", "Conv") and place == 2:
            found = self._sum_of_products(node, own.values)
            if found is not None:
                return self._dequantized(name, found)
        found = stored(own.values, own.chosen, self.form.least)
        if found is None:
            return self.written.number(name, own.values)
        if place == 1 and node.op_type in PRODUCTS:
            found = self.weights[node.output[0]] = self._without_saturation(node, found)
        return self._dequantized(name, found)

    def _dequantized(self, name: str, own: Stored) -> str:
        same = (name, own.type, own.scale.tobytes())
        if same in self.values:
            return self.values[same]
        codes = self.written.tensor(own.tensor(self.written.free(f"{name}/codes")))
        zero = self.written.integer(f"{name}/zero_point", np.full(own.scale.shape, own.zero), own.type)
        inputs = [codes, self.written.number(f"{name}/scale", own.scale), zero]
        self.values[same] = self.written.op("DequantizeLinear", inputs, f"{name}/value", axis=own.axis)
        return self.values[same]

    def _without_saturation(self, node: onnx.NodeProto, own: Stored) -> Stored:
        """Weights as unsigned bytes, where signed ones could saturate sums of products on some processors."""
        known = self.known.get(node.input[0])
        can = known is not None and known.kind == TensorProto.UINT8 and own.type == TensorProto.INT8
        if known is None or not can or self.form.may_saturate:
            return own
        return own.shifted() if 2 * known.most * own.most > WORD else own

    def _sum_of_products(self, node: onnx.NodeProto, values: Floats) -> Stored | None:
        """A bias in 32 bits, in the steps of the products that it is added to; None where it has no such codes."""
        known, weights = self.known.get(node.input[0]), self.weights.get(node.output[0])
        factors: Any = [own.f for own in node.attribute if own.name in ("alpha", "beta")]
        if known is None or weights is None or any(own != 1 for own in factors) or values.ndim != 1:
            return None
        scale = np.asarray(known.scale * weights.scale, np.float32)
        if scale.ndim and weights.axis != _outputs_axis(node):
            return None
        codes = np.rint(values.astype(np.float64) / scale)
        is_exact = np.array_equal(codes.astype(np.float32) * scale, values) and np.abs(codes).max(initial=0) < 2**31
        return Stored(codes.astype(np.int64), TensorProto.INT32, scale, 0 if scale.ndim else None) if is_exact else None


def _outputs_axis(node: onnx.NodeProto) -> int:
    """The dimension of the outputs in the weights of a Gemm or a Conv."""
    is_plain = node.op_type == "Gemm" and not any(own.i for own in node.attribute if own.name == "transB")
    return 1 if is_plain else 0

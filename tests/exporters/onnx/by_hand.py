"""Skeletons of a few nodes, made by hand, and the tools that run what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from chop.exporters.onnx.runtime import WAYS, run, session_of
from chop.exporters.onnx.skeleton import DOMAIN, OPSET, ROUNDED, Skeleton
from chop.formats import Format

Array = NDArray[Any]


def rounded(source: str, output: str, key: str) -> onnx.NodeProto:
    return helper.make_node(ROUNDED, [source], [output], domain=DOMAIN, key=key)


def skeleton(
    nodes: Sequence[onnx.NodeProto],
    formats: Mapping[str, Format],
    shape: Sequence[int],
    constants: Mapping[str, Array] | None = None,
    rank: int | None = None,
) -> Skeleton:
    """Nodes from the input `x` `(batch, *shape)` to `output`, which has as many dimensions or `rank`."""
    dims = ["batch", *shape]
    graph = helper.make_graph(
        list(nodes),
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None] * (rank or len(dims)))],
        [numpy_helper.from_array(own, name) for name, own in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)])
    return Skeleton(model, formats, {}, (), {"x": len(dims)})


def outputs(model: onnx.ModelProto, x: Array, with_reference: bool = True) -> dict[str, Array]:
    """The output for `x` by ONNX Runtime in each way, and by onnx's own evaluator in Python."""
    found = {way: run(session_of(model.SerializeToString(), way), {"x": x}) for way in WAYS}
    if with_reference:
        found["onnx.reference"] = np.asarray(ReferenceEvaluator(model).run(None, {"x": x})[0], np.float64)
    return found


def assert_equal(model: onnx.ModelProto, x: Array, wanted: Array, with_reference: bool = True) -> None:
    for tool, found in outputs(model, x, with_reference).items():
        np.testing.assert_array_equal(found, wanted.astype(np.float64), err_msg=tool)

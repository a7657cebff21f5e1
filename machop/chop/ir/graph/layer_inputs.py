"""Works out what a layer multiplies with its weights, on the samples that calibration saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from chop.errors import ChopError, FormatError, first_line
from chop.nn.node_config import inputs_axis
from chop.nn.ops import Arg, Op
from chop.nn.own_tensors import as_read, with_tensors
from chop.tools.logger import get_logger
from chop.tools.threads import one_thread
from chop.weight_transforms import LayerInputs, Summands, WeightMatrices

if TYPE_CHECKING:
    from chop.ir.graph.mase_graph import MaseGraph

logger = get_logger(__name__)

MOST_VALUES = 2**22
"""Values that are multiplied at a time: parts of the samples."""


def layer_inputs(graph: MaseGraph, name: str) -> LayerInputs:
    """The activations that calibration saw at a node, and what it multiplies with its weights."""
    op, seen = graph.quantizable_nodes()[name], graph.calibration.tensors
    return LayerInputs(
        {operand: seen[name, operand] for operand in op.args if (name, operand) in seen},
        lambda: _known_summands(graph, name, op),
    )


def _known_summands(graph: MaseGraph, name: str, op: Op) -> Summands:
    known = graph.calibration.summands
    if name not in known:
        try:
            with one_thread():  # sums of floats depend on the number of threads
                known[name] = _summands(graph, name, op)
        except ChopError:
            raise
        except Exception as error:  # of the layer's own code
            raise FormatError(
                f"the inputs that the weights multiply cannot be told ({first_line(error)}); choose the rounding "
                "'nearest' for this node, or pad the calibration batches to one shape"
            ) from error
        _warn_of_few(name, known[name])
    return known[name]


def _warn_of_few(name: str, found: Summands) -> None:
    columns = found.gram.shape[-1]
    if found.count < columns:
        logger.warning(
            "node '%s': second-order rounding of %d inputs is measured on %d results only, fewer than inputs; raise "
            "calibration_rows",
            name,
            columns,
            found.count,
        )


@torch.no_grad()
def _summands(graph: MaseGraph, name: str, op: Op) -> Summands:
    weights, x = _weights(graph, name, op), graph.calibration.tensors[name, "data_in"]
    axis = inputs_axis(op)
    if axis is None or not op.multiplies:
        raise FormatError(f"{op.name} sums over no inputs")
    matrices = WeightMatrices(axis, _groups(op, weights, x))
    units = matrices.units(weights)
    columns = matrices.split(weights).shape[-1]
    gram, count = torch.zeros(1, columns, columns, dtype=torch.float64), 0
    kernel = prod(weights.shape[2:]) if op.is_image else 1
    for part in _parts(x.masked_fill(x == -torch.inf, 0.0), kernel):
        rows = _by_group(_called(graph, name, op, part, units), op, weights, matrices)
        gram = gram + rows @ rows.mT
        count += rows.shape[-1]
    return Summands(gram, count, matrices)


def _weights(graph: MaseGraph, name: str, op: Op) -> Tensor:
    tensors = graph.calibration.tensors
    is_own = (name, "weight") in graph.calibration.stamps or "weight" in op.owned
    if not is_own or (name, "weight") not in tensors or (name, "data_in") not in tensors:
        raise FormatError("its weights follow from the data, so that they cannot be rounded together; choose nearest")
    return tensors[name, "weight"]


def _groups(op: Op, weights: Tensor, x: Tensor) -> int:
    if not op.is_image:
        return 1
    return op.groups if op.name.startswith("conv_transpose") else x.shape[1] // weights.shape[1]


def _parts(x: Tensor, kernel: int) -> Iterator[Tensor]:
    """The samples, so many at a time that what is multiplied fits; each is multiplied at `kernel` places."""
    own = max(x[0].numel() * kernel, 1)
    yield from torch.split(x, max(MOST_VALUES // own, 1))


def _by_group(results: Tensor, op: Op, weights: Tensor, matrices: WeightMatrices) -> Tensor:
    """The results of a layer with unit weights as `(groups, columns, results)`, float64."""
    found = results.double()
    if op.is_image:
        return found.movedim(1, 0).reshape(matrices.groups, len(found[0]) // matrices.groups, -1)
    batch = weights.shape[:-2] if matrices.inputs_axis == -2 else ()
    if batch and found.shape[-2 - len(batch) : -2] != batch:
        raise FormatError(f"its weights {tuple(weights.shape)} are broadcast to the inputs; choose nearest")
    inner = found.flatten(0, -3 - len(batch)) if found.ndim > 2 + len(batch) else found.reshape(1, *found.shape)
    if not batch:
        return found.reshape(1, -1, found.shape[-1]).mT
    return inner.movedim(0, -3).flatten(-3, -2).flatten(0, -3).mT


def _called(graph: MaseGraph, name: str, op: Op, x: Tensor, weights: Tensor) -> Tensor:
    """The result of a node for the activations `x` with other weights, and without its bias."""
    inner = graph.inner(graph.node(name))
    if isinstance(inner, nn.Module):
        own: Mapping[str, Any] = {"weight": weights, **({"bias": None} if "bias" in op.params else {})}
        twin = with_tensors(as_read(inner), own)
        result: Tensor = type(twin).forward(twin, x)
        return result
    node = graph.node(name)
    args, kwargs = list(node.args), dict(node.kwargs)
    slots = {**{operand: places[0] for operand, places in op.args.items()}, **op.params}
    bias = torch.zeros((), dtype=x.dtype) if op.name == "addmm" else None
    for operand, value in (("data_in", x), ("weight", weights), ("bias", bias)):
        if operand in slots:
            _put(slots[operand], value, args, kwargs)
    result = inner(*args, **kwargs)
    return result


def _put(place: Arg, value: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Replace an argument of a call, if the call has it."""
    if place.index < len(args):
        args[place.index] = value
    for keyword in place.keywords:
        if keyword in kwargs:
            kwargs[keyword] = value

"""The pass that counts the operations and the memory of every node for one sample."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from chop.errors import PassError
from chop.formats import FLOAT_BITS, Format
from chop.formats.learned import element_widths
from chop.ir import MaseGraph
from chop.ir.graph.node_costs import NodeCost, TensorCost, node_costs, remarks_on
from chop.passes.graph.analysis.metadata import Info, PassArgs, check_args
from chop.passes.graph.registry import register_pass
from chop.tools.logger import get_logger
from chop.tools.terminal import table_of, terminal
from chop.weight_transforms import format_of, kept_share, transforms_of

logger = get_logger(__name__)

COLUMNS = ("macs", "flops", "bitops", "parameter_bytes", "activation_bytes")
DENSE_COLUMNS = ("dense_flops", "dense_bitops", "dense_parameter_bytes")
"""The same where weights that are pruned count like all others."""


@register_pass("count_costs", inputs={"dummy_in": "batch"})
def count_costs_analysis_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Count, for one sample, MACs, FLOPs (two each), BitOPs, and bytes of parameters and activations.

    FLOPs and BitOPs leave out the products with pruned weights, and parameter bytes are those of the weights that are
    kept, with their index; `macs` and the columns `dense_…` count all weights.

    `dummy_in` is {argument: a batch of any size}, its samples along `batch_dim` (0); formats are those that the graph
    has now, float has 32 bits. Activations are what a node reads. `show = false` prints nothing. The info is {node:
    {cost: number}} with the sums under "total". A line of the log names what is not counted.
    """
    args = check_args("count_costs", pass_args, ("dummy_in", "batch_dim", "show"))
    dummy_in, batch_dim = args.get("dummy_in"), args.get("batch_dim", 0)
    if not isinstance(dummy_in, Mapping) or not dummy_in:
        raise PassError('count_costs needs {"dummy_in": {"x": a batch of any size}}')
    if type(batch_dim) is not int or batch_dim < 0:
        raise PassError(f"count_costs: batch_dim must be a whole number from 0, got {batch_dim!r}")
    costs = node_costs(graph, dict(dummy_in), batch_dim)
    for remark in remarks_on(costs):
        logger.warning("count_costs: %s", remark)
    info: Info = {name: _node(cost, graph.plan[name]) for name, cost in costs.items()}
    info["total"] = {column: sum(row[column] for row in info.values()) for column in (*COLUMNS, *DENSE_COLUMNS)}
    if args.get("show", True):
        _show({name: costs[name].op.name if name in costs else "" for name in info}, info)
    return graph, info


def bits_of(tensor: TensorCost, formats: Mapping[str, Format], dense: bool = False) -> int:
    """Bits of a tensor of one operand in its format: of pruned weights those that are kept, and their index.

    With `dense` those of all values.
    """
    chosen = formats.get(tensor.operand)
    chosen = format_of(chosen) if dense else chosen
    return chosen.bits(tensor.shape) if chosen else FLOAT_BITS * tensor.elements


def stored_bits(tensor: TensorCost, formats: Mapping[str, Format], dense: bool = False) -> float:
    """A reader's share of the bits of a tensor: all of them, unless several nodes read the same parameter."""
    return bits_of(tensor, formats, dense) / tensor.readers


def macs(cost: NodeCost, formats: Mapping[str, Format], dense: bool = False) -> float:
    """MACs of one sample with the weights that are kept, or (`dense`) with all of them.

    Each weight of a layer has the same part in them.
    """
    weights = cost.of("weight")
    if dense or len(weights) != 1 or not transforms_of(formats.get("weight")):
        return cost.macs
    return cost.macs * kept_share(formats["weight"], weights[0].shape)


def bitops(cost: NodeCost, formats: Mapping[str, Format], dense: bool = False) -> float:
    """BitOPs: MACs x bits of one factor x bits of the other (the definition of Baskin et al., 1804.10969).

    The factors are the codes that a multiplier gets, without what values share: a scale, a zero point, an exponent.
    """
    if not cost.macs:
        return 0.0
    learned = learned_products(cost, formats)
    if learned is not None:
        return learned
    first, second = (_bits_per_value(cost, operand, formats) for operand in factors(cost))
    return macs(cost, formats, dense) * first * second


def factors(cost: NodeCost) -> tuple[str, str]:
    """The operands whose values a node that multiplies and accumulates multiplies with each other."""
    return "data_in", next((operand for operand in ("weight", "other", "key") if cost.of(operand)), "data_in")


def learned_products(cost: NodeCost, formats: Mapping[str, Format]) -> float | None:
    """BitOPs where weights and inputs have widths of their own: each weight meets those of its channel.

    Of a channel whose pixels have widths of their own it is their mean.

    None where not both are learned, or for an op whose weights are not `(outputs, inputs of a group, …)`.
    """
    weights, inputs = element_widths(formats.get("weight")), element_widths(formats.get("data_in"))
    if weights is None or inputs is None or cost.op.name not in ("linear", "conv1d", "conv2d", "conv3d"):
        return None
    shape = cost.of("weight")[0].shape
    features = cost.of("data_in")[0].shape[1 - len(shape) :]
    by_input = inputs.double().expand(features).reshape(features[0], -1).mean(1)
    groups = features[0] // shape[1]
    by_weight = weights.double().expand(shape).reshape(groups, shape[0] // groups, shape[1], -1).sum((1, 3)).flatten()
    return float(by_weight @ by_input) * cost.macs / prod(shape)


def _bits_per_value(cost: NodeCost, operand: str, formats: Mapping[str, Format]) -> float:
    """Bits of a value that is multiplied; where weights are kept apart from others plays no part."""
    tensors, chosen = cost.of(operand), format_of(formats.get(operand))
    elements = sum(tensor.elements for tensor in tensors)
    if chosen is None or not elements:
        return FLOAT_BITS
    return sum(chosen.bits(tensor.shape) - chosen.shared_bits(tensor.shape) for tensor in tensors) / elements


def _node(cost: NodeCost, formats: Mapping[str, Format]) -> dict[str, float]:
    parameters = [tensor for tensor in cost.tensors if tensor.is_parameter]
    activations = [tensor for tensor in cost.tensors if not tensor.is_parameter and tensor.operand != "data_out"]
    return {
        "macs": cost.macs,
        "flops": 2 * macs(cost, formats),
        "bitops": bitops(cost, formats),
        "parameter_bytes": sum(stored_bits(tensor, formats) for tensor in parameters) / 8,
        "activation_bytes": sum(bits_of(tensor, formats) for tensor in activations) / 8,
        "dense_flops": 2 * cost.macs,
        "dense_bitops": bitops(cost, formats, dense=True),
        "dense_parameter_bytes": sum(stored_bits(tensor, formats, dense=True) for tensor in parameters) / 8,
    }


def _show(ops: Mapping[str, str], info: Info) -> None:
    is_pruned = any(info["total"][dense] != info["total"][dense.removeprefix("dense_")] for dense in DENSE_COLUMNS)
    columns = (*COLUMNS, *DENSE_COLUMNS) if is_pruned else COLUMNS
    rows = [(name, ops[name], *(f"{row[column]:,.0f}" for column in columns)) for name, row in info.items()]
    terminal().print(table_of(("node", "op", *columns), rows, header_style="bold"))

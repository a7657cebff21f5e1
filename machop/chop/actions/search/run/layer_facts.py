"""Measures what a report shows of each layer: its parameters, its MACs, and what quantising it alone costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite, prod

from chop.actions.search.measuring.instruments import BATCH_MACS, Instruments
from chop.actions.search.measuring.plans import ChosenPlans
from chop.actions.search.measuring.single import FLOAT_CONFIG, metrics_of
from chop.actions.search.measuring.subject import Subject
from chop.actions.search.run.measured_frac_widths import measured_frac_widths
from chop.actions.search.search_space.base import SearchSpaceBase
from chop.actions.search.strategies.product.choice_levels import axis_bits
from chop.actions.search.strategies.runners.base import OutputRunner, row_key
from chop.errors import ChopError
from chop.evaluation.program import Axis
from chop.ir import QuantPlan
from chop.ir.graph.node_costs import NodeCost
from chop.record.summary import LayerFacts
from chop.record.trial import Position
from chop.tools.logger import get_logger

logger = get_logger(__name__)

MOST_CHOICES = 5_000
"""Choices of all layers together whose measured positions of the point are in a report."""

MOST_MACS = 20 * BATCH_MACS
"""Multiply-accumulates of all runs with one layer quantised: some seconds of one core."""


def layer_facts(instruments: Instruments) -> tuple[LayerFacts, ...]:
    """The facts of every layer with a choice of formats, in the order of execution.

    The metrics of a layer are those of the network in which it alone is quantised, by its choice with the fewest bits.
    They are left out where measuring them would take long. A space that is no product has no facts.
    """
    axes = instruments.subject.axes or []
    try:
        costs = instruments.subject.costs
        alone = _alone(instruments, axes)
    except ChopError as error:
        logger.info("the report says nothing of single layers: %s", error)
        return ()
    chosen = {node for axis in axes for alternative in axis for node, formats in alternative.items() if formats}
    positions = positions_of_points(instruments.subject.space, axes)
    return tuple(
        _facts(cost, alone.get(name, {}), positions.get(name, {})) for name, cost in costs.items() if name in chosen
    )


def positions_of_points(space: SearchSpaceBase, axes: Sequence[Axis]) -> dict[str, dict[str, dict[str, Position]]]:
    """The bits after the point of each operand that says "auto", by its width: `{node: {operand: {width: bits}}}`.

    A width whose position depends on other keys too is left out. Empty for a space of very many choices.
    """
    found: dict[str, dict[str, dict[str, Position]]] = {}
    unclear: set[tuple[str, str, str]] = set()
    sizes = [len(axis) for axis in axes]
    for number, axis in enumerate(axes if sum(sizes) <= MOST_CHOICES else ()):
        for place, alternative in enumerate(axis):
            config = space.flattened_indexes_to_config(space.point(place * prod(sizes[number + 1 :])))
            for node, measured in measured_frac_widths(config, QuantPlan.of(alternative)).items():
                for operand, bits in measured.items():
                    width = str(config[node]["config"][f"{operand}_width"])
                    known = found.setdefault(node, {}).setdefault(operand, {})
                    if known.setdefault(width, bits) != bits:
                        unclear.add((node, operand, width))
    for node, operand, width in unclear:
        del found[node][operand][width]
    return found


def _facts(cost: NodeCost, alone: Mapping[str, float], positions: Mapping[str, Mapping[str, Position]]) -> LayerFacts:
    parameters: Counter[str] = Counter()
    for tensor in cost.tensors:
        if tensor.is_parameter:
            parameters[tensor.operand] += tensor.elements
    known = {name: value for name, value in alone.items() if isfinite(value)}
    return LayerFacts(cost.name, cost.op.name, dict(parameters), cost.macs, known, positions)


def _alone(instruments: Instruments, axes: Sequence[Axis]) -> dict[str, Mapping[str, float]]:
    """The metrics with the nodes of one axis quantised, by node."""
    subject, runners = instruments.subject, instruments.runners.of_outputs
    if _work(subject, runners) * len(axes) > MOST_MACS:
        return {}
    found: dict[str, Mapping[str, float]] = {}
    for axis in axes:
        fewest = axis[int(axis_bits(axis).argmin())]
        metrics = metrics_of(runners, ChosenPlans(subject, [(QuantPlan.of(fewest), FLOAT_CONFIG)]))
        found.update(dict.fromkeys(fewest, metrics))
    return found


def _work(subject: Subject, runners: Sequence[OutputRunner]) -> int:
    """Multiply-accumulates of one evaluation."""
    keys = {row_key(runner) for runner in runners}
    samples = sum(len(y) for key in keys for _, y in subject.data_module.batches(*key))
    return samples * max(1, subject.work.macs)

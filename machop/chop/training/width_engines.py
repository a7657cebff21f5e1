"""Chooses the engine that trains the widths of a graph: for chains of linear layers, or for any graph."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from chop.dataset.rows import cut
from chop.errors import GraphError
from chop.ir import MaseGraph, QuantPlan
from chop.ir.calibration import Slot
from chop.models.checkpoint import load_weights
from chop.tools.logger import get_logger
from chop.training.chain_network import ChainNetwork, chain_of
from chop.training.width_engine import WidthEngine
from chop.training.width_network import LEARNED_LAYERS, TracedNetwork, WidthOptions, learnable
from chop.training.width_samples import Samples

logger = get_logger(__name__)

OPERANDS = ("data_in", "weight", "bias")
"""Operands of a layer whose widths can be learned."""


class EngineOptions(WidthOptions, Protocol):
    """What the choice of an engine reads of the options of a training."""

    @property
    def teacher_share(self) -> float:
        """The share of the teacher's outputs in the loss, from 0 to 1."""

    @property
    def teachers(self) -> Sequence[str | Path] | None:
        """Checkpoints whose mean is the teacher; none: the float network itself."""

    @property
    def descent_tries(self) -> int:
        """Changes that a descent tries on each snapshot; 0: snapshots are not settled."""


def engine_of(graph: MaseGraph, train: Samples, options: EngineOptions, slots: Collection[Slot] | None) -> WidthEngine:
    """The quickest engine that can train these operands of a graph; `slots` None: those of all layers.

    Raises GraphError for a graph without a layer whose widths can be trained, and for options that need a chain of
    linear layers on a graph that is none; CheckpointError for a teacher that is no checkpoint of this network.
    """
    pristine = copy.deepcopy(graph)
    pristine.apply_plan(QuantPlan())
    pristine.model.eval().requires_grad_(False)
    found = _learned_operands(pristine, train, slots)
    if slots is None:
        _warn_of_float(pristine, found)
    taught = train.taught(teachers_of(pristine, options.teachers), options.teacher_share)
    if options.error_share and taught.shares is None:
        raise GraphError("error_share needs the cross entropy of one class for each sample; set it to 0 for this task")
    chain = chain_of(pristine)
    if chain is not None and taught.shares is not None and _suits_chain(pristine, chain, found, train, options):
        return ChainNetwork(pristine, taught, options, chain)
    _require_any_graph(options)
    return TracedNetwork(pristine, taught if options.teacher_share or options.error_share else train, options, found)


def _learned_operands(graph: MaseGraph, train: Samples, slots: Collection[Slot] | None) -> dict[str, frozenset[str]]:
    """The operands of each layer whose widths are trained; raises GraphError where there is none."""
    ops = graph.quantizable_nodes()
    found = {
        name: frozenset(
            operand
            for operand in OPERANDS
            if operand in ops[name].operands and (slots is None or (name, operand) in slots)
        )
        for name in learnable(graph, cut(train.x, 0, 2))
    }
    if not any(found.values()):
        raise GraphError("no layer's widths can be trained: there is no linear or convolutional layer called once")
    return found


def _suits_chain(
    graph: MaseGraph,
    chain: Sequence[str],
    learned: Mapping[str, frozenset[str]],
    train: Samples,
    options: EngineOptions,
) -> bool:
    """Whether the engine of chains trains these linear layers, all operands of which must be learned, by element."""
    operands = {name: frozenset(OPERANDS) & frozenset(graph.quantizable_nodes()[name].operands) for name in chain}
    can_shift = all("bias" in operands[name] for name in chain[:-1])
    return (
        all(learned.get(name) == own for name, own in operands.items())
        and options.weight_granularity == options.activation_granularity == "element"
        and isinstance(train.x, Tensor)
        and train.x.ndim == 2
        and (can_shift or options.activation_rounding == "half_even")
    )


def _require_any_graph(options: EngineOptions) -> None:
    """Raise GraphError for options that only the engine of chains has."""
    if options.activation_rounding != "half_even":
        raise GraphError(
            'activation_rounding = "half_up" needs a chain of linear layers with biases and ReLUs on vectors, widths '
            'by element and the cross entropy of classes; take "half_even" for this network'
        )
    if options.descent_tries:
        raise GraphError(
            "descent_tries needs a chain of linear layers and ReLUs on vectors, widths by element and the cross "
            "entropy of classes; set it to 0 for this network"
        )


def teachers_of(graph: MaseGraph, checkpoints: Sequence[str | Path] | None) -> list[MaseGraph]:
    """Copies of a float graph with the weights of each checkpoint; the graph itself where there are none.

    Raises CheckpointError for one that is not of this network.
    """
    found = []
    for path in checkpoints or ():
        found.append(copy.deepcopy(graph))
        load_weights(found[-1].model, path)
    return found or [graph]


def _warn_of_float(graph: MaseGraph, learns: Collection[str]) -> None:
    """Name the layers whose widths cannot be learned."""
    left = [name for name, op in graph.quantizable_nodes().items() if op.multiplies and name not in learns]
    if left:
        logger.warning(
            "%s stay in float, and cost nothing here: widths are learned for %s", ", ".join(left), LEARNED_LAYERS
        )

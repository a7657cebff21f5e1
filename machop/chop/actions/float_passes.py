"""Passes that change a float network and keep what it computes, applied to a graph before its formats are searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chop.dataset.data import Data, first_batch
from chop.errors import ChopError, SearchError, did_you_mean
from chop.ir import MaseGraph
from chop.ir.graph.inputs import placeholder_keywords
from chop.passes.graph.registry import PASSES, Source, needs_of
from chop.tools.logger import get_logger

logger = get_logger(__name__)

TRAINING_SAMPLES = 512
"""Training samples that such a pass may read."""


def pass_names_problem(names: Sequence[str]) -> str | None:
    """The problem of a list of passes to run before a search; None if there is none."""
    known = [name for name in PASSES.working() if needs_of(name).keeps_float]
    for name in names:
        try:
            is_known = needs_of(name).keeps_float
        except ChopError:
            is_known = False
        if not is_known:
            return f"'{name}' is no pass that keeps the float network ({', '.join(known)}){did_you_mean(name, known)}"
    return f"names a pass twice: {', '.join(names)}" if len(set(map(PASSES.canonical, names))) < len(names) else None


def apply_float_passes(graph: MaseGraph, names: Sequence[str], data: Data) -> MaseGraph:
    """Run the passes `names` on a graph in float, in their order, and return it.

    Raises SearchError where a name is none of such a pass.
    """
    if problem := pass_names_problem(names):
        raise SearchError(f"passes: {problem}")
    for name in names:
        inputs: Mapping[str, Source] = needs_of(name).inputs
        arguments = {argument: _input(source, graph, data) for argument, source in inputs.items()}
        graph, _ = PASSES[name](graph, {**arguments, "show": False})
        logger.info("%s has changed the float network, and kept what it computes", name)
    return graph


def _input(source: Source, graph: MaseGraph, data: Data) -> Any:
    if source == "output":
        return data.output
    if source == "batches":
        return [placeholder_keywords(graph, x) for x, _ in data.batches("train", TRAINING_SAMPLES)]
    return placeholder_keywords(graph, first_batch(data, "train", 2 if source == "two_samples" else None)[0])

"""Finds the exporters that take some networks, by formats and operations alone: nothing is measured or written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chop.exporters.base import EXPORTERS, Exporter
from chop.exporters.choices import Branch, Choices, RefusedChoices
from chop.ir import MaseGraph, QuantPlan
from chop.tools.logger import get_logger

logger = get_logger(__name__)


def exporters_that_take(graph: MaseGraph, example: Any, plans: Iterable[QuantPlan]) -> tuple[str, ...]:
    """The names of the exporters that refuse none of the networks of these plans, in the order of `ch info exporter`.

    `graph` is in float; `example` is a batch as the model takes it.
    """
    by_node = [dict(plan.choices) for plan in plans]
    distinct = {name: dict.fromkeys(own.get(name, ()) for own in by_node) for name in graph.quantizable_nodes()}
    choices = {
        name: [Branch({operand: [chosen] for operand, chosen in formats}) for formats in own]
        for name, own in distinct.items()
    }
    return tuple(name for name, cls in EXPORTERS.working().items() if _takes(cls, graph, example, choices))


def _takes(cls: type[Exporter], graph: MaseGraph, example: Any, choices: Choices) -> bool:
    try:
        found = cls.refused(graph, example, choices)
    except Exception as error:  # of a plug-in's own code
        logger.info("the exporter %s cannot be asked about these networks (%s)", cls.__name__, error)
        return False
    refused = (branch for own in found.choices.values() for branch in own)
    return not found.nodes and all(branch == RefusedChoices() for branch in refused)

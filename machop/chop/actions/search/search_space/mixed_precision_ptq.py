"""The space of the lab: a number format for every operand of every quantisable node, weights as they are."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from math import prod
from typing import Any

from torch import nn

from chop.actions.search.search_space.base import SEARCH_SPACES, Point, SampledConfig, SearchSpaceBase
from chop.actions.search.search_space.node_choices import NodeChoices
from chop.config.typed import Problem
from chop.errors import SearchError
from chop.ir import MaseGraph, QuantPlan
from chop.nn.node_config import split_key
from chop.nn.ops import OPS, Op
from chop.passes.graph.transforms.quantize import quantize_transform_pass
from chop.passes.graph.transforms.quantize.node_selection import BY, DEFAULT, select_entries, selection_problems

FLOAT_CONFIG = {"name": ["NA"]}


@SEARCH_SPACES.register("graph/quantize/mixed_precision_ptq")
class MixedPrecisionPTQ(SearchSpaceBase):
    """The product, over the quantisable nodes of `model`, of each node's own copy of its seed's lists.

    `seed` is `{"<node | op | pattern>" | "default": {"config": {key: [choices]}}}`, `by` says what its keys are.
    Call `problems` first: a space with problems has no points.
    """

    def __init__(self, model: nn.Module | MaseGraph, seed: Mapping[str, Any], by: str = "name") -> None:
        self.graph = model if isinstance(model, MaseGraph) else MaseGraph(model)
        self.seed = seed
        self.by = by
        self.nodes: list[NodeChoices] = []
        self._problems = self._layout_problems()
        if not self._problems:
            self.nodes = self._build_nodes()
            self._problems = self._node_problems()
        self.choices_flattened = {
            f"{node.node}/config/{key}": choices for node in self.nodes for key, choices in node.choices.items()
        }

    @classmethod
    def build(cls, graph: MaseGraph, seed: Mapping[str, Any], by: str) -> MixedPrecisionPTQ:
        return cls(graph, seed, by)

    def problems(self) -> list[Problem]:
        return self._problems

    @property
    def size(self) -> int:
        return prod(node.size for node in self.nodes)

    def point(self, index: int) -> Point:
        if not 0 <= index < self.size:
            raise SearchError(f"the space has points 0 to {self.size - 1}, not {index}")
        point: dict[str, int] = {}
        for node in reversed(self.nodes):
            index, alternative = divmod(index, node.size)
            point = _flatten(node, node.alternative(alternative)) | point
        return self._decided(point)

    def canonical(self, point: Point) -> Point:
        flat: dict[str, int] = {}
        for node in self.nodes:
            flat |= _flatten(node, node.canonical(self._indexes(node, point)))
        return self._decided(flat)

    def plan(self, point: Point) -> QuantPlan:
        return QuantPlan.of({node.node: node.formats(self._indexes(node, point)) for node in self.nodes})

    def flattened_indexes_to_config(self, indexes: Point) -> SampledConfig:
        nodes = {node.node: {"config": node.config(self._indexes(node, indexes))} for node in self.nodes}
        return {"by": "name", "default": {"config": {"name": "NA"}}, **nodes}

    def rebuild_model(self, sampled_config: SampledConfig, is_eval_mode: bool = True) -> MaseGraph:
        graph, _ = quantize_transform_pass(copy.deepcopy(self.graph), sampled_config)
        graph.model.train(not is_eval_mode)
        return graph

    def _indexes(self, node: NodeChoices, point: Point) -> dict[str, int]:
        return {key: point.get(f"{node.node}/config/{key}", 0) for key in node.choices}

    def _decided(self, flat: dict[str, int]) -> Point:
        return {key: index for key, index in flat.items() if len(self.choices_flattened[key]) > 1}

    def _layout_problems(self) -> list[Problem]:
        if self.by not in BY:
            return [Problem(("setup", "by"), f"expected one of {', '.join(BY)}, got {self.by!r}")]
        if not self.seed:
            return [Problem(("seed",), "is empty: no layer has anything to choose from")]
        return [
            Problem(("seed", key), "must hold a table 'config' of lists")
            for key, entry in self.seed.items()
            if not isinstance(entry, Mapping) or set(entry) != {"config"} or not isinstance(entry["config"], Mapping)
        ]

    def _build_nodes(self) -> list[NodeChoices]:
        ops = self.graph.quantizable_nodes()
        chosen = select_entries(self.seed, self.by, ops)
        return [NodeChoices(name, op, self._choices(chosen[name])) for name, op in ops.items()]

    def _choices(self, key: str | None) -> dict[str, list[Any]]:
        config = self.seed[key]["config"] if key else FLOAT_CONFIG
        return {name: value if isinstance(value, list) else [value] for name, value in config.items()}

    def _node_problems(self) -> list[Problem]:
        ops = self.graph.quantizable_nodes()
        unknown = selection_problems(self.seed, self.by, ops)
        found: dict[tuple[str, ...], str] = {("seed", key): message for key, message in unknown.items()}
        chosen = select_entries(self.seed, self.by, ops)
        for node in self.nodes:
            key = chosen[node.node] or "default"
            messages = node.problems() | self._operand_problems(node, key)
            found |= {("seed", key, "config", name): f"{text} (node '{node.node}')" for name, text in messages.items()}
        for key in self.seed:
            if key not in chosen.values() and ("seed", key) not in found:
                messages = NodeChoices(key, _op_meant(key, ops), self._choices(key)).problems()
                found |= {("seed", key, "config", name): text for name, text in messages.items()}
        problems = [Problem(path, message) for path, message in found.items()]
        if not problems and self.size == 1 and not set(chosen.values()) - {None, DEFAULT}:
            problems.append(Problem(("seed",), f'no seed matches any node of this model with by = "{self.by}"'))
        return problems

    def _operand_problems(self, node: NodeChoices, key: str) -> dict[str, str]:
        """A key for an operand that the node named explicitly does not have."""
        if self.by != "name" or key != node.node:
            return {}
        named = {name: split_key(name) for name in self.seed[key]["config"]}
        possible = node.op.possible_operands
        foreign = {name: where[0] for name, where in named.items() if where and where[0] not in possible}
        return {name: f"{node.op.name} has no operand '{operand}'" for name, operand in foreign.items()}


def _op_meant(key: str, nodes: Mapping[str, Op]) -> Op:
    """The op that a seed is for which serves no node: the one that it names, else the one with most operands."""
    return nodes.get(key) or next((op for op in OPS if op.name == key and op.quantizable), OPS[0])


def _flatten(node: NodeChoices, indexes: Mapping[str, int]) -> dict[str, int]:
    return {f"{node.node}/config/{key}": index for key, index in indexes.items()}

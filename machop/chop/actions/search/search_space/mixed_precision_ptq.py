"""The search space of post-training quantisation: a format for every operand of every quantisable node."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import prod
from typing import Any

from torch import nn

from chop.actions.search.search_space.base import (
    SEARCH_SPACES,
    Point,
    SampledConfig,
    SearchSpaceBase,
    SpaceSetup,
)
from chop.actions.search.search_space.choice_problems import ChoiceProblems, unlearned
from chop.actions.search.search_space.config_parts import config_parts
from chop.actions.search.search_space.exportable import exportable_choices, no_choice_problems, remarks_on
from chop.actions.search.search_space.node_choices import NodeChoices
from chop.actions.search.search_space.patterns import matching, pattern_problem
from chop.actions.search.search_space.table_problems import layout_problems, list_problems, lists_of
from chop.actions.search.search_space.unread_keys import keys_without_effect, unread_lists
from chop.config.later_keys import later_options
from chop.config.typed import Problem
from chop.errors import SearchError
from chop.evaluation.program import Axis
from chop.formats import FORMATS, Format
from chop.ir import MaseGraph, QuantPlan
from chop.nn.node_config import (
    BATCH_NORM,
    FLOAT_NAMES,
    is_transform_key,
    known_keys,
)
from chop.nn.ops import Op
from chop.passes.graph.node_selection import DEFAULT, no_match, select_entries, selection_problems
from chop.passes.graph.registry import PASSES
from chop.passes.graph.transforms.quantize import quantize_transform_pass

MOST_ALTERNATIVES = 100_000
"""Alternatives of one node up to which all of them are written down."""

NORM_PASSES = ("fold_batch_norm", "absorb_batch_norm")
"""The passes after which a norm is no norm."""

LEAST_ROWS = 2
ONE_ROW = "the statistics of batch norms are measured on these samples, and one has no variance: give 256 or more"
NO_BATCH_NORM = "the model has no batch norm with statistics of its own to measure; leave the key out"
NORMS_ARE_FOLDED = (
    "no batch norm is left to measure behind setup.passes = {}: folded norms and measured ones exclude each other; "
    "leave one of the two out"
)

FLOAT_CHOICES: dict[str, list[Any]] = {"name": ["NA"]}


@SEARCH_SPACES.register("graph/quantize/mixed_precision_ptq")
class MixedPrecisionPTQ(SearchSpaceBase):
    """Chooses formats and weight transforms after training: a product over the quantisable nodes.

    `seed` is `{"<node | op | pattern>" | "default": {"config": {key: [choices]}}}`, `by` says what its keys are. Nodes
    that `setup.exclude` names stay in float; keys under `override` go before the seed's; nodes of a group in
    `setup.tie` have one choice together. Call `problems` first: a space with problems has no points.
    """

    Setup = SpaceSetup
    told_by_choices = ("by", "exclude", "export_to")

    def __init__(
        self,
        model: nn.Module | MaseGraph,
        seed: Mapping[str, Any],
        by: str = "name",
        setup: SpaceSetup | None = None,
        override: Mapping[str, Any] | None = None,
    ) -> None:
        self.graph = model if isinstance(model, MaseGraph) else MaseGraph(model)
        self.seed = seed
        self.by = by
        self.setup: SpaceSetup = setup or SpaceSetup()
        self.override = override or {}
        self._all: dict[str, NodeChoices] = {}
        self._leaders: dict[str, str] = {}
        self._problems = self._layout_problems()
        if not self._problems:
            self._all = self._build_nodes()
            self._leaders = self._tied_nodes()
            self._problems = self._node_problems()

    @cached_property
    def choices_flattened(self) -> dict[str, list[Any]]:  # type: ignore[override]
        """The choices of every key of every node that has its own, by the path of the key."""
        return {f"{node.node}/config/{key}": choices for node in self.nodes for key, choices in node.choices.items()}

    @classmethod
    def build(
        cls, graph: MaseGraph, seed: Mapping[str, Any], setup: SpaceSetup, override: Mapping[str, Any]
    ) -> MixedPrecisionPTQ:
        return cls(graph, seed, setup.by, setup, override)

    @classmethod
    def table_problems(cls, seed: Mapping[str, Any], setup: SpaceSetup, override: Mapping[str, Any]) -> list[Problem]:
        return layout_problems(seed, setup, override) or list_problems(seed, override)

    @classmethod
    def identity_of(cls, setup: SpaceSetup) -> list[Any]:
        # the choices tell the rest; a later key is not empty where it counts
        return [setup.tie, setup.tie_operands, *filter(None, (setup.passes, later_options(setup)))]

    def keep_exportable(self, target: str, example: Any) -> None:
        found = exportable_choices(target, self.graph, example, self._all, self._leaders)
        self._problems = no_choice_problems(target, found, self._all, self._place_of)
        before, self._all = self.size, dict(found.nodes)
        for name in ("choices_flattened", "size", "_first", "_open_nodes", "calibration_rows"):
            vars(self).pop(name, None)  # of the choices before
        self.exporter, self.remarks = found.exporter, remarks_on(target, found, (before, self.size))

    @property
    def left_out(self) -> list[Any]:  # type: ignore[override]
        """By node, the combinations that its lists would make and that it has not."""
        return [[node.node, sorted(node.left_out.keys)] for node in self.nodes if node.left_out]

    @property
    def nodes(self) -> list[NodeChoices]:
        """The nodes with their own choice: of tied nodes the first."""
        return [node for name, node in self._all.items() if name not in self._leaders]

    @property
    def followers(self) -> dict[str, str]:
        """The keys of tied operands and of tied nodes, each with the key that it follows."""
        found = {}
        for name, node in self._all.items():
            leader = self._leaders.get(name, name)
            own = {} if leader == name else {key: key for key in node.choices}
            for key, leading in (own | self._all[leader].tied_keys).items():
                found[f"{name}/config/{key}"] = f"{leader}/config/{leading}"
        return {key: leading for key, leading in found.items() if leading in self.parameters}

    @property
    def config_parts(self) -> dict[str, Any]:
        return config_parts(self._all, self._leaders)

    @property
    def passes(self) -> Sequence[str]:  # type: ignore[override]
        """The passes of the setup."""
        return self.setup.passes

    @cached_property
    def calibration_rows(self) -> int | None:  # type: ignore[override]
        """The number of training samples on which ranges are measured, if any choice needs them."""
        needs_rows = self.measures_norms or any(node.needs_activations for node in self._all.values())
        return self.setup.calibration_rows if needs_rows else None

    @property
    def format_names(self) -> list[str]:  # type: ignore[override]
        """The names of the formats in the lists of all nodes."""
        listed = dict.fromkeys(name for node in self._all.values() for name in node.choices.get("name", ()))
        return [FORMATS.canonical(name) for name in listed if isinstance(name, str) and name in FORMATS]

    @property
    def measures_norms(self) -> bool:  # type: ignore[override]
        """Whether `batch_norm` may be "measured" for some norm."""
        return any(node.measures_statistics for node in self._all.values())

    @property
    def norms_in_float(self) -> list[str]:  # type: ignore[override]
        """The batch norms for which `batch_norm` may be "float", which it is where nothing is said of it."""
        norms = {name: node for name, node in self._all.items() if node.op.has_statistics}
        return [name for name, node in norms.items() if "float" in node.choices.get(BATCH_NORM, ["float"])]

    def problems(self) -> list[Problem]:
        return self._problems

    @cached_property
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
        flat = dict(self._first)
        for node in self._open_nodes:
            flat |= _flatten(node, node.canonical(self._indexes(node, point)))
        return self._decided(flat)

    @cached_property
    def _first(self) -> Point:
        """The first point, with all keys."""
        return {key: index for node in self.nodes for key, index in _flatten(node, node.alternative(0)).items()}

    def axes(self) -> list[Axis] | None:
        if any(node.size > MOST_ALTERNATIVES for node in self.nodes):
            return None
        settled: dict[str, Mapping[str, Format]] = {}
        for node in self.nodes:
            if node.size == 1:
                settled |= self._alternative(node, 0)
        axes = [[self._alternative(node, index) for index in range(node.size)] for node in self._open_nodes] or [[{}]]
        axes[0] = [{**settled, **alternative} for alternative in axes[0]]  # the same in each: it decides nothing
        return axes  # type: ignore[return-value]

    @cached_property
    def _open_nodes(self) -> list[NodeChoices]:
        """The nodes with more than one choice."""
        return [node for node in self.nodes if node.size > 1]

    def index(self, point: Point) -> int:
        number = 0
        for node in self._open_nodes:
            number = number * node.size + node.number(self._indexes(node, point))
        return number

    def _alternative(self, leader: NodeChoices, index: int) -> dict[str, Mapping[str, Format]]:
        """The plan of a choice for a node and for those that are tied to it."""
        indexes = leader.alternative(index)
        tied = [node for node in self._all.values() if self._leaders.get(node.node, node.node) == leader.node]
        plan = self.graph.freeze(QuantPlan.of({node.node: node.formats(indexes) for node in tied}))
        return {node.node: plan[node.node] for node in tied}

    def possible_formats(self) -> dict[tuple[str, str], list[Format]]:
        return {
            (name, operand): formats
            for name, node in self._all.items()
            for operand, formats in node.possible_formats.items()
        }

    def plan(self, point: Point) -> QuantPlan:
        return QuantPlan.of({name: node.formats(self._indexes(node, point)) for name, node in self._all.items()})

    def flattened_indexes_to_config(self, indexes: Point) -> SampledConfig:
        nodes = {name: {"config": node.config(self._indexes(node, indexes))} for name, node in self._all.items()}
        return {"by": "name", "default": {"config": {"name": "NA"}}, **nodes}

    def rebuild_model(self, sampled_config: SampledConfig, is_eval_mode: bool = True) -> MaseGraph:
        graph, _ = quantize_transform_pass(copy.deepcopy(self.graph), sampled_config)
        graph.model.train(not is_eval_mode)
        return graph

    def _indexes(self, node: NodeChoices, point: Point) -> dict[str, int]:
        name = self._leaders.get(node.node, node.node)
        return {key: point.get(f"{name}/config/{key}", 0) for key in node.choices}

    def _decided(self, flat: dict[str, int]) -> Point:
        return {key: index for key, index in flat.items() if len(self.choices_flattened[key]) > 1}

    def _layout_problems(self) -> list[Problem]:
        if not self.graph.quantizable_nodes():
            return [Problem(("seed",), "the model has no layer or operation that formats are known for")]
        setup = self.setup if self.setup.by == self.by else replace(self.setup, by=self.by)  # type: ignore[arg-type]
        return layout_problems(self.seed, setup, self.override) or self._pattern_problems()

    def _pattern_problems(self) -> list[Problem]:
        patterns = [(("setup", "exclude"), pattern) for pattern in self.setup.exclude]
        patterns += [(("setup", "tie"), pattern) for group in self.setup.tie for pattern in group]
        patterns += [(("override", pattern), pattern) for pattern in self.override]
        ops = self.graph.quantizable_nodes()
        names = list(ops)
        found = [(path, pattern, pattern_problem(pattern, names)) for path, pattern in patterns]
        problems = [Problem(path, message) for path, _, message in found if message]
        if self.setup.batch_norm != "float" and not any(op.has_statistics for op in ops.values()):
            problems.append(Problem(("setup", BATCH_NORM), self._without_norms()))
        return problems

    def _without_norms(self) -> str:
        """Why there is no batch norm to measure: passes in front of the search may have folded those of the model."""
        folding = [name for name in self.setup.passes if PASSES.canonical(name) in NORM_PASSES]
        return NORMS_ARE_FOLDED.format(json.dumps(folding)) if folding else NO_BATCH_NORM

    def _build_nodes(self) -> dict[str, NodeChoices]:
        ops, chosen = self.graph.quantizable_nodes(), self._chosen
        ties = self.setup.tie_operands
        choices = {name: self._with_statistics(op, self._choices_of(name, chosen[name])) for name, op in ops.items()}
        return {name: NodeChoices(name, op, choices[name], ties) for name, op in ops.items()}

    @cached_property
    def _chosen(self) -> dict[str, str | None]:
        """The key of the seed of every node."""
        return select_entries(self.seed, self.by, self.graph.quantizable_nodes())

    def _with_statistics(self, op: Op, choices: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """The lists of a node, with what the setup says of every batch norm that has no list of its own for it."""
        if self.setup.batch_norm == "float" or not op.has_statistics:
            return choices
        return {BATCH_NORM: [self.setup.batch_norm], **choices}

    def _choices_of(self, name: str, key: str | None) -> dict[str, list[Any]]:
        """The lists of a node: those of its seed, replaced by matching overrides."""
        if matching(self.setup.exclude, [name]):
            return FLOAT_CHOICES
        choices = lists_of(self.seed[key]["config"]) if key else FLOAT_CHOICES
        for pattern in self.override:
            if re.fullmatch(pattern, name):
                choices = _overridden(choices, lists_of(self.override[pattern]["config"]))
        return choices

    def _leaves_in_float(self, key: str) -> bool:
        """Whether seed `key` is missing, or has neither number format nor weight transform."""
        lists = lists_of(self.seed[key]["config"]) if key in self.seed else {}
        return set(lists.get("name", [])) <= set(FLOAT_NAMES) and not any(map(is_transform_key, lists))

    def _tied_nodes(self) -> dict[str, str]:
        """For every node that follows another one in a tie, that node.

        Nodes that stay in float are left out of a pattern, unless it is their name.
        """
        leaders: dict[str, str] = {}
        quantised = [name for name, node in self._all.items() if node.choices != FLOAT_CHOICES]
        for group in self.setup.tie:
            first, *others = matching(group, [name for name in self._all if name in group or name in quantised]) or [""]
            leaders |= dict.fromkeys(others, leaders.get(first, first))
        return leaders

    def _node_problems(self) -> list[Problem]:
        ops, chosen = self.graph.quantizable_nodes(), self._chosen
        unknown = selection_problems(self.seed, self.by, ops)
        found: dict[tuple[str, ...], str] = {("seed", key): message for key, message in unknown.items()}
        for name, node in self._all.items():
            key = chosen[name] or DEFAULT
            messages = ChoiceProblems(node).problems() or ChoiceProblems(node).formats_of_nothing()
            messages |= unlearned(node, self.graph.learned)
            found |= {self._path(name, key, at): f"{text} (node '{name}')" for at, text in messages.items()}
        for key in self.seed:
            if ("seed", key) not in found:
                served = [ops[name] for name, own in chosen.items() if own == key]
                unread = unread_lists(key, lists_of(self.seed[key]["config"]), served, ops)
                found |= {("seed", key, "config", name): text for name, text in unread.items()}
        found |= keys_without_effect(self.seed, self.override, self.by, self._all, chosen)
        if self.setup.calibration_rows < LEAST_ROWS and self.measures_norms:
            found["setup", "calibration_rows"] = ONE_ROW
        problems = [Problem(path, message) for path, message in found.items()] + self._tie_problems()
        seeds = {key for key in chosen.values() if key not in (None, DEFAULT)}
        if not problems and self.size == 1 and not seeds and self._leaves_in_float(DEFAULT):
            problems.append(Problem(("seed",), f"no seed {no_match(self.by, ops)}"))
        return problems

    def _place_of(self, node: str) -> tuple[str, ...]:
        """The path in the file of the table that gives a node its choices, or keeps it from having any."""
        if matching(self.setup.exclude, [node]):
            return ("setup", "exclude")
        key = self._chosen[node]
        return ("seed",) if key not in self.seed or key is None else ("seed", key, "config")

    def _path(self, node: str, seed_key: str, key: str) -> tuple[str, ...]:
        """The path in the file where a key of a node was written."""
        for pattern, entry in self.override.items():
            if key in entry["config"] and re.fullmatch(pattern, node):
                return ("override", pattern, "config", key)
        return ("seed", seed_key, "config", key)

    def _tie_problems(self) -> list[Problem]:
        wrong = [(a, b) for a, b in self._leaders.items() if self._all[a].choices != self._all[b].choices]
        return [
            Problem(("setup", "tie"), f"'{follower}' and '{leader}' have different choices: tied nodes need the same")
            for follower, leader in wrong
        ]


def _overridden(choices: Mapping[str, list[Any]], own: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Lists with those of an override in their place; where it names formats, keys that these do not have go."""
    names = [name for name in own.get("name", ()) if isinstance(name, str) and name in FORMATS]
    if not names:
        return {**choices, **own}
    known = {key for name in names for key in known_keys(FORMATS[name])}
    return {**{key: value for key, value in choices.items() if key in known or is_transform_key(key)}, **own}


def _flatten(node: NodeChoices, indexes: Mapping[str, int]) -> dict[str, int]:
    return {f"{node.node}/config/{key}": index for key, index in indexes.items()}

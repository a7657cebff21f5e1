"""Defines what a search space is: named choices, the distinct points that they make, and a model for each point."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from chop.config.later_keys import fingerprint_of_options
from chop.config.typed import Problem
from chop.errors import SearchError
from chop.evaluation.program import Axis
from chop.formats import Format
from chop.ir import MaseGraph, QuantPlan
from chop.registry import Registry, subclass_problem

Point = Mapping[str, int]
"""For every parameter the index of its choice."""

PointKey = tuple[int, ...]
SampledConfig = Mapping[str, Any]
Operand = Literal["data_in", "other", "weight", "key", "value", "bias", "data_out"]


@dataclass(frozen=True)
class NoSetup:
    """The setup of a space without keys of its own."""


@dataclass(frozen=True)
class SpaceSetup:
    """The setup of a space of formats; patterns are regular expressions that match a node's whole name."""

    by: Literal["type", "name", "regex_name"] = "name"
    exclude: list[str] = field(default_factory=list)
    tie: list[list[str]] = field(default_factory=list)
    tie_operands: list[Operand] = field(default_factory=list)
    calibration_rows: Annotated[int, Ge(1)] = 512
    batch_norm: Literal["float", "measured"] = "float"
    passes: list[str] = field(default_factory=list)
    export_to: str | None = None


class SearchSpaceBase(ABC):
    """Base of all search spaces: choices as `{"node/config/key": [choices]}`, and their meaning.

    Different indexes may mean the same network (the width of a layer that stays in float32, say): `size` counts, and
    `point` enumerates, networks that differ; `canonical` maps equal ones to the same indexes.

    `Setup` is a dataclass: its fields are the space's keys under `[search.search_space.setup]`.
    """

    Setup: ClassVar[type[Any]] = NoSetup

    told_by_choices: ClassVar[tuple[str, ...]] = ()
    """The keys of `Setup` that decide nothing but the choices: spaces with equal choices may differ in them."""

    choices_flattened: dict[str, list[Any]]
    graph: MaseGraph

    passes: Sequence[str] = ()
    """The passes that `graph` went through before the space was built."""

    setup: Any = None
    """The setup that it was built from; where it names a target of an export, with the passes that this needs."""

    exporter: str | None = None
    """The exporter that can write every network of the space, where the setup names a target."""

    remarks: Sequence[str] = ()
    """Sentences that say what was left out for that target."""

    left_out: Sequence[Any] = ()
    """Combinations of choices that are left out though `choices_flattened` allows them, as JSON."""

    format_names: Sequence[str] = ()
    """The names of the number formats that some choice has, as far as there are such formats."""

    norms_in_float: Sequence[str] = ()
    """The batch norms that have the statistics of the float network in some networks of the space."""

    measures_norms: bool = False
    """Whether some network of the space has statistics of batch norms that are measured under its formats."""

    calibration_rows: int | None = None
    """The number of training samples that the graph must be calibrated on before formats are measured; None: none."""

    @classmethod
    @abstractmethod
    def build(
        cls, graph: MaseGraph, seed: Mapping[str, Any], setup: Any, override: Mapping[str, Any]
    ) -> SearchSpaceBase:
        """The space of a graph from the tables `seed`, `setup` (a `Setup`) and `override` of the file."""

    @classmethod
    def identity_of(cls, setup: Any) -> list[Any]:
        """The part of the setup, beside `choices_flattened`, that a resumed search must match, as JSON."""
        return [fingerprint_of_options(setup)]

    @classmethod
    def table_problems(cls, seed: Mapping[str, Any], setup: Any, override: Mapping[str, Any]) -> list[Problem]:
        """The problems of its tables that show without a model, with paths below `search.search_space`.

        None of them may be one that some model would not have.
        """
        return []

    @abstractmethod
    def problems(self) -> list[Problem]:
        """All problems of the space, with paths below `search.search_space`; with any it has no points."""

    def keep_exportable(self, target: str, example: Any) -> None:
        """Leave out the choices that no network with them can be exported with; `problems` tells if none are left.

        `example` is a batch as the model takes it. Raises UnknownNameError for a target that no exporter has,
        SearchError for a space that cannot leave out choices.
        """
        raise SearchError("this search space cannot be kept to what can be exported: leave the key out")

    @property
    def choice_lengths_flattened(self) -> dict[str, int]:
        """The number of choices of each key."""
        return {key: len(choices) for key, choices in self.choices_flattened.items()}

    @property
    def parameters(self) -> dict[str, list[Any]]:
        """The keys with more than one choice, which a strategy decides."""
        return {key: choices for key, choices in self.choices_flattened.items() if len(choices) > 1}

    @property
    def followers(self) -> Mapping[str, str]:
        """The keys whose value is always that of one of the `parameters`, and that parameter."""
        return {}

    @property
    def config_parts(self) -> dict[str, Any]:
        """The configs of all nodes, from which a record tells that of a point; empty: not known.

        As `chop.actions.search.search_space.config_parts` returns them.
        """
        return {}

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of distinct points."""

    @abstractmethod
    def point(self, index: int) -> Point:
        """The distinct point number `index`, `0 <= index < size`, in lexicographic order of the choices."""

    @abstractmethod
    def canonical(self, point: Point) -> Point:
        """The indexes that stand for every point with the same network as `point`."""

    def key(self, point: Point) -> PointKey:
        """A key that is equal for points that mean the same network."""
        return tuple(self.canonical(point).values())

    def axes(self) -> list[Axis] | None:
        """The axes of a product space: for each the plans of its choices, formats frozen.

        `point(index)` counts through them, the last fastest. None for a space that is no product: its points are
        measured one after the other.
        """
        return None

    def index(self, point: Point) -> int | None:
        """The number of the distinct point with the same network as `point`; None if the space is no product."""
        return None

    def possible_formats(self) -> Mapping[tuple[str, str], Sequence[Format]] | None:
        """The formats that each operand of each node may have, `{(node, operand): [format, …]}`; None: unknown."""
        return None

    @abstractmethod
    def plan(self, point: Point) -> QuantPlan:
        """The plan of a point."""

    @abstractmethod
    def flattened_indexes_to_config(self, indexes: Point) -> SampledConfig:
        """The config of a point, as passes take it, with by = "name".

        Keys with a single choice may be left out of `indexes`.
        """

    @abstractmethod
    def rebuild_model(self, sampled_config: SampledConfig, is_eval_mode: bool = True) -> MaseGraph:
        """A new graph with the formats of `sampled_config`; calls share nothing that changes."""


SEARCH_SPACES: Registry[type[SearchSpaceBase]] = Registry(
    "chop.search_spaces",
    "search space",
    ("chop.actions.search.search_space.mixed_precision_ptq",),
    subclass_problem(SearchSpaceBase, "Setup"),
)

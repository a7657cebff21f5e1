"""The space of a training whose snapshots are trials: one point for each, with weights and formats of its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from chop.actions.search.search_space.base import Point, SampledConfig, SearchSpaceBase
from chop.config.typed import Problem
from chop.errors import CheckpointError, SearchError
from chop.formats import Format, Integer, MeasuredTensor
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.graph_file import load_onto
from chop.passes.graph.transforms.quantize import config_from_plan
from chop.record.folder import SearchFolder
from chop.record.training import MEAN_WIDTHS, NETWORK_FILE, SNAPSHOT_KEY, foreign
from chop.weight_transforms import format_of

MOST_KEPT = 8


def has_own_network(config: SampledConfig) -> bool:
    """Whether a config names the file of a network with weights of its own."""
    return isinstance(config.get(NETWORK_FILE), str)


def mean_widths(plan: QuantPlan) -> dict[str, dict[str, float]]:
    """The mean width of each operand with learned widths, in bits, by node."""
    found = {
        name: {
            operand: round(float(own.element_width.values.double().mean()), 2)
            for operand, chosen in plan[name].items()
            if isinstance(own := format_of(chosen), Integer) and isinstance(own.element_width, MeasuredTensor)
        }
        for name in plan
    }
    return {name: means for name, means in found.items() if means}


class TrainedNetworks(SearchSpaceBase):
    """The snapshots of one training, as networks in the folder of its search.

    `given` is the space of the settings, which says what can have which formats; `snapshots` is how many there will be.
    A point is a network once it has been trained: before that its plan and config raise SearchError.
    """

    def __init__(self, given: SearchSpaceBase, snapshots: int, files: SearchFolder) -> None:
        self.given = given
        self.files = files
        self.graph = given.graph
        self.snapshots = snapshots
        self.setup, self.exporter = given.setup, given.exporter
        self.remarks, self.left_out = given.remarks, given.left_out
        self.choices_flattened = {SNAPSHOT_KEY: list(range(snapshots)), **given.choices_flattened}
        self._read = lru_cache(MOST_KEPT)(self._read_network)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_read"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._read = lru_cache(MOST_KEPT)(self._read_network)

    @classmethod
    def build(
        cls, graph: MaseGraph, seed: Mapping[str, Any], setup: Any, override: Mapping[str, Any]
    ) -> SearchSpaceBase:
        raise SearchError("the space of a training's snapshots is made by a search, not from tables")

    @property
    def calibration_rows(self) -> int | None:  # type: ignore[override]
        """The number of calibration samples of the given space."""
        return self.given.calibration_rows

    @property
    def measures_norms(self) -> bool:  # type: ignore[override]
        """Whether some network of the given space has measured batch norms."""
        return self.given.measures_norms

    @property
    def norms_in_float(self) -> Sequence[str]:  # type: ignore[override]
        """The batch norms of the given space that may have the statistics of the float network."""
        return self.given.norms_in_float

    @property
    def passes(self) -> Sequence[str]:  # type: ignore[override]
        """The passes of the given space."""
        return self.given.passes

    @property
    def parameters(self) -> dict[str, list[Any]]:
        return {SNAPSHOT_KEY: self.choices_flattened[SNAPSHOT_KEY]}

    def problems(self) -> list[Problem]:
        return self.given.problems()

    @property
    def size(self) -> int:
        return self.snapshots

    def point(self, index: int) -> Point:
        if not 0 <= index < self.snapshots:
            raise SearchError(f"the training has snapshots 0 to {self.snapshots - 1}, not {index}")
        return {SNAPSHOT_KEY: index}

    def canonical(self, point: Point) -> Point:
        return {SNAPSHOT_KEY: point[SNAPSHOT_KEY]}

    def possible_formats(self) -> Mapping[tuple[str, str], Sequence[Format]] | None:
        return self.given.possible_formats()

    def plan(self, point: Point) -> QuantPlan:
        return self.network(self.number(point)).plan

    def flattened_indexes_to_config(self, indexes: Point) -> SampledConfig:
        number = self.number(indexes)
        graph = self.network(number)
        config = dict(config_from_plan(graph.requested_plan))
        for name, means in mean_widths(graph.plan).items():
            config[name] = {**config[name], MEAN_WIDTHS: means}
        return {NETWORK_FILE: self.files.network_name(number), **config}

    def rebuild_model(self, sampled_config: SampledConfig, is_eval_mode: bool = True) -> MaseGraph:
        if not has_own_network(sampled_config):
            return self.given.rebuild_model(sampled_config, is_eval_mode)
        graph = copy.deepcopy(self._read(sampled_config[NETWORK_FILE]))
        graph.model.train(not is_eval_mode)
        return graph

    def number(self, point: Point) -> int:
        """The number of the snapshot of a point. Raises SearchError for a point of another space."""
        number = point.get(SNAPSHOT_KEY)
        if number is None or not 0 <= number < self.snapshots:
            raise SearchError(f"{dict(point)!r} is no snapshot of this training")
        return number

    def network(self, number: int) -> MaseGraph:
        """The network of a snapshot, which is shared: copy it before it is changed."""
        return self._read(self.files.network_name(number))

    def _read_network(self, name: str) -> MaseGraph:
        path = self.files.network(name)
        try:
            graph = load_onto(self.graph, path)
        except CheckpointError as error:
            raise SearchError(f"{error}; --resume trains it again") from error
        if reason := foreign(graph.about, path, self.files.identity):
            raise SearchError(reason)
        return graph

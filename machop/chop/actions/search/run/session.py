"""Checked settings with model, data and space, for searches and comparisons: instruments, goals, fingerprint."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from chop import __version__
from chop.actions.calibration import calibrate
from chop.actions.search.measuring.baseline_check import of_the_float_baseline, require_metrics
from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.measuring.probes import SensitivityProbes
from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.measuring.subject import Subject
from chop.actions.search.run.declared_training import declared_training
from chop.actions.search.run.verification import Verification, baseline_measurement
from chop.actions.search.search_space import Point, SearchSpaceBase
from chop.actions.search.search_space.choice_order import ordered
from chop.actions.search.search_space.trained_networks import TrainedNetworks
from chop.actions.search.search_space.untransformed import untransformed
from chop.actions.search.settings.search import SearchSettings
from chop.actions.search.strategies.base import StrategyContext, Trainer
from chop.actions.search.strategies.known_values import KnownValues
from chop.dataset.data import Data, first_batch
from chop.errors import SearchError, without_cure
from chop.evaluation.guard import require_sound
from chop.ir import MaseGraph
from chop.ir.graph.float_statistics import MEASUREMENT, norms_of_other_values
from chop.ir.graph.node_costs import remarks_on
from chop.models.weight_notes import TRAINED_FOR_SPACE, TrainedForSpace
from chop.record.folder import SearchFolder
from chop.record.goals import Goals
from chop.record.landscape import Landscape, landscape_of
from chop.record.landscape_key import NORM_MEASUREMENT, digest, landscape_key
from chop.record.summary import Origin
from chop.tools.logger import get_logger
from chop.tools.machine import machine

logger = get_logger(__name__)

Item = TypeVar("Item")

MEASURED_IN_TRAINING = (
    "The training for a space measured batch norms under each plan, and its figures hold for that alone: this search "
    "has statistics of the float network; "
)
MEASURE_TOO = 'write batch_norm = "measured" under [search.search_space.setup].'
MEASURE_POINTS = (
    "its strategy trains networks of its own, for which they cannot be measured. For measured ones write "
    'batch_norm = "measured" under [search.search_space.setup] and, to search points of the space, {}.'
)

OTHER_STATISTICS = (
    "%s: the running statistics do not fit what the float network reads on the training samples, so networks of this "
    "search normalise by others than the FP32 baseline, also where nothing is rounded, and a max_drop refers to the "
    "statistics as they are. Let the float network have statistics of its own samples first: the pass "
    "measure_batch_norm with settle = true and num_samples = 4096 (ch transform, or Python), then search with "
    "its weights"
)
"""The warning for norms that a training left with statistics of other values, as those of few batches."""

SPOT_CHECKS = 5
"""Networks that are measured once more before figures of an earlier run are relied on."""


@dataclass(frozen=True)
class SearchSession:
    """Checked settings with the space, the graph and the data that they are for; `folder` is the output folder."""

    settings: SearchSettings
    space: SearchSpaceBase
    graph: MaseGraph
    data_module: Data
    folder: Path
    seed: int
    device: str
    input_fingerprint: Mapping[str, Any]

    @classmethod
    def searched_space(cls, settings: SearchSettings, space: SearchSpaceBase, folder: Path) -> SearchSpaceBase:
        """The space whose points are measured, given that of the settings."""
        return space

    def instruments(self) -> Instruments:
        """All that measures the points; ranges of activations are measured first, if formats need them.

        Raises GraphError where the guard finds that a quantised network is not what its plan says, MetricError where a
        metric of the data fails on the FP32 baseline.
        """
        settings = self.settings
        require_sound(self.graph, first_batch(self.data_module, "train", 2)[0], self.space.possible_formats())
        if self.space.calibration_rows:
            with of_the_float_baseline():
                calibrate(self.space.graph, self.data_module, self.space.calibration_rows)
        memory = settings.setup.memory_mib * 2**20
        if self.space.measures_norms and (norms := norms_of_other_values(self.space.graph)):
            logger.warning(OTHER_STATISTICS, ", ".join(norms))
        subject = Subject(self.space, self.graph, self.data_module, settings.eval_mode, self.device, memory)
        runners = RunnerSet(settings.runners, self.data_module, settings.wanted_metrics)
        instruments = Instruments(subject, runners, settings.setup.jobs)
        _tell_costs(instruments)
        if other := self._other_norms():
            logger.warning("%s", other)
        if warning := untransformed(self.graph, {**settings.seed, **settings.override}):
            logger.warning("%s", warning)
        _tell_left(instruments.runners)
        instruments.single.require_costs_in_float()
        require_metrics(subject, instruments.runners)
        return instruments

    def goals(self, instruments: Instruments) -> Goals:
        """The objectives and constraints; measures the FP32 baseline if a constraint refers to it."""
        relative = any(constraint.kind == "max_drop" for constraint in self.settings.constraints)
        baseline = baseline_measurement(instruments.subject, instruments.runners).metrics if relative else {}
        goals = self.settings.goals(baseline)
        for constraint in goals.constraints:
            logger.info("constraint: %s", constraint.explained())
        return goals

    def context(
        self,
        instruments: Instruments,
        goals: Goals,
        seed: int,
        n_trials: int | None,
        trainer: Trainer | None = None,
    ) -> StrategyContext:
        """The facts that a strategy may use; `trainer` is for one that declares a training."""
        known = KnownValues(goals, instruments.tables) if instruments.tables else None
        probes = SensitivityProbes(instruments.subject, instruments.runners)
        constraints = len(goals.constraints)
        return StrategyContext(self.space, goals.directions, seed, n_trials, constraints, known, probes, trainer)

    def fingerprint(self) -> dict[str, Any]:
        """The fingerprint that a resumed search must match."""
        choices = choices_digest(self.space, self.settings.space_setup)
        layers = layers_digest(self.graph)
        norms = {NORM_MEASUREMENT: MEASUREMENT} if self.space.measures_norms else {}
        return {**self.input_fingerprint, **self.settings.fingerprint(), "choices": choices, "layers": layers, **norms}

    def origin(self, command: str = "") -> Origin:
        """The origin of the figures; `command` is the command line, if there was one."""
        return Origin(
            data=self.data_module.dataset_info.provenance,
            data_checksum=str(self.input_fingerprint["dataset"][1]),
            model=str(self.input_fingerprint.get("model", "")),
            weights=str(self.input_fingerprint["weights"]),
            seed=self.seed,
            versions={
                "chop": __version__,
                "torch": str(torch.__version__),
                "python": platform.python_version(),
                "machine": machine(self.device),
            },
            command=command,
            training=self._training_of_weights(),
        )

    def _training_of_weights(self) -> str:
        """The sentences of a report on the training of the weights for a space; empty if they had none."""
        notes = self._trained_for_space
        if notes is None:
            return ""
        told = notes.as_text(trained_choices_digest(self.space, self.settings.space_setup))
        return " ".join(filter(None, (told, self._other_norms())))

    def _other_norms(self) -> str:
        """A warning where the training for a space measured batch norms and this search does not; else empty."""
        notes = self._trained_for_space
        if notes is None or not notes.epoch or not notes.measured_norms:
            return ""
        has_norms = any(op.has_statistics for op in self.graph.quantizable_nodes().values())
        if has_norms and not self.space.norms_in_float:
            return ""
        training = declared_training(self.settings) if isinstance(self.space, TrainedNetworks) else None
        cure = MEASURE_TOO if training is None else MEASURE_POINTS.format(training.as_points)
        return MEASURED_IN_TRAINING + cure

    @property
    def _trained_for_space(self) -> TrainedForSpace | None:
        """The notes of the weights on a training for a space; None if they had none."""
        notes = self.graph.about.get(TRAINED_FOR_SPACE)
        return None if notes is None else TrainedForSpace.from_json(notes)

    def landscape_key(self) -> str:
        """A key that is equal for searches that measure the same things on the same space, with any strategy."""
        return landscape_key(self.fingerprint())

    def about_landscape(self, instruments: Instruments, goals: Goals) -> dict[str, Any]:
        """The description of the space in an exhaustive table."""
        sizes = {} if instruments.batched is None else {"sizes": list(instruments.batched.sizes)}
        return {
            "key": self.landscape_key(),
            **sizes,
            **goals.as_json(),
            "provenance": self.data_module.dataset_info.provenance,
        }

    def require_unchanged(
        self, instruments: Instruments, path: Path, point: Point, logged: Mapping[str, float]
    ) -> None:
        """Measure trials of the log at `path` again; raises SearchError if a figure differs."""
        contradiction = Verification(instruments.subject, instruments.runners).contradiction(point, logged)
        if contradiction:
            raise SearchError(
                f"{path} has a trial with {contradiction} now: model, data, loss or metrics have changed, or draw at "
                "random; undo the change, or start anew without --resume"
            )

    def known_landscape(self, instruments: Instruments) -> Landscape | None:
        """The exhaustive table of this space, if a project beside this one has it.

        Some of its points are measured once more: what its key does not tell (a file that a metric reads) shows there.
        """
        if len(self.folder.parents) < 3:
            return None
        known = landscape_of(self.folder.parents[2], self.landscape_key(), self.settings.wanted_metrics)
        if known is None or not known.is_measured.any():
            return known
        try:
            for index in _telling_points(known):
                metrics = {name: float(values[index]) for name, values in known.metrics.items()}
                self.require_unchanged(instruments, known.path, self.space.point(index), metrics)
        except SearchError as error:
            logger.warning("%s; it is left out of account", without_cure(error))
            return None
        return known

    def holds_landscape(self) -> bool:
        """Whether the folder holds the whole exhaustive table, as after an interrupted end of a search."""
        try:
            found = SearchFolder(self.folder).landscape()
        except SearchError:
            return False
        return found.about.get("key") == self.landscape_key()


def choices_digest(space: SearchSpaceBase, setup: Any) -> str:
    """A checksum of the choices of a space, equal for spaces with the same networks."""
    return digest([space.choices_flattened, *space.identity_of(setup), *space.left_out])


def trained_choices_digest(space: SearchSpaceBase, setup: Any) -> str:
    """The same for a training for the space, whose points have no numbers: the order of choices does not count."""
    choices = {key: ordered(values) for key, values in space.choices_flattened.items()}
    return digest([choices, *space.identity_of(setup), *space.left_out])


def layers_digest(graph: MaseGraph) -> str:
    """A checksum of the layers of a graph and of the order in which they are called."""
    return digest([repr(graph.model), graph.model.code])


def _tell_left(runners: RunnerSet) -> None:
    names = [metric.name for runner in runners.left_to_the_best for metric in runner.metrics]
    if names:
        logger.info(
            "%s: no objective or constraint is about %s, so the best networks alone are measured",
            ", ".join(names),
            "it" if len(names) == 1 else "them",
        )


def _tell_costs(instruments: Instruments) -> None:
    """Log the nodes that costs can count in float32 only."""
    costs = instruments.subject.costs if instruments.runners.tabled else {}
    for remark in remarks_on(costs):
        logger.warning("%s", remark)
    fixed = [cost for cost in costs.values() if not cost.op.quantizable]
    heavy = [cost for cost in fixed if cost.macs or any(tensor.is_parameter for tensor in cost.tensors)]
    if heavy:
        names = ", ".join(f"{cost.name} ({cost.op.name})" for cost in heavy)
        logger.info("%s cannot be quantised: counted in float32", names)


def spread_out(items: Sequence[Item]) -> list[Item]:
    """A few of some items, spread evenly, with the first and the last."""
    places = np.linspace(0, len(items) - 1, SPOT_CHECKS if items else 0).round().astype(int).tolist()
    return [items[place] for place in dict.fromkeys(places)]


def _telling_points(landscape: Landscape) -> list[int]:
    """Points with the least and the greatest metrics: metrics of bad networks alone would change too little."""
    measured = np.flatnonzero(landscape.is_measured)
    ends = [
        measured[turn(values[measured])] for values in landscape.metrics.values() for turn in (np.argmax, np.argmin)
    ]
    return spread_out([int(index) for index in dict.fromkeys(ends)])

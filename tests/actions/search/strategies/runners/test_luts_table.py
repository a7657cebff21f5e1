"""The first solving of layers is shared by the executor of the search, and shown; then nothing is left to solve."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from chop.actions.search.measuring.batched import BatchedMeasurement, batched_measurement
from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.measuring.subject import Subject
from chop.actions.search.search_space.codes import codes_of_range
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.actions.search.settings.tables import RunnerChoice
from chop.actions.search.strategies.runners import RUNNERS, circuits
from chop.actions.search.strategies.runners.circuits import CircuitTable, LutsOptions
from chop.circuits.stage_luts import StageLuts
from chop.executors import EXECUTORS, Executor, Jobs
from chop.ir import MaseGraph
from chop.passes.graph import fold_batch_norm_transform_pass
from chop.report import search_progress
from chop.testing import RunnerConformance

LISTS = {"name": ["integer"], "data_in_width": [4, 6], "weight_width": [3, 5], "bias_width": [6]}


class Elsewhere(Executor):
    """Makes calls on copies, the last one first, as another process would that is quicker."""

    made: ClassVar[list[str]] = []

    def map(self, call: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        for place, item in reversed([*enumerate(items)]):
            self.made.append(call.__name__)
            yield place, pickle.loads(pickle.dumps(call))(pickle.loads(pickle.dumps(item)))

    def close(self, at_once: bool = False) -> None:
        """Nothing was started."""


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    EXECUTORS.register("elsewhere")(Elsewhere)
    monkeypatch.setattr(Elsewhere, "made", [])
    monkeypatch.setattr(circuits, "SECONDS_ALONE", 0.0)
    return Jobs(2, "elsewhere")


def measurement(cache: Path, jobs: Jobs | None) -> tuple[BatchedMeasurement, StageLuts]:
    suite = RunnerConformance()
    model = suite.model()
    graph = MaseGraph(model)
    fold_batch_norm_transform_pass(graph, {"show": False})
    space = MixedPrecisionPTQ(graph, {"linear": {"config": LISTS}, "relu": {"config": LISTS}}, by="type")
    choice = RunnerChoice("hw_runner", "luts", RUNNERS["luts"].Options(cache=str(cache)))
    assert isinstance(choice.options, LutsOptions)
    subject = Subject(space, graph, suite.data())
    found = batched_measurement(subject, RunnerSet([choice], suite.data()), jobs)
    assert found is not None
    (table,) = found.tables
    assert isinstance(table, CircuitTable) and isinstance(table.costs.costs, StageLuts)
    return found, table.costs.costs


def test_all_is_solved_by_the_executor_and_once(tmp_path: Path, jobs: Jobs) -> None:
    shared, stage_costs = measurement(tmp_path / "shared", jobs)
    assert set(Elsewhere.made) == {"solve"} and len(Elsewhere.made) == stage_costs.solutions.solved > 1
    shared.prepare_all(jobs)
    solved = stage_costs.solutions.solved
    assert len(Elsewhere.made) == solved
    codes = codes_of_range(0, int(np.prod(shared.sizes)), shared.sizes)
    found = shared.scores(codes)
    assert stage_costs.solutions.solved == solved
    alone, _ = measurement(tmp_path / "alone", None)
    assert {name: values.tolist() for name, values in alone.scores(codes).items()} == {
        name: values.tolist() for name, values in found.items()
    }
    assert len(np.unique(found["luts"])) > 4 and (found["flip_flops"] > 0).all()


def test_another_search_finds_them_in_the_folder(tmp_path: Path, jobs: Jobs) -> None:
    measurement(tmp_path, jobs)
    Elsewhere.made.clear()
    _, stage_costs = measurement(tmp_path, jobs)
    assert not Elsewhere.made and stage_costs.solutions.solved == 0


def test_without_a_terminal_lines_say_how_far_it_is(
    tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(search_progress, "SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, "chop"), search_progress.bars(True):
        measurement(tmp_path, jobs)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("LUTs of layers: ")]
    assert lines[0] == f"LUTs of layers: 0 of {len(Elsewhere.made)} done" and len(lines) == len(Elsewhere.made)

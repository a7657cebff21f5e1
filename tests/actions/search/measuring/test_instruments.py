"""How many points of an exhaustive search by index are measured in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chop.actions.search import search
from chop.actions.search.measuring import instruments, scheduler
from chop.actions.search.measuring.batched import BatchedMeasurement
from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.measuring.subject import Subject
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.actions.search.settings.tables import RunnerChoice
from chop.actions.search.strategies.runners import RUNNERS
from chop.dataset import MaseDataModule
from chop.ir import MaseGraph
from chop.models import get_model
from tests.actions.search.killing import trials

LISTS: dict[str, Any] = {"name": ["integer"], "data_in_width": [8], "weight_width": [2, 4, 8], "bias_width": [8]}
SAMPLES = 100
LAYERS = (16 * 8, 8 * 8, 8 * 5)
"""MACs of the layers of jsc-toy, for one sample."""


def instruments_of(model: str, jets: MaseDataModule) -> Instruments:
    """The measurements of a model with three choices for each layer."""
    graph = MaseGraph(get_model(model, pretrained=True))
    subject = Subject(MixedPrecisionPTQ(graph, {"linear": {"config": LISTS}}, by="type"), graph, jets)
    choice = RunnerChoice("sw_runner", "basic_evaluation", RUNNERS["basic_evaluation"].Options(num_samples=SAMPLES))
    return Instruments(subject, RunnerSet([choice], jets))


def shared_macs(*times: int) -> int:
    """MACs of so many products of each layer."""
    return SAMPLES * sum(own * n for own, n in zip(LAYERS, times, strict=True))


@pytest.mark.parametrize(
    ("macs", "points"),
    [
        (shared_macs(3, 9, 27), 27),
        (shared_macs(3, 9, 27) - 1, 18),
        (shared_macs(1, 3, 9), 9),
        (shared_macs(1, 3, 9) - 1, 6),
        (1, 3),  # no more than two points without sharing
    ],
)
def test_a_call_has_as_many_points_as_the_work_allows_that_is_left_when_prefixes_are_shared(
    macs: int, points: int, jets: MaseDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instruments, "BATCH_MACS", macs)
    found = instruments_of("jsc-toy", jets)
    assert found.chunk_by_index == points
    assert [found.batch_by_index(jobs) for jobs in (1, 2)] == [points, 2 * points]


def test_where_nothing_is_shared_processes_get_small_chunks(
    jets: MaseDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instruments, "BATCH_MACS", 3 * SAMPLES * 16 * 5)
    found = instruments_of("jsc-tiny", jets)
    assert (found.chunk_by_index, found.batch_by_index(1), found.batch_by_index(4)) == (1, 3, 4)


def test_an_exhaustive_search_by_chunks_finds_the_same_to_the_bit_in_one_call_in_two_processes_and_resumed(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    jsc_toy = get_model("jsc-toy", pretrained=True)
    lab["search_space"]["setup"]["by"] = "type"
    lab["search_space"]["seed"] = {"linear": {"config": LISTS}}
    lab["strategy"] |= {"name": "brute_force", "setup": {}}
    calls: list[int] = []
    scores = BatchedMeasurement.scores
    monkeypatch.setattr(BatchedMeasurement, "scores", lambda own, codes: calls.append(len(codes)) or scores(own, codes))
    search(jsc_toy, jets, lab, tmp_path / "whole")
    assert calls == [27]
    samples = lab["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"]
    monkeypatch.setattr(instruments, "BATCH_MACS", shared_macs(1, 3, 9) // SAMPLES * samples)
    lab["strategy"]["setup"] = {"n_trials": 12}
    search(jsc_toy, jets, lab, tmp_path / "resumed")
    calls.clear()
    lab["strategy"]["setup"] = {}
    search(jsc_toy, jets, lab, tmp_path / "resumed", resume=True)
    assert calls == [9, 9]  # of the first batch all are in the log
    monkeypatch.setattr(scheduler, "SECONDS_ALONE", 0.0)
    lab["strategy"]["setup"] = {"n_jobs": 2}
    monkeypatch.setattr(BatchedMeasurement, "scores", scores)
    search(jsc_toy, jets, lab, tmp_path / "two")
    assert trials(tmp_path / "whole") == trials(tmp_path / "resumed") == trials(tmp_path / "two")

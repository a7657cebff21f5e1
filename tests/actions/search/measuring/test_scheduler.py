"""The scheduler: which points are measured in one call, which one by one, and how late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from chop.actions.search.measuring import scheduler
from chop.actions.search.measuring.batched import BatchedMeasurement
from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.measuring.outcome import Measured, Outcome
from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.measuring.scheduler import FEW_POINTS, Scheduler
from chop.actions.search.measuring.single import SingleMeasurement
from chop.actions.search.measuring.subject import Subject
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.actions.search.settings.tables import RunnerChoice
from chop.actions.search.strategies.runners import RUNNERS, Metric, ModelRunner
from chop.dataset import MaseDataModule
from chop.errors import MetricError
from chop.executors import Jobs
from chop.ir import MaseGraph
from chop.models import get_model

LISTS: dict[str, Any] = {"name": ["integer"], "data_in_width": [4, 8], "weight_width": [2, 4, 8], "bias_width": [4, 8]}


class Slow(ModelRunner):
    """Counts its calls."""

    calls: ClassVar[int] = 0

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("slow", "s", "minimize"),)

    def measure(self, graph: Any) -> dict[str, float]:
        Slow.calls += 1
        return {"slow": 1.0}


@pytest.fixture
def subject(jets: MaseDataModule) -> Subject:
    graph = MaseGraph(get_model("jsc-tiny", pretrained=True))
    return Subject(MixedPrecisionPTQ(graph, {"linear": {"config": LISTS}}, by="type"), graph, jets)


def runners(subject: Subject, *more: str, wanted: set[str] | None = None) -> RunnerSet:
    choices = [RunnerChoice("sw_runner", "basic_evaluation", RUNNERS["basic_evaluation"].Options(num_samples=100))]
    choices += [RunnerChoice("hw_runner", name, RUNNERS[name].Options()) for name in ("average_bitwidth", *more)]
    return RunnerSet(choices, subject.data_module, wanted)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many points each call for many points had."""
    found: list[int] = []
    scores = BatchedMeasurement.scores
    monkeypatch.setattr(BatchedMeasurement, "scores", lambda own, codes: found.append(len(codes)) or scores(own, codes))
    return found


def metrics(outcomes: Sequence[Outcome]) -> list[dict[str, float]]:
    return [own.metrics for own in outcomes if isinstance(own, Measured)]


@pytest.mark.parametrize(("count", "in_calls"), [(1, []), (FEW_POINTS, []), (FEW_POINTS + 1, [FEW_POINTS + 1])])
def test_few_points_are_measured_one_by_one_and_more_in_one_call(
    count: int, in_calls: list[int], subject: Subject, calls: list[int]
) -> None:
    instruments = Instruments(subject, runners(subject))
    points = [subject.space.point(number) for number in range(count)]
    with Scheduler(instruments, Jobs()) as measuring:
        found = metrics(measuring.measure(points, None))
    assert calls == in_calls
    alone = metrics([instruments.single.outcome(point) for point in points])
    assert found == [pytest.approx(own, rel=1e-6) for own in alone]


def test_a_slow_runner_is_asked_as_late_as_its_outcome_is_read(subject: Subject, calls: list[int]) -> None:
    RUNNERS.register("slow")(Slow)
    Slow.calls = 0
    instruments = Instruments(subject, runners(subject, "slow"))
    points = [subject.space.point(number) for number in range(8)]
    with Scheduler(instruments, Jobs()) as measuring:
        outcomes = measuring.measure(points, None)
        assert (calls, Slow.calls) == ([8], 0)
        assert isinstance(outcomes[2], Measured)
        assert Slow.calls == 1  # those before it are known from a log, say
        assert len(metrics(list(outcomes[3:]))) == 5
    assert (calls, Slow.calls) == ([8], 6)


def test_a_point_without_metrics_is_not_asked_about_again(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    RUNNERS.register("slow")(Slow)
    Slow.calls = 0
    instruments = Instruments(subject, runners(subject, "slow"))
    by_group = instruments.outcomes

    def outcomes(points: Any, scores: Any) -> list[Outcome]:
        found = by_group(points, scores)
        return [MetricError("none") if place % 2 else own for place, own in enumerate(found)]

    monkeypatch.setattr(instruments, "outcomes", outcomes)
    with Scheduler(instruments, Jobs()) as measuring:
        found = list(measuring.measure([subject.space.point(number) for number in range(7)], None))
    assert [isinstance(own, Measured) for own in found] == [True, False, True, False, True, False, True]
    assert Slow.calls == 4
    assert all("slow" in own for own in metrics(found))


def test_runners_are_needed_for_what_is_wanted_and_sums_always(subject: Subject) -> None:
    RUNNERS.register("slow")(Slow)
    found = runners(subject, "slow", "model_size", wanted={"accuracy", "average_bitwidth"})
    assert [type(own).__name__ for own in found.needed] == ["BasicEvaluation", "AverageBitwidth", "ModelSize"]
    assert [type(own).__name__ for own in found.left_to_the_best] == ["Slow"]
    measured = found.by_group({"model_size": 1.0, "accuracy": 0.5})
    assert measured == Measured({"accuracy": 0.5}, {"model_size": 1.0})
    assert replace(measured, stopped_at=3).metrics == {"accuracy": 0.5, "model_size": 1.0}


def test_what_processes_are_sent_has_nothing_that_was_made_on_the_way(subject: Subject) -> None:
    import pickle

    instruments = Instruments(subject, runners(subject))
    outcome = instruments.single.outcome(subject.space.point(3))
    assert instruments.batched is not None
    sent = pickle.loads(pickle.dumps(instruments.single))
    assert isinstance(sent, SingleMeasurement)
    assert not sent.subject.has_evaluators and subject.has_evaluators
    assert sent.outcome(subject.space.point(3)) == outcome
    assert scheduler.SECONDS_ALONE > 0

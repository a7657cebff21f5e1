"""The conformance suite of runners."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import isclose, isfinite
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from chop.actions.search.measuring.batched import batched_measurement
from chop.actions.search.measuring.plans import ChosenPlans
from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.measuring.subject import Subject
from chop.actions.search.search import search
from chop.actions.search.search_space.codes import codes_of_range
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.actions.search.settings.tables import RunnerChoice
from chop.actions.search.strategies.runners import RUNNERS, RunnerBase
from chop.actions.search.strategies.runners.checks import declared_metrics
from chop.dataset import MaseDataModule
from chop.evaluation.measures import Scores
from chop.ir import MaseGraph
from chop.models import get_model
from chop.tools.value_digest import value_digest

LISTS: dict[str, Any] = {"name": ["integer"], "data_in_width": [8], "weight_width": [2, 4, 8], "bias_width": [8]}
SEED: dict[str, Any] = {"linear": {"config": LISTS}}
POINTS = 3
CLOSE = 1e-6
"""Largest relative difference that another order of float sums may make."""

Listed = str | type[RunnerBase] | tuple[str | type[RunnerBase], Mapping[str, Any]]


@dataclass(frozen=True)
class RunnerCase:
    """A runner with its options."""

    cls: type[RunnerBase]
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, listed: Listed) -> RunnerCase:
        """A case from what a suite lists: a name or a class, or a pair of one and its options."""
        given, options = listed if isinstance(listed, tuple) else (listed, {})
        return cls(RUNNERS[given] if isinstance(given, str) else given, options)

    def on(self, data_module: Any) -> RunnerBase:
        """The runner on some data."""
        return self.cls(data_module, self.cls.Options(**self.options))

    def __str__(self) -> str:
        return "-".join([self.cls.__name__, *map(str, self.options.values())])


class RunnerConformance:
    """Subclass it in a test module and list `runners`; pytest then checks each of them on three configurations.

    One is listed as its name or class, or as a pair of that and its options: `("mine", {"depth": 3})`. The network is
    the small one that ships, on its jets; override `data` and `model` for a runner that needs others.
    """

    runners: ClassVar[Sequence[Listed]] = ()

    @staticmethod
    @cache
    def data() -> Any:
        """The data, set up."""
        found = MaseDataModule("jsc", batch_size=64)
        found.prepare_data()
        found.setup()
        return found

    @staticmethod
    def model() -> Any:
        """A new network with linear layers, for these data."""
        return get_model("jsc-tiny", pretrained=True)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each runner."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", [RunnerCase.of(listed) for listed in self.runners], ids=str)

    def made_subject(self) -> Subject:
        """The network with its search space and its data."""
        graph = MaseGraph(self.model())
        return Subject(MixedPrecisionPTQ(graph, SEED, by="type"), graph, self.data())

    @pytest.fixture
    def subject(self) -> Subject:
        """The network that runners measure in a test."""
        return self.made_subject()

    def test_options_are_a_dataclass_whose_fields_have_defaults(self, case: RunnerCase) -> None:
        """A table of the runner without any key is a table that works."""
        assert dataclasses.is_dataclass(case.cls.Options)
        assert case.cls(self.data()).options == case.cls.Options()

    def test_it_says_what_it_needs_and_what_it_gives(self, case: RunnerCase) -> None:
        """On data, and for `ch info` on none."""
        assert case.cls.needs in ("plan", "outputs", "model")
        assert case.cls.__doc__, "say in the docstring what it measures"
        for data_module in (None, self.data()):
            assert declared_metrics(case.cls, data_module)

    def test_a_batch_has_every_metric_of_every_configuration(self, case: RunnerCase, subject: Subject) -> None:
        """As one number each, within the range that the metric declares."""
        scores = _measured(case, subject, range(POINTS))
        for metric in declared_metrics(case.cls, subject.data_module):
            low, high = metric.range
            assert scores[metric.name].shape == (POINTS,), metric.name
            assert scores[metric.name].dtype == np.float64, metric.name
            assert all(isfinite(value) and low <= value <= high for value in scores[metric.name]), metric.name
        assert len(scores) == len(declared_metrics(case.cls, subject.data_module))

    def test_a_batch_is_its_configurations_one_by_one(self, case: RunnerCase, subject: Subject) -> None:
        """To the bit, in any order; what needs the model may measure times, which differ."""
        together = _measured(case, subject, [2, 0, 1, 0])
        if case.cls.needs != "model":
            for place, number in enumerate([2, 0, 1, 0]):
                alone = _measured(case, subject, [number])
                assert {name: values[place] for name, values in together.items()} == _first(alone)

    def test_a_call_measures_what_a_batch_does(self, case: RunnerCase, subject: Subject) -> None:
        """`runner(data_module, model, sampled_config)`, as users hold it; the model is left as it was."""
        runner, config = case.on(subject.data_module), _config(subject, 1)
        graph = MaseGraph(self.model())
        quantised = subject.rebuild(config)
        given = quantised if case.cls.measure_batch is RunnerBase.measure_batch else graph
        before = value_digest(dict(given.model.state_dict()))
        found = runner(subject.data_module, given, config)
        assert value_digest(dict(given.model.state_dict())) == before, "the runner changes the model"
        assert found.keys() == {metric.name for metric in runner.metrics}
        if case.cls.needs != "model":
            for name, value in _first(_measured(case, subject, [1])).items():
                assert isclose(found[name], value, rel_tol=CLOSE, abs_tol=CLOSE), name

    def test_many_points_in_one_call_are_the_points_one_by_one(self, case: RunnerCase, subject: Subject) -> None:
        """Where tables or one run of the network serve many points; else there is nothing to check."""
        with RUNNERS.restored():
            runners = RunnerSet([_choice(case)], subject.data_module)
        batched = batched_measurement(subject, runners)
        assert batched is not None
        if runners.tabled or runners.of_outputs:
            scores = batched.scores(codes_of_range(0, POINTS, batched.sizes))
            singly = _measured(case, subject, range(POINTS))
            assert scores.keys() == singly.keys()
            for name, values in scores.items():
                assert np.allclose(values, singly[name], rtol=CLOSE, atol=CLOSE), name

    def test_it_can_be_sent_to_other_processes(self, case: RunnerCase) -> None:
        """`n_jobs` needs that: no lambdas, open files or locks among its attributes."""
        found = pickle.loads(pickle.dumps(case.on(self.data())))
        assert found.options == case.on(self.data()).options

    @pytest.mark.parametrize("as_objective", [True, False], ids=["objective", "for the best networks"])
    def test_a_search_measures_it(self, case: RunnerCase, as_objective: bool, tmp_path: Path) -> None:
        """As an objective for all configurations, else for the best alone; winners agree when measured again."""
        names = [metric.name for metric in declared_metrics(case.cls, self.data())]
        with RUNNERS.restored():
            choice = _choice(case)
            table = {
                "search_space": {"name": "graph/quantize/mixed_precision_ptq", "setup": {"by": "type"}, "seed": SEED},
                "strategy": {
                    "name": "brute_force",
                    "sw_runner": {choice.name: dict(case.options)},
                    "metrics": {names[0]: {}} if as_objective else {},
                },
            }
            if not as_objective:
                other = "flops" if choice.name == "average_bitwidth" else "average_bitwidth"
                table["strategy"]["hw_runner"] = {other: {}}
                table["strategy"]["metrics"] = {other: {}}
            result = search(self.model(), self.data(), table, tmp_path)
        assert len(result.trials) == POINTS
        rows = result.trials if as_objective else [row.trial for row in result.best]
        assert all(set(names) <= set(trial.metrics) for trial in rows)


def _choice(case: RunnerCase) -> RunnerChoice:
    """The runner by its name; a class that has none is registered for as long as the registry is not restored."""
    name = next((name for name in RUNNERS if RUNNERS[name] is case.cls), None)
    if name is None:
        name = "under_test"
        RUNNERS.register(name)(case.cls)
    return RunnerChoice("sw_runner", name, case.cls.Options(**case.options))


def _config(subject: Subject, number: int) -> Mapping[str, Any]:
    return subject.space.flattened_indexes_to_config(subject.space.point(number))


def _measured(case: RunnerCase, subject: Subject, numbers: Sequence[int]) -> Scores:
    chosen = [(subject.space.plan(subject.space.point(number)), _config(subject, number)) for number in numbers]
    return case.on(subject.data_module).measure_batch(ChosenPlans(subject, chosen))


def _first(scores: Scores) -> dict[str, float]:
    return {name: values[0] for name, values in scores.items()}

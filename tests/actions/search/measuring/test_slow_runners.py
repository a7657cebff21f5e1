"""A runner that needs the model itself slows no other one, and measures those networks alone that need it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import Tensor, nn

from chop.actions.search import RUNNERS, SearchResult, SWRunnerBase, search
from chop.actions.search.strategies.runners import Metric, ModelRunner, OutputRunner
from chop.dataset import MaseDataModule
from chop.errors import MetricError
from chop.evaluation.plan_runner import PlanRunner

POINTS = 18


class Slow(ModelRunner):
    """Counts the networks that it is asked about."""

    asked: ClassVar[list[str]] = []

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("slow", "s", "minimize"),)

    def measure(self, graph: Any) -> dict[str, float]:
        self.asked.append(repr(graph.plan))
        return {"slow": 1.0 + len(str(graph.plan)) % 3}


class Failing(OutputRunner):
    """Has no metric where all outputs are multiples of an eighth: of the networks of fewest bits."""

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("failing", "", "minimize"),)

    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        if ((predictions * 8) % 1 == 0).all():
            raise MetricError("too coarse")
        return {"failing": 1.0}


class LabRunner(SWRunnerBase):
    """As the lab writes them: a call, and what it returns."""

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("weights", "bit", "minimize"),)

    def __call__(self, data_module: Any, model: Any, sampled_config: Mapping[str, Any]) -> dict[str, float]:
        assert data_module.dataset_info.num_classes == 5
        layer = dict(model.model.named_modules())["seq_blocks.2"]
        assert model.plan["seq_blocks_2"]["weight"].width == sampled_config["seq_blocks_2"]["config"]["weight_width"]
        assert type(layer).__name__ != "Linear"
        return {"weights": float(sampled_config["seq_blocks_2"]["config"]["weight_width"])}


@pytest.fixture
def slow(lab: dict[str, Any]) -> dict[str, Any]:
    RUNNERS.register("slow")(Slow)
    Slow.asked.clear()
    lab["strategy"]["hw_runner"]["slow"] = {}
    return lab


def rows(folder: Path, file: str) -> list[dict[str, Any]]:
    return list(json.loads((folder / file).read_text(encoding="utf-8")).values())


def without(result: SearchResult, name: str) -> list[dict[str, float]]:
    return [{key: value for key, value in trial.metrics.items() if key != name} for trial in result.trials]


def test_a_slow_metric_that_is_no_objective_is_measured_for_the_front_alone(
    tmp_path: Path, slow: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    result = search(jsc_tiny, jets, slow, tmp_path)
    assert len(result.trials) == POINTS > len(result.best)
    assert len(Slow.asked) == len(result.best) + 1  # and the network in float, to compare with
    assert all("slow" not in row["hardware_metrics"] for row in rows(tmp_path, "log.json"))
    assert all(row["hardware_metrics"]["slow"] > 0 for row in rows(tmp_path, "best.json"))
    assert [row.trial.metrics["slow"] for row in result.best] == [
        row["hardware_metrics"]["slow"] for row in rows(tmp_path, "best.json")
    ]


def test_beside_a_slow_objective_all_others_are_measured_many_at_a_time(
    tmp_path: Path,
    slow: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = search(jsc_tiny, jets, slow, tmp_path / "alone")
    slow["strategy"]["metrics"]["slow"] = {}
    runs, predictions = [], PlanRunner.predictions
    monkeypatch.setattr(PlanRunner, "predictions", lambda own, plan: runs.append(plan) or predictions(own, plan))
    Slow.asked.clear()
    result = search(jsc_tiny, jets, slow, tmp_path / "beside")
    assert without(result, "slow") == without(alone, "slow")
    assert len(set(Slow.asked)) == POINTS + 1 == len(Slow.asked)
    assert len(runs) < POINTS  # the float baseline, and what the evaluator compares itself with before it is used
    assert list(result.trials[0].metrics) == [
        "loss",
        "accuracy",
        "accuracy_micro",
        *list(alone.trials[0].hardware_metrics),
        "slow",
    ]


def test_a_network_that_has_failed_already_is_not_measured_by_a_slow_runner(
    tmp_path: Path, slow: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    RUNNERS.register("failing")(Failing)
    slow["strategy"]["sw_runner"]["failing"] = {}
    slow["strategy"]["metrics"] |= {"slow": {}, "failing": {}}
    result = search(jsc_tiny, jets, slow, tmp_path)
    failed = [trial for trial in result.trials if trial.failed]
    assert 0 < len(failed) < POINTS
    assert all("too coarse" in trial.failed for trial in failed)
    assert len(Slow.asked) == POINTS - len(failed) + 1


def test_a_runner_of_the_lab_that_is_a_call_alone_is_measured(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    RUNNERS.register("lab_runner")(LabRunner)
    lab["strategy"]["hw_runner"] = {"lab_runner": {}}
    lab["strategy"]["metrics"] = {"accuracy": {}, "weights": {}}
    result = search(jsc_tiny, jets, lab, tmp_path)
    widths = {trial.metrics["weights"] for trial in result.trials}
    assert widths == {2.0, 4.0, 8.0}


def test_a_slow_runner_that_fails_at_the_end_costs_its_own_metrics_alone(
    tmp_path: Path,
    slow: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Slow, "measure", lambda own, graph: {"slow": 1 / 0})
    result = search(jsc_tiny, jets, slow, tmp_path)
    assert all("slow" not in row.trial.metrics and row.test_metrics for row in result.best)
    assert caplog.text.count("runner Slow failed") == len(result.best) + 1


def test_figures_without_a_metric_are_not_taken_over_where_it_is_an_objective(
    tmp_path: Path, slow: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    slow["strategy"]["setup"]["landscape"] = True
    search(jsc_tiny, jets, copy.deepcopy(slow), tmp_path / "first" / "software" / "search_ckpts")
    report = (tmp_path / "first" / "software" / "search_ckpts" / "report.md").read_text(encoding="utf-8")
    assert "All metrics but slow of all points: landscape.parquet" in report
    slow["strategy"]["metrics"]["slow"] = {}
    slow["strategy"]["setup"] = {"n_trials": 5}
    again = tmp_path / "again" / "software" / "search_ckpts"
    earlier = tmp_path / "first" / "software" / "search_ckpts"
    result = search(jsc_tiny, jets, slow, again, init_from=[earlier])
    assert not any(trial.inherited for trial in result.trials)
    assert "18 of its 18 points are in this space and are measured first, anew: it lacks slow" in caplog.text
    assert "Gap to the optimum" not in (again / "report.md").read_text(encoding="utf-8")


def test_early_stopping_goes_with_a_slow_metric_that_is_no_objective(
    tmp_path: Path, slow: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    slow["strategy"]["setup"] = {"ladder": [128]}
    result = search(jsc_tiny, jets, slow, tmp_path)
    assert len(Slow.asked) == len(result.best) + 1

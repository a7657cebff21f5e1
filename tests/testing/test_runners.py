"""All runners of the package are held to the suite that users' own runners are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest
from torch import Tensor

from chop.actions.search.strategies.runners import RUNNERS, Metric, ModelRunner, OutputRunner, SWRunnerBase
from chop.testing import RunnerConformance
from chop.testing.runners import RunnerCase

CACHE = str(Path(gettempdir()) / "chop-test-luts")


class Largest(OutputRunner):
    """The largest output: a function of all outputs at once."""

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("largest", "", "minimize"),)

    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        return {"largest": float(predictions.max())}


class LabRunner(SWRunnerBase):
    """A call alone, as the lab writes runners."""

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("weight_width", "bit", "minimize"),)

    def __call__(self, data_module: Any, model: Any, sampled_config: Mapping[str, Any]) -> dict[str, float]:
        return {"weight_width": float(sampled_config["seq_blocks_2"]["config"]["weight_width"])}


class TestOurs(RunnerConformance):
    runners = (
        ("basic_evaluation", {"num_samples": 200}),
        ("basic_train", {"num_samples": 128, "batch_size": 64, "eval_samples": 100}),
        ("simulation_time", {"num_samples": 8, "repeats": 3}),
        "average_bitwidth",
        "model_size",
        "flops",
        "bitops",
        "latency",
        "energy",
        "finn",
        "ebops",
        ("luts", {"cache": CACHE}),
        ("circuit", {"num_samples": 100}),
        (Largest, {"num_samples": 100}),
        LabRunner,
    )

    def test_none_is_forgotten(self) -> None:
        listed = {RunnerCase.of(one).cls for one in (*self.runners, *TestInOnnxRuntime.runners)}
        assert {RUNNERS[name] for name in RUNNERS} <= listed


@pytest.mark.slow
class TestInOnnxRuntime(RunnerConformance):
    """Each measurement exports the network, which takes seconds."""

    runners = (("ort_latency", {"warm_up": 1, "repeats": 4}),)


class Spoiling(ModelRunner):
    """Changes the network that it is called with."""

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("spoilt", "", "minimize"),)

    def measure(self, graph: Any) -> dict[str, float]:
        return {"spoilt": 1.0}

    def __call__(self, data_module: Any, model: Any, sampled_config: Mapping[str, Any]) -> dict[str, float]:
        next(model.model.parameters()).data.zero_()
        return {"spoilt": 1.0}


class Drifting(OutputRunner):
    """Gives another figure at every call."""

    calls = 0

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("drift", "", "minimize"),)

    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        Drifting.calls += 1
        return {"drift": float(Drifting.calls)}


def test_a_runner_that_changes_the_model_is_found() -> None:
    suite = RunnerConformance()
    with pytest.raises(AssertionError, match="changes the model"):
        suite.test_a_call_measures_what_a_batch_does(RunnerCase(Spoiling), suite.made_subject())


def test_a_runner_that_is_not_repeatable_is_found() -> None:
    suite = RunnerConformance()
    case = RunnerCase(Drifting, {"num_samples": 10})
    with pytest.raises(AssertionError):
        suite.test_a_batch_is_its_configurations_one_by_one(case, suite.made_subject())

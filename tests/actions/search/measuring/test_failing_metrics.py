"""Metrics of the data that fail: for one network, for all, and for the test set alone."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from chop.actions.search import search
from chop.actions.search.run import block_by_block
from chop.dataset import MaseDataModule
from chop.dataset.user_data import UserData
from chop.errors import ChopError, CircuitError, MetricError, NodeProblem, SearchError
from chop.record.landscape import Landscape

Own = Callable[[Tensor, Tensor], Any]


def spread(predictions: Tensor, targets: Tensor) -> Tensor:
    """A figure that few bits make small, and that is refused then."""
    found = predictions.std()
    if found < 1.05:
        raise KeyError("too small for me")
    return found


def data_with(metric: Own) -> MaseDataModule:
    parts = {}
    for seed, (part, rows) in enumerate({"train": 256, "val": 96, "test": 128}.items()):
        generator = torch.Generator().manual_seed(seed)
        y = torch.arange(rows) % 5
        parts[part] = DataLoader(TensorDataset(torch.randn(rows, 16, generator=generator) + y[:, None] / 4, y), 96)
    data = MaseDataModule("jsc", 96)
    data._user_data = UserData(parts, None, {"own": (metric, "minimize")}, 5)
    return data


@pytest.fixture
def lab_of_own(lab: dict[str, Any]) -> dict[str, Any]:
    lab["strategy"]["sw_runner"]["basic_evaluation"].pop("num_samples")
    lab["strategy"]["metrics"] = {"own": {}, "average_bitwidth": {}}
    return lab


@pytest.mark.parametrize("setup", [{}, {"ask_batch": 1}, {"ask_batch": 18, "n_jobs": 2}, {"ladder": [48]}])
def test_a_metric_that_fails_for_one_network_fails_its_trial_and_says_why(
    setup: dict[str, Any], tmp_path: Path, lab_of_own: dict[str, Any], jsc_tiny: nn.Module
) -> None:
    lab_of_own["strategy"]["setup"] = setup
    found = search(jsc_tiny, data_with(spread), lab_of_own, tmp_path)
    failed = [trial.failed for trial in found.trials if trial.failed]
    assert 0 < len(failed) < 18 == len(found.trials)
    assert all(f"(own) of the data failed ({__file__}:" in why.replace("'own'", "(own)") for why in failed), failed
    assert all(why.endswith("KeyError: 'too small for me'") for why in failed)
    assert not any(row.trial.failed for row in found.best)


def never(predictions: Tensor, targets: Tensor) -> float:
    raise ValueError("always")


def test_a_metric_that_fails_for_the_network_in_float_ends_the_search_before_it_begins(
    tmp_path: Path, lab_of_own: dict[str, Any], jsc_tiny: nn.Module
) -> None:
    with pytest.raises(MetricError, match=r"the FP32 baseline: the metric 'own' of the data failed .*: ValueError"):
        search(jsc_tiny, data_with(never), lab_of_own, tmp_path / "found")
    assert not (tmp_path / "found").exists()


def test_before_training_it_is_a_warning(
    tmp_path: Path, lab_of_own: dict[str, Any], jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    training = {"max_epochs": 1, "num_samples": 32, "eval_samples": 64}
    lab_of_own["strategy"] |= {"sw_runner": {"basic_train": training}, "setup": {"n_trials": 2}}
    with pytest.raises(SearchError, match="all 2 trials failed; the first: the metric 'own' of the data failed"):
        search(jsc_tiny, data_with(never), lab_of_own, tmp_path / "found")
    assert "before training the FP32 baseline: the metric 'own' of the data failed" in caplog.text
    rows: list[int] = []

    def counting(predictions: Tensor, targets: Tensor) -> float:
        rows.append(len(targets))
        return 1.0

    search(jsc_tiny, data_with(counting), lab_of_own, tmp_path / "rows")
    assert rows[0] == 64


def test_block_by_block_a_failing_metric_costs_no_other(
    tmp_path: Path,
    lab_of_own: dict[str, Any],
    jsc_tiny: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(block_by_block, "LARGEST_LOG", 5)
    lab_of_own["strategy"]["setup"] = {"landscape": True}
    search(jsc_tiny, data_with(spread), lab_of_own, tmp_path)
    metrics = Landscape.read(tmp_path / "landscape.parquet").metrics
    assert 0 < np.isnan(metrics["own"]).sum() < 18
    assert np.isfinite(metrics["loss"]).all() and np.isfinite(metrics["accuracy"]).all()
    assert caplog.text.count("KeyError: 'too small for me'") == 1


def test_a_metric_that_fails_on_the_test_part_leaves_the_search_its_result(
    tmp_path: Path, lab_of_own: dict[str, Any], jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    def on_few(predictions: Tensor, targets: Tensor) -> Tensor:
        if len(targets) > 96:
            raise ValueError("too many rows")
        return predictions.std()

    found = search(jsc_tiny, data_with(on_few), lab_of_own, tmp_path)
    assert found.best and all(row.test_metrics is None for row in found.best)
    assert "has no test scores: MetricError: the metric 'own' of the data failed" in caplog.text
    assert (tmp_path / "report.md").exists()


def test_a_loss_that_fails_ends_the_search(tmp_path: Path, lab_of_own: dict[str, Any], jsc_tiny: nn.Module) -> None:
    def broken(predictions: Tensor, targets: Tensor) -> Tensor:
        raise ZeroDivisionError

    data = data_with(lambda predictions, targets: predictions.std())
    assert data._user_data is not None
    data._user_data = UserData(data._user_data.loaders, broken, data._user_data.metrics, 5)
    with pytest.raises(ChopError, match="the loss of the data failed") as raised:
        search(jsc_tiny, data, lab_of_own, tmp_path)
    assert not isinstance(raised.value, SearchError)


def test_a_metric_that_is_nan_for_the_float_baseline_is_refused_before_the_search(
    tmp_path: Path, lab_of_own: dict[str, Any], jsc_tiny: nn.Module
) -> None:
    calls = 0

    def undefined(predictions: Tensor, targets: Tensor) -> float:
        nonlocal calls
        calls += 1
        return float("nan")

    with pytest.raises(MetricError, match=r"the FP32 baseline: metric 'own' is NaN on the 96 samples .*: give samples"):
        search(jsc_tiny, data_with(undefined), lab_of_own, tmp_path)
    assert calls <= 2


def test_the_reasons_of_a_runner_stay_apart_when_they_are_told_together_and_sent() -> None:
    """A reason of several nodes is one line of the message, and still a reason of each of them."""
    float_nodes = [NodeProblem("a", "is in float"), NodeProblem("b", "is in float")]
    reasons = [*float_nodes, NodeProblem("c", "is no layer"), "a: is a line of a tool"]
    error = pickle.loads(pickle.dumps(MetricError.of(CircuitError("no circuit:", reasons))))
    assert str(error) == "no circuit:\n  a, b: is in float\n  c: is no layer\n  a: is a line of a tool"
    assert error.problems == tuple(reasons)
    assert str(error.without(["a", "c"])) == "no circuit:\n  b: is in float\n  a: is a line of a tool"
    assert MetricError("x", {"loss": 1.0}).without(["a"]).found == {"loss": 1.0}

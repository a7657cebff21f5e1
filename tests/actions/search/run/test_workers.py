"""Searches by several processes: the same results to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from chop.actions.search import search
from chop.actions.search.measuring import instruments, scheduler
from chop.actions.search.strategies.runners import RUNNERS, Metric, ModelRunner
from chop.dataset import MaseDataModule
from tests.actions.search.killing import trials


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes share the work from the start, a few points each."""
    monkeypatch.setattr(scheduler, "SECONDS_ALONE", 0.0)
    monkeypatch.setattr(instruments, "CHUNKS", instruments.BATCH_MACS // 300_000)


@pytest.mark.usefixtures("at_once")
def test_folded_points_are_the_same_to_the_bit_with_two_processes(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for n_jobs in (1, 2):
        lab["strategy"]["setup"] = {"n_jobs": n_jobs}
        search(jsc_tiny, jets, lab, tmp_path / str(n_jobs))
    assert "processes share the work" in caplog.text
    assert trials(tmp_path / "1") == trials(tmp_path / "2")


@pytest.mark.usefixtures("at_once")
def test_trained_candidates_are_the_same_to_the_bit_with_two_processes(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    training = {"num_samples": 256, "max_epochs": 1, "batch_size": 64, "eval_samples": 256}
    lab["strategy"] |= {"name": "optuna", "sw_runner": {"basic_train": training}}
    for n_jobs in (1, 2):
        lab["strategy"]["setup"] = {"n_jobs": n_jobs, "n_trials": 5, "ask_batch": 3}
        search(jsc_tiny, jets, lab, tmp_path / str(n_jobs))
    assert "processes share the work" in caplog.text
    assert trials(tmp_path / "1") == trials(tmp_path / "2")


class Closed(ModelRunner):
    """Holds something that no other process can have."""

    def __init__(self, data_module: Any, options: Any = None) -> None:
        super().__init__(data_module, options)
        self.held = lambda: 1.0

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("held", "", "minimize"),)

    def measure(self, graph: Any) -> dict[str, float]:
        return {"held": self.held()}


@pytest.mark.usefixtures("at_once")
def test_what_cannot_be_sent_is_measured_here_and_said_once(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    RUNNERS.register("closed")(Closed)
    lab["strategy"]["hw_runner"]["closed"] = {}
    lab["strategy"]["metrics"]["held"] = {"max": 2.0}
    lab["strategy"]["setup"] = {"n_jobs": 2}
    assert len(search(jsc_tiny, jets, lab, tmp_path).trials) == 18
    assert caplog.text.count("cannot be sent to other processes") == 1


def test_processes_that_would_not_pay_are_not_started_and_it_is_said_why(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    lab["strategy"]["setup"] = {"n_jobs": 2}
    search(jsc_tiny, jets, lab, tmp_path / "small")
    assert "n_jobs = 2: all was measured in one process: " in caplog.text
    lab["strategy"] |= {"name": "optuna", "setup": {"n_jobs": 2, "n_trials": 2}}
    search(jsc_tiny, jets, lab, tmp_path / "single")
    assert "points came one at a time (a search with setup.ask_batch" in caplog.text

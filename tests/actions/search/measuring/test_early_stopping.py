"""Early stopping: a trial that cannot reach the front is stopped, one that can never is, and the log says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chop.actions.search import search
from chop.actions.search.measuring import instruments, scheduler
from chop.actions.search.settings.early_stopping import stands_for_all
from chop.actions.search.strategies.runners import RUNNERS, Metric, OutputRunner
from chop.dataset import MaseDataModule
from chop.errors import ConfigError
from chop.models import get_model
from tests.actions.search.killing import trials

ROWS = 2048


@pytest.fixture
def jsc_toy() -> nn.Module:
    return get_model("jsc-toy", pretrained=True)


@pytest.fixture
def toy(lab: dict[str, Any]) -> dict[str, Any]:
    """The last two layers of jsc-toy, 18 choices each."""
    lists = lab["search_space"]["seed"].pop("seq_blocks_2")
    lab["search_space"]["seed"] |= dict.fromkeys(("seq_blocks_5", "seq_blocks_8"), lists)
    lab["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = ROWS
    return lab


def front(folder: Path) -> list[dict[str, float]]:
    rows = json.loads((folder / "best.json").read_text(encoding="utf-8")).values()
    found = [{**row["software_metrics"], **row["hardware_metrics"]} for row in rows]
    return sorted(({name: found[name] for name in ("accuracy", "average_bitwidth")} for found in found), key=str)


@pytest.mark.parametrize("order", ["index", "random"])
def test_many_are_given_up_and_none_of_the_front(
    order: str, tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    search(jsc_toy, jets, toy, tmp_path / "full")
    toy["strategy"]["setup"] = {"order": order, "ladder": [128, 512]}
    result = search(jsc_toy, jets, toy, tmp_path / "ladder")
    stopped = [trial for trial in result.trials if trial.stopped_at]
    assert len(stopped) > 100
    assert {trial.stopped_at for trial in stopped} == {128, 512}
    assert front(tmp_path / "ladder") == front(tmp_path / "full")
    report = (tmp_path / "ladder" / "report.md").read_text(encoding="utf-8")
    assert f"{len(stopped)} stopped early" in report
    share = sum(ROWS - trial.stopped_at for trial in stopped if trial.stopped_at) / ROWS / 324
    assert f"Early stopping: {len(stopped)} of 324 evaluations ended after 128 or 512 of 2,048 samples" in report
    assert f"saved {share:.0%} of the work" in report


def test_metrics_are_those_on_the_rows_that_were_seen(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    toy["strategy"]["setup"] = {"n_trials": 60}
    by_rows = {}
    for rows in (128, 512, ROWS):
        toy["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = rows
        by_rows[rows] = search(jsc_toy, jets, toy, tmp_path / str(rows)).trials
    toy["strategy"]["setup"]["ladder"] = [128, 512]
    for trial in search(jsc_toy, jets, toy, tmp_path / "ladder").trials:
        assert trial.metrics == pytest.approx(by_rows[trial.stopped_at or ROWS][trial.number].metrics, abs=1e-6)


def test_a_repeat_of_a_candidate_that_was_given_up_is_answered_alike(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = ROWS
    lab["strategy"] |= {"name": "optuna", "setup": {"sampler": "random", "n_trials": 40, "ladder": [512]}}
    lab["strategy"]["metrics"]["accuracy"] = {"min": 0.65}
    result = search(jsc_tiny, jets, lab, tmp_path)
    repeats = [trial for trial in result.trials if trial.repeats is not None and trial.stopped_at]
    assert repeats
    for trial in repeats:
        assert trial.stopped_at == result.trials[trial.repeats or 0].stopped_at
        assert trial.metrics == result.trials[trial.repeats or 0].metrics
    firsts = sum(trial.stopped_at is not None and trial.repeats is None for trial in result.trials)
    assert f"{firsts} stopped early" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_sum_has_its_winner(tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module) -> None:
    toy["strategy"]["setup"] = {"sum_scaled_metrics": True, "direction": "maximize"}
    toy["strategy"]["metrics"] = {"accuracy": {}, "average_bitwidth": {"scale": -0.02}}
    search(jsc_toy, jets, toy, tmp_path / "full")
    toy["strategy"]["setup"] |= {"ladder": [128, 512], "order": "random"}
    assert any(trial.stopped_at for trial in search(jsc_toy, jets, toy, tmp_path / "ladder").trials)
    assert front(tmp_path / "ladder") == front(tmp_path / "full")


def test_who_cannot_keep_a_limit_is_given_up(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    toy["strategy"]["metrics"] = {"accuracy": {"min": 0.65}, "average_bitwidth": {"direction": "minimize"}}
    toy["strategy"]["setup"] = {"order": "random"}
    full = search(jsc_toy, jets, toy, tmp_path / "full")
    toy["strategy"]["setup"]["ladder"] = [128, 512]
    result = search(jsc_toy, jets, toy, tmp_path / "ladder")
    assert front(tmp_path / "ladder") == front(tmp_path / "full")
    accuracy = [trial.metrics["accuracy"] for trial in full.trials]
    assert any(accuracy[trial.number] < 0.65 for trial in result.trials if trial.stopped_at)


def test_where_nothing_keeps_the_limits_all_rows_are_measured_and_the_nearest_is_shown(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module
) -> None:
    toy["strategy"]["metrics"]["accuracy"] = {"min": 0.99}
    toy["strategy"]["setup"] = {"ladder": [128, 512], "n_trials": 40}
    result = search(jsc_toy, jets, toy, tmp_path)
    assert not any(trial.stopped_at for trial in result.trials)
    best = max(result.trials, key=lambda trial: trial.metrics["accuracy"])
    assert [row.trial.metrics for row in result.best] == [best.metrics]


class Extreme(OutputRunner):
    """A metric that is no mean over rows."""

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("extreme", "", "minimize"),)

    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        return {"extreme": float(predictions.abs().max())}


def test_a_metric_that_is_no_mean_over_rows_is_no_reason_to_give_up(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    RUNNERS.register("extreme")(Extreme)
    lab["strategy"]["sw_runner"]["extreme"] = {"num_samples": 400}
    lab["strategy"]["metrics"]["extreme"] = {}
    lab["strategy"]["setup"] = {"ladder": [64]}
    result = search(jsc_tiny, jets, lab, tmp_path)
    assert "early stopping: extreme is not a mean over samples" in caplog.text
    assert not any(trial.stopped_at for trial in result.trials)


@pytest.mark.parametrize(
    ("setup", "changes", "message"),
    [
        ({"ladder": [256, 128]}, {}, "must ascend, got [256, 128]"),
        ({"ladder": [128, 128]}, {}, "must ascend"),
        (
            {"ladder": [128, ROWS]},
            {},
            "must stay below the 2,048 samples that 'basic_evaluation' measures on, got 2,048",
        ),
        ({"ladder": [128], "landscape": True}, {}, "landscape = true needs every point on all samples"),
        ({"ladder": [128]}, {"eval_mode": False}, "in training mode"),
        ({"ladder": [128]}, {"hw_runner": {"simulation_time": {}}}, "'simulation_time' must run the model itself"),
        ({"ladder": [128]}, {"sw_runner": {}}, "no runner measures on samples"),
    ],
)
def test_a_ladder_that_makes_no_sense_is_refused(
    setup: dict[str, Any],
    changes: dict[str, Any],
    message: str,
    toy: dict[str, Any],
    jets: MaseDataModule,
    jsc_toy: nn.Module,
) -> None:
    toy["strategy"] |= {"setup": setup, **changes}
    if "hw_runner" in changes:
        toy["strategy"]["metrics"] = {"accuracy": {}, "simulation_time": {}}
    elif "sw_runner" in changes:
        toy["strategy"]["metrics"] = {"average_bitwidth": {}}
    with pytest.raises(ConfigError) as caught:
        search(jsc_toy, jets, toy, Path("nowhere"))
    assert message in str(caught.value)
    assert "search.strategy.setup.ladder" in str(caught.value)


def test_rows_that_are_sorted_by_class_are_no_sample(
    toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_class(part: str, rows: int | None = None, batch_size: int | None = None) -> list[tuple[Tensor, Tensor]]:
        x, y = jets.val_dataloader().dataset.x[:rows], jets.val_dataloader().dataset.y[:rows]
        return [(x[y.argsort()], y.sort().values)]

    toy["strategy"]["setup"] = {"ladder": [128]}
    monkeypatch.setattr(jets, "batches", by_class)
    with pytest.raises(ConfigError, match="have other shares of the classes than all 2,048"):
        search(jsc_toy, jets, toy, Path("nowhere"))


def test_random_samples_of_rows_stand_for_all() -> None:
    for classes in (2, 5, 100):
        targets = torch.randint(classes, (3000,))
        assert all(stands_for_all(targets[torch.randperm(3000)], seen) for seen in (10, 300, 2900) for _ in range(50))
        assert not any(stands_for_all(targets.sort().values, seen) for seen in (300, 2900))
    assert stands_for_all(torch.randn(100), 10)
    assert stands_for_all(torch.zeros(100, dtype=torch.long), 10)


@pytest.mark.slow
def test_two_processes_give_up_the_same(
    tmp_path: Path, toy: dict[str, Any], jets: MaseDataModule, jsc_toy: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "SECONDS_ALONE", 0.0)
    monkeypatch.setattr(instruments, "CHUNKS", instruments.BATCH_MACS)
    for n_jobs in (1, 2):
        toy["strategy"]["setup"] = {"ladder": [128, 512], "order": "random", "n_jobs": n_jobs}
        search(jsc_toy, jets, toy, tmp_path / str(n_jobs))
    assert trials(tmp_path / "1") == trials(tmp_path / "2")

"""Budgets and interruptions of a study."""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import nn

from chop.actions.search import search
from chop.actions.search.strategies import STRATEGIES, SearchStrategyBase
from chop.actions.search.strategies.runners import RUNNERS, Metric, ModelRunner
from chop.dataset import MaseDataModule
from chop.errors import ConfigError, SearchError
from chop.formats import Integer
from chop.record.trial import Trial


class Slow(ModelRunner):
    """Takes as long as it is told to, and presses Ctrl-C at the trial that it is told to."""

    seconds = 0.0
    interrupt_at = -1
    calls = 0

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        return (Metric("calls", "", "minimize"),)

    def measure(self, graph: Any) -> dict[str, float]:
        import time

        Slow.calls += 1
        if Slow.calls == Slow.interrupt_at:
            raise KeyboardInterrupt
        time.sleep(Slow.seconds)
        return {"calls": 1.0}


@pytest.fixture
def slow_lab(lab: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    RUNNERS.register("slow")(Slow)
    monkeypatch.setattr(Slow, "calls", 0)
    lab["strategy"]["hw_runner"]["slow"] = {}
    lab["strategy"]["metrics"]["calls"] = {"max": 2.0}
    return lab


def test_a_timeout_binds_brute_force_and_keeps_the_results(
    tmp_path: Path, slow_lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, "seconds", 0.05)
    slow_lab["strategy"]["setup"] = {"timeout": 0.2}
    result = search(jsc_tiny, jets, slow_lab, tmp_path)
    assert result.reason == "timeout"
    assert 1 <= len(result.trials) <= 6
    assert json.loads((tmp_path / "best.json").read_text(encoding="utf-8"))
    slow_lab["strategy"]["setup"] = {"timeout": 100}
    resumed = search(jsc_tiny, jets, slow_lab, tmp_path, resume=True)
    assert resumed.reason == "exhausted"
    assert len(resumed.trials) == 18


def test_an_interruption_keeps_what_is_done(
    tmp_path: Path, slow_lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, "interrupt_at", 6)
    result = search(jsc_tiny, jets, slow_lab, tmp_path)
    assert result.reason == "interrupted"
    assert len(result.trials) == 5
    assert len(json.loads((tmp_path / "log.json").read_text(encoding="utf-8"))) == 5
    monkeypatch.setattr(Slow, "interrupt_at", -1)
    assert len(search(jsc_tiny, jets, slow_lab, tmp_path, resume=True).trials) == 18


def test_a_damaged_log_is_told(tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module) -> None:
    (tmp_path / "trials.jsonl").write_text("no json\n", encoding="utf-8")
    with pytest.raises(SearchError, match="is no trial log"):
        search(jsc_tiny, jets, lab, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda lines: [*lines[:3], lines[3][9:], *lines[4:]], "line 4 is damaged (it has no checksum"),
        (lambda lines: [*lines[:3], *lines[4:]], "line 4 is damaged (trial 3 where 2 belongs: a line is missing"),
        (
            lambda lines: [*lines[:3], re.sub(r'"accuracy": [0-9.]+', '"accuracy": null', lines[3]), *lines[4:]],
            "line 4 is damaged (its checksum does not fit",
        ),
        (lambda lines: [*lines[:3], lines[3].replace("{", "[", 1), *lines[4:]], "line 4 is damaged ("),
        (lambda lines: [*lines[:3], re.sub(r'"point": {.*?}', '"point": null', lines[3]), *lines[4:]], "line 4 is"),
        (lambda lines: [*lines[:3], re.sub(r'"seconds": [^,}]+', '"seconds": NaN', lines[3]), *lines[4:]], "checksum"),
    ],
)
def test_of_a_log_that_is_damaged_within_the_trials_before_are_used_and_the_rest_is_measured_again(
    damage: Callable[[list[str]], list[str]],
    told: str,
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = search(jsc_tiny, jets, lab, tmp_path).trials
    path = tmp_path / "trials.jsonl"
    damaged = "\n".join(damage(path.read_text(encoding="utf-8").splitlines())) + "\n"
    path.write_text(damaged, encoding="utf-8")
    found = search(jsc_tiny, jets, lab, tmp_path, resume=True).trials
    assert [replace(trial, seconds=0) for trial in found] == [replace(trial, seconds=0) for trial in whole]
    assert [trial.seconds for trial in found[:2]] == [round(trial.seconds, 6) for trial in whole[:2]]
    assert told in caplog.text and "the 2 trials before it are used" in caplog.text
    assert (tmp_path / "trials.jsonl.damaged").read_text(encoding="utf-8") == damaged
    path.write_text(damaged, encoding="utf-8")
    search(jsc_tiny, jets, lab, tmp_path, resume=True)
    assert (tmp_path / "trials.jsonl.damaged-1").read_text(encoding="utf-8") == damaged


class Wrong(SearchStrategyBase):
    """Asks for what is no point, or fails itself."""

    asked: ClassVar[Any] = None
    right: ClassVar[int] = 0
    """The number of its trials before something goes wrong."""

    def ask(self, n: int) -> Any:
        self.right -= 1
        return self.asked() if self.right < 0 else [self.space.point(0)]

    def tell(self, points: Any, values: Any) -> None:
        """Learns nothing."""


@pytest.mark.parametrize("right", [0, 1])
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (lambda: ["foo"], "Wrong.ask returned 'foo', which is not a point"),
        (lambda: [{"seq_blocks_2/config/weight_width": 9}], "returned choice 9 of seq_blocks_2/config/weight_width"),
        (lambda: 1 / 0, "Wrong.ask failed: ZeroDivisionError: division by zero"),
        (lambda: None, "Wrong.ask returned None where a list of points belongs"),
    ],
)
def test_a_strategy_that_goes_wrong_is_told_and_what_was_measured_is_kept(
    asked: Any,
    told: str,
    right: int,
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "wrong" not in STRATEGIES
    monkeypatch.setitem(STRATEGIES._items, "wrong", Wrong)
    monkeypatch.setattr(Wrong, "asked", staticmethod(asked))
    monkeypatch.setattr(Wrong, "right", right)
    lab["strategy"] |= {"name": "wrong", "setup": {"n_trials": 3}}
    with pytest.raises(SearchError, match=re.escape(told)):
        search(jsc_tiny, jets, lab, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["trials.jsonl"] * right


def test_a_strategy_that_cannot_be_told_is_named_and_the_trial_is_kept(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STRATEGIES._items, "wrong", Wrong)
    monkeypatch.setattr(Wrong, "right", 1)
    monkeypatch.setattr(Wrong, "tell", lambda self, points, values: 1 / 0)
    lab["strategy"] |= {"name": "wrong", "setup": {"n_trials": 3}}
    log = re.escape(str(tmp_path / "trials.jsonl"))
    with pytest.raises(
        SearchError, match=rf"Wrong\.tell failed: ZeroDivisionError: .* The trials before it are in {log}"
    ):
        search(jsc_tiny, jets, lab, tmp_path)
    assert len((tmp_path / "trials.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_a_batch_is_no_greater_than_the_budget(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"] |= {"name": "optuna", "setup": {"n_trials": 8, "ask_batch": 100_000}}
    with pytest.raises(ConfigError, match=r"ask_batch.*n_trials \(8\)"):
        search(jsc_tiny, jets, lab, tmp_path)


def test_there_must_be_a_search_to_resume(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    with pytest.raises(SearchError, match="no search to resume"):
        search(jsc_tiny, jets, lab, tmp_path, resume=True)


def test_fewer_trials_than_points_are_run_and_said(
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab["strategy"]["setup"] = {"n_trials": 4}
    assert len(search(jsc_tiny, jets, lab, tmp_path).trials) == 4
    assert "only the first 4 of 18 points" in caplog.text


def test_a_search_that_runs_is_left_alone(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["setup"] = {"n_trials": 3}
    search(jsc_tiny, jets, lab, tmp_path)
    with (tmp_path / "trials.jsonl").open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(SearchError, match="still running"):
            search(jsc_tiny, jets, lab, tmp_path, resume=True)


def test_ctrl_c_before_the_first_trial_is_no_error(
    tmp_path: Path,
    slow_lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def cut_off(self: Slow, graph: Any) -> dict[str, float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Slow, "measure", cut_off)
    with pytest.raises(KeyboardInterrupt):
        search(jsc_tiny, jets, slow_lab, tmp_path)
    assert "interrupted before the first trial" in caplog.text


def test_a_candidate_without_a_finite_metric_fails_alone(
    tmp_path: Path, slow_lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sometimes(self: Slow, graph: Any) -> dict[str, float]:
        return {"calls": float("nan") if graph.plan["seq_blocks_2"].get("weight") == Integer(2) else 1.0}

    monkeypatch.setattr(Slow, "measure", sometimes)
    for number, setup in enumerate(({}, {"n_trials": 30}, {"sum_scaled_metrics": True, "direction": "maximize"})):
        slow_lab["strategy"] |= {"name": "optuna" if "n_trials" in setup else "brute_force", "setup": setup}
        result = search(jsc_tiny, jets, slow_lab, tmp_path / str(number))
        failed = [trial for trial in result.trials if trial.failed]
        assert failed
        assert all("calls" in trial.failed for trial in failed)
        assert result.best
        assert not any(row.trial.failed for row in result.best)
        assert len(search(jsc_tiny, jets, slow_lab, tmp_path / str(number), resume=True).trials) == len(result.trials)


def test_a_runner_that_raises_fails_its_trial_alone(
    tmp_path: Path, slow_lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sometimes(self: Slow, graph: Any) -> dict[str, float]:
        if graph.plan["seq_blocks_2"].get("weight") == Integer(2):
            raise ValueError("boom")
        return {"calls": 1.0}

    monkeypatch.setattr(Slow, "measure", sometimes)
    found = search(jsc_tiny, jets, slow_lab, tmp_path)
    failed = [trial.failed for trial in found.trials if trial.failed]
    assert 0 < len(failed) < len(found.trials) == 18
    assert all(text.startswith(f"runner Slow failed ({__file__}:") and "ValueError: boom" in text for text in failed)


def test_a_search_in_which_everything_fails_says_why(
    tmp_path: Path, slow_lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, "measure", lambda self, graph: {"calls": float("inf")})
    with pytest.raises(SearchError, match=r"all 18 trials failed; .*'calls' is inf"):
        search(jsc_tiny, jets, slow_lab, tmp_path)


def front_moves(trials: list[Trial]) -> list[int]:
    """The numbers of the trials at which the front of accuracy and bits changed."""
    front: set[tuple[float, float]] = set()
    moves = []
    for trial in trials:
        own = (-trial.metrics["accuracy"], trial.metrics["average_bitwidth"])
        if not any(a <= own[0] and b <= own[1] for a, b in front):
            front = {(a, b) for a, b in front if not (own[0] <= a and own[1] <= b)} | {own}
            moves.append(trial.number)
    return moves


def test_patience_ends_a_search_whose_front_has_not_moved(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"] |= {"name": "optuna", "setup": {"sampler": "random", "patience": 4}}
    result = search(jsc_tiny, jets, lab, tmp_path, seed=1)
    assert result.reason == "patience"
    moves = [*front_moves(result.trials), len(result.trials) + 3]
    assert len(result.trials) == moves[-2] + 1 + 4  # four trials without a move behind the last one
    assert all(later - earlier <= 4 for earlier, later in pairwise(moves[:-1]))
    assert "the front has not improved for as many trials as setup.patience allows" in (
        tmp_path / "report.md"
    ).read_text(encoding="utf-8")


def test_patience_waits_while_networks_come_nearer_to_the_limits(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"]["metrics"]["accuracy"]["min"] = 0.99
    found = [trial.metrics["accuracy"] for trial in search(jsc_tiny, jets, lab, tmp_path / "all").trials]
    nearer = [number for number, own in enumerate(found) if own > max(found[:number], default=0.0)]
    last = next(number for number in nearer if not {number + 1, number + 2, number + 3} & {*nearer})
    lab["strategy"]["setup"] = {"patience": 3}
    result = search(jsc_tiny, jets, lab, tmp_path / "few")
    assert (result.reason, len(result.trials)) == ("patience", last + 1 + 3)
    assert last > 2
    told = "no configuration has reduced the violation for as many trials"
    assert told in (tmp_path / "few" / "report.md").read_text(encoding="utf-8")


def test_more_patience_goes_on_and_equals_a_search_that_had_it_from_the_start(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    def searched(folder: str, patience: int, resume: bool = False) -> list[Any]:
        lab["strategy"] |= {"name": "optuna", "setup": {"patience": patience, "ask_batch": 3}}
        result = search(jsc_tiny, jets, lab, tmp_path / folder, seed=2, resume=resume)
        return [(trial.number, trial.point, trial.metrics, trial.repeats) for trial in result.trials]

    impatient, whole = searched("broken", 2), searched("whole", 6)
    assert whole[: len(impatient)] == impatient
    assert len(whole) > len(impatient)
    assert searched("broken", 2, resume=True) == impatient
    assert searched("broken", 6, resume=True) == whole


def test_patience_is_budget_enough(lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module) -> None:
    lab["strategy"] |= {"name": "optuna", "setup": {}}
    with pytest.raises(ConfigError, match="has no end of its own: give n_trials, timeout or patience"):
        search(jsc_tiny, jets, lab, Path("nowhere"))


def test_points_that_are_asked_for_together_are_measured_once_each(
    tmp_path: Path, slow_lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    slow_lab["strategy"] |= {"name": "optuna", "setup": {"sampler": "random", "n_trials": 40, "ask_batch": 7}}
    result = search(jsc_tiny, jets, slow_lab, tmp_path)
    assert sum(trial.repeats is None for trial in result.trials) == Slow.calls - 1  # the float network

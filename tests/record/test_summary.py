"""The summary of a search: what is written is what is read, by its folder alone."""

from __future__ import annotations

import json
from dataclasses import replace
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest

from chop.errors import SearchError
from chop.record.folder import SearchFolder
from chop.record.goals import Constraint, Goals
from chop.record.rows import best_row_as_json, trial_as_json
from chop.record.summary import FP32, MetricFacts, Origin, SearchSummary
from chop.record.trial import BestRow, Objective, Trial, TrialCounts

CONFIG: dict[str, Any] = {"by": "name", "fc": {"config": {"name": "integer", "weight_width": 4}}}


def trial(number: int, accuracy: float) -> Trial:
    return Trial(number, {"fc": number}, {"accuracy": accuracy}, {"bits": 4.0 + number}, {"accuracy": accuracy}, 0.25)


TRIALS = [trial(0, 0.7), replace(trial(0, 0.7), number=1, repeats=0), trial(2, 0.75)]
GOALS = Goals(
    (Objective("accuracy"), Objective("bits", 0.5, "minimize")), (Constraint("accuracy", "min", 0.6, "", "60 %"),)
)
SUMMARY = SearchSummary(
    strategy="random",
    goals=GOALS,
    origin=Origin("jets, sha256 ab…", "ab" * 32, "jsc-tiny", "f00", 7, {"chop": "0.1.0", "python": "3.12.1"}, "ch x"),
    space_size=2**70,
    counts=TrialCounts.of(TRIALS),
    best=(
        BestRow(TRIALS[0], (1,), CONFIG, {"accuracy": (0.69, 0.68, 0.7)}),
        BestRow(TRIALS[2], (), CONFIG, None, equal_points=3, frac_widths={"fc": {"data_in": -1, "weight": [2, 5]}}),
    ),
    reason="n_trials",
    metrics={"accuracy": MetricFacts("", "maximize"), "bits": MetricFacts("bit", "minimize")},
    baselines={FP32: BestRow(Trial(-1, {}, {"accuracy": 0.8}, {"bits": 32.0}, {}), (), {"by": "name"}, None)},
    remarks=("one [remark]", "two"),
    saw_test=True,
    seconds=0.75,
    started="2026-11-29T12:00:00+00:00",
    ended="2026-11-29T12:00:01+00:00",
    exporters=("onnx", "qonnx"),
)


def written(path: Path, summary: SearchSummary = SUMMARY) -> SearchFolder:
    """The folder of a search that has ended."""
    folder = SearchFolder(path)
    if not folder.holds_search:
        with folder.begin_trials({"seed": 7}, {}) as log:
            for own in TRIALS:
                log.append(own)
    folder.write_log([trial_as_json(own, CONFIG) for own in TRIALS])
    folder.write_best([best_row_as_json(row) for row in summary.best])
    folder.write_summary(summary)
    return folder


def test_a_summary_is_read_as_it_was_written(tmp_path: Path) -> None:
    written(tmp_path)
    found = SearchFolder(tmp_path)
    assert found.summary == SUMMARY
    assert found.summary.fp32 == SUMMARY.baselines[FP32]
    assert found.trials() == TRIALS
    assert [row["number"] for row in found.rows()] == [0, 1, 2]
    assert found.resolved is None
    found.write_resolved("seed = 7\n")
    assert "seed = 7" in (found.resolved or "")


def test_scores_without_an_interval_are_read_as_such(tmp_path: Path) -> None:
    row = replace(SUMMARY.best[0], test_metrics={"loss": (0.5, nan, nan)})
    scores = written(tmp_path, replace(SUMMARY, best=(row,))).summary.best[0].test_metrics
    assert scores is not None
    value, low, high = scores["loss"]
    assert (value, isnan(low), isnan(high)) == (0.5, True, True)


def test_a_search_that_has_not_ended_has_no_summary(tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path)
    with pytest.raises(SearchError, match="no search there"):
        _ = folder.summary
    folder.begin_trials({}, {}).close()
    with pytest.raises(SearchError, match=r"summary.json does not exist: the search was cut off.*--resume"):
        _ = folder.summary


def test_a_front_of_another_end_of_the_search_is_noticed(tmp_path: Path) -> None:
    """As after a kill between the two files."""
    folder = written(tmp_path)
    folder.write_best([best_row_as_json(SUMMARY.best[0])])
    with pytest.raises(SearchError, match=r"summary.json is damaged \(best.json has other trials.*--resume"):
        _ = folder.summary


def test_a_trial_that_the_log_lacks_is_noticed(tmp_path: Path) -> None:
    folder = written(tmp_path)
    path = tmp_path / "trials.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(SearchError, match=r"best.json names trial 2, which the log does not have"):
        folder.best()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda row: row["counts"].update(failed=3), "checksum does not fit"),
        (lambda row: row.update(reason="timeout"), "checksum does not fit"),
        (lambda row: row.update(version=99), "later chop, version 99; this one reads up to 2: update chop"),
        (lambda row: [row.pop(name) for name in ("version", "search", "sha256")], "has no checksum, and trials.jsonl"),
    ],
)
def test_a_summary_that_was_changed_is_refused(change: Any, told: str, tmp_path: Path) -> None:
    folder = written(tmp_path)
    path = tmp_path / "summary.json"
    row = json.loads(path.read_text(encoding="utf-8"))
    change(row)
    path.write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(SearchError, match=told):
        _ = folder.summary


def test_a_summary_of_another_search_is_refused(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        written(tmp_path / name)
    (tmp_path / "theirs" / "summary.json").replace(tmp_path / "ours" / "summary.json")
    with pytest.raises(SearchError, match=r"belongs to another search than trials\.jsonl beside it"):
        _ = SearchFolder(tmp_path / "ours").summary


def test_what_passes_for_a_result_can_be_taken_back(tmp_path: Path) -> None:
    folder = written(tmp_path)
    folder.write_report("# report\n")
    folder.retract()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log.json", "trials.jsonl"]

"""A resumed search is told which keys changed, and how."""

from __future__ import annotations

from pathlib import Path

import pytest

from chop.errors import SearchError
from chop.record.differences import told_changes
from chop.record.trials import TrialLog


def test_a_changed_key_is_named_with_both_values(tmp_path: Path) -> None:
    before, after = ({"strategy": ["gradient", {"epochs": epochs, "pace": 1.0}]} for epochs in (30, 31))
    TrialLog.create(tmp_path / "trials.jsonl", before).close()
    with pytest.raises(SearchError, match=r"another search: strategy \(epochs was 30, is 31\) changed, here or in"):
        TrialLog.resume(tmp_path / "trials.jsonl", after)


def test_long_values_and_plain_ones_are_named_alone() -> None:
    assert told_changes("metrics", [{"name": "a" * 40}], [{"name": "b"}]) == "metrics"
    assert told_changes("runners", ["a"], ["a", "b"]) == "runners"
    assert told_changes("tables", {"a": {"x": 1, "y": [2]}}, {"a": {"x": 3, "y": [2]}}) == "tables (x was 1, is 3)"

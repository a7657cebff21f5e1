"""What a search leaves in its folder is all that its report and its last page need."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from chop import __version__
from chop.actions.search import run_search, search
from chop.actions.search.measuring import batched
from chop.actions.search.run import block_by_block
from chop.actions.search.run.verification import Verification
from chop.dataset import MaseDataModule
from chop.errors import SearchError
from chop.record.folder import SearchFolder
from chop.report.search_report import report_text
from chop.tools.machine import machine
from tests.record.commands import SHORT, run_config

PAGE = """
import sys
from pathlib import Path
from chop.record.folder import SearchFolder
from chop.report.search_report import print_summary
for folder in map(Path, sys.argv[1:]):
    print_summary(SearchFolder(folder).summary, folder)
assert "torch" not in sys.modules
"""


def test_another_process_prints_the_same_page_from_the_records_alone(
    tmp_path: Path,
    lab: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab["strategy"] |= {"name": "uniform", "setup": {}}
    search(jsc_tiny, jets, lab, tmp_path / "trials", seed=3)
    monkeypatch.setattr(block_by_block, "LARGEST_LOG", 10)
    monkeypatch.setattr(batched, "MOST_CONFIGURATIONS", 5)
    lab["strategy"] |= {"name": "brute_force", "setup": {"landscape": True}}
    search(jsc_tiny, jets, lab, tmp_path / "blocks", seed=3)
    folders = [tmp_path / "trials", tmp_path / "blocks"]
    shown = capsys.readouterr().out
    assert shown.count("FP32") == shown.count("ended because") == 2
    command = [sys.executable, "-c", PAGE, *map(str, folders)]
    again = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=60)
    assert again.stdout == shown
    for folder in folders:
        assert (folder / "report.md").read_text(encoding="utf-8") == report_text(SearchFolder(folder).summary)
    assert all(row.trial.point for row in SearchFolder(folders[1]).summary.best)


def test_the_summary_says_what_the_figures_rest_on(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"] |= {"name": "uniform", "setup": {}}
    found = search(jsc_tiny, jets, lab, tmp_path, seed=3)
    summary = SearchFolder(tmp_path).summary
    assert summary.reason == found.reason
    assert [replace(row, trial=replace(row.trial, seconds=0.0)) for row in summary.best] == [
        replace(row, trial=replace(row.trial, seconds=0.0)) for row in found.best
    ]
    assert summary.origin.data_checksum == jets.dataset_info.sha256
    assert summary.origin.versions == {
        "chop": __version__,
        "torch": torch.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "machine": machine(),
    }
    assert (summary.origin.seed, len(summary.origin.weights)) == (3, 16)
    assert summary.metrics["average_bitwidth"].unit == "bit"
    assert summary.metrics["accuracy"].direction == "maximize"
    assert summary.fp32 is not None
    assert summary.fp32.trial.metrics["average_bitwidth"] == 32
    assert summary.seconds == pytest.approx(sum(trial.seconds for trial in found.trials), abs=1e-5)
    assert summary.started <= summary.ended
    assert summary.best[0].test_metrics is not None


def test_the_command_line_is_kept_without_its_passwords(tmp_path: Path) -> None:
    typed = ["ch", "search", "--project", "two words", "--init-from", "mysql://me:secret@host/db"]
    found = run_search(run_config(tmp_path, SHORT, "a"), typed=typed)
    assert SearchFolder(found.folder).summary.origin.command == (
        "ch search --project 'two words' --init-from 'mysql://me:***@host/db'"
    )
    assert "n_trials = 2" in (SearchFolder(found.folder).resolved or "")


def test_a_search_that_was_killed_between_two_files_gets_its_summary_by_resume(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"] |= {"name": "uniform", "setup": {}}
    search(jsc_tiny, jets, lab, tmp_path)
    files = SearchFolder(tmp_path)
    log, summary = (tmp_path / "trials.jsonl").read_bytes(), files.summary
    files.write_best(files.rows("best.json")[1:])
    with pytest.raises(SearchError, match=r"best.json has other trials.*: go on with --resume, which"):
        _ = files.summary
    search(jsc_tiny, jets, lab, tmp_path, resume=True)
    assert (tmp_path / "trials.jsonl").read_bytes() == log
    assert replace(files.summary, ended=summary.ended) == summary


def test_winners_that_do_not_come_out_again_leave_no_summary(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise SearchError("other figures")

    lab["strategy"] |= {"name": "uniform", "setup": {}}
    search(jsc_tiny, jets, lab, tmp_path)
    monkeypatch.setattr(Verification, "measured_again", fail)
    with pytest.raises(SearchError, match="other figures"):
        search(jsc_tiny, jets, lab, tmp_path, resume=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log.json", "trials.jsonl"]
